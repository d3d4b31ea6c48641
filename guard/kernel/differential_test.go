package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// shell is a shell that runs in a box since before any policy.
type shell struct {
	in  io.WriteCloser
	out *bufio.Reader
}

func newShell(t *testing.T, b *box) *shell {
	t.Helper()
	cmd := exec.Command("runc", "exec", b.id, "/bin/sh")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	s := &shell{in, bufio.NewReader(out)}
	s.do(t, "")
	return s
}

// do runs lines and gives what they wrote.
func (s *shell) do(t *testing.T, script string) string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho END-OF-LINE\n", script); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			t.Fatalf("shell: %v after %q", err, b.String())
		}
		if line == "END-OF-LINE\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// TestKernelAgreesWithDecide starts programs of every sort under many random
// plans: the kernel must reach the verdict of policy.(*ProcessPlan).Decide,
// with its reasons and its rule.
func TestKernelAgreesWithDecide(t *testing.T) {
	image := newImage(t)
	b := sleeper(t, image)
	e := start(t, Config{})
	sh := newShell(t, b)
	sh.do(t, "cp /usr/bin/tool /tmp/new; cat /usr/bin/app > /usr/local/bin/again; mkdir /data/bin; cp /usr/bin/tool /data/bin/vol; chmod 700 /usr/bin/tool")
	type start struct {
		command string
		exec    policy.Exec
	}
	starts := []start{
		{"/usr/bin/app", policy.Exec{Path: "/usr/bin/app", InImage: true}},
		{"/usr/bin/curl", policy.Exec{Path: "/usr/bin/curl", InImage: true}},
		{"/usr/local/bin/fetch", policy.Exec{Path: "/usr/bin/curl", InImage: true}},
		{"/usr/bin/tool", policy.Exec{Path: "/usr/bin/tool", InImage: true}},
		{"/opt/tools/one", policy.Exec{Path: "/opt/tools/one", InImage: true}},
		{"/bin/wget --help", policy.Exec{Path: "/bin/busybox", Applet: "wget", InImage: true}},
		{"/bin/busybox id", policy.Exec{Path: "/bin/busybox", Applet: "id", InImage: true}},
		{"/bin/busybox", policy.Exec{Path: "/bin/busybox", InImage: true}},
		{"/tmp/new", policy.Exec{Path: "/tmp/new"}},
		{"/usr/local/bin/again", policy.Exec{Path: "/usr/local/bin/again", InImage: true, Changed: true}},
		{"/data/bin/vol", policy.Exec{Path: "/data/bin/vol"}},
	}
	rules := []policy.ExecRule{
		file("/usr/bin/app"), file("/usr/bin/curl"), file("/usr/bin/tool"), file("/bin/wget"), file("/bin/busybox"), file("/tmp/new"),
		file("/data/bin/vol"), file("/nowhere"), file("/usr/bin/wget"), file("/sbin/id"),
		inDir("/usr/bin"), inDir("/bin"), inDir("/data"), inDir("/data/bin"), inDir("/opt"), inDir("/"),
		tree("/usr"), tree("/opt"), tree("/data"), tree("/tmp"), tree("/"), tree("/usr/bin"), tree("/data/bin"),
		names("wget", "nc"), names("tool", "new"), names("busybox"), names("id", "vol", "again"),
	}
	rng := rand.New(rand.NewPCG(1, 2))
	some := func(n int) (out []policy.ExecRule) {
		for range rng.IntN(n + 1) {
			out = append(out, rules[rng.IntN(len(rules))])
		}
		return out
	}
	for i := range 60 {
		p := policy.ProcessPlan{
			Mode: v1alpha1.Protect, DenyDrift: rng.IntN(2) == 0, Listed: rng.IntN(3) > 0,
			Allow: some(5), Deny: some(3), DriftAllow: some(2), Waive: some(1),
		}
		plan := makePlan(p)
		plan.ID = fmt.Sprintf("plan %d", i)
		// The directories' own objects make denials outlive renaming; nothing
		// is renamed here, so that both agree.
		if _, err := e.Apply(context.Background(), b.c, plan); err != nil {
			t.Fatal(err)
		}
		tag := planTag(plan)
		var script []string
		for _, s := range starts {
			script = append(script, s.command+" > /dev/null 2>&1")
		}
		sh.do(t, strings.Join(script, "\n"))
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		got := e.of(tag)
		for _, s := range starts {
			want := plan.Process.Decide(s.exec)
			j := slices.IndexFunc(got, func(d guard.Denial) bool { return d.Path == s.exec.Path && d.Applet == s.exec.Applet })
			switch {
			case !want.Deny && j < 0:
			case !want.Deny:
				t.Errorf("plan %d %+v: %s: kernel denied (%v, rule %d)", i, plan.Process, s.command, got[j].Reasons, got[j].Rule)
			case j < 0:
				t.Errorf("plan %d %+v: %s: kernel allowed, want %v, rule %d", i, plan.Process, s.command, want.Reasons, want.Rule)
			case got[j].Reasons != want.Reasons || got[j].Rule != want.Rule:
				t.Errorf("plan %d %+v: %s: kernel says %v, rule %d; want %v, rule %d", i, plan.Process, s.command, got[j].Reasons, got[j].Rule, want.Reasons, want.Rule)
			}
			agreeEvaluate(t, e, b, plan, s.exec)
		}
	}
}

// of gives the denials under one plan.
func (r *live) of(tag uint32) (out []guard.Denial) {
	r.report.mu.Lock()
	defer r.report.mu.Unlock()
	for key, c := range r.report.told {
		if key.Plan == tag {
			out = append(out, c.denial)
		}
	}
	return out
}

// agreeEvaluate checks the agent's own evaluator, for held programs, as well.
func agreeEvaluate(t *testing.T, e *live, b *box, plan *policy.Plan, x policy.Exec) {
	t.Helper()
	m := e.find(b.id)
	r, err := openRoot(b.c.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o, err := r.resolve(x.Path)
	if err != nil {
		t.Fatal(err)
	}
	s := subject{place: o.place, ino: o.ino, applet: x.Applet}
	switch {
	case !x.InImage:
		s.drifted = policy.ReasonDrift
	case x.Changed:
		s.drifted = policy.ReasonChanged
	}
	reasons, rule := evaluate(e.h, m.compiled, m.entry, s)
	want := plan.Process.Decide(x)
	if reasons != want.Reasons || reasons != 0 && rule != want.Rule {
		t.Errorf("%+v: %s: agent says %v, rule %d; want %v, rule %d", plan.Process, x.Path, reasons, rule, want.Reasons, want.Rule)
	}
}

// TestPlainRoot runs a container on a root that is no overlay.
func TestPlainRoot(t *testing.T) {
	image := newImage(t)
	b := newBox(t, image, "/bin/sleep", "1000")
	plain := filepath.Join(b.dir, "plain")
	makeImage(t, plain)
	raw, err := os.ReadFile(filepath.Join(b.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw = []byte(strings.Replace(string(raw), path.Join(b.dir, "rootfs"), plain, 1))
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run()
	e := start(t, Config{})
	cov := e.mustApply(t, b, makePlan(policy.ProcessPlan{
		Mode: v1alpha1.Protect, DenyDrift: true, Deny: []policy.ExecRule{file("/usr/bin/curl"), tree("/opt/tools")},
	}))
	if !strings.Contains(cov.Degraded, "not an overlay") {
		t.Errorf("coverage: %+v", cov)
	}
	for _, tt := range []struct {
		script, word string
		runs         bool
	}{
		{"/usr/bin/tool", "tool", true},
		{"/usr/bin/curl", "curl", false},
		{"mv /opt/tools /opt/more; /opt/more/one", "one", false},
		{"cp /usr/bin/tool /tmp/new; /tmp/new", "tool", false},
		{"cat /usr/bin/app > /usr/bin/tool; /usr/bin/tool", "app", false},
	} {
		if out, _ := b.sh(tt.script); strings.Contains(out, tt.word) != tt.runs {
			t.Errorf("%s: %q", tt.script, out)
		}
	}
	e.denied(t, 1, func(d guard.Denial) bool { return d.Path == "/usr/bin/curl" && d.Rule == 1 })
	e.denied(t, 1, byPath("/opt/more/one"))
	e.denied(t, 1, byPath("/tmp/new"))
}
