package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"

	"github.com/gabion-dev/gabion/policy"
)

// MaxRanges is how many port ranges can apply to one peer in one direction,
// over all rules of all policies of a container.
const MaxRanges = 64

// TooManyRangesError says that a plan has more port ranges for one peer than
// the kernel program looks at. Nothing of such a plan is installed.
type TooManyRangesError struct {
	Rule    int // index into Plan.Rules of the first rule that found no room
	Ingress bool
	Peer    netip.Prefix
}

func (e *TooManyRangesError) Error() string {
	dir := "egress"
	if e.Ingress {
		dir = "ingress"
	}
	return fmt.Sprintf("compile %s rules: more than %d port ranges apply to peer %s (at rule %d); merge ports into ranges or split the peer's rules", dir, MaxRanges, e.Peer, e.Rule)
}

// portRange is one line of a peer's list: what it allows or denies.
type portRange struct {
	proto    uint8
	anyProto bool
	deny     bool
	lo, hi   uint16
	rule     uint16
}

// covers reports whether everything that b matches is matched by a.
func (a portRange) covers(b portRange) bool {
	return (a.anyProto || (!b.anyProto && a.proto == b.proto)) && a.lo <= b.lo && a.hi >= b.hi
}

// peerKey is one entry of a table: a direction and a peer prefix.
type peerKey struct {
	ingress bool
	prefix  netip.Prefix
}

// table is a compiled network section: for every prefix the whole list of what
// applies to addresses in it, denies first, so that the longest match alone
// decides and its first matching range is the verdict.
type table map[peerKey][]portRange

// compile flattens the rules of both directions. Besides the table it gives
// the rules whose peers have no address at present, sorted. A nil plan is an
// empty table; nil peers know nobody.
func compile(plan *policy.NetworkPlan, peers policy.Peers) (table, []int, error) {
	t := table{}
	if plan == nil {
		return t, nil, nil
	}
	empty := map[int]bool{}
	for _, d := range []struct {
		ingress bool
		rules   []policy.PeerRule
	}{{false, plan.Egress}, {true, plan.Ingress}} {
		if err := t.add(d.ingress, d.rules, peers, empty); err != nil {
			return nil, nil, err
		}
	}
	for _, n := range []int{plan.EgressListRule, plan.IngressListRule} {
		if n < 0 || n > math.MaxUint16 {
			return nil, nil, fmt.Errorf("compile network section: rule number %d is over %d", n, math.MaxUint16)
		}
	}
	return t, slices.Sorted(maps.Keys(empty)), nil
}

func (t table) add(ingress bool, rules []policy.PeerRule, peers policy.Peers, empty map[int]bool) error {
	// byPrefix: which rules (by position) name exactly this prefix.
	byPrefix := map[netip.Prefix][]int{}
	for i, r := range rules {
		if r.Rule < 0 || r.Rule > math.MaxUint16 {
			return fmt.Errorf("compile network section: rule number %d is over %d", r.Rule, math.MaxUint16)
		}
		prefixes := resolve(r, peers)
		if len(prefixes) == 0 {
			empty[r.Rule] = true
		}
		for _, p := range prefixes {
			if at := byPrefix[p]; len(at) == 0 || at[len(at)-1] != i {
				byPrefix[p] = append(at, i)
			}
		}
	}
	// Short prefixes first, so that a longer one can be left out when it says
	// no more than the one around it.
	order := slices.SortedFunc(maps.Keys(byPrefix), func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	for _, p := range order {
		var apply []int
		around := netip.Prefix{}
		for bits := 0; bits <= p.Bits(); bits++ {
			q, err := p.Addr().Prefix(bits)
			if err != nil {
				return fmt.Errorf("compile peer %s: %w", p, err)
			}
			apply = append(apply, byPrefix[q]...)
			if _, have := t[peerKey{ingress, q}]; have {
				around = q
			}
		}
		slices.Sort(apply)
		list, err := flatten(rules, slices.Compact(apply))
		if err != nil {
			err.Ingress, err.Peer = ingress, p
			return err
		}
		if around.IsValid() && slices.Equal(t[peerKey{ingress, around}], list) {
			continue
		}
		t[peerKey{ingress, p}] = list
	}
	return nil
}

// flatten gives the ranges of the rules at the given positions: denies, then
// allows, each in the plan's order, without those that can never decide.
func flatten(rules []policy.PeerRule, at []int) ([]portRange, *TooManyRangesError) {
	var list []portRange
	for _, deny := range []bool{true, false} {
		for _, i := range at {
			r := rules[i]
			if r.Deny != deny {
				continue
			}
			for _, x := range rangesOf(r) {
				if slices.ContainsFunc(list, func(e portRange) bool { return e.covers(x) }) {
					continue
				}
				if len(list) == MaxRanges {
					return nil, &TooManyRangesError{Rule: r.Rule}
				}
				list = append(list, x)
			}
		}
	}
	return list, nil
}

func rangesOf(r policy.PeerRule) []portRange {
	if len(r.Ports) == 0 {
		return []portRange{{anyProto: true, deny: r.Deny, hi: math.MaxUint16, rule: uint16(r.Rule)}}
	}
	out := make([]portRange, 0, len(r.Ports))
	for _, p := range r.Ports {
		out = append(out, portRange{proto: p.Protocol, deny: r.Deny, lo: p.Lo, hi: p.Hi, rule: uint16(r.Rule)})
	}
	return out
}

// resolve gives the prefixes that a rule is about, IPv4 in its own form.
func resolve(r policy.PeerRule, peers policy.Peers) []netip.Prefix {
	if len(r.Prefixes) == 0 && len(r.Workloads) == 0 && !r.NodeAddresses {
		return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	var out []netip.Prefix
	for _, p := range r.Prefixes {
		if q, ok := plain(p); ok {
			out = append(out, q)
		}
	}
	if peers == nil {
		return out
	}
	addrs := func(list []netip.Addr) {
		for _, a := range list {
			if a.IsValid() {
				a = a.Unmap().WithZone("")
				out = append(out, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	for _, w := range r.Workloads {
		addrs(peers.Addresses(w))
	}
	if r.NodeAddresses {
		addrs(peers.NodeAddresses())
	}
	return out
}

// plain writes IPv4-mapped prefixes as IPv4 ones and clears the host's bits.
func plain(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return netip.Prefix{}, false
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

const (
	rangeDeny     = 1 // RANGE_DENY of network.bpf.c
	rangeAnyProto = 2 // RANGE_ANY_PROTO

	dirEgress  = 1
	dirIngress = 2
)

// encode gives the table as the kernel has it: rules that point to lists, and
// the lists by the hash of their content.
func (t table) encode(cid uint32, slot uint8) (map[netRuleKey]uint64, map[uint64]*netList) {
	rules := make(map[netRuleKey]uint64, len(t))
	lists := map[uint64]*netList{}
	for k, list := range t {
		l := &netList{N: uint32(len(list))}
		for i, r := range list {
			x := netRange{Proto: r.proto, Lo: r.lo, Hi: r.hi, Rule: r.rule}
			if r.deny {
				x.Flags |= rangeDeny
			}
			if r.anyProto {
				x.Flags |= rangeAnyProto
			}
			l.R[i] = x
		}
		id := listID(l)
		lists[id] = l
		rules[ruleKey(cid, slot, k)] = id
	}
	return rules, lists
}

func ruleKey(cid uint32, slot uint8, k peerKey) netRuleKey {
	out := netRuleKey{Prefixlen: uint32(64 + k.prefix.Bits()), Cid: cid, Slot: slot, Dir: dirEgress, Family: 6}
	if k.ingress {
		out.Dir = dirIngress
	}
	if k.prefix.Addr().Is4() {
		out.Family = 4
	}
	copy(out.Addr[:], k.prefix.Addr().AsSlice())
	return out
}

func listID(l *netList) uint64 {
	b := make([]byte, 0, 8*MaxRanges)
	for _, r := range l.R[:l.N] {
		b = append(b, r.Proto, r.Flags)
		b = binary.LittleEndian.AppendUint16(b, r.Lo)
		b = binary.LittleEndian.AppendUint16(b, r.Hi)
		b = binary.LittleEndian.AppendUint16(b, r.Rule)
	}
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}
