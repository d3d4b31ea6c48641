package policy

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Finding is something in a valid policy that is probably not meant.
type Finding struct {
	// Code is stable: see Codes.
	Code   string        `json:"code"`
	Policy string        `json:"policy"`
	Rule   event.RuleRef `json:"rule"`
	Reason string        `json:"reason"`
	Hint   string        `json:"hint,omitempty"`
}

// String gives "file:line: warning: field: reason (hint) [code]".
func (f Finding) String() string {
	s := fmt.Sprintf("%s:%d: warning: %s: %s", f.Rule.File, f.Rule.Line, f.Rule.Field, f.Reason)
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s + " [" + f.Code + "]"
}

// Codes of findings, each with what it means.
func Codes() map[string]string {
	return map[string]string{
		"selects-nothing":   "no container given is selected",
		"says-nothing":      "a section is present and has no rule",
		"shadowed":          "another rule of the same policy already says it, or makes it void",
		"overlap":           "an allowed path belongs to a class that the same policy denies",
		"allows-all":        "a rule allows every program, so the list lists nothing",
		"allows-shell":      "a shell may run under Protect",
		"no-effect":         "the rule can never match, or no container gets it because of policies or exceptions of another reach",
		"guards-nothing":    "an allow rule for every program, where no other rule guards",
		"conflict":          "hardening and capabilities of the same policy contradict each other",
		"needs-lsm":         "a section under Protect that not every kernel can enforce, in a policy that lets containers run all the same",
		"peer-unknown":      "no container given is the workload that a rule names",
		"exception-expired": "the exception's date has passed",
		"exception-unused":  "the exception selects nothing or loosens nothing",
		"exception-policy":  "the policy that the exception names does not exist in its reach",
	}
}

// maxCompared bounds how many rules of a long list every rule is compared with.
const maxCompared = 64

type linter struct {
	set        *Set
	containers []workload.Container
	now        time.Time
	findings   []Finding
}

// Lint reports what is probably not meant. With containers (nil: unknown) it
// also reports selectors, peers and rules that match nothing among them.
func Lint(s *Set, containers []workload.Container, now time.Time) []Finding {
	l := &linter{set: s, containers: containers, now: now}
	for _, list := range s.policies {
		for _, p := range list {
			l.policy(p)
		}
	}
	for _, list := range s.exceptions {
		for _, e := range list {
			l.exception(e)
		}
	}
	for _, d := range s.docs {
		// Those about images only are in no index: no plan knows them.
		if e, ok := d.Object.(*v1alpha1.Exception); ok && e.Spec.Selector == nil {
			l.expired(v1alpha1.ID(e), &e.Spec)
		}
	}
	if containers != nil {
		l.effects()
	}
	slices.SortFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Rule.File, b.Rule.File), cmp.Compare(a.Rule.Line, b.Rule.Line),
			cmp.Compare(a.Rule.Field, b.Rule.Field), cmp.Compare(a.Code, b.Code))
	})
	return slices.Compact(l.findings)
}

func (l *linter) add(code string, ref event.RuleRef, hint, format string, args ...any) {
	l.findings = append(l.findings, Finding{Code: code, Policy: ref.Policy, Rule: ref, Reason: fmt.Sprintf(format, args...), Hint: hint})
}

// top is the place of a document as a whole, for findings about all of it.
func (l *linter) top(id, field string) event.RuleRef {
	d := l.set.byID[id]
	return event.RuleRef{Policy: id, Field: field, File: d.File, Line: d.Line}
}

func (l *linter) policy(p *policySource) {
	if ps := p.spec.Process; ps != nil {
		if ps.Allow == nil && len(ps.Deny) == 0 && ps.Drift != v1alpha1.Deny {
			l.add("says-nothing", l.top(p.id, "spec.process"), "add drift, allow or deny, or remove the section", "allows and denies nothing")
		}
		l.execs(p)
		l.conditions(p)
	}
	l.files(p)
	l.hardening(p)
	l.blind(p)
	if n := p.spec.Network; n != nil {
		if n.Egress == nil && n.Ingress == nil && n.Deny == nil {
			l.add("says-nothing", l.top(p.id, "spec.network"), "add ingress, egress or deny, or remove the section", "allows and denies nothing")
		}
		l.peers(p.egress)
		l.peers(p.ingress)
	}
}

func (l *linter) execs(p *policySource) {
	protects := p.spec.ModeOf(p.spec.Process.Mode) == v1alpha1.Protect
	shell := l.set.library.Class("shell")
	for i := range p.allow {
		a := &p.allow[i]
		l.shadowed(a, p.allow[:i], "allowed")
		for j := range p.deny {
			d := &p.deny[j]
			switch {
			case d.covers(&a.ExecRule) && d.Match == MatchNames && a.Match == MatchFile:
				l.add("overlap", a.ref, "a deny wins over every allow", "%s is of the class %s, which %s denies", a.Path, d.Class, d.ref.Field)
			case d.covers(&a.ExecRule):
				l.add("shadowed", a.ref, "a deny wins over every allow", "%s can never be allowed: %s denies it", &a.ExecRule, d.ref.Field)
			}
		}
		if a.Match == MatchTree && a.Path == "/" {
			l.add("allows-all", a.ref, "list the programs, or leave out allow", "every program is allowed")
		}
		if protects && shell != nil && a.Args == nil && a.Scripts == nil && (a.Class == "shell" || a.Match == MatchFile && shell.Has(path.Base(a.Path))) {
			l.add("allows-shell", a.ref, "whoever gets in has a shell; if only the start needs it, change the image's entry point", "%s may run", &a.ExecRule)
		}
	}
	for i := range p.deny {
		l.shadowed(&p.deny[i], p.deny[:i], "denied")
	}
}

func (l *linter) shadowed(r *execRef, earlier []execRef, what string) {
	for i := range earlier {
		if earlier[i].covers(&r.ExecRule) {
			l.add("shadowed", r.ref, "remove one of them", "%s is %s by %s already", &r.ExecRule, what, earlier[i].ref.Field)
			return
		}
	}
}

func (l *linter) peers(d direction) {
	for _, list := range [][]peerRef{d.allow, d.deny} {
		for i := range list {
			for j := range list[:min(i, maxCompared)] {
				if covered, _ := subtractPeers(list[i], &list[j].PeerRule); len(covered) == 0 {
					l.add("shadowed", list[i].ref, "remove one of them", "%s is said by %s already", &list[i].PeerRule, list[j].ref.Field)
					break
				}
			}
			for k := range list[i].Workloads {
				w := &list[i].Workloads[k]
				if l.containers != nil && !slices.ContainsFunc(l.containers, func(c workload.Container) bool { return w.Matches(&c) }) {
					l.add("peer-unknown", list[i].ref, "", "no container here is %s", w)
				}
			}
		}
	}
	for i := range d.allow {
		for j := range d.deny[:min(len(d.deny), maxCompared)] {
			if left, _ := subtractPeers(d.allow[i], &d.deny[j].PeerRule); len(left) == 0 {
				l.add("shadowed", d.allow[i].ref, "a deny wins over every allow", "%s can never be allowed: %s denies it", &d.allow[i].PeerRule, d.deny[j].ref.Field)
			}
		}
	}
}

func (l *linter) exception(e *exceptionSource) {
	if !l.expired(e.id, e.spec) && !l.policyExists(e) {
		l.add("exception-policy", l.top(e.id, "spec.policy"), "", "there is no policy %q that this exception may loosen", e.spec.Policy)
	}
}

// expired reports whether an exception is past its date, and says so.
func (l *linter) expired(id string, spec *v1alpha1.ExceptionSpec) bool {
	if l.now.Before(spec.ExpiresAt.Time) {
		return false
	}
	l.add("exception-expired", l.top(id, "spec.expiresAt"), "remove it, or have it renewed by "+spec.Owner,
		"expired on %s and waives nothing any more", spec.ExpiresAt.UTC().Format(time.DateOnly))
	return true
}

// policyExists reports whether the policy that an exception names is in its reach.
func (l *linter) policyExists(e *exceptionSource) bool {
	if e.spec.Policy == "" {
		return true
	}
	for ns, list := range l.set.policies {
		if (e.cluster || ns == e.namespace) && slices.ContainsFunc(list, e.applies) {
			return true
		}
	}
	return false
}

// effects compiles every container and reports what no plan got.
func (l *linter) effects() {
	used := map[event.RuleRef]bool{}
	selected := map[*policySource]bool{}
	loosened := map[*exceptionSource]bool{}
	chosen := map[*exceptionSource]bool{}
	for i := range l.containers {
		c := &l.containers[i]
		plan, notes := l.set.compile(c, l.now)
		if plan == nil {
			continue
		}
		for _, n := range notes {
			l.add("no-effect", n.Rule, "widen its reach: leave out spec.policy, or give it cluster scope", "%s", n.Text)
		}
		for _, r := range plan.Rules {
			used[r] = true
		}
		for _, ns := range []string{"", namespaceOf(c)} {
			for _, p := range l.set.policies[ns] {
				if p.selector.Matches(c) {
					selected[p] = true
					l.unheard(p, plan)
				}
			}
			for _, e := range l.set.exceptions[ns] {
				if l.now.Before(e.spec.ExpiresAt.Time) && e.selector.Matches(c) {
					chosen[e] = true
					loosened[e] = loosened[e] || l.loosens(e, c)
				}
			}
		}
	}
	for _, list := range l.set.policies {
		for _, p := range list {
			if !selected[p] {
				l.add("selects-nothing", l.top(p.id, "spec.selector"), "compare with gabion workloads", "no container here is selected")
			}
		}
	}
	for _, list := range l.set.exceptions {
		for _, e := range list {
			switch {
			case !l.now.Before(e.spec.ExpiresAt.Time), !l.policyExists(e):
			case !chosen[e]:
				l.add("exception-unused", l.top(e.id, "spec.selector"), "remove it", "no container under a policy is selected")
			case !loosened[e]:
				l.add("exception-unused", l.top(e.id, "spec.rules"), "remove it", "nothing it waives is denied")
			}
		}
	}
}

// unheard reports allows of a namespaced policy that a list of cluster scope
// leaves nothing of.
func (l *linter) unheard(p *policySource, plan *Plan) {
	if p.cluster {
		return
	}
	l.unheardRuntime(p, plan)
	if s := plan.Process; s != nil && p.listRef != nil {
		for i := range p.allow {
			a := &p.allow[i]
			if !slices.ContainsFunc(s.Allow, func(r ExecRule) bool { return plan.Rules[r.Rule] == a.ref || r.overlaps(&a.ExecRule) }) {
				l.add("no-effect", a.ref, "the list of cluster scope is a ceiling", "%s is not allowed by the policy of cluster scope", &a.ExecRule)
			}
		}
	}
	if n := plan.Network; n != nil {
		for _, d := range []struct {
			allow []peerRef
			rules []PeerRule
		}{{p.egress.allow, n.Egress}, {p.ingress.allow, n.Ingress}} {
			for i := range d.allow {
				if !slices.ContainsFunc(d.rules, func(r PeerRule) bool { return plan.Rules[r.Rule] == d.allow[i].ref }) {
					l.add("no-effect", d.allow[i].ref, "the list of cluster scope is a ceiling", "%s is not allowed by the policy of cluster scope", &d.allow[i].PeerRule)
				}
			}
		}
	}
}

// loosens reports whether the container's plan would be another without e.
func (l *linter) loosens(e *exceptionSource, c *workload.Container) bool {
	without := *l.set
	without.exceptions = map[string][]*exceptionSource{}
	for ns, list := range l.set.exceptions {
		without.exceptions[ns] = slices.DeleteFunc(slices.Clone(list), func(x *exceptionSource) bool { return x == e })
	}
	a, b := l.set.Compile(c, l.now), without.Compile(c, l.now)
	// Names of documents differ anyway; what counts are the rules.
	return strings.Join(meaning(a), "\n") != strings.Join(meaning(b), "\n")
}

// meaning is every rule of a plan in words, without where it came from.
func meaning(p *Plan) []string {
	if p == nil {
		return nil
	}
	var out []string
	for _, t := range p.Texts() {
		out = append(out, t.Section+" "+t.Effect+" "+t.What)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
