package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan/walk/gunzip"
)

// A spooled archive may be this many times larger than what it came from, once
// it has spoolFree bytes.
const (
	spoolRatio = 250
	spoolFree  = 256 << 20
)

// packing names how a file is packed by its first four bytes; "" is not at all
// or unknown.
func packing(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "zstd"
	}
	return ""
}

// unpackArchive replaces a compressed archive by its unpacked form in a
// temporary file: layers are not in the order in which they are needed, and
// a stream can only be read from its start. f is closed if it is replaced or if
// that fails.
func unpackArchive(ctx context.Context, f *os.File, name string, o *Options) (*os.File, error) {
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		_ = f.Close()
		return nil, fileError(err, "read archive %s", name)
	}
	kind := packing(head)
	if kind == "" {
		return f, nil
	}
	defer f.Close()
	in := &counted{r: f}
	var r io.Reader
	if kind == "gzip" {
		r = gunzip.NewReader(in)
	} else {
		zr, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, failedBy(err, ErrCorrupt, "save or copy the archive again", "unpack archive %s", name)
		}
		defer zr.Close()
		r = zr
	}
	return spool(ctx, r, in, name, o)
}

// spool copies r to a temporary file without a name, which is gone when it is
// closed. in counts what r was made of; nil when r is not packed.
func spool(ctx context.Context, r io.Reader, in *counted, name string, o *Options) (*os.File, error) {
	f, err := os.CreateTemp(o.TempDir, "gabion-archive-*")
	if err != nil {
		return nil, fileError(err, "spool archive %s", name)
	}
	fail := func(err error) (*os.File, error) {
		_ = f.Close()
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return fail(fileError(err, "spool archive %s", name))
	}
	buf := make([]byte, 256<<10)
	for n := int64(0); ; {
		if ctx.Err() != nil {
			return fail(fmt.Errorf("spool archive %s: %w", name, context.Cause(ctx)))
		}
		m, err := r.Read(buf)
		if n += int64(m); n > o.MaxSpool || in != nil && n > spoolFree && n/spoolRatio > in.n {
			return fail(failed(ErrTooBig, "unpack it yourself if it is right", "spool archive %s: more than %d bytes", name, n-int64(m)))
		}
		if _, werr := f.Write(buf[:m]); werr != nil {
			return fail(failedBy(werr, ErrUnreachable, "give it room, or name another temporary directory", "spool archive %s", name))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fail(failedBy(err, ErrCorrupt, "save or copy the archive again", "unpack archive %s", name))
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(fileError(err, "spool archive %s", name))
	}
	return f, nil
}

// counted counts what is read through it.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
