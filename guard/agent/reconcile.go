package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

func (a *Agent) reconcileAll(ctx context.Context) {
	a.mu.Lock()
	ids := slices.Sorted(maps.Keys(a.entries))
	a.mu.Unlock()
	for _, id := range ids {
		if ctx.Err() != nil {
			return
		}
		a.reconcile(ctx, id)
	}
}

// reconcile makes what is enforced on one container what policy says now.
func (a *Agent) reconcile(ctx context.Context, id string) {
	a.mu.Lock()
	e := a.entries[id]
	a.mu.Unlock()
	if e == nil {
		return
	}
	e.applying.Lock()
	defer e.applying.Unlock()
	a.mu.Lock()
	if a.entries[id] != e || e.c.PID == 0 {
		a.mu.Unlock()
		return
	}
	c, before, applied, set, n := e.c, e.plan, e.applied, a.policies, a.neighbours
	a.mu.Unlock()

	var plan *policy.Plan
	if set != nil {
		plan = set.Compile(&c, a.deps.Now())
	}
	if applied && planID(plan) == planID(before) || !a.deps.Alive(c.PID) {
		return // nothing changed, or it has ended and discovery will say so
	}
	coverage, blind, err := a.enforce(ctx, c, plan, n)
	if err != nil {
		if !a.deps.Alive(c.PID) {
			return
		}
		a.deps.Log.Error("enforce plan", "container", c.Short(), "workload", c.Workload.String(), "err", err)
	}

	a.mu.Lock()
	// What failed is tried again at the next look.
	e.plan, e.applied, e.coverage, e.blind = plan, err == nil, coverage, blind
	if e.enforcedAt.IsZero() {
		e.enforcedAt = a.deps.Now()
	}
	closed := e.closed
	a.mu.Unlock()
	a.replay(c.ID)
	a.reportBlind(ctx, c, plan, blind, closed)
	if applied {
		ev := a.about(c, event.PolicyChange, planID(plan))
		ev.Message = fmt.Sprintf("%s now runs under %s", c.Workload, planWords(plan))
		a.deps.Record(ev)
	}
}

// enforce applies plan by every part there is and says why a section that
// should be enforced is not.
func (a *Agent) enforce(ctx context.Context, c workload.Container, plan *policy.Plan, n *facts.Neighbourhood) (coverage []guard.Coverage, blind string, err error) {
	missing := "this node cannot load the part that enforces it (see gabion doctor)"
	one := func(section string, wanted, always, have bool, apply func() (guard.Coverage, error)) {
		cov := guard.Coverage{Section: section, Mechanism: "none", Guarantee: "nothing is enforced"}
		why := missing
		if have {
			got, failed := apply()
			if failed == nil {
				if wanted || always {
					coverage = append(coverage, got)
				}
				if got.Mechanism == "none" && wanted {
					blind = section + ": " + got.Degraded
				}
				return
			}
			why = failed.Error()
			err = errors.Join(err, failed)
		}
		cov.Degraded = why
		if wanted || always {
			coverage = append(coverage, cov)
		}
		if wanted {
			blind = section + ": " + why
		}
	}
	k := a.deps.Kernel
	modes := plan.Modes()
	has := func(section string) bool { _, ok := modes[section]; return ok }
	one("process", has("process"), true, k != nil, func() (guard.Coverage, error) { return k.Apply(ctx, c, plan) })
	nowhere := missing
	if err != nil { // the other sections stand on what Apply sets up
		k, missing = nil, "the container could not be taken in: "+err.Error()
	}
	one("files", has("files"), false, k != nil, func() (guard.Coverage, error) { return k.ApplyFiles(ctx, c, plan) })
	one("capabilities", has("capabilities"), false, k != nil, func() (guard.Coverage, error) { return k.ApplyCapabilities(ctx, c, plan) })
	one("hardening", has("hardening"), false, k != nil, func() (guard.Coverage, error) { return k.ApplyHardening(ctx, c, plan) })
	missing = nowhere
	one("network", has("network"), true, a.deps.Firewall != nil, func() (guard.Coverage, error) { return a.deps.Firewall.Apply(ctx, c, plan, n) })
	return coverage, blind, err
}

// reportBlind does what the policy's whenBlind asks for and says so.
func (a *Agent) reportBlind(ctx context.Context, c workload.Container, plan *policy.Plan, blind string, closed bool) {
	wantClosed := blind != "" && plan != nil && plan.WhenBlind == v1alpha1.Closed
	if wantClosed != closed && a.deps.Freezer != nil {
		if err := a.deps.Freezer.Pause(ctx, c, wantClosed); err != nil {
			a.deps.Log.Error("pause container that cannot be enforced", "container", c.Short(), "err", err)
			wantClosed = closed
		}
		a.mu.Lock()
		if e := a.entries[c.ID]; e != nil {
			e.closed = wantClosed
		}
		a.mu.Unlock()
	}
	if blind == "" {
		return
	}
	ev := a.about(c, event.AgentHealth, "blind", blind)
	ev.Severity, ev.Effect = event.High, event.NotBlocked
	ev.Reasons = []string{"blind"}
	ev.Message = fmt.Sprintf("%s is not enforced: %s", c.Workload, blind)
	if wantClosed {
		ev.Message += "; it is paused because its policy says whenBlind: Closed"
	}
	a.deps.Record(ev)
}

// refreshNeighbours tells the firewall who lives at which address now.
func (a *Agent) refreshNeighbours(ctx context.Context) {
	a.refresh.Lock()
	defer a.refresh.Unlock()
	a.mu.Lock()
	containers := make([]workload.Container, 0, len(a.entries))
	for _, id := range slices.Sorted(maps.Keys(a.entries)) {
		containers = append(containers, a.entries[id].c)
	}
	n := facts.NewNeighbourhood(containers, a.deps.NodeAddresses())
	same := n.SameAddresses(a.neighbours)
	a.neighbours = n
	a.mu.Unlock()
	if same || a.deps.Firewall == nil {
		return
	}
	if err := a.deps.Firewall.Refresh(ctx, n); err != nil {
		a.deps.Log.Error("refresh addresses of workloads in firewall", "err", err)
	}
}

func planID(p *policy.Plan) string {
	if p == nil {
		return ""
	}
	return p.ID
}

func planWords(p *policy.Plan) string {
	if p == nil {
		return "no policy (learning)"
	}
	return strings.Join(p.Policies, ", ")
}
