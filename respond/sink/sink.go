// Package sink takes events to places outside of Gabion: webhooks, syslog
// servers and files.
//
// It does not choose what is sent; package respond does. The one idea: a Sender
// sends one event and says whether it arrived; a Queue puts patience around any
// Sender (bounded room, retries with growing pauses), so that a slow or dead
// receiver never holds up anything else, and every event that could not be
// delivered is counted and told.
package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
)

// ErrPermanent marks a failure that trying again will not mend.
var ErrPermanent = errors.New("refused for good")

// Sender delivers one event at a time to one place. It is used by one goroutine.
type Sender interface {
	// Name says where events go, for people ("webhook https://x/y"). No secrets.
	Name() string
	// Send returns nil when the receiver has the event, as far as the way there
	// can tell (UDP cannot). An error that wraps ErrPermanent is not retried.
	Send(ctx context.Context, e event.Event) error
	Close() error
}

// Config describes a Queue. Zero fields get defaults.
type Config struct {
	// Capacity is how many events may wait. Default 1,024.
	Capacity int
	// Attempts is how often delivery of one event is tried. Default 6.
	Attempts int
	// Timeout bounds one attempt. Default 10 s.
	Timeout time.Duration
	// Backoff is the pause after failed attempt n (1, 2, ...). Default: 0.5 s
	// doubling up to 30 s.
	Backoff func(n int) time.Duration
	// Drain bounds how long Close goes on delivering. Default 5 s.
	Drain time.Duration
	// OnLoss, when set, is told after an event was lost: the number lost so far
	// and the cause. It must return soon.
	OnLoss func(name string, total uint64, cause error)
	Log    *slog.Logger
}

// Stats counts events of one Queue.
type Stats struct {
	Delivered uint64 `json:"delivered"`
	Retried   uint64 `json:"retried"` // attempts beyond the first
	Lost      uint64 `json:"lost"`
	Waiting   int    `json:"waiting"`
}

// Queue delivers events in order through a Sender, without ever blocking.
type Queue struct {
	sender Sender
	cfg    Config
	in     chan event.Event
	stop   chan struct{} // closed by Close: no more waiting for better times
	done   chan struct{}

	mu     sync.Mutex
	stats  Stats
	closed bool
}

// NewQueue starts delivering through s. Close it to stop.
func NewQueue(s Sender, cfg Config) *Queue {
	if cfg.Capacity == 0 {
		cfg.Capacity = 1024
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 6
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Backoff == nil {
		cfg.Backoff = backoff
	}
	if cfg.Drain == 0 {
		cfg.Drain = 5 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{sender: s, cfg: cfg, in: make(chan event.Event, cfg.Capacity), stop: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

// Open makes the Queue for a notify action of the policy language.
func Open(a v1alpha1.NotifyAction, cfg Config) (*Queue, error) {
	switch {
	case a.Webhook != nil:
		s, err := NewWebhook(a.Webhook.URL, a.Webhook.SecretFile)
		if err != nil {
			return nil, err
		}
		return NewQueue(s, cfg), nil
	case a.Syslog != nil:
		s, err := NewSyslog(a.Syslog.Address, string(a.Syslog.Network), a.Syslog.CAFile)
		if err != nil {
			return nil, err
		}
		return NewQueue(s, cfg), nil
	case a.File != nil:
		s, err := NewFile(a.File.Path, 0, 0)
		if err != nil {
			return nil, err
		}
		return NewQueue(s, cfg), nil
	}
	return nil, errors.New("open sink: the notify action names none of webhook, syslog, file")
}

func backoff(n int) time.Duration {
	d := 500 * time.Millisecond
	for i := 1; i < n && d < 30*time.Second; i++ {
		d *= 2
	}
	return min(d, 30*time.Second)
}

// Name is the Sender's.
func (q *Queue) Name() string { return q.sender.Name() }

// Deliver takes e for delivery and returns at once. When there is no room, e is
// lost and counted.
func (q *Queue) Deliver(e event.Event) {
	q.mu.Lock()
	taken := false
	if !q.closed {
		select {
		case q.in <- e:
			taken = true
		default:
		}
	}
	q.mu.Unlock()
	if !taken {
		q.lose(fmt.Errorf("%d events wait already", q.cfg.Capacity))
	}
}

// Stats gives the counters of this moment.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Waiting = len(q.in)
	return s
}

// Close delivers what waits, for at most Config.Drain, and counts the rest as
// lost. It returns when nothing runs any more.
func (q *Queue) Close() error {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.in)
		close(q.stop)
	}
	q.mu.Unlock()
	<-q.done
	return nil
}

func (q *Queue) run() {
	defer close(q.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// After Close, everything must end within the bound.
	watch := make(chan struct{})
	defer func() { cancel(); <-watch }()
	go func() {
		defer close(watch)
		select {
		case <-ctx.Done():
			return
		case <-q.stop:
		}
		bound := time.NewTimer(q.cfg.Drain)
		defer bound.Stop()
		select {
		case <-bound.C:
			cancel()
		case <-ctx.Done():
		}
	}()
	for e := range q.in {
		if err := q.deliver(ctx, e); err != nil {
			q.lose(err)
			continue
		}
		q.mu.Lock()
		q.stats.Delivered++
		q.mu.Unlock()
	}
	if err := q.sender.Close(); err != nil {
		q.cfg.Log.Warn("sink does not close well", "sink", q.Name(), "cause", err)
	}
}

func (q *Queue) deliver(ctx context.Context, e event.Event) error {
	for n := 1; ; n++ {
		err := q.attempt(ctx, e)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrPermanent) || ctx.Err() != nil {
			return err
		}
		if n >= q.cfg.Attempts {
			return fmt.Errorf("%d attempts: %w", n, err)
		}
		q.mu.Lock()
		q.stats.Retried++
		q.mu.Unlock()
		q.cfg.Log.Debug("delivery failed, will try again", "sink", q.Name(), "attempt", n, "cause", err)
		pause := time.NewTimer(q.cfg.Backoff(n))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

func (q *Queue) attempt(ctx context.Context, e event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	return q.sender.Send(ctx, e)
}

func (q *Queue) lose(cause error) {
	q.mu.Lock()
	q.stats.Lost++
	total := q.stats.Lost
	q.mu.Unlock()
	q.cfg.Log.Warn("event was not delivered", "sink", q.Name(), "lost", total, "cause", cause)
	if q.cfg.OnLoss != nil {
		q.cfg.OnLoss(q.Name(), total, cause)
	}
}
