package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
)

// markKind is the last token of messages that are no events but let Flush know
// how far the store has come.
const markKind = "flush-mark"

// read turns messages into events; marks come back by their names. What is no
// event is counted and left out: it would be no better next time.
func (r *Recorder) read(msgs []bus.Message) (events []event.Event, marks []string) {
	for _, m := range msgs {
		if bus.Match("events.*."+markKind, m.Subject) {
			marks = append(marks, m.ID)
			continue
		}
		var e event.Event
		err := json.Unmarshal(m.Data, &e)
		if err == nil && e.ID == "" {
			err = errors.New("it has no ID")
		}
		if err != nil {
			r.deps.Log.Error("message on the bus is no event", "subject", m.Subject, "seq", m.Seq, "cause", err)
			r.mu.Lock()
			r.stats.Unreadable++
			r.mu.Unlock()
			continue
		}
		events = append(events, e)
	}
	return events, marks
}

// store is the consumer that keeps events.
func (r *Recorder) store(ctx context.Context, msgs []bus.Message) error {
	events, marks := r.read(msgs)
	kept, err := r.deps.Store.Append(ctx, events)
	if err != nil {
		if ctx.Err() == nil {
			r.ill("store", fmt.Sprintf("events wait on the bus, the store takes none: %v", err))
			if errors.Is(err, store.ErrFull) {
				select {
				case r.nudge <- struct{}{}:
				default:
				}
			}
		}
		return err
	}
	r.recovered("store")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Stored += uint64(len(kept))
	for _, e := range kept {
		r.seq = max(r.seq, e.Seq)
	}
	for _, m := range marks {
		if done := r.marks[m]; done != nil {
			close(done)
			delete(r.marks, m)
		}
	}
	if len(kept) > 0 {
		close(r.stored)
		r.stored = make(chan struct{})
	}
	return nil
}

// respond is the consumer that hands events to the responder.
func (r *Recorder) respond(ctx context.Context, msgs []bus.Message) error {
	events, _ := r.read(msgs)
	for _, e := range events {
		r.deps.Respond(ctx, e)
	}
	return ctx.Err()
}

// Flush waits until everything recorded before is in the store.
func (r *Recorder) Flush(ctx context.Context) error {
	for !r.q.idle() {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("flush events: %d still wait for the bus: %w", r.q.len(), err)
		}
	}
	name := r.newID("mark")
	done := make(chan struct{})
	r.mu.Lock()
	r.marks[name] = done
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.marks, name)
		r.mu.Unlock()
	}()
	subject := "events." + bus.Token(r.cfg.Node) + "." + markKind
	if err := r.deps.Bus.Publish(ctx, subject, name, nil); err != nil {
		return fmt.Errorf("flush events: %w", err)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush events: %w", ctx.Err())
	}
}

// Follow calls fn with the stored events that q selects and whose Seq is
// larger than after, in order, and with every later one as it is stored, until
// ctx ends or fn fails. A cause whose count grew comes again. Position and
// limits in q are not looked at. fn gets at most store.MaxPage at once.
func (r *Recorder) Follow(ctx context.Context, after uint64, q store.Query, fn func([]event.Event) error) error {
	q.Cursor, q.Limit = "", store.MaxPage
	for {
		r.mu.Lock()
		stored, upTo := r.stored, r.seq // before the question, so that nothing is missed
		r.mu.Unlock()
		q.AfterSeq = &after
		page, err := r.deps.Store.Events(ctx, q)
		if err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		if n := len(page.Events); n > 0 {
			if err := fn(page.Events); err != nil {
				return err
			}
			after = page.Events[n-1].Seq
		}
		if page.Next != "" {
			continue
		}
		after = max(after, upTo)
		select {
		case <-stored:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pruneLoop applies the retention now and then, and when the disk is full.
func (r *Recorder) pruneLoop(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.PruneEvery)
	defer tick.Stop()
	for {
		if r.cfg.Retention != (store.Retention{}) {
			n, err := r.deps.Store.Prune(ctx, r.cfg.Retention)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				r.ill("retention", fmt.Sprintf("old events can not be removed: %v", err))
			default:
				r.well("retention")
			}
			if n > 0 {
				r.deps.Log.Info("old events removed", "count", n)
			}
		}
		select {
		case <-tick.C:
		case <-r.nudge:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Damaged is the event that tells of a store file set aside (store.Config.OnRecovered).
func Damaged(r store.Recovered) event.Event {
	return event.Event{
		Kind: event.AgentLoss, First: r.Time, Last: r.Time, Count: 1, Severity: event.Critical,
		Message: "Damaged: " + r.String() + ".", Mechanism: "store", Actor: "recorder",
		Evidence: map[string]string{"path": r.Path, "aside": r.Aside, "cause": r.Cause},
	}
}
