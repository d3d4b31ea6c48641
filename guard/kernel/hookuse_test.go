package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// pinnedHooks lists the hooks of a set that are attached, by their pins.
func pinnedHooks(t *testing.T, pinDir, set string) []string {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(hookDir(pinDir), set))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		out = append(out, f.Name())
	}
	return out
}

// Hooks are attached while a plan needs them, also across agents.
func TestHooksFollowNeed(t *testing.T) {
	requireRefusal(t)
	image := newImage(t)
	a, b := sleeper(t, image), sleeper(t, image)
	pinDir := pins(t)
	e := start(t, Config{PinDir: pinDir})
	attached := func(want int) []string {
		t.Helper()
		got := pinnedHooks(t, pinDir, setProcess)
		if len(got) != want {
			t.Fatalf("%d hooks are attached, want %d: %v", len(got), want, got)
		}
		return got
	}
	attached(0)
	e.mustApply(t, a, nil)
	e.mustApply(t, a, makePlan(policy.ProcessPlan{Mode: v1alpha1.Learn, DenyDrift: true}))
	attached(0)
	deny := makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Deny: []policy.ExecRule{file("/usr/bin/curl")}})
	e.mustApply(t, a, deny)
	attached(1)
	e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, DenyDrift: true}))
	attached(3)
	e.mustApply(t, a, nil)
	attached(3)
	if err := e.Forget(b.id); err != nil {
		t.Fatal(err)
	}
	attached(0)
	e.mustApply(t, a, deny)
	e.mustApply(t, b, deny)
	before := attached(1)

	// The next agent adopts what runs, and keeps it until it knows every plan.
	e.stop()
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	e = start(t, Config{PinDir: pinDir})
	if now := attached(1); !slices.Equal(now, before) {
		t.Errorf("not adopted: %v, was %v", now, before)
	}
	e.mustApply(t, a, nil)
	attached(1)
	if out, _ := b.sh("/usr/bin/curl"); out == "curl\n" {
		t.Error("a plan of the earlier agent is not in force")
	}
	e.denied(t, 1, func(d guard.Denial) bool { return d.Mechanism != mechanismKill })
	e.mustApply(t, b, nil)
	attached(0)

	// Other programs take over without a gap: nothing of the earlier is left.
	e.mustApply(t, b, deny)
	before = attached(1)
	e.stop()
	if err := e.Close(true); err != nil {
		t.Fatal(err)
	}
	// As after an upgrade: not all of the links are those of this version.
	if err := os.Remove(filepath.Join(linkDir(pinDir), "gabion_exec_1")); err != nil {
		t.Fatal(err)
	}
	start(t, Config{PinDir: pinDir})
	if now := attached(1); slices.Equal(now, before) {
		t.Errorf("not replaced: %v", now)
	}
	if out, _ := b.sh("/usr/bin/curl"); out == "curl\n" {
		t.Error("a plan of the earlier agent is not in force after the programs were replaced")
	}
	if err := Remove(pinDir); err != nil {
		t.Fatal(err)
	}
	attached(0)
}
