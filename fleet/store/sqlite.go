package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Config describes a SQLite store. Path is required; zero fields get defaults.
type Config struct {
	// Path is the database file; its folder is made when missing (mode 0700).
	Path string
	Log  *slog.Logger
	Now  func() time.Time
	// OnRecovered, when set, is told when a damaged file was set aside. It must
	// not call the store.
	OnRecovered func(Recovered)
}

// Recovered tells that the database file was damaged and a fresh one begun.
type Recovered struct {
	Time  time.Time
	Path  string // the file in use
	Aside string // where the damaged file is now
	Cause string
}

// String says what happened, why, and what to do.
func (r Recovered) String() string {
	return fmt.Sprintf("the event store %s was damaged (%s); it was kept as %s and a fresh one begun: earlier events are missing until someone recovers that file with sqlite3 .recover", r.Path, r.Cause, r.Aside)
}

// SQLite is the Store of one node or a small fleet: one file, in WAL mode.
//
// "Durable on return" holds for the death of the process and for power loss:
// synchronous=FULL syncs the log once a transaction, which a batch of 1,000
// hardly feels. Retention deletes the oldest rows and gives their pages back
// (auto_vacuum=INCREMENTAL): a file per day would free room with one unlink,
// but a cause lives on for days under one ID and would have to move between
// files, and every question would be asked of many of them.
//
// A damaged file never stops the product: it is set aside, said loudly, and a
// fresh one begun.
type SQLite struct {
	cfg Config

	mu        sync.RWMutex // writing: the handle is exchanged or closed
	h         *handle
	recovered []Recovered
	broken    error     // why there is no handle
	lastTry   time.Time // to open the file again
	closed    bool
}

var _ Store = (*SQLite)(nil)

// Open opens or makes the store at cfg.Path. A file that is no sound database
// is set aside (see Recovered); one written by a newer version is refused. When
// the disk is too full to open it, the store is given all the same and answers
// ErrFull until there is room.
func Open(ctx context.Context, cfg Config) (*SQLite, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, fmt.Errorf("open event store: %w", err)
	}
	s := &SQLite{cfg: cfg}
	err := s.open(ctx)
	if noRoom(err, cfg.Path) {
		cfg.Log.Error("event store can not be opened for want of room; it will be as soon as there is some", "path", cfg.Path, "cause", err)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open event store %s: %w", cfg.Path, err)
	}
	return s, nil
}

// open makes the handle. mu is held, or nobody else knows s yet.
func (s *SQLite) open(ctx context.Context) error {
	h, err := openHandle(ctx, s.cfg.Path)
	if damaged(err) && !noRoom(err, s.cfg.Path) {
		h, err = s.startAfresh(ctx, err)
	}
	s.h, s.broken = h, err
	return err
}

// openRoom is the room on the disk below which a failure to open the file says
// nothing about the file.
const openRoom = 1 << 20

func noRoom(err error, path string) bool {
	var st unix.Statfs_t
	return err != nil && unix.Statfs(filepath.Dir(path), &st) == nil && st.Bavail*uint64(st.Bsize) < openRoom
}

// reopen tries to open a file that could not be opened before, at most once a second.
func (s *SQLite) reopen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.h != nil {
		return nil
	}
	if time.Since(s.lastTry) > time.Second {
		s.lastTry = time.Now()
		if s.open(ctx) == nil {
			s.cfg.Log.Info("event store is open again", "path", s.cfg.Path)
			return nil
		}
	}
	return fmt.Errorf("%w: open %s: %v", ErrFull, s.cfg.Path, s.broken)
}

// Recovered lists the damaged files that were set aside since Open, oldest first.
func (s *SQLite) Recovered() []Recovered {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]Recovered(nil), s.recovered...)
}

// startAfresh sets the damaged file aside and opens a new one.
func (s *SQLite) startAfresh(ctx context.Context, cause error) (*handle, error) {
	r := Recovered{Time: s.cfg.Now().UTC(), Path: s.cfg.Path, Cause: cause.Error()}
	r.Aside = fmt.Sprintf("%s.damaged-%s", s.cfg.Path, r.Time.Format("20060102T150405.000000000"))
	if err := os.Rename(s.cfg.Path, r.Aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("set damaged file aside: %w", err)
	}
	// The log belongs to the damaged file and would spoil the fresh one.
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(s.cfg.Path+suffix, r.Aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("set damaged file aside: %w", err)
		}
	}
	h, err := openHandle(ctx, s.cfg.Path)
	if err != nil {
		return nil, err
	}
	s.recovered = append(s.recovered, r)
	s.cfg.Log.Error("event store was damaged and begun afresh", "path", r.Path, "aside", r.Aside, "cause", r.Cause)
	if s.cfg.OnRecovered != nil {
		s.cfg.OnRecovered(r)
	}
	return h, nil
}

// do runs fn on the open database. When that shows damage, the file is set
// aside and fn run once more on the fresh one.
func (s *SQLite) do(ctx context.Context, what string, fn func(*handle) error) error {
	h, err := s.with(fn)
	if errors.Is(err, errNotOpen) {
		if err = s.reopen(ctx); err == nil {
			h, err = s.with(fn)
		}
	}
	if damaged(err) {
		if err = s.exchange(ctx, h, err); err == nil {
			_, err = s.with(fn)
		}
	}
	switch {
	case err == nil:
		return nil
	case code(err) == sqlite3.SQLITE_FULL || code(err) == sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%s: %w: %v", what, ErrFull, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *SQLite) with(fn func(*handle) error) (*handle, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.h == nil {
		return nil, errNotOpen
	}
	return s.h, fn(s.h)
}

// exchange replaces h, which showed damage, by a handle on a fresh file.
func (s *SQLite) exchange(ctx context.Context, h *handle, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.h != h {
		return nil // someone else was here first
	}
	if h != nil {
		h.close()
	}
	fresh, err := s.startAfresh(ctx, cause)
	s.h, s.broken = fresh, err
	return err
}

// Close implements Store.
func (s *SQLite) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.h == nil {
		return nil
	}
	err := s.h.close()
	s.h = nil
	return err
}

// code is the primary result code of an error of SQLite, or 0.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

// damaged reports whether err says that the file is no sound database.
func damaged(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB || errors.Is(err, errUnsound)
}

// errNotOpen: there is no handle now.
var errNotOpen = errors.New("the file is not open")

var errUnsound = errors.New("the quick check found damage")

// dsn names the file with the settings that every connection gets.
func dsn(path string, pragmas ...string) string {
	q := url.Values{}
	for _, p := range append([]string{"busy_timeout(10000)", "synchronous(FULL)", "temp_store(MEMORY)"}, pragmas...) {
		q.Add("_pragma", p)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// handle is the open database: one connection that writes, a few that read.
type handle struct {
	w, r *sql.DB

	// wmu orders writers, so that none waits inside SQLite.
	wmu sync.Mutex
	seq uint64 // of the last event, guarded by wmu
	// Statements of the writer.
	inserter, remover, find, saveSeq *sql.Stmt

	kmu   sync.RWMutex
	kinds map[string]bool // every kind that was ever stored
}

// checkBytes is the largest file that is checked throughout when it is opened;
// damage in a larger one shows when it is met.
const checkBytes = 64 << 20

func openHandle(ctx context.Context, path string) (_ *handle, err error) {
	h := &handle{kinds: map[string]bool{}}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	// auto_vacuum must be set before the first table is made. The log may grow to
	// 8,000 pages (32 MiB) before it is written back: less often is less work.
	if h.w, err = sql.Open("sqlite", dsn(path, "auto_vacuum(INCREMENTAL)", "journal_mode(WAL)", "journal_size_limit(67108864)", "wal_autocheckpoint(8000)", "cache_size(-6144)")); err != nil {
		return nil, err
	}
	h.w.SetMaxOpenConns(1)
	if err = check(ctx, h.w, path); err != nil {
		return nil, err
	}
	if err = migrate(ctx, h.w); err != nil {
		return nil, err
	}
	for query, st := range map[string]**sql.Stmt{insertEvent: &h.inserter, deleteEvent: &h.remover, findEvent: &h.find, saveSeq: &h.saveSeq} {
		if *st, err = h.w.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
	}
	if h.r, err = sql.Open("sqlite", dsn(path, "query_only(1)", "cache_size(-2048)")); err != nil {
		return nil, err
	}
	h.r.SetMaxOpenConns(3)
	h.r.SetMaxIdleConns(3)
	if err = os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return h, h.load(ctx)
}

func check(ctx context.Context, db *sql.DB, path string) error {
	if st, err := os.Stat(path); err == nil && st.Size() > checkBytes {
		return nil
	}
	var said string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return err
	}
	if said != "ok" {
		return fmt.Errorf("%w: %s", errUnsound, said)
	}
	return nil
}

// load reads what is kept in memory: the last sequence and the kinds.
func (h *handle) load(ctx context.Context) error {
	if err := h.r.QueryRowContext(ctx, "SELECT value FROM numbers WHERE name = 'seq'").Scan(&h.seq); err != nil {
		return err
	}
	for last := ""; ; {
		err := h.r.QueryRowContext(ctx, "SELECT kind FROM events WHERE kind > ? ORDER BY kind LIMIT 1", last).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		h.kinds[last] = true
	}
}

func (h *handle) close() error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	var errs []error
	for _, st := range []*sql.Stmt{h.inserter, h.remover, h.find, h.saveSeq} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	if h.r != nil {
		errs = append(errs, h.r.Close())
	}
	if h.w != nil {
		errs = append(errs, h.w.Close())
	}
	return errors.Join(errs...)
}

func fileBytes(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
