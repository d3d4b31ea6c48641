package policy

import (
	"path"
	"slices"
)

// Decide gives the verdict about using a file. It is the table that the kernel
// programs implement.
//
// Every access that is asked for is judged by itself, and all must be allowed.
// Reasons add up; the rule is that of the first deny rule that counts, else of
// the first allow rule that covers the file and names an access that no rule
// grants. A program is who its file says it is: a multi-call program (Applet is
// set) is in a By that names it or its applet. What the kernel cannot tell
// about a program that runs (arguments, who started it, its user, its script)
// never lets an allow rule match, and never keeps a deny rule from it.
func (p *FilesPlan) Decide(u FileUse) Decision {
	var denied, waived, guarded, allowed, capped, granted Access
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.holds(u.Path) {
			continue
		}
		by := r.about(&u.Exec)
		switch {
		case r.Deny:
			denied |= only(by, r.Access)
		case r.Ceiling:
			capped |= r.Access
			granted |= only(by, r.Access)
		default:
			guarded |= r.Access
			allowed |= only(by, r.Access)
		}
	}
	for i := range p.Waive {
		if r := &p.Waive[i]; r.holds(u.Path) && r.about(&u.Exec) {
			waived |= r.Access
		}
	}
	denied &^= waived
	unlisted := guarded&^allowed | capped&^granted
	bad := u.Access & (denied | unlisted)
	if bad == 0 {
		return Decision{}
	}
	d := Decision{Deny: true}
	if denied&bad != 0 {
		d.Reasons |= ReasonDenied
	}
	if unlisted&bad != 0 {
		d.Reasons |= ReasonNotListed
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.holds(u.Path) && r.Access&bad != 0 && r.Deny == (denied&bad != 0) && (!r.Deny || r.about(&u.Exec)) {
			d.Rule = r.Rule
			break
		}
	}
	return d
}

func only(yes bool, a Access) Access {
	if yes {
		return a
	}
	return 0
}

// about reports whether the rule is about what a program does.
func (r *FileRule) about(e *Exec) bool {
	return len(r.By) == 0 || slices.ContainsFunc(r.By, func(by ExecRule) bool { return by.runs(e, r.Deny) })
}

// runs reports whether a running program is one that the rule means, whatever
// it was started with. Rules that ask for more match only when unsure.
func (r *ExecRule) runs(e *Exec, unsure bool) bool {
	if r.conditional() && !unsure || e.Fileless {
		return false
	}
	switch r.Match {
	case MatchFile:
		return r.Path == e.Path || e.Applet != "" && path.Base(r.Path) == e.Applet
	case MatchNames:
		return slices.Contains(r.Names, path.Base(e.Path)) || e.Applet != "" && slices.Contains(r.Names, e.Applet)
	}
	return r.holds(e.Path)
}
