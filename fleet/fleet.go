// Package fleet takes what happens on the nodes and keeps it: agents record
// events, the bus carries them, the store keeps them, followers see them live.
//
// It decides nothing about containers; fleet/bus and fleet/store hold the two
// durable parts. The one idea: Record never blocks and never waits for a disk.
// What was recorded waits in a bounded queue until the bus has it on disk, then
// in the bus until the store has it on disk; what had to be dropped is counted
// exactly and becomes an event itself.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
)

// Config describes a Recorder. Zero fields get defaults.
type Config struct {
	// Node names this machine in events and subjects.
	Node string
	// Queue is how many causes may wait for the bus in memory. Default 16,384.
	Queue int
	// Linger is how long the publisher waits for more to come before it writes.
	// Default 5 ms.
	Linger time.Duration
	// Retention bounds the store; it is applied every PruneEvery (default 10
	// minutes) and when the disk is full.
	Retention  store.Retention
	PruneEvery time.Duration
}

// Deps are the parts that a Recorder works with. Bus and Store are required.
type Deps struct {
	Bus   bus.Bus
	Store store.Store
	// Respond, when set, sees every event once it is on the bus, at least once
	// and in order. It must return soon.
	Respond func(context.Context, event.Event)
	// OnHealth, when set, is told why less is done than should be; "" means all
	// is well again.
	OnHealth func(reason string)
	Log      *slog.Logger
	Now      func() time.Time
}

// Stats counts records (not happenings) since the start.
type Stats struct {
	Recorded   uint64 `json:"recorded"`
	Coalesced  uint64 `json:"coalesced"` // replaced by a later record of the same cause before they were written
	Published  uint64 `json:"published"`
	Stored     uint64 `json:"stored"`
	Dropped    uint64 `json:"dropped"`    // no room while the bus took nothing
	Unreadable uint64 `json:"unreadable"` // on the bus, but no event
	Queued     int    `json:"queued"`
	// Degraded says what is not well now; empty when all is.
	Degraded string `json:"degraded,omitempty"`
}

// Recorder is the way of every event into the store.
type Recorder struct {
	cfg  Config
	deps Deps
	q    *queue

	mu     sync.Mutex // guards the rest
	stats  Stats      // what q counts is left out
	ills   map[string]illness
	seq    uint64        // the last one stored
	stored chan struct{} // closed and replaced when something was stored
	marks  map[string]chan struct{}
	nextID uint64
	born   time.Time
	nudge  chan struct{} // asks for pruning now

	lossTold uint64 // losses that were recorded; the publisher's own
}

// New makes a Recorder. Record works at once; Run carries things on.
func New(cfg Config, deps Deps) (*Recorder, error) {
	if deps.Bus == nil || deps.Store == nil {
		return nil, errors.New("make recorder: a bus and a store are needed")
	}
	if cfg.Queue == 0 {
		cfg.Queue = 1 << 14
	}
	if cfg.Linger == 0 {
		cfg.Linger = 5 * time.Millisecond
	}
	if cfg.PruneEvery == 0 {
		cfg.PruneEvery = 10 * time.Minute
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Recorder{
		cfg: cfg, deps: deps, q: newQueue(cfg.Queue, deps.Now),
		ills: map[string]illness{}, stored: make(chan struct{}), marks: map[string]chan struct{}{},
		born: deps.Now(), nudge: make(chan struct{}, 1),
	}, nil
}

// Record takes an event and returns at once. A record of a cause that is still
// waiting replaces it. The caller must not change what e points to afterwards.
// Node is filled in when empty; an event without ID gets one of its own.
func (r *Recorder) Record(e event.Event) { r.record(e, false) }

func (r *Recorder) record(e event.Event, own bool) {
	if e.Node == "" {
		e.Node = r.cfg.Node
	}
	if e.ID == "" {
		e.ID = r.newID(string(e.Kind))
	}
	if e.Last.IsZero() {
		e.Last = r.deps.Now().UTC()
	}
	if e.First.IsZero() {
		e.First = e.Last
	}
	e.Count = max(e.Count, 1)
	r.q.add(e, own)
}

func (r *Recorder) newID(what string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	return fmt.Sprintf("%s-%s-%x-%d", r.cfg.Node, what, r.born.UnixNano(), r.nextID)
}

// Stats gives the counters of this moment.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	s := r.stats
	var why []string
	for _, k := range slices.Sorted(maps.Keys(r.ills)) {
		why = append(why, r.ills[k].why)
	}
	r.mu.Unlock()
	s.Degraded = strings.Join(why, "; ")
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	s.Recorded, s.Coalesced, s.Queued = r.q.recorded, r.q.coalesced, len(r.q.order)
	s.Dropped = r.q.lostSum
	return s
}

// Run publishes, stores and prunes until ctx ends; then it brings what is left
// in the queue onto the bus (for at most five seconds) and returns.
func (r *Recorder) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.publishLoop(ctx) })
	g.Go(func() error { return r.deps.Bus.Consume(ctx, "store", "events.>", r.store) })
	if r.deps.Respond != nil {
		g.Go(func() error { return r.deps.Bus.Consume(ctx, "respond", "events.>", r.respond) })
	}
	g.Go(func() error { return r.pruneLoop(ctx) })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

const batchSize = 1000

func (r *Recorder) publishLoop(ctx context.Context) error {
	pause := 100 * time.Millisecond
	for {
		select {
		case <-r.q.wake:
		case <-ctx.Done():
			return r.lastPublish()
		}
		if r.q.len() < batchSize {
			_ = sleep(ctx, r.cfg.Linger)
		}
		err := r.publish(ctx)
		switch {
		case err == nil:
			pause = 100 * time.Millisecond
			r.recovered("bus")
			r.reportLoss()
		case errors.Is(err, bus.ErrClosed):
			return err
		case ctx.Err() == nil:
			r.ill("bus", fmt.Sprintf("events wait in memory, the bus takes none: %v", err))
			_ = sleep(ctx, pause)
			pause = min(2*pause, 5*time.Second)
		}
	}
}

// lastPublish empties the queue at the end, as far as the bus takes it.
func (r *Recorder) lastPublish() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for r.q.len() > 0 {
		if err := r.publish(ctx); err != nil {
			return fmt.Errorf("stop recorder: %d records are lost: %w", r.q.len(), err)
		}
	}
	return nil
}

func (r *Recorder) publish(ctx context.Context) error {
	batch := r.q.take(batchSize)
	msgs := make([]bus.Message, 0, len(batch))
	for _, e := range batch {
		data, err := json.Marshal(e)
		if err != nil { // cannot happen with the types of Event
			r.deps.Log.Error("event can not be written", "id", e.ID, "cause", err)
			continue
		}
		msgs = append(msgs, bus.Message{Subject: Subject(e), ID: e.ID, Data: data})
	}
	if err := r.deps.Bus.PublishBatch(ctx, msgs); err != nil {
		r.q.putBack(batch)
		return err
	}
	r.q.done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Published += uint64(len(msgs))
	return nil
}

// Subject is where an event travels: "events.<node>.<kind>", the kind's own
// dots kept ("events.n1.process.exec").
func Subject(e event.Event) string {
	parts := strings.Split(string(e.Kind), ".")
	for i := range parts {
		parts[i] = bus.Token(parts[i])
	}
	return "events." + bus.Token(e.Node) + "." + strings.Join(parts, ".")
}

// recovered notes that a part is well again and records for how long it was not.
func (r *Recorder) recovered(part string) {
	was, ok := r.well(part)
	if !ok {
		return
	}
	now := r.deps.Now().UTC()
	r.record(event.Event{
		ID: r.newID("recovered"), Kind: event.AgentHealth, First: was.since.UTC(), Last: now, Count: 1, Severity: event.Medium,
		Message:   fmt.Sprintf("The %s takes events again after %v.", part, now.Sub(was.since).Round(time.Millisecond)),
		Mechanism: part, Actor: "recorder", Evidence: map[string]string{"cause": was.why},
	}, true)
}

// reportLoss records what had to be dropped: one cause whose count grows.
func (r *Recorder) reportLoss() {
	n, byKind, first, last := r.q.lostSince(&r.lossTold)
	if n == 0 {
		return
	}
	evidence := map[string]string{}
	for k, c := range byKind {
		evidence["dropped."+string(k)] = fmt.Sprint(c)
	}
	r.record(event.Event{
		ID: fmt.Sprintf("%s-loss-%x", r.cfg.Node, r.born.UnixNano()), Kind: event.AgentLoss, First: first.UTC(), Last: last.UTC(), Count: n, Severity: event.High,
		Message:   fmt.Sprintf("%d records were dropped since %s because the queue of %d was full while the bus was slow or took none.", n, r.born.UTC().Format(time.RFC3339), r.cfg.Queue),
		Mechanism: "bus", Actor: "recorder", Evidence: evidence,
	}, true)
}

// illness is what a part does not do, and since when.
type illness struct {
	why   string
	since time.Time
}

// ill notes that a part does not do what it should.
func (r *Recorder) ill(part, why string) {
	r.mu.Lock()
	old, known := r.ills[part]
	since := old.since
	if !known {
		since = r.deps.Now()
	}
	r.ills[part] = illness{why, since}
	r.mu.Unlock()
	if old.why != why {
		r.deps.Log.Warn("recorder degraded", "part", part, "cause", why)
		r.tell()
	}
}

// well notes that a part is well again and gives what was wrong.
func (r *Recorder) well(part string) (was illness, ok bool) {
	r.mu.Lock()
	was, ok = r.ills[part]
	delete(r.ills, part)
	r.mu.Unlock()
	if ok {
		r.deps.Log.Info("recorder works again", "part", part)
		r.tell()
	}
	return was, ok
}

func (r *Recorder) tell() {
	if r.deps.OnHealth != nil {
		r.deps.OnHealth(r.Stats().Degraded)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
