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

// Errors that callers match with errors.Is.
var (
	// ErrFull is returned by Publish and Put when the bound of the stream is
	// reached or the disk takes no more. The caller keeps deciding, counts and
	// says so. It passes: try again later.
	ErrFull = errors.New("bus takes no more")
	// ErrClosed: the bus was closed.
	ErrClosed = errors.New("bus is closed")
	// ErrInvalid: a subject, name, bucket or key is malformed.
	ErrInvalid = errors.New("malformed name")
	// ErrBusy: a consumer of this name is already active.
	ErrBusy = errors.New("consumer is already active")
	// ErrNoKey is returned by Get for a key that is not there.
	ErrNoKey = errors.New("no such key")
)

// MaxBatch is the largest number of messages handed to a consumer at once.
const MaxBatch = 2000

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
	// one wait; when it fails, any part of the batch may have been stored, and
	// publishing it again is the way on. A later message with the same id is a
	// message of its own.
	Publish(ctx context.Context, subject, id string, data []byte) error
	PublishBatch(ctx context.Context, msgs []Message) error
	// Consume calls fn with batches of what matches subject (wildcards "*" and
	// ">") from where the consumer called name stopped, until ctx ends. A batch
	// for which fn returns nil is acknowledged; else it comes again later. A
	// name has one active consumer, else ErrBusy. It returns ctx's error, or
	// ErrClosed. What every consumer has acknowledged may be removed to make room.
	Consume(ctx context.Context, name, subject string, fn func(context.Context, []Message) error) error
	// Put, Get and Watch are the key-value face (plans, status). Watch calls fn
	// with every present key below prefix, then with each change; a deleted key
	// has nil data. It returns ctx's error, or ErrClosed; calls of fn come one
	// at a time. A key consists of letters, digits and -_=./ and does not begin
	// or end with a dot; a bucket of letters, digits, - and _.
	Put(ctx context.Context, bucket, key string, data []byte) error
	Get(ctx context.Context, bucket, key string) ([]byte, error)
	DeleteKey(ctx context.Context, bucket, key string) error
	Watch(ctx context.Context, bucket, prefix string, fn func(key string, data []byte)) error
	Close() error
}
