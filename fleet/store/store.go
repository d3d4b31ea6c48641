// Package store keeps what happened and answers the console's questions.
//
// It is not the place of desired state (policies live in files or custom
// resources). The one idea: one small interface, one conformance suite, and
// implementations (memory, SQLite) that differ only in what survives.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// Errors that callers match with errors.Is.
var (
	// ErrNotFound is returned by Event and Document when there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrCursor: Query.Cursor is not one that a Page gave.
	ErrCursor = errors.New("malformed cursor")
	// ErrFull: the disk takes no more. It passes: free room or Prune, then try again.
	ErrFull = errors.New("store takes no more")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
)

// Store keeps events and small documents. Implementations are safe for
// concurrent use.
type Store interface {
	// Append writes a batch and returns when it is durable. Events with a known
	// ID replace the earlier record when their Count is at least as large
	// (First stays the earliest); Seq is given anew so that followers see the
	// change. It returns the events as stored.
	Append(ctx context.Context, batch []event.Event) ([]event.Event, error)
	// Event returns one event by ID, or ErrNotFound.
	Event(ctx context.Context, id string) (event.Event, error)
	// Events answers q, newest first (by Last, then Seq) unless q.AfterSeq is
	// set (then in order of Seq, for followers).
	Events(ctx context.Context, q Query) (Page, error)
	// Counts answers how many happenings (sum of Count) fall into each bucket,
	// in order of time, then key. A cause counts where its Last falls. Cursor,
	// AfterSeq and Limit are not looked at.
	Counts(ctx context.Context, q CountQuery) ([]Bucket, error)
	// Put, Document, Documents and Delete keep small JSON documents (profiles,
	// users, sessions) by kind and name.
	Put(ctx context.Context, kind, name string, doc []byte) error
	Document(ctx context.Context, kind, name string) ([]byte, error)
	Documents(ctx context.Context, kind string) (map[string][]byte, error)
	Delete(ctx context.Context, kind, name string) error
	// Prune removes the oldest events until r holds, and says how many it
	// removed. Documents stay. The room is given back to the file system.
	Prune(ctx context.Context, r Retention) (removed int64, err error)
	// Stats describes what is kept now.
	Stats(ctx context.Context) (Stats, error)
	Close() error
}

// MaxPage is the largest page a Query gets, whatever it asks for.
const MaxPage = 1000

// MaxBuckets is the largest number of points in time that Counts gives.
const MaxBuckets = 1000

// Query selects events. Zero fields select everything.
type Query struct {
	Kinds       []event.Kind   // an element "process" selects every "process.*"
	MinSeverity event.Severity // this and above
	Effects     []event.Effect
	Namespace   string
	Workload    string    // name within Namespace
	ContainerID string    // full or a prefix of at least 12 characters
	Policy      string    // as in event.RuleRef.Policy
	Since       time.Time // Last at or after this
	Until       time.Time // Last before this
	Text        string    // case-insensitive, in message, path, process, peer and container
	// AfterSeq, when set, asks for events with a larger Seq, oldest first.
	AfterSeq *uint64
	// Cursor is Page.Next of the page before, for the same query.
	Cursor string
	Limit  int // 0: 100; at most MaxPage
}

// Page is a bounded answer.
type Page struct {
	Events []event.Event `json:"events"`
	Next   string        `json:"next,omitempty"` // empty: no more
}

// CountQuery asks for sums over time buckets.
type CountQuery struct {
	Query
	// By is "", "kind", "effect", "severity" or "workload".
	By string
	// Step is the bucket's width; 0 means one bucket over everything, beginning
	// at Since. Buckets begin at multiples of Step since 1970. At most MaxBuckets
	// points in time are given: a smaller Step is widened.
	Step time.Duration
}

// Bucket is one sum.
type Bucket struct {
	Start time.Time `json:"start"`
	Key   string    `json:"key,omitempty"`
	Count uint64    `json:"count"`
}

// Retention bounds what is kept. Zero fields bound nothing.
type Retention struct {
	MaxAge   time.Duration
	MaxBytes int64
}

// Stats describes a store.
type Stats struct {
	Kind    string    `json:"kind"` // "memory", "sqlite"
	Events  int64     `json:"events"`
	Bytes   int64     `json:"bytes"`
	Oldest  time.Time `json:"oldest,omitzero"`
	LastSeq uint64    `json:"lastSeq"`
}
