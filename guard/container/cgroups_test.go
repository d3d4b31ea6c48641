package container

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	idA = strings.Repeat("a1", 32)
	idB = strings.Repeat("b2", 32)
)

func TestCgroupPath(t *testing.T) {
	for _, tc := range []struct{ name, text, v2, any string }{
		{"unified", "0::/system.slice/docker-" + idA + ".scope\n", "/system.slice/docker-" + idA + ".scope", "/system.slice/docker-" + idA + ".scope"},
		{"hybrid", "9:name=systemd:/docker/x\n8:pids:/docker/x\n0::/docker/x\n", "/docker/x", "/docker/x"},
		{"hybrid, no unified group", "9:name=systemd:/docker/x\n4:memory:/else\n0::/\n", "/", "/docker/x"},
		{"version 1 only", "5:devices:/docker/x\n4:memory:/docker/x\n", "/", "/docker/x"},
		{"host", "4:memory:/process/1\n0::/\n", "/", "/"},
		{"from within a cgroup namespace", "0::/../../docker/x\n", "/docker/x", "/docker/x"},
		{"only outside of it", "0::/../..\n", "/", "/"},
		{"deleted", "0::/docker/x (deleted)\n", "/docker/x", "/docker/x"},
		{"colons", "0::/a:b:c\n", "/a:b:c", "/a:b:c"},
		{"empty", "", "/", "/"},
		{"garbage", "x\n::\n0:\n0::relative\n", "/", "/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v2, any := cgroupPath([]byte(tc.text)); v2 != tc.v2 || any != tc.any {
				t.Errorf("got %q, %q; want %q, %q", v2, any, tc.v2, tc.any)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		want       []candidate
	}{
		{"docker, cgroupfs", "/docker/" + idA, []candidate{{ID: idA, Runtime: "docker", Path: "/docker/" + idA}}},
		{"docker, systemd", "/system.slice/docker-" + idA + ".scope", []candidate{{ID: idA, Runtime: "docker", Path: "/system.slice/docker-" + idA + ".scope"}}},
		{"containerd in kubernetes, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-" + idA + ".scope",
			[]candidate{{ID: idA, Runtime: "containerd", Path: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-" + idA + ".scope"}}},
		{"containerd in kubernetes, cgroupfs", "/kubepods/besteffort/pod1-2/" + idA, []candidate{
			{ID: "besteffort", Namespace: "kubepods", Runtime: "containerd", Path: "/kubepods/besteffort"}, {ID: idA, Runtime: "containerd", Path: "/kubepods/besteffort/pod1-2/" + idA}}},
		{"containerd with the wrong driver", "/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + idA,
			[]candidate{{ID: idA, Runtime: "containerd", Path: "/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:" + idA}}},
		{"containerd, any name", "/default/web-1", []candidate{{ID: "web-1", Namespace: "default", Runtime: "containerd", Path: "/default/web-1"}}},
		{"nerdctl, systemd", "/system.slice/nerdctl-" + idA + ".scope", []candidate{{ID: idA, Runtime: "containerd", Path: "/system.slice/nerdctl-" + idA + ".scope"}}},
		{"cri-o, systemd", "/kubepods.slice/kubepods-pod1.slice/crio-" + idA + ".scope/container",
			[]candidate{{ID: idA, Runtime: "cri", Path: "/kubepods.slice/kubepods-pod1.slice/crio-" + idA + ".scope"}}},
		{"podman, systemd", "/machine.slice/libpod-" + idA + ".scope/container", []candidate{{ID: idA, Runtime: "podman", Path: "/machine.slice/libpod-" + idA + ".scope"}}},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + idA, []candidate{{ID: idA, Runtime: "podman", Path: "/libpod_parent/libpod-" + idA}}},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + idA + ".scope", nil},
		{"ours", "/gabion/" + idA, []candidate{{ID: idA, Runtime: "namespaces", Path: "/gabion/" + idA}}},
		{"container in a container", "/docker/" + idA + "/kubelet/kubepods/pod1/" + idB, []candidate{
			{ID: idA, Runtime: "docker", Path: "/docker/" + idA},
			{ID: idB, Runtime: "containerd", Path: "/docker/" + idA + "/kubelet/kubepods/pod1/" + idB},
		}},
		{"systemd in a container", "/docker/" + idA + "/system.slice/cron.service", []candidate{{ID: idA, Runtime: "docker", Path: "/docker/" + idA}}},
		{"group below a container of any name", "/default/web-1/sub", []candidate{{ID: "web-1", Namespace: "default", Runtime: "containerd", Path: "/default/web-1"}}},
		{"root", "/", nil},
		{"service", "/system.slice/cron.service", nil},
		{"session", "/user.slice/user-1000.slice/session-2.scope", nil},
		{"identifier of another length", "/docker/" + idA[:32], []candidate{{ID: idA[:32], Namespace: "docker", Runtime: "containerd", Path: "/docker/" + idA[:32]}}},
		{"upper case is none", "/a.slice/y/" + strings.ToUpper(idA), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, candidates(tc.path)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzCandidates: whatever a process's cgroup is called (a container with a
// group of its own may choose names), what comes out is bounded, and names are
// such that they cannot lead outside when they become part of a path.
func FuzzCandidates(f *testing.F) {
	for _, s := range []string{"0::/docker/" + idA, "0::/default/x", "0::/../..", "0::/a:b:" + idB, "1:name=systemd:/x\n0::/", "0::/" + strings.Repeat("/a", 100)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v2, any := cgroupPath(text)
		for _, p := range []string{v2, any} {
			if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "/../") {
				t.Errorf("path %q", p)
			}
		}
		list := candidates(any)
		if len(list) > 64 {
			t.Errorf("%d candidates", len(list))
		}
		for _, c := range list {
			if c.ID == "" || strings.ContainsAny(c.ID, "/\x00 ") || !strings.HasPrefix(any+"/", c.Path+"/") {
				t.Errorf("candidate %+v of %q", c, any)
			}
		}
	})
}

func FuzzCRIInfo(f *testing.F) {
	f.Add(`{"pid":12,"runtimeSpec":{"process":{"args":["a","b"]}}}`)
	f.Add(`{"pid":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		if pid, args := criInfo(text); pid == 0 && args == nil {
			return
		}
	})
}

func ExampleCgroupOf() {
	path, id, err := CgroupOf(1)
	fmt.Println(path != "", err == nil, id > 0 || path == "/")
	// Output: true true true
}
