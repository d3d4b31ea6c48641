package e2e

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
)

const hardened = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Protect
  hardening: {deny: [raw-sockets]}
`

// A section is enforced from the file to the system call by whatever this
// kernel has, and lifted with its policy.
func TestHardeningFromPolicyToSystemCall(t *testing.T) {
	m := need(t)
	c := m.container("web", nil, "/bin/sleep", "600")
	try := func() string {
		out, _ := m.sh(c, `ping -c 1 -W 2 127.0.0.1 >/dev/null 2>&1 && echo answered || echo refused`)
		return strings.TrimSpace(out)
	}
	if got := try(); got != "answered" {
		t.Fatalf("without a policy: %q", got)
	}
	m.policy("web.yaml", hardened)
	m.state("web", "enforced")
	if got := try(); got != "refused" {
		t.Errorf("with raw sockets forbidden: %q", got)
	}
	e := m.event("the refusal", func(e event.Event) bool { return e.Kind == event.Hardening && e.Effect == event.Blocked })
	if e.Evidence["operation"] != "raw-sockets" || e.Rule == nil || e.Rule.File != "web.yaml" || e.Mode != "Protect" {
		t.Errorf("event %+v, rule %+v", e, e.Rule)
	}
	d := m.find("shop", "web", func(d console.WorkloadDetail) bool { return d.Mode["hardening"] == "Protect" })
	found := false
	for _, cov := range d.Coverage {
		found = found || cov.Section == "hardening" && cov.Mechanism != "none" && cov.Guarantee != ""
	}
	if !found {
		t.Errorf("nothing says how hardening is enforced: %+v", d.Coverage)
	}
}
