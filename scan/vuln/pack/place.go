package pack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
)

// Place is the directory of the local database: files named by digest, and
// current.json, which says which of them is in force. Replacing that one file
// is what an update is; the database before it is kept for whoever reads it
// still, and as the base of a delta.
type Place struct{ Dir string }

// DefaultPlace is $XDG_CACHE_HOME/gabion/db, else $HOME/.cache/gabion/db.
func DefaultPlace(getenv func(string) string) (Place, error) {
	if d := getenv("XDG_CACHE_HOME"); filepath.IsAbs(d) {
		return Place{filepath.Join(d, "gabion", "db")}, nil
	}
	if d := getenv("HOME"); filepath.IsAbs(d) {
		return Place{filepath.Join(d, ".cache", "gabion", "db")}, nil
	}
	return Place{}, errors.New("find place of the database: neither XDG_CACHE_HOME nor HOME is set; name a directory")
}

// current is the content of current.json.
type current struct {
	Statement Statement       `json:"statement"`
	Envelope  json.RawMessage `json:"envelope"`
	From      string          `json:"from,omitempty"`
	Fetched   time.Time       `json:"fetched,omitzero"`
	Signed    string          `json:"signed,omitempty"` // id of the key that verified
	Previous  string          `json:"previous,omitempty"`
}

func (p Place) file(digest string) string {
	return filepath.Join(p.Dir, strings.Replace(digest, ":", "-", 1)+".db")
}

func (p Place) pointer() string { return filepath.Join(p.Dir, "current.json") }

// read tells which database is in force. ErrNoDatabase: none is.
func (p Place) read() (current, error) {
	var c current
	b, err := os.ReadFile(p.pointer())
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read database in %s: %w; get one by \"gabion db update\" or \"gabion db import\"", p.Dir, ErrNoDatabase)
	}
	if err != nil {
		return c, fmt.Errorf("read database: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("read %s: %w: %w", p.pointer(), err, ErrCorrupt)
	}
	if err := c.Statement.check(); err != nil {
		return c, fmt.Errorf("read %s: %w", p.pointer(), err)
	}
	if c.Previous != "" && !isDigest(c.Previous) {
		c.Previous = ""
	}
	fi, err := os.Stat(p.file(c.Statement.Digest))
	if err != nil || fi.Size() != c.Statement.Size {
		return c, fmt.Errorf("read database %s: missing or of the wrong size: %w", p.file(c.Statement.Digest), ErrNoDatabase)
	}
	return c, nil
}

// Database is the path of the database in force. ErrNoDatabase: there is none.
func (p Place) Database() (string, error) {
	c, err := p.read()
	if err != nil {
		return "", err
	}
	return p.file(c.Statement.Digest), nil
}

// Status is what is known of the local database.
type Status struct {
	Path     string        `json:"path"`
	File     string        `json:"file"` // digest of the file, which is what was signed
	Size     int64         `json:"size"`
	Database scan.Database `json:"database"`
	From     string        `json:"from,omitempty"` // where it came from
	Fetched  time.Time     `json:"fetched,omitzero"`
	Signed   string        `json:"signed,omitempty"` // id of the key; empty: not signed
	DaysOld  int           `json:"daysOld"`          // whole days since the newest fact
}

// Status reads the local database's header.
func (p Place) Status(now time.Time) (Status, error) {
	c, err := p.read()
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Path: p.file(c.Statement.Digest), File: c.Statement.Digest, Size: c.Statement.Size,
		From: c.From, Fetched: c.Fetched, Signed: c.Signed,
		DaysOld: int(now.Sub(c.Statement.Data) / (24 * time.Hour)),
	}
	s.Database, err = describe(s.Path)
	return s, err
}

// describe opens a database for what its header says.
func describe(path string) (scan.Database, error) {
	db, err := vuln.Open(path)
	if err != nil {
		return scan.Database{}, fmt.Errorf("open database: %w", err)
	}
	info := db.Info()
	return info, db.Close()
}

// Verify reads the whole local database and compares it with its digest and,
// with keys, its signature.
func (p Place) Verify(ctx context.Context, keys Keys) error {
	c, err := p.read()
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		s, _, err := open(c.Envelope, keys, false)
		if err != nil {
			return err
		}
		if s.Digest != c.Statement.Digest {
			return fmt.Errorf("verify database: the signature is of %s, the database is %s: %w", s.Digest, c.Statement.Digest, ErrCorrupt)
		}
	}
	path := p.file(c.Statement.Digest)
	digest, _, err := digestOf(ctx, path)
	if err != nil {
		return fmt.Errorf("verify database: %w", err)
	}
	if digest != c.Statement.Digest {
		return fmt.Errorf("verify database %s: its content has digest %s; get it anew by \"gabion db update --force\": %w", path, digest, ErrCorrupt)
	}
	db, err := vuln.Open(path)
	if err != nil {
		return fmt.Errorf("verify database: %w", err)
	}
	return errors.Join(db.Verify(), db.Close())
}

// lock keeps other processes from changing the place. It waits, as long as ctx
// lasts.
func (p Place) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(p.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock database: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("lock database in %s: %w: %w", p.Dir, ErrBusy, ctx.Err())
		}
	}
}

// install puts a verified file in force. The place is locked.
func (p Place) install(tmp string, c current) (Status, error) {
	if _, err := describe(tmp); err != nil {
		return Status{}, fmt.Errorf("install database: %w", err)
	}
	old, err := p.read()
	if err == nil && old.Statement.Digest != c.Statement.Digest {
		c.Previous = old.Statement.Digest
	} else if err == nil {
		c.Previous = old.Previous
	}
	if err := os.Rename(tmp, p.file(c.Statement.Digest)); err != nil {
		return Status{}, fmt.Errorf("install database: %w", err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		return Status{}, fmt.Errorf("install database: %w", err)
	}
	if err := replace(p.pointer(), b); err != nil {
		return Status{}, fmt.Errorf("install database: %w", err)
	}
	p.tidy(c)
	return p.Status(c.Fetched)
}

// tidy removes databases that are neither in force nor the one before, and
// what was left of broken downloads.
func (p Place) tidy(c current) {
	list, err := os.ReadDir(p.Dir)
	if err != nil {
		return // nothing depends on it
	}
	for _, e := range list {
		name := filepath.Join(p.Dir, e.Name())
		stale := strings.HasSuffix(name, ".db") && name != p.file(c.Statement.Digest) && (c.Previous == "" || name != p.file(c.Previous))
		if stale || strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".new") {
			_ = os.Remove(name)
		}
	}
}

// replace writes a file beside another and gives it its name.
func replace(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Options say how a database is taken.
type Options struct {
	Remote Remote
	Keys   Keys
	// Unsigned takes databases that no known key signed.
	Unsigned bool
	// Force takes a database that is older than the one at hand, and takes it
	// anew when it is the same.
	Force bool
	// MaxSize of a database in bytes; 0: 8 GiB.
	MaxSize int64
	// Now is the clock for Status.Fetched; nil: time.Now.
	Now func() time.Time
	// Wait pauses between the tries of a download; nil: it sleeps, or ends with
	// ctx.
	Wait func(ctx context.Context, d time.Duration) error
	// Progress tells bytes at hand of bytes to fetch.
	Progress func(done, total int64)
}

func (o *Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

func (o *Options) wait(ctx context.Context, d time.Duration) error {
	if o.Wait != nil {
		return o.Wait(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// accept judges a statement: its signature, its size, and its age beside the
// database at hand.
func (p Place) accept(env []byte, o Options) (current, error) {
	s, key, err := open(env, o.Keys, o.Unsigned)
	if err != nil {
		return current{}, err
	}
	if max := cmp.Or(o.MaxSize, maxDatabase); s.Size > max {
		return current{}, fmt.Errorf("database of %d bytes, allowed are %d: %w", s.Size, max, ErrTooBig)
	}
	c := current{Statement: s, Envelope: env, Signed: key, Fetched: o.now().UTC()}
	old, err := p.read()
	if err == nil && !o.Force && s.older(&old.Statement) {
		return c, fmt.Errorf("database of %s, the one at hand is of %s: %w; it is taken by force only",
			s.Data.Format(time.DateOnly), old.Statement.Data.Format(time.DateOnly), ErrOlder)
	}
	return c, nil
}

// verified writes what r holds to a file beside the database and compares it
// with the statement.
func (p Place) verified(ctx context.Context, s Statement, r io.Reader) (tmp string, err error) {
	tmp = p.file(s.Digest) + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(&ctxReader{ctx, r}, s.Size+1))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil && n != s.Size {
		err = fmt.Errorf("%d bytes, %d were announced: %w", n, s.Size, ErrCorrupt)
	}
	if got := hexDigest(h.Sum(nil)); err == nil && got != s.Digest {
		err = fmt.Errorf("digest %s, %s was announced: %w", got, s.Digest, ErrCorrupt)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return "", err
	}
	return tmp, nil
}

func hexDigest(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// digestOf reads a whole file.
func digestOf(ctx context.Context, path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, &ctxReader{ctx, f})
	return hexDigest(h.Sum(nil)), size, err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}
