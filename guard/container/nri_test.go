package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

// nriRuntime is the runtime's side of NRI, as containerd and CRI-O have it,
// with containers made by runc.
type nriRuntime struct {
	*adaptation.Adaptation
	dir, socket, group string
	mu                 sync.Mutex
	pods               []*api.PodSandbox
	containers         []*api.Container
	links              []net.Conn
}

func startNRI(t *testing.T) *nriRuntime {
	t.Helper()
	dir, err := os.MkdirTemp("", "gabiontest") // a short path: sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &nriRuntime{dir: dir, socket: filepath.Join(dir, "nri.sock"), group: fmt.Sprintf("/gabiontest-nri-%d", os.Getpid())}
	r.start(t)
	t.Cleanup(func() { r.Adaptation.Stop() }) // of the latest one
	r.relay(t)
	return r
}

// relay stands between the two sides, so that a test can cut them apart as
// the end of the runtime's process would.
func (r *nriRuntime) relay(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	g.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", r.socket+".back")
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.links = append(r.links, in, out)
			r.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				g.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
					pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() { l.Close(); r.cut(); g.Wait() })
}

func (r *nriRuntime) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.links {
		c.Close()
	}
	r.links = nil
}

func (r *nriRuntime) start(t *testing.T) {
	t.Helper()
	var err error
	r.Adaptation, err = adaptation.New("containerd", "2.1.0",
		func(ctx context.Context, cb adaptation.SyncCB) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			_, err := cb(ctx, r.pods, r.containers)
			return err
		},
		func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
			return nil, nil
		},
		adaptation.WithSocketPath(r.socket+".back"), adaptation.WithPluginPath(filepath.Join(r.dir, "none")), adaptation.WithPluginConfigPath(filepath.Join(r.dir, "none")))
	if err == nil {
		err = r.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// create makes a container whose init waits, as a runtime has it when it asks.
func (r *nriRuntime) create(t *testing.T, id string, args ...string) {
	t.Helper()
	testkit.RequireRoot(t)
	_, err := exec.LookPath("runc")
	testkit.Require(t, "runc", err == nil, "runc is not installed (Debian: runc)")
	bundle := filepath.Join(r.dir, id)
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	r.runc(t, "spec", "--bundle", bundle)
	file := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(file)
	var spec specs.Spec
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	spec.Process.Terminal, spec.Process.Args = false, args
	spec.Root.Path, spec.Root.Readonly = testkit.BusyboxRoot(t), true
	spec.Linux.CgroupsPath = r.group + "/" + id
	if text, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.runc(t, "create", "--bundle", bundle, id)
	t.Cleanup(func() {
		_ = exec.Command("runc", "--root", filepath.Join(r.dir, "state"), "delete", "--force", id).Run()
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + r.group)
		for _, d := range append(dirs, "/sys/fs/cgroup"+r.group) {
			_ = os.Remove(d)
		}
	})
}

func (r *nriRuntime) runc(t *testing.T, args ...string) {
	t.Helper()
	log := filepath.Join(r.dir, "runc.log")
	cmd := exec.Command("runc", append([]string{"--root", filepath.Join(r.dir, "state"), "--log", log}, args...)...)
	// A pipe would be held open by the container.
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("runc %s: %v: %s", strings.Join(args, " "), err, text)
	}
}

func nriPod() *api.PodSandbox {
	return &api.PodSandbox{
		Id: strings.Repeat("cd", 32), Name: "checkout-7d9c5b8f6-x2vbn", Namespace: "shop", Uid: "u-1",
		Labels: map[string]string{"app": "checkout", "pod-template-hash": "7d9c5b8f6"},
	}
}

func (r *nriRuntime) container(id string) *api.Container {
	return &api.Container{
		Id: id, PodSandboxId: strings.Repeat("cd", 32), Name: "server", State: api.ContainerState_CONTAINER_CREATED,
		// What a pod's author wrote must not decide who it is.
		Labels: map[string]string{"io.kubernetes.pod.namespace": "kube-system"}, Args: []string{"sleep", "1000"},
		Annotations: map[string]string{"io.kubernetes.cri.image-name": testkit.BusyboxImage},
		Linux:       &api.LinuxContainer{CgroupsPath: r.group + "/" + id},
	}
}

func connected(t *testing.T, d *Discovery) {
	t.Helper()
	testkit.Eventually(t, "the plugin is registered", func() bool { return d.Status()[0].Health == OK })
}

func TestNRI(t *testing.T) {
	r := startNRI(t)
	cfg := nowhere()
	cfg.NRI = []string{r.socket}
	d := discover(t, cfg)
	if f := d.Probe(t.Context())[0]; !f.Works {
		t.Errorf("probe: %+v", f)
	}
	type question struct {
		c    workload.Container
		exe  string
		left time.Duration
	}
	asked, answer := make(chan question, 4), make(chan error, 4)
	d.OnStart(func(ctx context.Context, c workload.Container) error {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.PID))
		end, _ := ctx.Deadline()
		asked <- question{c, exe, time.Until(end)}
		return <-answer
	})
	rec := running(t, d)
	connected(t, d)
	id := strings.Repeat("ab", 32)
	ctx := t.Context()
	pod, ctr := nriPod(), r.container(id)
	if _, err := r.CreateContainer(ctx, &adaptation.CreateContainerRequest{Pod: pod, Container: ctr}); err != nil {
		t.Fatal(err)
	}
	r.create(t, id, "sleep", "1000")

	t.Run("asks before the start", func(t *testing.T) {
		done := make(chan error, 1)
		go func() { done <- r.StartContainer(ctx, &adaptation.StartContainerRequest{Pod: pod, Container: ctr}) }()
		q := <-asked
		select {
		case <-done:
			t.Fatal("the runtime did not wait")
		case <-time.After(50 * time.Millisecond):
		}
		if !unborn(q.c.PID) {
			t.Errorf("%s runs already", q.exe)
		}
		want := workload.Ref{Namespace: "shop", Name: "checkout", Kind: "Deployment"}
		if q.c.Workload != want || q.c.Pod != pod.Name || q.c.PodUID != "u-1" || q.c.Labels["app"] != "checkout" || q.c.Image != testkit.BusyboxImage ||
			q.c.CgroupID == 0 || q.c.Runtime != "containerd" || q.c.Name != "server" {
			t.Errorf("container %+v", q.c)
		}
		if q.left < 500*time.Millisecond || q.left > 2*time.Second {
			t.Errorf("%v are left; the runtime waits 2 s", q.left)
		}
		answer <- nil
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c, ok, err := d.Identify(ctx, q.c.PID, q.c.CgroupID)
		if err != nil || !ok || c.Workload != want {
			t.Errorf("identified as %+v, %v, %v", c, ok, err)
		}
	})

	t.Run("tells what runs and what ended", func(t *testing.T) {
		r.runc(t, "start", id)
		if err := r.PostStartContainer(ctx, &adaptation.PostStartContainerRequest{Pod: pod, Container: ctr}); err != nil {
			t.Fatal(err)
		}
		c := rec.await(t, id)
		check(t, c, "containerd", "server", workload.Ref{Namespace: "shop", Name: "checkout", Kind: "Deployment"})
		r.runc(t, "delete", "--force", id)
		if _, err := r.StopContainer(ctx, &adaptation.StopContainerRequest{Pod: pod, Container: ctr}); err != nil {
			t.Fatal(err)
		}
		if err := r.RemoveContainer(ctx, &adaptation.RemoveContainerRequest{Pod: pod, Container: ctr}); err != nil {
			t.Fatal(err)
		}
		rec.awaitGone(t, id)
		if _, err := d.sources[0].Inspect(ctx, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("a removed container is remembered: %v", err)
		}
	})

	t.Run("an error keeps it from starting", func(t *testing.T) {
		id := strings.Repeat("ef", 32)
		ctr := r.container(id)
		r.create(t, id, "sleep", "1000")
		answer <- errors.New("its policy is not in force")
		err := r.StartContainer(ctx, &adaptation.StartContainerRequest{Pod: pod, Container: ctr})
		<-asked
		if err == nil || !strings.Contains(err.Error(), "its policy is not in force") {
			t.Fatalf("error %v", err)
		}
		rec.await(t, id) // it was covered all the same,
		r.runc(t, "delete", "--force", id)
		rec.awaitGone(t, id) // and its end is told although it never ran
	})

	t.Run("finds what runs, and comes back", func(t *testing.T) {
		id := strings.Repeat("12", 32)
		r.create(t, id, "sleep", "1000")
		r.runc(t, "start", id)
		ctr := r.container(id)
		ctr.State = api.ContainerState_CONTAINER_RUNNING
		r.mu.Lock()
		r.pods, r.containers = []*api.PodSandbox{pod}, []*api.Container{ctr}
		r.mu.Unlock()
		r.Adaptation.Stop() // nobody answers for a while
		r.cut()
		testkit.Eventually(t, "the loss is noticed", func() bool { return d.Status()[0].Health != OK })
		r.start(t)
		connected(t, d)
		rec.await(t, id)
	})
}

func TestGroupOf(t *testing.T) {
	for in, want := range map[string]string{
		"/kubepods/burstable/podx/abc":          "/kubepods/burstable/podx/abc",
		"/a/../../b":                            "/b",
		"kubepods-burstable-podx.slice:cri:abc": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podx.slice/cri-abc.scope",
		"system.slice:cri-containerd:abc":       "/system.slice/cri-containerd-abc.scope",
		":cri-containerd:abc":                   "/system.slice/cri-containerd-abc.scope",
		"-.slice:crio:abc":                      "/crio-abc.scope",
		"user.slice::abc":                       "/user.slice/abc.scope",
		"":                                      "",
		"relative/path":                         "",
		"kubepods.slice:cri:../../x":            "",
		"notaslice:cri:abc":                     "",
		"a.slice:b":                             "",
		"a.slice:b:":                            "",
	} {
		if got := groupOf(in); got != want {
			t.Errorf("groupOf(%q) = %q, want %q", in, got, want)
		}
	}
}
