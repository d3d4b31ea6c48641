package policy

import (
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
)

// switchRef is a switch that one policy turns on, with the programs that the
// policy itself exempts.
type switchRef struct {
	Switch Switch
	ref    event.RuleRef
	exempt []execRef
}

// waiverRef is a switch that an exception turns off, for all programs when by
// is nil.
type waiverRef struct {
	Switch Switch
	ref    event.RuleRef
	by     []execRef
}

// conditions copies what narrows a rule.
func (r *ExecRule) conditions(rule *v1alpha1.ProcessRule) {
	r.Args, r.Parents, r.Users, r.Scripts = rule.Args, rule.Parents, rule.Users, rule.Scripts
}

func (r *resolver) files(field string, rules []v1alpha1.FileRule) []fileRef {
	out := make([]fileRef, 0, len(rules))
	for i := range rules {
		f := &rules[i]
		one := r.file(at(field, i), f.Path, f.Recursive, f.Access, f.By, f.Reason)
		one.Deny = f.Action == v1alpha1.Deny
		out = append(out, one)
	}
	return out
}

func (r *resolver) fileWaivers(field string, rules []v1alpha1.FileWaiver) []fileRef {
	out := make([]fileRef, 0, len(rules))
	for i := range rules {
		f := &rules[i]
		out = append(out, r.file(at(field, i), f.Path, f.Recursive, f.Access, f.By, f.Reason))
	}
	return out
}

func (r *resolver) file(field, p string, recursive bool, access v1alpha1.AccessList, by []string, reason string) fileRef {
	out := fileRef{ref: *r.ref(field)}
	r.because(out.ref, reason)
	clean, match, _ := v1alpha1.ParseFilePath(p, recursive) // checked by Decode
	out.FileRule = FileRule{Match: matchOf(match), Path: clean, Access: accessesOf(access)}
	for _, b := range by {
		out.By = append(out.By, PathRule(b))
	}
	return out
}

func capabilityBits(names []string) uint64 {
	var bits uint64
	for _, name := range names {
		if n, ok := v1alpha1.Capability(name); ok { // checked by Decode
			bits |= 1 << n
		}
	}
	return bits
}

// programs makes rules of paths; ref gives each its line.
func (r *resolver) programs(paths []string, ref func(i int) event.RuleRef) []execRef {
	out := make([]execRef, 0, len(paths))
	for i, p := range paths {
		out = append(out, execRef{PathRule(p), ref(i)})
	}
	return out
}

// hardening gives the switches that a section turns on, each once.
func (r *resolver) hardening(h *v1alpha1.HardeningSpec) []switchRef {
	const field = "spec.hardening"
	var out []switchRef
	index := map[Switch]int{}
	on := func(s Switch, ref event.RuleRef) {
		if _, ok := index[s]; !ok {
			index[s] = len(out)
			out = append(out, switchRef{Switch: s, ref: ref})
		}
	}
	for i, name := range h.Deny {
		if s, ok := SwitchNamed(name); ok {
			on(s, *r.ref(at(field+".deny", i)))
		}
	}
	taken := map[Switch]bool{}
	for _, name := range h.Allow {
		if s, ok := SwitchNamed(name); ok {
			taken[s] = true
		}
	}
	if h.Preset != "" {
		ref := *r.ref(field + ".preset")
		for _, s := range PresetSwitches(h.Preset) {
			if !taken[s] {
				on(s, ref)
			}
		}
	}
	exempt := func(s Switch, rules []execRef) {
		if i, ok := index[s]; ok {
			out[i].exempt = append(out[i].exempt, rules...)
		}
	}
	exempt(SwitchWritableCode, r.programs(h.JIT, func(i int) event.RuleRef { return *r.ref(at(field+".jit", i)) }))
	for i := range h.Exempt {
		e, ref := &h.Exempt[i], *r.ref(at(field+".exempt", i))
		r.because(ref, e.Reason)
		if s, ok := SwitchNamed(e.Switch); ok {
			exempt(s, r.programs(e.By, func(int) event.RuleRef { return ref }))
		}
	}
	return out
}

func (r *resolver) hardeningWaivers(rules []v1alpha1.HardeningWaiver) []waiverRef {
	var out []waiverRef
	for i := range rules {
		w, ref := &rules[i], *r.ref(at("spec.rules.hardening", i))
		r.because(ref, w.Reason)
		s, ok := SwitchNamed(w.Switch)
		if !ok {
			continue // refused by checkSwitches
		}
		one := waiverRef{Switch: s, ref: ref}
		if w.By != nil {
			one.by = r.programs(w.By, func(int) event.RuleRef { return ref })
		}
		out = append(out, one)
	}
	return out
}

// checkSwitches refuses switches of hardening that nobody knows.
func checkSwitches(o v1alpha1.Object) []*v1alpha1.Error {
	var errs []*v1alpha1.Error
	check := func(field, name string) {
		if _, ok := SwitchNamed(name); ok {
			return
		}
		var names []string
		for _, s := range Switches() {
			names = append(names, s.Name)
		}
		hint := "known switches: " + strings.Join(names, ", ")
		if near := v1alpha1.Nearest(name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		errs = append(errs, &v1alpha1.Error{Field: field, Reason: fmt.Sprintf("%.80q is not a switch of hardening", name), Hint: hint})
	}
	if spec := v1alpha1.Policy(o); spec != nil && spec.Hardening != nil {
		h := spec.Hardening
		for i, name := range h.Deny {
			check(at("spec.hardening.deny", i), name)
		}
		for i, name := range h.Allow {
			check(at("spec.hardening.allow", i), name)
		}
		for i := range h.Exempt {
			check(at("spec.hardening.exempt", i)+".switch", h.Exempt[i].Switch)
		}
	}
	if e, ok := o.(*v1alpha1.Exception); ok {
		for i := range e.Spec.Rules.Hardening {
			check(at("spec.rules.hardening", i)+".switch", e.Spec.Rules.Hardening[i].Switch)
		}
	}
	if t, ok := o.(*v1alpha1.PolicyTest); ok {
		for i := range t.Spec.Cases {
			if h := t.Spec.Cases[i].Hardening; h != nil {
				check(at("spec.cases", i)+".hardening.switch", h.Switch)
			}
		}
	}
	return errs
}
