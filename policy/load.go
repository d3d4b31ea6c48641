package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// File is one file of policies: the name is used in errors only.
type File struct {
	Name string
	Data []byte
}

// Set is every valid document of some files, ready to be compiled. It never
// changes after Load and may be used by many goroutines.
type Set struct {
	docs    []*v1alpha1.Document // sorted by ID
	byID    map[string]*v1alpha1.Document
	library *content.Library
	// Policies and exceptions by namespace; "" has those of cluster scope.
	policies   map[string][]*policySource
	exceptions map[string][]*exceptionSource
	tests      []*testSource
	// reasons are the words an author gave for a rule.
	reasons map[event.RuleRef]string
}

// ErrDuplicate is in the chain of the error for a document whose kind,
// namespace and name another document has already; the first one is kept.
var ErrDuplicate = errors.New("document exists twice")

// Load reads files in the order given. A broken document does not take others
// down: the set has every valid one, the errors (most of them *v1alpha1.Error)
// say what is wrong with the rest. The set is never nil.
func Load(files []File, checks ...v1alpha1.Validator) (*Set, []error) {
	s := &Set{
		byID:       map[string]*v1alpha1.Document{},
		policies:   map[string][]*policySource{},
		exceptions: map[string][]*exceptionSource{},
		reasons:    map[event.RuleRef]string{},
	}
	library, err := content.Load()
	if err != nil {
		return s, []error{err}
	}
	s.library = library
	checks = append([]v1alpha1.Validator{func(o v1alpha1.Object) []*v1alpha1.Error {
		return append(checkClasses(library, o), checkSwitches(o)...)
	}}, checks...)
	var errs []error
	for _, f := range files {
		docs, bad := v1alpha1.Decode(f.Name, f.Data, checks...)
		for _, e := range bad {
			errs = append(errs, e)
		}
		for _, d := range docs {
			id := v1alpha1.ID(d.Object)
			if first, ok := s.byID[id]; ok {
				errs = append(errs, &duplicateError{&v1alpha1.Error{
					File: d.File, Line: d.Line, Column: 1, Field: "metadata.name",
					Reason: fmt.Sprintf("%s is already defined at %s:%d", id, first.File, first.Line),
					Hint:   "rename or remove one of them; the first one stays in force",
				}})
				continue
			}
			s.byID[id] = d
			s.docs = append(s.docs, d)
		}
	}
	slices.SortFunc(s.docs, func(a, b *v1alpha1.Document) int {
		return cmp.Compare(v1alpha1.ID(a.Object), v1alpha1.ID(b.Object))
	})
	for _, d := range s.docs {
		s.index(d)
		d.Trim()
	}
	return s, errs
}

type duplicateError struct{ place *v1alpha1.Error }

func (e *duplicateError) Error() string   { return e.place.Error() }
func (e *duplicateError) Unwrap() []error { return []error{ErrDuplicate, e.place} }

// Documents gives every document, sorted by ID. The caller must not change them.
func (s *Set) Documents() []*v1alpha1.Document { return s.docs }

// Get gives the document of an ID ("WorkloadPolicy/shop/checkout"), or nil.
func (s *Set) Get(id string) *v1alpha1.Document { return s.byID[id] }

// NextExpiry gives the earliest moment after now at which an exception ends
// and containers must be compiled again; false when there is none.
func (s *Set) NextExpiry(now time.Time) (time.Time, bool) {
	var next time.Time
	for _, list := range s.exceptions {
		for _, e := range list {
			if t := e.spec.ExpiresAt.Time; t.After(now) && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	return next, !next.IsZero()
}

// policySource is a workload policy with everything resolved that does not
// depend on the container.
type policySource struct {
	id, name  string
	cluster   bool
	spec      *v1alpha1.WorkloadPolicySpec
	selector  workload.Selector
	whenBlind v1alpha1.WhenBlind

	driftRef    *event.RuleRef
	listRef     *event.RuleRef // of the allow list
	allow, deny []execRef
	files       []fileRef
	hardening   []switchRef
	egress      direction
	ingress     direction

	capabilitiesRef *event.RuleRef // of the list
}

// direction is one direction of a policy's network section.
type direction struct {
	listRef     *event.RuleRef
	allow, deny []peerRef
}

// exceptionSource is an exception, resolved the same way.
type exceptionSource struct {
	id, namespace   string
	cluster         bool
	spec            *v1alpha1.ExceptionSpec
	selector        workload.Selector
	process, drift  []execRef
	files           []fileRef
	hardening       []waiverRef
	egress, ingress []peerRef
}

// execRef and peerRef are rules with the line they came from.
type execRef struct {
	ExecRule
	ref event.RuleRef
}

type peerRef struct {
	PeerRule
	ref event.RuleRef
}

// applies reports whether the exception may loosen the policy: one of a
// namespace never loosens a policy of cluster scope.
func (e *exceptionSource) applies(p *policySource) bool {
	if p.cluster && !e.cluster {
		return false
	}
	return e.spec.Policy == "" || e.spec.Policy == p.name || e.spec.Policy == p.id
}

func (s *Set) index(d *v1alpha1.Document) {
	namespace := v1alpha1.Namespace(d.Object)
	r := resolver{doc: d, id: v1alpha1.ID(d.Object), namespace: namespace, library: s.library, reasons: s.reasons}
	if e, ok := d.Object.(*v1alpha1.Exception); ok {
		if e.Spec.Selector == nil {
			return // about images only, which no plan knows
		}
		x := &exceptionSource{
			id: r.id, namespace: namespace, cluster: namespace == "", spec: &e.Spec, selector: e.Spec.Selector.Selector(),
			process: r.execs("spec.rules.process", e.Spec.Rules.Process),
			files:   r.fileWaivers("spec.rules.files", e.Spec.Rules.Files), hardening: r.hardeningWaivers(e.Spec.Rules.Hardening),
			egress:  r.egress("spec.rules.egress", e.Spec.Rules.Egress, false),
			ingress: r.ingress("spec.rules.ingress", e.Spec.Rules.Ingress, false),
		}
		for i, rule := range e.Spec.Rules.Drift {
			x.drift = append(x.drift, r.exec(at("spec.rules.drift", i), v1alpha1.ProcessRule{Path: rule.Path, Reason: rule.Reason}))
		}
		s.exceptions[namespace] = append(s.exceptions[namespace], x)
		return
	}
	if t, ok := d.Object.(*v1alpha1.PolicyTest); ok {
		s.tests = append(s.tests, newTestSource(d, t))
		return
	}
	spec := v1alpha1.Policy(d.Object)
	if spec == nil {
		return
	}
	p := &policySource{
		id: r.id, name: d.Object.GetName(), cluster: namespace == "", spec: spec,
		selector: spec.Selector.Selector(), whenBlind: spec.WhenBlind,
	}
	if ps := spec.Process; ps != nil {
		if ps.Drift == v1alpha1.Deny {
			p.driftRef = r.ref("spec.process.drift")
		}
		if ps.Allow != nil {
			p.listRef = r.ref("spec.process.allow")
		}
		p.allow = r.execs("spec.process.allow", ps.Allow)
		p.deny = r.execs("spec.process.deny", ps.Deny)
	}
	p.files = r.files("spec.files", spec.Files)
	if spec.Capabilities != nil {
		p.capabilitiesRef = r.ref("spec.capabilities.allow")
	}
	if spec.Hardening != nil {
		p.hardening = r.hardening(spec.Hardening)
	}
	if n := spec.Network; n != nil {
		if n.Egress != nil {
			p.egress.listRef = r.ref("spec.network.egress")
		}
		if n.Ingress != nil {
			p.ingress.listRef = r.ref("spec.network.ingress")
		}
		p.egress.allow = r.egress("spec.network.egress", n.Egress, false)
		p.ingress.allow = r.ingress("spec.network.ingress", n.Ingress, false)
		if n.Deny != nil {
			p.egress.deny = r.egress("spec.network.deny.egress", n.Deny.Egress, true)
			p.ingress.deny = r.ingress("spec.network.deny.ingress", n.Deny.Ingress, true)
		}
	}
	s.policies[namespace] = append(s.policies[namespace], p)
}

// resolver turns the rules of one document into rules of a plan.
type resolver struct {
	doc       *v1alpha1.Document
	id        string
	namespace string
	library   *content.Library
	reasons   map[event.RuleRef]string
}

func (r *resolver) because(ref event.RuleRef, reason string) {
	if reason != "" {
		r.reasons[ref] = reason
	}
}

func (r *resolver) ref(field string) *event.RuleRef {
	line, _ := r.doc.Position(field)
	return &event.RuleRef{Policy: r.id, Field: field, File: r.doc.File, Line: line}
}

func (r *resolver) execs(field string, rules []v1alpha1.ProcessRule) []execRef {
	out := make([]execRef, 0, len(rules))
	for i, rule := range rules {
		out = append(out, r.exec(at(field, i), rule))
	}
	return out
}

func (r *resolver) exec(field string, rule v1alpha1.ProcessRule) execRef {
	out := execRef{ref: *r.ref(field)}
	r.because(out.ref, rule.Reason)
	if rule.Class != "" {
		out.ExecRule = ExecRule{Match: MatchNames, Class: rule.Class}
		if c := r.library.Class(rule.Class); c != nil {
			out.Names = c.Names
		}
		out.conditions(&rule)
		return out
	}
	// Decode has checked the path.
	clean, match, _ := v1alpha1.ParsePath(rule.Path)
	out.ExecRule = ExecRule{Match: matchOf(match), Path: clean}
	out.conditions(&rule)
	return out
}

func (r *resolver) egress(field string, rules []v1alpha1.EgressRule, deny bool) []peerRef {
	out := make([]peerRef, 0, len(rules))
	for i := range rules {
		p := r.peers(at(field, i), rules[i].To, rules[i].Ports, deny)
		r.because(p.ref, rules[i].Reason)
		out = append(out, p)
	}
	return out
}

func (r *resolver) ingress(field string, rules []v1alpha1.IngressRule, deny bool) []peerRef {
	out := make([]peerRef, 0, len(rules))
	for i := range rules {
		p := r.peers(at(field, i), rules[i].From, rules[i].Ports, deny)
		r.because(p.ref, rules[i].Reason)
		out = append(out, p)
	}
	return out
}

func (r *resolver) peers(field string, peers []v1alpha1.Peer, ports []v1alpha1.Port, deny bool) peerRef {
	out := peerRef{ref: *r.ref(field)}
	out.Deny = deny
	for _, p := range ports {
		ranges, _ := p.Ranges() // checked by Decode
		for _, g := range ranges {
			out.Ports = append(out.Ports, PortRange{Protocol: g.Protocol, Lo: g.Lo, Hi: g.Hi})
		}
	}
	for _, p := range peers {
		switch {
		case p.Workload != nil:
			w := WorkloadSelector{Namespace: p.Workload.Namespace, Name: p.Workload.Name, MatchLabels: p.Workload.MatchLabels}
			if w.Namespace == "" {
				w.Namespace = r.namespace
			}
			out.Workloads = append(out.Workloads, w)
		case p.CIDR != "":
			prefix, _ := v1alpha1.ParseCIDR(p.CIDR) // checked by Decode
			out.Prefixes = append(out.Prefixes, prefix)
		case p.Entity == v1alpha1.EntityNode:
			out.NodeAddresses = true
		case p.Entity == v1alpha1.EntityInternet:
			out.Prefixes = append(out.Prefixes, internet()...)
		case p.Entity == v1alpha1.EntityMetadata:
			out.Prefixes = append(out.Prefixes, metadata()...)
		case p.Entity == v1alpha1.EntityAny:
			// Anyone swallows every other peer of the rule.
			out.Prefixes, out.Workloads, out.NodeAddresses = nil, nil, false
			return out
		}
	}
	return out
}

// checkClasses refuses classes that nobody knows.
func checkClasses(l *content.Library, o v1alpha1.Object) []*v1alpha1.Error {
	var errs []*v1alpha1.Error
	check := func(field string, rules []v1alpha1.ProcessRule) {
		for i, r := range rules {
			if r.Class == "" || l.Class(r.Class) != nil {
				continue
			}
			hint := "known classes: " + strings.Join(l.ClassNames(), ", ")
			if near := v1alpha1.Nearest(r.Class, l.ClassNames()); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			errs = append(errs, &v1alpha1.Error{
				Field: at(field, i) + ".class", Reason: fmt.Sprintf("%.80q is not a class of programs", r.Class), Hint: hint,
			})
		}
	}
	if spec := v1alpha1.Policy(o); spec != nil && spec.Process != nil {
		check("spec.process.allow", spec.Process.Allow)
		check("spec.process.deny", spec.Process.Deny)
	}
	if e, ok := o.(*v1alpha1.Exception); ok {
		check("spec.rules.process", e.Spec.Rules.Process)
	}
	return errs
}

func at(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
