package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

// TestCRI uses containerd's own CRI service, and looks at the same container
// through CRI alone and through containerd's API, which must agree.
func TestCRI(t *testing.T) {
	ctd := testkit.StartCRI(t)
	conn, err := dial(ctd.Socket)
	if err != nil {
		t.Fatal(err)
	}
	// containerd leaves the group of a pod's parent to the kubelet.
	parent := fmt.Sprintf("/gabiontest-cri-%d", os.Getpid())
	t.Cleanup(func() {
		conn.Close()
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, dir := range append(dirs, "/sys/fs/cgroup"+parent) {
			_ = os.Remove(dir)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rt := runtimeapi.NewRuntimeServiceClient(conn)
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web-7d9c5b8f6d-x2vbn", Namespace: "shop", Uid: "u-1"},
		Labels: map[string]string{
			"app": "web", "pod-template-hash": "7d9c5b8f6d", "io.kubernetes.pod.name": "web-7d9c5b8f6d-x2vbn",
			"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1",
		},
		LogDirectory: t.TempDir(),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    parent,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}},
		},
	}
	pod, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod.PodSandboxId})
		if _, err := rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod.PodSandboxId}); err != nil {
			t.Error(err)
		}
	})
	made, err := rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod.PodSandboxId, SandboxConfig: sandbox,
		Config: &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: "server"},
			Image:    &runtimeapi.ImageSpec{Image: testkit.BusyboxImage},
			Args:     []string{"sleep", "1000"},
			Labels: map[string]string{
				"io.kubernetes.container.name": "server", "io.kubernetes.pod.name": "web-7d9c5b8f6d-x2vbn",
				"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1",
			},
			Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	criOnly, apiOnly := nowhere(), nowhere()
	criOnly.Sweep, apiOnly.Sweep = time.Hour, time.Hour // only events tell
	criOnly.CRI, apiOnly.Containerd = []string{ctd.Socket}, []string{ctd.Socket}
	viaCRI, viaAPI := discover(t, criOnly), discover(t, apiOnly)
	byCRI, byAPI := running(t, viaCRI), running(t, viaAPI)
	if f := viaCRI.Probe(ctx)[0]; !f.Works {
		t.Fatal(f.Detail)
	}
	if _, err := rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	a, b := byCRI.await(t, made.ContainerId), byAPI.await(t, made.ContainerId)
	want := workload.Ref{Namespace: "shop", Name: "web", Kind: "Deployment"}
	for _, c := range []workload.Container{a, b} {
		if c.Name != "server" || c.Workload != want || c.Pod != "web-7d9c5b8f6d-x2vbn" || c.PodUID != "u-1" || c.Labels["app"] != "web" ||
			c.CgroupID == 0 || !c.HostNetwork || startTicks(c.PID) == 0 || c.Image != testkit.BusyboxImage || c.ImageDigest == "" {
			t.Errorf("via %s: %+v", c.Runtime, c)
		}
	}
	if a.PID != b.PID || a.CgroupID != b.CgroupID {
		t.Errorf("they disagree: %+v and %+v", a, b)
	}

	fresh := discover(t, criOnly)
	id, ok, err := fresh.Identify(ctx, a.PID, 0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := same(id, a); err != nil {
		t.Error(err)
	}
	pause := created(t, pod.PodSandboxId)
	for _, d := range []*Discovery{fresh, discover(t, apiOnly)} {
		if _, ok, err := d.Identify(ctx, pause, 0); ok || err != nil {
			t.Errorf("the sandbox is identified as a container: %v, %v", ok, err)
		}
	}
	if n := len(byCRI.of(pod.PodSandboxId)) + len(byAPI.of(pod.PodSandboxId)); n != 0 {
		t.Error("the sandbox was told as a container")
	}

	// A containerd that serves no CRI is no fault.
	plain := testkit.StartContainerd(t)
	none := nowhere()
	none.CRI = []string{plain.Socket}
	d := discover(t, none)
	running(t, d)
	testkit.Eventually(t, "it was asked", func() bool { st := d.Status()[0]; return st.Health == Absent && st.Detail != "not asked yet" })

	if _, err := rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: made.ContainerId}); err != nil {
		t.Fatal(err)
	}
	byCRI.awaitGone(t, made.ContainerId)
	byAPI.awaitGone(t, made.ContainerId)
}
