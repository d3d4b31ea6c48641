package attacks

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/workload"
)

// agentWord makes the test binary an agent, to be killed.
const agentWord = "agent"

// agentMain holds what is pinned below dir; a byte on its standard input lets
// it take memory until there is none.
func agentMain(dir string) int {
	e, err := kernel.Open(kernel.Config{PinDir: dir}, kernel.Deps{Log: testLog(), Sink: &ledger{denials: map[string]guard.Denial{}}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	go func() {
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return
		}
		_ = unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
		var hoard [][]byte
		for {
			hoard = append(hoard, make([]byte, 1<<24))
			runtime.KeepAlive(hoard)
		}
	}()
	if err := e.Run(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// agent is an agent in a process of its own.
type agent struct {
	cmd *exec.Cmd
	in  io.Writer
}

func startAgent(t *testing.T, pinDir string) *agent {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", agentWord, pinDir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := &agent{cmd: cmd, in: in}
	t.Cleanup(a.kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("agent: %q %v", line, err)
	}
	return a
}

func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

// leave puts a policy in force for the guarded container and lets go of the
// engine as an agent does that will be followed by another.
func leave(t *testing.T, pinDir, name string, b *box) {
	t.Helper()
	e, err := kernel.Open(kernel.Config{PinDir: pinDir}, kernel.Deps{Log: testLog(), Sink: &ledger{denials: map[string]guard.Denial{}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(context.Background(), b.c, plan(t, name, b)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
}

// count adopts what is pinned and gives the number of denials.
func count(t *testing.T, pinDir string) uint64 {
	t.Helper()
	l := &ledger{denials: map[string]guard.Denial{}}
	e := openAt(t, l, kernel.Config{PinDir: pinDir})
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	_, n := l.since(nil)
	return n
}

func TestSieges(t *testing.T) {
	sieges := map[string]func(*testing.T){
		"agent killed": agentSiege("a thousand attempts", func(t *testing.T, a *agent) { a.kill() }),
		"agent stopped": agentSiege("a thousand attempts", func(t *testing.T, a *agent) {
			if err := a.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Error(err)
			}
		}),
		"agent out of memory": agentSiege("a thousand attempts", func(t *testing.T, a *agent) {
			if _, err := a.in.Write([]byte("e")); err != nil {
				t.Error(err)
			}
			if err := a.cmd.Wait(); err == nil || strings.Contains(err.Error(), "signal") {
				t.Errorf("the agent did not die of a lack of memory: %v", err)
			}
		}),
		"agent starved": agentSiege("a thousand attempts", starve),
		"reports unread": agentSiege("many programs", func(t *testing.T, a *agent) {
			if err := a.cmd.Process.Signal(unix.SIGSTOP); err != nil {
				t.Error(err)
			}
		}),
		"policy reloaded":  reloadSiege,
		"short containers": shortSiege,
		"many containers":  manySiege,
	}
	for _, s := range Sieges() {
		if sieges[s.Name] == nil {
			t.Fatalf("nothing tries %q", s.Name)
		}
		t.Run(s.Name, sieges[s.Name])
		delete(sieges, s.Name)
	}
	if len(sieges) > 0 {
		t.Errorf("not in the list: %v", sieges)
	}
}

// starve keeps every processor busy and gives the agent the least share.
func starve(t *testing.T, a *agent) {
	if err := unix.Setpriority(unix.PRIO_PROCESS, a.cmd.Process.Pid, 19); err != nil {
		t.Error(err)
	}
	var stop atomic.Bool
	for range 2 * runtime.NumCPU() {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	t.Cleanup(func() { stop.Store(true) })
}

// agentSiege does something to the agent while the attack runs.
func agentSiege(attack string, blow func(*testing.T, *agent)) func(*testing.T) {
	return func(t *testing.T) {
		b := newBox(t, "siege", image(t))
		pinDir := pins(t)
		leave(t, pinDir, "drift", b)
		a := startAgent(t, pinDir)
		done := make(chan Outcome, 1)
		var waited sync.WaitGroup
		waited.Go(func() { done <- b.do(t, Order{Case: attack}) })
		blow(t, a)
		waited.Wait()
		if got := <-done; got.Effect {
			t.Errorf("it passed: %s", got.Said)
		}
		a.kill()
		if n := count(t, pinDir); n != 1000 {
			t.Errorf("%d denials, want 1000", n)
		}
	}
}

func reloadSiege(t *testing.T) {
	b := newBox(t, "siege", image(t))
	l := &ledger{denials: map[string]guard.Denial{}}
	e := openAt(t, l, kernel.Config{PinDir: pins(t)})
	apply := func(name string) {
		if _, err := e.Apply(context.Background(), b.c, plan(t, name, b)); err != nil {
			t.Error(err)
		}
	}
	apply("drift")
	stop, replaced := make(chan struct{}), 0
	var replacing sync.WaitGroup
	replacing.Go(func() {
		for ; ; replaced++ {
			select {
			case <-stop:
				return
			default:
				apply([]string{"list", "drift"}[replaced%2])
			}
		}
	})
	got := b.do(t, Order{Case: "a thousand attempts"})
	close(stop)
	replacing.Wait()
	if got.Effect || replaced < 10 {
		t.Errorf("effect %v with %d replacements: %s", got.Effect, replaced, got.Said)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if added, n := l.since(nil); n != 1000 {
		t.Errorf("%d denials, want 1000: %s", n, list(added))
	}
}

// size is how many containers a siege makes: guests are slow.
func size(t *testing.T, here, guest int) int {
	t.Helper()
	if r := release(t); strings.HasPrefix(r, "6.1.") || strings.HasPrefix(r, "6.12.") {
		return guest
	}
	return here
}

// container makes a small container out of an image.
func container(t *testing.T, img, name string, out io.Writer, in io.Reader, args ...string) (*minicontainer.Container, error) {
	c, err := minicontainer.Start(t.Context(), minicontainer.Spec{
		ID: fmt.Sprintf("gabionattacks-%d-%s", os.Getpid(), name), Lower: []string{img}, Dir: filepath.Join(t.TempDir(), name),
		Args: args, Stdin: in, Stdout: out, Stderr: out, CgroupParent: "gabionattacks", StateDir: filepath.Join(t.TempDir(), "state"),
	})
	if err == nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := c.Stop(ctx); err != nil {
				t.Errorf("stop container: %v", err)
			}
		})
	}
	return c, err
}

// Containers that live for a moment are held until their policy is there.
func shortSiege(t *testing.T) {
	img := image(t)
	n := size(t, 100, 20)
	answers := &starts{ledger: ledger{denials: map[string]guard.Denial{}}, t: t}
	e := openAt(t, answers, kernel.Config{PinDir: pins(t), Hold: true})
	answers.apply = func(s guard.Start) error {
		// Whatever else starts on this machine meanwhile is not ours.
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.PID)); err != nil || !strings.Contains(string(b), "/gabionattacks/") {
			return e.NotAContainer(s.CgroupID)
		}
		c := workload.Container{ID: fmt.Sprintf("short-%d", s.PID), PID: s.PID, CgroupID: s.CgroupID, Workload: workload.Ref{Namespace: Namespace, Name: "short"}}
		_, err := e.Apply(context.Background(), c, plan(t, "list", &box{c: c}))
		return errors.Join(err, e.Release(s.PID))
	}
	var said safeBuffer
	for i := range n {
		c, err := container(t, img, fmt.Sprintf("short%d", i), &said, nil, "/usr/bin/other")
		if err != nil {
			// The call that starts the first program is the one that fails.
			if !errors.Is(err, unix.EPERM) {
				t.Fatal(err)
			}
			continue
		}
		c.Wait()
	}
	answers.wait.Wait()
	if s := said.String(); s != "" {
		t.Errorf("%d of %d ran", strings.Count(s, Effect), n)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	added, total := answers.since(nil)
	for _, d := range added {
		if d.Effect != event.Blocked {
			t.Errorf("not blocked: %+v", d)
		}
	}
	if total != uint64(n) {
		t.Errorf("%d denials, want %d", total, n)
	}
}

// starts answers for starts as an agent does.
type starts struct {
	ledger
	t     *testing.T
	apply func(guard.Start) error
	wait  sync.WaitGroup
}

func (s *starts) Started(st guard.Start) {
	s.wait.Go(func() {
		if err := s.apply(st); err != nil {
			s.t.Errorf("answer for process %d: %v", st.PID, err)
		}
	})
}

type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func manySiege(t *testing.T) {
	img := image(t)
	n := size(t, 300, 30)
	l := &ledger{denials: map[string]guard.Denial{}}
	e := openAt(t, l, kernel.Config{PinDir: pins(t)})
	var said safeBuffer
	var doors []*os.File
	var all []*minicontainer.Container
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c, err := container(t, img, fmt.Sprintf("many%d", i), &said, r, "/bin/sh", "-c", "read -r x; cp /usr/bin/app /tmp/x; /tmp/x; echo done")
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		b := &box{c: workload.Container{ID: c.ID(), PID: c.PID(), CgroupID: c.CgroupID(), Workload: workload.Ref{Namespace: Namespace, Name: "many"}}}
		if _, err := e.Apply(context.Background(), b.c, plan(t, "drift", b)); err != nil {
			t.Fatal(err)
		}
		doors, all = append(doors, w), append(all, c)
	}
	for _, d := range doors {
		if _, err := d.WriteString("go\n"); err != nil {
			t.Error(err)
		}
	}
	for _, c := range all {
		c.Wait()
	}
	if s := said.String(); strings.Contains(s, Effect) || strings.Count(s, "done") != n {
		t.Errorf("%d of %d containers came to the end, %d programs ran", strings.Count(s, "done"), n, strings.Count(s, Effect))
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if added, total := l.since(nil); total != uint64(n) || len(added) != n {
		t.Errorf("%d denials in %d containers, want %d", total, len(added), n)
	}
}
