package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/event"
)

// String gives the rule in words: "/usr/bin/node", "files in /opt/app",
// "class shell started by /usr/sbin/nginx".
func (r *ExecRule) String() string {
	out := r.Path
	switch r.Match {
	case MatchDir:
		out = "files in " + r.Path
	case MatchTree:
		out = "files below " + r.Path
	case MatchNames:
		out = "class " + r.Class
	}
	if r.Args != nil {
		quoted := make([]string, len(r.Args))
		for i, a := range r.Args {
			if quoted[i] = a; a == "" || strings.ContainsFunc(a, func(c rune) bool { return c <= ' ' || c == '"' || c == 0x7f }) {
				quoted[i] = strconv.Quote(a)
			}
		}
		if out += " with " + strings.Join(quoted, " "); len(r.Args) == 0 {
			out += "no arguments"
		}
	}
	if r.Scripts != nil {
		out += " running " + orList(r.Scripts)
	}
	if r.Parents != nil {
		out += " started by " + orList(r.Parents)
	}
	if r.Users != nil {
		users := make([]string, len(r.Users))
		for i, u := range r.Users {
			users[i] = strconv.FormatUint(uint64(u), 10)
		}
		out += " as user " + orList(users)
	}
	return out
}

// orList gives "a", "a or b", "a, b or c".
func orList(list []string) string {
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " or " + list[n-1]
	}
	return strings.Join(list, "")
}

// String gives the use in words: "Read of /etc/shadow by /usr/bin/login",
// "Create, Delete of /etc and below by every program".
func (r *FileRule) String() string {
	place := r.Path
	switch r.Match {
	case MatchDir:
		place = "files in " + r.Path
	case MatchTree:
		place = r.Path + " and below"
	}
	by := "every program"
	if len(r.By) > 0 {
		list := make([]string, len(r.By))
		for i := range r.By {
			list[i] = r.By[i].String()
		}
		by = orList(list)
	}
	return r.Access.String() + " of " + place + " by " + by
}

// capabilityWords names the capabilities of a mask, in the order of their
// numbers.
func capabilityWords(mask uint64) string {
	var names []string
	for n := range 64 {
		if mask&(1<<n) != 0 {
			names = append(names, CapabilityName(n))
		}
	}
	if len(names) == 0 {
		return "no capability"
	}
	return strings.Join(names, ", ")
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
