// Package facts is what one room may know of another: plain values and small
// provider interfaces.
//
// It computes nothing. The one idea: rooms that must not import each other
// (scan, guard, audit, admit, respond) exchange what they know as the values
// defined here, handed over by whoever wires them.
package facts

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/gabion-dev/gabion/workload"
)

// Neighbourhood is who lives at which address, as one node knows it. It is a
// snapshot: build a new one when something changed.
type Neighbourhood struct {
	containers []workload.Container
	node       []netip.Addr
	byAddr     map[netip.Addr]workload.Ref
}

// NewNeighbourhood takes the containers known now and the node's own
// addresses. Containers on the node's own network have no address of their
// own, so they are found by no look-up.
func NewNeighbourhood(containers []workload.Container, node []netip.Addr) *Neighbourhood {
	n := &Neighbourhood{containers: slices.Clone(containers), node: slices.Clone(node), byAddr: map[netip.Addr]workload.Ref{}}
	for _, c := range containers {
		if c.HostNetwork {
			continue
		}
		for _, a := range c.Addresses {
			n.byAddr[a.Unmap()] = c.Workload
		}
	}
	return n
}

// Lookup names the workload at an address.
func (n *Neighbourhood) Lookup(a netip.Addr) (workload.Ref, bool) {
	r, ok := n.byAddr[a.Unmap()]
	return r, ok
}

// Containers are all containers of the snapshot.
func (n *Neighbourhood) Containers() []workload.Container { return n.containers }

// NodeAddresses are the node's own addresses, loopback left out.
func (n *Neighbourhood) NodeAddresses() []netip.Addr { return n.node }

// SameAddresses reports whether both say the same of who lives where.
func (n *Neighbourhood) SameAddresses(o *Neighbourhood) bool {
	return maps.Equal(n.byAddr, o.byAddr) && slices.Equal(n.node, o.node)
}

// RunTime says what was observed of a workload while it ran. The supply chain
// ranks findings by it, the audit tells exposed from reachable with it.
type RunTime interface {
	// Executed lists the programs of the workload that were ever started.
	Executed(workload.Ref) []string
	// Listening lists "protocol/port" on which it was ever reached.
	Listening(workload.Ref) []string
}
