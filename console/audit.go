package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// change records that someone changed something (or signed in), one event for
// each. A change that was made stays made when the record fails: the log then
// has it at least.
func (s *Server) change(ctx context.Context, actor, reason, message string, evidence map[string]string) {
	now := s.deps.Now().UTC()
	e := event.Event{
		ID: "console-" + randomID(s.deps.Rand), Kind: event.ConsoleAccess, First: now, Last: now, Count: 1,
		Severity: event.Info, Verdict: event.Allow, Effect: event.Observed, Message: message, Node: s.node,
		Reasons: []string{reason}, Mechanism: "console", Evidence: evidence, Actor: actor,
	}
	if err := s.deps.Record(context.WithoutCancel(ctx), e); err != nil {
		s.deps.Log.Error("cannot record a change made in the console", "message", message, "actor", actor, "cause", err)
	}
}

// refusal names a cause: refusals with the same cause are one event that counts.
type refusal struct {
	actor, reason, route, remote string
}

// refusals collects what the gate turned away, so that a flood of bad requests
// costs one event per cause and second, not one each.
type refusals struct {
	now   func() time.Time
	epoch string

	mu     sync.Mutex
	causes map[refusal]*event.Event
	dirty  map[refusal]bool
}

// maxCauses bounds the causes told apart; the rest is counted as one.
const maxCauses = 512

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, epoch: randomID(rand.Reader), causes: map[refusal]*event.Event{}, dirty: map[refusal]bool{}}
}

func (q *refusals) add(node string, c refusal, message string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now().UTC()
	e, ok := q.causes[c]
	if !ok && len(q.causes) >= maxCauses {
		c = refusal{reason: "many"}
		message = fmt.Sprintf("The console refused requests of more than %d kinds", maxCauses)
		e, ok = q.causes[c]
	}
	if !ok {
		e = &event.Event{
			ID: fmt.Sprintf("console-refused-%s-%d", q.epoch, len(q.causes)), Kind: event.ConsoleAccess, First: now,
			Severity: event.Medium, Verdict: event.Deny, Effect: event.Blocked, Message: message, Node: node,
			Reasons: []string{c.reason}, Mechanism: "console", Actor: c.actor,
			Evidence: map[string]string{"route": c.route, "remote": c.remote},
		}
		q.causes[c] = e
	}
	e.Count++
	e.Last = now
	q.dirty[c] = true
}

// take gives the causes that grew since the last call.
func (q *refusals) take() []event.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]event.Event, 0, len(q.dirty))
	for c := range q.dirty {
		out = append(out, *q.causes[c])
	}
	clear(q.dirty)
	return out
}

func (s *Server) flushRefusals(ctx context.Context) {
	for _, e := range s.refusals.take() {
		if err := s.deps.Record(ctx, e); err != nil {
			s.deps.Log.Error("cannot record refused requests", "message", e.Message, "count", e.Count, "cause", err)
		}
	}
}

// refused notes a refusal for the audit trail.
func (s *Server) refused(r *http.Request, actor, reason, message string) {
	s.refusals.add(s.node, refusal{actor: actor, reason: reason, route: r.Method + " " + clip(r.URL.Path, 100), remote: remote(r)}, message)
}

func randomID(rand io.Reader) string {
	raw := make([]byte, 12)
	if _, err := io.ReadFull(rand, raw); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(raw)
}
