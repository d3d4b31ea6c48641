package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// MaxRules is how many rules of a plan can be told apart; the kernel programs
// number them in 16 bits. Rules beyond it are enforced all the same, without
// their line (rule 0).
const MaxRules = 1<<16 - 1

// Compile merges every policy that selects c at the moment now into one plan.
// It gives nil when no policy does. Equal sets, containers and active
// exceptions give equal plans with equal IDs.
//
// Allows add up, a deny wins, the strictest mode wins, and a section that no
// policy has is nil. A list of a policy of cluster scope is a ceiling: what a
// namespaced policy allows beyond it is not allowed. Exceptions loosen what is
// in their reach; whatever cannot be loosened exactly stays strict.
func (s *Set) Compile(c *workload.Container, now time.Time) *Plan {
	plan, _ := s.compile(c, now)
	return plan
}

// compile is Compile, and says what the exceptions did.
func (s *Set) compile(c *workload.Container, now time.Time) (*Plan, []Note) {
	m := &merge{plan: &Plan{Workload: c.Workload, WhenBlind: v1alpha1.Open, Rules: make([]event.RuleRef, 1)}, numbers: map[event.RuleRef]int{}}
	for _, list := range [][]*policySource{s.policies[""], s.policies[namespaceOf(c)]} {
		for _, p := range list {
			if p.selector.Matches(c) {
				m.policies = append(m.policies, p)
			}
		}
	}
	if len(m.policies) == 0 {
		return nil, nil
	}
	for _, list := range [][]*exceptionSource{s.exceptions[""], s.exceptions[namespaceOf(c)]} {
		for _, e := range list {
			if e.selector.Matches(c) && now.Before(e.spec.ExpiresAt.Time) {
				m.exceptions = append(m.exceptions, e)
			}
		}
	}
	m.process()
	m.files()
	m.capabilities()
	m.hardening()
	m.network()
	for _, p := range m.policies {
		m.plan.Policies = append(m.plan.Policies, p.id)
		if p.whenBlind == v1alpha1.Closed {
			m.plan.WhenBlind = v1alpha1.Closed
		}
	}
	for _, e := range m.exceptions {
		m.plan.Policies = append(m.plan.Policies, e.id)
	}
	slices.Sort(m.plan.Policies)
	m.plan.ID = planID(m.plan)
	return m.plan, m.notes
}

func namespaceOf(c *workload.Container) string {
	if c.Workload.Namespace == "" {
		return v1alpha1.DefaultNamespace
	}
	return c.Workload.Namespace
}

func planID(p *Plan) string {
	unnamed := *p
	unnamed.ID = ""
	// Only maps with text keys and plain values are in a plan: it always
	// encodes, and always to the same bytes.
	raw, _ := json.Marshal(&unnamed)
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// merge builds one plan.
type merge struct {
	plan       *Plan
	policies   []*policySource // cluster scope first, each part by ID
	exceptions []*exceptionSource
	numbers    map[event.RuleRef]int
	notes      []Note
}

// number gives the rule's index in the plan.
func (m *merge) number(ref event.RuleRef) int {
	if n, ok := m.numbers[ref]; ok {
		return n
	}
	if len(m.plan.Rules) > MaxRules {
		return 0
	}
	n := len(m.plan.Rules)
	m.plan.Rules = append(m.plan.Rules, ref)
	m.numbers[ref] = n
	return n
}

func (m *merge) note(ref event.RuleRef, text string) {
	m.notes = append(m.notes, Note{Rule: ref, Text: text})
}

func (m *merge) strictest(mode func(*policySource) (v1alpha1.Mode, bool)) (v1alpha1.Mode, bool) {
	var strictest v1alpha1.Mode
	present := false
	for _, p := range m.policies {
		if own, ok := mode(p); ok {
			present = true
			if effective := p.spec.ModeOf(own); effective.Rank() > strictest.Rank() {
				strictest = effective
			}
		}
	}
	return strictest, present
}

func (m *merge) process() {
	mode, present := m.strictest(func(p *policySource) (v1alpha1.Mode, bool) {
		if p.spec.Process == nil {
			return "", false
		}
		return p.spec.Process.Mode, true
	})
	if !present {
		return
	}
	out := &ProcessPlan{Mode: mode}
	m.plan.Process = out
	m.drift(out)

	// Lists: those of one scope add up, those of the other scope narrow them.
	var lists [2][]execRef
	var listed [2]bool
	for _, p := range m.policies {
		if p.listRef == nil {
			continue
		}
		scope := scopeOf(p)
		if out.ListRule == 0 {
			out.ListRule = m.number(*p.listRef)
		}
		out.Listed, listed[scope] = true, true
		lists[scope] = append(lists[scope], p.allow...)
		for _, e := range m.exceptions {
			if e.applies(p) {
				lists[scope] = append(lists[scope], e.process...)
			}
		}
	}
	allow := append(lists[0], lists[1]...)
	if listed[0] && listed[1] {
		allow = intersectExecs(lists[0], lists[1])
	}
	out.Allow = m.execs(dedupe(allow))

	// Denies: an exception removes those it covers; those it cuts into, it
	// waives, unless a deny out of its reach says the same.
	var denies []execRef
	for _, p := range m.policies {
		for _, d := range p.deny {
			if !m.covered(p, &d.ExecRule) {
				denies = append(denies, d)
			}
		}
	}
	out.Deny = m.execs(dedupe(denies))
	var waive []execRef
	for _, e := range m.exceptions {
		for _, w := range e.process {
			if m.waivable(e, &w) {
				waive = append(waive, w)
			}
		}
	}
	out.Waive = m.execs(dedupe(waive))
}

func scopeOf(p *policySource) int {
	if p.cluster {
		return 0
	}
	return 1
}

func (m *merge) execs(rules []execRef) []ExecRule {
	out := make([]ExecRule, 0, len(rules))
	for _, r := range rules {
		r.Rule = m.number(r.ref)
		out = append(out, r.ExecRule)
	}
	return out
}

// covered reports whether an exception takes the whole deny of p away.
func (m *merge) covered(p *policySource, d *ExecRule) bool {
	for _, e := range m.exceptions {
		if !e.applies(p) {
			continue
		}
		for i := range e.process {
			if e.process[i].covers(d) {
				return true
			}
		}
	}
	return false
}

// waivable reports whether a rule of an exception takes programs out of denies
// that it does not cover as a whole.
func (m *merge) waivable(e *exceptionSource, w *execRef) bool {
	needed := false
	for _, p := range m.policies {
		for i := range p.deny {
			d := &p.deny[i]
			if !w.overlaps(&d.ExecRule) || m.covered(p, &d.ExecRule) {
				continue
			}
			if !e.applies(p) {
				m.note(w.ref, "does not loosen "+d.ref.Policy+" "+d.ref.Field+", which is out of its reach")
				return false
			}
			needed = true
		}
	}
	return needed
}

func (m *merge) drift(out *ProcessPlan) {
	var strict []*policySource
	for _, p := range m.policies {
		if p.driftRef != nil {
			strict = append(strict, p)
		}
	}
	if len(strict) == 0 {
		return
	}
	out.DenyDrift, out.DriftRule = true, m.number(*strict[0].driftRef)
	var allow []execRef
	for _, e := range m.exceptions {
		beyond := slices.IndexFunc(strict, func(p *policySource) bool { return !e.applies(p) })
		for _, d := range e.drift {
			if beyond >= 0 {
				m.note(d.ref, "does not loosen "+strict[beyond].id+" spec.process.drift, which is out of its reach")
				continue
			}
			allow = append(allow, d)
		}
	}
	out.DriftAllow = m.execs(dedupe(allow))
}

func (m *merge) network() {
	mode, present := m.strictest(func(p *policySource) (v1alpha1.Mode, bool) {
		if p.spec.Network == nil {
			return "", false
		}
		return p.spec.Network.Mode, true
	})
	if !present {
		return
	}
	out := &NetworkPlan{Mode: mode}
	m.plan.Network = out
	out.Egress, out.EgressListed, out.EgressListRule = m.direction(
		func(p *policySource) *direction { return &p.egress },
		func(e *exceptionSource) []peerRef { return e.egress })
	out.Ingress, out.IngressListed, out.IngressListRule = m.direction(
		func(p *policySource) *direction { return &p.ingress },
		func(e *exceptionSource) []peerRef { return e.ingress })
}

func (m *merge) direction(of func(*policySource) *direction, waived func(*exceptionSource) []peerRef) (rules []PeerRule, isListed bool, listRule int) {
	var lists [2][]peerRef
	var listed [2]bool
	var denies []peerRef
	for _, p := range m.policies {
		d := of(p)
		own := slices.Clone(d.deny)
		for _, e := range m.exceptions {
			if !e.applies(p) {
				continue
			}
			for _, w := range waived(e) {
				var left []peerRef
				size := 0
				for _, deny := range own {
					rest, _ := subtractPeers(deny, &w.PeerRule)
					left = append(left, rest...)
					for i := range rest {
						size += 1 + len(rest[i].Prefixes) + len(rest[i].Ports)
					}
				}
				if size > maxDerived {
					m.note(w.ref, "does not loosen "+p.id+": its denies would become more rules than can be enforced")
					continue
				}
				own = left
			}
		}
		denies = append(denies, own...)
		if d.listRef == nil {
			continue
		}
		if listRule == 0 {
			listRule = m.number(*d.listRef)
		}
		scope := scopeOf(p)
		isListed, listed[scope] = true, true
		lists[scope] = append(lists[scope], d.allow...)
		for _, e := range m.exceptions {
			if e.applies(p) {
				lists[scope] = append(lists[scope], waived(e)...)
			}
		}
	}
	allow := append(lists[0], lists[1]...)
	if listed[0] && listed[1] {
		allow = intersectPeers(lists[0], lists[1])
		if len(allow) >= maxDerived {
			m.note(m.plan.Rules[listRule], "and the lists of the namespace have more in common than can be enforced; some of it is not allowed")
		}
	}
	for _, r := range append(denies, allow...) {
		r.Rule = m.number(r.ref)
		rules = append(rules, r.PeerRule)
	}
	return rules, isListed, listRule
}

// Note is something worth knowing about a rule that is no error.
type Note struct {
	Rule event.RuleRef `json:"rule"`
	Text string        `json:"text"`
}
