package firewall

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

type fakePeers struct{ addrs, node []netip.Addr }

func (f *fakePeers) Addresses(sel policy.WorkloadSelector) []netip.Addr {
	if sel.Name == "db" {
		return f.addrs
	}
	return nil
}
func (f *fakePeers) NodeAddresses() []netip.Addr { return f.node }

// rules is what policy says of a connection, without the rule that allows it,
// which the kernel does not tell.
func rules(p *policy.NetworkPlan, peers policy.Peers, c policy.Conn) policy.Decision {
	d := p.Decide(c, peers)
	if !d.Deny {
		d.Rule = 0
	}
	return d
}

var (
	somePrefixes = []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.0.2.0/25", "::/0", "fd00::/8", "fd00:1::/64", "fd00:1::1/128"}
	someAddrs    = []string{"10.1.2.3", "10.1.2.4", "10.1.3.3", "10.9.9.9", "192.0.2.1", "192.0.2.200", "fd00:1::1", "fd00:1::2", "fd00:2::1", "2001:db8::1", "::ffff:10.1.2.3"}
)

func anyPlan(t *rapid.T) *policy.NetworkPlan {
	draw := func(label string) []policy.PeerRule {
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
		Egress: draw("egress rules"), Ingress: draw("ingress rules"),
	}
}

func anyConn(t *rapid.T) policy.Conn {
	return policy.Conn{
		Ingress: rapid.Bool().Draw(t, "in"), Peer: netip.MustParseAddr(rapid.SampledFrom(someAddrs).Draw(t, "peer")),
		Protocol: rapid.SampledFrom([]uint8{1, 6, 17, 132}).Draw(t, "proto"), Port: rapid.Uint16Range(0, 52).Draw(t, "port"),
	}
}

// decide is the kernel program's walk over a table: the longest prefix, then
// the first matching range.
func (t table) decide(c policy.Conn, listed bool, listRule int) policy.Decision {
	peer := c.Peer.Unmap().WithZone("")
	if peer.IsLoopback() {
		return policy.Decision{}
	}
	for bits := peer.BitLen(); bits >= 0; bits-- {
		p, err := peer.Prefix(bits)
		if err != nil {
			break
		}
		list, ok := t[peerKey{c.Ingress, p}]
		if !ok {
			continue
		}
		for _, r := range list {
			if (r.anyProto || r.proto == c.Protocol) && r.lo <= c.Port && c.Port <= r.hi {
				if r.deny {
					return policy.Decision{Deny: true, Reasons: policy.ReasonDenied, Rule: int(r.rule)}
				}
				return policy.Decision{}
			}
		}
		break
	}
	if listed {
		return policy.Decision{Deny: true, Reasons: policy.ReasonNotListed, Rule: listRule}
	}
	return policy.Decision{}
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
			if got, want := tab.verdict(p, c), rules(p, peers, c); got != want {
				t.Fatalf("%+v: table says %+v, rules say %+v\ntable %v", c, got, want, tab)
			}
		}
	})
}

func TestMappedPrefixesAreIPv4(t *testing.T) {
	for in, want := range map[string]string{
		"::ffff:10.1.0.0/112": "10.1.0.0/16", "::ffff:192.0.2.1/128": "192.0.2.1/32", "10.1.2.3/8": "10.0.0.0/8", "fd00::1/8": "fd00::/8", "::/0": "::/0",
	} {
		if got, ok := plain(netip.MustParsePrefix(in)); !ok || got.String() != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
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
	f.Fuzz(func(t *testing.T, raw, conn []byte) {
		p := &policy.NetworkPlan{Mode: v1alpha1.Protect, EgressListed: true, EgressListRule: 99}
		for i := 1; len(raw) >= 9 && i < 40; i++ {
			addr := netip.AddrFrom4([4]byte(raw[:4]))
			if raw[8]&2 != 0 {
				addr = netip.AddrFrom16([16]byte{0: 0xfd, 13: raw[1], 14: raw[2], 15: raw[3]})
			}
			pre := netip.PrefixFrom(addr, int(raw[4])%(addr.BitLen()+1))
			lo := uint16(raw[6])
			r := policy.PeerRule{Rule: i, Deny: raw[8]&1 != 0, Prefixes: []netip.Prefix{pre}}
			if raw[8]&4 == 0 {
				r.Ports = []policy.PortRange{{Protocol: raw[5], Lo: lo, Hi: lo + uint16(raw[7])}}
			}
			p.Egress = append(p.Egress, r)
			raw = raw[9:]
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
			if got, want := tab.verdict(p, c), rules(p, nil, c); got != want {
				t.Fatalf("%+v: table says %+v, rules say %+v", c, got, want)
			}
		}
	})
}
