package bus

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Memory is a Bus that forgets everything when the process ends: for tests and
// for parts that run without a data folder. It keeps every other promise.
type Memory struct {
	mu        sync.Mutex
	maxBytes  int64
	bytes     int64
	seq       uint64    // of the last message
	rev       uint64    // of the last change of a key
	log       []Message // ordered by Seq
	consumers map[string]*memoryConsumer
	buckets   map[string]map[string]entry
	changed   chan struct{} // closed and replaced on every change
	closed    bool
}

type memoryConsumer struct {
	acked  uint64 // everything up to here
	active bool
}

type entry struct {
	data []byte // nil: deleted
	rev  uint64
}

var _ Bus = (*Memory)(nil)

// NewMemory makes an empty bus that holds at most maxBytes of messages (0: no bound).
func NewMemory(maxBytes int64) *Memory {
	return &Memory{
		maxBytes:  maxBytes,
		consumers: map[string]*memoryConsumer{},
		buckets:   map[string]map[string]entry{},
		changed:   make(chan struct{}),
	}
}

// Publish implements Bus.
func (m *Memory) Publish(ctx context.Context, subject, id string, data []byte) error {
	return m.PublishBatch(ctx, []Message{{Subject: subject, ID: id, Data: data}})
}

// PublishBatch implements Bus.
func (m *Memory) PublishBatch(ctx context.Context, msgs []Message) error {
	var size int64
	for _, x := range msgs {
		if err := checkSubject(x.Subject, false); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		size += int64(len(x.Data))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return fmt.Errorf("publish: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if m.maxBytes > 0 && m.bytes+size > m.maxBytes {
		m.trim()
		if m.bytes+size > m.maxBytes {
			return fmt.Errorf("publish %d messages: %w: the bound of %d bytes is reached", len(msgs), ErrFull, m.maxBytes)
		}
	}
	for _, x := range msgs {
		m.seq++
		m.log = append(m.log, Message{Subject: x.Subject, ID: x.ID, Data: bytes.Clone(x.Data), Seq: m.seq})
	}
	m.bytes += size
	m.wake()
	return nil
}

// trim forgets what every consumer has acknowledged.
func (m *Memory) trim() {
	if len(m.consumers) == 0 {
		return
	}
	floor := m.seq
	for _, c := range m.consumers {
		floor = min(floor, c.acked)
	}
	n := 0
	for n < len(m.log) && m.log[n].Seq <= floor {
		m.bytes -= int64(len(m.log[n].Data))
		n++
	}
	m.log = append([]Message(nil), m.log[n:]...)
}

func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Consume implements Bus.
func (m *Memory) Consume(ctx context.Context, name, subject string, fn func(context.Context, []Message) error) error {
	if err := checkConsumer(name, subject); err != nil {
		return err
	}
	m.mu.Lock()
	c := m.consumers[name]
	if c == nil {
		c = &memoryConsumer{}
		m.consumers[name] = c
	}
	if c.active {
		m.mu.Unlock()
		return fmt.Errorf("consume %s: %w", name, ErrBusy)
	}
	c.active = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		c.active = false
		m.mu.Unlock()
	}()

	for {
		batch, last, changed, err := m.next(c, subject)
		if err != nil {
			return fmt.Errorf("consume %s: %w", name, err)
		}
		if len(batch) == 0 {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := deliver(ctx, batch, fn); err != nil {
			return err
		}
		m.mu.Lock()
		c.acked = max(c.acked, last)
		m.mu.Unlock()
	}
}

// next gives the messages after what c has acknowledged, the last sequence
// looked at, and a channel that is closed when there may be more.
func (m *Memory) next(c *memoryConsumer, subject string) ([]Message, uint64, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, 0, nil, ErrClosed
	}
	var batch []Message
	last := c.acked
	start := 0
	if len(m.log) > 0 && c.acked >= m.log[0].Seq { // sequences in the log are dense
		start = min(len(m.log), int(c.acked-m.log[0].Seq)+1)
	}
	for _, x := range m.log[start:] {
		if len(batch) == MaxBatch {
			break
		}
		last = x.Seq
		if Match(subject, x.Subject) {
			batch = append(batch, x)
		}
	}
	if len(batch) == 0 {
		c.acked = last
	}
	return batch, last, m.changed, nil
}

// deliver calls fn until it takes the batch, with growing pauses, or ctx ends.
func deliver(ctx context.Context, batch []Message, fn func(context.Context, []Message) error) error {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if fn(ctx, batch) == nil {
			return nil
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func checkConsumer(name, subject string) error {
	if err := checkName("consumer", name); err != nil {
		return err
	}
	return checkSubject(subject, true)
}

func (m *Memory) change(bucket, key string, data []byte) error {
	if err := checkName("bucket", bucket); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.buckets[bucket] == nil {
		m.buckets[bucket] = map[string]entry{}
	}
	m.rev++
	m.buckets[bucket][key] = entry{data, m.rev}
	m.wake()
	return nil
}

// Put implements Bus.
func (m *Memory) Put(_ context.Context, bucket, key string, data []byte) error {
	return m.change(bucket, key, append([]byte{}, data...))
}

// DeleteKey implements Bus.
func (m *Memory) DeleteKey(_ context.Context, bucket, key string) error {
	return m.change(bucket, key, nil)
}

// Get implements Bus.
func (m *Memory) Get(_ context.Context, bucket, key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	e := m.buckets[bucket][key]
	if e.data == nil {
		return nil, fmt.Errorf("get %s/%s: %w", bucket, key, ErrNoKey)
	}
	return bytes.Clone(e.data), nil
}

// Watch implements Bus.
func (m *Memory) Watch(ctx context.Context, bucket, prefix string, fn func(key string, data []byte)) error {
	if err := checkName("bucket", bucket); err != nil {
		return err
	}
	type change struct {
		key string
		entry
	}
	seen := map[string]uint64{}
	for {
		var todo []change
		m.mu.Lock()
		if m.closed {
			m.mu.Unlock()
			return ErrClosed
		}
		for k, e := range m.buckets[bucket] {
			rev, known := seen[k]
			if strings.HasPrefix(k, prefix) && rev != e.rev {
				seen[k] = e.rev
				if e.data != nil || known {
					todo = append(todo, change{k, e})
				}
			}
		}
		changed := m.changed
		m.mu.Unlock()
		for _, c := range todo {
			fn(c.key, bytes.Clone(c.data))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close implements Bus.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.wake()
	}
	return nil
}
