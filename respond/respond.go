// Package respond acts on what happens: a ResponsePolicy says when (CEL over
// the event) and what (tell someone, quarantine, pause or kill a container).
//
// It does not decide what a container may do; policy and guard do, before
// anything happens. The one idea: an action is an event like any other, with
// who did it, what came of it, and a token that undoes it where that is
// possible. Events that come of actions never lead to actions.
package respond

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Mechanism marks the events that this package makes.
const Mechanism = "respond"

// Containment acts on containers. Its errors wrap ErrGone when the container
// does not exist any more. Every call may be repeated.
type Containment interface {
	// Quarantine cuts (on) or restores (off) all network of the container.
	Quarantine(ctx context.Context, containerID string, on bool) error
	// Pause freezes (on) or thaws (off) its processes.
	Pause(ctx context.Context, containerID string, on bool) error
	// Kill ends its processes.
	Kill(ctx context.Context, containerID string) error
}

// Sink takes events to someone, without ever blocking; see respond/sink.
type Sink interface {
	Deliver(event.Event)
	Close() error
}

// Config describes an Engine. Zero fields get defaults.
type Config struct {
	Node string
	// MaxAge is how old an event may be to be acted on; older ones (from a
	// backlog after an outage) are left alone. Default 10 minutes.
	MaxAge time.Duration
	// Bound is how long one act of containment may take. Default 10 s.
	Bound time.Duration
}

// Deps are what an Engine works with. Nil fields mean that the machine cannot
// do it; actions that need it fail and say so.
type Deps struct {
	Log         *slog.Logger
	Now         func() time.Time
	Containment Containment
	// Sinks opens the sink of a notify action. lost is to be called after an
	// event could not be delivered, with the number lost so far.
	Sinks func(a v1alpha1.NotifyAction, lost func(name string, total uint64, cause error)) (Sink, error)
	// Emit records an event. It must return at once.
	Emit func(event.Event)
	// Lookup finds a container by its identifier, for selectors.
	Lookup func(containerID string) (workload.Container, bool)
	// State keeps what is in force, so that it can be undone after a restart.
	State State
}

// Engine applies response policies. Make one with New.
type Engine struct {
	cfg  Config
	deps Deps

	mu       sync.Mutex // guards the rest but contained
	policies []*rule
	sinks    map[string]Sink // by the JSON of their action
	seen     *recent         // policy and event ID -> last count acted on
	acts     uint64
	began    time.Time
	closing  sync.WaitGroup // sinks that are delivering their last events

	contained
}

// rule is a policy ready to be applied.
type rule struct {
	id        string // "ResponsePolicy/shop/page"
	namespace string // "" means every namespace
	spec      v1alpha1.ResponsePolicySpec
	protect   bool
	selector  *workload.Selector
	match     *matcher
	limiter   limiter
	held      uint64 // matches held back by the limit since it last acted
	faults    uint64 // evaluations that failed
	lastFault time.Time
}

// New makes an Engine without policies.
func New(cfg Config, deps Deps) (*Engine, error) {
	if deps.Emit == nil {
		return nil, errors.New("make response engine: it needs a way to emit events")
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 10 * time.Minute
	}
	if cfg.Bound == 0 {
		cfg.Bound = 10 * time.Second
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Engine{cfg: cfg, deps: deps, sinks: map[string]Sink{}, seen: newRecent(1 << 14), began: deps.Now(), contained: newContained()}, nil
}

// Default rate limit of a policy that has none.
const (
	defaultPerMinute = 60
	defaultBurst     = 10
)

// SetPolicies replaces all policies, or none when one of them is wrong.
// Policies that did not change keep their rate limits.
func (e *Engine) SetPolicies(list []*v1alpha1.ResponsePolicy) error {
	var errs []error
	fresh := make([]*rule, 0, len(list))
	for _, p := range list {
		r, err := newRule(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fresh = append(fresh, r)
	}
	if len(errs) > 0 {
		return fmt.Errorf("set response policies: %w", errors.Join(errs...))
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	sinks, opened := map[string]Sink{}, map[string]Sink{}
	for _, r := range fresh {
		for _, a := range r.spec.Actions {
			if a.Notify == nil {
				continue
			}
			key := sinkKey(*a.Notify)
			if sinks[key] == nil {
				sinks[key] = e.sinks[key]
			}
			if sinks[key] != nil {
				continue
			}
			s, err := e.openSink(*a.Notify)
			if err != nil {
				for _, o := range opened {
					e.retire(o)
				}
				return fmt.Errorf("set response policies: %s: %w", r.id, err)
			}
			sinks[key], opened[key] = s, s
		}
	}
	for key, s := range e.sinks {
		if sinks[key] == nil {
			e.retire(s)
		}
	}
	e.sinks = sinks
	for _, r := range fresh {
		for _, old := range e.policies {
			if old.id == r.id && old.limiter.limit == r.limiter.limit {
				r.limiter, r.held, r.faults, r.lastFault = old.limiter, old.held, old.faults, old.lastFault
			}
		}
	}
	e.policies = fresh
	return nil
}

func newRule(p *v1alpha1.ResponsePolicy) (*rule, error) {
	id := "ResponsePolicy/" + p.Name
	if p.Namespace != "" {
		id = "ResponsePolicy/" + p.Namespace + "/" + p.Name
	}
	m, err := compile(p.Spec.Match)
	if err != nil {
		return nil, fmt.Errorf("%s: spec.match: %w", id, err)
	}
	for i, a := range p.Spec.Actions {
		if a.Quarantine == nil || a.Quarantine.For == "" {
			continue
		}
		if d, err := time.ParseDuration(a.Quarantine.For); err != nil || d <= 0 {
			return nil, fmt.Errorf("%s: spec.actions[%d].quarantine.for: %q is no duration", id, i, a.Quarantine.For)
		}
	}
	r := &rule{id: id, namespace: p.Namespace, spec: p.Spec, protect: p.Spec.Mode == v1alpha1.Protect, match: m}
	if p.Spec.Selector != nil {
		s := p.Spec.Selector.Selector()
		r.selector = &s
	}
	r.limiter = limiter{limit{defaultPerMinute, defaultBurst}, map[string]*bucket{}}
	if l := p.Spec.RateLimit; l != nil {
		r.limiter.limit = limit{float64(l.PerMinute), float64(l.Burst)}
		if l.Burst == 0 {
			r.limiter.burst = float64(l.PerMinute)
		}
	}
	return r, nil
}

func sinkKey(a v1alpha1.NotifyAction) string {
	data, err := json.Marshal(a)
	if err != nil { // three structs of strings
		return fmt.Sprintf("%+v", a)
	}
	return string(data)
}

func (e *Engine) openSink(a v1alpha1.NotifyAction) (Sink, error) {
	if e.deps.Sinks == nil {
		return nil, errors.New("notifications are not possible here")
	}
	return e.deps.Sinks(a, e.lost)
}

// retire lets a sink deliver what it has, in the background. mu is held.
func (e *Engine) retire(s Sink) {
	e.closing.Go(func() {
		if err := s.Close(); err != nil {
			e.deps.Log.Warn("sink does not close well", "cause", err)
		}
	})
}

// lost records that notifications were not delivered: one cause per sink.
func (e *Engine) lost(name string, total uint64, cause error) {
	now := e.deps.Now().UTC()
	e.deps.Emit(event.Event{
		ID: e.hash("lost", name), Kind: event.AgentLoss, First: e.began.UTC(), Last: now, Count: total, Severity: event.High,
		Message: fmt.Sprintf("%d notifications could not be delivered to %s: %v.", total, name, cause),
		Node:    e.cfg.Node, Mechanism: Mechanism, Actor: Mechanism, Evidence: map[string]string{"sink": name, "cause": cause.Error()},
	})
}

// hash makes an ID that is the same for the same parts in one run of the engine.
func (e *Engine) hash(parts ...string) string {
	h := sha256.Sum256([]byte(fmt.Sprintf("%s\x00%d\x00%s", e.cfg.Node, e.began.UnixNano(), strings.Join(parts, "\x00"))))
	return fmt.Sprintf("respond-%x", h[:12])
}

// Close delivers what sinks still hold and waits for them. Containment in
// force stays.
func (e *Engine) Close() error {
	e.mu.Lock()
	for _, s := range e.sinks {
		e.retire(s)
	}
	e.sinks, e.policies = map[string]Sink{}, nil
	e.mu.Unlock()
	e.closing.Wait()
	return nil
}

// Handle applies every policy to ev.
//
// An event that came again (same ID, same count) is not looked at twice. One
// whose count has grown is not a new match: it is acted on again only while the
// rate limit is untouched, so that repeats never use up what new causes need.
// Events of this package, events that a quarantine made and events older than
// Config.MaxAge are left alone.
func (e *Engine) Handle(ctx context.Context, ev event.Event) {
	if ev.Kind == event.ContainerStop {
		e.forget(ctx, ev.ContainerID)
	}
	if e.ownDoing(ev) || e.deps.Now().Sub(ev.Last) > e.cfg.MaxAge {
		return
	}
	view := viewOf(&ev)
	e.mu.Lock()
	policies := slices.Clone(e.policies)
	e.mu.Unlock()
	for _, r := range policies {
		if r.inReach(&ev, e.deps.Lookup) && e.says(ctx, r, view) {
			e.act(ctx, r, ev)
		}
	}
}

// ownDoing says that an action of ours led to ev.
func (e *Engine) ownDoing(ev event.Event) bool {
	return ev.Kind == event.ResponseAction || ev.Mechanism == Mechanism ||
		slices.Contains(ev.Reasons, "quarantine") ||
		ev.Kind == event.ContainerStop && e.killed(ev.ContainerID)
}

// inReach says that the policy's namespace and selector cover the event.
func (r *rule) inReach(ev *event.Event, lookup func(string) (workload.Container, bool)) bool {
	if r.namespace != "" && r.namespace != ev.Workload.Namespace {
		return false
	}
	if r.selector == nil {
		return true
	}
	if ev.ContainerID == "" {
		return false
	}
	// A container that is gone is known by what the event says of it.
	c := workload.Container{ID: ev.ContainerID, Name: ev.Container, Image: ev.Image, Workload: ev.Workload, Node: ev.Node}
	if lookup != nil {
		if known, ok := lookup(ev.ContainerID); ok {
			c = known
		}
	}
	return r.selector.Matches(&c)
}

// says evaluates the rule's expression. One that fails says no, and the first
// failure and one a minute become an event.
func (e *Engine) says(ctx context.Context, r *rule, v *View) bool {
	yes, err := r.match.matches(ctx, v)
	if err == nil {
		return yes
	}
	now := e.deps.Now()
	e.mu.Lock()
	r.faults++
	n, tell := r.faults, now.Sub(r.lastFault) >= time.Minute
	if tell {
		r.lastFault = now
	}
	e.mu.Unlock()
	if tell && ctx.Err() == nil {
		e.deps.Emit(event.Event{
			ID: e.hash("fault", r.id), Kind: event.AgentHealth, First: e.began.UTC(), Last: now.UTC(), Count: n, Severity: event.High,
			Message: fmt.Sprintf("%s could not judge an event: %v.", r.id, err),
			Node:    e.cfg.Node, Rule: &event.RuleRef{Policy: r.id, Field: "spec.match"}, Mechanism: Mechanism, Actor: Mechanism,
			Evidence: map[string]string{"event": v.ID, "cause": err.Error()},
		})
	}
	return false
}

// act does what the policy says, within its rate limit.
func (e *Engine) act(ctx context.Context, r *rule, ev event.Event) {
	e.mu.Lock()
	key := r.id + "\x00" + ev.ID
	count, again := e.seen.get(key)
	if again && ev.Count <= count {
		e.mu.Unlock()
		return // delivered twice
	}
	e.seen.put(key, ev.Count)
	spare := 0.0
	if again {
		spare = 1
	}
	if !r.limiter.take(ev.Workload.String(), e.deps.Now(), spare) {
		if !again {
			r.held++
		}
		e.mu.Unlock()
		return
	}
	held := r.held
	r.held = 0
	e.mu.Unlock()

	for i, a := range r.spec.Actions {
		d := deed{actor: r.id, rule: &event.RuleRef{Policy: r.id, Field: fmt.Sprintf("spec.actions[%d]", i)}, cause: &ev, held: held, mode: v1alpha1.Monitor,
			target: target{ContainerID: ev.ContainerID, Container: ev.Container, Image: ev.Image, Workload: ev.Workload}}
		if r.protect {
			d.mode = v1alpha1.Protect
		}
		switch {
		case a.Notify != nil:
			e.notify(d, *a.Notify)
		case a.Quarantine != nil:
			if d.For, _ = time.ParseDuration(a.Quarantine.For); a.Quarantine.For == "" {
				d.For = 0
			}
			_, _ = e.contain(ctx, Quarantine, d) // the outcome is in the event
		case a.Pause != nil:
			_, _ = e.contain(ctx, Pause, d)
		case a.Kill != nil:
			_, _ = e.contain(ctx, Kill, d)
		}
	}
}

func (e *Engine) notify(d deed, a v1alpha1.NotifyAction) {
	e.mu.Lock()
	s := e.sinks[sinkKey(a)]
	e.mu.Unlock()
	switch {
	case d.mode != v1alpha1.Protect:
		e.report(Notify, d, WouldDo, "", nil)
	case s == nil:
		e.report(Notify, d, Failed, "", errors.New("the policy was removed meanwhile"))
	default:
		s.Deliver(*d.cause)
		e.report(Notify, d, Queued, "", nil)
	}
}
