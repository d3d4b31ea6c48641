package platform

import (
	"context"
	"errors"
	"fmt"

	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/respond"
)

// containment is the agent in the words of the responder.
type containment struct{ a *agent.Agent }

func (c containment) Quarantine(ctx context.Context, id string, on bool) error {
	return gone(c.a.Quarantine(ctx, id, on))
}

func (c containment) Pause(ctx context.Context, id string, on bool) error {
	return gone(c.a.Pause(ctx, id, on))
}

func (c containment) Kill(ctx context.Context, id string) error { return gone(c.a.Kill(ctx, id)) }

func gone(err error) error {
	if errors.Is(err, agent.ErrNoContainer) {
		return fmt.Errorf("%w: %w", respond.ErrGone, err)
	}
	return err
}

// responses keeps what is in force across restarts.
type responses struct{ s store.Store }

const responseKind, responseName = "response", "active"

func (r responses) Load(ctx context.Context) ([]byte, error) {
	doc, err := r.s.Document(ctx, responseKind, responseName)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return doc, err
}

func (r responses) Save(ctx context.Context, doc []byte) error {
	return r.s.Put(ctx, responseKind, responseName, doc)
}
