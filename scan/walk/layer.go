package walk

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Layer walks the blob of a layer: a tar, packed with gzip, zstd or not at all,
// which its first bytes decide. An error means that the layer is lost (corrupt,
// truncated, not what was wanted, beyond a limit), whatever the visitor was
// shown until then. When ctx ends, a blob that is an io.Closer is closed.
//
// Tar is read by the standard library on purpose: container runtimes do so too,
// and a file that only one of two readers sees is a place to hide.
func Layer(ctx context.Context, blob io.Reader, want Want, lim Limits, v Visitor) (Result, error) {
	lim = lim.filled()
	if err := checkMediaType(want.MediaType); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lim.Time, ErrTimeout)
	defer cancel()
	if c, ok := blob.(io.Closer); ok {
		// A read that hangs ends with its source.
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		defer stop()
	}
	u := start(ctx, blob, want, lim)
	w := &layerWalk{src: &chunkReader{ctx: ctx, u: u}, lim: lim, gaps: gaps{max: lim.Gaps}, v: v}
	err := w.walk(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = stopped(ctx) // and not what the closed blob says
		}
		cancel()
	}
	for range u.out { // the goroutines have ended when this is closed
	}
	if err != nil {
		return Result{}, err
	}
	res := Result{Digest: digest(u.in.hash), Size: u.in.n, Bytes: u.bytes, Entries: w.entries}
	if res.DiffID = res.Digest; u.tarHash != nil {
		res.DiffID = digest(u.tarHash)
	}
	if err := want.check(res); err != nil {
		return Result{}, err
	}
	if u.trailing > 0 {
		w.gaps.add(scan.Gap{
			Where: "layer", What: fmt.Sprintf("%d bytes follow the packed data", u.trailing),
			Means: "they were not examined; no runtime unpacks them", Minor: true,
		})
	}
	res.Gaps = w.gaps.all()
	return res, nil
}

func digest(h hash.Hash) string { return fmt.Sprintf("sha256:%x", h.Sum(nil)) }

// check compares what came with what was promised.
func (w Want) check(r Result) error {
	switch {
	case w.Size > 0 && w.Size != r.Size:
		return fmt.Errorf("verify layer: %d bytes, not %d: %w", r.Size, w.Size, ErrMismatch)
	case w.Digest != "" && w.Digest != r.Digest:
		return fmt.Errorf("verify layer: digest is %s, not %s: %w", r.Digest, w.Digest, ErrMismatch)
	case w.DiffID != "" && w.DiffID != r.DiffID:
		return fmt.Errorf("verify layer: diff id is %s, not %s: %w", r.DiffID, w.DiffID, ErrMismatch)
	case r.Bytes == 0 && w.DiffID == "" && w.Digest == "":
		// An interrupted transfer looks like this, and nobody promised that it is right.
		return fmt.Errorf("read layer: it is empty: %w", ErrCorrupt)
	}
	return nil
}

// layerWalk is the state of one walk over a tar.
type layerWalk struct {
	src     *chunkReader
	lim     Limits
	gaps    gaps
	v       Visitor
	entries int
	sparse  int64 // bytes that sparse files claim
	entry   Entry
}

func (w *layerWalk) walk(ctx context.Context) error {
	tr := tar.NewReader(w.src)
	for {
		if err := ctx.Err(); err != nil {
			return stopped(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return w.tarError(err)
		}
		if w.entries++; w.entries > w.lim.Entries {
			return fmt.Errorf("walk layer: more than %d: %w", w.lim.Entries, ErrTooMany)
		}
		if err := w.visit(h, tr); err != nil {
			return err
		}
	}
	return w.drain()
}

// tarError prefers what went wrong below the tar.
func (w *layerWalk) tarError(err error) error {
	if w.src.err != nil && !errors.Is(w.src.err, io.EOF) {
		return w.src.err
	}
	return fmt.Errorf("read tar behind entry %d: %w: %w", w.entries, ErrCorrupt, noEOF(err))
}

func (w *layerWalk) visit(h *tar.Header, tr *tar.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // a comment for the whole archive; git writes one
	}
	if len(h.Name) > w.lim.PathBytes || len(h.Linkname) > w.lim.PathBytes {
		w.leftOut(h.Name, fmt.Sprintf("its path or link is longer than %d bytes", w.lim.PathBytes))
		return nil
	}
	p, escaped := clean(h.Name)
	if escaped {
		w.gaps.add(scan.Gap{
			Where: p, What: fmt.Sprintf("the layer names it %q, which would leave the root", short(h.Name)),
			Means: "it was examined as what runtimes make of it", Do: "do not trust where this image comes from", Minor: true,
		})
	}
	if depth(p) > w.lim.Depth {
		w.leftOut(p, fmt.Sprintf("more than %d directories deep", w.lim.Depth))
		return nil
	}
	p, t, skip, bad := whiteout(p)
	if skip {
		return nil
	}
	if bad {
		w.leftOut(p, "it removes nothing that can have a name")
		return nil
	}
	e := &w.entry
	*e = Entry{Path: p, Type: t, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid}
	if t != Regular { // a removal, whatever type the entry has
		return w.v.Visit(e, nil)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return w.regular(e, h, tr)
	case tar.TypeDir:
		e.Type = Directory
	case tar.TypeSymlink:
		e.Type, e.Target = Symlink, h.Linkname
	case tar.TypeLink:
		e.Type = Hardlink
		if e.Target, escaped = clean(h.Linkname); escaped {
			w.leftOut(p, fmt.Sprintf("a hard link to %q, outside of the root", short(h.Linkname)))
			return nil
		}
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.Type = Device
	default:
		w.leftOut(p, fmt.Sprintf("unknown type %q of entry", h.Typeflag))
		return nil
	}
	return w.v.Visit(e, nil)
}

func (w *layerWalk) regular(e *Entry, h *tar.Header, tr *tar.Reader) error {
	e.Size = h.Size
	if isSparse(h) {
		// Holes cost nothing in the layer but time to read: they count as unpacked.
		w.sparse += h.Size
		if err := ratio(w.sparse, w.src.taken, w.lim); err != nil {
			return err
		}
	}
	var r io.Reader = tr
	if h.Size > w.lim.FileBytes {
		w.gaps.add(fileTooBig(e.Path, h.Size, w.lim.FileBytes))
		r = tooBig{}
	}
	return w.v.Visit(e, r)
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// leftOut records an entry that the visitor is not shown.
func (w *layerWalk) leftOut(where, what string) {
	w.gaps.add(scan.Gap{Where: where, What: what, Means: "the entry was not examined", Do: "look at the layer: an honest one has no such entry"})
}

func fileTooBig(p string, size, most int64) scan.Gap {
	return scan.Gap{
		Where: p, What: fmt.Sprintf("%d bytes, more than the limit of %d for one file", size, most),
		Means: "its content was not examined", Do: "raise the limit for one file",
	}
}

// tooBig is the content of a file beyond the limit.
type tooBig struct{}

func (tooBig) Read([]byte) (int, error) { return 0, ErrFileTooBig }

// drain reads what follows the end of the archive, so that digests are of the
// whole, and says so when it is more than padding.
func (w *layerWalk) drain() error {
	var extra int64
	for {
		for b := w.src.buf; len(b) > 0; {
			n := min(len(b), len(zeros))
			if !bytes.Equal(b[:n], zeros[:n]) {
				extra += int64(n)
			}
			b = b[n:]
		}
		w.src.buf = nil
		if err := w.src.fill(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if extra > 0 {
		w.gaps.add(scan.Gap{
			Where: "layer", What: "data follows the end of the archive",
			Means: "it was not examined; no runtime unpacks it", Minor: true,
		})
	}
	return nil
}

// zeros are compared with, block by block.
var zeros [4096]byte

// chunkReader is the tar as archive/tar wants it. Its Seek, forward only, lets
// content that nobody reads pass without being copied.
type chunkReader struct {
	ctx   context.Context
	u     *unpacker
	cur   []byte // the whole chunk, to be given back
	buf   []byte // what is left of it
	err   error
	taken int64 // bytes of the tar that were passed
}

// fill waits for the next chunk that is not empty.
func (c *chunkReader) fill() error {
	for len(c.buf) == 0 {
		if c.err != nil {
			return c.err
		}
		if c.cur != nil {
			c.u.free <- c.cur[:cap(c.cur)]
			c.cur = nil
		}
		next, ok := <-c.u.out
		if !ok {
			c.err = stopped(c.ctx)
			return c.err
		}
		c.cur, c.buf, c.err = next.data, next.data, next.err
	}
	return nil
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.fill(); err != nil {
		return 0, err
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	c.taken += int64(n)
	return n, nil
}

// Seek skips forward; archive/tar asks for nothing else.
func (c *chunkReader) Seek(off int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || off < 0 {
		return 0, fmt.Errorf("seek in a stream: %w", errors.ErrUnsupported)
	}
	for off > 0 {
		if err := c.fill(); err != nil {
			return 0, noEOF(err)
		}
		n := min(off, int64(len(c.buf)))
		c.buf = c.buf[n:]
		c.taken += n
		off -= n
	}
	return c.taken, nil
}

// stopped says why ctx ended.
func stopped(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) {
		return fmt.Errorf("walk layer: %w; raise the time limit if the layer is right", ErrTimeout)
	}
	return fmt.Errorf("walk layer: %w", context.Cause(ctx))
}
