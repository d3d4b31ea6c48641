package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/event"
)

type scanner interface{ Scan(dest ...any) error }

// scan reads (seq, body).
func scan(r scanner) (event.Event, error) {
	var seq int64
	var body []byte
	if err := r.Scan(&seq, &body); err != nil {
		return event.Event{}, err
	}
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return event.Event{}, fmt.Errorf("read event %d: %w", seq, err)
	}
	e.Seq = uint64(seq)
	return e, nil
}

// Event implements Store.
func (s *SQLite) Event(ctx context.Context, id string) (e event.Event, err error) {
	err = s.do(ctx, "event "+id, func(h *handle) error {
		var err error
		e, err = scan(h.r.QueryRowContext(ctx, findEvent, id))
		return notFound(err)
	})
	return e, err
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// where collects conditions and their arguments.
type where struct {
	conds []string
	args  []any
}

func (w *where) add(cond string, args ...any) {
	w.conds = append(w.conds, cond)
	w.args = append(w.args, args...)
}

func (w *where) String() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

// conditions are those of q except kinds and position.
func conditions(q Query) where {
	var w where
	if r := q.MinSeverity.Rank(); r >= 3 {
		w.add("rank >= 3") // written out: this is what events_grave is for
		if r > 3 {
			w.add("rank >= ?", r)
		}
	} else if r > 0 {
		w.add("rank >= ?", r)
	}
	if len(q.Effects) > 0 {
		w.add("effect IN (?"+strings.Repeat(", ?", len(q.Effects)-1)+")", anys(q.Effects)...)
	}
	if q.Namespace != "" {
		w.add("namespace = ?", q.Namespace)
	}
	if q.Workload != "" {
		w.add("workload = ?", q.Workload)
	}
	switch {
	case len(q.ContainerID) >= 12:
		w.add("substr(container, 1, ?) = ?", len(q.ContainerID), q.ContainerID)
	case q.ContainerID != "":
		w.add("container = ?", q.ContainerID)
	}
	if q.Policy != "" {
		w.add("policy = ?", q.Policy)
	}
	if !q.Since.IsZero() {
		w.add("last >= ?", nanos(q.Since))
	}
	if !q.Until.IsZero() {
		w.add("last < ?", nanos(q.Until))
	}
	if q.Text != "" {
		w.add("instr(text, ?) > 0", strings.ToLower(q.Text))
	}
	return w
}

func anys[T ~string](list []T) []any {
	out := make([]any, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

// known gives the stored kinds that want selects, sorted.
func (h *handle) known(want []event.Kind) []string {
	h.kmu.RLock()
	defer h.kmu.RUnlock()
	var out []string
	for k := range h.kinds {
		if matchKind(want, event.Kind(k)) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Events implements Store.
func (s *SQLite) Events(ctx context.Context, q Query) (Page, error) {
	p, err := newPlan(q)
	if err != nil {
		return Page{}, err
	}
	var rows []event.Event
	err = s.do(ctx, "query events", func(h *handle) error {
		var err error
		rows, err = h.events(ctx, p)
		return err
	})
	if err != nil {
		return Page{}, err
	}
	return p.page(rows), nil
}

// events asks for one row more than the page holds, to know whether there is more.
//
// A page by time that names kinds is the newest of each kind, merged: every
// part reads its own index from the right place and stops at the limit,
// however rare the kind.
func (h *handle) events(ctx context.Context, p plan) ([]event.Event, error) {
	w := conditions(p.Query)
	order := "last DESC, seq DESC"
	if p.AfterSeq != nil {
		order = "seq"
		after := *p.AfterSeq
		if p.at != nil {
			after = max(after, p.at.seq)
		}
		w.add("seq > ?", int64(min(after, 1<<63-1)))
	} else if p.at != nil {
		w.add("(last, seq) < (?, ?)", p.at.last, int64(p.at.seq))
	}
	query := "SELECT seq, last, body FROM events"
	args := w.args
	switch kinds := h.known(p.Kinds); {
	case len(p.Kinds) == 0:
		query += w.String()
	case len(kinds) == 0:
		return nil, nil
	case p.AfterSeq != nil || p.Workload != "":
		w.add("kind IN (?"+strings.Repeat(", ?", len(kinds)-1)+")", anys(kinds)...)
		query, args = query+w.String(), w.args
	default:
		w.add("kind = ?")
		part := "SELECT * FROM (" + query + w.String() + " ORDER BY " + order + " LIMIT ?)"
		query, args = "", nil
		for i, k := range kinds {
			if i > 0 {
				query += " UNION ALL "
			}
			query += part
			args = append(append(args, w.args...), k, p.limit+1)
		}
	}
	rows, err := h.r.QueryContext(ctx, "SELECT seq, body FROM ("+query+") ORDER BY "+order+" LIMIT ?", append(args, p.limit+1)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []event.Event
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// Counts implements Store.
func (s *SQLite) Counts(ctx context.Context, q CountQuery) (out []Bucket, err error) {
	if err := checkBy(q.By); err != nil {
		return nil, err
	}
	err = s.do(ctx, "count events", func(h *handle) error {
		var err error
		out, err = h.counts(ctx, q)
		return err
	})
	return out, err
}

func (h *handle) counts(ctx context.Context, q CountQuery) ([]Bucket, error) {
	w := conditions(q.Query)
	if len(q.Kinds) > 0 {
		kinds := h.known(q.Kinds)
		if len(kinds) == 0 {
			return nil, nil
		}
		w.add("kind IN (?"+strings.Repeat(", ?", len(kinds)-1)+")", anys(kinds)...)
	}
	from, to, err := h.span(ctx, w)
	if err != nil || from == nil {
		return nil, err
	}
	key := map[string]string{
		"": "''", "kind": "kind", "effect": "effect", "severity": "rank",
		"workload": "CASE WHEN namespace = '' AND workload = '' THEN '' ELSE namespace || '/' || workload END",
	}[q.By]
	start, args := "?", []any{startOf(q, *from)}
	if q.Step != 0 {
		width := step(q.Step, *from, *to)
		start, args = "last / ? * ?", []any{width, width}
	}
	rows, err := h.r.QueryContext(ctx, "SELECT "+start+" AS start, "+key+" AS k, sum(count) FROM events"+w.String()+" GROUP BY start, k", append(args, w.args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Bucket
	for rows.Next() {
		var at, n int64
		var k string
		if err := rows.Scan(&at, &k, &n); err != nil {
			return nil, err
		}
		if rank, err := strconv.Atoi(k); q.By == "severity" && err == nil {
			k = string(severityOf(rank))
		}
		out = append(out, Bucket{time.Unix(0, at).UTC(), k, uint64(n)})
	}
	sortBuckets(out)
	return out, rows.Err()
}

// span is the oldest and the newest moment that w selects; nil for none.
func (h *handle) span(ctx context.Context, w where) (from, to *int64, err error) {
	err = h.r.QueryRowContext(ctx, "SELECT min(last), max(last) FROM events"+w.String(), w.args...).Scan(&from, &to)
	return from, to, err
}

// Document implements Store.
func (s *SQLite) Document(ctx context.Context, kind, name string) (doc []byte, err error) {
	err = s.do(ctx, "document "+kind+" "+name, func(h *handle) error {
		return notFound(h.r.QueryRowContext(ctx, "SELECT body FROM documents WHERE kind = ? AND name = ?", kind, name).Scan(&doc))
	})
	return doc, err
}

// Documents implements Store.
func (s *SQLite) Documents(ctx context.Context, kind string) (out map[string][]byte, err error) {
	err = s.do(ctx, "documents "+kind, func(h *handle) error {
		out = map[string][]byte{}
		rows, err := h.r.QueryContext(ctx, "SELECT name, body FROM documents WHERE kind = ?", kind)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var doc []byte
			if err := rows.Scan(&name, &doc); err != nil {
				return err
			}
			out[name] = doc
		}
		return rows.Err()
	})
	return out, err
}

// Stats implements Store. Bytes are those of the files on disk.
func (s *SQLite) Stats(ctx context.Context) (st Stats, err error) {
	err = s.do(ctx, "look at event store", func(h *handle) error {
		st = Stats{Kind: "sqlite"}
		var oldest *int64
		err := h.r.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM events), (SELECT min(last) FROM events), (SELECT value FROM numbers WHERE name = 'seq')").Scan(&st.Events, &oldest, &st.LastSeq)
		if err != nil {
			return err
		}
		if oldest != nil {
			st.Oldest = time.Unix(0, *oldest).UTC()
		}
		st.Bytes = fileBytes(s.cfg.Path) + fileBytes(s.cfg.Path+"-wal")
		return nil
	})
	return st, err
}
