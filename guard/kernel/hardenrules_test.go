package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
)

// ids are the files of this test's own directory, as they are found in its root.
func idOf(t testing.TB, name string) fileID {
	t.Helper()
	r, err := openRoot(os.Getpid())
	testkit.Require(t, "own root", err == nil, "a root that mountinfo lists")
	defer r.Close()
	o, err := r.resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	return fileID{o.dev, o.ino}
}

func TestCompileHardening(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	a, deep, data, multi := write("a", 0o755), write("sub/deep", 0o755), write("data", 0o644), write("busybox", 0o755)
	for to, from := range map[string]string{"link": a, "wget": multi} {
		if err := os.Symlink(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name   string
		exempt policy.ExecRule
		want   []string
	}{
		{"file", file(a), []string{a}},
		{"link", file(at("link")), []string{a}},
		{"missing", file(at("missing")), nil},
		{"below a file", file(a + "/x"), nil},
		{"directory as a file", file(dir), nil},
		{"multi-call program by its own name", file(multi), []string{multi}},
		{"multi-call program by another", file(at("wget")), nil},
		{"directory", inDir(dir), []string{a, multi}},
		{"tree", tree(dir), []string{a, multi, deep}},
		{"missing tree", tree(at("missing")), nil},
		{"narrowed", policy.ExecRule{Match: policy.MatchFile, Path: a, Users: []uint32{1}}, nil},
		{"unknown match", policy.ExecRule{Match: "?", Path: a}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, may, unmatched, err := compileHardening(os.Getpid(), &policy.HardeningPlan{
				Mode: "Protect", Deny: []policy.HardeningRule{{Switch: policy.SwitchMount, Rule: 3}, {Switch: policy.SwitchWritableCode, Rule: 9, Exempt: []policy.ExecRule{tt.exempt}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if h.Mode != modeProtect || h.Deny != 1<<policy.SwitchMount|1<<policy.SwitchWritableCode || h.Rule[policy.SwitchMount] != 3 || h.Rule[policy.SwitchWritableCode] != 9 {
				t.Errorf("entry: %+v", h)
			}
			if len(may) != len(tt.want) || (len(unmatched) > 0) != (len(tt.want) == 0) {
				t.Fatalf("exempt %v, unmatched %v, want %v", may, unmatched, tt.want)
			}
			for _, w := range tt.want {
				if may[idOf(t, w)] != 1<<policy.SwitchWritableCode {
					t.Errorf("%s is not exempt: %v", w, may)
				}
			}
			if _, ok := may[idOf(t, data)]; ok {
				t.Error("what is no program is exempt")
			}
		})
	}
	if _, _, _, err := compileHardening(os.Getpid(), &policy.HardeningPlan{Deny: []policy.HardeningRule{{Switch: policy.NumSwitches}}}); err == nil {
		t.Error("a switch that does not exist is accepted")
	}
	gone := &policy.HardeningPlan{Deny: []policy.HardeningRule{{Exempt: []policy.ExecRule{file(a)}}}}
	if _, _, _, err := compileHardening(1<<30, gone); !errors.Is(err, ErrGone) {
		t.Errorf("a process that is gone: %v", err)
	}
}

// Whatever a rule says, it exempts from its own switch alone, and only files.
func FuzzCompileHardening(f *testing.F) {
	f.Add("/bin/sh", uint8(0), uint8(20), 5)
	f.Add("/etc/../../x\x00", uint8(1), uint8(200), -1)
	f.Add(strings.Repeat("/a", 3000), uint8(2), uint8(3), 70000)
	f.Fuzz(func(t *testing.T, path string, match, sw uint8, rule int) {
		how := []policy.Match{policy.MatchFile, policy.MatchDir, policy.MatchNames, "?"}[match%4]
		p := &policy.HardeningPlan{Deny: []policy.HardeningRule{{
			Switch: policy.Switch(sw), Rule: rule, Exempt: []policy.ExecRule{{Match: how, Path: path, Names: []string{path}}},
		}}}
		h, may, _, err := compileHardening(os.Getpid(), p)
		if err != nil {
			return
		}
		if h.Deny != 1<<sw || int(h.Rule[sw]) != rule {
			t.Errorf("%d %d: %+v", sw, rule, h)
		}
		for id, mask := range may {
			if mask != 1<<sw || id.ino == 0 {
				t.Errorf("%v: %x", id, mask)
			}
		}
	})
}

func TestEveryHookIsNeeded(t *testing.T) {
	needed := map[string]bool{hookCapable: true}
	for _, h := range selfHooks() {
		needed[h] = true
	}
	a, b := hardenSet(), hardenSetB()
	for _, s := range policy.Switches() {
		parts := switchParts(s.Switch)
		if len(parts) == 0 {
			t.Errorf("%s needs no hook", s.Name)
		}
		for _, p := range parts {
			if _, ok := a.hook(p.hook); !ok {
				t.Errorf("%s: no hook %q", s.Name, p.hook)
			}
			if _, ok := b.hook(p.instead); !ok && p.instead != "" {
				t.Errorf("%s: no hook %q", s.Name, p.instead)
			}
			needed[p.hook], needed[p.instead] = true, true
		}
	}
	for _, s := range []hookSet{a, b} {
		spec, err := s.spec()
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, h := range s.hooks {
			if !needed[h.name] {
				t.Errorf("nothing needs %q", h.name)
			}
			if names[h.name] {
				t.Errorf("%q is there twice", h.name)
			}
			names[h.name] = true
			for _, v := range h.variants {
				if spec.Programs[v.prog] == nil {
					t.Errorf("no program %s", v.prog)
				}
			}
		}
	}
}

func TestSilence(t *testing.T) {
	now := monotonic()
	for _, tt := range []struct {
		name  string
		s     settings
		quiet bool
	}{
		{"no agent", settings{}, true},
		{"ended well", settings{AgentTGID: 1 << 30}, true},
		{"let go", settings{Heartbeat: now - 5e9}, true},
		{"killed", settings{AgentTGID: 1 << 30, Heartbeat: now - 5e9}, false},
		{"alive", settings{AgentTGID: 1, Heartbeat: now}, true},
	} {
		if got := tt.s.silence(); (got == 0) != tt.quiet || got != 0 && (got < 5e9 || got > 65e9) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// What stands in for backend A works on every kernel.
func TestStandInCanaries(t *testing.T) {
	testkit.RequireRoot(t)
	s := hardenSetB()
	for _, r := range s.tryAll() {
		if why := r.why(); why != "" {
			t.Errorf("%s: %s", r.hook, why)
		}
	}
}
