package respond

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Errors that callers match with errors.Is.
var (
	// ErrNotActive: there is nothing in force by that token or for that container.
	ErrNotActive = errors.New("nothing to undo")
	// ErrGone is wrapped by Containment when the container does not exist any more.
	ErrGone = errors.New("container is gone")
	// ErrNotPossible: this machine cannot do that.
	ErrNotPossible = errors.New("not possible here")
)

// Action is what can be done.
type Action string

// Actions. Quarantine and Pause can be undone.
const (
	Notify     Action = "notify"
	Quarantine Action = "quarantine"
	Pause      Action = "pause"
	Kill       Action = "kill"
)

// Outcomes of an action, in the event's Evidence under "outcome".
const (
	Done    = "done"
	Queued  = "queued"   // handed to a sink, which reports what it cannot deliver
	WouldDo = "would-do" // the policy is in mode Monitor
	InForce = "in-force" // it was so already; a longer end was taken over
	Failed  = "failed"
	Undone  = "undone"
	Ended   = "ended" // by itself: its time was up, or the container is gone
)

// State keeps one small document. Load gives nil when there is none.
type State interface {
	Load(ctx context.Context) ([]byte, error)
	Save(ctx context.Context, doc []byte) error
}

// Active is an action in force.
type Active struct {
	// Token undoes it; it is the ID of the event that tells of it.
	Token       string       `json:"token"`
	Action      Action       `json:"action"`
	ContainerID string       `json:"containerID"`
	Container   string       `json:"container,omitempty"`
	Image       string       `json:"image,omitempty"`
	Workload    workload.Ref `json:"workload"`
	Actor       string       `json:"actor"` // a policy or a person
	Since       time.Time    `json:"since"`
	Until       time.Time    `json:"until,omitzero"` // zero: until someone undoes it
}

// target is the container acted on.
type target struct {
	ContainerID, Container, Image string
	Workload                      workload.Ref
}

// deed is one action about to be done.
type deed struct {
	target
	actor string
	rule  *event.RuleRef
	cause *event.Event // nil when a person asked for it
	mode  v1alpha1.Mode
	held  uint64
	For   time.Duration
}

// contained is the part of the Engine that knows what is in force.
type contained struct {
	cmu    sync.Mutex // one act of containment at a time; guards the rest
	loaded bool
	active []Active
	dead   *recent       // containers that were killed here
	moved  chan struct{} // holds one token after active changed
}

func newContained() contained {
	return contained{dead: newRecent(1000), moved: make(chan struct{}, 1)}
}

// Active lists what is in force, oldest first.
func (e *Engine) Active(ctx context.Context) []Active {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	e.load(ctx)
	return slices.Clone(e.active)
}

// Act does something to a container because a person asked for it. The event
// that was recorded is returned, also when the action failed.
func (e *Engine) Act(ctx context.Context, a Action, c workload.Container, actor string, d time.Duration) (event.Event, error) {
	if a != Quarantine && a != Pause && a != Kill {
		return event.Event{}, fmt.Errorf("act on container %s: there is no action %q", c.Short(), a)
	}
	return e.contain(ctx, a, deed{target: target{c.ID, c.Name, c.Image, c.Workload}, actor: actor, mode: v1alpha1.Protect, For: d})
}

// Undo ends the action with that token. It returns the event that tells of it.
func (e *Engine) Undo(ctx context.Context, token, actor string) (event.Event, error) {
	return e.undo(ctx, actor, func(a Active) bool { return a.Token == token })
}

// Release ends a container's quarantine or pause, whoever began it.
func (e *Engine) Release(ctx context.Context, a Action, containerID, actor string) (event.Event, error) {
	return e.undo(ctx, actor, func(x Active) bool { return x.Action == a && x.ContainerID == containerID })
}

func (e *Engine) undo(ctx context.Context, actor string, which func(Active) bool) (event.Event, error) {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	e.load(ctx)
	i := slices.IndexFunc(e.active, which)
	if i < 0 {
		return event.Event{}, fmt.Errorf("undo action: %w", ErrNotActive)
	}
	return e.finish(ctx, e.active[i], actor, Undone)
}

// finish ends an action in force. cmu is held.
func (e *Engine) finish(ctx context.Context, a Active, actor, outcome string) (event.Event, error) {
	d := deed{target: target{a.ContainerID, a.Container, a.Image, a.Workload}, actor: actor, mode: v1alpha1.Protect}
	err := e.apply(ctx, a.Action, a.ContainerID, false)
	if err != nil && !errors.Is(err, ErrGone) {
		return e.report(a.Action, d, Failed, a.Token, fmt.Errorf("end it: %w", err)), fmt.Errorf("undo %s of %s: %w", a.Action, a.Container, err)
	}
	e.active = slices.DeleteFunc(e.active, func(x Active) bool { return x.Token == a.Token })
	e.save(ctx)
	return e.report(a.Action, d, outcome, a.Token, nil), nil
}

// contain does one act of containment. What is to be in force is written down
// before it is done, so that a crash between the two leaves nothing that cannot
// be undone.
func (e *Engine) contain(ctx context.Context, a Action, d deed) (event.Event, error) {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	e.load(ctx)
	if d.ContainerID == "" {
		err := errors.New("the event belongs to no container")
		return e.report(a, d, Failed, "", err), fmt.Errorf("%s: %w", a, err)
	}
	if d.mode != v1alpha1.Protect {
		return e.report(a, d, WouldDo, "", nil), nil
	}
	now := e.deps.Now().UTC()
	entry := Active{Token: e.token(a, d), Action: a, ContainerID: d.ContainerID, Container: d.Container, Image: d.Image, Workload: d.Workload, Actor: d.actor, Since: now}
	if d.For > 0 {
		entry.Until = now.Add(d.For)
	}
	if i := slices.IndexFunc(e.active, func(x Active) bool { return x.Action == a && x.ContainerID == d.ContainerID }); i >= 0 {
		was := e.active[i]
		longer := !was.Until.IsZero() && (entry.Until.IsZero() || entry.Until.After(was.Until))
		if longer {
			e.active[i].Until = entry.Until
			e.save(ctx)
		}
		if !longer && d.cause != nil {
			return event.Event{}, nil // nothing was done: an attack that goes on is no news
		}
		return e.report(a, d, InForce, e.active[i].Token, nil), nil
	}
	if a != Kill {
		e.active = append(e.active, entry)
		e.save(ctx)
	} else {
		e.dead.put(d.ContainerID, 1)
	}
	if err := e.apply(ctx, a, d.ContainerID, true); err != nil {
		if a != Kill {
			e.active = slices.DeleteFunc(e.active, func(x Active) bool { return x.Token == entry.Token })
			e.save(ctx)
		}
		return e.report(a, d, Failed, "", err), fmt.Errorf("%s %s: %w", a, d.Container, err)
	}
	if a == Kill {
		return e.report(a, d, Done, "", nil), nil
	}
	return e.report(a, d, Done, entry.Token, nil), nil
}

// apply calls Containment, for at most Config.Bound.
func (e *Engine) apply(ctx context.Context, a Action, containerID string, on bool) error {
	c := e.deps.Containment
	if c == nil {
		return ErrNotPossible
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Bound)
	defer cancel()
	switch a {
	case Quarantine:
		return c.Quarantine(ctx, containerID, on)
	case Pause:
		return c.Pause(ctx, containerID, on)
	case Kill:
		return c.Kill(ctx, containerID)
	}
	return ErrNotPossible
}

func (e *Engine) killed(containerID string) bool {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	_, yes := e.dead.get(containerID)
	return yes
}

// forget drops what is in force for a container that has stopped.
func (e *Engine) forget(ctx context.Context, containerID string) {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	e.load(ctx)
	n := len(e.active)
	e.active = slices.DeleteFunc(e.active, func(a Active) bool { return a.ContainerID == containerID })
	if len(e.active) != n {
		e.save(ctx)
	}
}

// token names an action; it becomes the ID of its event. cmu is held.
func (e *Engine) token(a Action, d deed) string {
	e.mu.Lock()
	e.acts++
	n := e.acts
	e.mu.Unlock()
	return e.hash("act", string(a), d.ContainerID, d.actor, fmt.Sprint(n))
}

// report records an action as an event and returns it.
func (e *Engine) report(a Action, d deed, outcome, token string, err error) event.Event {
	now := e.deps.Now().UTC()
	ev := event.Event{
		ID: token, Kind: event.ResponseAction, First: now, Last: now, Count: 1, Severity: event.Medium, Effect: event.Observed, Mode: string(d.mode),
		Node: e.cfg.Node, Workload: d.Workload, ContainerID: d.ContainerID, Container: d.Container, Image: d.Image,
		Rule: d.rule, Mechanism: Mechanism, Actor: d.actor, Evidence: map[string]string{"action": string(a), "outcome": outcome},
	}
	if outcome != Done || token == "" {
		ev.ID = e.token(a, d) // the token belongs to the event that began it
	}
	if outcome == Done && token != "" || outcome == InForce {
		ev.Evidence["undo"] = token
	}
	if outcome == Undone || outcome == Ended {
		ev.Evidence["undid"] = token
	}
	switch {
	case err != nil || a == Kill && outcome == Done:
		ev.Severity = event.High
	case a == Notify || outcome == InForce:
		ev.Severity = event.Info
	}
	if err != nil {
		ev.Evidence["error"] = err.Error()
	}
	if d.cause != nil {
		ev.Evidence["cause"] = d.cause.ID
		ev.Technique = d.cause.Technique
	}
	if d.held > 0 {
		ev.Evidence["held"] = fmt.Sprint(d.held) // matches that the rate limit held back before this one
	}
	if d.For > 0 {
		ev.Evidence["for"] = d.For.String()
	}
	ev.Message = sentence(a, d, outcome, err)
	e.deps.Emit(ev)
	return ev
}

// sentence tells of an action in words.
func sentence(a Action, d deed, outcome string, err error) string {
	who := d.Container
	if who == "" && len(d.ContainerID) > 12 {
		who = d.ContainerID[:12]
	}
	if !d.Workload.IsZero() {
		who = d.Workload.String()
	}
	verb := map[Action][2]string{
		Notify: {"notify someone", "Notified"}, Quarantine: {"quarantine " + who, "Quarantined " + who},
		Pause: {"pause " + who, "Paused " + who}, Kill: {"kill " + who, "Killed " + who},
	}[a]
	why := "."
	if d.cause != nil {
		why = ": " + d.cause.Message
	}
	span := ""
	if d.For > 0 {
		span = " for " + d.For.String()
	}
	switch outcome {
	case WouldDo:
		return "Would " + verb[0] + span + why
	case Failed:
		return fmt.Sprintf("Could not %s: %v.", verb[0], err)
	case InForce:
		return fmt.Sprintf("Had %s already%s", lower(verb[1]), why)
	case Undone:
		return fmt.Sprintf("Ended the %s of %s (%s).", a, who, d.actor)
	case Ended:
		return fmt.Sprintf("The %s of %s has ended by itself.", a, who)
	case Queued:
		return "Notified of" + why
	}
	return verb[1] + span + why
}

func lower(s string) string { return string(s[0]|0x20) + s[1:] }

// load reads what was in force before a restart, once. cmu is held.
func (e *Engine) load(ctx context.Context) {
	if e.loaded || e.deps.State == nil {
		e.loaded = true
		return
	}
	doc, err := e.deps.State.Load(ctx)
	if err == nil && doc != nil {
		var kept []Active
		if err = json.Unmarshal(doc, &kept); err == nil {
			e.active = append(kept, e.active...)
		}
	}
	if err != nil {
		// Tried again at the next act: what is in force must not be forgotten.
		e.deps.Log.Error("can not read which actions are in force", "cause", err)
		return
	}
	e.loaded = true
}

// save writes down what is in force and wakes Run. cmu is held.
func (e *Engine) save(ctx context.Context) {
	select {
	case e.moved <- struct{}{}:
	default:
	}
	if e.deps.State == nil || !e.loaded {
		return
	}
	doc, err := json.Marshal(e.active)
	if err == nil {
		err = e.deps.State.Save(context.WithoutCancel(ctx), doc)
	}
	if err != nil {
		e.deps.Log.Error("can not write down which actions are in force; they could not be undone after a restart", "cause", err)
	}
}

// retryEnd is how long Run waits when an action could not be ended.
const retryEnd = 30 * time.Second

// Run puts in force again what was in force before a restart, and ends what has
// an end, until ctx ends. Sinks are closed at the end.
func (e *Engine) Run(ctx context.Context) error {
	e.renew(ctx)
	for {
		next := e.expire(ctx)
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-e.moved:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return e.Close()
		}
	}
}

// renew applies every action in force once more.
func (e *Engine) renew(ctx context.Context) {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	e.load(ctx)
	for _, a := range slices.Clone(e.active) {
		err := e.apply(ctx, a.Action, a.ContainerID, true)
		switch {
		case errors.Is(err, ErrGone):
			e.active = slices.DeleteFunc(e.active, func(x Active) bool { return x.Token == a.Token })
			e.save(ctx)
		case err != nil:
			d := deed{target: target{a.ContainerID, a.Container, a.Image, a.Workload}, actor: a.Actor, mode: v1alpha1.Protect}
			e.report(a.Action, d, Failed, a.Token, fmt.Errorf("put it in force again after a restart: %w", err))
		}
	}
}

// expire ends what is due and says how long until the next is.
func (e *Engine) expire(ctx context.Context) time.Duration {
	e.cmu.Lock()
	defer e.cmu.Unlock()
	now := e.deps.Now()
	next := time.Hour
	for _, a := range slices.Clone(e.active) {
		if a.Until.IsZero() {
			continue
		}
		if left := a.Until.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		if _, err := e.finish(ctx, a, a.Actor, Ended); err != nil {
			e.deps.Log.Error("an action can not be ended", "action", a.Action, "container", a.ContainerID, "cause", err)
			next = min(next, retryEnd)
		}
	}
	return next
}
