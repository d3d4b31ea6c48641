package kernel

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestSessionsGetTheContainersPolicy comes into a container in the ways that
// administrators and runtimes do: what is started there is judged by the
// container's policy, whoever started it.
func TestSessionsGetTheContainersPolicy(t *testing.T) {
	_, err := exec.LookPath("nsenter")
	testkit.Require(t, "nsenter", err == nil, "install util-linux")
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	e.mustApply(t, b, listed())
	pid := strconv.Itoa(b.c.PID)
	root, err := cgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	procs := filepath.Join(root, b.id, "cgroup.procs")
	for i, tc := range []struct {
		name string
		run  func(program string) ([]byte, error)
	}{
		{"exec of the runtime", func(p string) ([]byte, error) { return runc("exec", b.id, p).CombinedOutput() }},
		{"a shell that exec of the runtime started", func(p string) ([]byte, error) {
			return runc("exec", b.id, "/bin/sh", "-c", p+"; true").CombinedOutput()
		}},
		{"nsenter that joins the cgroup", func(p string) ([]byte, error) {
			return exec.Command("/bin/sh", "-c", "echo $$ > "+procs+" && exec nsenter -t "+pid+" -m -p -u -i -n "+p).CombinedOutput()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if out, err := tc.run("/bin/true"); err != nil {
				t.Errorf("an allowed program: %v: %s", err, out)
			}
			if out, _ := tc.run("/usr/bin/tool"); strings.Contains(string(out), "tool\n") {
				t.Errorf("a program that is not allowed ran: %q", out)
			}
			eventually(t, "it is counted", func() bool { return e.Flush() == nil && e.sink.total(byPath("/usr/bin/tool")) == uint64(i+1) })
		})
	}
	if n := e.sink.total(anyDenial); n != 3 {
		t.Errorf("%d denials: %+v", n, e.sink.all())
	}
}
