package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/scenario"
	"github.com/gabion-dev/gabion/workload"
)

// Scenario is the platform as the re-enactment drives it, from outside. What
// an earlier re-enactment learned is forgotten: each tells its story anew.
func (p *Platform) Scenario(ctx context.Context) (scenario.Platform, error) {
	for _, ns := range scenario.Namespaces() {
		if err := (profiles{p.store}).forget(ctx, ns); err != nil {
			return nil, err
		}
	}
	return actor{p}, nil
}

// Missing says in sentences what cannot be enforced on this machine.
func (p *Platform) Missing() []string {
	var out []string
	if p.kernel.why != nil {
		out = append(out, "processes cannot be enforced: "+p.kernel.why.Error())
	}
	if p.kernel.whyFirewall != nil {
		out = append(out, "connections cannot be enforced: "+p.kernel.whyFirewall.Error())
	}
	return out
}

type actor struct{ p *Platform }

const actorName = "re-enactment"

func (a actor) Apply(ctx context.Context, docs []byte) error {
	_, err := a.p.Apply(ctx, docs, actorName)
	return err
}

func (a actor) Remove(ctx context.Context, ids ...string) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, a.p.Delete(ctx, id, actorName))
	}
	return errors.Join(errs...)
}

// AwaitCovered asks the agent until the container's plan is in force and its
// strictest section has the mode.
func (a actor) AwaitCovered(ctx context.Context, containerID, mode string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	last := "it is not known yet"
	for {
		st, err := a.p.agent.Container(containerID)
		switch {
		case errors.Is(err, agent.ErrNoContainer):
		case err != nil:
			return err
		case !st.Applied:
			last = "its plan is not applied yet"
		case st.Blind != "":
			return fmt.Errorf("cover container %s: %s", st.Container.Short(), st.Blind)
		default:
			have := strictest(st.Plan)
			if have == mode {
				return nil
			}
			last = "its mode is " + have
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until container %.12s is covered in %s: %s: %w", containerID, mode, last, ctx.Err())
		case <-t.C:
		}
	}
}

func strictest(plan *policy.Plan) string {
	mode := v1alpha1.Learn
	if plan != nil {
		for _, m := range []*v1alpha1.Mode{processMode(plan), networkMode(plan)} {
			if m != nil && rank(*m) > rank(mode) {
				mode = *m
			}
		}
	}
	return string(mode)
}

func processMode(p *policy.Plan) *v1alpha1.Mode {
	if p.Process == nil {
		return nil
	}
	return &p.Process.Mode
}

func networkMode(p *policy.Plan) *v1alpha1.Mode {
	if p.Network == nil {
		return nil
	}
	return &p.Network.Mode
}

func rank(m v1alpha1.Mode) int {
	switch m {
	case v1alpha1.Monitor:
		return 1
	case v1alpha1.Protect:
		return 2
	}
	return 0
}

func (a actor) Events(ctx context.Context, since time.Time) ([]event.Event, error) {
	a.p.kernel.flush()
	if err := a.p.recorder.Flush(ctx); err != nil {
		return nil, err
	}
	var out []event.Event
	q := store.Query{Since: since, Limit: store.MaxPage}
	for {
		page, err := a.p.store.Events(ctx, q)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Events...)
		if page.Next == "" {
			return out, nil
		}
		q.Cursor = page.Next
	}
}

func (a actor) LearnPolicy(_ context.Context, ref workload.Ref, mode v1alpha1.Mode) ([]byte, error) {
	a.p.kernel.flush()
	return a.p.learn(ref, mode)
}
