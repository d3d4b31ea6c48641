package consoletest

import (
	"context"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

// Memory is a store in memory that can be followed.
type Memory struct {
	*store.Memory

	mu   sync.Mutex
	wake chan struct{} // closed and replaced with each Append
}

// NewMemory gives an empty store.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{Memory: store.NewMemory(now), wake: make(chan struct{})}
}

// Append implements store.Store.
func (m *Memory) Append(ctx context.Context, batch []event.Event) ([]event.Event, error) {
	out, err := m.Memory.Append(ctx, batch)
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.wake)
	m.wake = make(chan struct{})
	return out, err
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
