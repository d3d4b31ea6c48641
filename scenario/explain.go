package scenario

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// observer reads from the platform's events what became of a step.
type observer struct {
	platform  Platform
	namespace string
	since     time.Time // of the phase
}

// How long an event may take to be readable: longer when it must be there.
const (
	explainWait = 2500 * time.Millisecond
	noticeWait  = 800 * time.Millisecond
	pollEvery   = 100 * time.Millisecond
)

// counts is how often each cause had happened at a moment.
type counts map[string]uint64

func (o *observer) counts(ctx context.Context) (counts, error) {
	events, err := o.events(ctx)
	if err != nil {
		return nil, err
	}
	c := counts{}
	for _, e := range events {
		c[e.ID] = max(c[e.ID], e.Count)
	}
	return c, nil
}

// events gives the phase's events of this namespace.
func (o *observer) events(ctx context.Context) ([]event.Event, error) {
	all, err := o.platform.Events(ctx, o.since)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return slices.DeleteFunc(all, func(e event.Event) bool { return e.Workload.Namespace != o.namespace }), nil
}

// clockSkew allows for the kernel's clock being converted to the wall's.
const clockSkew = 10 * time.Millisecond

// explain waits for the event that belongs to the step: a cause at one of its
// workloads whose count grew while the step went on, with one of the effects,
// and that is about a program the step started or a peer it spoke to. It gives
// the one that came first.
func (o *observer) explain(ctx context.Context, st step, t *trace, before counts, wait time.Duration, effects ...event.Effect) (event.Event, bool, error) {
	deadline := time.Now().Add(wait)
	for {
		events, err := o.events(ctx)
		if err != nil {
			return event.Event{}, false, err
		}
		var best event.Event
		found := false
		for _, e := range events {
			if !slices.Contains(effects, e.Effect) || e.Count <= before[e.ID] || e.Last.Before(t.began.Add(-clockSkew)) {
				continue
			}
			if !slices.Contains(st.where, e.Workload.Name) || !t.concerns(e) {
				continue
			}
			if !found || at(e, before).Before(at(best, before)) {
				best, found = e, true
			}
		}
		if found {
			return best, true, nil
		}
		if time.Now().After(deadline) {
			return event.Event{}, false, nil
		}
		select {
		case <-ctx.Done():
			return event.Event{}, false, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// concerns tells whether the event is about something that the step did.
func (t *trace) concerns(e event.Event) bool {
	switch e.Kind {
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		return slices.ContainsFunc(t.attempts, func(a attempt) bool { return a.started(e) })
	case event.NetworkConnect, event.NetworkAccept:
		return e.Peer != nil && t.peers[e.Peer.Addr.Unmap()]
	case event.NetworkSocket:
		return true
	}
	return false
}

// inMemory is what an attempt starts when it runs a program from memory,
// whatever its name.
const inMemory = "(memory)"

// started tells whether the event is about a program that the attempt started.
func (a attempt) started(e event.Event) bool {
	fileless := e.Kind == event.ProcessFileless || slices.Contains(e.Reasons, "fileless")
	if fileless && slices.Contains(a.programs, inMemory) {
		return true
	}
	names := []string{path.Base(e.Path), e.Evidence["applet"]}
	if e.Process != nil {
		names = append(names, path.Base(e.Process.Exe))
		if len(e.Process.Args) > 0 {
			names = append(names, path.Base(e.Process.Args[0]))
		}
	}
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(a.programs, n) })
}

// at is when the event happened first since before was taken: exactly, when
// its cause is new or happened once more; the last time otherwise.
func at(e event.Event, before counts) time.Time {
	if before[e.ID] == 0 {
		return e.First
	}
	return e.Last
}

// latency is the time from the attempt to the event. Of several attempts it is
// the last one before the event that started the event's program, or for
// connections the last one before it.
func (t *trace) latency(e event.Event, before counts) time.Duration {
	when := at(e, before)
	start := t.began
	network := strings.HasPrefix(string(e.Kind), "network.")
	for _, a := range t.attempts {
		if (network && !a.at.After(when)) || (!network && a.started(e) && !a.at.After(when.Add(clockSkew))) {
			start = a.at
		}
	}
	return max(0, when.Sub(start))
}

// cause says in one line what stopped a step: mechanism, reasons, rule.
func cause(e event.Event) string {
	var b strings.Builder
	b.WriteString(e.Mechanism)
	if e.Mechanism == "" {
		b.WriteString(string(e.Kind))
	}
	if len(e.Reasons) > 0 {
		fmt.Fprintf(&b, ": %s", strings.Join(e.Reasons, ", "))
	}
	if r := e.Rule; r != nil && r.Policy != "" {
		fmt.Fprintf(&b, " (%s %s)", r.Policy, r.Field)
	}
	return b.String()
}
