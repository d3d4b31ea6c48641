package policy

import (
	"cmp"
	"slices"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

func (m *merge) files() {
	mode, present := m.strictest(func(p *policySource) (v1alpha1.Mode, bool) {
		return "", len(p.files) > 0
	})
	if !present {
		return
	}
	out := &FilesPlan{Mode: mode}
	m.plan.Files = out
	var denies []fileRef
	var allows [2][]fileRef // by scope
	for _, p := range m.policies {
		scope := scopeOf(p)
		for i := range p.files {
			switch f := &p.files[i]; {
			case !f.Deny:
				allows[scope] = append(allows[scope], *f)
			case !m.fileWaived(p, &f.FileRule):
				denies = append(denies, *f)
			}
		}
		for _, e := range m.exceptions {
			if e.applies(p) {
				allows[scope] = append(allows[scope], m.opened(p, e)...)
			}
		}
	}
	if len(allows[0]) > 0 && len(allows[1]) > 0 {
		for i := range allows[0] {
			allows[0][i].Ceiling = true
		}
	}
	out.Rules = m.fileRules(dedupeFiles(slices.Concat(denies, allows[0], allows[1])))
	var waive []fileRef
	for _, e := range m.exceptions {
		for i := range e.files {
			if m.fileWaivable(e, &e.files[i]) {
				waive = append(waive, e.files[i])
			}
		}
	}
	if len(waive) > 0 {
		out.Waive = m.fileRules(dedupeFiles(waive))
	}
}

// opened gives what an exception allows where allow rules of p guard files.
// Elsewhere it allows nothing, because an allow rule would guard there.
func (m *merge) opened(p *policySource, e *exceptionSource) []fileRef {
	var out []fileRef
	for i := range e.files {
		w := &e.files[i]
		for j := range p.files {
			f := &p.files[j]
			match, place, ok := f.common(&w.FileRule)
			if f.Deny || !ok || f.Access&w.Access == 0 || len(f.By) == 0 {
				continue
			}
			if len(out) >= maxDerived {
				m.note(w.ref, "does not loosen all of "+p.id+": its rules of files would become more than can be enforced")
				return out
			}
			one := *w
			one.Match, one.Path, one.Access = match, place, f.Access&w.Access
			out = append(out, one)
		}
	}
	return out
}

func (m *merge) fileRules(rules []fileRef) []FileRule {
	out := make([]FileRule, 0, len(rules))
	for _, r := range rules {
		r.Rule = m.number(r.ref)
		r.By = slices.Clone(r.By)
		for i := range r.By {
			r.By[i].Rule = r.Rule
		}
		out = append(out, r.FileRule)
	}
	return out
}

// fileWaived reports whether an exception takes the whole deny of p away.
func (m *merge) fileWaived(p *policySource, d *FileRule) bool {
	for _, e := range m.exceptions {
		if e.applies(p) && slices.ContainsFunc(e.files, func(w fileRef) bool { return w.spans(d) }) {
			return true
		}
	}
	return false
}

// fileWaivable reports whether a rule of an exception takes uses out of denies
// that it does not cover as a whole.
func (m *merge) fileWaivable(e *exceptionSource, w *fileRef) bool {
	needed := false
	for _, p := range m.policies {
		for i := range p.files {
			d := &p.files[i]
			if !d.Deny || !w.overlaps(&d.FileRule) || m.fileWaived(p, &d.FileRule) {
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

// capabilities merges the lists: those of one scope add up, and what one scope
// does not list the other cannot allow.
func (m *merge) capabilities() {
	mode, present := m.strictest(func(p *policySource) (v1alpha1.Mode, bool) {
		if p.spec.Capabilities == nil {
			return "", false
		}
		return p.spec.Capabilities.Mode, true
	})
	if !present {
		return
	}
	out := &CapabilitiesPlan{Mode: mode}
	m.plan.Capabilities = out
	var lists [2]uint64
	var listed [2]bool
	for _, p := range m.policies {
		if p.capabilitiesRef == nil {
			continue
		}
		if out.Rule == 0 {
			out.Rule = m.number(*p.capabilitiesRef)
		}
		scope := scopeOf(p)
		listed[scope] = true
		lists[scope] |= capabilityBits(p.spec.Capabilities.Allow)
		for _, e := range m.exceptions {
			if e.applies(p) {
				lists[scope] |= capabilityBits(e.spec.Rules.Capabilities)
			}
		}
	}
	out.Allow = lists[0] | lists[1]
	if listed[0] && listed[1] {
		out.Allow = lists[0] & lists[1]
	}
}

// hardening merges the switches: what one policy turns on is on, and a program
// is exempt when every policy that turns the switch on exempts it.
func (m *merge) hardening() {
	mode, present := m.strictest(func(p *policySource) (v1alpha1.Mode, bool) {
		if p.spec.Hardening == nil {
			return "", false
		}
		return p.spec.Hardening.Mode, true
	})
	if !present {
		return
	}
	out := &HardeningPlan{Mode: mode, Deny: []HardeningRule{}}
	m.plan.Hardening = out
	on := map[Switch]*switchRef{}
	for _, p := range m.policies {
		for i := range p.hardening {
			s, off := m.waived(p, &p.hardening[i])
			if off {
				continue
			}
			first := on[s.Switch]
			if first == nil {
				on[s.Switch] = &s
				continue
			}
			first.exempt = intersectExecs(dedupe(first.exempt), dedupe(s.exempt))
		}
	}
	for _, s := range on {
		out.Deny = append(out.Deny, HardeningRule{Switch: s.Switch})
	}
	slices.SortFunc(out.Deny, func(a, b HardeningRule) int { return cmp.Compare(a.Switch, b.Switch) })
	for i := range out.Deny {
		r, s := &out.Deny[i], on[out.Deny[i].Switch]
		r.Rule = m.number(s.ref)
		if len(s.exempt) > 0 {
			r.Exempt = m.execs(dedupe(s.exempt))
		}
	}
}

// waived gives the switch of p with what exceptions exempt from it; true when
// one turns it off.
func (m *merge) waived(p *policySource, s *switchRef) (switchRef, bool) {
	out := *s
	out.exempt = slices.Clone(s.exempt)
	for _, e := range m.exceptions {
		if !e.applies(p) {
			continue
		}
		for _, w := range e.hardening {
			if w.Switch != s.Switch {
				continue
			}
			if w.by == nil {
				return out, true
			}
			out.exempt = append(out.exempt, w.by...)
		}
	}
	return out, false
}
