package server

import (
	"context"
	"sync"
)

// queue lets so many run at once and so many wait, first come, first served.
type queue struct {
	mu      sync.Mutex
	slots   int
	room    int
	running int
	waiting []*ticket
}

// ticket is a place in the queue.
type ticket struct {
	q     *queue
	ready chan struct{} // closed when it may run
	moved func(place int)
}

// enter takes a place, or false when too many wait. moved is told of every new
// place, 1 being next; it must not block.
func (q *queue) enter(moved func(place int)) (*ticket, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ticket{q: q, ready: make(chan struct{}), moved: moved}
	if q.running < q.slots {
		q.running++
		close(t.ready)
		return t, true
	}
	if len(q.waiting) >= q.room {
		return nil, false
	}
	q.waiting = append(q.waiting, t)
	moved(len(q.waiting))
	return t, true
}

// wait blocks until the ticket may run; false when ctx ended first, and then
// the place is given up.
func (t *ticket) wait(ctx context.Context) bool {
	select {
	case <-t.ready:
		return true
	case <-ctx.Done():
	}
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	for i, w := range t.q.waiting {
		if w == t {
			t.q.waiting = append(t.q.waiting[:i], t.q.waiting[i+1:]...)
			t.q.tell()
			return false
		}
	}
	// It was called in the same moment: pass the slot on.
	t.q.free()
	return false
}

// leave gives the slot back.
func (t *ticket) leave() {
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	t.q.free()
}

func (q *queue) free() {
	if len(q.waiting) == 0 {
		q.running--
		return
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	close(next.ready)
	q.tell()
}

func (q *queue) tell() {
	for i, w := range q.waiting {
		w.moved(i + 1)
	}
}

func (q *queue) lengths() (running, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, len(q.waiting)
}
