package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// listed allows what the tests themselves need, and more.
func listed(more ...policy.ExecRule) *policy.Plan {
	return makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: append([]policy.ExecRule{
		file("/bin/sh"), file("/bin/sleep"), file("/bin/ln"), file("/bin/mkdir"), file("/bin/mv"), file("/bin/cp"),
		file("/bin/mount"), file("/bin/unshare"), file("/bin/cat"), file("/bin/true"), file("/bin/chmod"),
	}, more...)})
}

func TestListAndCount(t *testing.T) {
	image := newImage(t)
	b, other := sleeper(t, image), sleeper(t, image)
	e := start(t, Config{})
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Fatalf("before: %q %d", out, code)
	}
	cov := e.mustApply(t, b, listed(file("/usr/bin/app"), file("/usr/bin/missing")))
	if !strings.HasSuffix(cov.Mechanism, mechanismKill) || cov.Degraded != "" || !slices.Equal(cov.Unmatched, []string{"13"}) {
		t.Errorf("coverage: %+v", cov)
	}
	if out, code := b.exec("/usr/bin/app"); code != 0 || out != "app\n" {
		t.Errorf("allowed program: %q %d", out, code)
	}
	out, _ := b.sh("i=0; while [ $i -lt 1000 ]; do /usr/bin/tool; i=$((i+1)); done; echo done")
	if strings.Contains(out, "tool\n") || !strings.Contains(out, "done") {
		t.Errorf("unlisted program ran: %q", out)
	}
	if out, code := other.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("other container: %q %d", out, code)
	}
	e.denied(t, 1000, byPath("/usr/bin/tool"))
	for _, d := range e.sink.all() {
		if d.Kind != event.ProcessExec || d.Effect != event.Blocked || d.Reasons != policy.ReasonNotListed || d.Rule != listRule ||
			d.ContainerID != b.id || d.Mechanism != e.execMechanism() || d.Process.PID == 0 || d.Process.PPID == 0 ||
			!slices.Equal(d.Process.Args, []string{"/usr/bin/tool"}) || d.Process.ParentExe != "busybox" || d.First.After(d.Last) {
			t.Errorf("denial: %+v", d)
		}
	}
	// What is observed while allowed names program and applet.
	eventually(t, "observations", func() bool {
		e.sink.mu.Lock()
		defer e.sink.mu.Unlock()
		return slices.ContainsFunc(e.sink.seen, func(o guard.Observation) bool {
			return o.ContainerID == b.id && o.Path == "/bin/busybox" && o.Applet == "sleep" && o.InImage
		}) && slices.ContainsFunc(e.sink.seen, func(o guard.Observation) bool {
			return o.Path == "/usr/bin/app" && o.Applet == "" && o.InImage
		})
	})

	// Without the plan the program runs again; with Monitor it is counted only.
	e.mustApply(t, b, nil)
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("after removing the plan: %q %d", out, code)
	}
	monitor := listed()
	monitor.Process.Mode, monitor.ID = v1alpha1.Monitor, "monitor"
	e.mustApply(t, b, monitor)
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("monitored: %q %d", out, code)
	}
	e.denied(t, 1, func(d guard.Denial) bool { return d.Effect == event.WouldBlock })

	// The kill switch lets everything pass and counts nothing.
	e.mustApply(t, b, listed())
	if err := e.Off(true); err != nil {
		t.Fatal(err)
	}
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("switched off: %q %d", out, code)
	}
	if err := e.Off(false); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.exec("/usr/bin/tool"); strings.Contains(out, "tool\n") {
		t.Errorf("switched on again: %q", out)
	}
	if err := e.Forget(b.id); err != nil {
		t.Fatal(err)
	}
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("forgotten: %q %d", out, code)
	}
}

func TestDrift(t *testing.T) {
	image := newImage(t)
	evil := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(evil, tinyELF("evil\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, noFan := range []bool{false, true} {
		name := "fanotify"
		if noFan {
			name = "without fanotify"
		}
		t.Run(name, func(t *testing.T) {
			b := sleeper(t, image)
			e := start(t, Config{NoFanotify: noFan})
			plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, DenyDrift: true, DriftAllow: []policy.ExecRule{tree("/data/ok")}})
			cov := e.mustApply(t, b, plan)
			_, refused := e.hooks.refuses(setProcess, hookExec) // scripts need no fanotify then
			if (cov.Degraded == "") == (noFan && !refused) {
				t.Errorf("coverage: %+v", cov)
			}
			drop := func(at string) {
				t.Helper()
				raw, err := os.ReadFile(evil)
				if err != nil {
					t.Fatal(err)
				}
				cmd := runc("exec", b.id, "/bin/sh", "-c", "cat > "+at+" && chmod 755 "+at)
				cmd.Stdin = strings.NewReader(string(raw))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("drop %s: %v: %s", at, err, out)
				}
			}
			check := func(what, script, word string, want policy.Reason, kind event.Kind, runs bool) {
				t.Helper()
				before := len(e.sink.all())
				out, _ := b.sh(script)
				if ran := strings.Contains(out, word+"\n"); ran != runs {
					t.Errorf("%s: ran %v, want %v: %q", what, ran, runs, out)
				}
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
				all := e.sink.all()
				if runs {
					if len(all) != before {
						t.Errorf("%s: denied: %+v", what, all)
					}
					return
				}
				if !slices.ContainsFunc(all, func(d guard.Denial) bool {
					return d.Reasons == want && d.Kind == kind && d.Rule == driftRule && d.Count == 1
				}) {
					t.Errorf("%s: no denial for %v of kind %v: %+v", what, want, kind, all)
				}
			}
			drop("/tmp/evil")
			check("dropped file", "/tmp/evil", "evil", policy.ReasonDrift, event.ProcessDrift, false)
			check("image file", "/usr/bin/app", "app", 0, "", true)
			drop("/usr/bin/curl")
			check("changed in place", "/usr/bin/curl", "evil", policy.ReasonChanged, event.ProcessDrift, false)
			{
				check("mode changed only", "/usr/bin/tool; /usr/bin/tool; chmod 700 /usr/bin/tool; /usr/bin/tool; chmod 755 /usr/bin/tool; /usr/bin/tool", "tool\ntool\ntool\ntool", 0, "", true)
				b.sh("/usr/local/bin/again; /usr/local/bin/again; cp /tmp/evil /usr/local/bin/new; cat /usr/local/bin/new > /usr/local/bin/again")
				check("changed after it ran", "/usr/local/bin/again", "evil", policy.ReasonChanged, event.ProcessDrift, false)
			}
			drop("/dev/shm/evil")
			check("shared memory", "/dev/shm/evil", "evil", policy.ReasonDrift, event.ProcessDrift, false)
			b.sh("mkdir -p /data/ok")
			drop("/data/ok/evil")
			check("exempt directory", "/data/ok/evil", "evil", 0, "", true)
			check("image script", "/usr/bin/script", "script", 0, "", true)
			if !noFan {
				b.sh("printf '#!/bin/sh\\necho dropped\\n' > /tmp/s; chmod 755 /tmp/s")
				check("dropped script", "/tmp/s", "dropped", policy.ReasonDrift, event.ProcessDrift, false)
				i := slices.IndexFunc(e.sink.all(), func(d guard.Denial) bool { return d.Mechanism == mechanismFanotify && d.Path == "/tmp/s" })
				if i < 0 {
					t.Errorf("no denial by fanotify: %+v", e.sink.all())
				}
			}
			check("renamed", "mv /tmp/evil /usr/bin/app2; /usr/bin/app2", "evil", policy.ReasonDrift, event.ProcessDrift, false)
		})
	}
}

// TestMemfd starts a program that has no name, from inside the container's
// identity: the test itself carries the number of a container.
func TestMemfd(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, DenyDrift: true}))
	cid, ok := e.Maps().CID(b.id)
	if !ok {
		t.Fatal("no number")
	}
	out, err := memfdRun(t, e.Maps(), cid)
	if err == nil || strings.Contains(out, "evil") {
		t.Errorf("memfd ran: %q %v", out, err)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if all := e.sink.all(); !slices.ContainsFunc(all, func(d guard.Denial) bool {
		return d.Kind == event.ProcessFileless && d.Reasons == policy.ReasonFileless && d.Path == "memfd:evil" && slices.Contains(d.Signals, "memfd")
	}) {
		t.Errorf("denials: %+v", all)
	}
}

func TestDenySticks(t *testing.T) {
	image := newImage(t)
	deny := func(rules ...policy.ExecRule) *policy.Plan {
		return makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Deny: rules})
	}
	for _, tt := range []struct {
		name, script, word string
		plan               *policy.Plan
		runs               bool
	}{
		{"class through busybox", "wget --help 2>&1", "Usage", deny(names("wget")), false},
		{"class through busybox by its own name", "/bin/busybox wget --help 2>&1", "Usage", deny(names("wget")), false},
		{"class through busybox twice", "/bin/busybox busybox wget --help 2>&1", "Usage", deny(names("wget")), false},
		{"class through a new link", "ln -s /bin/busybox /tmp/wget; /tmp/wget --help 2>&1", "Usage", deny(names("wget")), false},
		{"other applets run", "/bin/cat --help 2>&1", "Usage", deny(names("wget")), true},
		{"applet's path", "wget --help 2>&1", "Usage", deny(file("/bin/wget")), false},
		{"file", "/usr/bin/tool", "tool", deny(file("/usr/bin/tool")), false},
		{"hard link", "ln /usr/bin/tool /tmp/h; /tmp/h", "tool", deny(file("/usr/bin/tool")), false},
		{"renamed", "mv /usr/bin/tool /tmp/h; /tmp/h", "tool", deny(file("/usr/bin/tool")), false},
		{"symbolic link", "ln -s /usr/bin/tool /tmp/h; /tmp/h", "tool", deny(file("/usr/bin/tool")), false},
		{"rule on a symbolic link", "/usr/bin/curl", "curl", deny(file("/usr/local/bin/fetch")), false},
		{"class behind a symbolic link", "/usr/bin/curl", "curl", deny(names("fetch")), false},
		{"class renamed", "mv /usr/bin/tool /tmp/h; /tmp/h", "tool", deny(names("tool")), false},
		{"bind mount", "mkdir /tmp/d; mount --bind /usr/bin /tmp/d; /tmp/d/tool", "tool", deny(file("/usr/bin/tool")), false},
		{"tree through a bind mount", "mkdir /tmp/d; mount --bind /opt/tools /tmp/d; /tmp/d/one", "one", deny(tree("/opt")), false},
		// Overlays refuse to rename directories of the image: mv copies them,
		// and a copy is drift. Those that the container made can be renamed.
		{"renamed directory", "mv /data/tools /data/more; /data/more/in/one", "one", deny(tree("/data/tools")), false},
		{"renamed directory on the root", "mv /opt/own /opt/more; /opt/more/in/one", "one", deny(tree("/opt/own")), false},
		{"renamed parent", "mv /opt/own /srv; /srv/in/one", "one", deny(inDir("/opt/own/in")), false},
		{"directory", "/opt/tools/one", "one", deny(inDir("/opt/tools")), false},
		{"file below a directory", "/opt/own/in/one", "one", deny(inDir("/opt/own")), true},
		{"new mount namespace", "unshare -m /usr/bin/tool", "tool", deny(file("/usr/bin/tool")), false},
		{"new pid namespace", "unshare -p -f -m /bin/sh -c '/usr/bin/tool'", "tool", deny(file("/usr/bin/tool")), false},
		{"chroot", "mkdir /tmp/c; mount --bind / /tmp/c; chroot /tmp/c /usr/bin/tool", "tool", deny(file("/usr/bin/tool")), false},
		{"through /proc", "/proc/1/root/usr/bin/tool", "tool", deny(file("/usr/bin/tool")), false},
		{"waived", "/usr/bin/tool", "tool", makePlan(policy.ProcessPlan{
			Mode: v1alpha1.Protect, Deny: []policy.ExecRule{tree("/usr")}, Waive: []policy.ExecRule{file("/usr/bin/tool")},
		}), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := sleeper(t, image)
			b.sh("for d in /data/tools /opt/own; do mkdir -p $d/in; cp /opt/tools/one $d/in/one; done")
			e := shared(t)
			if _, err := e.Apply(context.Background(), b.c, tt.plan); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Forget(b.id); err != nil {
					t.Error(err)
				}
			})
			out, _ := b.sh(tt.script)
			if ran := strings.Contains(out, tt.word); ran != tt.runs {
				t.Errorf("ran %v, want %v: %q", ran, tt.runs, out)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			n := e.sink.total(func(d guard.Denial) bool { return d.ContainerID == b.id })
			if (n == 0) != tt.runs {
				t.Errorf("%d denials: %+v", n, e.sink.all())
			}
		})
	}
}

func TestAllowCannotBeBorrowed(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	e.mustApply(t, b, listed(file("/usr/bin/app"), tree("/opt")))
	for _, script := range []string{
		"mount --bind /usr/bin/tool /usr/bin/app; /usr/bin/app",
		"mkdir /tmp/o; mount --bind /usr /opt; /opt/bin/tool",
		"unshare -m /bin/sh -c 'mount --bind /usr/bin /opt; /opt/tool'",
	} {
		if out, _ := b.sh(script); strings.Contains(out, "tool") {
			t.Errorf("%s: %q", script, out)
		}
	}
}

func TestVolumeRules(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	b.sh("mkdir /data/bin; cp /usr/bin/tool /data/bin/tool; cp /usr/bin/tool /data/tool")
	e.mustApply(t, b, listed(tree("/data/bin")))
	if out, _ := b.sh("/data/bin/tool"); !strings.Contains(out, "tool") {
		t.Errorf("allowed on a volume: %q", out)
	}
	if out, _ := b.sh("/data/tool"); strings.Contains(out, "tool\n") {
		t.Errorf("not allowed on a volume: %q", out)
	}
	e.denied(t, 1, byPath("/data/tool"))
}

func TestTooDeep(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	deep := "/tmp" + strings.Repeat("/d", 40)
	b.sh("mkdir -p " + deep + "; cp /usr/bin/tool " + deep + "/tool")
	e.mustApply(t, b, listed(tree("/tmp")))
	if out, _ := b.sh(deep + "/tool"); strings.Contains(out, "tool\n") {
		t.Errorf("ran: %q", out)
	}
	e.denied(t, 1, hasReason(policy.ReasonTooDeep|policy.ReasonNotListed))
}

func TestCgroupMoveKeepsIdentity(t *testing.T) {
	image := newImage(t)
	b := newBox(t, image, "/bin/sh", "-c", "while true; do sleep 0.1; [ -f /tmp/go ] && /usr/bin/tool > /tmp/out; done").run()
	e := start(t, Config{})
	e.mustApply(t, b, listed())
	root, err := cgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(root, b.id+"-other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.remove()
		eventually(t, "cgroup removed", func() bool { return unix.Rmdir(other) == nil })
	})
	if err := os.WriteFile(filepath.Join(other, "cgroup.procs"), []byte(itoa(b.c.PID)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("/proc", itoa(b.c.PID), "root/tmp/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a denial", func() bool {
		return e.Flush() == nil && e.sink.total(byPath("/usr/bin/tool")) > 0
	})
	if out, err := os.ReadFile(filepath.Join("/proc", itoa(b.c.PID), "root/tmp/out")); err != nil || len(out) > 0 {
		t.Errorf("ran: %q %v", out, err)
	}
}

func TestQuarantineFlag(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	if err := e.SetQuarantine(b.id, true); !errors.Is(err, ErrUnknownContainer) {
		t.Errorf("unknown container: %v", err)
	}
	e.mustApply(t, b, nil)
	if err := e.SetQuarantine(b.id, true); err != nil {
		t.Fatal(err)
	}
	e.mustApply(t, b, listed()) // keeps what is not its own
	cid, _ := e.Maps().CID(b.id)
	var c Container
	if err := e.Maps().Containers.Lookup(cid, &c); err != nil || c.Flags&FlagQuarantine == 0 || c.Generation != 1 {
		t.Errorf("entry: %+v %v", c, err)
	}
}

func TestErrors(t *testing.T) {
	e := start(t, Config{})
	_, err := e.Apply(context.Background(), workload.Container{ID: "x", PID: 1 << 22}, nil)
	if !errors.Is(err, ErrGone) {
		t.Errorf("no such process: %v", err)
	}
	if _, err := e.Apply(context.Background(), workload.Container{ID: strings.Repeat("x", 200), PID: os.Getpid()}, nil); err == nil {
		t.Error("overlong identifier accepted")
	}
	if err := e.Forget("never seen"); err != nil {
		t.Errorf("forget: %v", err)
	}
	if err := e.Release(1 << 22); err != nil {
		t.Errorf("release: %v", err)
	}
	if _, err := Open(Config{PinDir: t.TempDir()}, Deps{Log: testLog(), Sink: newSink()}); err == nil {
		t.Error("opened on something that is no bpf file system")
	}
	if _, err := Open(Config{}, Deps{}); err == nil {
		t.Error("opened without a sink")
	}
}

// An agent that is killed leaves enforcement and counts in place; the next one
// adopts both, with the same identifiers.
func TestKilledAgent(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	pinDir := pins(t)
	agent := startAgent(t, pinDir)

	// The killed agent only keeps the pins; the policy comes from one before it.
	if _, err := Open(Config{PinDir: pinDir}, Deps{Log: testLog(), Sink: newSink()}); !errors.Is(err, ErrBusy) {
		t.Fatalf("second agent: %v", err)
	}
	kill := func() {
		t.Helper()
		if err := agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = agent.Wait()
	}
	kill()
	first := newSink()
	e, err := Open(Config{PinDir: pinDir}, Deps{Log: testLog(), Sink: first})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Apply(context.Background(), b.c, listed()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	st, err := Installed(pinDir)
	if err != nil || !st.Enforcing || st.Containers != 1 || st.AgentAlive {
		t.Errorf("installed: %+v %v", st, err)
	}

	// A loop of starts, while agents come and go.
	out := make(chan string, 1)
	go func() {
		text, _ := b.sh("i=0; while [ $i -lt 1000 ]; do /usr/bin/tool; i=$((i+1)); done; echo done")
		out <- text
	}()
	text := ""
	for text == "" {
		agent = startAgent(t, pinDir)
		kill()
		select {
		case text = <-out:
		default:
		}
	}
	if strings.Contains(text, "tool\n") || !strings.Contains(text, "done") {
		t.Errorf("ran: %q", text)
	}

	last := start(t, Config{PinDir: pinDir})
	last.denied(t, 1000, byPath("/usr/bin/tool"))
	if all := last.sink.all(); len(all) != 1 || all[0].Process.Args[0] != "/usr/bin/tool" || all[0].ContainerID != b.id {
		t.Errorf("denials: %+v", all)
	}
	// The same container keeps its number, and its policy can be replaced.
	last.mustApply(t, b, nil)
	if out, _ := b.sh("/usr/bin/tool"); out != "tool\n" {
		t.Errorf("after removing the plan: %q", out)
	}
}

// A cause that was told of before the next agent knew the container is told of
// again, with the path that the container would use.
func TestPathAfterRestart(t *testing.T) {
	b := sleeper(t, newImage(t))
	pinDir := pins(t)
	e := start(t, Config{PinDir: pinDir})
	plan := listed(file("/usr/bin/app"))
	e.mustApply(t, b, plan)
	e.stop()
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.sh("mkdir /data/d; cp /usr/bin/tool /data/d/t; /data/d/t"); strings.Contains(out, "tool") {
		t.Fatalf("ran: %q", out)
	}
	next := start(t, Config{PinDir: pinDir})
	next.denied(t, 1, byPath("/d/t")) // below the volume's own root
	next.mustApply(t, b, plan)
	next.denied(t, 1, byPath("/data/d/t"))
	if all := next.sink.all(); len(all) != 1 {
		t.Errorf("denials: %+v", all)
	}
}

// A newer kernel program takes over from an older one without a gap.
func TestUpgrade(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	pinDir := pins(t)
	open := func() *Engine {
		t.Helper()
		e, err := Open(Config{PinDir: pinDir}, Deps{Log: testLog(), Sink: newSink()})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	if _, err := e.Apply(context.Background(), b.c, listed()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir(linkDir(pinDir))
	if err != nil {
		t.Fatal(err)
	}
	// One link that is missing makes the set incomplete: all are replaced.
	if err := os.Remove(filepath.Join(linkDir(pinDir), before[0].Name())); err != nil {
		t.Fatal(err)
	}
	last := start(t, Config{PinDir: pinDir})
	after, err := os.ReadDir(linkDir(pinDir))
	if err != nil || len(after) != len(last.l.attachments) || after[0].Name() == before[0].Name() {
		t.Errorf("links: %v, before %v: %v", after, before, err)
	}
	if out, _ := b.exec("/usr/bin/tool"); strings.Contains(out, "tool\n") {
		t.Errorf("ran: %q", out)
	}
	last.denied(t, 1, anyDenial)
}

func stopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") T ")
}

// A fresh container is stopped before its first instruction, judged, and only
// then let go or killed.
func TestHold(t *testing.T) {
	image := newImage(t)
	// On a busy machine an answer may take longer than the default bound.
	e := start(t, Config{Hold: true, HoldBound: time.Minute})
	plan := listed(file("/usr/bin/app"))
	answer := func(b *box, plan *policy.Plan) {
		e.sink.mu.Lock()
		defer e.sink.mu.Unlock()
		e.sink.onStart = func(s guard.Start) {
			if !s.Held {
				t.Errorf("start not held: %+v", s)
			}
			c := workload.Container{ID: b.id, PID: s.PID, CgroupID: s.CgroupID}
			// It is told of on its way to the stop, before it runs.
			eventually(t, "stopped", func() bool { return stopped(s.PID) })
			if _, err := e.Apply(context.Background(), c, plan); err != nil {
				t.Errorf("apply: %v", err)
			}
			if err := e.Release(s.PID); err != nil {
				t.Errorf("release: %v", err)
			}
		}
	}
	// Containers that live for moments only: an allowed and a forbidden one.
	allowed := newBox(t, image, "/usr/bin/app")
	answer(allowed, plan)
	allowed.run()
	eventually(t, "output", func() bool { return allowed.output() == "app\n" })
	forbidden := newBox(t, image, "/usr/bin/tool")
	answer(forbidden, plan)
	forbidden.run()
	eventually(t, "a denial", func() bool {
		return e.Flush() == nil && e.sink.total(func(d guard.Denial) bool { return d.ContainerID == forbidden.id && d.Effect == event.Blocked }) == 1
	})
	if out := forbidden.output(); out != "" {
		t.Errorf("forbidden first program ran: %q", out)
	}
	// One that starts a forbidden program at once.
	quick := newBox(t, image, "/bin/sh", "-c", "/usr/bin/tool; echo end")
	answer(quick, plan)
	quick.run()
	eventually(t, "the end", func() bool { return strings.Contains(quick.output(), "end") })
	if out := quick.output(); strings.Contains(out, "tool") {
		t.Errorf("ran: %q", out)
	}
	// Nobody's container goes on at once.
	e.sink.mu.Lock()
	e.sink.onStart = func(s guard.Start) {
		if err := e.NotAContainer(s.CgroupID); err != nil {
			t.Error(err)
		}
	}
	e.sink.mu.Unlock()
	free := newBox(t, image, "/usr/bin/tool").run()
	eventually(t, "output", func() bool { return free.output() == "tool\n" })
}

func TestHoldBound(t *testing.T) {
	image := newImage(t)
	e := start(t, Config{Hold: true, HoldBound: 1})
	b := newBox(t, image, "/usr/bin/tool").run()
	eventually(t, "output", func() bool { return b.output() == "tool\n" })
	e.sink.mu.Lock()
	defer e.sink.mu.Unlock()
	if len(e.sink.starts) == 0 {
		t.Error("no start was told of")
	}
}

// What an agent held when it was killed goes on under the next one.
func TestHeldByKilledAgent(t *testing.T) {
	image := newImage(t)
	pinDir := pins(t)
	agent := startAgent(t, pinDir, "GABIONTEST_HOLD=1")
	b := newBox(t, image, "/usr/bin/tool").run()
	eventually(t, "a stopped process", func() bool { return stopped(b.c.PID) })
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	start(t, Config{PinDir: pinDir, Hold: true, HoldBound: 1})
	eventually(t, "output", func() bool { return b.output() == "tool\n" })
}

// Sets of rules that are not in force any more, and containers that are gone,
// leave nothing in the maps.
func TestForgetLeavesNothing(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	size := func(m *ebpf.Map) (n int) {
		t.Helper()
		key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
		it := m.Iterate()
		for it.Next(&key, &value) {
			n++
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	maps := e.Maps()
	e.mustApply(t, b, listed())
	rules := size(maps.execRules)
	for range 5 {
		e.mustApply(t, b, listed())
	}
	if n := size(maps.execRules); n != rules {
		t.Errorf("%d rules after the same plan again, %d before", n, rules)
	}
	b.exec("/usr/bin/tool")
	if known := e.Known(); !slices.Equal(known, []string{b.id}) {
		t.Errorf("known: %q", known)
	}
	if ended := e.Ended(); len(ended) != 0 {
		t.Errorf("called ended while it runs: %q", ended)
	}
	if err := e.Forget(b.id); err != nil {
		t.Fatal(err)
	}
	e.denied(t, 1, byPath("/usr/bin/tool")) // told before it was forgotten
	for name, m := range map[string]*ebpf.Map{
		"rules": maps.execRules, "containers": maps.Containers, "cgroups": maps.Cgroups, "counts": maps.Counts,
		"tasks": maps.Tasks, "callers": maps.callers, "conditions": maps.execConds, "accounts": maps.accounts, "files": maps.files, "names": maps.names,
	} {
		if n := size(m); n != 0 {
			t.Errorf("%s: %d entries left", name, n)
		}
	}
	// A number is never given twice.
	e.mustApply(t, b, nil)
	if cid, _ := maps.CID(b.id); cid != 2 {
		t.Errorf("number %d", cid)
	}
	b.remove()
	for deadline := time.Now().Add(5 * time.Second); len(e.Ended()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a container without processes is not called ended")
		}
	}
}

// A program that must be compared under an agent that does not know the
// container yet waits until it does.
func TestHeldForTheNextAgent(t *testing.T) {
	image := newImage(t)
	b := newBox(t, image, "/bin/sh", "-c", "while ! [ -f /tmp/go ]; do sleep 0.05; done; chmod 700 /usr/bin/tool; /usr/bin/tool; /bin/cp /usr/bin/app /tmp/x; /tmp/x; echo end").run()
	pinDir := pins(t)
	plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, DenyDrift: true})
	first, err := Open(Config{PinDir: pinDir}, Deps{Log: testLog(), Sink: newSink()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Apply(context.Background(), b.c, plan); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(true); err != nil {
		t.Fatal(err)
	}
	e := start(t, Config{PinDir: pinDir, HoldBound: time.Minute})
	if err := os.WriteFile(filepath.Join("/proc", itoa(b.c.PID), "root/tmp/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a held program", func() bool {
		n := 0
		_ = e.eachHeld(func(_ uint32, h heldValue) {
			if h.Released == 0 && h.CID != 0 {
				n++
			}
		})
		return n > 0
	})
	e.mustApply(t, b, plan)
	eventually(t, "the end", func() bool { return strings.Contains(b.output(), "end") })
	if out := b.output(); !strings.Contains(out, "tool") || strings.Contains(out, "app") {
		t.Errorf("output: %q", out)
	}
	eventually(t, "a denial", func() bool {
		return e.Flush() == nil && e.sink.total(func(d guard.Denial) bool { return d.Path == "/tmp/x" && d.Reasons == policy.ReasonDrift }) == 1
	})
}

// What a flood of new causes cannot tell apart is counted.
func TestLossesAreTold(t *testing.T) {
	e := start(t, Config{})
	if _, err := e.Maps().number("lossy"); err != nil {
		t.Fatal(err)
	}
	cid, _ := e.Maps().CID("lossy")
	for _, n := range []uint64{3, 5} {
		if err := errors.Join(e.Maps().accounts.Put(cid, account{Lost: [2]uint64{0, n}}), e.Maps().Overflow.Put(cid, 2*n)); err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	var sum guard.Loss
	for _, l := range e.sink.lost {
		sum.Observations += l.Observations
		sum.Causes += l.Causes
	}
	if sum.Observations != 5 || sum.Causes != 10 {
		t.Errorf("losses: %+v", e.sink.lost)
	}
}
