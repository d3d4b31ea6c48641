// Package testkit holds what tests of every room share.
//
// The one idea: a test that needs something the machine lacks says so and
// skips, but where GABION_REQUIRE claims the capability the skip is a failure,
// so that a check can never silently stop running.
package testkit

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Require skips the test with why unless ok. When the environment variable
// GABION_REQUIRE (comma-separated, or "all") names capability, it fails instead.
func Require(t testing.TB, capability string, ok bool, why string) {
	t.Helper()
	if ok {
		return
	}
	claimed := strings.Split(os.Getenv("GABION_REQUIRE"), ",")
	if slices.Contains(claimed, capability) || slices.Contains(claimed, "all") {
		t.Fatalf("%s is required here (GABION_REQUIRE) but missing: %s", capability, why)
	}
	t.Skipf("needs %s: %s", capability, why)
}

// RequireNamed is Require for what "all" does not stand for: capabilities that
// only some machines have, and that those claim by name.
func RequireNamed(t testing.TB, capability string, ok bool, why string) {
	t.Helper()
	if !ok && !slices.Contains(strings.Split(os.Getenv("GABION_REQUIRE"), ","), capability) {
		t.Skipf("needs %s: %s", capability, why)
	}
	Require(t, capability, ok, why)
}

// RequireRoot is Require for the capability "root".
func RequireRoot(t testing.TB) {
	t.Helper()
	Require(t, "root", os.Geteuid() == 0, "run as root")
}
