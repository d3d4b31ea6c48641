package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/internal/lifecycle"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/workload"
)

var _ console.Platform = (*Platform)(nil)

// Overview implements console.Platform.
func (p *Platform) Overview(ctx context.Context) (console.Overview, error) {
	o := console.Overview{
		Node: p.node, Version: version.Version, Revision: version.Revision(), StartedAt: p.started, Kernel: kernelRelease(),
		Runtimes: []string{}, Losses: []console.Loss{}, Records: []console.Records{},
	}
	for _, s := range p.discovery.Status() {
		if s.Health != "" && s.Containers > 0 || s.Health == "ok" {
			o.Runtimes = append(o.Runtimes, strings.TrimSpace(fmt.Sprintf("%s %s (%s)", s.Runtime, s.Detail, s.Where)))
		}
	}
	features := p.probe.get(ctx)
	for _, f := range features {
		o.Features = append(o.Features, console.Feature(f))
	}
	for _, b := range Backends(features) {
		o.Backends = append(o.Backends, console.Backend{Name: b.ID, Section: b.Section, Active: b.Active, Guarantee: b.Guarantee, Why: b.Why})
	}
	for _, s := range p.group.Health() {
		o.Units = append(o.Units, console.Unit{Name: s.Name, State: unitState(s.State), Reason: s.Reason, Since: s.Since})
	}
	for _, st := range p.agent.Containers() {
		o.Coverage.Containers++
		switch st.State {
		case agent.Enforced:
			o.Coverage.Enforced++
		case agent.Monitored:
			o.Coverage.Monitored++
		case agent.Learning:
			o.Coverage.Learning++
		case agent.Blind:
			o.Coverage.Blind++
			section, why, _ := strings.Cut(st.Blind, ": ")
			o.Coverage.Unwatched = append(o.Coverage.Unwatched, console.Blind{
				Workload: st.Container.Workload, ContainerID: st.Container.ID, Container: st.Container.Name, Section: section, Why: why, Remedy: "gabion doctor says what this machine lacks",
			})
		}
	}
	for _, l := range p.agent.Losses() {
		if l.Observations > 0 {
			o.Losses = append(o.Losses, console.Loss{What: "first-seen reports (seen again later)", Where: l.ContainerID, Count: l.Observations})
		}
		if l.Causes > 0 {
			o.Losses = append(o.Losses, console.Loss{What: "details of denials (counted, not told apart)", Where: l.ContainerID, Count: l.Causes})
		}
	}
	records, err := p.kernel.accounting()
	if err != nil {
		return o, err
	}
	for _, r := range records {
		v := console.Records{ContainerID: r.ContainerID, Ring: r.Ring, Seen: r.Seen, Lost: r.Lost}
		if st, err := p.agent.Container(r.ContainerID); err == nil {
			v.Workload = st.Container.Workload
		}
		o.Records = append(o.Records, v)
	}
	if n := p.recorder.Stats().Dropped; n > 0 {
		o.Losses = append(o.Losses, console.Loss{What: "records the bus had no room for", Where: "recorder", Count: n})
	}
	return o, nil
}

func unitState(s lifecycle.State) console.UnitState {
	switch s {
	case lifecycle.Ready:
		return console.UnitOK
	case lifecycle.Failed:
		return console.UnitFailed
	case lifecycle.Stopped:
		return console.UnitStopped
	}
	return console.UnitDegraded
}

// Workloads implements console.Platform.
func (p *Platform) Workloads(context.Context) ([]console.Workload, error) {
	groups := p.byWorkload()
	out := make([]console.Workload, 0, len(groups))
	for ref, list := range groups {
		out = append(out, p.workload(ref, list))
	}
	slices.SortFunc(out, func(a, b console.Workload) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return out, nil
}

// byWorkload gathers containers; workloads that only have a profile have none.
func (p *Platform) byWorkload() map[workload.Ref][]agent.Status {
	groups := map[workload.Ref][]agent.Status{}
	for _, st := range p.agent.Containers() {
		groups[st.Container.Workload] = append(groups[st.Container.Workload], st)
	}
	for _, ref := range p.agent.Learned() {
		if _, ok := groups[ref]; !ok {
			groups[ref] = nil
		}
	}
	return groups
}

func (p *Platform) workload(ref workload.Ref, list []agent.Status) console.Workload {
	w := console.Workload{Ref: ref, Images: []string{}, Containers: len(list), Mode: map[string]string{}, Policies: []string{}, Coverage: []console.Coverage{}, State: "idle"}
	rank := []agent.State{agent.Enforced, agent.Monitored, agent.Learning, agent.Blind}
	worst := -1
	for _, st := range list {
		worst = max(worst, slices.Index(rank, st.State))
		if st.Container.Image != "" && !slices.Contains(w.Images, st.Container.Image) {
			w.Images = append(w.Images, st.Container.Image)
		}
		w.Quarantined = w.Quarantined || st.Quarantined
		if st.Plan != nil {
			for _, id := range st.Plan.Policies {
				if !slices.Contains(w.Policies, id) {
					w.Policies = append(w.Policies, id)
				}
			}
			for section, mode := range st.Plan.Modes() {
				w.Mode[section] = string(mode)
			}
		}
		for _, c := range st.Coverage {
			w.Coverage = weakest(w.Coverage, c)
		}
	}
	if worst >= 0 {
		w.State = string(rank[worst])
	}
	if prof, ok := p.agent.Profile(ref); ok {
		w.Learned = len(prof.Spec.Processes) + len(prof.Spec.Egress) + len(prof.Spec.Ingress)
	}
	return w
}

// weakest keeps one entry per section: none before degraded before whole.
func weakest(list []console.Coverage, c guard.Coverage) []console.Coverage {
	worth := func(mechanism, degraded string) int {
		switch {
		case mechanism == "none":
			return 0
		case degraded != "":
			return 1
		}
		return 2
	}
	i := slices.IndexFunc(list, func(x console.Coverage) bool { return x.Section == c.Section })
	if i < 0 {
		return append(list, console.Coverage(c))
	}
	if worth(c.Mechanism, c.Degraded) < worth(list[i].Mechanism, list[i].Degraded) {
		list[i] = console.Coverage(c)
	}
	return list
}

// Workload implements console.Platform.
func (p *Platform) Workload(_ context.Context, namespace, name string) (console.WorkloadDetail, error) {
	for ref, list := range p.byWorkload() {
		if ref.Namespace == namespace && ref.Name == name {
			return p.detail(ref, list), nil
		}
	}
	return console.WorkloadDetail{}, fmt.Errorf("find workload %s/%s: %w", namespace, name, console.ErrNotFound)
}

func (p *Platform) detail(ref workload.Ref, list []agent.Status) console.WorkloadDetail {
	d := console.WorkloadDetail{Workload: p.workload(ref, list), Running: []console.Container{}, Plan: console.Plan{Rules: []console.PlanRule{}}}
	for _, st := range list {
		c := console.Container{Container: st.Container, Coverage: []console.Coverage{}, Quarantined: st.Quarantined, Paused: p.paused(st)}
		for _, cov := range st.Coverage {
			c.Coverage = append(c.Coverage, console.Coverage(cov))
		}
		if !st.Held {
			c.EnforcedAfterUS = st.CoveredAfter.Microseconds()
		}
		d.Running = append(d.Running, c)
		if st.Plan != nil && d.Plan.ID == "" {
			d.Plan = planView(st.Plan)
		}
	}
	if prof, ok := p.agent.Profile(ref); ok {
		d.Profile = profileView(prof)
	} else {
		d.Profile = console.Profile{Processes: []console.LearnedProcess{}, Egress: []console.LearnedPeer{}, Ingress: []console.LearnedPeer{}}
	}
	return d
}

func profileView(doc v1alpha1.Profile) console.Profile {
	s := doc.Spec
	v := console.Profile{Since: s.FirstSeen.Time, Last: s.LastSeen.Time, Replicas: s.Containers,
		Processes: []console.LearnedProcess{}, Egress: peersView(s.Egress), Ingress: peersView(s.Ingress)}
	for _, x := range s.Processes {
		v.Processes = append(v.Processes, console.LearnedProcess{Path: x.Path, Applet: x.Applet, Parent: x.Parent, InImage: !x.NotInImage, Count: x.Count, First: x.FirstSeen.Time, Last: x.LastSeen.Time})
	}
	if s.Truncated != nil {
		v.Omitted = int(s.Truncated.Processes + s.Truncated.Egress + s.Truncated.Ingress)
	}
	return v
}

func peersView(list []v1alpha1.LearnedPeer) []console.LearnedPeer {
	out := []console.LearnedPeer{}
	for _, x := range list {
		v := console.LearnedPeer{Address: x.Address, Count: x.Count, First: x.FirstSeen.Time, Last: x.LastSeen.Time}
		if x.Workload != nil {
			v.Workload = workload.Ref{Namespace: x.Workload.Namespace, Name: x.Workload.Name}
		}
		proto, port, _ := strings.Cut(string(x.Port), "/")
		v.Protocol = proto
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			v.Port = uint16(n)
		}
		out = append(out, v)
	}
	return out
}

// planView says every rule in words, with the line of policy it came from.
// The directions of the network are told in the words.
func planView(plan *policy.Plan) console.Plan {
	v := console.Plan{ID: plan.ID, Rules: []console.PlanRule{}}
	for _, r := range plan.Texts() {
		section, what := r.Section, r.What
		if section == "egress" || section == "ingress" {
			section, what = "network", r.Section+": "+r.What
		}
		effect := r.Effect
		if effect == "waive" {
			effect, what = "allow", what+" (exception)"
		}
		v.Rules = append(v.Rules, console.PlanRule{Section: section, Effect: effect, What: what, Reason: r.Reason, Rule: r.Rule})
	}
	return v
}

// paused says whether the container's processes are frozen, by its policy's
// whenBlind, by a response or by a person.
func (p *Platform) paused(st agent.Status) bool {
	return st.Paused || slices.ContainsFunc(p.responder.Active(context.Background()), func(a respond.Active) bool {
		return a.Action == respond.Pause && a.ContainerID == st.Container.ID
	})
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// notFound turns other rooms' words for "no such thing" into the console's.
func notFound(err error) error {
	if errors.Is(err, agent.ErrNoContainer) {
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	}
	return err
}
