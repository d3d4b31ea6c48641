package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// CaseResult is how one case of a PolicyTest went.
type CaseResult struct {
	// Test is the document's ID, File and Line where it was written.
	Test string `json:"test"`
	File string `json:"file"`
	Line int    `json:"line"`
	Name string `json:"name"`
	// Pass is true when the verdict, the rule and the mode are those wanted.
	Pass bool `json:"pass"`
	// Verdict is what was decided, by which rule and for what reasons.
	Verdict v1alpha1.Action `json:"verdict,omitempty"`
	Reasons []string        `json:"reasons,omitempty"`
	Rule    event.RuleRef   `json:"rule,omitzero"`
	Mode    v1alpha1.Mode   `json:"mode,omitempty"`
	// Why says what was not as wanted; empty for a case that passes.
	Why string `json:"why,omitempty"`
}

// MaxCaseEvents bounds the events of one case.
const MaxCaseEvents = 100_000

// RunTests runs every PolicyTest of the set against its policies, by the
// evaluator that also enforces them. now is the moment of tests that name none;
// read gives the file of a case's events, named relative to the test's file.
func RunTests(s *Set, now time.Time, read func(test, file string) ([]byte, error)) []CaseResult {
	out := []CaseResult{}
	for _, t := range s.tests {
		r := &caseRunner{set: s, source: t, test: t.test, read: func(file string) ([]byte, error) { return read(t.file, file) }}
		out = append(out, r.run(now)...)
	}
	return out
}

// testSource is a document of tests and the line of each case.
type testSource struct {
	test  *v1alpha1.PolicyTest
	file  string
	lines []int
}

func newTestSource(d *v1alpha1.Document, t *v1alpha1.PolicyTest) *testSource {
	out := &testSource{test: t, file: d.File}
	for i := range t.Spec.Cases {
		line, _ := d.Position(at("spec.cases", i))
		out.lines = append(out.lines, line)
	}
	return out
}

// caseRunner runs one document.
type caseRunner struct {
	set       *Set
	source    *testSource
	test      *v1alpha1.PolicyTest
	read      func(file string) ([]byte, error)
	container workload.Container
	peers     []workload.Container
	node      []netip.Addr
	plan      *Plan
}

func (r *caseRunner) run(now time.Time) []CaseResult {
	spec := &r.test.Spec
	if !spec.At.IsZero() {
		now = spec.At.Time
	}
	r.container = r.described(&spec.Container)
	for i := range spec.Peers {
		r.peers = append(r.peers, r.described(&spec.Peers[i]))
	}
	r.node = addresses(spec.Node)
	r.plan = r.set.Compile(&r.container, now)
	out := make([]CaseResult, 0, len(spec.Cases))
	for i := range spec.Cases {
		c := &spec.Cases[i]
		one := CaseResult{Test: v1alpha1.ID(r.test), File: r.source.file, Line: r.source.lines[i], Name: c.Name}
		if one.Name == "" {
			one.Name = caseWords(c)
		}
		r.judge(c, &one)
		one.Pass = one.Why == ""
		out = append(out, one)
	}
	return out
}

func (r *caseRunner) described(t *v1alpha1.TestContainer) workload.Container {
	c := workload.Container{
		Name: t.Container, Image: t.Image, ServiceAccount: t.ServiceAccount, Labels: t.Labels, Addresses: addresses(t.Addresses),
		Workload: workload.Ref{Namespace: t.Namespace, Name: t.Workload},
	}
	if c.Workload.Namespace == "" {
		c.Workload.Namespace = v1alpha1.Namespace(r.test)
	}
	return c
}

// addresses reads what Decode has checked.
func addresses(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// verdict is a decision with the section's mode; no mode means that no policy
// has the section.
type verdict struct {
	Decision
	mode v1alpha1.Mode
}

func (r *caseRunner) judge(c *v1alpha1.TestCase, out *CaseResult) {
	if r.plan == nil {
		out.Why = "no policy given selects the container: compare its namespace and labels with their selectors"
		return
	}
	if c.Events != "" {
		r.events(c, out)
		return
	}
	v := r.verdict(c)
	out.Verdict, out.Mode = v1alpha1.Allow, v.mode
	if v.Deny {
		out.Verdict, out.Reasons = v1alpha1.Deny, v.Reasons.Words()
	}
	out.Rule = r.plan.Rules[v.Rule]
	by := ""
	if out.Rule.Policy != "" {
		by = ", by " + place(out.Rule)
	}
	switch {
	case out.Verdict != c.Want:
		out.Why = fmt.Sprintf("wanted %s, got %s%s%s", c.Want, out.Verdict, in(out.Reasons), by)
	case c.Rule != "" && c.Rule != out.Rule.Field && c.Rule != out.Rule.Policy+" "+out.Rule.Field:
		out.Why = fmt.Sprintf("wanted the rule %s to decide; got %s%s%s", c.Rule, out.Verdict, in(out.Reasons), by)
	case c.Mode != "" && v.mode == "":
		out.Why = fmt.Sprintf("wanted mode %s, but no policy has the section", c.Mode)
	case c.Mode != "" && c.Mode != v.mode:
		out.Why = fmt.Sprintf("wanted mode %s, got %s", c.Mode, v.mode)
	}
}

func in(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(reasons, ", ") + ")"
}

func (r *caseRunner) verdict(c *v1alpha1.TestCase) verdict {
	p := r.plan
	switch {
	case c.Exec != nil && p.Process != nil:
		e := c.Exec
		return verdict{p.Process.Decide(Exec{
			Path: e.Path, Applet: e.Applet, Args: e.Args, Parent: e.Parent, UID: e.User, Script: e.Script,
			InImage: !e.NotInImage && !e.Fileless, Changed: e.Changed, Fileless: e.Fileless,
		}), p.Process.Mode}
	case c.File != nil && p.Files != nil:
		return verdict{p.Files.Decide(FileUse{
			Path: c.File.Path, Access: accessesOf(c.File.Access), Exec: Exec{Path: c.File.Program, InImage: true},
		}), p.Files.Mode}
	case c.Capability != "" && p.Capabilities != nil:
		n, _ := v1alpha1.Capability(c.Capability) // checked by Decode
		return verdict{p.Capabilities.Decide(n), p.Capabilities.Mode}
	case c.Hardening != nil && p.Hardening != nil:
		s, _ := SwitchNamed(c.Hardening.Switch) // checked by checkSwitches
		return verdict{p.Hardening.Decide(s, Exec{Path: c.Hardening.Program, InImage: true}), p.Hardening.Mode}
	case c.Connect != nil && p.Network != nil:
		return r.connection(c.Connect, false)
	case c.Accept != nil && p.Network != nil:
		return r.connection(c.Accept, true)
	}
	return verdict{}
}

// connection judges every address of the peer; one that is denied decides.
func (r *caseRunner) connection(t *v1alpha1.TestConnection, ingress bool) verdict {
	out := verdict{mode: r.plan.Network.Mode}
	ranges, err := t.Port.Ranges()
	if err != nil {
		return out // refused by Decode
	}
	addrs := addresses([]string{t.Peer})
	for i := range r.peers {
		if ref := r.peers[i].Workload; ref.Namespace+"/"+ref.Name == t.Peer {
			addrs = append(addrs, r.peers[i].Addresses...)
		}
	}
	known := probe{past: &Past{Containers: append(slices.Clone(r.peers), r.container), Node: r.node}}
	for _, a := range addrs {
		for _, g := range ranges {
			if g.Protocol == 1 && a.Is6() || g.Protocol == 58 && a.Is4() {
				continue
			}
			c := Conn{Ingress: ingress, Peer: a, Protocol: g.Protocol, Port: g.Lo}
			if d := r.plan.Network.Decide(c, known); d.Deny || !out.Deny {
				out.Decision = d
			}
			if out.Deny {
				return out
			}
		}
	}
	return out
}

// events judges recorded events: each that tells of something policy decides
// must get the verdict that is wanted.
func (r *caseRunner) events(c *v1alpha1.TestCase, out *CaseResult) {
	raw, err := r.read(c.Events)
	if err != nil {
		out.Why = "cannot be read: " + err.Error()
		return
	}
	list, err := readEvents(raw)
	if err != nil {
		out.Why = c.Events + ": " + err.Error()
		return
	}
	own := r.container.Workload
	list = slices.DeleteFunc(list, func(e event.Event) bool {
		return own.Name != "" && e.Workload.Name != "" && (e.Workload.Namespace != own.Namespace || e.Workload.Name != own.Name)
	})
	f := Forecast(r.plan, Past{Events: list, Containers: append(slices.Clone(r.peers), r.container), Node: r.node})
	out.Verdict = v1alpha1.Allow
	switch {
	case f.Judged == 0:
		out.Why = "no event tells of anything that these policies decide"
	case c.Want == v1alpha1.Allow && f.WouldBlock > 0:
		it := &f.Items[0]
		out.Verdict, out.Reasons, out.Rule = v1alpha1.Deny, it.Reasons, it.Rule
		out.Why = fmt.Sprintf("%d of %d recorded behaviours would be denied, first %s %s%s, by %s", f.WouldBlock, f.Judged, it.Kind, it.What, in(it.Reasons), place(it.Rule))
	case c.Want == v1alpha1.Deny && f.WouldBlock < f.Judged:
		out.Why = fmt.Sprintf("%d of %d recorded behaviours would be allowed", f.Judged-f.WouldBlock, f.Judged)
	case c.Want == v1alpha1.Deny:
		out.Verdict = v1alpha1.Deny
	}
}

// readEvents reads events one after the other, or in a list.
func readEvents(raw []byte) ([]event.Event, error) {
	var out []event.Event
	d := json.NewDecoder(bytes.NewReader(raw))
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
	}
	for d.More() {
		if len(out) == MaxCaseEvents {
			return nil, fmt.Errorf("read events: more than %d in one file: make several cases of it", MaxCaseEvents)
		}
		var e event.Event
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("read event %d: %w", len(out)+1, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func caseWords(c *v1alpha1.TestCase) string {
	switch {
	case c.Exec != nil:
		return strings.Join(append([]string{"exec", c.Exec.Path}, c.Exec.Args...), " ")
	case c.Connect != nil:
		return "connect to " + c.Connect.Peer + " on " + string(c.Connect.Port)
	case c.Accept != nil:
		return "accept from " + c.Accept.Peer + " on " + string(c.Accept.Port)
	case c.File != nil:
		return accessesOf(c.File.Access).String() + " of " + c.File.Path + " by " + c.File.Program
	case c.Capability != "":
		return "use of capability " + c.Capability
	case c.Hardening != nil:
		return c.Hardening.Switch + " by " + c.Hardening.Program
	}
	return "events of " + c.Events
}
