package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/profile"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// ErrNoContainer: no such container is known here (any more).
var ErrNoContainer = errors.New("no such container")

// State is where a container counts in the overview: each counts once.
type State string

// States, best first. The weakest section decides.
const (
	Enforced  State = "enforced"
	Monitored State = "monitored"
	Learning  State = "learning"
	Blind     State = "blind"
)

// Status is one container as the agent knows it.
type Status struct {
	Container workload.Container
	// Plan is nil when no policy selects the container.
	Plan        *policy.Plan
	Applied     bool
	Coverage    []guard.Coverage
	State       State
	Blind       string // why, when State is Blind
	Quarantined bool
	Paused      bool // by whenBlind: Closed
	Held        bool // its first program waited until its plan was in force
	// HeldBy says what made it wait: "NRI" (its runtime asked us first) or
	// "kernel" (stopped before its first instruction); empty when it did not.
	HeldBy     string
	EnforcedAt time.Time
	// CoveredAfter is the time from its first program to the moment its plan
	// was in force; 0 when nobody saw the first program.
	CoveredAfter time.Duration
}

// Containers lists what runs here, ordered by workload and identifier.
func (a *Agent) Containers() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Status, 0, len(a.entries))
	for _, e := range a.entries {
		out = append(out, e.status())
	}
	slices.SortFunc(out, func(x, y Status) int {
		if c := cmp.Compare(x.Container.Workload.String(), y.Container.Workload.String()); c != 0 {
			return c
		}
		return cmp.Compare(x.Container.ID, y.Container.ID)
	})
	return out
}

// Container gives one by its identifier or a prefix of at least 12 characters.
func (a *Agent) Container(id string) (Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.entries[id]; e != nil {
		return e.status(), nil
	}
	if len(id) >= 12 {
		for full, e := range a.entries {
			if len(full) > len(id) && full[:len(id)] == id {
				return e.status(), nil
			}
		}
	}
	return Status{}, fmt.Errorf("find container %q: %w", id, ErrNoContainer)
}

func (e *entry) status() Status {
	var after time.Duration
	if !e.firstExec.IsZero() && e.enforcedAt.After(e.firstExec) {
		after = e.enforcedAt.Sub(e.firstExec)
	}
	coverage := slices.Clone(e.coverage)
	if e.heldBy != "" && e.plan != nil {
		for i := range coverage {
			if coverage[i].Mechanism != "none" {
				coverage[i].Guarantee += "; its first program was held by " + e.heldBy + " until then"
			}
		}
	}
	return Status{
		Container: e.c, CoveredAfter: after, Plan: e.plan, Applied: e.applied, Coverage: coverage,
		State: e.state(), Blind: e.blind, Quarantined: e.quarantined, Paused: e.closed, Held: e.held, HeldBy: e.heldBy, EnforcedAt: e.enforcedAt,
	}
}

func (e *entry) state() State {
	if e.blind != "" {
		return Blind
	}
	if e.plan == nil || !e.applied {
		return Learning
	}
	modes := e.plan.Modes()
	if len(modes) == 0 {
		return Learning
	}
	weakest := Enforced
	for _, m := range modes {
		switch m {
		case v1alpha1.Monitor:
			if weakest == Enforced {
				weakest = Monitored
			}
		case v1alpha1.Learn:
			weakest = Learning
		}
	}
	return weakest
}

// Neighbourhood is who lives at which address now.
func (a *Agent) Neighbourhood() *facts.Neighbourhood {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.neighbours
}

// Losses lists what could not be reported, by container, since the start;
// containers that have ended are one entry without an identifier.
func (a *Agent) Losses() []guard.Loss {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.lossBy), func(x, y guard.Loss) int { return cmp.Compare(x.ContainerID, y.ContainerID) })
}

// Profile is what was learned about a workload; false when nothing was.
func (a *Agent) Profile(ref workload.Ref) (v1alpha1.Profile, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for r, l := range a.profiles {
		if r.Namespace == ref.Namespace && r.Name == ref.Name {
			return l.p.Snapshot(), true
		}
	}
	return v1alpha1.Profile{}, false
}

// Learned lists the workloads that have a profile.
func (a *Agent) Learned() []workload.Ref {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Keys(a.profiles), func(x, y workload.Ref) int { return cmp.Compare(x.String(), y.String()) })
}

// Quarantine cuts a container off from every network, or ends that. Its
// processes go on and connections inside it stay.
func (a *Agent) Quarantine(_ context.Context, id string, on bool) error {
	st, err := a.Container(id)
	if err != nil {
		return err
	}
	if a.deps.Kernel == nil || a.deps.Firewall == nil {
		return fmt.Errorf("quarantine container %s: this node cannot load the firewall (see gabion doctor)", st.Container.Short())
	}
	if err := a.deps.Kernel.SetQuarantine(st.Container.ID, on); err != nil {
		return fmt.Errorf("quarantine container %s: %w", st.Container.Short(), err)
	}
	a.mu.Lock()
	if e := a.entries[st.Container.ID]; e != nil {
		e.quarantined = on
	}
	a.mu.Unlock()
	return nil
}

// Pause freezes every process of a container, or lets them go on.
func (a *Agent) Pause(ctx context.Context, id string, on bool) error {
	return a.freeze(id, "pause", func(c workload.Container) error { return a.deps.Freezer.Pause(ctx, c, on) })
}

// Kill ends every process of a container.
func (a *Agent) Kill(ctx context.Context, id string) error {
	return a.freeze(id, "kill", func(c workload.Container) error { return a.deps.Freezer.Kill(ctx, c) })
}

func (a *Agent) freeze(id, verb string, do func(workload.Container) error) error {
	st, err := a.Container(id)
	if err != nil {
		return err
	}
	if a.deps.Freezer == nil {
		return fmt.Errorf("%s container %s: this node has no way to reach its processes", verb, st.Container.Short())
	}
	return do(st.Container)
}

// loadProfile brings back what an earlier agent learned of the workload and
// notes the container as one more replica.
func (a *Agent) loadProfile(ctx context.Context, c workload.Container) {
	a.mu.Lock()
	l := a.profiles[c.Workload]
	a.mu.Unlock()
	if l == nil {
		l = &learned{p: profile.New(c.Workload), unnamed: c.Workload.Name == c.Short()}
		if a.deps.Profiles != nil && !l.unnamed {
			doc, err := a.deps.Profiles.Load(ctx, c.Workload)
			if err == nil && doc != nil {
				l.p, err = profile.FromDocument(*doc)
			}
			if err != nil || l.p == nil {
				a.deps.Log.Error("load profile; learning begins anew", "workload", c.Workload.String(), "err", err)
				l.p = profile.New(c.Workload)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if have := a.profiles[c.Workload]; have != nil {
		l = have
	}
	a.profiles[c.Workload] = l
	l.p.Container(c, a.deps.Now())
	l.dirty = true
}

// saveProfiles keeps what was learned since the last time, and lets go of
// workloads that have not run for a while.
func (a *Agent) saveProfiles(ctx context.Context) {
	now := a.deps.Now()
	a.mu.Lock()
	running := map[workload.Ref]bool{}
	for _, e := range a.entries {
		running[e.c.Workload] = true
		if l := a.profiles[e.c.Workload]; l != nil && l.p.Runs(e.c, now) {
			l.dirty = true
		}
	}
	dirty := map[workload.Ref]v1alpha1.Profile{}
	for ref, l := range a.profiles {
		switch {
		case running[ref]:
			l.idle = time.Time{}
		case l.idle.IsZero():
			l.idle = now
		case !l.dirty && now.Sub(l.idle) > idleFor:
			delete(a.profiles, ref)
		}
		if l.dirty {
			l.dirty = false
			if a.deps.Profiles != nil && !l.unnamed {
				dirty[ref] = l.p.Snapshot()
			}
		}
	}
	a.mu.Unlock()
	for ref, doc := range dirty {
		if err := a.deps.Profiles.Save(ctx, ref, doc); err != nil {
			a.deps.Log.Error("save profile", "workload", ref.String(), "err", err)
			a.mu.Lock()
			if l := a.profiles[ref]; l != nil {
				l.dirty = true
			}
			a.mu.Unlock()
		}
	}
}
