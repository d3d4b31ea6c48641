package kernel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// told gives the causes of one plan with their counts.
func (r *live) told(t *testing.T, tag uint32) map[CountKey]uint64 {
	t.Helper()
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	r.report.mu.Lock()
	defer r.report.mu.Unlock()
	out := map[CountKey]uint64{}
	for key, c := range r.report.told {
		if key.Plan == tag {
			out[key] = c.n
		}
	}
	return out
}

// TestNarrowAgreesWithDecide starts programs with arguments, from several
// starters, and scripts, under random plans whose rules have conditions: the
// kernel must reach the verdict of policy.(*ProcessPlan).Decide.
func TestNarrowAgreesWithDecide(t *testing.T) {
	image := newImage(t)
	for _, name := range []string{"opt/tools/job.sh", "opt/run.sh", "etc/s"} {
		if err := os.WriteFile(filepath.Join(image, name), []byte("echo ran\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b := sleeper(t, image)
	e := start(t, Config{})
	sh := newShell(t, b)
	sh.do(t, "mkdir -p /data/jobs; cp /etc/s /data/jobs/s; cp /etc/s /data/s")
	type start struct {
		command string // by the shell; "": from outside
		exec    policy.Exec
	}
	by := func(parent, command, program string, args ...string) start {
		return start{command, policy.Exec{Path: program, InImage: true, Parent: parent, Args: args}}
	}
	shell := func(command, script string, args ...string) start {
		return start{command, policy.Exec{Path: "/bin/busybox", Applet: "sh", InImage: true, Parent: "/bin/sh", Args: args, Script: script}}
	}
	env := policy.Exec{Path: "/bin/busybox", Applet: "env", InImage: true, Parent: "/bin/sh"}
	starts := []start{
		by("/bin/sh", "/usr/bin/app", "/usr/bin/app"),
		by("/bin/sh", "/usr/bin/app -s http://host/x", "/usr/bin/app", "-s", "http://host/x"),
		by("/bin/sh", "/usr/bin/app -s http://evil/x", "/usr/bin/app", "-s", "http://evil/x"),
		by("/bin/sh", "/usr/bin/app ''", "/usr/bin/app", ""),
		by("/bin/sh", "/usr/bin/curl abcab", "/usr/bin/curl", "abcab"),
		by("/bin/env", "/bin/env /usr/bin/app", "/usr/bin/app"),
		by("/bin/env", "/bin/env /usr/bin/tool -s", "/usr/bin/tool", "-s"),
		by("", "", "/usr/bin/app"),
		by("", "", "/usr/bin/app", "-s", "http://host/x"),
		{"/bin/busybox ls -s", policy.Exec{Path: "/bin/busybox", Applet: "ls", InImage: true, Parent: "/bin/sh", Args: []string{"-s"}}},
		{"/bin/ls -s /etc", policy.Exec{Path: "/bin/busybox", Applet: "ls", InImage: true, Parent: "/bin/sh", Args: []string{"-s", "/etc"}}},
		shell("/bin/sh /opt/run.sh", "/opt/run.sh", "/opt/run.sh"),
		shell("cd /opt/tools; /bin/sh -eu job.sh; cd /", "/opt/tools/job.sh", "-eu", "job.sh"),
		shell("cd /opt; /bin/sh ./tools//job.sh a; cd /", "/opt/tools/job.sh", "./tools//job.sh", "a"),
		shell("/bin/sh -c : /opt/run.sh", "", "-c", ":", "/opt/run.sh"),
		shell("/bin/sh < /opt/run.sh", ""),
		shell("/bin/sh - < /opt/run.sh", "", "-"),
		shell("/bin/sh /data/jobs/s", "/data/jobs/s", "/data/jobs/s"),
		shell("cd /data; /bin/sh -- s; cd /", "/data/s", "--", "s"),
		shell("/bin/sh -x -c : /opt/run.sh", "", "-x", "-c", ":", "/opt/run.sh"),
	}
	programs := []policy.ExecRule{
		file("/usr/bin/app"), file("/usr/bin/curl"), file("/usr/bin/tool"), file("/bin/ls"), file("/bin/sh"), file("/bin/env"),
		inDir("/usr/bin"), tree("/"), names("ls", "app"), names("sh"),
	}
	args := [][]string{nil, nil, {}, {"-s", "**"}, {"-s"}, {"-s", "http://host/*"}, {"*"}, {"a*b"}, {"a*c*b"}, {"**"}, {"-s", "*/x"}, {"*.sh"}, {"/opt/run.sh"}, {"*c", "**"}}
	parents := [][]string{nil, nil, {policy.Entrypoint}, {"/bin/sh"}, {"/bin/env"}, {"/usr/bin/app", "/bin/env"}, {"/bin/*"}, {"/**"}, {"/usr/**"}, {policy.Entrypoint, "/bin/env"}, {}}
	users := [][]uint32{nil, nil, nil, {0}, {7}, {5, 0}, {}}
	scripts := [][]string{nil, {"/opt/run.sh"}, {"/opt/**"}, {"/opt/*"}, {"/data/jobs/*", "/data/s"}, {"/data/**"}, {"/**"}, {}}
	rng := rand.New(rand.NewPCG(3, 4))
	some := func(n int) (out []policy.ExecRule) {
		for range rng.IntN(n + 1) {
			r := programs[rng.IntN(len(programs))]
			r.Args, r.Parents, r.Users = args[rng.IntN(len(args))], parents[rng.IntN(len(parents))], users[rng.IntN(len(users))]
			// Which options only shells take is known of rules about shells.
			if r.Path == "/bin/sh" || slices.Equal(r.Names, []string{"sh"}) {
				r.Scripts = scripts[rng.IntN(len(scripts))]
			}
			out = append(out, r)
		}
		return out
	}
	for i := range 60 {
		plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: rng.IntN(3) > 0, Allow: some(12), Deny: some(3), Waive: some(2)})
		plan.ID = fmt.Sprintf("narrow %d", i)
		cov, err := e.Apply(context.Background(), b.c, plan)
		if err != nil || cov.Degraded != "" {
			t.Fatal(err, cov)
		}
		tag := planTag(plan)
		before := e.told(t, tag)
		for _, s := range starts {
			if strings.HasPrefix(s.command, "/bin/env") {
				x := env
				x.Args = strings.Fields(s.command)[1:]
				if plan.Process.Decide(x).Deny {
					continue // the starter itself does not start
				}
			}
			if s.command == "" {
				if i%4 > 0 {
					continue // a session costs as much as all the others
				}
				b.exec(append([]string{s.exec.Path}, s.exec.Args...)...)
			} else {
				sh.do(t, s.command+" > /dev/null 2>&1")
			}
			after := e.told(t, tag)
			var got []CountKey
			for key, n := range after {
				if n != before[key] {
					got = append(got, key)
				}
			}
			before = after
			want := plan.Process.Decide(s.exec)
			switch {
			case !want.Deny && len(got) > 0, want.Deny && len(got) != 1:
				t.Errorf("plan %d %+v: %q: kernel says %+v, want %v, rule %d", i, plan.Process, s.command, got, want.Reasons, want.Rule)
			case want.Deny && (policy.Reason(got[0].Reasons) != want.Reasons || int(got[0].Rule) != want.Rule):
				t.Errorf("plan %d %+v: %q: kernel says %v, rule %d; want %v, rule %d", i, plan.Process, s.command,
					policy.Reason(got[0].Reasons), got[0].Rule, want.Reasons, want.Rule)
			}
			agreeNarrow(t, e, b, plan, s.exec)
			if t.Failed() && i > 5 {
				return
			}
		}
	}
}

// agreeNarrow checks the agent's own evaluator, for held programs, as well.
func agreeNarrow(t *testing.T, e *live, b *box, plan *policy.Plan, x policy.Exec) {
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
	s := subject{place: o.place, ino: o.ino, applet: x.Applet, uid: x.UID, args: x.Args, caller: callerOutside}
	if x.Parent != "" {
		p, err := r.resolve("/bin/busybox")
		if err != nil {
			t.Fatal(err)
		}
		s.caller = m.callerBits(e.h, subject{place: p.place, ino: p.ino, applet: strings.TrimPrefix(x.Parent, "/bin/")})
	}
	if x.Script != "" {
		s.script, _ = m.scriptBits(b.c.PID, []string{x.Script})
	}
	reasons, rule := evaluate(e.h, m.compiled, m.entry, s)
	want := plan.Process.Decide(x)
	if reasons != want.Reasons || reasons != 0 && rule != want.Rule {
		t.Errorf("%+v: %+v: agent says %v, rule %d; want %v, rule %d", plan.Process, x, reasons, rule, want.Reasons, want.Rule)
	}
}

func TestNarrowUsers(t *testing.T) {
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	app := file("/usr/bin/app")
	app.Users = []uint32{7, 9}
	e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{app}}))
	for user, runs := range map[string]bool{"7": true, "9:3": true, "0": false, "8": false} {
		out, err := runc("exec", "-u", user, b.id, "/usr/bin/app").CombinedOutput()
		if (string(out) == "app\n" && err == nil) != runs {
			t.Errorf("user %s: %q %v", user, out, err)
		}
	}
	e.denied(t, 2, anyDenial)
}

// What a task ran when its container's policy changed is known to the next
// policy, and what an in-place exec leaves behind is not the starter any more.
func TestCallersFollow(t *testing.T) {
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	sh := newShell(t, b)
	plan := func(id string, parents ...string) *policy.Plan {
		app := file("/usr/bin/app")
		app.Parents = parents
		p := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{app, file("/bin/sh"), file("/bin/env")}})
		p.ID = id
		return p
	}
	for i, tt := range []struct {
		parents []string
		script  string
		runs    bool
	}{
		{[]string{"/bin/sh"}, "/usr/bin/app", true},
		{[]string{"/bin/env"}, "/usr/bin/app", false},
		{[]string{"/bin/env"}, "/bin/env /usr/bin/app", true},
		{[]string{"/bin/sh"}, "/bin/env /usr/bin/app", false},
		{[]string{"/bin/sh"}, "/bin/env /bin/sh -c '/usr/bin/app; :'", true},
		// An orphan's starter is the shell that it was forked from.
		{[]string{"/bin/sh"}, ": >/tmp/said; (/usr/bin/app >/tmp/said &); while ! read word </tmp/said; do :; done; echo $word", true},
		{[]string{policy.Entrypoint}, "/usr/bin/app", false},
	} {
		e.mustApply(t, b, plan(fmt.Sprint("callers ", i), tt.parents...))
		if out := sh.do(t, tt.script+" 2>&1"); slices.Contains(strings.Split(out, "\n"), "app") != tt.runs {
			t.Errorf("%v: %s: %q", tt.parents, tt.script, out)
		}
	}
	if n := len(e.told(t, planTag(plan("callers 6")))); n != 1 {
		t.Errorf("%d causes", n)
	}
}

// Entrypoint means the first program whether policy came before or after it,
// and sessions, but not what a running container starts.
func TestEntrypoint(t *testing.T) {
	image := newImage(t)
	e := start(t, Config{})
	shell, app := file("/bin/sh"), file("/usr/bin/app")
	shell.Parents, app.Parents = []string{policy.Entrypoint}, []string{policy.Entrypoint}
	plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{shell, app, file("/bin/sleep")}})
	b := newBox(t, image, "/bin/sh", "-c", "/usr/bin/app; echo then; sleep 1000").create()
	e.mustApply(t, b, plan)
	if err := runc("start", b.id).Run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the entrypoint runs", func() bool { return strings.Contains(b.output(), "then") })
	if strings.Contains(b.output(), "app\n") {
		t.Errorf("started by the shell: %q", b.output())
	}
	e.denied(t, 1, anyDenial)
	if out, code := b.exec("/usr/bin/app"); code != 0 || out != "app\n" {
		t.Errorf("session: %q %d", out, code)
	}
	if out, _ := b.sh("/usr/bin/app"); strings.Contains(out, "app\n") {
		t.Errorf("in a session's shell: %q", out)
	}
	e.denied(t, 2, anyDenial)
	if all := e.sink.all(); slices.ContainsFunc(all, func(d guard.Denial) bool { return slices.Contains(d.Signals, "from-outside") }) {
		t.Errorf("signals: %+v", all)
	}
}

func TestConditionsBeyondBounds(t *testing.T) {
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	long := file("/usr/bin/app")
	long.Args = []string{strings.Repeat("x", condText)}
	cov := e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{long, tree("/bin")}}))
	if !strings.Contains(cov.Degraded, "more than 256 bytes") {
		t.Errorf("coverage: %+v", cov)
	}
	if out, code := b.exec("/usr/bin/app", long.Args[0]); code == 0 {
		t.Errorf("an allow beyond the bounds matches: %q", out)
	}
	deny := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Deny: []policy.ExecRule{long}})
	deny.ID = "deny"
	e.mustApply(t, b, deny)
	if out, code := b.exec("/usr/bin/app", "y"); code == 0 {
		t.Errorf("a deny beyond the bounds does not match: %q", out)
	}
	many := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true})
	for i := range maxConds + 5 {
		r := file("/usr/bin/app")
		r.Args, r.Rule = []string{fmt.Sprint(i)}, i+1
		many.Process.Allow = append(many.Process.Allow, r)
	}
	cov = e.mustApply(t, b, many)
	if !strings.Contains(cov.Degraded, fmt.Sprintf("more than %d rules with conditions", maxConds)) {
		t.Errorf("coverage: %+v", cov)
	}
	if out, code := b.exec("/usr/bin/app", "3"); code != 0 {
		t.Errorf("within the bounds: %q", out)
	}
	if out, code := b.exec("/usr/bin/app", fmt.Sprint(maxConds+2)); code == 0 {
		t.Errorf("beyond the bounds: %q", out)
	}
	// Arguments of which the kernel reads only the beginning.
	cut := file("/usr/bin/app")
	cut.Args = []string{"*", "end"}
	begin := file("/usr/bin/tool")
	begin.Args = []string{"a*", "**"}
	plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{cut, begin}})
	plan.ID = "cut"
	e.mustApply(t, b, plan)
	if out, code := b.exec("/usr/bin/app", strings.Repeat("a", 600), "end"); code == 0 {
		t.Errorf("what was not read matches an allow: %q", out)
	}
	if out, code := b.exec("/usr/bin/tool", "ab", strings.Repeat("a", 600)); code != 0 {
		t.Errorf("what was read suffices: %q", out)
	}
	e.denied(t, 1, func(d guard.Denial) bool { return d.Reasons == policy.ReasonNotListed|policy.ReasonUnknown })
}

func TestGlobArgs(t *testing.T) {
	for _, tt := range []struct {
		patterns, args []string
		want           bool
	}{
		{[]string{}, nil, true}, {[]string{}, []string{""}, false}, {[]string{"*"}, []string{""}, true}, {[]string{"a*b*c"}, []string{"abbc"}, true},
		{[]string{"*", "b"}, []string{"a", "b"}, true}, {[]string{"*"}, []string{"a", "b"}, false}, {[]string{"*a"}, []string{"aab"}, false},
		{[]string{"**"}, []string{"a", "b"}, true}, {[]string{"x", "**"}, []string{"x"}, true}, {[]string{"\xc3\xbf*"}, []string{"\xff"}, false},
	} {
		text := argsText(tt.patterns)
		if got := globArgs(text, tt.args); got != tt.want {
			t.Errorf("%q %q: %v", tt.patterns, tt.args, got)
		}
	}
}

func TestScriptOf(t *testing.T) {
	for _, tt := range []struct {
		args  string
		want  string
		shell bool
	}{
		{"a.py x", "a.py", false}, {"-u a.py", "a.py", false}, {"-e a.sh", "a.sh", true}, {"-eu -- -x", "-x", true}, {"-c a", "", false},
		{"-", "", false}, {"", "", false}, {"--norc a", "", false}, {"-uc a", "", false}, {"--", "", false},
	} {
		if got, shell := scriptOf(strings.Fields(tt.args)); got != tt.want || got != "" && shell != tt.shell {
			t.Errorf("%q: %q %v", tt.args, got, shell)
		}
	}
}

func TestParseIDMap(t *testing.T) {
	got := parseIDMap("         0     100000      65536\nbad line here\n     70000          5          1\n 1 2\n")
	if !slices.Equal(got, []idRange{{0, 100000, 65536}, {70000, 5, 1}}) {
		t.Errorf("%+v", got)
	}
	c := compiler{idmap: got}
	if ids := c.users([]uint32{0, 1000, 65536, 70000}); !slices.Equal(ids, []uint32{100000, 101000, 5}) {
		t.Errorf("users: %v", ids)
	}
}

func FuzzGlobArgs(f *testing.F) {
	f.Add("a*b", "axb", "**", "y")
	f.Fuzz(func(t *testing.T, p1, a1, p2, a2 string) {
		if strings.ContainsAny(p1+p2+a1+a2, "\x00") || strings.ToValidUTF8(p1+p2+a1+a2, "") != p1+p2+a1+a2 {
			return
		}
		rule := policy.ExecRule{Match: policy.MatchFile, Path: "/x", Args: []string{p1, p2}}
		want := !(&policy.ProcessPlan{Listed: true, Allow: []policy.ExecRule{rule}}).Decide(policy.Exec{Path: "/x", InImage: true, Args: []string{a1, a2}}).Deny
		if got := globArgs(argsText(rule.Args), []string{a1, a2}); got != want {
			t.Errorf("%q against %q: %v, want %v", rule.Args, []string{a1, a2}, got, want)
		}
	})
}
