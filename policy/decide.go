package policy

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// Peers answers what the plan leaves to the node. A nil Peers knows nobody.
type Peers interface {
	// Addresses are those of the containers that the selector matches now.
	Addresses(WorkloadSelector) []netip.Addr
	// NodeAddresses are the node's own.
	NodeAddresses() []netip.Addr
}

// Decide gives the verdict about starting a program. It is the table that the
// kernel programs implement.
//
// Reasons add up; the rule is that of the first of: a deny rule (the lowest
// number), drift, the list. For an allowed program it is the rule that allows
// it, if any.
//
// Of a multi-call program (Applet is set) a file rule speaks about the applet
// of its base name: /bin/sh is about busybox acting as sh, and /bin/busybox
// about busybox under its own name. Only a deny of the program's own path
// stands for all its applets.
//
// What narrows a rule (Args, Parents, Users, Scripts) must all hold.
func (p *ProcessPlan) Decide(e Exec) Decision {
	var d Decision
	first := func(rule int) {
		if d.Rule == 0 {
			d.Rule = rule
		}
	}
	if rule, ok := matchDeny(p.Deny, &e); ok {
		if _, waived := matchAllow(p.Waive, &e); !waived {
			d.Reasons |= ReasonDenied
			first(rule)
		}
	}
	if p.DenyDrift {
		if _, exempt := matchAllow(p.DriftAllow, &e); !exempt {
			if r := drift(&e); r != 0 {
				d.Reasons |= r
				first(p.DriftRule)
			}
		}
	}
	if p.Listed {
		rule, ok := matchAllow(p.Allow, &e)
		if !ok {
			d.Reasons |= ReasonNotListed
			first(p.ListRule)
		} else if d.Reasons == 0 {
			d.Rule = rule
		}
	}
	d.Deny = d.Reasons != 0
	return d
}

func drift(e *Exec) Reason {
	switch {
	case e.Fileless:
		return ReasonFileless
	case !e.InImage:
		return ReasonDrift
	case e.Changed:
		return ReasonChanged
	}
	return 0
}

// matchAllow finds the first rule that matches. What has no name in any file
// system is on no list.
func matchAllow(rules []ExecRule, e *Exec) (int, bool) {
	if e.Fileless {
		return 0, false
	}
	for i := range rules {
		if rules[i].matches(e) {
			return rules[i].Rule, true
		}
	}
	return 0, false
}

func matchDeny(rules []ExecRule, e *Exec) (int, bool) {
	for i := range rules {
		r := &rules[i]
		if (r.names(e) || r.Match == MatchFile && r.Path == e.Path) && r.narrowed(e) {
			return r.Rule, true
		}
	}
	return 0, false
}

func (r *ExecRule) matches(e *Exec) bool { return r.names(e) && r.narrowed(e) }

// names reports whether the rule is about the program, whatever narrows it.
func (r *ExecRule) names(e *Exec) bool {
	switch r.Match {
	case MatchFile:
		if e.Applet != "" {
			return path.Base(r.Path) == e.Applet
		}
		return r.Path == e.Path
	case MatchDir, MatchTree:
		return r.holds(e.Path)
	case MatchNames:
		return slices.Contains(r.Names, path.Base(e.Path)) || e.Applet != "" && slices.Contains(r.Names, e.Applet)
	}
	return false
}

// Decide gives the verdict about a new connection or first datagram. It is the
// table that the firewall implements.
//
// Loopback is never judged, and an IPv4-mapped IPv6 address is judged as the
// IPv4 address it is. A deny that matches wins over every allow and is the only
// reason then; its rule is the lowest number that matches.
func (p *NetworkPlan) Decide(c Conn, peers Peers) Decision {
	c.Peer = c.Peer.Unmap()
	if c.Peer.IsLoopback() {
		return Decision{}
	}
	rules, listed, listRule := p.Egress, p.EgressListed, p.EgressListRule
	if c.Ingress {
		rules, listed, listRule = p.Ingress, p.IngressListed, p.IngressListRule
	}
	allowed := -1
	for i := range rules {
		r := &rules[i]
		if !r.matches(&c, peers) {
			continue
		}
		if r.Deny {
			return Decision{Deny: true, Reasons: ReasonDenied, Rule: r.Rule}
		}
		if allowed < 0 {
			allowed = r.Rule
		}
	}
	switch {
	case allowed >= 0:
		return Decision{Rule: allowed}
	case listed:
		return Decision{Deny: true, Reasons: ReasonNotListed, Rule: listRule}
	}
	return Decision{}
}

func (r *PeerRule) matches(c *Conn, peers Peers) bool {
	if len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(p PortRange) bool {
		return p.Protocol == c.Protocol && p.Lo <= c.Port && c.Port <= p.Hi
	}) {
		return false
	}
	if r.anyPeer() || hasAddr(r.Prefixes, c.Peer) {
		return true
	}
	if peers == nil {
		return false
	}
	if r.NodeAddresses && slices.Contains(peers.NodeAddresses(), c.Peer) {
		return true
	}
	return slices.ContainsFunc(r.Workloads, func(w WorkloadSelector) bool {
		return slices.Contains(peers.Addresses(w), c.Peer)
	})
}

// Words gives the stable words of the reasons, in the order of their bits.
func (r Reason) Words() []string {
	var words []string
	for i, w := range []string{
		"denied", "not-listed", "drift", "changed", "fileless", "too-deep", "unknown", "quarantine", "family",
	} {
		if r&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// String gives the words with "+" between them, "none" for no reason.
func (r Reason) String() string {
	if r == 0 {
		return "none"
	}
	return strings.Join(r.Words(), "+")
}
