package policy

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/gabion-dev/gabion/workload"
)

// maxDerived bounds the rules that come of combining rules. Lists that grow
// beyond it are cut where that is strict: fewer allows, denies left whole.
const maxDerived = 1 << 12

// The rules of networks as sets of (peer, protocol, port). Addresses and ports
// are exact; workloads are compared by what their selectors say, and where
// that is not enough to know, the answer is the one that leads to the stricter
// plan.

// anyPeer reports that the rule is about every peer.
func (r *PeerRule) anyPeer() bool {
	return len(r.Prefixes) == 0 && len(r.Workloads) == 0 && !r.NodeAddresses
}

// atoms cuts a rule into rules that have one kind of peer, and one workload.
func (r PeerRule) atoms() []PeerRule {
	if r.anyPeer() {
		return []PeerRule{r}
	}
	var out []PeerRule
	part := PeerRule{Rule: r.Rule, Deny: r.Deny, Ports: r.Ports}
	if len(r.Prefixes) > 0 {
		a := part
		a.Prefixes = r.Prefixes
		out = append(out, a)
	}
	for _, w := range r.Workloads {
		a := part
		a.Workloads = []WorkloadSelector{w}
		out = append(out, a)
	}
	if r.NodeAddresses {
		a := part
		a.NodeAddresses = true
		out = append(out, a)
	}
	return out
}

// Matches reports whether the container belongs to the selected workloads.
func (s *WorkloadSelector) Matches(c *workload.Container) bool {
	if s.Namespace != "" && s.Namespace != c.Workload.Namespace ||
		s.Name != "" && !workload.MatchGlob(s.Name, c.Workload.Name) {
		return false
	}
	for k, v := range s.MatchLabels {
		if have, ok := c.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

func (s *WorkloadSelector) equal(o *WorkloadSelector) bool {
	return s.Namespace == o.Namespace && s.Name == o.Name && maps.Equal(s.MatchLabels, o.MatchLabels)
}

// covers reports that whatever o selects is surely selected by s.
func (s *WorkloadSelector) covers(o *WorkloadSelector) bool {
	both, ok := s.intersect(o)
	return ok && both.equal(o)
}

// intersect selects what both select; false when that is nothing or cannot be said.
func (s *WorkloadSelector) intersect(o *WorkloadSelector) (WorkloadSelector, bool) {
	out := WorkloadSelector{Namespace: s.Namespace, Name: s.Name}
	switch {
	case s.Namespace == "":
		out.Namespace = o.Namespace
	case o.Namespace != "" && o.Namespace != s.Namespace:
		return out, false
	}
	switch {
	case s.Name == "" || s.Name == o.Name || o.Name != "" && workload.MatchGlob(s.Name, o.Name) && plain(o.Name):
		out.Name = o.Name
	case o.Name == "" || workload.MatchGlob(o.Name, s.Name) && plain(s.Name):
	default:
		return out, false
	}
	if len(s.MatchLabels)+len(o.MatchLabels) > 0 {
		out.MatchLabels = map[string]string{}
		maps.Copy(out.MatchLabels, s.MatchLabels)
		for k, v := range o.MatchLabels {
			if have, ok := out.MatchLabels[k]; ok && have != v {
				return out, false
			}
			out.MatchLabels[k] = v
		}
	}
	return out, true
}

func plain(glob string) bool { return !slices.Contains([]byte(glob), '*') }

// intersectPeers gives rules for what both lists allow, with the lines of the
// second. A workload of one list and addresses of the other have nothing in
// common that can be known here.
func intersectPeers(wide, narrow []peerRef) []peerRef {
	var wideAtoms []PeerRule
	for _, w := range wide {
		wideAtoms = append(wideAtoms, w.atoms()...)
	}
	var out []peerRef
	seen := map[string]bool{}
	for _, n := range narrow {
		for _, na := range n.atoms() {
			for i := range wideAtoms {
				both, ok := intersectAtoms(&wideAtoms[i], &na)
				if !ok {
					continue
				}
				if key := both.String(); !seen[key] || len(both.Prefixes) > 6 || len(both.Ports) > 6 {
					seen[key] = true
					out = append(out, peerRef{both, n.ref})
				}
				if len(out) >= maxDerived {
					return out
				}
			}
		}
	}
	return out
}

func intersectAtoms(a, b *PeerRule) (PeerRule, bool) {
	ports, ok := intersectPorts(a.Ports, b.Ports)
	if !ok {
		return PeerRule{}, false
	}
	out := PeerRule{Deny: b.Deny, Ports: ports}
	switch {
	case a.allAddresses():
		out.Prefixes, out.Workloads, out.NodeAddresses = b.Prefixes, b.Workloads, b.NodeAddresses
		return out, true
	case b.allAddresses():
		out.Prefixes, out.Workloads, out.NodeAddresses = a.Prefixes, a.Workloads, a.NodeAddresses
		return out, true
	case len(a.Prefixes) > 0 && len(b.Prefixes) > 0:
		out.Prefixes = intersectPrefixes(a.Prefixes, b.Prefixes)
		return out, len(out.Prefixes) > 0
	case len(a.Workloads) > 0 && len(b.Workloads) > 0:
		w, ok := a.Workloads[0].intersect(&b.Workloads[0])
		out.Workloads = []WorkloadSelector{w}
		return out, ok
	case a.NodeAddresses && b.NodeAddresses:
		out.NodeAddresses = true
		return out, true
	}
	return PeerRule{}, false
}

// allAddresses is anyPeer, also when written as 0.0.0.0/0 and ::/0.
func (r *PeerRule) allAddresses() bool {
	if r.anyPeer() {
		return true
	}
	found := 0
	for _, e := range everywhere() {
		if slices.Contains(r.Prefixes, e) {
			found++
		}
	}
	return found == 2
}

// subtractPeers takes what e allows out of the deny d. The second result is
// false when d was not touched.
func subtractPeers(d peerRef, e *PeerRule) ([]peerRef, bool) {
	rest, touched := []PeerRule{}, false
	for _, a := range d.atoms() {
		parts := []PeerRule{a}
		for _, x := range e.atoms() {
			var next []PeerRule
			for _, p := range parts {
				left, hit := subtractAtoms(p, &x)
				touched = touched || hit
				next = append(next, left...)
			}
			parts = next
		}
		rest = append(rest, parts...)
	}
	if !touched {
		return []peerRef{d}, false
	}
	out := make([]peerRef, len(rest))
	for i := range rest {
		out[i] = peerRef{rest[i], d.ref}
	}
	return out, true
}

func subtractAtoms(d PeerRule, e *PeerRule) ([]PeerRule, bool) {
	if _, ok := intersectPorts(d.Ports, e.Ports); !ok {
		return []PeerRule{d}, false
	}
	var common, rest []PeerRule
	switch {
	case e.allAddresses(),
		len(d.Workloads) > 0 && len(e.Workloads) > 0 && e.Workloads[0].covers(&d.Workloads[0]),
		d.NodeAddresses && e.NodeAddresses:
		common = []PeerRule{d}
	case len(e.Prefixes) > 0 && (len(d.Prefixes) > 0 || d.anyPeer()):
		left := d.Prefixes
		if d.anyPeer() {
			left = everywhere()
		}
		shared := intersectPrefixes(left, e.Prefixes)
		if len(shared) == 0 {
			return []PeerRule{d}, false
		}
		for _, p := range e.Prefixes {
			left = subtractAll(left, p)
		}
		if len(left) > 0 {
			r := d
			r.Prefixes = left
			rest = append(rest, r)
		}
		c := d
		c.Prefixes = shared
		common = []PeerRule{c}
	default:
		return []PeerRule{d}, false
	}
	for _, c := range common {
		if ports, some := subtractPorts(c.Ports, e.Ports); some {
			c.Ports = ports
			rest = append(rest, c)
		}
	}
	return rest, true
}

// intersectPorts gives the ports of both; false when there are none. An empty
// list means every port.
func intersectPorts(a, b []PortRange) ([]PortRange, bool) {
	if len(a) == 0 {
		return b, true
	}
	if len(b) == 0 {
		return a, true
	}
	var out []PortRange
	for _, x := range a {
		for _, y := range b {
			if x.Protocol == y.Protocol && max(x.Lo, y.Lo) <= min(x.Hi, y.Hi) {
				out = append(out, PortRange{x.Protocol, max(x.Lo, y.Lo), min(x.Hi, y.Hi)})
			}
		}
	}
	return out, len(out) > 0
}

// subtractPorts gives the ports of a that are not in b; false when none is left.
func subtractPorts(a, b []PortRange) ([]PortRange, bool) {
	if len(b) == 0 {
		return nil, false
	}
	if len(a) == 0 {
		// Every protocol that Linux speaks without a program in user space.
		for _, p := range []uint8{1, 2, 4, 6, 17, 33, 41, 46, 47, 50, 51, 58, 94, 103, 108, 132, 136, 137} {
			a = append(a, PortRange{Protocol: p, Hi: 65535})
		}
	}
	left := slices.Clone(a)
	for _, y := range b {
		var next []PortRange
		for _, x := range left {
			if x.Protocol != y.Protocol || y.Hi < x.Lo || x.Hi < y.Lo {
				next = append(next, x)
				continue
			}
			if x.Lo < y.Lo {
				next = append(next, PortRange{x.Protocol, x.Lo, y.Lo - 1})
			}
			if y.Hi < x.Hi {
				next = append(next, PortRange{x.Protocol, y.Hi + 1, x.Hi})
			}
		}
		left = next
	}
	return left, len(left) > 0
}

// hasAddr reports whether one of the prefixes has the address.
func hasAddr(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
