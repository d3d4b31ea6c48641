package kernel

import (
	"slices"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// hardenBackends says what hardening is worth by each mechanism, from the
// table of what each switch needs.
func hardenBackends() []guard.Backend {
	a := guard.Backend{
		ID: "lsm hardening", Section: "hardening",
		Guarantee: "the call fails with EPERM; pinned, so it outlives the agent",
		Passes:    []string{"a container that the node itself let in (host namespaces, mounted sockets under other names)"},
	}
	b := guard.Backend{
		ID: "cgroup + raw_tp+kill", Section: "hardening",
		Guarantee: "devices, sysctls and raw sockets are refused; a program on a network socket, or that gained privileges, is killed before its first instruction",
	}
	for _, s := range policy.Switches() {
		var instead bool
		for _, p := range switchParts(s.Switch) {
			a.Needs = append(a.Needs, "refusing "+p.hook)
			if p.instead != "" {
				instead = true
				b.Needs = append(b.Needs, "refusing "+p.instead)
			}
			if p.partly != "" {
				b.Passes = append(b.Passes, s.Name+": "+p.partly)
			}
		}
		a.Stops = append(a.Stops, s.Name)
		if instead {
			b.Stops = append(b.Stops, s.Name)
		} else {
			b.Passes = append(b.Passes, s.Name)
		}
	}
	caps := guard.Backend{
		ID: "lsm capabilities", Section: "capabilities", Needs: []string{"refusing " + hookCapable},
		Guarantee: "using a capability that is not allowed fails with EPERM; pinned, so it outlives the agent",
		Stops:     []string{"use of a capability that the policy does not allow, whatever the container was given"},
	}
	for _, x := range []*guard.Backend{&a, &b} {
		slices.Sort(x.Needs)
		x.Needs = slices.Compact(x.Needs)
	}
	return []guard.Backend{a, caps, b}
}
