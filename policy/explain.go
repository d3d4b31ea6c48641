package policy

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Explanation is what policy says of one container, rule by rule, each with
// the line of policy that made it.
type Explanation struct {
	Workload  workload.Ref `json:"workload"`
	Container string       `json:"container,omitempty"`
	// PlanID is empty when no policy selects the container; then the rest is too.
	PlanID    string             `json:"planID,omitempty"`
	Policies  []string           `json:"policies"`
	WhenBlind v1alpha1.WhenBlind `json:"whenBlind,omitempty"`
	// Modes has one entry per section that some policy has.
	Modes []SectionMode `json:"modes"`
	Rules []RuleText    `json:"rules"`
	Notes []Note        `json:"notes,omitempty"`
}

// SectionMode is the mode of a section and the policy that asked for it.
type SectionMode struct {
	Section string        `json:"section"` // "process" or "network"
	Mode    v1alpha1.Mode `json:"mode"`
	Policy  string        `json:"policy"`
}

// RuleText is one rule of a plan in words.
type RuleText struct {
	Section string `json:"section"` // "process", "egress" or "ingress"
	Effect  string `json:"effect"`  // "allow", "deny" or "waive" (an exception from denies)
	What    string `json:"what"`
	// Reason is the author's, from the policy.
	Reason string        `json:"reason,omitempty"`
	Rule   event.RuleRef `json:"rule"`
}

// Explain says what the set says of c at the moment now. It is never nil.
func Explain(s *Set, c *workload.Container, now time.Time) *Explanation {
	out := &Explanation{Workload: c.Workload, Container: c.Name, Policies: []string{}, Modes: []SectionMode{}, Rules: []RuleText{}}
	plan, notes := s.compile(c, now)
	if plan == nil {
		return out
	}
	out.PlanID, out.Policies, out.WhenBlind, out.Notes = plan.ID, plan.Policies, plan.WhenBlind, notes
	if p := plan.Process; p != nil {
		out.Modes = append(out.Modes, SectionMode{"process", p.Mode, s.whoAsks(plan, p.Mode, func(w *v1alpha1.WorkloadPolicySpec) (v1alpha1.Mode, bool) {
			if w.Process == nil {
				return "", false
			}
			return w.Process.Mode, true
		})})
	}
	if n := plan.Network; n != nil {
		out.Modes = append(out.Modes, SectionMode{"network", n.Mode, s.whoAsks(plan, n.Mode, func(w *v1alpha1.WorkloadPolicySpec) (v1alpha1.Mode, bool) {
			if w.Network == nil {
				return "", false
			}
			return w.Network.Mode, true
		})})
	}
	out.Rules = append(out.Rules, plan.Texts()...)
	for i := range out.Rules {
		out.Rules[i].Reason = s.reasons[out.Rules[i].Rule]
	}
	return out
}

// whoAsks names the first policy that asks for the mode.
func (s *Set) whoAsks(plan *Plan, mode v1alpha1.Mode, section func(*v1alpha1.WorkloadPolicySpec) (v1alpha1.Mode, bool)) string {
	for _, id := range plan.Policies {
		if spec := v1alpha1.Policy(s.byID[id].Object); spec != nil {
			if own, ok := section(spec); ok && spec.ModeOf(own) == mode {
				return id
			}
		}
	}
	return ""
}

// Texts gives every rule of the plan in words, in the order in which they are
// tried: denies, drift, lists.
func (p *Plan) Texts() []RuleText {
	var out []RuleText
	add := func(section, effect, what string, rule int) {
		out = append(out, RuleText{Section: section, Effect: effect, What: what, Rule: p.Rules[rule]})
	}
	if s := p.Process; s != nil {
		for i := range s.Waive {
			add("process", "waive", s.Waive[i].String(), s.Waive[i].Rule)
		}
		for i := range s.Deny {
			add("process", "deny", s.Deny[i].String(), s.Deny[i].Rule)
		}
		if s.DenyDrift {
			for i := range s.DriftAllow {
				add("process", "waive", "drift of "+s.DriftAllow[i].String(), s.DriftAllow[i].Rule)
			}
			add("process", "deny", "what the image does not have", s.DriftRule)
		}
		if s.Listed {
			for i := range s.Allow {
				add("process", "allow", s.Allow[i].String(), s.Allow[i].Rule)
			}
			add("process", "deny", "every other program", s.ListRule)
		}
	}
	direction := func(section, preposition string, rules []PeerRule, listed bool, listRule int) {
		for i := range rules {
			if rules[i].Deny {
				add(section, "deny", preposition+rules[i].String(), rules[i].Rule)
			}
		}
		if !listed {
			return
		}
		for i := range rules {
			if !rules[i].Deny {
				add(section, "allow", preposition+rules[i].String(), rules[i].Rule)
			}
		}
		add(section, "deny", "every other connection", listRule)
	}
	if n := p.Network; n != nil {
		direction("egress", "to ", n.Egress, n.EgressListed, n.EgressListRule)
		direction("ingress", "from ", n.Ingress, n.IngressListed, n.IngressListRule)
	}
	return out
}

// Text gives the explanation for a terminal, without colour.
func (e *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", e.Workload)
	if e.Container != "" && e.Container != e.Workload.Name {
		fmt.Fprintf(&b, " (container %s)", e.Container)
	}
	if e.PlanID == "" {
		b.WriteString(": no policy selects it; it is observed, and nothing is blocked\n")
		return b.String()
	}
	fmt.Fprintf(&b, "\nselected by: %s\n", strings.Join(e.Policies, ", "))
	for _, m := range e.Modes {
		fmt.Fprintf(&b, "%s: %s, asked for by %s\n", m.Section, m.Mode, m.Policy)
	}
	if len(e.Modes) == 0 {
		b.WriteString("no policy has a section: nothing is said of it\n")
	}
	fmt.Fprintf(&b, "when the node cannot enforce: %s\n", e.WhenBlind)
	if len(e.Rules) > 0 {
		b.WriteByte('\n')
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, r := range e.Rules {
			what := r.What
			if r.Reason != "" {
				what += " [" + r.Reason + "]"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Section, r.Effect, what, place(r.Rule))
		}
		_ = w.Flush() // a strings.Builder takes everything
	}
	for _, n := range e.Notes {
		fmt.Fprintf(&b, "note: %s %s\n", place(n.Rule), n.Text)
	}
	return b.String()
}
