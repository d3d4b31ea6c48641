package workloads

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/live"
)

const (
	namespace = "ordinary"
	// never is a program of the image that no kind uses, on its own or as one of
	// the names of busybox.
	never = "/bin/factor"
	// inGuest names the environment variable that says that this is a guest of
	// test/vm: it holds the program to run, and kinds without packages run.
	inGuest = "GABION_WORKLOADS_BINARY"
)

// world is what all kinds share.
type world struct {
	t     *testing.T
	ctx   context.Context
	dir   string
	lower []string // the image below a kind's own layer
	g     *live.Gabion
	kinds []Kind
}

// TestOrdinaryWorkloads learns every kind from two replicas, makes policy of it
// as `gabion policy learn` does, and runs it again in Protect, twice.
func TestOrdinaryWorkloads(t *testing.T) {
	testkit.RequireRoot(t)
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	w := &world{t: t, ctx: ctx, dir: t.TempDir()}
	binary := w.images()
	g, err := live.Up(ctx, live.Config{Binary: binary, Dir: filepath.Join(w.dir, "gabion"), Pins: fmt.Sprintf("/sys/fs/bpf/gabiontest-workloads-%d", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	w.g = g
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Errorf("stop gabion: %v", err)
		}
		if t.Failed() {
			log := g.Log()
			t.Logf("gabion said:\n%s", log[max(0, len(log)-4000):])
		}
	})

	sound := w.all("Learn", 4, w.kinds, func(k Kind) error {
		return errors.Join(w.once(k, "learn-1", nil), w.once(k, "learn-2", nil))
	})
	sound = w.all("policy", 16, sound, w.learn)
	sound = w.all("Protect", 4, sound, func(k Kind) error {
		return errors.Join(w.once(k, "protect-1", nil), w.once(k, "protect-2", w.control))
	})
	w.all("denials", 4, sound, w.denials)
	t.Run("detections", func(t *testing.T) { w.detections(t) })
}

// detections must be quiet on ordinary work, with policy and without.
func (w *world) detections(t *testing.T) {
	list, err := w.g.Events(w.ctx, "--kind", string(event.Detection), "--limit", "1000")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.Severity.Rank() >= event.Medium.Rank() {
			t.Errorf("ordinary work in %s raised an alarm: %s", e.Workload, e.Message)
		}
	}
}

// all does a step for each kind, some at a time, reports each as a test of
// its own, and gives those that succeeded.
func (w *world) all(step string, limit int, kinds []Kind, do func(Kind) error) (sound []Kind) {
	w.t.Helper()
	begun := time.Now()
	failed := each(limit, kinds, do)
	for i, k := range kinds {
		w.t.Run(step+"/"+k.Name, func(t *testing.T) {
			if failed[i] != nil {
				t.Error(failed[i])
			}
		})
		if failed[i] == nil {
			sound = append(sound, k)
		}
	}
	w.t.Logf("%s: %d of %d kinds in %s", step, len(sound), len(kinds), time.Since(begun).Round(100*time.Millisecond))
	return sound
}

// images makes ready what containers are made of and gives the binary to test.
func (w *world) images() (binary string) {
	w.t.Helper()
	w.kinds = Kinds()
	// On a file system of its own: overlay takes no layer that lies in another.
	mem := filepath.Join(w.dir, "image")
	if err := os.Mkdir(mem, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mem, "tmpfs", 0, "mode=0755"); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := unix.Unmount(mem, unix.MNT_DETACH); err != nil {
			w.t.Errorf("unmount image: %v", err)
		}
	})
	w.lower = []string{"/"}
	if binary = os.Getenv(inGuest); binary != "" {
		w.kinds = slices.DeleteFunc(w.kinds, func(k Kind) bool { return !k.Guest })
	} else {
		w.lower = []string{w.packages(filepath.Join(mem, "packages")), "/"}
		binary = filepath.Join(w.dir, "gabion.bin")
		if err := command(w.ctx, "go", "build", "-o", binary, "github.com/gabion-dev/gabion/cmd/gabion"); err != nil {
			w.t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range w.kinds {
		if err := k.Layer(filepath.Join(mem, k.Name), self); err != nil {
			w.t.Fatal(err)
		}
	}
	return binary
}

// packages lays what the machine lacks into layer.
func (w *world) packages(layer string) string {
	w.t.Helper()
	_, err := exec.LookPath("apt-get")
	testkit.Require(w.t, "debian packages", err == nil, "the workloads' programs come through apt-get")
	cache, err := filepath.Abs("../../.cache/workloads")
	if err != nil {
		w.t.Fatal(err)
	}
	archives, err := Fetch(w.ctx, cache, packages)
	testkit.Require(w.t, "debian packages", err == nil, fmt.Sprint(err))
	if err := Unpack(w.ctx, archives, layer); err != nil {
		w.t.Fatal(err)
	}
	return layer
}

// lines collects what several writers print.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// once starts a container of the kind, has it do its work, and stops it.
// before, if given, is called while it still runs.
func (w *world) once(k Kind, replica string, before func(Kind, *minicontainer.Container) error) (err error) {
	ctx, cancel := context.WithTimeout(w.ctx, 90*time.Second)
	defer cancel()
	var said lines
	spec := minicontainer.Spec{
		Name: k.Name + "-" + replica, Labels: map[string]string{"gabion.dev/namespace": namespace, "gabion.dev/workload": k.Name},
		Image: "ordinary/" + k.Name + ":1", Dir: filepath.Join(w.dir, "run", k.Name+"-"+replica),
		Lower: append([]string{filepath.Join(w.dir, "image", k.Name)}, w.lower...),
		Args:  k.Args, Env: k.Env, Stdout: &said, Stderr: &said,
	}
	for _, v := range append([]string{"/tmp", "/run"}, k.Volumes...) {
		spec.Mounts = append(spec.Mounts, minicontainer.Mount{Source: "tmpfs", Type: "tmpfs", Target: v, Options: []string{"mode=1777"}})
	}
	c, err := minicontainer.Start(ctx, spec)
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if err != nil {
			err = fmt.Errorf("%s: %w\nit printed:\n%s", spec.Name, err, said.String())
		}
		err = errors.Join(err, c.Stop(clean))
	}()
	if k.Ready == nil {
		select {
		case <-c.Done():
		case <-ctx.Done():
			return fmt.Errorf("job does not end: %w", ctx.Err())
		}
		if st := c.Wait(); st.Code != 0 || !strings.Contains(said.String(), k.Output) {
			return fmt.Errorf("%s without printing %q", st, k.Output)
		}
		return nil
	}
	for {
		out, st, err := session(ctx, k, c, k.Ready)
		if err != nil {
			return fmt.Errorf("wait until it is ready: %w", err)
		}
		if st.Code == 0 {
			break
		}
		select {
		case <-c.Done():
			return fmt.Errorf("%s before it was ready", c.Wait())
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w; the probe: %s %s", ctx.Err(), st, out)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, s := range k.Work {
		out, st, err := session(ctx, k, c, s.Args)
		if err != nil {
			return err
		}
		if st.Code != 0 || !strings.Contains(out, s.Want) {
			return fmt.Errorf("%q: %s without printing %q: %s", s.Args, st, s.Want, out)
		}
	}
	if before != nil {
		return before(k, c)
	}
	return nil
}

// session is what a runtime's exec does.
func session(ctx context.Context, k Kind, c *minicontainer.Container, args []string) (string, minicontainer.Status, error) {
	var out lines
	st, err := c.Exec(ctx, minicontainer.ExecSpec{Args: args, Env: k.Env, Stdout: &out, Stderr: &out})
	return out.String(), st, err
}

// control starts what the policy does not allow.
func (w *world) control(k Kind, c *minicontainer.Container) error {
	out, st, err := session(w.ctx, k, c, []string{never, "91"})
	if err == nil && st.Code == 0 || strings.Contains(out, "7 13") {
		return fmt.Errorf("%s ran under a policy that does not list it: %s", never, out)
	}
	return nil
}

// learn makes the policy of what was learned, once nothing new comes, and puts
// it in force.
func (w *world) learn(k Kind) error {
	var yaml, last string
	err := live.Await(w.ctx, k.Name+" is learned", func() (bool, error) {
		out, err := w.g.Run(w.ctx, "policy", "learn", namespace+"/"+k.Name)
		last, yaml = yaml, string(out)
		time.Sleep(300 * time.Millisecond)
		return err == nil && yaml == last, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, yaml)
	}
	protect := strings.Replace(yaml, "mode: Monitor", "mode: Protect", 1)
	if protect == yaml {
		return fmt.Errorf("the learned policy is not in Monitor:\n%s", yaml)
	}
	if dir := os.Getenv("GABION_WORKLOADS_KEEP"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, k.Name+".yaml"), []byte(protect), 0o644); err != nil {
			return err
		}
	}
	if err := w.g.Policy(k.Name+".yaml", protect); err != nil {
		return err
	}
	return live.Await(w.ctx, "the policy of "+k.Name+" is loaded", func() (bool, error) {
		list, err := w.g.Events(w.ctx, "--kind", "policy", "--limit", "1000", "--text", namespace+"/"+k.Name)
		return slices.ContainsFunc(list, func(e event.Event) bool { return strings.Contains(e.Message, "WorkloadPolicy/"+namespace+"/"+k.Name) }), err
	})
}

// denials must be those of the control and no others.
func (w *world) denials(k Kind) error {
	list, err := w.g.Events(w.ctx, "--workload", namespace+"/"+k.Name, "--effect", "blocked,would-block,not-blocked", "--limit", "1000")
	if err != nil {
		return err
	}
	var wrong []string
	controls := uint64(0)
	for _, e := range list {
		if strings.HasSuffix(e.Path, never) || e.Evidence["applet"] == filepath.Base(never) {
			controls += e.Count
			continue
		}
		by := ""
		if e.Process != nil {
			by = fmt.Sprintf(" by %s %q of %s", e.Process.Exe, e.Process.Args, e.Process.ParentExe)
		}
		wrong = append(wrong, fmt.Sprintf("%d x %s (%s, %v)%s", e.Count, e.Message, e.Kind, e.Evidence, by))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("ordinary work was denied:\n%s", strings.Join(wrong, "\n"))
	}
	if want := uint64(1); k.Ready != nil && controls != want {
		return fmt.Errorf("%d denials of %s, want %d", controls, never, want)
	}
	return nil
}

// TestKinds: the table itself is sound.
func TestKinds(t *testing.T) {
	names := map[string]bool{}
	for _, k := range Kinds() {
		if names[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		names[k.Name] = true
		if k.Ready == nil && k.Output == "" || k.Ready != nil && len(k.Work) == 0 {
			t.Errorf("%s does no work that could be checked", k.Name)
		}
		if strings.Contains(fmt.Sprint(k.Args, k.Files, k.Work), never) {
			t.Errorf("%s uses the control %s", k.Name, never)
		}
	}
	if len(names) < 24 {
		t.Errorf("%d kinds, want at least 24: %v", len(names), slices.Sorted(maps.Keys(names)))
	}
}
