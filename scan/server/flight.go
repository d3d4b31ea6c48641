package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// flight is one piece of work that several clients may wait for. It ends when
// its work does, or when nobody waits any more.
type flight struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when report or err is set
	report *scan.Report
	err    *Error

	mu      sync.Mutex
	waiters map[chan Event]bool
	last    Event // newest progress, for those who join late
}

// tell hands progress to everybody who waits; who is slow misses some.
func (f *flight) tell(e Event) {
	e.Report, e.Error = nil, nil // those come once, at the end
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = e
	for c := range f.waiters {
		select {
		case c <- e:
		default:
		}
	}
}

// flights are those in the air, by what they are for.
type flights struct {
	mu  sync.Mutex
	air map[string]*flight
	wg  sync.WaitGroup
	ctx context.Context // of the server
}

// join takes part in the flight of that key, starting it with work when there
// is none. shared says that it was in the air already. The caller must leave.
func (fs *flights) join(key string, q *queue, timeout time.Duration, work func(context.Context, func(Event)) (*scan.Report, error)) (f *flight, events chan Event, shared bool, err *Error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.ctx.Err() != nil {
		return nil, nil, false, busy("the server is stopping")
	}
	events = make(chan Event, 16)
	if f, ok := fs.air[key]; ok {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.waiters[events] = true
		if f.last != (Event{}) {
			events <- f.last
		}
		return f, events, true, nil
	}
	ctx, cancel := context.WithCancel(fs.ctx)
	f = &flight{cancel: cancel, done: make(chan struct{}), waiters: map[chan Event]bool{events: true}}
	t, ok := q.enter(func(place int) { f.tell(Event{Queue: place}) })
	if !ok {
		cancel()
		return nil, nil, false, busy("too many scans wait already")
	}
	fs.air[key] = f
	fs.wg.Go(func() {
		defer cancel()
		f.report, f.err = run(ctx, t, timeout, f.tell, work)
		fs.mu.Lock()
		if fs.air[key] == f {
			delete(fs.air, key)
		}
		fs.mu.Unlock()
		close(f.done)
	})
	return f, events, false, nil
}

// leave ends a client's part; the last one to leave ends the work.
func (fs *flights) leave(key string, f *flight, events chan Event) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiters, events)
	if len(f.waiters) == 0 {
		f.cancel()
		// Who comes now starts anew instead of joining what is ending.
		if fs.air[key] == f {
			delete(fs.air, key)
		}
	}
}

// run waits for the turn and does the work.
func run(ctx context.Context, t *ticket, timeout time.Duration, tell func(Event), work func(context.Context, func(Event)) (*scan.Report, error)) (r *scan.Report, e *Error) {
	if !t.wait(ctx) {
		return nil, busy("the scan was given up while it waited")
	}
	defer t.leave()
	defer func() {
		if p := recover(); p != nil {
			r, e = nil, &Error{Code: CodeFailed, Message: fmt.Sprintf("the scanner broke on it: %v", p)}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := work(ctx, tell)
	var own *Error
	switch {
	case err == nil && r == nil:
		return nil, &Error{Code: CodeFailed, Message: "the scan gave no report"}
	case err == nil:
		return r, nil
	case errors.As(err, &own):
		return nil, own
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &Error{Code: CodeTimeout, Message: fmt.Sprintf("not done within %s: %v", timeout, err), Do: "try again: layers that were read are kept"}
	}
	return nil, &Error{Code: CodeFailed, Message: err.Error()}
}
