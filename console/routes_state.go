package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

// requestOf gives the request behind a huma context.
func requestOf(ctx huma.Context) *http.Request {
	r, _ := humago.Unwrap(ctx)
	return r
}

// OverviewAnswer is the node's state and what the store knows besides.
type OverviewAnswer struct {
	Overview
	Store store.Stats `json:"store"`
	// StoreProblem says why Store is empty.
	StoreProblem string    `json:"storeProblem,omitempty"`
	Now          time.Time `json:"now" doc:"The server's clock"`
}

// PageInput bounds an answer that is a list.
type PageInput struct {
	Limit  int `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Offset int `query:"offset" minimum:"0" default:"0"`
}

// List is one page of a list.
type List[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total" doc:"Items that match, on all pages"`
}

func page[T any](all []T, in PageInput) List[T] {
	from := min(in.Offset, len(all))
	to := min(from+in.Limit, len(all))
	return List[T]{Items: slices.Clone(all[from:to]), Total: len(all)}
}

// lastDay is the window of the counts shown beside workloads and policies.
const lastDay = 24 * time.Hour

func (s *Server) stateRoutes(r *registrar) {
	route(r, r.op("get-overview", "State", "The node at one glance"), "read the overview",
		func(ctx context.Context, _ *struct{}) (*body[OverviewAnswer], error) {
			o, err := s.deps.Platform.Overview(ctx)
			if err != nil {
				return nil, err
			}
			out := OverviewAnswer{Overview: o, Now: s.deps.Now().UTC()}
			// A store in trouble must not hide the state of protection.
			if out.Store, err = s.deps.Store.Stats(ctx); err != nil {
				s.deps.Log.Warn("cannot read the store's figures", "cause", err)
				out.StoreProblem = "The event store does not answer; see the log of Gabion."
			}
			return &body[OverviewAnswer]{out}, nil
		})

	type listInput struct {
		PageInput
		Text  string `query:"q" maxLength:"200" doc:"In namespace, name, image or policy"`
		State string `query:"state" enum:"enforced,monitored,learning,blind,idle"`
	}
	route(r, r.op("list-workloads", "State", "Workloads of this node"), "list workloads",
		func(ctx context.Context, in *listInput) (*body[List[Workload]], error) {
			all, err := s.deps.Platform.Workloads(ctx)
			if err != nil {
				return nil, err
			}
			text := strings.ToLower(in.Text)
			all = slices.DeleteFunc(slices.Clone(all), func(w Workload) bool {
				if in.State != "" && w.State != in.State {
					return true
				}
				hay := strings.ToLower(w.Ref.String() + " " + strings.Join(w.Images, " ") + " " + strings.Join(w.Policies, " "))
				return !strings.Contains(hay, text)
			})
			slices.SortFunc(all, func(a, b Workload) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
			blocked, would := s.dayCounts(ctx, store.Query{})
			for i := range all {
				all[i].Blocked, all[i].WouldBlock = blocked[all[i].Ref.String()], would[all[i].Ref.String()]
			}
			return &body[List[Workload]]{page(all, in.PageInput)}, nil
		})

	type oneInput struct {
		Namespace string `path:"namespace" maxLength:"253"`
		Name      string `path:"name" maxLength:"253"`
	}
	route(r, r.op("get-workload", "State", "One workload: containers, profile, policy explained", 404), "read the workload",
		func(ctx context.Context, in *oneInput) (*body[WorkloadDetail], error) {
			d, err := s.deps.Platform.Workload(ctx, in.Namespace, in.Name)
			if err != nil {
				return nil, err
			}
			blocked, would := s.dayCounts(ctx, store.Query{Namespace: in.Namespace, Workload: in.Name})
			d.Blocked, d.WouldBlock = blocked[d.Ref.String()], would[d.Ref.String()]
			return &body[WorkloadDetail]{d}, nil
		})

	route(r, r.op("learn-policy", "Policies", "A policy written from what the workload does", 404), "write a policy",
		func(ctx context.Context, in *oneInput) (*body[Document], error) {
			yaml, err := s.deps.Platform.Learn(ctx, in.Namespace, in.Name)
			return &body[Document]{Document{YAML: string(yaml)}}, err
		})
}

// dayCounts sums the last day's blocked and would-block happenings by
// workload. A store in trouble gives none: the list itself matters more.
func (s *Server) dayCounts(ctx context.Context, q store.Query) (blocked, would map[string]uint64) {
	q.Since = s.deps.Now().Add(-lastDay)
	q.Kinds = decisions()
	sum := func(effects ...event.Effect) map[string]uint64 {
		q.Effects = effects
		buckets, err := s.deps.Store.Counts(ctx, store.CountQuery{Query: q, By: "workload"})
		if err != nil {
			s.deps.Log.Warn("cannot count events by workload", "cause", err)
		}
		out := map[string]uint64{}
		for _, b := range buckets {
			out[b.Key] += b.Count
		}
		return out
	}
	return sum(event.Blocked), sum(event.WouldBlock, event.NotBlocked)
}

// parseTime reads RFC 3339, or a duration ("10m", "24h") as that long ago.
func (s *Server) parseTime(name, v string) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, v); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(v); err == nil && d >= 0 {
		return s.deps.Now().Add(-d), nil
	}
	return time.Time{}, problem(http.StatusUnprocessableEntity, "refused",
		fmt.Sprintf("%s=%q is neither a time (2026-01-02T15:04:05Z) nor a duration (10m, 24h).", name, clip(v, 50)))
}
