package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/workload"
)

// TestHostileSections checks that lists made to multiply stay bounded, in
// rules and in work, and that what is left out is denied and said.
func TestHostileSections(t *testing.T) {
	var guards, denies, waivers, exempt, by strings.Builder
	for i := range 60 {
		fmt.Fprintf(&by, "/bin/p%d,", i)
	}
	for i := range 3000 {
		fmt.Fprintf(&guards, "- {path: /data/**, access: Read, by: [/bin/x%d]}\n    ", i)
		fmt.Fprintf(&waivers, "- {path: /data/**, access: Read, by: [/bin/y%d]}\n      ", i)
	}
	for i := range 1000 {
		fmt.Fprintf(&denies, "- {path: /data/f%d, access: Write, action: Deny, by: [%s/z]}\n    ", i, by.String())
	}
	for range 64 {
		fmt.Fprintf(&exempt, "{switch: ptrace, by: [%s/bin/z]},", by.String())
	}
	document := func(kind, name, namespace, body string) string {
		return fmt.Sprintf("---\napiVersion: gabion.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: %q}\nspec:\n  selector: {}\n%s\n", kind, name, namespace, body)
	}
	set, errs := Load([]File{{"a.yaml", []byte(
		document("ClusterWorkloadPolicy", "a", "", "  files:\n    "+guards.String()+"\n  hardening: {preset: Restricted, exempt: ["+exempt.String()+"]}") +
			document("WorkloadPolicy", "b", "shop", "  files:\n    "+denies.String()+"\n  hardening: {preset: Restricted, exempt: ["+exempt.String()+"]}") +
			document("Exception", "c", "", "  owner: o\n  reason: r\n  expiresAt: 2030-01-01T00:00:00Z\n  rules:\n    files:\n      "+waivers.String()+
				"\n    capabilities: [KILL]"))}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	c := &workload.Container{Workload: workload.Ref{Namespace: "shop", Name: "web"}}
	plan, notes := set.compile(c, someDay)
	if n := len(plan.Files.Rules); n > 2*maxDerived {
		t.Errorf("%d rules", n)
	}
	if len(notes) == 0 {
		t.Error("rules were left out and nothing says so")
	}
	if !plan.Files.Decide(FileUse{Path: "/data/x", Access: AccessRead, Exec: Exec{Path: "/bin/other", InImage: true}}).Deny {
		t.Error("what no rule allows is allowed")
	}
	if !plan.Hardening.Decide(SwitchPtrace, Exec{Path: "/bin/other", InImage: true}).Deny ||
		plan.Hardening.Decide(SwitchPtrace, Exec{Path: "/bin/p1", InImage: true}).Deny {
		t.Error("exemptions that both have are lost, or others are made")
	}
}
