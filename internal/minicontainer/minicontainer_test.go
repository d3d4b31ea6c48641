package minicontainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/internal/testkit"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Init()
	if len(os.Args) == 4 && os.Args[1] == "abandon" {
		abandon(os.Args[2], os.Args[3])
	}
	goleak.VerifyTestMain(m)
}

func testSpec(t *testing.T, args ...string) Spec {
	t.Helper()
	testkit.RequireRoot(t)
	dir := t.TempDir()
	return Spec{
		Lower:        []string{testkit.BusyboxRoot(t)},
		Dir:          filepath.Join(dir, "data"),
		StateDir:     filepath.Join(dir, "state"),
		CgroupParent: "gabiontest-mc-" + strconv.Itoa(os.Getpid()),
		Args:         args,
	}
}

func run(t *testing.T, spec Spec) *Container {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t *testing.T, c *Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func execOut(t *testing.T, c *Container, script string) string {
	t.Helper()
	var out bytes.Buffer
	st, err := c.Exec(context.Background(), ExecSpec{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	if st.Code != 0 {
		t.Fatalf("%s: %s: %s", script, st, out.String())
	}
	return strings.TrimSpace(out.String())
}

func TestInside(t *testing.T) {
	spec := testSpec(t, "sleep", "1000")
	spec.Hostname = "inside"
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("mounted\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec.Mounts = []Mount{
		{Source: secret, Target: "/run/secret", Options: []string{"ro"}},
		{Source: filepath.Dir(secret), Target: "/data"},
		{Source: "tmpfs", Target: "/scratch", Type: "tmpfs", Options: []string{"noexec", "size=1m"}},
	}
	c := run(t, spec)
	for _, tc := range []struct{ name, script, want string }{
		{"host name", "hostname", "inside"},
		{"first process", "tr '\\0' ' ' </proc/1/cmdline", "sleep 1000"},
		{"processes are its own", "ls -d /proc/[0-9]* | wc -l | grep -qE '^[2-9]$' && echo few", "few"},
		{"root is the overlay", "awk '$2==\"/\"{print $3}' /proc/mounts", "overlay"},
		{"no host mounts", "grep -c ' /dev/vda \\|/merged' /proc/mounts || true", "0"},
		{"null", "echo x >/dev/null && head -c 4 /dev/zero | wc -c", "4"},
		{"random", "head -c 8 /dev/urandom | wc -c", "8"},
		{"shm", "echo hi >/dev/shm/x && cat /dev/shm/x", "hi"},
		{"pts", "ls /dev/pts/ptmx", "/dev/pts/ptmx"},
		{"stdout link", "echo ok >/dev/stdout", "ok"},
		{"sys is read-only", "(echo x >/sys/x) 2>&1 | grep -c -i -e read-only -e denied; true", "1"},
		{"proc sys is read-only", "(echo x >/proc/sys/kernel/hostname) 2>&1 | grep -c -i read-only; true", "1"},
		{"only lo", "ls /sys/class/net", "lo"},
		{"lo is up", "ip -4 addr show lo | grep -c 127.0.0.1", "1"},
		{"capabilities", "awk '/^Cap(Eff|Bnd|Prm)/{print $2}' /proc/self/status | sort -u", "00000000a00425fb"},
		{"signals are unblocked", "awk '/^Sig(Blk|Ign)/{print $2}' /proc/1/status | sort -u", "0000000000000000"},
		{"no descriptors leak", "ls /proc/1/fd | tr '\\n' ' '", "0 1 2"},
		{"bind mount of a file", "cat /run/secret; echo x 2>/dev/null >/run/secret || echo refused", "mounted\nrefused"},
		{"bind mount of a directory", "cat /data/secret; touch /data/new && echo made", "mounted\nmade"},
		{"tmpfs with options", "awk '$2==\"/scratch\"{print $3, $4}' /proc/mounts | grep -o 'tmpfs.*noexec'", "tmpfs rw,noexec"},
		{"no mknod", "mknod /x b 8 0 2>/dev/null || echo refused", "refused"},
		{"no mount", "mount -t tmpfs t /tmp 2>/dev/null || echo refused", "refused"},
		{"program path", "readlink /proc/1/exe", "/bin/busybox"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := execOut(t, c, tc.script); got != tc.want {
				t.Errorf("%s\ngot  %q\nwant %q", tc.script, got, tc.want)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(c.Upper(), "run/secret")); err != nil || len(b) != 0 {
		t.Errorf("mount point in upper: %q, %v", b, err)
	}
}

func TestOutside(t *testing.T) {
	spec := testSpec(t, "sleep", "1000")
	spec.Name, spec.Image, spec.Labels = "shop", "busybox:test", map[string]string{"app": "shop"}
	c := run(t, spec)
	root, err := cgroup.Root()
	if err != nil {
		t.Fatal(err)
	}
	pids, err := cgroup.PIDs(filepath.Join(root, c.CgroupPath()))
	if err != nil || len(pids) != 1 || pids[0] != c.PID() {
		t.Errorf("cgroup holds %v (%v), want only %d", pids, err, c.PID())
	}
	if id, err := cgroup.ID(filepath.Join(root, c.CgroupPath())); err != nil || id == 0 || id != c.CgroupID() {
		t.Errorf("cgroup id %d, %v; container says %d", id, err, c.CgroupID())
	}
	for _, ns := range []string{"mnt", "pid", "uts", "ipc", "net"} {
		own, err1 := os.Readlink("/proc/self/ns/" + ns)
		its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID(), ns))
		if err1 != nil || err2 != nil || own == its {
			t.Errorf("namespace %s: %q and %q (%v, %v), want two", ns, own, its, err1, err2)
		}
	}
	// The container's first process is our child; nothing stays between.
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID())); err != nil || !strings.Contains(string(b), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
		t.Errorf("first process is not a child of this one: %v", err)
	}
	list, err := States(spec.StateDir)
	if err != nil || len(list) != 1 {
		t.Fatalf("states: %v, %v", list, err)
	}
	s := list[0]
	if s.ID != c.ID() || s.Name != "shop" || s.Image != "busybox:test" || s.Labels["app"] != "shop" || s.PID != c.PID() || !s.Alive() || s.Cgroup != c.CgroupPath() {
		t.Errorf("state %+v", s)
	}
	stop(t, c)
	stop(t, c) // again is no error
	if s.Alive() {
		t.Error("alive after stop")
	}
	if list, err := States(spec.StateDir); err != nil || len(list) != 0 {
		t.Errorf("states after stop: %v, %v", list, err)
	}
	for _, path := range []string{spec.Dir, filepath.Join(root, c.CgroupPath())} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestHowItEnds(t *testing.T) {
	for _, tc := range []struct {
		script string
		want   Status
		text   string
	}{
		{"exit 0", Status{}, "exit 0"},
		{"exit 7", Status{Code: 7}, "exit 7"},
		{"exec 2>&1; sh -c 'kill -9 $PPID'; kill -9 $$; sleep 0; exit 3", Status{Code: 3}, "exit 3"}, // pid 1 is immune from within
	} {
		t.Run(tc.text, func(t *testing.T) {
			c := run(t, testSpec(t, "sh", "-c", tc.script))
			if got := c.Wait(); got != tc.want || got.String() != tc.text {
				t.Errorf("got %v (%s), want %v", got, got, tc.want)
			}
		})
	}
	t.Run("killed from outside", func(t *testing.T) {
		c := run(t, testSpec(t, "sleep", "1000"))
		if err := unix.Kill(c.PID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := c.Wait(); got.Signal != syscall.SIGKILL || got.Code != 137 {
			t.Errorf("got %v", got)
		}
	})
}

func TestOutputAndInput(t *testing.T) {
	spec := testSpec(t, "sh", "-c", "cat; echo err >&2")
	var out, errs bytes.Buffer
	spec.Stdin, spec.Stdout, spec.Stderr = strings.NewReader("hello\n"), &out, &errs
	c := run(t, spec)
	if st := c.Wait(); st.Code != 0 {
		t.Fatal(st)
	}
	if out.String() != "hello\n" || errs.String() != "err\n" {
		t.Errorf("out %q, err %q", out.String(), errs.String())
	}
}

func TestExec(t *testing.T) {
	c := run(t, testSpec(t, "sleep", "1000"))
	ctx := context.Background()
	t.Run("status", func(t *testing.T) {
		st, err := c.Exec(ctx, ExecSpec{Args: []string{"sh", "-c", "exit 5"}})
		if err != nil || st.Code != 5 {
			t.Errorf("%v, %v", st, err)
		}
	})
	t.Run("signal", func(t *testing.T) {
		st, err := c.Exec(ctx, ExecSpec{Args: []string{"sh", "-c", "kill -TERM $$"}})
		if err != nil || st.Signal != syscall.SIGTERM {
			t.Errorf("%v, %v", st, err)
		}
	})
	t.Run("missing program", func(t *testing.T) {
		_, err := c.Exec(ctx, ExecSpec{Args: []string{"/no/such"}})
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("environment and directory", func(t *testing.T) {
		var out bytes.Buffer
		st, err := c.Exec(ctx, ExecSpec{Args: []string{"sh", "-c", "echo $A; pwd"}, Env: []string{"A=b"}, WorkDir: "/etc", Stdout: &out})
		if err != nil || st.Code != 0 || out.String() != "b\n/etc\n" {
			t.Errorf("%v, %v, %q", st, err, out.String())
		}
	})
	t.Run("in the cgroup and the pid namespace", func(t *testing.T) {
		if got := execOut(t, c, "cat /proc/self/cgroup | grep ^0:"); got != "0::"+c.CgroupPath() {
			t.Errorf("got %s", got)
		}
		if got := execOut(t, c, "test $$ -lt 1000 && echo low"); got != "low" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("ended by its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			_, _ = r.Read(make([]byte, 1))
			cancel()
		}()
		st, err := c.Exec(ctx, ExecSpec{Args: []string{"sh", "-c", "echo; exec sleep 1000"}, Stdout: w})
		w.Close()
		if !errors.Is(err, context.Canceled) || st.Signal != 0 && st.Signal != syscall.SIGKILL {
			t.Errorf("%v, %v", st, err)
		}
		root, _ := cgroup.Root()
		testkit.Eventually(t, "the program is gone", func() bool {
			pids, err := cgroup.PIDs(filepath.Join(root, c.CgroupPath()))
			return err == nil && len(pids) == 1
		})
	})
	t.Run("a descendant keeps the output", func(t *testing.T) {
		var out bytes.Buffer
		st, err := c.Exec(ctx, ExecSpec{Args: []string{"sh", "-c", "echo x; sleep 1000 & exit 0"}, Stdout: &out})
		if err != nil || st.Code != 0 || out.String() != "x\n" {
			t.Errorf("%v, %v, %q", st, err, out.String())
		}
	})
	t.Run("after its end", func(t *testing.T) {
		stop(t, c)
		if _, err := c.Exec(ctx, ExecSpec{Args: []string{"true"}}); err == nil {
			t.Error("no error")
		}
	})
}

func TestStartFails(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Spec)
		want   string
		is     error
	}{
		{"no such program", func(s *Spec) { s.Args = []string{"/no/such"} }, "execute /no/such", unix.ENOENT},
		{"not in PATH", func(s *Spec) { s.Args = []string{"nosuch"} }, "not found in the container's PATH", nil},
		{"not executable", func(s *Spec) { s.Args = []string{"/etc/passwd"} }, "execute /etc/passwd", unix.EACCES},
		{"no layer", func(s *Spec) { s.Lower = nil }, "no image directory", nil},
		{"layer is missing", func(s *Spec) { s.Lower = []string{"/no/such"} }, "mount overlay", unix.ENOENT},
		{"no network namespace", func(s *Spec) { s.Netns = "/no/such" }, "join network namespace", unix.ENOENT},
		{"mount source is missing", func(s *Spec) { s.Mounts = []Mount{{Source: "/no/such", Target: "/x"}} }, "mount /no/such on /x", unix.ENOENT},
		{"working directory is missing", func(s *Spec) { s.WorkDir = "/no/such" }, "change to /no/such", unix.ENOENT},
		{"id is a path", func(s *Spec) { s.ID = "../x" }, "plain file name", nil},
		{"zero byte", func(s *Spec) { s.Args = append(s.Args, "a\x00b") }, "zero byte", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			spec := testSpec(t, "sleep", "1000")
			tc.change(&spec)
			c, err := Start(context.Background(), spec)
			if err == nil {
				stop(t, c)
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("got %v, want %q (%v)", err, tc.want, tc.is)
			}
			if _, err := os.Stat(spec.Dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("its directory is left: %v", err)
			}
			if root, _ := cgroup.Root(); root != "" {
				if _, err := os.Stat(filepath.Join(root, spec.CgroupParent)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("its cgroup is left: %v", err)
				}
			}
		})
	}
}

func TestStopKillsAllAlsoFrozen(t *testing.T) {
	c := run(t, testSpec(t, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait"))
	root, _ := cgroup.Root()
	dir := filepath.Join(root, c.CgroupPath())
	if err := cgroup.Freeze(context.Background(), dir, true); err != nil {
		t.Fatal(err)
	}
	if !cgroup.Frozen(dir) {
		t.Error("not frozen")
	}
	pids, err := cgroup.PIDs(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, c)
	for _, pid := range pids {
		if StartTicks(pid) != 0 {
			t.Errorf("process %d is left", pid)
		}
	}
}

func TestSharedNetns(t *testing.T) {
	a := run(t, testSpec(t, "sleep", "1000"))
	spec := testSpec(t, "sleep", "1000")
	spec.Netns = fmt.Sprintf("/proc/%d/ns/net", a.PID())
	b := run(t, spec)
	spec = testSpec(t, "sleep", "1000")
	spec.Netns = "host"
	h := run(t, spec)
	net := func(pid string) string {
		s, err := os.Readlink("/proc/" + pid + "/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if net(strconv.Itoa(a.PID())) != net(strconv.Itoa(b.PID())) {
		t.Error("did not join the network namespace")
	}
	if net(strconv.Itoa(h.PID())) != net("self") {
		t.Error("not in the host's network namespace")
	}
}

func TestFiftyAtOnce(t *testing.T) {
	base := testSpec(t, "sleep", "1000")
	dir := t.TempDir()
	const n = 50
	list := make([]*Container, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			spec := base
			spec.Dir = filepath.Join(dir, strconv.Itoa(i))
			list[i], errs[i] = Start(context.Background(), spec)
		})
	}
	wg.Wait()
	t.Logf("%d containers in %v", n, time.Since(began))
	ids := map[uint64]bool{}
	for i, c := range list {
		if errs[i] != nil {
			t.Error(errs[i])
			continue
		}
		ids[c.CgroupID()] = true
		wg.Go(func() {
			if st, err := c.Exec(context.Background(), ExecSpec{Args: []string{"true"}}); err != nil || st.Code != 0 {
				t.Errorf("exec: %v, %v", st, err)
			}
			stop(t, c)
		})
	}
	wg.Wait()
	if len(ids) != n {
		t.Errorf("%d different cgroups, want %d", len(ids), n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in %s: %v, %v", dir, left, err)
	}
	root, _ := cgroup.Root()
	if _, err := os.Stat(filepath.Join(root, base.CgroupParent)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("cgroup is left: %v", err)
	}
}

// abandon is another process that starts a container and then dies.
func abandon(lower, dir string) {
	c, err := Start(context.Background(), Spec{
		Lower: []string{lower}, Dir: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "state"),
		CgroupParent: "gabiontest-mc-" + strconv.Itoa(os.Getppid()), Args: []string{"sleep", "1000"},
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.PID())
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
}

func TestClean(t *testing.T) {
	mine := testSpec(t, "sleep", "1000")
	dir := filepath.Dir(mine.StateDir)
	mine.Dir = filepath.Join(dir, "mine")
	keep := run(t, mine)

	out, runErr := exec.Command("/proc/self/exe", "abandon", mine.Lower[0], dir).Output()
	pid, numErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if numErr != nil {
		t.Fatalf("%s: %v, %v", out, runErr, numErr)
	}
	if StartTicks(pid) == 0 {
		t.Fatal("the abandoned container did not survive its owner")
	}
	// One whose owner died while making it.
	half := State{ID: "half", Name: "half", Args: []string{"x"}, Cgroup: "/" + mine.CgroupParent + "/half", Dir: filepath.Join(dir, "half"), Owner: pid, OwnerStartTicks: 1}
	root, err := cgroup.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(half.Dir, "upper"), filepath.Join(root, half.Cgroup)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeState(mine.StateDir, half); err != nil {
		t.Fatal(err)
	}
	if err := Clean(mine.StateDir); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{half.Dir, filepath.Join(root, half.Cgroup)} {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", d, err)
		}
	}
	if StartTicks(pid) != 0 {
		t.Error("the abandoned container still runs")
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
	list, err := States(mine.StateDir)
	if err != nil || len(list) != 1 || list[0].ID != keep.ID() {
		t.Errorf("states %v, %v; want only the one whose owner runs", list, err)
	}
	if StartTicks(keep.PID()) == 0 {
		t.Error("Clean killed a container whose owner runs")
	}
	if err := Clean(filepath.Join(dir, "no such")); err != nil {
		t.Errorf("cleaning where nothing is: %v", err)
	}
}

func TestStatesReportsBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	if err := writeState(dir, State{ID: "a", Name: "good"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := States(dir)
	if len(list) != 1 || list[0].Name != "good" || err == nil || !strings.Contains(err.Error(), "b.json") {
		t.Errorf("%v, %v", list, err)
	}
}

func BenchmarkStart(b *testing.B) {
	testkit.RequireRoot(b)
	dir := b.TempDir()
	spec := Spec{
		Lower: []string{testkit.BusyboxRoot(b)}, StateDir: filepath.Join(dir, "state"), Dir: filepath.Join(dir, "data"),
		CgroupParent: "gabiontest-mc-" + strconv.Itoa(os.Getpid()), Args: []string{"true"},
	}
	for b.Loop() {
		c, err := Start(context.Background(), spec)
		if err != nil {
			b.Fatal(err)
		}
		c.Wait()
		if err := c.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
