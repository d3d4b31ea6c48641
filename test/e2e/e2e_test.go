// Package e2e tests the built binary from outside, as a user has it: real
// containers, real kernel programs, real files, signals and a browser.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/live"
)

var binary string // built once by TestMain

func TestMain(m *testing.M) {
	minicontainer.Init()
	dir, err := os.MkdirTemp("", "gabione2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "gabion")
	build := exec.Command("go", "build", "-o", binary, "github.com/gabion-dev/gabion/cmd/gabion")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build gabion: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// machine is what one test has: a gabion, an image, and containers.
type machine struct {
	t     *testing.T
	ctx   context.Context
	dir   string
	image string
	cfg   live.Config
	g     *live.Gabion

	mu sync.Mutex
	n  int
}

// need makes a machine and starts gabion on it, with more arguments of up.
func need(t *testing.T, args ...string) *machine {
	t.Helper()
	testkit.RequireRoot(t)
	_, err := exec.LookPath("busybox")
	testkit.Require(t, "busybox", err == nil, "busybox is not installed (apt-get install busybox-static)")
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	m := &machine{t: t, ctx: ctx, dir: t.TempDir()}
	if m.image, err = live.BusyboxRoot(filepath.Join(m.dir, "image")); err != nil {
		t.Fatal(err)
	}
	// An image program of its own that no policy lists: another file object
	// than busybox.
	data, err := os.ReadFile(filepath.Join(m.image, "bin/busybox"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(m.image, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.image, "opt/echo"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	m.cfg = live.Config{Binary: binary, Dir: filepath.Join(m.dir, "gabion"), Pins: fmt.Sprintf("/sys/fs/bpf/gabiontest-e2e-%d-%s", os.Getpid(), strings.ToLower(t.Name())), Args: args}
	m.up()
	t.Cleanup(func() {
		if err := m.g.Stop(); err != nil {
			t.Errorf("stop gabion: %v", err)
		}
		if _, err := os.Stat(m.cfg.Pins); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("pinned state is left behind in %s (%v)", m.cfg.Pins, err)
		}
		if t.Failed() {
			t.Logf("gabion said:\n%s", tail(m.g.Log(), 6000))
		}
	})
	return m
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (m *machine) up() {
	m.t.Helper()
	g, err := live.Up(m.ctx, m.cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.g = g
}

// container starts one of the workload shop/<name>; out may be nil.
func (m *machine) container(name string, out *strings.Builder, args ...string) *minicontainer.Container {
	m.t.Helper()
	m.mu.Lock()
	m.n++
	dir := filepath.Join(m.dir, fmt.Sprint("c", m.n))
	m.mu.Unlock()
	spec := minicontainer.Spec{Name: name, Labels: map[string]string{"gabion.dev/namespace": "shop", "app": name}, Image: "busybox:test",
		Lower: []string{m.image}, Dir: dir, Args: args}
	if out != nil {
		spec.Stdout, spec.Stderr = out, out
	}
	c, err := minicontainer.Start(m.ctx, spec)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			m.t.Errorf("stop container %s: %v", name, err)
		}
	})
	return c
}

// sh runs a line in the container and gives what it printed.
func (m *machine) sh(c *minicontainer.Container, line string) (string, minicontainer.Status) {
	m.t.Helper()
	var out strings.Builder
	st, err := c.Exec(m.ctx, minicontainer.ExecSpec{Args: []string{"/bin/sh", "-c", line}, Stdout: &out, Stderr: &out})
	if err != nil {
		m.t.Fatal(err)
	}
	return out.String(), st
}

// state waits until the workload is in the state.
func (m *machine) state(name, want string) console.Workload {
	m.t.Helper()
	var w console.Workload
	err := live.Await(m.ctx, "shop/"+name+" is "+want, func() (bool, error) {
		list, err := m.g.Workloads(m.ctx)
		for _, x := range list {
			if x.Ref.Namespace == "shop" && x.Ref.Name == name {
				w = x
			}
		}
		return w.State == want, err
	})
	if err != nil {
		m.t.Fatalf("%v; it is %+v", err, w)
	}
	return w
}

// event waits for an event that ok accepts.
func (m *machine) event(what string, ok func(event.Event) bool, args ...string) event.Event {
	m.t.Helper()
	var found event.Event
	err := live.Await(m.ctx, "an event: "+what, func() (bool, error) {
		list, err := m.g.Events(m.ctx, append([]string{"--limit", "1000"}, args...)...)
		for _, e := range list {
			if ok(e) {
				found = e
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return found
}

func (m *machine) policy(file, yaml string) {
	m.t.Helper()
	if err := m.g.Policy(file, yaml); err != nil {
		m.t.Fatal(err)
	}
}

// lockdown lets the shell's tools run and nothing else.
const lockdown = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Protect
  process:
    drift: Deny
    allow:
      - {path: /bin/sh}
      - {path: /bin/sleep}
      - {path: /bin/cp}
      - {path: /bin/cat}
      - {path: /bin/chmod}
      - {path: /bin/ls}
`

func TestThousandAttemptsAcrossAKilledAgent(t *testing.T) {
	m := need(t)
	m.policy("web.yaml", lockdown)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")
	type result struct {
		out string
		st  minicontainer.Status
	}
	done := make(chan result, 1)
	go func() {
		out, st := m.sh(c, `i=0; while [ $i -lt 1000 ]; do /opt/echo escaped; [ $? = 137 ] || echo "attempt $i ended with $?"; i=$((i+1)); done 2>/dev/null; echo end`)
		done <- result{out, st}
	}()
	blocked := func(e event.Event) bool { return e.Path == "/opt/echo" && e.Effect == event.Blocked }
	m.event("the first attempts", func(e event.Event) bool { return blocked(e) && e.Count >= 20 })
	if err := m.g.Kill(); err != nil {
		t.Fatal(err)
	}
	m.up()
	r := <-done
	if strings.TrimSpace(r.out) != "end" {
		t.Errorf("something got through: %s", tail(r.out, 500))
	}
	e := m.event("all thousand", func(e event.Event) bool { return blocked(e) && e.Count >= 1000 })
	if e.Count != 1000 {
		t.Errorf("the count is %d, want exactly 1000", e.Count)
	}
	m.event("that nobody watched for a while", func(e event.Event) bool {
		return e.Kind == event.AgentHealth && slices.Contains(e.Reasons, "unwatched")
	})
	list, err := m.g.Events(m.ctx, "--limit", "1000")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list {
		if blocked(e) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events for one cause", n)
	}
	if e.Rule == nil || e.Rule.File != "web.yaml" || e.Rule.Field != "spec.process.allow" {
		t.Errorf("rule %+v", e.Rule)
	}
	// What was stopped is no behaviour: the next policy must not allow it.
	learned, err := m.g.Run(m.ctx, "policy", "learn", "shop/web")
	if err != nil || !strings.Contains(string(learned), "/bin/sleep") || strings.Contains(string(learned), "/opt/echo") {
		t.Errorf("learned from what was blocked: %v\n%s", err, learned)
	}
}

func TestDriftIsStoppedAndOrdinaryWorkIsNot(t *testing.T) {
	m := need(t)
	m.policy("web.yaml", lockdown)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")
	for _, tt := range []struct {
		name, line, want string
		killed           bool
	}{
		{"a listed program", "cat /etc/hostname >/dev/null; ls / >/dev/null; echo fine", "fine", false},
		{"a file written and run", "cp /opt/echo /tmp/x; chmod 755 /tmp/x; /tmp/x got-through", "", true},
		{"a file in shared memory", "cp /opt/echo /dev/shm/x; chmod 755 /dev/shm/x; /dev/shm/x got-through", "", true},
		{"a listed name with other content", "cat /opt/echo >/tmp/cat; cp /tmp/cat /bin/ls2; chmod 755 /bin/ls2; /bin/ls2 /", "", true},
		{"chmod of an image file without change", "chmod 755 /bin/busybox; ls / >/dev/null && echo fine", "fine", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, st := m.sh(c, tt.line+"; echo [$?]")
			if strings.Contains(out, "got-through") {
				t.Errorf("it ran: %q", out)
			}
			if tt.killed && !strings.Contains(out, "[137]") {
				t.Errorf("not killed: %q (%s)", out, st)
			}
			if tt.want != "" && !strings.Contains(out, tt.want) {
				t.Errorf("got %q (%s), want %q", out, st, tt.want)
			}
		})
	}
	m.event("drift", func(e event.Event) bool { return e.Kind == event.ProcessDrift && e.Path == "/tmp/x" })
}

func TestANewContainerIsCoveredBeforeItsFirstInstruction(t *testing.T) {
	m := need(t)
	m.policy("web.yaml", lockdown)
	if err := live.Await(m.ctx, "the policy is loaded", func() (bool, error) {
		out, err := m.g.Run(m.ctx, "events", "-o", "json", "--kind", "policy")
		return strings.Contains(string(out), "WorkloadPolicy/shop/web"), err
	}); err != nil {
		t.Fatal(err)
	}
	var out, other strings.Builder
	c := m.container("web", &out, "/opt/echo", "first instruction")
	if st := c.Wait(); st.Signal == 0 {
		t.Errorf("an unlisted entrypoint ended with %s", st)
	}
	if out.Len() > 0 {
		t.Errorf("it printed %q", out.String())
	}
	// The same image without policy is left alone.
	free := m.container("other", &other, "/opt/echo", "free")
	if st := free.Wait(); st.Code != 0 || strings.TrimSpace(other.String()) != "free" {
		t.Errorf("a container without policy: %s, %q", st, other.String())
	}
	e := m.event("its start", func(e event.Event) bool { return e.Kind == event.ContainerStart && e.Container == "web" })
	if e.Evidence["heldBeforeFirstInstruction"] != "true" {
		t.Errorf("start event %+v", e.Evidence)
	}
	// The host is never enforced.
	if text, err := exec.Command(filepath.Join(m.image, "opt/echo"), "host").Output(); err != nil || strings.TrimSpace(string(text)) != "host" {
		t.Errorf("a host process: %q, %v", text, err)
	}
}

func TestPolicyFilesComeGoAndBreak(t *testing.T) {
	m := need(t)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "learning")
	run := func() string { out, _ := m.sh(c, "/opt/echo ran"); return strings.TrimSpace(out) }
	if got := run(); got != "ran" {
		t.Fatalf("without policy: %q", got)
	}
	m.policy("web.yaml", lockdown)
	m.state("web", "enforced")
	if got := run(); got == "ran" {
		t.Error("under the policy it ran")
	}
	// A broken file changes nothing and says where it is broken.
	m.policy("web.yaml", strings.Replace(lockdown, "drift: Deny", "drift: Perhaps", 1))
	e := m.event("the refusal", func(e event.Event) bool {
		return e.Kind == event.PolicyChange && strings.Contains(e.Message, "web.yaml:8:")
	})
	if !strings.Contains(e.Message, "last good content stays in force") {
		t.Errorf("message %q", e.Message)
	}
	if got := run(); got == "ran" {
		t.Error("a broken file ended the policy")
	}
	// Monitor reports and blocks nothing.
	m.policy("web.yaml", strings.Replace(lockdown, "mode: Protect", "mode: Monitor", 1))
	m.state("web", "monitored")
	if got := run(); got != "ran" {
		t.Errorf("in Monitor: %q", got)
	}
	m.event("what Protect would do", func(e event.Event) bool { return e.Effect == event.WouldBlock && e.Path == "/opt/echo" })
	// Gone is gone.
	if err := m.g.RemovePolicy("web.yaml"); err != nil {
		t.Fatal(err)
	}
	m.state("web", "learning")
	if got := run(); got != "ran" {
		t.Errorf("after the policy was removed: %q", got)
	}
}

func TestCommandLine(t *testing.T) {
	m := need(t)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.sh(c, "/bin/ls / >/dev/null")
	m.state("web", "learning")
	// Learn, lint, apply, promote, act: the way of the README.
	m.event("ls was seen", func(e event.Event) bool { return e.Evidence["applet"] == "ls" })
	learned, err := m.g.Run(m.ctx, "policy", "learn", "shop/web")
	if err != nil || !strings.Contains(string(learned), "kind: WorkloadPolicy") {
		t.Fatalf("learn: %v\n%s", err, learned)
	}
	file := filepath.Join(m.dir, "learned.yaml")
	if err := os.WriteFile(file, learned, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := m.g.Run(m.ctx, "policy", "lint", file); err != nil {
		t.Fatalf("lint of a learned policy: %v\n%s", err, out)
	}
	if out, err := m.g.Run(m.ctx, "policy", "apply", file); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	m.state("web", "monitored")
	if out, err := m.g.Run(m.ctx, "policy", "promote", "WorkloadPolicy/shop/web", "Protect", "--force"); err != nil {
		t.Fatalf("promote: %v\n%s", err, out)
	}
	m.state("web", "enforced")
	if out, _ := m.sh(c, "/bin/ls / >/dev/null && echo fine"); !strings.Contains(out, "fine") {
		t.Errorf("what was learned is blocked: %q", out)
	}
	if out, _ := m.sh(c, "/opt/echo ran"); strings.Contains(out, "ran") {
		t.Errorf("what was not learned ran: %q", out)
	}
	if out, err := m.g.Run(m.ctx, "workloads", "act", c.ID(), "quarantine"); err != nil {
		t.Fatalf("quarantine: %v\n%s", err, out)
	}
	list, err := m.g.Workloads(m.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		if w.Ref.Name == "web" && !w.Quarantined {
			t.Error("not quarantined")
		}
	}
	if out, err := m.g.Run(m.ctx, "workloads", "act", c.ID(), "release"); err != nil {
		t.Fatalf("release: %v\n%s", err, out)
	}
	var ex *exec.ExitError
	if _, err := m.g.Run(m.ctx, "workloads", "act", "000000000000", "kill"); !errors.As(err, &ex) || ex.ExitCode() != 1 {
		t.Errorf("acting on what is not there: %v", err)
	}
	if out, err := m.g.Run(m.ctx, "workloads", "shop/web"); err != nil || !strings.Contains(string(out), "WorkloadPolicy/shop/web") {
		t.Errorf("workload page: %v\n%s", err, out)
	}
}

func TestResponseCutsOffDrift(t *testing.T) {
	m := need(t)
	alerts := filepath.Join(m.dir, "alerts.ndjson")
	m.policy("web.yaml", lockdown)
	m.policy("respond.yaml", fmt.Sprintf(`apiVersion: gabion.dev/v1alpha1
kind: ResponsePolicy
metadata: {name: cut-off}
spec:
  match: event.kind == "process.drift" && event.effect == "blocked"
  mode: Protect
  actions:
    - quarantine: {}
    - notify: {file: {path: %s}}
`, alerts))
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")
	m.sh(c, "cp /opt/echo /tmp/x; chmod 755 /tmp/x; /tmp/x")
	e := m.event("the quarantine", func(e event.Event) bool {
		return e.Kind == event.ResponseAction && strings.Contains(strings.ToLower(e.Message), "quarantine")
	})
	if err := live.Await(m.ctx, "quarantined and told", func() (bool, error) {
		list, err := m.g.Workloads(m.ctx)
		q := false
		for _, w := range list {
			q = q || w.Ref.Name == "web" && w.Quarantined
		}
		data, _ := os.ReadFile(alerts)
		return q && strings.Contains(string(data), "/tmp/x"), err
	}); err != nil {
		t.Fatalf("%v (event %+v)", err, e)
	}
}

func TestRestartsLeaveNothingThatHurts(t *testing.T) {
	m := need(t)
	m.policy("web.yaml", lockdown)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")
	for i := range 3 {
		if err := m.g.Kill(); err != nil {
			t.Fatal(err)
		}
		if out, _ := m.sh(c, "/opt/echo ran"); strings.Contains(out, "ran") {
			t.Errorf("round %d: without an agent it ran", i)
		}
		m.up()
		m.state("web", "enforced")
	}
	if err := m.g.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, _ := m.sh(c, "/opt/echo ran"); !strings.Contains(out, "ran") {
		t.Errorf("after a clean stop it is still enforced: %q", out)
	}
	m.up()
	m.state("web", "enforced")
}

func TestManyContainersAndPolicies(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	m := need(t)
	var all strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&all, "---\n%s", strings.NewReplacer("name: web,", fmt.Sprintf("name: p%d,", i), "app: web", fmt.Sprintf("app: w%d", i)).Replace(lockdown))
	}
	m.policy("all.yaml", all.String())
	const n = 300
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			m.container(fmt.Sprintf("w%d", i), nil, "/bin/sleep", "600")
		}()
	}
	wg.Wait()
	if err := live.Await(m.ctx, "all are enforced", func() (bool, error) {
		list, err := m.g.Workloads(m.ctx)
		k := 0
		for _, w := range list {
			if w.Ref.Namespace == "shop" && w.State == "enforced" {
				k++
			}
		}
		return k == n, err
	}); err != nil {
		t.Fatal(err)
	}
}
