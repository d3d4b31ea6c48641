package store

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// cursor is where a page ended: by time and sequence, or by sequence alone.
type cursor struct {
	bySeq bool
	last  int64 // nanoseconds since 1970
	seq   uint64
}

func (c cursor) String() string {
	b := make([]byte, 17)
	b[0] = 't'
	if c.bySeq {
		b[0] = 's'
	}
	binary.BigEndian.PutUint64(b[1:], uint64(c.last))
	binary.BigEndian.PutUint64(b[9:], c.seq)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads a cursor for a query in order of sequence, or of time.
func parseCursor(s string, bySeq bool) (cursor, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 17 || b[0] != 't' && b[0] != 's' || (b[0] == 's') != bySeq {
		return cursor{}, fmt.Errorf("read cursor %.40q: %w", s, ErrCursor)
	}
	return cursor{b[0] == 's', int64(binary.BigEndian.Uint64(b[1:])), binary.BigEndian.Uint64(b[9:])}, nil
}

// plan is a query with its cursor and bounds worked out.
type plan struct {
	Query
	limit int
	at    *cursor // where the page before ended
}

func newPlan(q Query) (plan, error) {
	p := plan{Query: q, limit: q.Limit}
	if p.limit <= 0 {
		p.limit = 100
	}
	p.limit = min(p.limit, MaxPage)
	p.Text = strings.ToLower(q.Text)
	if q.Cursor != "" {
		c, err := parseCursor(q.Cursor, q.AfterSeq != nil)
		if err != nil {
			return plan{}, err
		}
		p.at = &c
	}
	return p, nil
}

// page cuts rows, of which there may be one more than asked for, to an answer.
func (p plan) page(rows []event.Event) Page {
	if len(rows) <= p.limit {
		return Page{Events: rows}
	}
	rows = rows[:p.limit]
	end := rows[len(rows)-1]
	c := cursor{bySeq: p.AfterSeq != nil, seq: end.Seq}
	if !c.bySeq {
		c.last = nanos(end.Last)
	}
	return Page{Events: rows, Next: c.String()}
}

// Matches reports whether e is selected by q, whatever its position. It is
// what the implementations agree on, and lets a follower filter by itself.
func Matches(q Query, e *event.Event) bool {
	return matchKind(q.Kinds, e.Kind) &&
		e.Severity.Rank() >= q.MinSeverity.Rank() &&
		(len(q.Effects) == 0 || slices.Contains(q.Effects, e.Effect)) &&
		(q.Namespace == "" || e.Workload.Namespace == q.Namespace) &&
		(q.Workload == "" || e.Workload.Name == q.Workload) &&
		matchContainer(q.ContainerID, e.ContainerID) &&
		(q.Policy == "" || e.Rule != nil && e.Rule.Policy == q.Policy) &&
		(q.Since.IsZero() || !e.Last.Before(q.Since)) &&
		(q.Until.IsZero() || e.Last.Before(q.Until)) &&
		(q.Text == "" || strings.Contains(searchText(e), strings.ToLower(q.Text)))
}

func matchKind(want []event.Kind, k event.Kind) bool {
	return len(want) == 0 || slices.ContainsFunc(want, func(w event.Kind) bool {
		return k == w || strings.HasPrefix(string(k), string(w)+".")
	})
}

func matchContainer(want, id string) bool {
	return want == "" || id == want || len(want) >= 12 && strings.HasPrefix(id, want)
}

// searchText is what Query.Text looks in, in lower case, a line per field.
func searchText(e *event.Event) string {
	f := []string{e.Message, e.Path, e.Container, e.ContainerID, e.Image, e.Workload.String(), e.Actor}
	if p := e.Process; p != nil {
		f = append(f, p.Exe, strings.Join(p.Args, " "), p.ParentExe, strings.Join(p.ParentArgs, " "))
	}
	if p := e.Peer; p != nil {
		if p.Addr.IsValid() {
			f = append(f, p.Addr.String())
		}
		if !p.Workload.IsZero() {
			f = append(f, p.Workload.String())
		}
	}
	return strings.ToLower(strings.Join(f, "\n"))
}

// merge puts a new record of a known cause over the old one, or says that the
// old one stays.
func merge(old, e event.Event) (event.Event, bool) {
	if e.Count < old.Count {
		return old, false
	}
	if !old.First.IsZero() && (e.First.IsZero() || old.First.Before(e.First)) {
		e.First = old.First
	}
	return e, true
}

// step widens want so that from..to has at most MaxBuckets points in time.
func step(want time.Duration, from, to int64) int64 {
	return max(int64(want), (to-from)/(MaxBuckets-1)+1)
}

// nanos is t as the stores order it; times out of range are clamped.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero() || t.Year() < 1700:
		return 0
	case t.Year() > 2200:
		return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	}
	return t.UnixNano()
}

func bucketKey(by string, e *event.Event) string {
	switch by {
	case "kind":
		return string(e.Kind)
	case "effect":
		return string(e.Effect)
	case "severity":
		return string(severityOf(e.Severity.Rank()))
	case "workload":
		if e.Workload.IsZero() {
			return ""
		}
		return e.Workload.String()
	}
	return ""
}

func checkBy(by string) error {
	if by != "" && by != "kind" && by != "effect" && by != "severity" && by != "workload" {
		return fmt.Errorf("count events: there is no grouping %q; use kind, effect, severity or workload", by)
	}
	return nil
}

// severityOf is the inverse of event.Severity.Rank.
func severityOf(rank int) event.Severity {
	return []event.Severity{event.Info, event.Low, event.Medium, event.High, event.Critical}[min(max(rank, 0), 4)]
}

func sortBuckets(b []Bucket) {
	slices.SortFunc(b, func(a, b Bucket) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Key, b.Key)) })
}
