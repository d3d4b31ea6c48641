package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Prediction is what a plan would have blocked of what happened.
type Prediction struct {
	// Since is the time of the oldest behaviour that was judged.
	Since time.Time `json:"since,omitzero"`
	// Judged counts distinct behaviours, WouldBlock those the plan denies.
	Judged     int             `json:"judged"`
	WouldBlock int             `json:"wouldBlock"`
	Items      []PredictedItem `json:"items"` // denied ones, most frequent first
	// Evidence says what the prediction rests on; Ready is true when all of it
	// suffices and nothing would have been blocked. Summary is the advice.
	Evidence []Evidence `json:"evidence"`
	Ready    bool       `json:"ready"`
	Summary  string     `json:"summary"`
}

// PredictedItem is one behaviour that would have been blocked.
type PredictedItem struct {
	Kind    event.Kind    `json:"kind"`
	What    string        `json:"what"` // program, or peer and port
	Reasons []string      `json:"reasons"`
	Rule    event.RuleRef `json:"rule"`
	Count   uint64        `json:"count"`
	Last    time.Time     `json:"last,omitzero"`
}

// Evidence is one thing that a promotion to Protect rests on.
type Evidence struct {
	Name string `json:"name"`
	Have string `json:"have"`
	Want string `json:"want"`
	Met  bool   `json:"met"`
}

// Wanted is how much must have been observed before Protect is advised.
type Wanted struct {
	Containers int           // replicas or restarts; 0 means 2
	Observed   time.Duration // from the first to the last observation; 0 means 24 h
}

// Past is what happened to a workload: its profile (may be nil), its events,
// and the containers known now, by which peers are resolved.
type Past struct {
	Profile    *v1alpha1.Profile
	Events     []event.Event
	Containers []workload.Container
	Node       []netip.Addr
	Wanted     Wanted
}

// Forecast judges the past by the plan, with the evaluator that also enforces
// it. The plan's modes play no part: it answers what Protect would have done.
func Forecast(plan *Plan, past Past) *Prediction {
	f := &forecaster{plan: plan, past: &past, out: &Prediction{Items: []PredictedItem{}}, seen: map[string]int{}}
	if p := past.Profile; p != nil {
		for i := range p.Spec.Processes {
			f.process(&p.Spec.Processes[i])
		}
		for i := range p.Spec.Files {
			f.learnedFile(&p.Spec.Files[i])
		}
		for i := range p.Spec.Capabilities {
			c := &p.Spec.Capabilities[i]
			f.capability(c.Name, c.Count, c.LastSeen.Time)
		}
		for i := range p.Spec.Egress {
			f.peer(&p.Spec.Egress[i], false)
		}
		for i := range p.Spec.Ingress {
			f.peer(&p.Spec.Ingress[i], true)
		}
		f.oldest(p.Spec.FirstSeen.Time)
	}
	for i := range past.Events {
		f.event(&past.Events[i])
	}
	slices.SortStableFunc(f.out.Items, func(a, b PredictedItem) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What))
	})
	f.out.WouldBlock = len(f.out.Items)
	f.evidence()
	return f.out
}

type forecaster struct {
	plan *Plan
	past *Past
	out  *Prediction
	seen map[string]int // behaviour -> index in Items, -1 when it is allowed
}

func (f *forecaster) oldest(t time.Time) {
	if !t.IsZero() && (f.out.Since.IsZero() || t.Before(f.out.Since)) {
		f.out.Since = t
	}
}

// judged records a verdict about a behaviour once. What a profile and an event
// both tell of is counted by the larger of their counts.
func (f *forecaster) judged(kind event.Kind, what string, d Decision, count uint64, last time.Time) {
	key := string(kind) + " " + what
	at, known := f.seen[key]
	switch {
	case !known:
		f.out.Judged++
		f.seen[key] = -1
		if d.Deny {
			f.seen[key] = len(f.out.Items)
			f.out.Items = append(f.out.Items, PredictedItem{
				Kind: kind, What: what, Reasons: d.Reasons.Words(), Rule: f.plan.Rules[d.Rule], Count: count, Last: last,
			})
		}
	case at >= 0:
		it := &f.out.Items[at]
		it.Count = max(it.Count, count)
		if last.After(it.Last) {
			it.Last = last
		}
	}
}

func (f *forecaster) peer(p *v1alpha1.LearnedPeer, ingress bool) {
	if f.plan == nil || f.plan.Network == nil {
		return
	}
	kind, what := event.NetworkConnect, peerWords(p)
	if ingress {
		kind = event.NetworkAccept
	}
	ranges, err := p.Port.Ranges()
	if err != nil {
		return
	}
	var d Decision
	for _, c := range f.conns(p, ranges, ingress) {
		if one := f.plan.Network.Decide(c.Conn, c); one.Deny || !d.Deny {
			d = one
		}
		if d.Deny {
			break
		}
	}
	f.judged(kind, what, d, p.Count, p.LastSeen.Time)
}

// probe is one connection to judge, and who its peer is.
type probe struct {
	Conn
	past *Past
	// standIn is set when the peer does not run now: no address can stand for
	// it, only what is known of it by name.
	standIn *workload.Container
}

// Addresses implements Peers.
func (p probe) Addresses(s WorkloadSelector) []netip.Addr {
	var out []netip.Addr
	for i := range p.past.Containers {
		if s.Matches(&p.past.Containers[i]) {
			out = append(out, p.past.Containers[i].Addresses...)
		}
	}
	if p.standIn != nil && s.Matches(p.standIn) {
		out = append(out, p.Peer)
	}
	return out
}

// NodeAddresses implements Peers.
func (p probe) NodeAddresses() []netip.Addr { return p.past.Node }

// conns gives the connections that stand for a learned peer: those at the ends
// of its addresses and ports.
func (f *forecaster) conns(p *v1alpha1.LearnedPeer, ranges []v1alpha1.PortRange, ingress bool) []probe {
	base := probe{past: f.past}
	base.Ingress = ingress
	var addrs []netip.Addr
	if p.Workload != nil {
		for i := range f.past.Containers {
			if c := &f.past.Containers[i]; c.Workload.Namespace == p.Workload.Namespace && c.Workload.Name == p.Workload.Name {
				addrs = append(addrs, c.Addresses...)
			}
		}
		if len(addrs) == 0 {
			base.standIn = &workload.Container{
				Workload: workload.Ref{Namespace: p.Workload.Namespace, Name: p.Workload.Name}, Labels: p.Workload.MatchLabels,
			}
			addrs = []netip.Addr{netip.IPv4Unspecified()}
		}
	} else if prefix, err := v1alpha1.ParseCIDR(p.Address); err == nil {
		addrs = ends(prefix)
	}
	var out []probe
	for _, a := range addrs {
		for _, r := range ranges {
			if r.Protocol == 1 && a.Is6() || r.Protocol == 58 && a.Is4() {
				continue
			}
			for _, port := range slices.Compact([]uint16{r.Lo, r.Hi}) {
				one := base
				one.Peer, one.Protocol, one.Port = a, r.Protocol, port
				out = append(out, one)
			}
		}
	}
	return out
}

// ends gives the lowest and highest address of a prefix that can be a peer.
func ends(p netip.Prefix) []netip.Addr {
	if p.IsSingleIP() {
		return []netip.Addr{p.Addr()}
	}
	high := p.Addr().AsSlice()
	for i := p.Bits(); i < len(high)*8; i++ {
		high[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(high)
	return []netip.Addr{p.Addr().Next(), last}
}

func peerWords(p *v1alpha1.LearnedPeer) string {
	if p.Workload != nil {
		return p.Workload.Namespace + "/" + p.Workload.Name + " on " + string(p.Port)
	}
	return p.Address + " on " + string(p.Port)
}

func (f *forecaster) event(e *event.Event) {
	if f.plan == nil {
		return
	}
	f.oldest(e.First)
	switch e.Kind {
	case event.FileAccess, event.CapabilityUse, event.Hardening:
		f.runtimeEvent(e)
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		if f.plan.Process == nil || e.Path == "" {
			return
		}
		has := func(word string) bool { return slices.Contains(e.Reasons, word) }
		x := Exec{
			Path: e.Path, Applet: e.Evidence["applet"], Changed: has("changed"),
			InImage:  e.Kind == event.ProcessExec && !has("drift") && e.Evidence["inImage"] != "false",
			Fileless: e.Kind == event.ProcessFileless || has("fileless"),
		}
		if e.Process != nil {
			x.Parent, x.UID = e.Process.ParentExe, e.Process.UID
			if len(e.Process.Args) > 1 {
				x.Args = e.Process.Args[1:]
			}
		}
		what := x.Path
		if x.Applet != "" {
			what += " as " + x.Applet
		}
		f.judged(event.ProcessExec, what, f.plan.Process.Decide(x), e.Count, e.Last)
	case event.NetworkConnect, event.NetworkAccept:
		if f.plan.Network == nil || e.Peer == nil || !e.Peer.Addr.IsValid() {
			return
		}
		c := probe{past: f.past}
		c.Ingress, c.Peer, c.Port = e.Kind == event.NetworkAccept, e.Peer.Addr.Unmap(), e.Peer.Port
		if c.Ingress {
			c.Port = e.Peer.LocalPort
		}
		ranges, err := v1alpha1.Port(e.Peer.Protocol).Ranges()
		if err != nil {
			return
		}
		c.Protocol = ranges[0].Protocol
		port := v1alpha1.Port(e.Peer.Protocol)
		if c.Protocol == 6 || c.Protocol == 17 {
			port = v1alpha1.Port(fmt.Sprintf("%s/%d", e.Peer.Protocol, c.Port))
		}
		learned := v1alpha1.LearnedPeer{Address: c.Peer.String(), Port: port}
		if !e.Peer.Workload.IsZero() {
			learned.Workload = &v1alpha1.WorkloadPeer{Namespace: e.Peer.Workload.Namespace, Name: e.Peer.Workload.Name}
		}
		f.judged(e.Kind, peerWords(&learned), f.plan.Network.Decide(c.Conn, c), e.Count, e.Last)
	}
}

func (f *forecaster) evidence() {
	want := f.past.Wanted
	if want.Containers == 0 {
		want.Containers = 2
	}
	if want.Observed == 0 {
		want.Observed = 24 * time.Hour
	}
	containers, observed, complete := 0, time.Duration(0), f.past.Profile != nil
	if p := f.past.Profile; p != nil {
		containers = p.Spec.Containers
		observed = p.Spec.LastSeen.Sub(p.Spec.FirstSeen.Time)
		complete = p.Spec.Truncated == nil
	}
	word := func(ok bool, yes, no string) string {
		if ok {
			return yes
		}
		return no
	}
	f.out.Evidence = []Evidence{
		{"containers observed", fmt.Sprint(containers), fmt.Sprint(want.Containers), containers >= want.Containers},
		{"time observed", observed.Round(time.Second).String(), want.Observed.String(), observed >= want.Observed},
		{"profile complete", word(complete, "yes", "no"), "yes", complete},
		{"would have been blocked", fmt.Sprint(f.out.WouldBlock), "0", f.out.WouldBlock == 0},
	}
	f.out.Ready = f.plan != nil && !slices.ContainsFunc(f.out.Evidence, func(e Evidence) bool { return !e.Met })
	switch {
	case f.plan == nil:
		f.out.Summary = "No policy selects this workload."
	case f.out.Ready:
		f.out.Summary = fmt.Sprintf("Protect would have blocked none of %d behaviours seen; it can be promoted.", f.out.Judged)
	case f.out.WouldBlock > 0:
		f.out.Summary = fmt.Sprintf("Protect would have blocked %d of %d behaviours seen: allow what is meant, then look again.", f.out.WouldBlock, f.out.Judged)
	default:
		f.out.Summary = fmt.Sprintf("Nothing of %d behaviours seen would have been blocked, but too little was observed to be sure.", f.out.Judged)
	}
}
