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
	Section string        `json:"section"` // "process", "files", "capabilities", "hardening" or "network"
	Mode    v1alpha1.Mode `json:"mode"`
	Policy  string        `json:"policy"`
}

// RuleText is one rule of a plan in words.
type RuleText struct {
	Section string `json:"section"` // "process", "files", "capabilities", "hardening", "egress" or "ingress"
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
	for _, m := range plan.modes() {
		m.Policy = s.whoAsks(plan, m)
		out.Modes = append(out.Modes, m)
	}
	out.Rules = append(out.Rules, plan.Texts()...)
	for i := range out.Rules {
		out.Rules[i].Reason = s.reasons[out.Rules[i].Rule]
	}
	return out
}

// modes gives the mode of every section that the plan has.
func (p *Plan) modes() []SectionMode {
	var out []SectionMode
	add := func(section string, mode v1alpha1.Mode) {
		out = append(out, SectionMode{Section: section, Mode: mode})
	}
	if p.Process != nil {
		add("process", p.Process.Mode)
	}
	if p.Files != nil {
		add("files", p.Files.Mode)
	}
	if p.Capabilities != nil {
		add("capabilities", p.Capabilities.Mode)
	}
	if p.Hardening != nil {
		add("hardening", p.Hardening.Mode)
	}
	if p.Network != nil {
		add("network", p.Network.Mode)
	}
	return out
}

// whoAsks names the first policy that asks for the mode of the section.
func (s *Set) whoAsks(plan *Plan, m SectionMode) string {
	for _, id := range plan.Policies {
		if spec := v1alpha1.Policy(s.byID[id].Object); spec != nil {
			if own, ok := sectionMode(spec, m.Section); ok && spec.ModeOf(own) == m.Mode {
				return id
			}
		}
	}
	return ""
}

// sectionMode gives the mode that a policy writes into a section of its own;
// false when it does not have the section.
func sectionMode(w *v1alpha1.WorkloadPolicySpec, section string) (v1alpha1.Mode, bool) {
	switch {
	case section == "process" && w.Process != nil:
		return w.Process.Mode, true
	case section == "files" && len(w.Files) > 0:
		return "", true
	case section == "capabilities" && w.Capabilities != nil:
		return w.Capabilities.Mode, true
	case section == "hardening" && w.Hardening != nil:
		return w.Hardening.Mode, true
	case section == "network" && w.Network != nil:
		return w.Network.Mode, true
	}
	return "", false
}

// Texts gives every rule of the plan in words, in the order in which they are
// tried: what is waived, denies, drift, lists.
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
	p.runtimeTexts(add)
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

// runtimeTexts adds the rules of files, capabilities and hardening.
func (p *Plan) runtimeTexts(add func(section, effect, what string, rule int)) {
	if f := p.Files; f != nil {
		for i := range f.Waive {
			add("files", "waive", f.Waive[i].String(), f.Waive[i].Rule)
		}
		for i := range f.Rules {
			if f.Rules[i].Deny {
				add("files", "deny", f.Rules[i].String(), f.Rules[i].Rule)
			}
		}
		for i := range f.Rules {
			switch r := &f.Rules[i]; {
			case r.Deny:
			case len(r.By) == 0:
				add("files", "allow", r.String(), r.Rule)
			default:
				add("files", "allow", r.String()+" only", r.Rule)
			}
		}
	}
	if c := p.Capabilities; c != nil {
		add("capabilities", "allow", capabilityWords(c.Allow), c.Rule)
		add("capabilities", "deny", "every other capability", c.Rule)
	}
	if h := p.Hardening; h != nil {
		what := Switches()
		for i := range h.Deny {
			r := &h.Deny[i]
			for j := range r.Exempt {
				add("hardening", "waive", r.Switch.String()+" for "+r.Exempt[j].String(), r.Exempt[j].Rule)
			}
			add("hardening", "deny", r.Switch.String()+": "+what[r.Switch].What, r.Rule)
		}
	}
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
