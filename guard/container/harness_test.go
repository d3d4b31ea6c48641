package container

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) {
	minicontainer.Init()
	goleak.VerifyTestMain(m)
}

// nowhere is a configuration that finds nothing.
func nowhere() Config {
	return Config{
		Docker: []string{}, Podman: []string{}, Containerd: []string{}, CRI: []string{}, NRI: []string{}, StateDirs: []string{}, NoScan: true,
		Sweep: 100 * time.Millisecond, Resync: time.Hour, // what events miss must not be hidden by listings
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func discover(t *testing.T, cfg Config) *Discovery {
	t.Helper()
	d, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// record runs discovery and keeps what it tells.
type record struct {
	mu   sync.Mutex
	news []Change
	now  map[string]workload.Container
}

func running(t *testing.T, d *Discovery) *record {
	t.Helper()
	r := &record{now: map[string]workload.Container{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Run(ctx, func(ch Change) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.news = append(r.news, ch)
			if ch.Gone {
				delete(r.now, ch.Container.ID)
			} else {
				r.now[ch.Container.ID] = ch.Container
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *record) get(id string) (workload.Container, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.now[id]
	return c, ok
}

// of is all that was told about a container.
func (r *record) of(id string) []Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Change
	for _, ch := range r.news {
		if ch.Container.ID == id {
			list = append(list, ch)
		}
	}
	return list
}

func (r *record) await(t *testing.T, id string) workload.Container {
	t.Helper()
	var c workload.Container
	testkit.Eventually(t, "container "+id+" is told", func() (ok bool) { c, ok = r.get(id); return ok })
	return c
}

func (r *record) awaitGone(t *testing.T, id string) {
	t.Helper()
	testkit.Eventually(t, "container "+id+" is told to be gone", func() bool { _, ok := r.get(id); return !ok })
}

// mini makes a container without runtime.
func mini(t *testing.T, change func(*minicontainer.Spec)) *minicontainer.Container {
	t.Helper()
	testkit.RequireRoot(t)
	dir := t.TempDir()
	spec := minicontainer.Spec{
		Lower: []string{testkit.BusyboxRoot(t)}, Dir: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "state"),
		CgroupParent: "gabiontest-" + strconv.Itoa(os.Getpid()), Args: []string{"sleep", "1000"},
	}
	if change != nil {
		change(&spec)
	}
	c, err := minicontainer.Start(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// check compares the facts that every container must have.
func check(t *testing.T, c workload.Container, runtime, name string, ref workload.Ref) {
	t.Helper()
	if c.Runtime != runtime || c.Name != name || c.Workload != ref {
		t.Errorf("container %s: runtime %q, name %q, workload %+v; want %q, %q, %+v", c.Short(), c.Runtime, c.Name, c.Workload, runtime, name, ref)
	}
	if startTicks(c.PID) == 0 {
		t.Errorf("container %s: process %d does not live", c.Short(), c.PID)
		return
	}
	if first, _ := isInit(c.PID); !first {
		t.Errorf("container %s: process %d is not the first of its namespace", c.Short(), c.PID)
	}
	if id, err := CgroupID(c.PID); err != nil || id == 0 || id != c.CgroupID {
		t.Errorf("container %s: cgroup id %d, want %d (%v)", c.Short(), c.CgroupID, id, err)
	}
	if len(c.Args) == 0 || c.StartedAt.IsZero() || c.HostNetwork {
		t.Errorf("container %s: facts are missing: %+v", c.Short(), c)
	}
	if age := time.Since(c.StartedAt); age < -time.Minute || age > time.Hour {
		t.Errorf("container %s: started %v ago", c.Short(), age)
	}
}

func same(a, b workload.Container) error {
	if a.ID != b.ID || a.Name != b.Name || a.Runtime != b.Runtime || a.Workload != b.Workload || a.PID != b.PID || a.CgroupID != b.CgroupID ||
		a.Image != b.Image || a.ImageDigest != b.ImageDigest || fmt.Sprint(a.Labels) != fmt.Sprint(b.Labels) || fmt.Sprint(a.Args) != fmt.Sprint(b.Args) {
		return fmt.Errorf("differ:\n%+v\n%+v", a, b)
	}
	return nil
}
