package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/gabion-dev/gabion/event"
)

const (
	insertEvent = `INSERT INTO events (seq, id, first, last, kind, rank, effect, namespace, workload, container, policy, count, text, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	deleteEvent = `DELETE FROM events WHERE id = ?`
	findEvent   = `SELECT seq, body FROM events WHERE id = ?`
	saveSeq     = `UPDATE numbers SET value = ? WHERE name = 'seq'`
)

// Append implements Store: one transaction.
func (s *SQLite) Append(ctx context.Context, batch []event.Event) ([]event.Event, error) {
	rows := make([]row, len(batch))
	for i := range batch {
		var err error
		if rows[i], err = newRow(batch[i]); err != nil {
			return nil, err
		}
	}
	var out []event.Event
	err := s.do(ctx, "append events", func(h *handle) error {
		var err error
		out, err = h.append(ctx, rows)
		return err
	})
	return out, err
}

// row is an event ready to be written.
type row struct {
	event.Event
	text string
	body []byte // of the event with Seq 0; reading puts the row's own in
}

func newRow(e event.Event) (row, error) {
	if e.ID == "" {
		return row{}, fmt.Errorf("append events: one (%s) has no ID", e.Kind)
	}
	e.First, e.Last, e.Seq = e.First.UTC(), e.Last.UTC(), 0
	body, err := json.Marshal(e)
	if err != nil {
		return row{}, fmt.Errorf("append event %s: %w", e.ID, err)
	}
	return row{e, searchText(&e), body}, nil
}

func (h *handle) append(ctx context.Context, rows []row) ([]event.Event, error) {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	seq := h.seq
	out := make([]event.Event, 0, len(rows))
	err := h.tx(ctx, func(tx *sql.Tx) error {
		for _, r := range rows {
			e, err := h.put(ctx, tx, r, seq+1)
			if err != nil {
				return err
			}
			seq = max(seq, e.Seq)
			out = append(out, e)
		}
		_, err := tx.StmtContext(ctx, h.saveSeq).ExecContext(ctx, int64(seq))
		return err
	})
	if err != nil {
		return nil, err
	}
	h.seq = seq
	h.kmu.Lock()
	defer h.kmu.Unlock()
	for _, e := range out {
		h.kinds[string(e.Kind)] = true
	}
	return out, nil
}

// put writes one event at seq, over an earlier record of the same cause unless
// that counts more, and gives what is stored then.
func (h *handle) put(ctx context.Context, tx *sql.Tx, r row, seq uint64) (event.Event, error) {
	if fresh, err := h.insert(ctx, tx, r, seq); err != nil || fresh {
		r.Seq = seq
		return r.Event, err
	}
	old, err := scan(tx.StmtContext(ctx, h.find).QueryRowContext(ctx, r.ID))
	if err != nil {
		return event.Event{}, err
	}
	e, grown := merge(old, r.Event)
	if !grown {
		return old, nil
	}
	if r, err = newRow(e); err != nil {
		return event.Event{}, err
	}
	if _, err := tx.StmtContext(ctx, h.remover).ExecContext(ctx, r.ID); err != nil {
		return event.Event{}, err
	}
	_, err = h.insert(ctx, tx, r, seq)
	r.Seq = seq
	return r.Event, err
}

func (h *handle) insert(ctx context.Context, tx *sql.Tx, r row, seq uint64) (fresh bool, err error) {
	policy := ""
	if r.Rule != nil {
		policy = r.Rule.Policy
	}
	res, err := tx.StmtContext(ctx, h.inserter).ExecContext(ctx, int64(seq), r.ID, nanos(r.First), nanos(r.Last), string(r.Kind),
		r.Severity.Rank(), string(r.Effect), r.Workload.Namespace, r.Workload.Name, r.ContainerID, policy, int64(r.Count), r.text, string(r.body))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// tx runs fn in one transaction. wmu is held.
func (h *handle) tx(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := h.w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback() // SQLite may have done so already, which is no news
		return err
	}
	return tx.Commit()
}

// Put implements Store.
func (s *SQLite) Put(ctx context.Context, kind, name string, doc []byte) error {
	return s.do(ctx, "put "+kind+" "+name, func(h *handle) error {
		return h.write(ctx, "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body", kind, name, append([]byte{}, doc...))
	})
}

// Delete implements Store.
func (s *SQLite) Delete(ctx context.Context, kind, name string) error {
	return s.do(ctx, "delete "+kind+" "+name, func(h *handle) error {
		return h.write(ctx, "DELETE FROM documents WHERE kind = ? AND name = ?", kind, name)
	})
}

func (h *handle) write(ctx context.Context, query string, args ...any) error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	_, err := h.w.ExecContext(ctx, query, args...)
	return err
}

// pruneRows is how many events one transaction removes, so that writers never
// wait long.
const pruneRows = 2000

// Prune implements Store. MaxBytes is measured in pages in use.
func (s *SQLite) Prune(ctx context.Context, r Retention) (removed int64, err error) {
	err = s.do(ctx, "prune events", func(h *handle) error {
		var err error
		removed, err = h.prune(ctx, r, nanos(s.cfg.Now().Add(-r.MaxAge)))
		return err
	})
	return removed, err
}

func (h *handle) prune(ctx context.Context, r Retention, oldest int64) (removed int64, err error) {
	for {
		var n int64
		if r.MaxAge > 0 {
			if n, err = h.remove(ctx, "SELECT seq FROM events WHERE last < ? ORDER BY last LIMIT ?", oldest, pruneRows); err != nil {
				return removed, err
			}
		}
		if n == 0 && r.MaxBytes > 0 {
			over, err := h.tooMany(ctx, r.MaxBytes)
			if err != nil {
				return removed, err
			}
			if over > 0 {
				if n, err = h.remove(ctx, "SELECT seq FROM events ORDER BY last, seq LIMIT ?", min(over, pruneRows)); err != nil {
					return removed, err
				}
			}
		}
		if removed += n; n == 0 {
			break
		}
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, h.giveBack(ctx)
}

func (h *handle) remove(ctx context.Context, which string, args ...any) (int64, error) {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	res, err := h.w.ExecContext(ctx, "DELETE FROM events WHERE seq IN ("+which+")", args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// tooMany guesses how many events must go to come down to maxBytes.
func (h *handle) tooMany(ctx context.Context, maxBytes int64) (int64, error) {
	used, err := h.used(ctx)
	if err != nil || used <= maxBytes {
		return 0, err
	}
	var rows int64
	if err := h.r.QueryRowContext(ctx, "SELECT count(*) FROM events").Scan(&rows); err != nil || rows == 0 {
		return 0, err
	}
	return max(1, rows*(used-maxBytes)/used), nil
}

// used is the number of bytes in pages that hold something.
func (h *handle) used(ctx context.Context) (int64, error) {
	var bytes int64
	err := h.r.QueryRowContext(ctx, "SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s").Scan(&bytes)
	return bytes, err
}

// giveBack returns free pages to the file system, a part at a time.
func (h *handle) giveBack(ctx context.Context) error {
	for {
		var free int64
		if err := h.r.QueryRowContext(ctx, "SELECT freelist_count FROM pragma_freelist_count").Scan(&free); err != nil {
			return err
		}
		if free == 0 {
			break
		}
		if err := h.drain(ctx, "PRAGMA incremental_vacuum(4000)"); err != nil {
			return err
		}
	}
	return h.drain(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
}

// drain runs a pragma that works while its rows are read.
func (h *handle) drain(ctx context.Context, pragma string) error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	rows, err := h.w.QueryContext(ctx, pragma)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}
