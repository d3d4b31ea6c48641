package agent

import (
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// A denial names the section's own mode and reads as a sentence.
func TestDenialsOfEverySection(t *testing.T) {
	plan := &policy.Plan{
		Process:      &policy.ProcessPlan{Mode: v1alpha1.Learn},
		Files:        &policy.FilesPlan{Mode: v1alpha1.Protect},
		Capabilities: &policy.CapabilitiesPlan{Mode: v1alpha1.Monitor},
		Hardening:    &policy.HardeningPlan{Mode: v1alpha1.Protect},
	}
	c := workload.Container{ID: "c", Workload: workload.Ref{Namespace: "shop", Name: "web"}}
	who := event.Process{PID: 7, Exe: "/usr/bin/cat"}
	for _, tc := range []struct {
		d    guard.Denial
		mode string
		want string
	}{
		{guard.Denial{Kind: event.FileAccess, Effect: event.Blocked, Path: "/etc/shadow", Operation: "Read", Process: who, Reasons: policy.ReasonDenied}, "Protect",
			"Blocked Read of /etc/shadow by /usr/bin/cat in shop/web: a rule denies it"},
		{guard.Denial{Kind: event.CapabilityUse, Effect: event.WouldBlock, Operation: "SYS_ADMIN", Process: who, Reasons: policy.ReasonNotListed}, "Monitor",
			"Would have blocked use of capability SYS_ADMIN by /usr/bin/cat in shop/web: no rule allows it"},
		{guard.Denial{Kind: event.Hardening, Effect: event.Blocked, Operation: "mount", Path: "/mnt", Process: event.Process{PID: 7}, Reasons: policy.ReasonDenied}, "Protect",
			"Blocked mount (/mnt) by process 7 in shop/web: a rule denies it"},
		{guard.Denial{Kind: event.ProcessExec, Effect: event.Blocked, Path: "/bin/sh", Reasons: policy.ReasonDenied}, "Learn",
			"Blocked /bin/sh in shop/web: a rule denies it"},
		{guard.Denial{Kind: event.NetworkConnect, Effect: event.Blocked, Reasons: policy.ReasonDenied}, "Learn",
			"Blocked a connection of shop/web to an unknown peer: a rule denies it"},
	} {
		if got := denialMessage(c, tc.d, event.Event{}); got != tc.want {
			t.Errorf("%s: message %q, want %q", tc.d.Kind, got, tc.want)
		}
		if got := sectionMode(plan, tc.d.Kind); got != tc.mode {
			t.Errorf("%s: mode %q, want %q", tc.d.Kind, got, tc.mode)
		}
	}
}

// A section that a kernel cannot enforce makes the container blind, and only a
// section that the plan has is told of.
func TestSectionsOfCoverage(t *testing.T) {
	a, n := start(t)
	n.mech = "none"
	_, blind, err := a.enforce(t.Context(), workload.Container{ID: "c"}, &policy.Plan{Hardening: &policy.HardeningPlan{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if blind != "hardening: told so" {
		t.Errorf("blind %q", blind)
	}
	n.mech = "lsm"
	coverage, blind, err := a.enforce(t.Context(), workload.Container{ID: "c"}, &policy.Plan{Files: &policy.FilesPlan{}}, nil)
	if err != nil || blind != "" {
		t.Fatalf("blind %q, err %v", blind, err)
	}
	var got []string
	for _, c := range coverage {
		got = append(got, c.Section)
	}
	if len(got) != 3 || got[0] != "process" || got[1] != "files" || got[2] != "network" {
		t.Errorf("sections %v, want process, files, network", got)
	}
}
