package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Update brings the local database up to what ref ("registry/repo:tag",
// "oci:DIR:tag") holds: by a delta where there is one from the database at hand,
// else by fetching all of it. A broken download goes on where it ended the next
// time.
func (p Place) Update(ctx context.Context, ref string, o Options) (Change, error) {
	unlock, err := p.lock(ctx)
	if err != nil {
		return Change{}, err
	}
	defer unlock()
	ch, err := p.update(ctx, ref, o)
	if err != nil {
		return ch, fmt.Errorf("update database from %s: %w", ref, err)
	}
	return ch, nil
}

func (p Place) update(ctx context.Context, ref string, o Options) (Change, error) {
	r, err := openRepo(ref, o.Remote)
	if err != nil {
		return Change{}, err
	}
	raw, err := r.manifest(ctx)
	if err != nil {
		return Change{}, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return Change{}, err
	}
	st, ok := m.layer(StatementType)
	if !ok {
		return Change{}, fmt.Errorf("no statement in the artifact: %w", ErrCorrupt)
	}
	env, err := small(ctx, r, st, maxEnvelope)
	if err != nil {
		return Change{}, err
	}
	c, err := p.accept(env, o)
	if err != nil {
		return Change{}, err
	}
	if same, ch, err := p.same(c, o); same {
		return ch, err
	}
	c.From = ref
	g := &getter{place: p, repo: r, o: o, c: c}
	fallback := ""
	if old, err := p.read(); err == nil {
		if d, ok := m.delta(old.Statement.Digest); ok && d.Size < maxDeltaBase {
			ch, err := g.delta(ctx, d, p.file(old.Statement.Digest))
			if err == nil || ctx.Err() != nil {
				return ch, err
			}
			fallback = err.Error()
		}
	}
	full, ok := m.layer(DatabaseType)
	if !ok {
		return Change{}, fmt.Errorf("no database in the artifact: %w", ErrCorrupt)
	}
	if full.Size > cmp.Or(o.MaxSize, maxDatabase) {
		return Change{}, fmt.Errorf("database of %d bytes: %w", full.Size, ErrTooBig)
	}
	ch, err := g.full(ctx, full)
	ch.Fallback = fallback
	return ch, err
}

type getter struct {
	place            Place
	repo             repo
	o                Options
	c                current
	carried, resumed int64
}

func (g *getter) change(ch Change, err error) (Change, error) {
	ch.Carried, ch.Resumed = g.carried, g.resumed
	return ch, err
}

func (g *getter) full(ctx context.Context, d descriptor) (Change, error) {
	part, err := g.download(ctx, d)
	if err != nil {
		return Change{}, err
	}
	defer os.Remove(part)
	f, err := os.Open(part)
	if err != nil {
		return Change{}, err
	}
	defer f.Close()
	return g.change(g.place.unpack(ctx, f, g.c))
}

func (g *getter) delta(ctx context.Context, d descriptor, base string) (Change, error) {
	part, err := g.download(ctx, d)
	if err != nil {
		return Change{}, err
	}
	defer os.Remove(part)
	delta, err := os.ReadFile(part)
	if err != nil {
		return Change{}, err
	}
	old, err := os.Open(base)
	if err != nil {
		return Change{}, err
	}
	defer old.Close()
	fi, err := old.Stat()
	if err != nil {
		return Change{}, err
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.CloseWithError(applyDelta(old, fi.Size(), delta, g.c.Statement.Size, w))
	}()
	tmp, err := g.place.verified(ctx, g.c.Statement, r)
	_ = r.Close() // lets the writer end, if it has not
	<-ended
	if err != nil {
		return Change{}, fmt.Errorf("apply delta: %w", err)
	}
	st, err := g.place.install(tmp, g.c)
	return g.change(Change{Status: st, Updated: true, Delta: true}, err)
}

// tries is how often a download is taken up again within one update.
const tries = 4

// download fetches a blob into a file named after it, going on where an
// earlier try ended, and verifies it.
func (g *getter) download(ctx context.Context, d descriptor) (string, error) {
	part := filepath.Join(g.place.Dir, strings.Replace(d.Digest, ":", "-", 1)+".part")
	had := int64(0) // what an earlier update left and this one goes on from
	if fi, err := os.Stat(part); err == nil && fi.Size() <= d.Size {
		had = fi.Size()
	}
	var err error
	for try := range tries {
		if try > 0 {
			if werr := g.o.wait(ctx, 200*time.Millisecond<<try); werr != nil {
				return "", errors.Join(err, werr)
			}
		}
		var from int64
		if from, err = g.attempt(ctx, d, part); from < had {
			had = 0
		}
		if err == nil {
			g.resumed += had
			break
		}
		if ctx.Err() != nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDenied) || errors.Is(err, ErrTooBig) {
			return "", err
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w; what was fetched is kept, try again", err)
	}
	got, size, err := digestOf(ctx, part)
	if err != nil {
		return "", err
	}
	if got != d.Digest || size != d.Size {
		_ = os.Remove(part)
		return "", fmt.Errorf("blob %s has digest %s and %d bytes: %w; it was thrown away, try again", d.Digest, got, size, ErrCorrupt)
	}
	return part, nil
}

// attempt asks for what is missing; from is where the answer began.
func (g *getter) attempt(ctx context.Context, d descriptor, part string) (from int64, err error) {
	f, err := os.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	offset, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if offset == d.Size {
		return offset, nil
	}
	if offset > d.Size {
		offset = 0
	}
	rc, from, err := g.repo.blob(ctx, d, offset)
	if err != nil {
		return offset, err
	}
	defer rc.Close()
	if err := f.Truncate(from); err != nil {
		return from, err
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return from, err
	}
	in := &counting{r: io.LimitReader(&ctxReader{ctx, rc}, d.Size-from+1), done: from, total: d.Size, tell: g.o.Progress}
	n, err := io.Copy(f, in)
	g.carried += n
	switch {
	case err != nil:
		return from, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	case from+n < d.Size:
		return from, fmt.Errorf("fetch blob %s: ended after %d of %d bytes: %w", d.Digest, from+n, d.Size, io.ErrUnexpectedEOF)
	case from+n > d.Size:
		_ = f.Truncate(0) // not what was announced; do not go on from it
		return from, fmt.Errorf("fetch blob %s: more than the %d bytes announced: %w", d.Digest, d.Size, ErrTooBig)
	}
	return from, f.Close()
}

type counting struct {
	r           io.Reader
	done, total int64
	tell        func(done, total int64)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.tell != nil && n > 0 {
		c.tell(c.done, c.total)
	}
	return n, err
}
