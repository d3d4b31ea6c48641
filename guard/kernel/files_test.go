package kernel

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// filesPlan makes a plan of a files section alone; the n-th rule has number n.
func filesPlan(p policy.FilesPlan) *policy.Plan {
	for i := range p.Rules {
		p.Rules[i].Rule = i + 1
	}
	plan := &policy.Plan{ID: fmt.Sprintf("%+v", p), Files: &p, Rules: make([]event.RuleRef, 100)}
	return plan
}

// mustApplyFiles lets the box's programs be found, and applies its files section.
func (r *live) mustApplyFiles(t testing.TB, b *box, plan *policy.Plan) guard.Coverage {
	t.Helper()
	r.mustApply(t, b, nil)
	cov, err := r.ApplyFiles(context.Background(), b.c, plan)
	if err != nil {
		t.Fatal(err)
	}
	return cov
}

const refusedText = "not permitted"

// TestFiles uses files in every way there is, under one plan that forbids it
// and beside it, and by every alias of a file.
func TestFiles(t *testing.T) {
	requireRefusal(t)
	image := newImage(t)
	b, other := sleeper(t, image), sleeper(t, image)
	e := start(t, Config{})
	setup := "mkdir -p /data/ro /data/rw /data/app /data/log /data/deep /tmp/w; for d in ro rw app log; do echo x > /data/$d/f; echo x > /data/$d/g; done; " +
		"echo secret > /etc/shadow; echo x > /tmp/w/f; ln /etc/shadow /tmp/before; ln -s /etc/shadow /tmp/sym; mkdir -p /etc/sub/a; echo y > /etc/sub/a/f; " +
		"cp /bin/busybox /usr/bin/reader"
	if out, code := b.sh(setup); code != 0 {
		t.Fatal(out)
	}
	if out, code := other.sh(setup); code != 0 {
		t.Fatal(out)
	}
	reader := []policy.ExecRule{file("/usr/bin/reader")}
	plan := filesPlan(policy.FilesPlan{Mode: v1alpha1.Protect, Rules: []policy.FileRule{
		{Match: policy.MatchFile, Path: "/etc/shadow", Access: policy.AccessRead, Deny: true},
		{Match: policy.MatchTree, Path: "/data/ro", Access: policy.AccessWrite, Deny: true},
		{Match: policy.MatchTree, Path: "/data/app", Access: policy.AccessRead, By: reader},
		{Match: policy.MatchDir, Path: "/data/log", Access: policy.AccessAppend | policy.AccessCreate},
		{Match: policy.MatchDir, Path: "/data/log", Access: policy.AccessModify, Deny: true},
		{Match: policy.MatchTree, Path: "/etc/sub", Access: policy.AccessRead, Deny: true},
		{Match: policy.MatchFile, Path: "/usr/bin/tool", Access: policy.AccessExecute, Deny: true},
	}})
	cov := e.mustApplyFiles(t, b, plan)
	if cov.Mechanism == "none" || cov.Degraded != "" || !strings.Contains(cov.Guarantee, "fails") || len(cov.Unmatched) != 0 {
		t.Errorf("coverage: %+v", cov)
	}
	const deny, pass = true, false
	sh := newShell(t, b)
	for _, tt := range []struct {
		name, script string
		refused      bool
		op           string
	}{
		{"read", "cat /etc/shadow", deny, "Read"},
		{"read another", "cat /etc/passwd 2>/dev/null; cat /data/rw/f", pass, ""},
		{"symbolic link", "cat /tmp/sym", deny, "Read"},
		{"hard link made before", "cat /tmp/before", deny, "Read"},
		{"hard link made now", "ln /etc/shadow /tmp/now; cat /tmp/now", deny, "Read"},
		{"by the root of the process", "cat /proc/self/root/etc/shadow", deny, "Read"},
		{"by the root of another", "cat /proc/1/root/etc/shadow", deny, "Read"},
		{"renamed", "mv /etc/shadow /tmp/moved; cat /tmp/moved; mv /tmp/moved /etc/shadow", deny, "Read"},
		{"renamed directory", "mv /etc /etd; cat /etd/shadow; mv /etd /etc", deny, "Read"},
		{"below a renamed directory", "mv /etc /etd; cat /etd/sub/a/f; mv /etd /etc", deny, "Read"},
		{"renamed tree", "mv /etc/sub /data/sub 2>/dev/null; mv /etc/sub /tmp/sub; cat /tmp/sub/a/f; mv /tmp/sub /etc/sub", deny, "Read"},
		{"bind mount", "mkdir -p /tmp/m; touch /tmp/m/f; mount -o bind /etc /tmp/m; cat /tmp/m/shadow; umount /tmp/m", deny, "Read"},
		{"new mount namespace", "unshare -m sh -c 'mount -o bind /etc /mnt 2>/dev/null; cat /etc/shadow'", deny, "Read"},
		{"new file in a denied tree", "echo n > /etc/sub/new; cat /etc/sub/new", deny, "Read"},
		{"list a denied tree", "ls /etc/sub", deny, "Read"},
		{"list beside it", "ls /etc > /dev/null", pass, ""},

		{"write", "echo y > /data/ro/f", deny, "Write"},
		{"write beside", "echo y > /data/rw/f", pass, ""},
		{"append", "echo y >> /data/ro/f", deny, "Append"},
		{"create", "echo y > /data/ro/new", deny, "Create"},
		{"create beside", "echo y > /data/rw/new; rm /data/rw/new", pass, ""},
		{"mkdir", "mkdir /data/ro/d", deny, "Create"},
		{"mkdir beside", "mkdir /data/rw/d; rmdir /data/rw/d", pass, ""},
		{"symlink", "ln -s x /data/ro/l", deny, "Create"},
		{"fifo", "busybox mkfifo /data/ro/p", deny, "Create"},
		{"delete", "rm -f /data/ro/f", deny, "Delete"},
		{"rename inside", "mv /data/ro/f /data/ro/h", deny, "Rename"},
		{"rename out", "mv /data/ro/f /data/rw/h", deny, "Rename"},
		{"rename in", "mv /data/rw/g /data/ro/h; rm -f /data/ro/h", deny, "Create"},
		{"rename over", "mv /data/rw/g /data/ro/f", deny, "Rename"},
		{"rename the tree", "mv /data/ro /data/ro2", deny, "Rename"},
		{"rename beside", "mv /data/rw/g /data/rw/h; mv /data/rw/h /data/rw/g", pass, ""},
		{"link", "ln /data/ro/f /data/rw/l", deny, "Link"},
		{"link beside", "ln /data/rw/f /data/rw/l; rm /data/rw/l", pass, ""},
		{"chmod", "chmod 600 /data/ro/f", deny, "Chmod"},
		{"chown", "busybox chown 1 /data/ro/f", deny, "Chmod"},
		{"times", "touch -t 202001010000 /data/ro/f 2>&1 || touch -d 2020-01-01 /data/ro/f", deny, "Chmod"},
		{"chmod beside", "chmod 600 /data/rw/f; touch /data/rw/f", pass, ""},
		{"truncate", "busybox truncate -s 0 /data/ro/f", deny, "Write"},
		{"read what may not be written", "cat /data/ro/f", pass, ""},

		{"by another program", "cat /data/app/f", deny, "Read"},
		{"by the program", "/usr/bin/reader cat /data/app/f", pass, ""},
		{"again by another", "cat /data/app/f", deny, "Read"},
		{"a file that is taken from under a rule", "mv /data/app/g /data/rw/z", deny, "Rename"},
		{"a link from under a rule", "ln /data/app/f /data/rw/z", deny, "Link"},
		{"write where only reading is guarded", "echo y > /data/app/f", pass, ""},
		{"taken by who may", "/usr/bin/reader mv /data/app/g /data/app/h; /usr/bin/reader mv /data/app/h /data/app/g", pass, ""},

		{"append to a log", "echo y >> /data/log/f", pass, ""},
		{"create a log", "echo y >> /data/log/h", pass, ""},
		{"change a log", "echo y > /data/log/f", deny, "Write"},
		{"deeper than the rule", "mkdir /data/log/d; echo y > /data/log/d/f", pass, ""},

		{"execute", "/usr/bin/tool", deny, "Execute"},
		{"execute another", "/usr/bin/app", pass, ""},
		{"execute a link", "ln -s /usr/bin/tool /tmp/t; /tmp/t", deny, "Execute"},
		{"read what may not be executed", "cat /usr/bin/tool > /dev/null", pass, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := e.sink.total(anyDenial)
			out := sh.do(t, "{ "+tt.script+"; } 2>&1")
			if got := strings.Contains(strings.ToLower(out), refusedText); got != tt.refused || strings.Contains(out, "secret") {
				t.Errorf("output: %q", out)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			if got := e.sink.total(anyDenial) - before; (got > 0) != tt.refused {
				t.Errorf("%d denials: %+v", got, e.sink.all())
			}
			if last, ok := e.sink.last(); tt.refused && (!ok || last.Operation != tt.op || last.Kind != event.FileAccess || last.Effect != event.Blocked || !strings.HasPrefix(last.Process.Exe, "/")) {
				t.Errorf("told: %+v", last)
			}
		})
	}
	// Others are not concerned.
	if out, code := other.sh("cat /etc/shadow; echo y > /data/ro/f; rm /data/ro/f; cat /data/app/f; /usr/bin/tool"); code != 0 || !strings.HasPrefix(out, "secret\nx\n") {
		t.Errorf("other container: %d %q", code, out)
	}
	// The kill switch works at once, also for verdicts that were kept.
	if err := e.Off(true); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.sh("cat /etc/shadow"); out != "secret\n" {
		t.Errorf("with the kill switch: %q", out)
	}
	if err := e.Off(false); err != nil {
		t.Fatal(err)
	}
	// In Monitor everything passes and is told.
	monitor := *plan.Files
	monitor.Mode = v1alpha1.Monitor
	e.mustApplyFiles(t, b, filesPlan(monitor))
	if out, _ := b.sh("cat /etc/shadow; cat /data/app/f"); !strings.HasPrefix(out, "secret\n") {
		t.Errorf("monitor: %q", out)
	}
	e.denied(t, 1, func(d guard.Denial) bool {
		return d.Path == "/etc/shadow" && d.Effect == event.WouldBlock && d.Rule == 1
	})
	e.denied(t, 1, func(d guard.Denial) bool {
		return d.Path == "/data/app/f" && d.Effect == event.WouldBlock && d.Rule == 3
	})
	// Without the section nothing is left of it.
	e.mustApplyFiles(t, b, nil)
	if out, _ := b.sh("cat /etc/shadow"); out != "secret\n" {
		t.Errorf("without: %q", out)
	}
}

// last is the denial that was told of last.
func (s *sink) last() (guard.Denial, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.order) == 0 {
		return guard.Denial{}, false
	}
	return s.order[len(s.order)-1], true
}
