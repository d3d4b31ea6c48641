package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// Capabilities names the capabilities of Linux by their numbers, without
// "CAP_" (linux/capability.h).
func Capabilities() []string { return v1alpha1.CapabilityNames() }

// CapabilityName is the name of a capability without "CAP_"; of a number that
// this version does not know, the number.
func CapabilityName(n int) string {
	if all := Capabilities(); n >= 0 && n < len(all) {
		return all[n]
	}
	return strconv.Itoa(n)
}

// CapabilityNamed finds a capability's number by its name, with or without
// "CAP_", in either case.
func CapabilityNamed(name string) (int, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	n := slices.Index(Capabilities(), name)
	return n, n >= 0
}

// Decide gives the verdict about using a capability, by its number. It is the
// table that the kernel programs implement: a number that Allow has no bit for
// is denied.
func (p *CapabilitiesPlan) Decide(capability int) Decision {
	if capability >= 0 && capability < 64 && p.Allow&(1<<capability) != 0 {
		return Decision{}
	}
	return Decision{Deny: true, Reasons: ReasonNotListed, Rule: p.Rule}
}
