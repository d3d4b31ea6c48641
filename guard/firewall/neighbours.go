package firewall

import (
	"net/netip"
	"path"

	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/policy"
)

// neighbourhood resolves names with what the agent knows of the node.
type neighbourhood struct{ *facts.Neighbourhood }

func neighbours(n *facts.Neighbourhood) Resolver {
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
		if c.HostNetwork || (sel.Namespace != "" && sel.Namespace != c.Workload.Namespace) {
			continue
		}
		if sel.Name != "" {
			if ok, err := path.Match(sel.Name, c.Workload.Name); err != nil || !ok {
				continue
			}
		}
		match := true
		for k, v := range sel.MatchLabels {
			if have, ok := c.Labels[k]; !ok || have != v {
				match = false
				break
			}
		}
		if match {
			out = append(out, c.Addresses...)
		}
	}
	return out
}
