package container

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

// TestThreeHundred containers start while discovery runs, each is identified by
// its first process, and all end: every one is told once and once gone.
func TestThreeHundred(t *testing.T) {
	const n = 300
	var base minicontainer.Spec
	mini(t, func(s *minicontainer.Spec) { base = *s }) // gives the directories
	dir := t.TempDir()
	cfg := nowhere()
	cfg.StateDirs, cfg.NoScan = []string{base.StateDir}, false
	d := discover(t, cfg)
	r := running(t, d)

	list := make([]*minicontainer.Container, n)
	var g sync.WaitGroup
	lanes := make(chan struct{}, 16)
	for i := range n {
		g.Go(func() {
			lanes <- struct{}{}
			defer func() { <-lanes }()
			spec := base
			spec.Name, spec.Dir = fmt.Sprintf("c%d", i), filepath.Join(dir, fmt.Sprint(i))
			spec.Labels = map[string]string{"gabion.dev/workload": fmt.Sprintf("w%d", i%10)}
			c, err := minicontainer.Start(context.Background(), spec)
			if err != nil {
				t.Error(err)
				return
			}
			list[i] = c
			got, ok, err := d.Identify(context.Background(), c.PID(), c.CgroupID())
			if err != nil || !ok || got.ID != c.ID() || got.Workload.Name != spec.Labels["gabion.dev/workload"] {
				t.Errorf("%+v, %v, %v", got, ok, err)
			}
		})
	}
	g.Wait()
	stopAll := func() {
		for _, c := range list {
			if c != nil {
				g.Go(func() {
					if err := c.Stop(context.Background()); err != nil {
						t.Error(err)
					}
				})
			}
		}
		g.Wait()
	}
	t.Cleanup(stopAll)
	for _, c := range list {
		if c == nil {
			t.Fatal("not all started")
		}
		r.await(t, c.ID())
	}
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, began := cpu(), time.Now()
	d.bury()
	if err := d.scan(context.Background()); err != nil {
		t.Error(err)
	}
	t.Logf("a sweep over %d containers: %v, of which CPU (with all else in this process) %v", n, time.Since(began), cpu()-before)

	stopAll()
	for _, c := range list {
		r.awaitGone(t, c.ID())
		if told := r.of(c.ID()); len(told) != 2 || told[0].Gone || !told[1].Gone {
			t.Errorf("told %+v", told)
		}
	}
	if st := d.Status(); st[0].Containers != 1 {
		t.Errorf("status %+v", st)
	}
}

// TestLateNews: a container with a new process under an old id is a new
// container; late news of the old one do not end it.
func TestLateNews(t *testing.T) {
	a, b := mini(t, nil), mini(t, nil)
	d := discover(t, nowhere())
	var news []Change
	d.fn = func(ch Change) { news = append(news, ch) }
	s1, s2 := &source{Plugin: newNamespaces("/1"), rank: 0}, &source{Plugin: newNamespaces("/2"), rank: 1}
	c := workload.Container{ID: "x", Runtime: "docker", PID: a.PID(), Args: []string{"a"}}
	d.claim(s1, c)
	d.claim(s2, c)
	c.PID = b.PID()
	d.claim(s1, c)                                         // started again
	d.ended("x")                                           // late news of the first run
	d.claim(s2, c)                                         // the other source catches up
	d.ended("x")                                           // its view alone ends
	d.claim(s2, workload.Container{ID: "y"})               // no process
	d.claim(s2, workload.Container{ID: "y", PID: 1 << 22}) // no such process
	d.ended("never heard of")
	if _, ok := d.told["x"]; !ok || len(d.told) != 1 {
		t.Errorf("told %+v", d.told)
	}
	if err := b.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	d.bury()
	var got string
	for _, ch := range news {
		got += fmt.Sprintf("%s %v %v; ", ch.Container.ID, ch.Container.PID == a.PID(), ch.Gone)
	}
	if want := "x true false; x true true; x false false; x false true; "; got != want {
		t.Errorf("news %q, want %q", got, want)
	}
}

func TestMobyWaitsForDocker(t *testing.T) {
	c := mini(t, nil)
	d := discover(t, Config{Docker: []string{"/no"}, Podman: []string{}, Containerd: []string{"/no"}, CRI: []string{}, StateDirs: []string{}, NoScan: true})
	var news []Change
	d.fn = func(ch Change) { news = append(news, ch) }
	docker, ctd := d.sources[0], d.sources[1]
	d.setHealth(docker, OK, "")
	d.claim(ctd, workload.Container{ID: "x", Name: "x", Runtime: "containerd", RuntimeNamespace: "moby", PID: c.PID()})
	if len(news) != 0 {
		t.Errorf("containerd's word was taken for Docker's container: %+v", news)
	}
	d.claim(docker, workload.Container{ID: "x", Name: "web", Runtime: "docker", PID: c.PID()})
	if len(news) != 1 || news[0].Container.Name != "web" {
		t.Errorf("news %+v", news)
	}
	// Docker stops answering: what it said stays, and what only containerd
	// knows now counts.
	d.claim(ctd, workload.Container{ID: "y", Name: "y", Runtime: "containerd", RuntimeNamespace: "moby", PID: c.PID()})
	d.setHealth(docker, Failed, "hangs")
	if len(news) != 2 || news[1].Container.Name != "y" {
		t.Errorf("news %+v", news)
	}
}

func BenchmarkSweep(b *testing.B) {
	testkit.RequireRoot(b)
	cfg := nowhere()
	d, err := New(cfg, quiet())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d.bury()
		if err := d.scan(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
