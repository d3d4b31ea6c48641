package kernel

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
)

// requireRefusal skips on kernels that permit no program which could let a
// call fail: nothing that could be installed would change that. The guests of
// test/vm claim that they can.
func requireRefusal(t *testing.T) {
	t.Helper()
	testkit.RequireRoot(t)
	testkit.RequireNamed(t, "refused calls", !typesRefused(), "this kernel refuses LSM and fmod_ret programs")
}

// What a kernel does about a canary must be what its list of security modules
// says, and some variant must work for every call.
func TestCanaries(t *testing.T) {
	requireRefusal(t)
	_ = unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, "")
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	testkit.Require(t, "securityfs", err == nil, "mount -t securityfs securityfs /sys/kernel/security")
	listed := slices.Contains(strings.Split(strings.TrimSpace(string(list)), ","), "bpf")
	var found []refusal
	for _, s := range hookSets() {
		found = append(found, s.tryAll()...)
	}
	for _, r := range found {
		if _, ok := r.works(); !ok || r.why() != "" {
			t.Errorf("%s: nothing refuses it: %s", r.hook, r.why())
		}
		for _, a := range r.tried {
			if a.mechanism() == "lsm" && (a.err == nil) != listed {
				t.Errorf("%s: %v, with bpf listed: %v", a.name, a.err, listed)
			}
			if a.mechanism() == "fmod_ret" && a.err != nil {
				t.Errorf("%s: %s: %v", r.hook, a.name, a.err)
			}
		}
	}
}

func TestRefusedTypesAreTold(t *testing.T) {
	r := refusal{hook: "execve", tried: []attempt{{variant{"a", "lsm/x"}, errType}, {variant{"b", "fmod_ret/y"}, nil}}}
	if v, ok := r.works(); !ok || v.mechanism() != "fmod_ret" || r.why() != "" {
		t.Errorf("%v %v %q", v, ok, r.why())
	}
	r.tried[1].err = errNotCompared
	if _, ok := r.works(); ok || !strings.Contains(r.why(), "lsm/x: load") || !strings.Contains(r.why(), "fmod_ret/y: nobody") {
		t.Errorf("why: %q", r.why())
	}
}

// mapperImage has a program that maps files.
func mapperImage(t *testing.T) string {
	t.Helper()
	image := newImage(t)
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for _, name := range []string{"usr/bin/mapper", "usr/bin/lib.so"} {
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(filepath.Join(image, name), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(out, in, 64<<10); name != "usr/bin/lib.so" {
			_, err = io.Copy(out, in)
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// mapperChild maps a file as code, and says how that ended.
func mapperChild() int {
	how, name := os.Args[1], os.Args[2]
	var fd int
	var err error
	if name == "memfd" {
		fd, err = memFile()
	} else {
		fd, err = unix.Open(name, unix.O_RDONLY, 0)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	prot := uintptr(unix.PROT_READ)
	if how == "mmap" {
		prot |= unix.PROT_EXEC
	}
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, pageSize, prot, unix.MAP_PRIVATE, uintptr(fd), 0)
	if errno == 0 && how == "mprotect" {
		_, _, errno = unix.Syscall(unix.SYS_MPROTECT, at, pageSize, unix.PROT_READ|unix.PROT_EXEC)
	}
	if errno != 0 {
		fmt.Println(errno)
		return 1
	}
	fmt.Println("mapped")
	return 0
}

func maps(how, name string) string { return "GABIONTEST_MODE=map /usr/bin/mapper " + how + " " + name }

func byMechanism(kernel bool) func(guard.Denial) bool {
	return func(d guard.Denial) bool {
		return (d.Mechanism == "lsm" || d.Mechanism == "fmod_ret") == kernel
	}
}

func TestRefuse(t *testing.T) {
	requireRefusal(t)
	image := mapperImage(t)
	b, other := sleeper(t, image), sleeper(t, image)
	pinDir := pins(t)
	e := start(t, Config{PinDir: pinDir})
	plan := makePlan(policy.ProcessPlan{
		Mode: v1alpha1.Protect, DenyDrift: true, Deny: []policy.ExecRule{file("/usr/bin/curl"), names("wget")},
		DriftAllow: []policy.ExecRule{tree("/data/ok")},
	})
	cov := e.mustApply(t, b, plan)
	if !strings.Contains(cov.Guarantee, "call that would start a forbidden program fails") || cov.Degraded != "" ||
		!strings.HasSuffix(cov.Mechanism, " + raw_tp+kill + fanotify") {
		t.Errorf("coverage: %+v", cov)
	}
	const no = "Operation not permitted"
	for _, tt := range []struct {
		name, script, says string
		denied             uint64
	}{
		{"image program", "/usr/bin/app", "app", 0},
		{"image script", "/usr/bin/script", "script", 0},
		{"image library", maps("mmap", "/usr/bin/lib.so"), "mapped", 0},
		{"image library made code", maps("mprotect", "/usr/bin/lib.so"), "mapped", 0},
		{"copied up, not changed", "chmod 700 /usr/bin/tool; /usr/bin/tool", "tool", 0},
		{"library copied up, not changed", "chmod 700 /usr/bin/lib.so; " + maps("mmap", "/usr/bin/lib.so"), "mapped", 0},
		{"its mapping made code", maps("mprotect", "/usr/bin/lib.so"), "mapped", 0},
		{"exempt volume", "mkdir -p /data/ok; cp /usr/bin/tool /data/ok/x; /data/ok/x", "tool", 0},
		{"exempt library", maps("mmap", "/data/ok/x"), "mapped", 0},
		{"nameless code of an exempt program", "cp /usr/bin/mapper /data/ok/mapper; GABIONTEST_MODE=map /data/ok/mapper mmap memfd", "mapped", 0},
		{"data of a volume", "cp /usr/bin/lib.so /data/lib.so; GABIONTEST_MODE=map /usr/bin/mapper read /data/lib.so", "mapped", 0},

		{"denied program", "/usr/bin/curl", no, 1},
		{"link to it", "/usr/local/bin/fetch", no, 1},
		{"hard link to it", "ln /usr/bin/curl /tmp/c; /tmp/c", no, 1},
		{"renamed", "mkdir /tmp/d; cp /usr/bin/curl /usr/bin/curl2; mv /usr/bin/curl /usr/bin/cu; /usr/bin/cu; mv /usr/bin/cu /usr/bin/curl", no, 1},
		{"applet", "/bin/wget", no, 1},
		{"applet by argument", "/bin/busybox wget", no, 1},
		{"another name", "ln -s /bin/busybox /tmp/wget; /tmp/wget", no, 1},
		{"chroot", "/bin/chroot / /usr/bin/curl", no, 1},
		{"new namespaces", "/bin/unshare -m /usr/bin/curl", no, 1},
		{"written", "cp /usr/bin/tool /tmp/new; /tmp/new", no, 1},
		{"volume", "cp /usr/bin/tool /data/new; /data/new", no, 1},
		{"shm", "cp /usr/bin/tool /dev/shm/new; /dev/shm/new", no, 1},
		{"changed in place", "cat /usr/bin/tool > /usr/local/bin/again; /usr/local/bin/again", no, 1},
		{"script", "printf '#!/bin/sh\\necho ran' > /tmp/s; chmod +x /tmp/s; /tmp/s", no, 1},
		{"script on a volume", "printf '#!/bin/sh\\necho ran' > /data/s; chmod +x /data/s; /data/s", no, 1},
		{"library of a volume", maps("mmap", "/data/lib.so"), strings.ToLower(no), 1},
		{"its mapping made code", maps("mprotect", "/data/lib.so"), strings.ToLower(no), 1},
		{"nameless library", maps("mmap", "memfd"), strings.ToLower(no), 1},
		{"its mapping made code", maps("mprotect", "memfd"), strings.ToLower(no), 1},
		{"written library", "cp /usr/bin/lib.so /tmp/lib.so; " + maps("mmap", "/tmp/lib.so"), "", 1},
		{"again", maps("mmap", "/tmp/lib.so"), strings.ToLower(no), 1},
		{"its mapping made code", maps("mprotect", "/tmp/lib.so"), strings.ToLower(no), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := e.sink.total(anyDenial)
			out, _ := b.sh(tt.script)
			if !strings.Contains(out, tt.says) || tt.denied > 0 && strings.Contains(out, "ran\n") {
				t.Errorf("%q, want %q", out, tt.says)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := e.sink.total(anyDenial) - before; got != tt.denied {
				t.Errorf("%d denials, want %d: %+v", got, tt.denied, e.sink.all())
			}
		})
	}
	for _, d := range e.sink.all() {
		// fanotify refuses scripts on the root; what was mapped before it was
		// compared ends with a kill.
		if !byMechanism(true)(d) && d.Path != "/tmp/s" && d.Path != "/tmp/lib.so" || d.Effect != event.Blocked {
			t.Errorf("not refused: %+v", d)
		}
		if strings.HasSuffix(d.Path, "lib.so") && (d.Kind != event.ProcessDrift || !strings.HasSuffix(d.Process.Exe, "mapper")) {
			t.Errorf("mapping: %+v", d)
		}
	}
	// Others are not concerned, and the kill switch works.
	if out, _ := other.sh("cp /usr/bin/tool /data/new; /data/new; /usr/bin/curl; " + maps("mmap", "memfd")); out != "tool\ncurl\nmapped\n" {
		t.Errorf("other container: %q", out)
	}
	if err := e.Off(true); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.sh("/data/new; " + maps("mmap", "/data/lib.so")); out != "tool\nmapped\n" {
		t.Errorf("with the kill switch: %q", out)
	}
	if err := e.Off(false); err != nil {
		t.Fatal(err)
	}
	// Without an agent it goes on, and the next agent goes on counting.
	e.stop()
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.sh("cp /data/new /data/lone; /data/lone; /data/s; " + maps("mmap", "/data/lib.so")); strings.Contains(out, "tool") || strings.Contains(out, "ran") || strings.Contains(out, "mapped") {
		t.Errorf("without an agent: %q", out)
	}
	next := start(t, Config{PinDir: pinDir})
	// Before Apply the next agent does not know where the volume is mounted.
	lone := func(d guard.Denial) bool { return strings.HasSuffix(d.Path, "/lone") }
	next.denied(t, 1, lone)
	next.mustApply(t, b, plan)
	if out, _ := b.sh("/data/lone"); !strings.Contains(out, no) {
		t.Errorf("adopted: %q", out)
	}
	next.denied(t, 2, lone)
}

// 1,000 attempts are 1,000 refusals of one cause, and nobody is killed.
func TestRefuseRetry(t *testing.T) {
	requireRefusal(t)
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	e.mustApply(t, b, listed(file("/usr/bin/app")))
	out, _ := b.sh("i=0; while [ $i -lt 1000 ]; do /usr/bin/tool 2>&1; i=$((i+1)); done; echo done")
	if strings.Contains(out, "tool\n") || strings.Count(out, "Operation not permitted") != 1000 || !strings.Contains(out, "done") {
		t.Errorf("%d refusals: %.200q", strings.Count(out, "Operation not permitted"), out)
	}
	e.denied(t, 1000, anyDenial)
	e.denied(t, 1000, byMechanism(true))
	if n := len(e.sink.all()); n != 1 {
		t.Errorf("%d causes, want 1", n)
	}
}

// Monitor counts once what would be refused, and refuses nothing.
func TestRefuseMonitor(t *testing.T) {
	requireRefusal(t)
	b := sleeper(t, mapperImage(t))
	e := start(t, Config{})
	e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Monitor, DenyDrift: true, Deny: []policy.ExecRule{file("/usr/bin/curl")}}))
	out, _ := b.sh(strings.Join([]string{
		"/usr/bin/curl", "cp /usr/bin/tool /data/new", "/data/new", "printf '#!/bin/sh\\necho ran' > /data/s", "chmod +x /data/s", "/data/s",
		"cp /data/s /tmp/s", "/tmp/s", maps("mmap", "memfd"), "cp /usr/bin/lib.so /tmp/lib.so", maps("mmap", "/tmp/lib.so"),
	}, "; "))
	if out != "curl\ntool\nran\nran\nmapped\nmapped\n" {
		t.Errorf("output: %q", out)
	}
	e.denied(t, 6, anyDenial)
	for _, d := range e.sink.all() {
		if d.Effect != event.WouldBlock || d.Count != 1 {
			t.Errorf("denial: %+v", d)
		}
	}
}

// loaderImage has a dynamically linked program.
func loaderImage(t *testing.T) string {
	t.Helper()
	image := newImage(t)
	for from, to := range map[string]string{
		"/lib64/ld-linux-x86-64.so.2": "lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6": "lib/x86_64-linux-gnu/libc.so.6",
		"/usr/bin/denv": "usr/bin/denv",
	} {
		raw, err := os.ReadFile(from)
		if err != nil && from == "/usr/bin/denv" {
			raw, err = os.ReadFile("/usr/bin/env")
		}
		testkit.Require(t, "a dynamically linked program", err == nil, "glibc and coreutils")
		if err := os.MkdirAll(filepath.Dir(filepath.Join(image, to)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(image, to), raw, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// The loader and LD_PRELOAD, for real.
func TestRefuseLoader(t *testing.T) {
	requireRefusal(t)
	b := sleeper(t, loaderImage(t))
	if out, code := b.exec("/usr/bin/denv", "X=loaded"); code != 0 || !strings.Contains(out, "X=loaded") {
		t.Fatalf("dynamic program: %q %d", out, code)
	}
	e := start(t, Config{})
	if _, err := e.Apply(context.Background(), b.c, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, DenyDrift: true})); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, script string
		runs         bool
		denied       uint64
	}{
		{"itself", "/usr/bin/denv X=loaded", true, 0},
		{"through the loader", "/lib64/ld-linux-x86-64.so.2 /usr/bin/denv X=loaded", true, 0},
		{"dropped program through the loader", "cp /usr/bin/denv /data/d; /lib64/ld-linux-x86-64.so.2 /data/d X=loaded", false, 1},
		{"written program through the loader", "cp /usr/bin/denv /tmp/d; /lib64/ld-linux-x86-64.so.2 /tmp/d X=loaded", false, 1},
		{"dropped library path", "mkdir /data/l; cp /lib/x86_64-linux-gnu/libc.so.6 /data/l/; LD_LIBRARY_PATH=/data/l /usr/bin/denv X=loaded", false, 1},
		{"preloaded library", "cp /lib/x86_64-linux-gnu/libc.so.6 /data/p.so; LD_PRELOAD=/data/p.so /usr/bin/denv X=loaded 2>&1 | head -1", false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := e.sink.total(anyDenial)
			out, _ := b.sh(tt.script)
			if strings.Contains(out, "X=loaded") != tt.runs {
				t.Errorf("output: %q", out)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := e.sink.total(anyDenial) - before; got != tt.denied {
				t.Errorf("%d denials, want %d: %+v", got, tt.denied, e.sink.all())
			}
		})
	}
}

// A program of the image that the loader is asked to run is judged as if it
// were started; its libraries are not programs.
func TestRefuseLoaded(t *testing.T) {
	requireRefusal(t)
	b := sleeper(t, loaderImage(t))
	e := start(t, Config{})
	const loader = "/lib64/ld-linux-x86-64.so.2"
	narrow := file("/usr/bin/denv")
	narrow.Args = []string{"X=loaded"}
	for i, tt := range []struct {
		name, script string
		plan         policy.ProcessPlan
		runs         bool
		reasons      policy.Reason
	}{
		{"denied", loader + " /usr/bin/denv X=loaded", policy.ProcessPlan{Deny: []policy.ExecRule{file("/usr/bin/denv")}}, false, policy.ReasonDenied},
		{"denied class", loader + " --library-path /lib/x86_64-linux-gnu /usr/bin/denv X=loaded", policy.ProcessPlan{Deny: []policy.ExecRule{names("denv")}}, false, policy.ReasonDenied},
		{"hard link", "ln /usr/bin/denv /tmp/x; " + loader + " /tmp/x X=loaded", policy.ProcessPlan{Deny: []policy.ExecRule{file("/usr/bin/denv")}}, false, policy.ReasonDenied},
		{"another is denied", loader + " /usr/bin/denv X=loaded", policy.ProcessPlan{Deny: []policy.ExecRule{file("/usr/bin/curl")}}, true, 0},
		{"listed", loader + " /usr/bin/denv X=loaded", policy.ProcessPlan{Listed: true, Allow: []policy.ExecRule{tree("/bin"), file(loader), file("/usr/bin/denv")}}, true, 0},
		{"not listed", loader + " /usr/bin/denv X=loaded", policy.ProcessPlan{Listed: true, Allow: []policy.ExecRule{tree("/bin"), file(loader)}}, false, policy.ReasonNotListed},
		{"its arguments are not seen", loader + " /usr/bin/denv X=loaded", policy.ProcessPlan{Listed: true, Allow: []policy.ExecRule{tree("/bin"), file(loader), narrow}}, false, policy.ReasonNotListed | policy.ReasonUnknown},
		{"itself", "/usr/bin/denv X=loaded", policy.ProcessPlan{Listed: true, Allow: []policy.ExecRule{tree("/bin"), file("/usr/bin/denv")}}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.plan.Mode = v1alpha1.Protect
			plan := makePlan(tt.plan)
			plan.ID = fmt.Sprint("loaded ", i)
			e.mustApply(t, b, plan)
			out, _ := b.sh(tt.script + " 2>&1")
			if strings.Contains(out, "X=loaded") != tt.runs {
				t.Errorf("output: %q", out)
			}
			told := e.told(t, planTag(plan))
			for key, n := range told {
				if n != 1 || policy.Reason(key.Reasons) != tt.reasons || key.Kind != kindMap {
					t.Errorf("%+v: %d", key, n)
				}
			}
			if (len(told) == 0) != tt.runs {
				t.Errorf("causes: %+v", told)
			}
		})
	}
}
