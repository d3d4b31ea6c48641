// Package bus carries happenings and desired state between the parts of
// Gabion, durably, in one process or across machines.
//
// It knows subjects and bytes, not what they mean. The one idea: a Publish
// that returned nil is on disk, and a named consumer gets everything from
// where it stopped, at least once.
package bus

import (
	"context"
	"errors"
)

// ErrFull is returned by Publish when the bound of the stream is reached or
// the disk takes no more. The caller keeps deciding, counts and says so.
var ErrFull = errors.New("bus takes no more")

// Message is one delivery.
type Message struct {
	Subject string
	ID      string // as given to Publish
	Data    []byte
	Seq     uint64
}

// Bus is the small face that the product uses.
type Bus interface {
	// Publish stores data under subject ("events.<node>.<kind>"). It returns
	// nil only when the message is on disk. PublishBatch does so for many with
	// one wait.
	Publish(ctx context.Context, subject, id string, data []byte) error
	PublishBatch(ctx context.Context, msgs []Message) error
	// Consume calls fn with batches of what matches subject (wildcards "*" and
	// ">") from where the consumer called name stopped, until ctx ends. A batch
	// for which fn returns nil is acknowledged; else it comes again later.
	Consume(ctx context.Context, name, subject string, fn func(context.Context, []Message) error) error
	// Put, Get and Watch are the key-value face (plans, status). Watch calls fn
	// with every present key below prefix, then with each change; a deleted key
	// has nil data.
	Put(ctx context.Context, bucket, key string, data []byte) error
	Get(ctx context.Context, bucket, key string) ([]byte, error)
	DeleteKey(ctx context.Context, bucket, key string) error
	Watch(ctx context.Context, bucket, prefix string, fn func(key string, data []byte)) error
	Close() error
}
