package fleet

import (
	"maps"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// queue holds records that are not on the bus yet: bounded, oldest first, one
// per cause. It never blocks.
type queue struct {
	mu    sync.Mutex
	max   int
	order []string // IDs, oldest first
	byID  map[string]event.Event
	wake  chan struct{} // holds one token while there is something to take

	taken               bool // a batch is between take and done or putBack
	recorded, coalesced uint64

	lost                map[event.Kind]uint64 // dropped records
	lostSum             uint64
	lostFirst, lostLast time.Time
	now                 func() time.Time
}

func newQueue(max int, now func() time.Time) *queue {
	return &queue{max: max, byID: map[string]event.Event{}, wake: make(chan struct{}, 1), lost: map[event.Kind]uint64{}, now: now}
}

// add takes e, or counts it as lost. The last quarter of the room is kept for
// what matters (medium severity and above), so that a flood of observations
// never pushes out a denial.
//
// What the recorder has to say of itself (own) always finds room: it is rare,
// and most wanted when there is none.
func (q *queue) add(e event.Event, own bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recorded++
	if old, waiting := q.byID[e.ID]; waiting {
		q.coalesced++
		q.byID[e.ID] = newer(old, e)
		return
	}
	room := q.max
	if e.Severity.Rank() < event.Medium.Rank() {
		room -= q.max / 4
	}
	if len(q.byID) >= room && !own {
		q.lost[e.Kind]++
		q.lostSum++
		if q.lostLast = q.now(); q.lostSum == 1 {
			q.lostFirst = q.lostLast
		}
		return
	}
	q.byID[e.ID] = e
	q.order = append(q.order, e.ID)
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// newer combines two records of one cause.
func newer(old, e event.Event) event.Event {
	if e.Count < old.Count {
		return old
	}
	if !old.First.IsZero() && (e.First.IsZero() || old.First.Before(e.First)) {
		e.First = old.First
	}
	return e
}

// take removes and gives the n oldest.
func (q *queue) take(n int) []event.Event {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.order))
	q.taken = n > 0
	out := make([]event.Event, 0, n)
	for _, id := range q.order[:n] {
		out = append(out, q.byID[id])
		delete(q.byID, id)
	}
	if q.order = q.order[n:]; len(q.order) > 0 {
		q.signal()
	} else {
		q.order = nil
	}
	return out
}

// putBack returns what could not be published to the front. It may exceed the
// bound by one batch.
func (q *queue) putBack(batch []event.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = false
	front := make([]string, 0, len(batch)+len(q.order))
	for _, e := range batch {
		if later, waiting := q.byID[e.ID]; waiting {
			q.byID[e.ID] = newer(e, later)
			q.coalesced++
			continue
		}
		q.byID[e.ID] = e
		front = append(front, e.ID)
	}
	q.order = append(front, q.order...)
	q.signal()
}

// done says that the batch taken last is on the bus.
func (q *queue) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken = false
}

// idle says that nothing waits and nothing is on its way.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order) == 0 && !q.taken
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.order)
}

// lostSince gives all losses so far if there are more than told, which it
// brings up to date; else 0.
func (q *queue) lostSince(told *uint64) (n uint64, byKind map[event.Kind]uint64, first, last time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lostSum == *told {
		return 0, nil, first, last
	}
	*told = q.lostSum
	return q.lostSum, maps.Clone(q.lost), q.lostFirst, q.lostLast
}
