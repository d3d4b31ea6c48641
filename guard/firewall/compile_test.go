package firewall

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

type fakePeers struct{ addrs, node []netip.Addr }

func (f *fakePeers) Addresses(sel policy.WorkloadSelector) []netip.Addr {
	if sel.Name == "db" {
		return f.addrs
	}
	return nil
}
func (f *fakePeers) NodeAddresses() []netip.Addr            { return f.node }
func (f *fakePeers) Lookup(netip.Addr) (workload.Ref, bool) { return workload.Ref{}, false }

// naive is the meaning of the rules, written as plainly as possible.
func naive(p *policy.NetworkPlan, peers Resolver, c policy.Conn) policy.Decision {
	rules, listed, listRule := p.Egress, p.EgressListed, p.EgressListRule
	if c.Ingress {
		rules, listed, listRule = p.Ingress, p.IngressListed, p.IngressListRule
	}
	peer := c.Peer.Unmap()
	matches := func(r policy.PeerRule) bool {
		in := len(r.Prefixes) == 0 && len(r.Workloads) == 0 && !r.NodeAddresses
		for _, p := range r.Prefixes {
			if p.Addr().Is4In6() {
				p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
			}
			in = in || p.Contains(peer)
		}
		for _, w := range r.Workloads {
			for _, a := range peers.Addresses(w) {
				in = in || a.Unmap() == peer
			}
		}
		if r.NodeAddresses {
			for _, a := range peers.NodeAddresses() {
				in = in || a.Unmap() == peer
			}
		}
		if !in || len(r.Ports) == 0 {
			return in
		}
		for _, x := range r.Ports {
			if x.Protocol == c.Protocol && x.Lo <= c.Port && c.Port <= x.Hi {
				return true
			}
		}
		return false
	}
	for _, r := range rules {
		if r.Deny && matches(r) {
			return policy.Decision{Deny: true, Reasons: policy.ReasonDenied, Rule: r.Rule}
		}
	}
	for _, r := range rules {
		if !r.Deny && matches(r) {
			return policy.Decision{}
		}
	}
	if listed {
		return policy.Decision{Deny: true, Reasons: policy.ReasonNotListed, Rule: listRule}
	}
	return policy.Decision{}
}

var (
	somePrefixes = []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.0.2.0/25", "::ffff:10.1.0.0/112", "::/0", "fd00::/8", "fd00:1::/64", "fd00:1::1/128", "::ffff:192.0.2.1/128"}
	someAddrs    = []string{"10.1.2.3", "10.1.2.4", "10.1.3.3", "10.9.9.9", "192.0.2.1", "192.0.2.200", "fd00:1::1", "fd00:1::2", "fd00:2::1", "2001:db8::1", "::ffff:10.1.2.3"}
)

func anyPlan(t *rapid.T) *policy.NetworkPlan {
	rules := func(label string) []policy.PeerRule {
		var out []policy.PeerRule
		for i := range rapid.IntRange(0, 6).Draw(t, label) {
			r := policy.PeerRule{Rule: i + 1, Deny: rapid.IntRange(0, 3).Draw(t, "deny") == 0}
			for _, p := range rapid.SliceOfN(rapid.SampledFrom(somePrefixes), 0, 3).Draw(t, "prefixes") {
				r.Prefixes = append(r.Prefixes, netip.MustParsePrefix(p))
			}
			if rapid.IntRange(0, 5).Draw(t, "workload") == 0 {
				r.Workloads = []policy.WorkloadSelector{{Name: "db"}}
			}
			r.NodeAddresses = rapid.IntRange(0, 5).Draw(t, "node") == 0
			for range rapid.IntRange(0, 3).Draw(t, "ports") {
				lo := rapid.Uint16Range(0, 40).Draw(t, "lo")
				r.Ports = append(r.Ports, policy.PortRange{Protocol: rapid.SampledFrom([]uint8{1, 6, 17}).Draw(t, "proto"), Lo: lo, Hi: rapid.Uint16Range(lo, 50).Draw(t, "hi")})
			}
			out = append(out, r)
		}
		return out
	}
	return &policy.NetworkPlan{
		Mode: v1alpha1.Protect, EgressListed: rapid.Bool().Draw(t, "egress"), EgressListRule: 20,
		IngressListed: rapid.Bool().Draw(t, "ingress"), IngressListRule: 21,
		Egress: rules("egress rules"), Ingress: rules("ingress rules"),
	}
}

func anyConn(t *rapid.T) policy.Conn {
	return policy.Conn{
		Ingress: rapid.Bool().Draw(t, "in"), Peer: netip.MustParseAddr(rapid.SampledFrom(someAddrs).Draw(t, "peer")),
		Protocol: rapid.SampledFrom([]uint8{1, 6, 17, 132}).Draw(t, "proto"), Port: rapid.Uint16Range(0, 52).Draw(t, "port"),
	}
}

func (t table) verdict(p *policy.NetworkPlan, c policy.Conn) policy.Decision {
	if c.Ingress {
		return t.decide(c, p.IngressListed, p.IngressListRule)
	}
	return t.decide(c, p.EgressListed, p.EgressListRule)
}

func TestTableMeansTheRules(t *testing.T) {
	peers := &fakePeers{addrs: []netip.Addr{netip.MustParseAddr("10.1.2.4"), netip.MustParseAddr("fd00:2::1")}, node: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	rapid.Check(t, func(t *rapid.T) {
		p := anyPlan(t)
		tab, _, err := compile(p, peers)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			c := anyConn(t)
			if got, want := tab.verdict(p, c), naive(p, peers, c); got != want {
				t.Fatalf("%+v: table says %+v, rules say %+v\ntable %v", c, got, want, tab)
			}
		}
	})
}

func TestCompileBounds(t *testing.T) {
	many := func(n int) *policy.NetworkPlan {
		r := policy.PeerRule{Rule: 3, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		for i := range n {
			r.Ports = append(r.Ports, tcp(uint16(2*i), uint16(2*i)))
		}
		return &policy.NetworkPlan{Egress: []policy.PeerRule{r}}
	}
	if _, _, err := compile(many(MaxRanges), nil); err != nil {
		t.Errorf("%d ranges: %v", MaxRanges, err)
	}
	_, _, err := compile(many(MaxRanges+1), nil)
	var tooMany *TooManyRangesError
	if !errors.As(err, &tooMany) || tooMany.Rule != 3 || tooMany.Ingress {
		t.Errorf("%d ranges: %v", MaxRanges+1, err)
	}
	if _, _, err := compile(&policy.NetworkPlan{Egress: []policy.PeerRule{{Rule: 70000}}}, nil); err == nil {
		t.Error("a rule number that does not fit was taken")
	}
}

func TestCompileLeavesOutWhatSaysNothing(t *testing.T) {
	p := &policy.NetworkPlan{Egress: []policy.PeerRule{
		rule(1, nil, tcp(443, 443)), rule(2, []string{"10.0.0.0/8"}, tcp(443, 443)), rule(3, []string{"10.1.0.0/16"}, udp(53, 53)),
	}}
	tab, _, err := compile(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tab) != 3 { // both any-entries and 10.1/16
		t.Errorf("table: %v", tab)
	}
	if l := tab[peerKey{false, netip.MustParsePrefix("10.1.0.0/16")}]; len(l) != 2 || l[0].rule != 1 || l[1].rule != 3 {
		t.Errorf("10.1/16: %v", l)
	}
	named := &policy.NetworkPlan{Ingress: []policy.PeerRule{{Rule: 4, Workloads: []policy.WorkloadSelector{{Name: "nobody"}}}}}
	tab, empty, err := compile(named, &fakePeers{})
	if err != nil || len(tab) != 0 || len(empty) != 1 || empty[0] != 4 {
		t.Errorf("a rule whose workload has no address: %v, %v, %v; it must match nobody, not anybody", tab, empty, err)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0, 8, 6, 0, 80, 1}, []byte{10, 1, 1, 1, 6, 0, 80})
	f.Fuzz(func(t *testing.T, rules, conn []byte) {
		p := &policy.NetworkPlan{Mode: v1alpha1.Protect, EgressListed: true, EgressListRule: 99}
		for i := 1; len(rules) >= 9 && i < 40; i++ {
			addr := netip.AddrFrom4([4]byte(rules[:4]))
			if rules[8]&2 != 0 {
				addr = netip.AddrFrom16([16]byte{0: 0xfd, 13: rules[1], 14: rules[2], 15: rules[3]})
			}
			pre := netip.PrefixFrom(addr, int(rules[4])%(addr.BitLen()+1))
			lo := uint16(rules[6])
			r := policy.PeerRule{Rule: i, Deny: rules[8]&1 != 0, Prefixes: []netip.Prefix{pre}}
			if rules[8]&4 == 0 {
				r.Ports = []policy.PortRange{{Protocol: rules[5], Lo: lo, Hi: lo + uint16(rules[7])}}
			}
			p.Egress = append(p.Egress, r)
			rules = rules[9:]
		}
		if len(conn) < 7 {
			return
		}
		tab, _, err := compile(p, nil)
		if err != nil {
			t.Fatal(err) // at most 40 ranges
		}
		for _, a := range []netip.Addr{netip.AddrFrom4([4]byte(conn[:4])), netip.AddrFrom16([16]byte{0: 0xfd, 13: conn[1], 14: conn[2], 15: conn[3]})} {
			c := policy.Conn{Peer: a, Protocol: conn[4], Port: uint16(conn[5])<<8 | uint16(conn[6])}
			if got, want := tab.verdict(p, c), naive(p, nil, c); got != want {
				t.Fatalf("%+v: table says %+v, rules say %+v", c, got, want)
			}
		}
	})
}
