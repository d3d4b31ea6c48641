package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// conditions reports conditions under which a rule of an allow list can never
// match.
func (l *linter) conditions(p *policySource) {
	shell, interpreter := l.set.library.Class("shell"), l.set.library.Class("interpreter")
	for i := range p.allow {
		a := &p.allow[i]
		if a.Scripts != nil && a.Match == MatchFile && shell != nil && interpreter != nil {
			if name := path.Base(a.Path); !shell.Has(name) && !interpreter.Has(name) {
				l.add("no-effect", a.ref, "name the arguments instead", "%s is no interpreter that is known, so it is given no script", a.Path)
			}
		}
		for _, parent := range a.Parents {
			if parent == Entrypoint || p.listRef == nil {
				continue
			}
			one := PathRule(parent)
			if !slices.ContainsFunc(p.allow, func(r execRef) bool { return r.overlaps(&one) }) {
				l.add("no-effect", a.ref, "allow it too, or take it out of parents", "%s may not run, so it starts nothing", &one)
			}
		}
	}
}

func (l *linter) files(p *policySource) {
	if p.spec.Files != nil && len(p.spec.Files) == 0 {
		l.add("says-nothing", l.top(p.id, "spec.files"), "remove it; an empty list guards nothing", "allows and denies nothing")
	}
	for i := range p.files {
		f := &p.files[i]
		for j := range p.files[:min(i, maxCompared)] {
			if e := &p.files[j]; e.Deny == f.Deny && e.spans(&f.FileRule) {
				l.add("shadowed", f.ref, "remove one of them", "%s is said by %s already", &f.FileRule, e.ref.Field)
				break
			}
		}
		if f.Deny {
			continue
		}
		for j := range p.files[:min(len(p.files), maxCompared)] {
			if d := &p.files[j]; d.Deny && d.spans(&f.FileRule) {
				l.add("shadowed", f.ref, "a deny wins over every allow", "%s can never be allowed: %s denies it", &f.FileRule, d.ref.Field)
				break
			}
		}
		if len(f.By) == 0 && !slices.ContainsFunc(p.files, func(g fileRef) bool {
			_, _, meet := g.common(&f.FileRule)
			return !g.Deny && len(g.By) > 0 && meet && g.Access&f.Access != 0
		}) {
			l.add("guards-nothing", f.ref, "name programs with by, or make it action: Deny", "every program may do it, and no other rule guards it")
		}
	}
	if p.listRef == nil {
		return
	}
	for i := range p.files {
		for j := range p.files[i].By {
			by := &p.files[i].By[j]
			if !slices.ContainsFunc(p.allow, func(r execRef) bool { return r.overlaps(by) }) {
				l.add("no-effect", p.files[i].ref, "allow it in process too, or take it out of by", "%s may not run, so it uses no files", by)
			}
		}
	}
}

func (l *linter) hardening(p *policySource) {
	h := p.spec.Hardening
	if h == nil {
		return
	}
	const field = "spec.hardening"
	if h.Preset == "" && len(h.Deny) == 0 {
		l.add("says-nothing", l.top(p.id, field), "name a preset or switches to deny, or remove the section", "no switch is on")
		return
	}
	preset := PresetSwitches(h.Preset)
	for _, name := range h.Deny {
		if s, ok := SwitchNamed(name); ok && slices.Contains(preset, s) {
			l.add("shadowed", l.top(p.id, field+".deny"), "remove it from deny", "%s is in the preset %s already", name, h.Preset)
		}
	}
	for _, name := range h.Allow {
		if s, ok := SwitchNamed(name); ok && !slices.Contains(preset, s) {
			l.add("no-effect", l.top(p.id, field+".allow"), "remove it from allow", "%s is not in the preset %s, so there is nothing to take out", name, h.Preset)
		}
	}
	on := func(s Switch) bool {
		return slices.ContainsFunc(p.hardening, func(r switchRef) bool { return r.Switch == s })
	}
	if h.JIT != nil && !on(SwitchWritableCode) {
		l.add("no-effect", l.top(p.id, field+".jit"), "remove it, or turn the switch on", "the switch %s is off, so there is nothing to exempt from", SwitchWritableCode)
	}
	for _, e := range h.Exempt {
		if s, ok := SwitchNamed(e.Switch); ok && !on(s) {
			l.add("no-effect", l.top(p.id, field+".exempt"), "remove it, or turn the switch on", "the switch %s is off, so there is nothing to exempt from", s)
		}
	}
	l.conflicts(p)
}

// needs names the capability without which what a switch forbids fails anyway.
func needs(s Switch) (string, bool) {
	switch s {
	case SwitchMount:
		return "SYS_ADMIN", true
	case SwitchModules:
		return "SYS_MODULE", true
	case SwitchKexec:
		return "SYS_BOOT", true
	case SwitchHandleOpen:
		return "DAC_READ_SEARCH", true
	case SwitchRawSockets:
		return "NET_RAW", true
	case SwitchChroot:
		return "SYS_CHROOT", true
	case SwitchKernelLog:
		return "SYSLOG", true
	}
	return "", false
}

// conflicts compares switches with the capabilities of the same policy.
func (l *linter) conflicts(p *policySource) {
	if p.capabilitiesRef == nil {
		return
	}
	allowed := capabilityBits(p.spec.Capabilities.Allow)
	for i := range p.hardening {
		s := &p.hardening[i]
		name, ok := needs(s.Switch)
		if !ok {
			continue
		}
		has := allowed&capabilityBits([]string{name}) != 0
		switch {
		case has && name != "SYS_ADMIN" && len(s.exempt) == 0:
			l.add("conflict", *p.capabilitiesRef, "remove the capability, or take the switch out of hardening",
				"%s is allowed, but hardening forbids what it is for (%s)", name, s.Switch)
		case !has && len(s.exempt) > 0:
			l.add("conflict", s.exempt[0].ref, "allow the capability, or remove the exemption",
				"%s is exempt from %s, but may not use the capability %s that it takes", &s.exempt[0].ExecRule, s.Switch, name)
		}
	}
}

// blind reports sections that only some kernels can enforce.
func (l *linter) blind(p *policySource) {
	if p.whenBlind == v1alpha1.Closed {
		return
	}
	var sections []string
	protects := func(own v1alpha1.Mode) bool { return p.spec.ModeOf(own) == v1alpha1.Protect }
	if len(p.files) > 0 && protects("") {
		sections = append(sections, "files")
	}
	if c := p.spec.Capabilities; c != nil && protects(c.Mode) {
		sections = append(sections, "capabilities")
	}
	if h := p.spec.Hardening; h != nil && protects(h.Mode) {
		sections = append(sections, "hardening")
	}
	if len(sections) > 0 {
		l.add("needs-lsm", l.top(p.id, "spec."+sections[0]), "gabion doctor tells what a node enforces; whenBlind: Closed stops containers where it is too little",
			"%s: enforced in full only on nodes whose kernel lets LSM or fmod_ret programs run; elsewhere containers run all the same", strings.Join(sections, ", "))
	}
}

// unheardRuntime reports what a namespaced policy allows and a policy of
// cluster scope leaves nothing of.
func (l *linter) unheardRuntime(p *policySource, plan *Plan) {
	if c := plan.Capabilities; c != nil && p.capabilitiesRef != nil {
		if lost := capabilityBits(p.spec.Capabilities.Allow) &^ c.Allow; lost != 0 {
			l.add("no-effect", *p.capabilitiesRef, "the list of cluster scope is a ceiling", "the policy of cluster scope does not allow %s", capabilityWords(lost))
		}
	}
	if plan.Files == nil {
		return
	}
	for i := range p.files {
		f := &p.files[i]
		if f.Deny {
			continue
		}
		for j := range plan.Files.Rules {
			c := &plan.Files.Rules[j]
			if c.Ceiling && c.includes(&f.FileRule) && f.Access&^c.Access == 0 && len(c.By) > 0 && !byOverlaps(plan.Files.Rules, &f.FileRule) {
				l.add("no-effect", f.ref, "rules of cluster scope are a ceiling", "%s is not allowed by the policy of cluster scope", &f.FileRule)
				break
			}
		}
	}
}

// byOverlaps reports whether a rule of cluster scope may let in some program
// of f, where f is.
func byOverlaps(rules []FileRule, f *FileRule) bool {
	return slices.ContainsFunc(rules, func(c FileRule) bool { return c.Ceiling && c.overlaps(f) })
}
