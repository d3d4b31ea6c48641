package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

// created waits for the process of a container that was made but not started,
// which runc has put into its cgroup and which waits for the start.
func created(t *testing.T, id string) int {
	t.Helper()
	pid := 0
	testkit.Eventually(t, "process of "+id, func() bool {
		procs, err := filepath.Glob("/proc/[0-9]*/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range procs {
			b, err := os.ReadFile(f)
			if err != nil || !strings.Contains(string(b), "/"+id) {
				continue
			}
			var p int
			if _, err := fmt.Sscanf(f, "/proc/%d/cgroup", &p); err != nil {
				continue
			}
			if first, _ := isInit(p); first {
				pid = p
				return true
			}
		}
		return false
	})
	return pid
}

func TestContainerd(t *testing.T) {
	ctd := testkit.StartContainerd(t, "default", "k8s.io")
	cfg := nowhere()
	cfg.Containerd = []string{ctd.Socket}
	d := discover(t, cfg)

	// One that runs before we look.
	ctd.Ctr(t, "run", "-d", "--label", "gabion.dev/namespace=shop", "--label", "gabion.dev/workload=web", testkit.BusyboxImage, "gt-early", "sleep", "1000")
	r := running(t, d)
	early := r.await(t, "gt-early")
	check(t, early, "containerd", "gt-early", workload.Ref{Namespace: "shop", Name: "web", Kind: "Container"})
	if early.RuntimeNamespace != "default" || early.Image != testkit.BusyboxImage || !strings.HasPrefix(early.ImageDigest, "sha256:") || !slices.Equal(early.Args, []string{"sleep", "1000"}) {
		t.Errorf("container %+v", early)
	}

	t.Run("kubernetes", func(t *testing.T) {
		id := strings.Repeat("ab", 32)
		pod := strings.Repeat("cd", 32)
		podLabels := []string{"--label", "io.kubernetes.pod.name=checkout-7d9c5b8f6-x2vbn", "--label", "io.kubernetes.pod.namespace=shop", "--label", "io.kubernetes.pod.uid=u-1"}
		ctd.Ctr(t, slices.Concat([]string{"-n", "k8s.io", "run", "-d", "--label", "io.cri-containerd.kind=sandbox", "--label", "app=checkout", "--label", "pod-template-hash=7d9c5b8f6"},
			podLabels, []string{testkit.BusyboxImage, pod, "sleep", "1000"})...)
		ctd.Ctr(t, slices.Concat([]string{"-n", "k8s.io", "run", "-d", "--annotation", "io.kubernetes.cri.sandbox-id=" + pod, "--label", "io.cri-containerd.kind=container", "--label", "io.kubernetes.container.name=server"},
			podLabels, []string{testkit.BusyboxImage, id, "sleep", "1000"})...)
		c := r.await(t, id)
		check(t, c, "containerd", "server", workload.Ref{Namespace: "shop", Name: "checkout", Kind: "Deployment"})
		if c.Pod != "checkout-7d9c5b8f6-x2vbn" || c.PodUID != "u-1" || c.Labels["app"] != "checkout" {
			t.Errorf("container %+v", c)
		}
		if told := r.of(pod); len(told) != 0 {
			t.Errorf("the sandbox was told as a container: %v", told)
		}
		if _, ok, err := d.Identify(context.Background(), created(t, pod), 0); ok || err != nil {
			t.Errorf("the sandbox is identified as a container: %v, %v", ok, err)
		}
	})

	t.Run("exec is no end", func(t *testing.T) {
		ctd.Ctr(t, "tasks", "exec", "--exec-id", "gt-x", "gt-early", "true")
		ctd.Ctr(t, "run", "-d", testkit.BusyboxImage, "gt-marker", "sleep", "1000")
		r.await(t, "gt-marker") // events come in order
		if _, ok := r.get("gt-early"); !ok {
			t.Error("the end of an exec was taken for that of the container")
		}
	})

	t.Run("created but not started", func(t *testing.T) {
		ctd.Ctr(t, "containers", "create", "--label", "gabion.dev/workload=held", testkit.BusyboxImage, "gt-held", "sleep", "1000")
		fresh := discover(t, cfg) // has heard of nothing
		// The task is created: its process exists, runc waits for the start.
		start := exec.Command("ctr", "-a", ctd.Socket, "tasks", "start", "-d", "gt-held")
		if err := start.Start(); err != nil {
			t.Fatal(err)
		}
		pid := created(t, "gt-held")
		c, ok, err := fresh.Identify(context.Background(), pid, 0)
		if err := start.Wait(); err != nil {
			t.Error(err)
		}
		if err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		if c.Workload != (workload.Ref{Namespace: "default", Name: "held", Kind: "Container"}) || c.PID != pid || c.ImageDigest != early.ImageDigest || c.CgroupID == 0 {
			t.Errorf("container %+v", c)
		}
		c.Args = []string{"sleep", "1000"} // runc's own while it is not started
		if err := same(c, r.await(t, "gt-held")); err != nil {
			t.Error(err)
		}
	})

	t.Run("lives 200 ms", func(t *testing.T) {
		fresh := discover(t, cfg)
		done := make(chan error, 1)
		go func() {
			_, err := ctd.TryCtr("run", "--rm", testkit.BusyboxImage, "gt-short", "sleep", "0.2")
			done <- err
		}()
		pid := created(t, "gt-short")
		began := time.Now()
		c, ok, err := fresh.Identify(context.Background(), pid, 0)
		t.Logf("identified in %v", time.Since(began))
		if err != nil || !ok || c.ID != "gt-short" || c.Runtime != "containerd" {
			t.Errorf("%+v, %v, %v", c, ok, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})

	t.Run("restart of the runtime", func(t *testing.T) {
		ctd.Ctr(t, "run", "-d", testkit.BusyboxImage, "gt-dies-meanwhile", "sleep", "1000")
		c := r.await(t, "gt-dies-meanwhile")
		ctd.Stop(t)
		testkit.Eventually(t, "the loss is noticed", func() bool { return d.Status()[0].Health != OK })
		if _, ok := r.get("gt-early"); !ok {
			t.Error("a container was forgotten because its runtime stopped")
		}
		if err := unix.Kill(c.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.awaitGone(t, "gt-dies-meanwhile")
		ctd.Start(t)
		testkit.Eventually(t, "the return is noticed", func() bool { return d.Status()[0].Health == OK })
		ctd.Ctr(t, "run", "-d", testkit.BusyboxImage, "gt-late", "sleep", "1000")
		r.await(t, "gt-late")
	})

	t.Run("pause and kill", func(t *testing.T) {
		ctx := context.Background()
		c := r.await(t, "gt-late")
		root, _ := cgroup.Root()
		if err := Pause(ctx, c, true); err != nil || !cgroup.Frozen(filepath.Join(root, c.CgroupPath)) {
			t.Errorf("pause: %v", err)
		}
		if err := Pause(ctx, c, false); err != nil || cgroup.Frozen(filepath.Join(root, c.CgroupPath)) {
			t.Errorf("resume: %v", err)
		}
		if err := Kill(ctx, c); err != nil {
			t.Error(err)
		}
		r.awaitGone(t, "gt-late")
	})

	ctd.Ctr(t, "tasks", "kill", "-s", "KILL", "gt-early")
	r.awaitGone(t, "gt-early")
	told := r.of("gt-early")
	if last := told[len(told)-1]; !last.Gone || last.Container.Workload.Name != "web" {
		t.Errorf("last news %+v", last)
	}
}

func TestDocker(t *testing.T) {
	dock := testkit.StartDockerd(t)
	cfg := nowhere()
	cfg.Sweep = time.Hour // only events tell
	cfg.Docker, cfg.Containerd = []string{dock.Socket}, []string{dock.ContainerdSocket}
	d := discover(t, cfg)

	early := dock.Run(t, "gt-early", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}, "sleep", "1000")
	r := running(t, d)
	c := r.await(t, early)
	check(t, c, "docker", "gt-early", workload.Ref{Namespace: "shop", Name: "web", Kind: "Service"})
	if !slices.Equal(c.Args, []string{"sleep", "1000"}) || !strings.HasSuffix(testkit.BusyboxImage, c.Image) || !strings.HasPrefix(c.ImageDigest, "sha256:") {
		t.Errorf("container %+v", c)
	}

	t.Run("known to containerd too, told once", func(t *testing.T) {
		testkit.Eventually(t, "both have it", func() bool {
			st := d.Status()
			return st[0].Containers == 1 && st[1].Containers == 1
		})
		if told := r.of(early); len(told) != 1 {
			t.Errorf("told %d times: %+v", len(told), told)
		}
	})

	t.Run("created but not started", func(t *testing.T) {
		id := dock.Create(t, "gt-held", map[string]string{"gabion.dev/namespace": "x"}, "sleep", "1000")
		fresh := discover(t, cfg)
		started := make(chan error, 1)
		go func() {
			_, err := dock.Do("POST", "/containers/"+id+"/start", nil)
			started <- err
		}()
		pid := created(t, id)
		began := time.Now()
		c, ok, err := fresh.Identify(context.Background(), pid, 0)
		took := time.Since(began)
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		if err != nil || !ok || c.Workload != (workload.Ref{Namespace: "x", Name: "gt-held", Kind: "Container"}) || c.PID != pid || c.Runtime != "docker" {
			t.Fatalf("%+v, %v, %v", c, ok, err)
		}
		t.Logf("identified in %v", took)
		c.Args = []string{"sleep", "1000"} // runc's own while it is not started
		if err := same(c, r.await(t, id)); err != nil {
			t.Error(err)
		}
	})

	t.Run("restart of a container", func(t *testing.T) {
		before := r.await(t, early)
		if _, err := dock.Do("POST", "/containers/"+early+"/restart?t=0", nil); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "a new process is told", func() bool {
			c, ok := r.get(early)
			return ok && c.PID != before.PID
		})
		told := r.of(early)
		if len(told) != 3 || told[0].Gone || !told[1].Gone || told[2].Gone {
			t.Errorf("told %+v", told)
		}
	})

	t.Run("rename", func(t *testing.T) {
		if _, err := dock.Do("POST", "/containers/gt-held/rename?name=gt-renamed", nil); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the new name is told", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, c := range r.now {
				if c.Name == "gt-renamed" && c.Workload.Name == "gt-renamed" {
					return true
				}
			}
			return false
		})
	})

	t.Run("joins a network", func(t *testing.T) {
		name := fmt.Sprintf("gabiontest-%d", os.Getpid())
		if _, err := dock.Do("POST", "/networks/create", map[string]any{
			"Name": name, "Driver": "bridge", "Options": map[string]string{"com.docker.network.bridge.name": fmt.Sprintf("gt%d", os.Getpid())},
			"IPAM": map[string]any{"Config": []map[string]string{{"Subnet": "192.0.2.0/24"}}},
		}); err != nil {
			testkit.Require(t, "bridge", false, fmt.Sprintf("no bridges here: %v", err))
		}
		defer dock.Do("DELETE", "/networks/"+name, nil)
		answer, err := dock.Do("POST", "/containers/create?name=gt-net", map[string]any{
			"Image": testkit.BusyboxImage, "Cmd": []string{"sleep", "1000"}, "HostConfig": map[string]any{"NetworkMode": name},
		})
		var made struct{ ID string }
		if err == nil {
			err = json.Unmarshal(answer, &made)
		}
		if err == nil {
			_, err = dock.Do("POST", "/containers/gt-net/start", nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c := r.await(t, made.ID); len(c.Addresses) != 1 || !netip.MustParsePrefix("192.0.2.0/24").Contains(c.Addresses[0]) {
			t.Errorf("addresses %v", c.Addresses)
		}
		if _, err := dock.Do("POST", "/networks/"+name+"/disconnect", map[string]any{"Container": made.ID, "Force": true}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "it has no address", func() bool { c, _ := r.get(made.ID); return len(c.Addresses) == 0 })
		if _, err := dock.Do("DELETE", "/containers/gt-net?force=1", nil); err != nil {
			t.Error(err)
		}
	})

	t.Run("restart of the runtime", func(t *testing.T) {
		dock.Stop(t)
		testkit.Eventually(t, "the loss is noticed", func() bool { return d.Status()[0].Health != OK })
		if _, ok := r.get(early); !ok {
			t.Error("a container was forgotten because its runtime stopped")
		}
		dock.Start(t)
		testkit.Eventually(t, "the return is noticed", func() bool { return d.Status()[0].Health == OK })
		late := dock.Run(t, "gt-late", nil, "sleep", "1000")
		r.await(t, late)
	})

	if _, err := dock.Do("DELETE", "/containers/"+early+"?force=1", nil); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(t, early)
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	cfg := nowhere()
	sock := []string{filepath.Join(dir, "no.sock")}
	cfg.Docker, cfg.Podman, cfg.Containerd, cfg.CRI = sock, sock, sock, sock
	d := discover(t, cfg)
	r := running(t, d)
	testkit.Eventually(t, "all were asked", func() bool {
		for _, st := range d.Status() {
			if st.Health != Absent || st.Detail == "not asked yet" {
				return false
			}
		}
		return true
	})
	for _, f := range d.Probe(context.Background()) {
		if f.Works || f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, s := range d.sources {
		if _, err := s.Inspect(context.Background(), "x"); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
	if len(r.news) != 0 {
		t.Errorf("news from nowhere: %v", r.news)
	}
	if _, ok, err := d.Identify(context.Background(), os.Getpid(), 0); ok || err != nil {
		t.Errorf("this process is no container: %v, %v", ok, err)
	}
}
