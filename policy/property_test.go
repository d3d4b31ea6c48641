package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
	"pgregory.net/rapid"
)

// The operations on rules are checked against what they mean: membership.

func drawPrefixes(t *rapid.T, label string) []netip.Prefix {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v6") {
			a := netip.AddrFrom16([16]byte{0x20, 1, 15: byte(rapid.IntRange(0, 255).Draw(t, "low"))})
			return netip.PrefixFrom(a, rapid.IntRange(120, 128).Draw(t, "bits")).Masked()
		}
		a := netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 255).Draw(t, "low"))})
		return netip.PrefixFrom(a, rapid.SampledFrom([]int{0, 24, 25, 28, 30, 31, 32}).Draw(t, "bits")).Masked()
	}), 0, 3).Draw(t, label)
}

func drawPorts(t *rapid.T, label string) []PortRange {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PortRange {
		lo := uint16(rapid.IntRange(0, 9).Draw(t, "lo"))
		return PortRange{
			Protocol: rapid.SampledFrom([]uint8{6, 17}).Draw(t, "protocol"),
			Lo:       lo, Hi: lo + uint16(rapid.IntRange(0, 5).Draw(t, "width")),
		}
	}), 0, 3).Draw(t, label)
}

func drawPeerRule(t *rapid.T, label string) peerRef {
	return peerRef{PeerRule: PeerRule{Prefixes: drawPrefixes(t, label+" prefixes"), Ports: drawPorts(t, label+" ports")}}
}

func drawConn(t *rapid.T) Conn {
	c := Conn{
		Protocol: rapid.SampledFrom([]uint8{6, 17}).Draw(t, "protocol"),
		Port:     uint16(rapid.IntRange(0, 16).Draw(t, "port")),
		Peer:     netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 255).Draw(t, "peer"))}),
	}
	if rapid.Bool().Draw(t, "v6") {
		c.Peer = netip.AddrFrom16([16]byte{0x20, 1, 15: byte(rapid.IntRange(0, 255).Draw(t, "peer"))})
	}
	return c
}

func anyMatches(rules []peerRef, c *Conn) bool {
	return slices.ContainsFunc(rules, func(r peerRef) bool { return r.matches(c, nil) })
}

func TestPeerSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawPeerRule(t, "a"), drawPeerRule(t, "b"), drawConn(t)
		inA, inB := a.matches(&c, nil), b.matches(&c, nil)
		left, _ := subtractPeers(a, &b.PeerRule)
		if got, want := anyMatches(left, &c), inA && !inB; got != want {
			t.Fatalf("%v in (%v) - (%v) = %v, want %v; left %v", c, &a.PeerRule, &b.PeerRule, got, want, left)
		}
		both := intersectPeers([]peerRef{a}, []peerRef{b})
		if got, want := anyMatches(both, &c), inA && inB; got != want {
			t.Fatalf("%v in (%v) and (%v) = %v, want %v", c, &a.PeerRule, &b.PeerRule, got, want)
		}
	})
}

var paths = []string{"/a/sh", "/a/x", "/a/b/sh", "/a/b/x", "/c/sh", "/a", "/x"}

func drawExecRule(t *rapid.T, label string) ExecRule {
	switch rapid.IntRange(0, 3).Draw(t, label) {
	case 0:
		return ExecRule{Match: MatchFile, Path: rapid.SampledFrom(paths).Draw(t, "path")}
	case 1:
		return ExecRule{Match: MatchDir, Path: rapid.SampledFrom([]string{"/", "/a", "/a/b", "/c"}).Draw(t, "dir")}
	case 2:
		return ExecRule{Match: MatchTree, Path: rapid.SampledFrom([]string{"/", "/a", "/a/b", "/c"}).Draw(t, "tree")}
	}
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"sh", "x", "a", "b"}), 1, 3, rapid.ID).Draw(t, "names")
	return ExecRule{Match: MatchNames, Class: fmt.Sprint(names), Names: names}
}

func TestExecSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawExecRule(t, "a"), drawExecRule(t, "b")
		both := intersectExecs([]execRef{{ExecRule: a}}, []execRef{{ExecRule: b}})
		for _, p := range paths {
			e := Exec{Path: p, InImage: true}
			inA, inB := a.matches(&e), b.matches(&e)
			if a.covers(&b) && inB && !inA {
				t.Fatalf("%v covers %v, yet not %s", &a, &b, p)
			}
			if inA && inB && !a.overlaps(&b) {
				t.Fatalf("%v and %v both match %s, yet do not overlap", &a, &b, p)
			}
			inBoth := slices.ContainsFunc(both, func(r execRef) bool { return r.matches(&e) })
			if inBoth && !(inA && inB) {
				t.Fatalf("%v and %v: the intersection has %s, which is not in both", &a, &b, p)
			}
			exact := !(a.Match == MatchNames && b.Match == MatchTree || a.Match == MatchTree && b.Match == MatchNames)
			if exact && inA && inB && !inBoth {
				t.Fatalf("%v and %v: the intersection lacks %s", &a, &b, p)
			}
		}
	})
}

func TestInternet(t *testing.T) {
	public := PeerRule{Prefixes: internet()}
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "203.0.113.9": true, "198.51.100.1": true, "11.0.0.1": true, "172.32.0.1": true, "223.255.255.255": true,
		"10.1.2.3": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "100.64.0.1": false,
		"127.0.0.1": false, "169.254.169.254": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false, "0.0.0.1": false,
		"2606:4700::1": true, "2001:db8::1": true, "64:ff9b::808:808": true,
		"fd00::1": false, "fe80::1": false, "::1": false, "ff02::1": false,
	} {
		if got := public.matches(&Conn{Peer: netip.MustParseAddr(addr)}, nil); got != want {
			t.Errorf("Internet has %s: %v, want %v", addr, got, want)
		}
	}
	for i, p := range public.Prefixes {
		for _, q := range public.Prefixes[i+1:] {
			if p.Overlaps(q) {
				t.Errorf("%s and %s overlap", p, q)
			}
		}
	}
}

func TestReasonWords(t *testing.T) {
	if got := (ReasonDenied | ReasonDrift | ReasonFamily).String(); got != "denied+drift+family" {
		t.Error(got)
	}
	if got := Reason(0).String(); got != "none" {
		t.Error(got)
	}
	l, err := content.Load()
	if err != nil {
		t.Fatal(err)
	}
	// Every word that has techniques is a word that can occur.
	all := ReasonDenied | ReasonNotListed | ReasonDrift | ReasonChanged | ReasonFileless | ReasonTooDeep | ReasonUnknown | ReasonQuarantine | ReasonFamily
	if len(l.Techniques("", all.Words(), "")) < 5 {
		t.Error("reasons and techniques use different words")
	}
	for _, k := range []event.Kind{event.ProcessDrift, event.ProcessFileless, event.NetworkConnect, event.NetworkAccept, event.NetworkSocket} {
		if len(l.Techniques(string(k), nil, "")) == 0 {
			t.Errorf("a denied %s stands for no technique", k)
		}
	}
}

func TestManyRules(t *testing.T) {
	m := &merge{plan: &Plan{Rules: make([]event.RuleRef, 1)}, numbers: map[event.RuleRef]int{}}
	for i := range MaxRules + 10 {
		n := m.number(event.RuleRef{Line: i + 1})
		if want := i + 1; i < MaxRules && n != want || i >= MaxRules && n != 0 {
			t.Fatalf("rule %d has number %d", i, n)
		}
	}
}

var someDay = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

func drawSelector(t *rapid.T, label string) WorkloadSelector {
	s := WorkloadSelector{
		Namespace: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label+" namespace"),
		Name:      rapid.SampledFrom([]string{"", "web", "we*", "*b", "db"}).Draw(t, label+" name"),
	}
	if v := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, label+" label"); v != "" {
		s.MatchLabels = map[string]string{"k": v}
	}
	return s
}

func TestSelectorSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSelector(t, "a"), drawSelector(t, "b")
		c := &workload.Container{
			Workload: workload.Ref{
				Namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"),
				Name:      rapid.SampledFrom([]string{"web", "wet", "db"}).Draw(t, "name"),
			},
			Labels: map[string]string{"k": rapid.SampledFrom([]string{"1", "2"}).Draw(t, "label")},
		}
		inA, inB := a.Matches(c), b.Matches(c)
		if a.covers(&b) && inB && !inA {
			t.Fatalf("%s covers %s, yet not %s", &a, &b, c.Workload)
		}
		both, ok := a.intersect(&b)
		if ok && both.Matches(c) != (inA && inB) {
			t.Fatalf("%s and %s give %s, which is wrong about %s", &a, &b, &both, c.Workload)
		}
		if !a.covers(&a) {
			t.Fatalf("%s does not cover itself", &a)
		}
	})
}
