package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// What holds a container's first program until its plan is in force.
const (
	byKernel = "kernel"
	byNRI    = "NRI"
)

// ErrNotCovered is the answer to a runtime that asks whether a container may
// start, when its policy cannot be in force and says whenBlind: Closed.
var ErrNotCovered = errors.New("its policy is not in force and says whenBlind: Closed")

// asked is a runtime's question whether a container may start.
type asked struct {
	c     workload.Container
	began time.Time
	done  chan struct{}
}

// Prepare puts the policy of a container in force before its first program
// starts; its runtime waits. It returns when that is done or ctx ends. The
// error is ErrNotCovered when the container must not start; one that starts
// without its policy, because the policy says whenBlind: Open, is an event.
func (a *Agent) Prepare(ctx context.Context, c workload.Container) error {
	q := asked{c: c, began: a.deps.Now(), done: make(chan struct{})}
	why := "its process could not be found"
	if c.PID != 0 {
		why = "it could not be put in force within the time that the runtime waits"
		select {
		case a.asked <- q:
			select {
			case <-q.done:
				why = ""
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	a.mu.Lock()
	e, set := a.entries[c.ID], a.policies
	known := e != nil && why == ""
	covered := known && e.applied && e.blind == ""
	if known && !covered {
		why = e.blind
	}
	a.mu.Unlock()
	if covered || set == nil {
		return nil
	}
	plan := set.Compile(&c, a.deps.Now())
	if plan == nil {
		return nil // no policy speaks of it; it is observed as soon as it can be
	}
	ev := a.about(c, event.AgentHealth, "uncovered start", q.began.String())
	ev.Severity, ev.Effect, ev.Reasons = event.High, event.NotBlocked, []string{"uncovered-start"}
	ev.Evidence = map[string]string{"heldBy": byNRI, "heldMs": fmt.Sprint(a.deps.Now().Sub(q.began).Milliseconds())}
	if plan.WhenBlind != v1alpha1.Closed {
		ev.Message = fmt.Sprintf("The first program of %s started without its policy: %s; the policy says whenBlind: Open", c.Workload, why)
		a.deps.Record(ev)
		return nil
	}
	ev.Effect = event.Blocked
	ev.Message = fmt.Sprintf("%s was not started: its policy says whenBlind: Closed, and %s", c.Workload, why)
	a.deps.Record(ev)
	return fmt.Errorf("%w: %s", ErrNotCovered, why)
}

// prepare does the work of Prepare. It goes on when nobody waits any more: the
// plan is then in force a little after the start.
func (a *Agent) prepare(ctx context.Context, q asked) {
	defer close(q.done)
	a.adopt(ctx, q.c, guard.Start{PID: q.c.PID, CgroupID: q.c.CgroupID, Held: true, Time: q.began}, byNRI)
}
