package store

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// Memory is a Store that forgets everything when the process ends: for tests
// and demonstrations. Queries look at every event.
type Memory struct {
	now func() time.Time

	mu     sync.RWMutex
	events map[string]stored
	seq    uint64
	docs   map[[2]string][]byte
	bytes  int64
	closed bool
}

type stored struct {
	event.Event
	size int64
}

var _ Store = (*Memory)(nil)

// NewMemory makes an empty store; now (nil: time.Now) is for retention by age.
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, events: map[string]stored{}, docs: map[[2]string][]byte{}}
}

// Append implements Store.
func (m *Memory) Append(_ context.Context, batch []event.Event) ([]event.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, fmt.Errorf("append: %w", ErrClosed)
	}
	out := make([]event.Event, 0, len(batch))
	for _, e := range batch {
		if e.ID == "" {
			return nil, fmt.Errorf("append: an event (%s) has no ID", e.Kind)
		}
		if old, known := m.events[e.ID]; known {
			var grown bool
			if e, grown = merge(old.Event, e); !grown {
				out = append(out, e)
				continue
			}
		}
		e, data, err := normal(e)
		if err != nil {
			return nil, err
		}
		m.seq++
		e.Seq = m.seq
		m.bytes += int64(len(data)) - m.events[e.ID].size
		m.events[e.ID] = stored{e, int64(len(data))}
		out = append(out, e)
	}
	return out, nil
}

// normal is e as it comes back from a store (times in UTC, nothing shared with
// the caller), and its JSON.
func normal(e event.Event) (event.Event, []byte, error) {
	e.First, e.Last, e.Seq = e.First.UTC(), e.Last.UTC(), 0
	data, err := json.Marshal(e)
	if err != nil {
		return e, nil, fmt.Errorf("append event %s: %w", e.ID, err)
	}
	var back event.Event
	if err := json.Unmarshal(data, &back); err != nil {
		return e, nil, fmt.Errorf("append event %s: %w", e.ID, err)
	}
	return back, data, nil
}

// Event implements Store.
func (m *Memory) Event(_ context.Context, id string) (event.Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.events[id]
	if !ok {
		return event.Event{}, fmt.Errorf("event %s: %w", id, ErrNotFound)
	}
	return e.Event, nil
}

func byTime(a, b event.Event) int {
	return cmp.Or(cmp.Compare(nanos(b.Last), nanos(a.Last)), cmp.Compare(b.Seq, a.Seq))
}

// Events implements Store.
func (m *Memory) Events(_ context.Context, q Query) (Page, error) {
	p, err := newPlan(q)
	if err != nil {
		return Page{}, err
	}
	rows := m.selected(func(e *event.Event) bool {
		switch {
		case p.AfterSeq != nil && e.Seq <= *p.AfterSeq:
			return false
		case p.at != nil && p.at.bySeq && e.Seq <= p.at.seq:
			return false
		case p.at != nil && !p.at.bySeq && byTime(event.Event{Last: time.Unix(0, p.at.last), Seq: p.at.seq}, *e) >= 0:
			return false
		}
		return Matches(q, e)
	})
	if p.AfterSeq != nil {
		slices.SortFunc(rows, func(a, b event.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	} else {
		slices.SortFunc(rows, byTime)
	}
	return p.page(rows), nil
}

func (m *Memory) selected(want func(*event.Event) bool) []event.Event {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var rows []event.Event
	for _, e := range m.events {
		if want(&e.Event) {
			rows = append(rows, e.Event)
		}
	}
	return rows
}

// Counts implements Store.
func (m *Memory) Counts(_ context.Context, q CountQuery) ([]Bucket, error) {
	if err := checkBy(q.By); err != nil {
		return nil, err
	}
	rows := m.selected(func(e *event.Event) bool { return Matches(q.Query, e) })
	if len(rows) == 0 {
		return nil, nil
	}
	from, to := nanos(rows[0].Last), nanos(rows[0].Last)
	for _, e := range rows {
		from, to = min(from, nanos(e.Last)), max(to, nanos(e.Last))
	}
	width := step(q.Step, from, to)
	type slot struct {
		start int64
		key   string
	}
	sums := map[slot]uint64{}
	for _, e := range rows {
		at := nanos(e.Last) / width * width
		if q.Step == 0 {
			at = startOf(q, from)
		}
		sums[slot{at, bucketKey(q.By, &e)}] += e.Count
	}
	var out []Bucket
	for s, n := range sums {
		out = append(out, Bucket{time.Unix(0, s.start).UTC(), s.key, n})
	}
	sortBuckets(out)
	return out, nil
}

// startOf is the beginning of the one bucket over everything.
func startOf(q CountQuery, oldest int64) int64 {
	if q.Since.IsZero() {
		return oldest
	}
	return nanos(q.Since)
}

// Put implements Store.
func (m *Memory) Put(_ context.Context, kind, name string, doc []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("put %s %s: %w", kind, name, ErrClosed)
	}
	m.docs[[2]string{kind, name}] = bytes.Clone(doc)
	return nil
}

// Document implements Store.
func (m *Memory) Document(_ context.Context, kind, name string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	doc, ok := m.docs[[2]string{kind, name}]
	if !ok {
		return nil, fmt.Errorf("%s %s: %w", kind, name, ErrNotFound)
	}
	return bytes.Clone(doc), nil
}

// Documents implements Store.
func (m *Memory) Documents(_ context.Context, kind string) (map[string][]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := map[string][]byte{}
	for k, doc := range m.docs {
		if k[0] == kind {
			out[k[1]] = bytes.Clone(doc)
		}
	}
	return out, nil
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, kind, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.docs, [2]string{kind, name})
	return nil
}

// Prune implements Store.
func (m *Memory) Prune(_ context.Context, r Retention) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.SortedFunc(maps.Values(m.events), func(a, b stored) int { return byTime(b.Event, a.Event) })
	oldest := m.now().Add(-r.MaxAge)
	var removed int64
	for _, e := range all {
		tooOld := r.MaxAge > 0 && e.Last.Before(oldest)
		tooMuch := r.MaxBytes > 0 && m.bytes > r.MaxBytes
		if !tooOld && !tooMuch {
			break
		}
		delete(m.events, e.ID)
		m.bytes -= e.size
		removed++
	}
	return removed, nil
}

// Stats implements Store.
func (m *Memory) Stats(context.Context) (Stats, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := Stats{Kind: "memory", Events: int64(len(m.events)), Bytes: m.bytes, LastSeq: m.seq}
	for _, e := range m.events {
		if s.Oldest.IsZero() || e.Last.Before(s.Oldest) {
			s.Oldest = e.Last
		}
	}
	return s, nil
}

// Close implements Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
