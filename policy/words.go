package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/event"
)

// String gives the rule in words: "/usr/bin/node", "files in /opt/app",
// "class shell".
func (r *ExecRule) String() string {
	switch r.Match {
	case MatchDir:
		return "files in " + r.Path
	case MatchTree:
		return "files below " + r.Path
	case MatchNames:
		return "class " + r.Class
	}
	return r.Path
}

// String gives the rule's peers and ports in words: "data/orders-db on
// tcp/5432", "10.0.0.0/8", "anyone on udp/53".
func (r *PeerRule) String() string {
	var peers []string
	for _, w := range r.Workloads {
		peers = append(peers, w.String())
	}
	switch list := slices.Clone(r.Prefixes); {
	case len(list) > 6 && slices.Equal(list, internet()):
		peers = append(peers, "the Internet")
	case slices.Equal(list, metadata()):
		peers = append(peers, "the metadata service")
	default:
		for i, p := range list {
			if i == 6 {
				peers = append(peers, fmt.Sprintf("%d more prefixes", len(list)-i))
				break
			}
			if p.IsSingleIP() {
				peers = append(peers, p.Addr().String())
			} else {
				peers = append(peers, p.String())
			}
		}
	}
	if r.NodeAddresses {
		peers = append(peers, "the node")
	}
	if len(peers) == 0 {
		peers = []string{"anyone"}
	}
	out := strings.Join(peers, ", ")
	if len(r.Ports) == 0 {
		return out
	}
	return out + " on " + portWords(r.Ports)
}

func portWords(ports []PortRange) string {
	var words []string
	for i, p := range ports {
		if i == 6 {
			words = append(words, fmt.Sprintf("%d more", len(ports)-i))
			break
		}
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// String gives "tcp/443", "tcp/8000-8010" or "udp".
func (p PortRange) String() string {
	name := ""
	switch p.Protocol {
	case 1:
		name = "icmp"
	case 6:
		name = "tcp"
	case 17:
		name = "udp"
	case 58:
		name = "icmpv6"
	case 132:
		name = "sctp"
	default:
		name = fmt.Sprintf("protocol %d", p.Protocol)
	}
	switch {
	case p.Lo == 0 && p.Hi == 65535:
		return name
	case p.Lo == p.Hi:
		return fmt.Sprintf("%s/%d", name, p.Lo)
	}
	return fmt.Sprintf("%s/%d-%d", name, p.Lo, p.Hi)
}

// String gives "namespace/name" and the labels, "*" for any.
func (s *WorkloadSelector) String() string {
	or := func(v string) string {
		if v == "" {
			return "*"
		}
		return v
	}
	out := or(s.Namespace) + "/" + or(s.Name)
	if len(s.MatchLabels) == 0 {
		return out
	}
	keys := make([]string, 0, len(s.MatchLabels))
	for k := range s.MatchLabels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		keys[i] = k + "=" + s.MatchLabels[k]
	}
	return out + " with " + strings.Join(keys, ",")
}

// place gives "policy field (file:line)" for people.
func place(r event.RuleRef) string {
	if r.Policy == "" {
		return ""
	}
	if r.File == "" {
		return r.Policy + " " + r.Field
	}
	return fmt.Sprintf("%s %s (%s:%d)", r.Policy, r.Field, r.File, r.Line)
}
