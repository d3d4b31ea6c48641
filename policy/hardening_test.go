package policy

import (
	"regexp"
	"slices"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

func TestSwitches(t *testing.T) {
	all := Switches()
	if len(all) != int(NumSwitches) {
		t.Fatalf("%d switches are described, %d exist", len(all), NumSwitches)
	}
	word, id := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`), regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	for i, s := range all {
		if int(s.Switch) != i {
			t.Errorf("%s is at place %d, its number is %d", s.Name, i, s.Switch)
		}
		if !word.MatchString(s.Name) || s.What == "" || s.Why == "" || len(s.Technique) == 0 {
			t.Errorf("switch %d is not described: %+v", i, s)
		}
		for _, tech := range s.Technique {
			if !id.MatchString(tech) {
				t.Errorf("%s: technique %q", s.Name, tech)
			}
		}
		if back, ok := SwitchNamed(s.Switch.String()); !ok || back != s.Switch {
			t.Errorf("%s is not found by its name", s.Name)
		}
	}
	if _, ok := SwitchNamed("nothing"); ok || NumSwitches.String() != "" {
		t.Error("a switch that does not exist has a name")
	}
}

func TestPresets(t *testing.T) {
	base, all := PresetSwitches(v1alpha1.Baseline), PresetSwitches(v1alpha1.Restricted)
	if len(all) != int(NumSwitches) || len(base) == 0 || len(base) >= len(all) {
		t.Fatalf("Baseline %d, Restricted %d", len(base), len(all))
	}
	// Ordinary programs do these: su, ping, JVM, debuggers, package builds.
	for _, s := range []Switch{SwitchPrivilegeGain, SwitchRawSockets, SwitchWritableCode, SwitchPtrace, SwitchSetuidFiles, SwitchChroot} {
		if slices.Contains(base, s) {
			t.Errorf("Baseline has %s", s)
		}
	}
	if PresetSwitches("x") != nil {
		t.Error("an unknown preset has switches")
	}
}

func TestHardeningDecide(t *testing.T) {
	p := &HardeningPlan{Deny: []HardeningRule{
		{Switch: SwitchMount, Rule: 3},
		{Switch: SwitchWritableCode, Rule: 4, Exempt: []ExecRule{{Match: MatchFile, Path: "/usr/bin/java"}, {Match: MatchTree, Path: "/opt/node"}}},
	}}
	for _, tt := range []struct {
		name string
		s    Switch
		by   Exec
		rule int // 0: allowed
	}{
		{"denied", SwitchMount, Exec{Path: "/bin/mount"}, 3},
		{"other switch", SwitchBPF, Exec{Path: "/bin/mount"}, 0},
		{"exempt file", SwitchWritableCode, Exec{Path: "/usr/bin/java"}, 0},
		{"exempt tree", SwitchWritableCode, Exec{Path: "/opt/node/bin/node"}, 0},
		{"not exempt", SwitchWritableCode, Exec{Path: "/usr/bin/javac"}, 4},
		{"exempt from another switch", SwitchMount, Exec{Path: "/usr/bin/java"}, 3},
		{"nameless", SwitchWritableCode, Exec{Path: "/usr/bin/java", Fileless: true}, 4},
	} {
		if d := p.Decide(tt.s, tt.by); d.Deny != (tt.rule != 0) || d.Rule != tt.rule {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
}

func TestCapabilities(t *testing.T) {
	for n, name := range Capabilities() {
		for _, form := range []string{name, "CAP_" + name} {
			if got, ok := CapabilityNamed(form); !ok || got != n {
				t.Errorf("%s: %d, %v", form, got, ok)
			}
		}
		if CapabilityName(n) != name {
			t.Errorf("%d is %s", n, CapabilityName(n))
		}
	}
	// Numbers of linux/capability.h that a slip in the list would move.
	for name, n := range map[string]int{"SYS_PTRACE": 19, "SYS_ADMIN": 21, "MKNOD": 27, "SYSLOG": 34, "BPF": 39} {
		if got, _ := CapabilityNamed(name); got != n {
			t.Errorf("%s is %d, not %d", name, got, n)
		}
	}
	if _, ok := CapabilityNamed("ROOT"); ok || CapabilityName(63) != "63" {
		t.Error("unknown capability")
	}
	p := &CapabilitiesPlan{Allow: 1<<10 | 1<<40, Rule: 7}
	for n, deny := range map[int]bool{10: false, 40: false, 21: true, 0: true, 63: true, 64: true, -1: true} {
		if d := p.Decide(n); d.Deny != deny || deny && d.Rule != 7 {
			t.Errorf("capability %d: %+v", n, d)
		}
	}
}
