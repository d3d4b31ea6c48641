package v1alpha1

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/workload"
)

// checker collects what is wrong with one document.
type checker struct{ errs []*Error }

func (c *checker) add(field, hint, format string, args ...any) {
	c.errs = append(c.errs, &Error{Field: field, Reason: fmt.Sprintf(format, args...), Hint: hint})
}

// Validate reports everything wrong with a document that was not read by
// Decode (which validates on its own). The errors have no file or line.
func Validate(o Object) []*Error { return validate(o) }

func validate(o Object) []*Error {
	c := &checker{}
	c.meta(o)
	switch p := o.(type) {
	case *WorkloadPolicy:
		c.policy(&p.Spec, true)
	case *ClusterWorkloadPolicy:
		c.policy(&p.Spec, false)
	case *Exception:
		c.exception(&p.Spec, p.Namespace != "")
	case *ResponsePolicy:
		c.response(&p.Spec, p.Namespace != "")
	case *Profile:
		c.profile(&p.Spec)
	case *ScanTarget:
		c.scanTarget(&p.Spec)
	case *PolicyTest:
		c.policyTest(&p.Spec, Namespace(p))
	}
	return c.errs
}

func (c *checker) meta(o Object) {
	t, m := o.Meta()
	c.name("metadata.name", m.Name, 253)
	if m.Namespace != "" {
		c.name("metadata.namespace", m.Namespace, 63)
		switch t.Kind {
		case KindClusterWorkloadPolicy:
			c.add("metadata.namespace", "leave it out, or use WorkloadPolicy", "a ClusterWorkloadPolicy has no namespace")
		case KindScanTarget:
			c.add("metadata.namespace", "leave it out", "a ScanTarget has no namespace")
		}
	}
}

func (c *checker) name(field, name string, limit int) {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	switch {
	case name == "":
		c.add(field, "", "is missing")
	case len(name) > limit:
		c.add(field, "", "has %d letters, more than the limit of %d", len(name), limit)
	case strings.ContainsFunc(name, func(r rune) bool { return !ok(r) }) || strings.ContainsAny(name[:1], "-_."):
		c.add(field, `use letters, digits, "-", "_" and ".", starting with a letter or digit`, "%q is not a name", clip(name))
	}
}

func (c *checker) selector(field string, s *Selector, namespaced bool) {
	w := s.Selector()
	for _, err := range w.Validate() {
		if se, ok := errors.AsType[*workload.SelectorError](err); ok {
			c.add(field+"."+se.Field, "", "%s", se.Reason)
		}
	}
	if namespaced && s.Namespaces != nil {
		c.add(field+".namespaces", "leave it out, or give the document cluster scope",
			"a document of one namespace cannot reach into others")
	}
	for _, l := range []struct {
		name string
		list []string
	}{
		{"workloads", s.Workloads},
		{"containers", s.Containers},
		{"images", s.Images},
		{"serviceAccounts", s.ServiceAccounts},
		{"namespaces", s.Namespaces},
	} {
		if l.list != nil && len(l.list) == 0 {
			c.add(field+"."+l.name, "leave it out to mean any", "is empty")
		}
	}
}

func (c *checker) policy(s *WorkloadPolicySpec, namespaced bool) {
	c.selector("spec.selector", &s.Selector, namespaced)
	if p := s.Process; p != nil {
		c.processRules("spec.process.allow", p.Allow)
		c.processRules("spec.process.deny", p.Deny)
		c.contradictions(p)
	}
	c.files(s.Files)
	if s.Capabilities != nil {
		c.capabilities("spec.capabilities.allow", s.Capabilities.Allow)
	}
	if s.Hardening != nil {
		c.hardening(s.Hardening)
	}
	if n := s.Network; n != nil {
		for i := range n.Ingress {
			c.ingress(at("spec.network.ingress", i), &n.Ingress[i])
		}
		for i := range n.Egress {
			c.egress(at("spec.network.egress", i), &n.Egress[i])
		}
		if d := n.Deny; d != nil {
			if len(d.Ingress) == 0 && len(d.Egress) == 0 {
				c.add("spec.network.deny", "leave it out, or deny something", "denies nothing")
			}
			for i := range d.Ingress {
				field := at("spec.network.deny.ingress", i)
				c.ingress(field, &d.Ingress[i])
				for j := range n.Ingress {
					if samePeers(d.Ingress[i].From, n.Ingress[j].From) && samePorts(d.Ingress[i].Ports, n.Ingress[j].Ports) {
						c.add(field, "keep one of them", "contradicts spec.network.ingress[%d], which allows the same", j)
					}
				}
			}
			for i := range d.Egress {
				field := at("spec.network.deny.egress", i)
				c.egress(field, &d.Egress[i])
				for j := range n.Egress {
					if samePeers(d.Egress[i].To, n.Egress[j].To) && samePorts(d.Egress[i].Ports, n.Egress[j].Ports) {
						c.add(field, "keep one of them", "contradicts spec.network.egress[%d], which allows the same", j)
					}
				}
			}
		}
	}
}

func (c *checker) processRules(field string, rules []ProcessRule) {
	for i := range rules {
		c.processRule(at(field, i), &rules[i])
	}
}

func (c *checker) processRule(field string, r *ProcessRule) {
	switch {
	case r.Path == "" && r.Class == "":
		c.add(field, "give it a path or a class", "names no program")
	case r.Path != "" && r.Class != "":
		c.add(field, "make two rules of it", "has both a path and a class")
	case r.Path != "":
		c.path(field+".path", r.Path)
	}
	c.conditions(field, r)
}

func (c *checker) path(field, p string) {
	if _, _, err := ParsePath(p); err != nil {
		c.add(field, "", "%s", err)
	}
}

func (c *checker) contradictions(p *ProcessSpec) {
	allowed := make(map[string]int, len(p.Allow))
	for i, r := range p.Allow {
		allowed[r.programs()] = i
	}
	for i, d := range p.Deny {
		if j, ok := allowed[d.programs()]; ok && (d.Path != "" || d.Class != "") {
			c.add(at("spec.process.deny", i), "keep one of them", "contradicts spec.process.allow[%d], which allows the same", j)
		}
	}
}

func (c *checker) ingress(field string, r *IngressRule) {
	c.peers(field, "from", r.From, r.Ports)
}

func (c *checker) egress(field string, r *EgressRule) {
	c.peers(field, "to", r.To, r.Ports)
}

func (c *checker) peers(field, name string, peers []Peer, ports []Port) {
	if peers == nil && ports == nil {
		c.add(field, fmt.Sprintf("to mean everyone, write %s: [{entity: Any}]", name), "says neither %s nor ports", name)
	}
	if peers != nil && len(peers) == 0 {
		c.add(field+"."+name, "leave it out to mean everyone", "is empty")
	}
	if ports != nil && len(ports) == 0 {
		c.add(field+".ports", "leave it out to mean every port", "is empty")
	}
	for i := range peers {
		c.peer(at(field+"."+name, i), &peers[i])
	}
	for i, p := range ports {
		if _, err := p.Ranges(); err != nil {
			c.add(at(field+".ports", i), portHint(p), "%s", err)
		}
	}
}

func portHint(p Port) string {
	s := strings.ToLower(strings.TrimSpace(string(p)))
	for _, try := range []string{
		strings.Replace(s, ":", "/", 1), "tcp/" + s, s,
		func() string { a, b, _ := strings.Cut(s, "/"); return b + "/" + a }(),
	} {
		if _, err := Port(try).Ranges(); err == nil && try != string(p) {
			return fmt.Sprintf("did you mean %q?", try)
		}
	}
	return ""
}

func (c *checker) peer(field string, p *Peer) {
	given := 0
	if p.Workload != nil {
		given++
		w := p.Workload
		if w.Namespace == "" && w.Name == "" && len(w.MatchLabels) == 0 {
			c.add(field+".workload", "give it a name, labels or a namespace", "chooses nothing")
		}
	}
	if p.CIDR != "" {
		given++
		if _, err := ParseCIDR(p.CIDR); err != nil {
			c.add(field+".cidr", "", "%s", err)
		}
	}
	if p.Entity != "" {
		given++
		switch {
		case p.Entity == "ApiServer":
			c.add(field+".entity", "give the API server's addresses as cidr",
				"ApiServer is reserved: nothing in this version enforces it yet")
		case !slices.Contains(entities(), p.Entity):
			c.add(field+".entity", didYouMean(p.Entity, entities()), "%q is not one of %s", clip(p.Entity), strings.Join(entities(), ", "))
		}
	}
	if given == 0 {
		c.add(field, "give it one of workload, cidr, entity", "names no peer")
	}
	if given > 1 {
		c.add(field, "make several peers of it", "has more than one of workload, cidr, entity")
	}
}

func samePeers(a, b []Peer) bool {
	return len(a) == len(b) && slices.EqualFunc(a, b, func(x, y Peer) bool {
		if x.CIDR != y.CIDR || x.Entity != y.Entity || (x.Workload == nil) != (y.Workload == nil) {
			return false
		}
		if x.Workload == nil {
			return true
		}
		if x.Workload.Namespace != y.Workload.Namespace || x.Workload.Name != y.Workload.Name ||
			len(x.Workload.MatchLabels) != len(y.Workload.MatchLabels) {
			return false
		}
		for k, v := range x.Workload.MatchLabels {
			if w, ok := y.Workload.MatchLabels[k]; !ok || v != w {
				return false
			}
		}
		return true
	})
}

func samePorts(a, b []Port) bool { return slices.Equal(a, b) }

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
