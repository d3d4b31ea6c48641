package console

import (
	"context"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/fleet/store"
)

// Document is a text of the policy language.
type Document struct {
	YAML string `json:"yaml" maxLength:"1000000"`
}

type PolicyPath struct {
	ID string `path:"id" maxLength:"512" doc:"Escaped: WorkloadPolicy%2Fshop%2Fcheckout"`
}

type documentInput struct {
	Body Document
}

func (s *Server) policyRoutes(r *registrar) {
	p := s.deps.Platform

	type listInput struct {
		PageInput
		Text string `query:"q" maxLength:"200" doc:"In the policy's ID, file or workloads"`
	}
	route(r, r.op("list-policies", "Policies", "Policies in force, and files that were refused"), "list policies",
		func(ctx context.Context, in *listInput) (*body[List[Policy]], error) {
			all, err := p.Policies(ctx)
			if err != nil {
				return nil, err
			}
			text := strings.ToLower(in.Text)
			all = slices.DeleteFunc(slices.Clone(all), func(q Policy) bool {
				return !strings.Contains(strings.ToLower(q.ID+" "+q.File+" "+strings.Join(q.Workloads, " ")), text)
			})
			slices.SortFunc(all, func(a, b Policy) int { return strings.Compare(a.ID, b.ID) })
			out := page(all, in.PageInput)
			for i := range out.Items {
				out.Items[i].Source = ""
				out.Items[i].Hits = s.hits(ctx, out.Items[i].ID)
			}
			return &body[List[Policy]]{out}, nil
		})

	route(r, r.op("get-policy", "Policies", "One policy with its text and status", 404), "read the policy",
		func(ctx context.Context, in *PolicyPath) (*body[Policy], error) {
			q, err := p.Policy(ctx, in.ID)
			if err != nil {
				return nil, err
			}
			q.Hits = s.hits(ctx, q.ID)
			return &body[Policy]{q}, nil
		})

	type forecastInput struct {
		PolicyPath
		Mode string `query:"mode" enum:"Monitor,Protect" default:"Protect"`
	}
	route(r, r.op("forecast-policy", "Policies", "What the policy would have blocked in a mode", 404), "forecast",
		func(ctx context.Context, in *forecastInput) (*body[Forecast], error) {
			f, err := p.Forecast(ctx, in.ID, in.Mode)
			return &body[Forecast]{f}, err
		})

	type lintAnswer struct {
		Problems []Problem `json:"problems"`
	}
	route(r, r.op("lint-policy", "Policies", "Check a document without loading it"), "check the policy",
		func(ctx context.Context, in *documentInput) (*body[lintAnswer], error) {
			problems, err := p.Lint(ctx, []byte(in.Body.YAML))
			return &body[lintAnswer]{lintAnswer{problems}}, err
		})

	type diffAnswer struct {
		Diff string `json:"diff" doc:"Unified text; empty: nothing would change"`
	}
	route(r, r.op("diff-policy", "Policies", "What loading a document would change", 422), "compare the policy",
		func(ctx context.Context, in *documentInput) (*body[diffAnswer], error) {
			d, err := p.Diff(ctx, []byte(in.Body.YAML))
			return &body[diffAnswer]{diffAnswer{d}}, err
		})

	type applyAnswer struct {
		IDs []string `json:"ids"`
	}
	route(r, r.op("apply-policy", "Policies", "Load documents and keep them", 422), "apply the policy",
		func(ctx context.Context, in *documentInput) (*body[applyAnswer], error) {
			who := identity(ctx).Name
			ids, err := p.Apply(ctx, []byte(in.Body.YAML), who)
			if err != nil {
				return nil, err
			}
			s.change(ctx, who, "policy-applied", who+" applied "+strings.Join(ids, ", "), nil)
			return &body[applyAnswer]{applyAnswer{ids}}, nil
		})

	type promoteInput struct {
		PolicyPath
		Body struct {
			Mode string `json:"mode" enum:"Learn,Monitor,Protect"`
		}
	}
	route(r, r.op("promote-policy", "Policies", "Set a policy's mode", 404, 422), "promote the policy",
		func(ctx context.Context, in *promoteInput) (*none, error) {
			who := identity(ctx).Name
			if err := p.Promote(ctx, in.ID, in.Body.Mode, who); err != nil {
				return nil, err
			}
			s.change(ctx, who, "policy-promoted", who+" set "+in.ID+" to "+in.Body.Mode, nil)
			return nil, nil
		})

	route(r, r.op("delete-policy", "Policies", "Remove a policy", 404), "remove the policy",
		func(ctx context.Context, in *PolicyPath) (*none, error) {
			who := identity(ctx).Name
			if err := p.Delete(ctx, in.ID, who); err != nil {
				return nil, err
			}
			s.change(ctx, who, "policy-deleted", who+" removed "+in.ID, nil)
			return nil, nil
		})
}

// hits sums what a policy's rules decided in the last day.
func (s *Server) hits(ctx context.Context, id string) uint64 {
	buckets, err := s.deps.Store.Counts(ctx, store.CountQuery{Query: store.Query{
		Policy: id, Kinds: decisions(), Since: s.deps.Now().Add(-lastDay),
	}})
	if err != nil {
		s.deps.Log.Warn("cannot count events of a policy", "policy", id, "cause", err)
	}
	var n uint64
	for _, b := range buckets {
		n += b.Count
	}
	return n
}
