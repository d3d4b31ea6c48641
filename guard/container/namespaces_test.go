package container

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

func TestMadeByOurselves(t *testing.T) {
	var state string
	c := mini(t, func(s *minicontainer.Spec) {
		s.Name, s.Image, s.Labels = "web-1", "shop/web:1", map[string]string{"gabion.dev/namespace": "shop", "gabion.dev/workload": "web", "app": "web"}
		state = s.StateDir
	})
	cfg := nowhere()
	cfg.StateDirs, cfg.NoScan = []string{state}, false
	d := discover(t, cfg)
	r := running(t, d)
	got := r.await(t, c.ID())
	want := workload.Ref{Namespace: "shop", Name: "web", Kind: "Container"}
	check(t, got, "namespaces", "web-1", want)
	if got.PID != c.PID() || got.CgroupID != c.CgroupID() || got.CgroupPath != c.CgroupPath() || got.Image != "shop/web:1" || !slices.Equal(got.Args, []string{"sleep", "1000"}) {
		t.Errorf("container %+v", got)
	}

	t.Run("identify", func(t *testing.T) {
		fresh := discover(t, cfg)
		id, ok, err := fresh.Identify(context.Background(), c.PID(), c.CgroupID())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if err := same(id, got); err != nil {
			t.Error(err)
		}
	})
	t.Run("identify by another process", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			_, err := c.Exec(ctx, minicontainer.ExecSpec{Args: []string{"sh", "-c", "echo; exec sleep 1000"}, Stdout: w})
			w.Close()
			done <- err
		}()
		_, _ = r.Read(make([]byte, 1))
		root, _ := cgroup.Root()
		var pids []int
		testkit.Eventually(t, "the way in is gone, two are left", func() bool {
			pids, err = cgroup.PIDs(filepath.Join(root, c.CgroupPath()))
			return err == nil && len(pids) == 2
		})
		for _, pid := range pids {
			id, ok, err := discover(t, cfg).Identify(context.Background(), pid, 0)
			if err != nil || !ok || id.PID != c.PID() {
				t.Errorf("process %d: %+v, %v, %v", pid, id, ok, err)
			}
		}
		cancel()
		<-done
		r.Close()
	})
	t.Run("starts and ends later", func(t *testing.T) {
		late := mini(t, func(s *minicontainer.Spec) { s.StateDir = state })
		check(t, r.await(t, late.ID()), "namespaces", late.Name(), workload.Ref{Namespace: "default", Name: late.Name(), Kind: "Container"})
		if err := late.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.awaitGone(t, late.ID())
	})
	t.Run("identifier of its own", func(t *testing.T) {
		own := mini(t, func(s *minicontainer.Spec) { s.StateDir = state; s.ID = "web" })
		check(t, r.await(t, "web"), "namespaces", "web", workload.Ref{Namespace: "default", Name: "web", Kind: "Container"})
		id, ok, err := discover(t, cfg).Identify(context.Background(), own.PID(), 0)
		if err != nil || !ok || id.ID != "web" {
			t.Errorf("%+v, %v, %v", id, ok, err)
		}
	})
	t.Run("ends by itself", func(t *testing.T) {
		late := mini(t, func(s *minicontainer.Spec) { s.StateDir = state; s.Args = []string{"cat"}; s.Stdin = nil })
		late.Wait()
		r.awaitGone(t, late.ID())
	})
	if n := len(r.of(c.ID())); n != 1 {
		t.Errorf("told %d times: %+v", n, r.of(c.ID()))
	}
}

func TestAnonymous(t *testing.T) {
	c := mini(t, nil) // its state directory is not looked at
	cfg := nowhere()
	cfg.NoScan = false
	r := running(t, discover(t, cfg))
	got := r.await(t, c.ID())
	check(t, got, "namespaces", c.Name(), workload.Ref{Namespace: "default", Name: c.Name(), Kind: "Container"})
	if err := c.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(t, c.ID())
}

// TestNotContainers are things that have some of what containers have.
func TestNotContainers(t *testing.T) {
	testkit.RequireRoot(t)
	root, err := cgroup.Root()
	if err != nil {
		t.Fatal(err)
	}
	d := discover(t, nowhere())
	for _, tc := range []struct {
		name, group string
		unshare     []string
		outsider    bool // a process of the host is in the group as well
		want        bool
	}{
		{name: "service with PrivateTmp", group: "a.service", unshare: []string{"-m"}},
		{name: "service with its own pid namespace", group: "b.service", unshare: []string{"-m", "-p", "--fork"}},
		{name: "cgroup alone", group: "c"},
		{name: "pid namespace alone", group: "d", unshare: []string{"-p", "--fork"}},
		{name: "sandbox of a browser beside its parent", group: "e.scope", unshare: []string{"-m", "-p", "--fork"}, outsider: true},
		{name: "namespaces without cgroup", unshare: []string{"-m", "-p", "--fork"}},
		{name: "a container made by hand", group: "f", unshare: []string{"-m", "-p", "--fork", "--mount-proc"}, want: true},
		{name: "a machine", group: "machine-g.scope", unshare: []string{"-m", "-p", "--fork"}, want: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := root
			if tc.group != "" {
				dir = filepath.Join(root, fmt.Sprintf("gabiontest-%d", os.Getpid()), tc.group)
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := cgroup.Kill(context.Background(), filepath.Dir(dir)); err != nil {
						t.Error(err)
					}
					if err := cgroup.Remove(context.Background(), filepath.Dir(dir)); err != nil {
						t.Error(err)
					}
				})
			}
			// The shell enters the cgroup, unshare forks the tree's first
			// process, and unless there is an outsider the shell leaves.
			leave := "echo $$ >" + filepath.Join(root, "cgroup.procs")
			if tc.outsider {
				leave = "true"
			}
			script := `echo $$ >"$0/cgroup.procs"; "$@" & ` + leave + `; echo $!; wait`
			args := append([]string{"-c", script, dir}, "sleep", "1000")
			if tc.unshare != nil {
				args = append(append([]string{"-c", script, dir, "unshare", "--kill-child"}, tc.unshare...), "sleep", "1000")
			}
			cmd := exec.Command("sh", args...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			child := 0
			if _, err := fmt.Fscan(out, &child); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if p, err := os.FindProcess(child); err == nil {
					_ = p.Kill()
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			pid := child
			if slices.Contains(tc.unshare, "--fork") {
				testkit.Eventually(t, "the tree's first process", func() bool {
					b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", child, child))
					pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
					return pid != 0 && slices.Equal(arguments(pid), []string{"sleep", "1000"})
				})
				if !tc.outsider && tc.group != "" { // unshare stays outside too
					if err := os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(child)), 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			c, ok, err := d.Identify(context.Background(), pid, 0)
			if err != nil || ok != tc.want {
				t.Errorf("identified: %v, %v, %+v; want %v", ok, err, c, tc.want)
			}
			if ok && (!isID(c.ID) || c.PID != pid || c.Name == "") {
				t.Errorf("container %+v", c)
			}
		})
	}
}

func TestIdentifyGone(t *testing.T) {
	c := mini(t, nil)
	d := discover(t, nowhere())
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dead := cmd.Process.Pid
	if _, ok, err := d.Identify(context.Background(), dead, 0); ok || !errors.Is(err, ErrGone) {
		t.Errorf("%v, %v", ok, err)
	}
	// Its cgroup still tells which container it was in.
	got, ok, err := d.Identify(context.Background(), dead, c.CgroupID())
	if err != nil || !ok || got.ID != c.ID() || got.PID != c.PID() {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if err := c.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := d.Identify(context.Background(), dead, c.CgroupID()); ok || !errors.Is(err, ErrGone) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestAddresses(t *testing.T) {
	c := mini(t, nil)
	if list, err := Addresses(c.PID()); err != nil || len(list) != 0 {
		t.Errorf("a fresh namespace: %v, %v", list, err)
	}
	for _, args := range [][]string{
		{"link", "add", "gt0", "type", "veth", "peer", "name", "gt1"}, {"link", "set", "gt1", "up"}, {"addr", "add", "192.0.2.7/24", "dev", "gt0"},
		{"addr", "add", "2001:db8::7/64", "dev", "gt0", "nodad"}, {"link", "set", "gt0", "up"},
	} {
		cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.PID()), "-n", "ip"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			testkit.Require(t, "netns", false, fmt.Sprintf("cannot make an interface: ip %v: %v: %s", args, err, out))
		}
	}
	list, err := Addresses(c.PID())
	want := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	list = slices.DeleteFunc(list, netip.Addr.IsLinkLocalUnicast) // veth makes them up
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%v, %v; want %v", list, err, want)
	}
	before, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // threads must come back
		if _, err := Addresses(c.PID()); err != nil {
			t.Fatal(err)
		}
		if now, err := os.Readlink("/proc/thread-self/ns/net"); err != nil || now != before {
			t.Fatalf("in %s, was in %s (%v)", now, before, err)
		}
	}
}

// TestGroupsBelow: a container that makes groups below its own does not become
// another one, whatever it names them.
func TestGroupsBelow(t *testing.T) {
	var state string
	victim := mini(t, func(s *minicontainer.Spec) { state = s.StateDir })
	known := mini(t, func(s *minicontainer.Spec) { s.StateDir = state })
	unknown := mini(t, func(s *minicontainer.Spec) { s.ID = "unknown" })
	cfg := nowhere()
	cfg.StateDirs = []string{state}
	d := discover(t, cfg)
	running(t, d).await(t, victim.ID())
	root, _ := cgroup.Root()
	for _, c := range []*minicontainer.Container{known, unknown} {
		before, ok, err := d.Identify(context.Background(), c.PID(), 0)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		for _, name := range []string{victim.ID(), "docker-" + victim.ID() + ".scope", "cron.service", "a/b"} {
			below := filepath.Join(root, c.CgroupPath(), name)
			if err := os.MkdirAll(below, 0o755); err != nil {
				t.Fatal(err)
			}
			var pid int
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = c.Exec(ctx, minicontainer.ExecSpec{Args: []string{"sleep", "7777"}})
			}()
			testkit.Eventually(t, "a process to move", func() bool {
				pids, err := cgroup.PIDs(filepath.Join(root, c.CgroupPath()))
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range pids {
					if slices.Equal(arguments(p), []string{"sleep", "7777"}) {
						pid = p
					}
				}
				return pid != 0
			})
			if err := os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				t.Fatal(err)
			}
			got, ok, err := d.Identify(context.Background(), pid, 0)
			if err != nil || !ok || got.PID != c.PID() || c == known && got.ID != before.ID {
				t.Errorf("in %s: %+v, %v, %v; want %s", name, got, ok, err, before.Short())
			}
			cancel()
			<-done
		}
	}
}

func TestHostNetwork(t *testing.T) {
	c := mini(t, func(s *minicontainer.Spec) { s.Netns = "host" })
	got, ok, err := discover(t, nowhere()).Identify(context.Background(), c.PID(), 0)
	if err != nil || !ok || !got.HostNetwork || len(got.Addresses) != 0 {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}

func TestContain(t *testing.T) {
	mc := mini(t, func(s *minicontainer.Spec) { s.Args = []string{"sh", "-c", "sleep 1000 & sleep 1000"} })
	ctx := context.Background()
	c, ok, err := discover(t, nowhere()).Identify(ctx, mc.PID(), 0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	other := c
	other.CgroupID++
	if err := (Freezer{}).Pause(ctx, other, true); err == nil || !strings.Contains(err.Error(), "another container") {
		t.Errorf("paused a cgroup that was made again: %v", err)
	}
	host := workload.Container{ID: "x", CgroupPath: "/"}
	if err := (Freezer{}).Kill(ctx, host); err == nil {
		t.Error("killed the root group")
	}
	root, _ := cgroup.Root()
	dir := filepath.Join(root, c.CgroupPath)
	if err := (Freezer{}).Pause(ctx, c, true); err != nil || !cgroup.Frozen(dir) {
		t.Errorf("pause: %v", err)
	}
	if err := (Freezer{}).Kill(ctx, c); err != nil {
		t.Error(err)
	}
	if st := mc.Wait(); st.Code != 137 {
		t.Errorf("it ended with %s", st)
	}
	if pids, err := cgroup.PIDs(dir); err != nil || len(pids) != 0 {
		t.Errorf("processes left: %v, %v", pids, err)
	}
}

func BenchmarkIdentify(b *testing.B) {
	testkit.RequireRoot(b)
	dir := b.TempDir()
	spec := minicontainer.Spec{
		Lower: []string{testkit.BusyboxRoot(b)}, Dir: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "state"),
		CgroupParent: "gabiontest-" + strconv.Itoa(os.Getpid()), Args: []string{"sleep", "1000"},
	}
	c, err := minicontainer.Start(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Stop(context.Background())
	cfg := nowhere()
	cfg.StateDirs = []string{spec.StateDir}
	d, err := New(cfg, quiet())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok, err := d.Identify(context.Background(), c.PID(), c.CgroupID()); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
