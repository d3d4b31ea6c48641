package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Consume implements Bus.
//
// The consumer is durable in the server and acknowledges a whole batch at once.
// When it starts it goes back to just after what was acknowledged, so order
// holds and nothing waits for a redelivery timer after a crash.
func (b *NATS) Consume(ctx context.Context, name, subject string, fn func(context.Context, []Message) error) error {
	if err := checkConsumer(name, subject); err != nil {
		return err
	}
	b.mu.Lock()
	if b.active[name] {
		b.mu.Unlock()
		return fmt.Errorf("consume %s: %w", name, ErrBusy)
	}
	b.active[name] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.active, name)
		b.mu.Unlock()
	}()
	return b.keep(ctx, "consume "+name, func(ctx context.Context, s *session) error {
		return b.consume(ctx, s, name, subject, fn)
	})
}

// keep runs work on the present session, and on the next when one is lost,
// until ctx ends or the bus is closed.
func (b *NATS) keep(ctx context.Context, what string, work func(context.Context, *session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(b.life, func() { cancel(ErrClosed) })
	defer stop()
	for {
		s, err := b.session(ctx)
		if err == nil {
			err = work(ctx, s)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrClosed) {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.cfg.Log.Warn("bus interrupted, trying again", "doing", what, "cause", err)
		if err := wait(ctx, 250*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
}

func (b *NATS) consume(ctx context.Context, s *session, name, subject string, fn func(context.Context, []Message) error) error {
	cons, err := s.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable:       name,
		FilterSubject: root + subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckAllPolicy,
		// A batch that is refused is kept and offered again here, so the
		// server's own redelivery is only a last resort.
		AckWait:       time.Hour,
		MaxAckPending: 4 * MaxBatch,
	})
	if err != nil {
		b.mendConsumer(name, err)
		return fmt.Errorf("make consumer: %w", err)
	}
	if _, err := s.stream.ResetConsumer(ctx, name); err != nil {
		return fmt.Errorf("go back to what was acknowledged: %w", err)
	}
	for {
		msgs, err := fetch(ctx, cons)
		if err != nil {
			return err
		}
		if len(msgs) == 0 {
			continue
		}
		batch := make([]Message, 0, len(msgs))
		size := int64(0)
		for _, m := range msgs {
			meta, err := m.Metadata()
			if err != nil {
				return fmt.Errorf("read delivery: %w", err)
			}
			batch = append(batch, Message{Subject: strings.TrimPrefix(m.Subject(), root), ID: m.Headers().Get(idHeader), Data: m.Data(), Seq: meta.Sequence.Stream})
			size += int64(len(m.Data()))
		}
		if err := deliver(ctx, batch, fn); err != nil {
			return err
		}
		if err := msgs[len(msgs)-1].DoubleAck(ctx); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		if s.trimDue(size, b.cfg.MaxBytes) {
			s.trim(ctx, b.cfg.MaxBytes, false)
		}
	}
}

// mendConsumer removes the position of a consumer that the server can not read,
// which it would otherwise refuse for ever. The consumer then gets everything
// again that the bus still has: at least once, as promised.
func (b *NATS) mendConsumer(name string, cause error) {
	var api *jetstream.APIError
	if !errors.As(cause, &api) || api.ErrorCode != jetstream.JSErrCodeConsumerCreate || b.room(0) != nil {
		return
	}
	dir := filepath.Join(b.cfg.Dir, "jetstream", "$G", "streams", streamName, "obs", name)
	b.cfg.Log.Error("position of a consumer is damaged; it begins anew and gets again what the bus still has", "consumer", name, "removed", dir, "cause", cause)
	if err := os.RemoveAll(dir); err != nil {
		b.cfg.Log.Error("can not remove the damaged position", "cause", err)
	}
}

// fetch gives what is there now, or waits for the first message to come.
func fetch(ctx context.Context, cons jetstream.Consumer) ([]jetstream.Msg, error) {
	now, err := cons.FetchNoWait(MaxBatch)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	msgs, err := collect(now)
	if err != nil || len(msgs) > 0 {
		return msgs, err
	}
	next, err := cons.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return collect(next)
}

func collect(b jetstream.MessageBatch) ([]jetstream.Msg, error) {
	var msgs []jetstream.Msg
	for m := range b.Messages() {
		msgs = append(msgs, m)
	}
	if err := b.Error(); err != nil && len(msgs) == 0 {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return msgs, nil
}

// trimDue says that enough was acknowledged to look for room to free.
func (s *session) trimDue(size, maxBytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untrim += size
	if s.untrim < maxBytes/8 {
		return false
	}
	s.untrim = 0
	return true
}
