package firewall

import (
	"net/netip"

	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/policy"
)

// neighbourhood resolves peers that are named with what the agent knows of the
// node. Its NodeAddresses are facts.Neighbourhood's.
type neighbourhood struct{ *facts.Neighbourhood }

func neighbours(n *facts.Neighbourhood) policy.Peers {
	if n == nil {
		return nil
	}
	return neighbourhood{n}
}

// Addresses gives the addresses of the containers of all selected workloads.
// Containers on the node's network have none of their own.
func (n neighbourhood) Addresses(sel policy.WorkloadSelector) []netip.Addr {
	var out []netip.Addr
	for _, c := range n.Containers() {
		if !c.HostNetwork && sel.Matches(&c) {
			out = append(out, c.Addresses...)
		}
	}
	return out
}
