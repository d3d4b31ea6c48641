package consoletest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

// Memory is a store of a few thousand events that answers by looking at all of
// them. It does what the console's tests need and no more.
type Memory struct {
	mu     sync.Mutex
	events []event.Event // by Seq
	seq    uint64
	docs   map[string]map[string][]byte
	wake   chan struct{} // closed and replaced with each Append
}

var _ store.Store = (*Memory)(nil)

// NewMemory gives an empty store.
func NewMemory() *Memory {
	return &Memory{docs: map[string]map[string][]byte{}, wake: make(chan struct{})}
}

// Append implements store.Store.
func (m *Memory) Append(_ context.Context, batch []event.Event) ([]event.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]event.Event, 0, len(batch))
	for _, e := range batch {
		if i := slices.IndexFunc(m.events, func(o event.Event) bool { return o.ID == e.ID }); i >= 0 {
			if old := m.events[i]; old.First.Before(e.First) {
				e.First = old.First
			}
			m.events = slices.Delete(m.events, i, i+1)
		}
		m.seq++
		e.Seq = m.seq
		m.events = append(m.events, e)
		out = append(out, e)
	}
	close(m.wake)
	m.wake = make(chan struct{})
	return out, nil
}

// Event implements store.Store.
func (m *Memory) Event(_ context.Context, id string) (event.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.ID == id {
			return e, nil
		}
	}
	return event.Event{}, store.ErrNotFound
}

// Events implements store.Store. The cursor is a number of events to skip.
func (m *Memory) Events(_ context.Context, q store.Query) (store.Page, error) {
	all := m.selected(q)
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, store.MaxPage)
	if q.AfterSeq != nil {
		all = slices.DeleteFunc(all, func(e event.Event) bool { return e.Seq <= *q.AfterSeq })
		return store.Page{Events: all[:min(limit, len(all))]}, nil
	}
	slices.SortStableFunc(all, func(a, b event.Event) int { return b.Last.Compare(a.Last) })
	skip := 0
	if q.Cursor != "" {
		skip, _ = strconv.Atoi(q.Cursor)
	}
	skip = max(0, min(skip, len(all)))
	end := min(skip+limit, len(all))
	p := store.Page{Events: all[skip:end]}
	if end < len(all) {
		p.Next = strconv.Itoa(end)
	}
	return p, nil
}

// Counts implements store.Store.
func (m *Memory) Counts(_ context.Context, q store.CountQuery) ([]store.Bucket, error) {
	type cell struct {
		start time.Time
		key   string
	}
	sums := map[cell]uint64{}
	for _, e := range m.selected(q.Query) {
		c := cell{}
		if q.Step > 0 {
			c.start = e.Last.Truncate(q.Step)
		}
		switch q.By {
		case "kind":
			c.key = string(e.Kind)
		case "effect":
			c.key = string(e.Effect)
		case "severity":
			c.key = string(e.Severity)
		case "workload":
			c.key = e.Workload.String()
		}
		sums[c] += e.Count
	}
	out := make([]store.Bucket, 0, len(sums))
	for c, n := range sums {
		out = append(out, store.Bucket{Start: c.start, Key: c.key, Count: n})
	}
	slices.SortFunc(out, func(a, b store.Bucket) int {
		if d := a.Start.Compare(b.Start); d != 0 {
			return d
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out, nil
}

func (m *Memory) selected(q store.Query) []event.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []event.Event
	for _, e := range m.events {
		if matches(e, q) {
			out = append(out, e)
		}
	}
	return out
}

func matches(e event.Event, q store.Query) bool {
	kind := len(q.Kinds) == 0 || slices.ContainsFunc(q.Kinds, func(k event.Kind) bool {
		return e.Kind == k || strings.HasPrefix(string(e.Kind), string(k)+".")
	})
	policy := q.Policy == "" || e.Rule != nil && e.Rule.Policy == q.Policy
	text := []string{e.Message, e.Path, e.Container}
	if e.Process != nil {
		text = append(text, e.Process.Exe, strings.Join(e.Process.Args, " "))
	}
	if e.Peer != nil {
		text = append(text, e.Peer.Addr.String(), e.Peer.Workload.String())
	}
	return kind && policy &&
		e.Severity.Rank() >= q.MinSeverity.Rank() &&
		(len(q.Effects) == 0 || slices.Contains(q.Effects, e.Effect)) &&
		(q.Namespace == "" || e.Workload.Namespace == q.Namespace) &&
		(q.Workload == "" || e.Workload.Name == q.Workload) &&
		(q.ContainerID == "" || strings.HasPrefix(e.ContainerID, q.ContainerID)) &&
		(q.Since.IsZero() || !e.Last.Before(q.Since)) &&
		(q.Until.IsZero() || e.Last.Before(q.Until)) &&
		strings.Contains(strings.ToLower(strings.Join(text, "\n")), strings.ToLower(q.Text))
}

// Follow is a console.FollowFunc over the store.
func (m *Memory) Follow(ctx context.Context, after uint64, q store.Query, fn func([]event.Event) error) error {
	for {
		m.mu.Lock()
		wake := m.wake
		m.mu.Unlock()
		q.AfterSeq = &after
		p, err := m.Events(ctx, q)
		if err != nil {
			return err
		}
		if n := len(p.Events); n > 0 {
			if err := fn(p.Events); err != nil {
				return err
			}
			after = p.Events[n-1].Seq
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		}
	}
}

// Put implements store.Store.
func (m *Memory) Put(_ context.Context, kind, name string, doc []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.docs[kind] == nil {
		m.docs[kind] = map[string][]byte{}
	}
	m.docs[kind][name] = slices.Clone(doc)
	return nil
}

// Document implements store.Store.
func (m *Memory) Document(_ context.Context, kind, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc, ok := m.docs[kind][name]
	if !ok {
		return nil, store.ErrNotFound
	}
	return slices.Clone(doc), nil
}

// Documents implements store.Store.
func (m *Memory) Documents(_ context.Context, kind string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.docs[kind]), nil
}

// Delete implements store.Store.
func (m *Memory) Delete(_ context.Context, kind, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.docs[kind], name)
	return nil
}

// Prune implements store.Store; this store keeps everything.
func (m *Memory) Prune(context.Context, store.Retention) (int64, error) { return 0, nil }

// Stats implements store.Store.
func (m *Memory) Stats(context.Context) (store.Stats, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := store.Stats{Kind: "memory", Events: int64(len(m.events)), Bytes: int64(len(m.events)) * 640, LastSeq: m.seq}
	for _, e := range m.events {
		if st.Oldest.IsZero() || e.First.Before(st.Oldest) {
			st.Oldest = e.First
		}
	}
	return st, nil
}

// Close implements store.Store.
func (m *Memory) Close() error { return nil }
