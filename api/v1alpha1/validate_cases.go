package v1alpha1

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

func (c *checker) policyTest(s *PolicyTestSpec, namespace string) {
	c.testContainer("spec.container", &s.Container)
	var peers []string
	for i := range s.Peers {
		p, field := &s.Peers[i], at("spec.peers", i)
		c.testContainer(field, p)
		if p.Workload == "" {
			c.add(field+".workload", "cases name peers by it", "is missing")
		}
		if len(p.Addresses) == 0 {
			c.add(field+".addresses", "give the address that stands for it", "is missing")
		}
		ns := p.Namespace
		if ns == "" {
			ns = namespace
		}
		if p.Workload != "" {
			peers = append(peers, ns+"/"+p.Workload)
		}
	}
	for i, a := range s.Node {
		c.address(at("spec.node", i), a)
	}
	if len(s.Cases) == 0 {
		c.add("spec.cases", "say what happens and what is wanted", "is empty")
	}
	for i := range s.Cases {
		c.testCase(at("spec.cases", i), &s.Cases[i], peers)
	}
}

func (c *checker) testContainer(field string, t *TestContainer) {
	for i, a := range t.Addresses {
		c.address(at(field+".addresses", i), a)
	}
}

func (c *checker) address(field, a string) {
	if _, err := netip.ParseAddr(a); err != nil {
		c.add(field, "", "%q is not an address", clip(a))
	}
}

func (c *checker) testCase(field string, t *TestCase, peers []string) {
	const known = "exec, connect, accept, file, capability, hardening, events"
	switch given := count(t.Exec != nil, t.Connect != nil, t.Accept != nil, t.File != nil, t.Capability != "", t.Hardening != nil, t.Events != ""); {
	case given == 0:
		c.add(field, "give it one of "+known, "nothing happens")
	case given > 1:
		c.add(field, "make several cases of it", "has more than one of %s", known)
	}
	if e := t.Exec; e != nil {
		if !e.Fileless {
			c.program(field+".exec.path", e.Path)
		}
		if e.Parent != "" {
			c.program(field+".exec.parent", e.Parent)
		}
		if e.Script != "" {
			c.program(field+".exec.script", e.Script)
		}
	}
	if t.Connect != nil {
		c.testConnection(field+".connect", t.Connect, peers)
	}
	if t.Accept != nil {
		c.testConnection(field+".accept", t.Accept, peers)
	}
	if f := t.File; f != nil {
		c.program(field+".file.path", f.Path)
		c.program(field+".file.program", f.Program)
		if len(f.Access) == 0 {
			c.add(field+".file.access", "name one of "+strings.Join(words(AccessWords()), ", "), "is empty")
		}
	}
	if _, ok := Capability(t.Capability); !ok && t.Capability != "" {
		c.add(field+".capability", didYouMean(t.Capability, CapabilityNames()), "%q is not a capability of Linux", clip(t.Capability))
	}
	if t.Hardening != nil {
		c.program(field+".hardening.program", t.Hardening.Program)
	}
	if t.Events != "" && (path.IsAbs(t.Events) || path.Clean(t.Events) != t.Events || t.Events == ".." || strings.HasPrefix(t.Events, "../")) {
		c.add(field+".events", "put it beside the test", "%q is not the path of a file beside or below this one", clip(t.Events))
	}
}

// program checks the path of something that happens: plain, without wildcards.
func (c *checker) program(field, p string) {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || len(p) > MaxPathBytes {
		c.add(field, "", "%q is not an absolute, clean path", clip(p))
	}
}

func (c *checker) testConnection(field string, t *TestConnection, peers []string) {
	if _, err := netip.ParseAddr(t.Peer); err != nil && !slices.Contains(peers, t.Peer) {
		c.add(field+".peer", didYouMean(t.Peer, peers), "%q is neither an address nor one of spec.peers", clip(t.Peer))
	}
	if ranges, err := t.Port.Ranges(); err != nil {
		c.add(field+".port", portHint(t.Port), "%s", err)
	} else if p := ranges[0]; (p.Protocol == 6 || p.Protocol == 17) && p.Lo != p.Hi {
		c.add(field+".port", "", "%s is more than one port", t.Port)
	}
}
