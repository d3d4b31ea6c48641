package v1alpha1

import (
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/workload"
)

// PortRange is what a Port means: an inclusive range of one IP protocol.
// Protocols without ports have Lo 0 and Hi 65535.
type PortRange struct {
	Protocol uint8 // IANA number
	Lo, Hi   uint16
}

// Ranges reads p. "icmp" gives two ranges, one for each IP version.
func (p Port) Ranges() ([]PortRange, error) {
	name, ports, hasPorts := strings.Cut(string(p), "/")
	whole := func(protocols ...uint8) ([]PortRange, error) {
		if hasPorts {
			return nil, fmt.Errorf("%s has no ports here: write %q", name, name)
		}
		var r []PortRange
		for _, n := range protocols {
			r = append(r, PortRange{Protocol: n, Hi: 65535})
		}
		return r, nil
	}
	var protocol uint8
	switch name {
	case "tcp":
		protocol = 6
	case "udp":
		protocol = 17
	case "icmp":
		return whole(1, 58)
	case "sctp":
		return whole(132)
	default:
		return nil, fmt.Errorf("%q is not a port: write it as tcp/443, udp/53, tcp/8000-8010, tcp, udp, icmp or sctp", clip(string(p)))
	}
	if !hasPorts {
		return []PortRange{{Protocol: protocol, Hi: 65535}}, nil
	}
	from, to, isRange := strings.Cut(ports, "-")
	lo, err := portNumber(from)
	if err != nil {
		return nil, err
	}
	hi := lo
	if isRange {
		if hi, err = portNumber(to); err != nil {
			return nil, err
		}
		if hi < lo {
			return nil, fmt.Errorf("range %s ends before it starts", ports)
		}
	}
	return []PortRange{{Protocol: protocol, Lo: lo, Hi: hi}}, nil
}

func portNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a port number from 1 to 65535", clip(s))
	}
	return uint16(n), nil
}

// ParseCIDR reads Peer.CIDR: a prefix without bits beyond its length, or an
// address. IPv4-mapped IPv6 addresses and zones are refused.
func ParseCIDR(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			return netip.Prefix{}, fmt.Errorf("%q must be a plain IPv4 or IPv6 address", clip(s))
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not a prefix such as 10.20.0.0/16 or an address", clip(s))
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: write %s or %s/%d", s, m, p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}

// PathMatch says what a rule's path matches besides the file itself.
type PathMatch int

// What paths match.
const (
	PathFile PathMatch = iota // exactly this file
	PathDir                   // "/dir/*": files directly in it
	PathTree                  // "/dir/**": files anywhere below it
)

// ParsePath reads ProcessRule.Path into its clean part and what it matches.
func ParsePath(s string) (string, PathMatch, error) {
	match, clean := PathFile, s
	if base, ok := strings.CutSuffix(s, "/**"); ok {
		match, clean = PathTree, base
	} else if base, ok := strings.CutSuffix(s, "/*"); ok {
		match, clean = PathDir, base
	}
	if match != PathFile && clean == "" {
		clean = "/"
	}
	switch {
	case len(s) > MaxPathBytes:
		return "", 0, fmt.Errorf("path has %d bytes, more than the limit of %d", len(s), MaxPathBytes)
	case !strings.HasPrefix(s, "/"):
		return "", 0, fmt.Errorf("%q is not an absolute path: it must start with /", clip(s))
	case strings.ContainsAny(clean, "*"):
		return "", 0, fmt.Errorf(`%q has a wildcard inside: only a last "/*" or "/**" is allowed`, clip(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", 0, fmt.Errorf("%q has control characters", clip(s))
	case path.Clean(clean) != clean:
		return "", 0, fmt.Errorf("%q is not clean: write %s", clip(s), clip(path.Clean(clean)+s[len(strings.TrimRight(s, "*")):]))
	case clean == "/" && match == PathFile:
		return "", 0, fmt.Errorf(`"/" is a directory: write /** for every program`)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > 255 {
			return "", 0, fmt.Errorf("a part of the path has %d bytes; no file has a name over 255", len(part))
		}
	}
	return clean, match, nil
}

// Selector turns the language's selector into the one that matches containers.
func (s *Selector) Selector() workload.Selector {
	w := workload.Selector{
		Labels: s.MatchLabels, Namespaces: s.Namespaces, Workloads: s.Workloads,
		Containers: s.Containers, Images: s.Images, ServiceAccounts: s.ServiceAccounts,
	}
	for _, r := range s.MatchExpressions {
		w.Expressions = append(w.Expressions, workload.Requirement{
			Key: r.Key, Operator: workload.Operator(r.Operator), Values: r.Values,
		})
	}
	return w
}
