package console

import (
	"context"

	"github.com/gabion-dev/gabion/event"
)

func (s *Server) actionRoutes(r *registrar) {
	type actionInput struct {
		ID   string `path:"id" maxLength:"128" doc:"The container's identifier"`
		Body struct {
			Action Action `json:"action" enum:"quarantine,release,pause,resume,kill"`
		}
	}
	route(r, r.op("act-on-container", "Actions", "Quarantine, release, pause, resume or kill a container", 404, 409), "act on the container",
		func(ctx context.Context, in *actionInput) (*body[event.Event], error) {
			who := identity(ctx).Name
			e, err := s.deps.Platform.Act(ctx, in.ID, in.Body.Action, who)
			if err != nil {
				return nil, err
			}
			s.change(ctx, who, "acted", who+" asked to "+string(in.Body.Action)+" container "+clip(in.ID, 12), map[string]string{"action": e.ID})
			return &body[event.Event]{e}, nil
		})

	type undoInput struct {
		ID string `path:"id" maxLength:"256" doc:"The event of the action"`
	}
	route(r, r.op("undo-action", "Actions", "Undo an action", 404, 409), "undo the action",
		func(ctx context.Context, in *undoInput) (*none, error) {
			who := identity(ctx).Name
			if err := s.deps.Platform.Undo(ctx, in.ID, who); err != nil {
				return nil, err
			}
			s.change(ctx, who, "undid", who+" undid the action of event "+clip(in.ID, 40), map[string]string{"action": in.ID})
			return nil, nil
		})
}

// decisions are the kinds of events that policy decides.
func decisions() []event.Kind {
	return []event.Kind{"process", "file", "capability", "hardening", "network"}
}
