package walk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan/walk/gunzip"
)

// packing is how the tar of a layer is packed.
type packing int

const (
	plain packing = iota
	gzipped
	zstandard
)

// magics are packings by their first bytes. Those without support are named so
// that the error can be.
var magics = []struct {
	magic string
	name  string
	is    packing
	ok    bool
}{
	{"\x1f\x8b", "gzip", gzipped, true},
	{"\x28\xb5\x2f\xfd", "zstd", zstandard, true},
	{"BZh", "bzip2", plain, false},
	{"\xfd7zXZ\x00", "xz", plain, false},
	{"\x04\x22\x4d\x18", "lz4", plain, false},
	{"hsqs", "squashfs", plain, false},
	{"PK\x03\x04", "zip", plain, false},
}

// packingOf decides by the first bytes of the blob; what is nothing else is
// taken for a tar, whose own checksums tell.
func packingOf(head []byte) (packing, error) {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			if !m.ok {
				return plain, fmt.Errorf("unpack layer: packed with %s: %w; layers are tar, tar+gzip or tar+zstd", m.name, ErrUnsupported)
			}
			return m.is, nil
		}
	}
	// zstd's skippable frames, which may come first.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) {
		return zstandard, nil
	}
	return plain, nil
}

// checkMediaType refuses what is no file system before its bytes are read.
func checkMediaType(mt string) error {
	switch {
	case mt == "":
		return nil
	case strings.Contains(mt, "encrypted"):
		return fmt.Errorf("read layer: it is encrypted (%s): %w; scan the image where it is decrypted, or before it is encrypted", mt, ErrUnsupported)
	case !strings.Contains(mt, "tar"):
		return fmt.Errorf("read layer: media type %s is no file system: %w", mt, ErrUnsupported)
	}
	return nil
}

// packed reads the blob, counting and hashing it.
type packed struct {
	r    io.Reader
	hash hash.Hash
	n    int64
	max  int64 // 0: unknown
}

func (p *packed) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.hash.Write(b[:n])
	p.n += int64(n)
	if p.max > 0 && p.n > p.max {
		return n, fmt.Errorf("read blob: more than the %d bytes that the manifest promises: %w", p.max, ErrMismatch)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = &readError{err}
	}
	return n, err
}

// readError is a failure of where the blob comes from, and not of the blob.
type readError struct{ cause error }

func (e *readError) Error() string { return "read blob: " + e.cause.Error() }
func (e *readError) Unwrap() error { return e.cause }

// Chunks are a multiple of the block size of tar. Six of them let unpacking,
// hashing and walking overlap; more brings nothing.
const (
	chunkBytes = 128 << 10
	chunks     = 6
	inputBytes = 64 << 10
)

type chunk struct {
	data []byte
	err  error // behind the data; io.EOF at the end
}

// unpacker turns a blob into the chunks of its tar in two goroutines, one that
// unpacks and one that hashes. Its results may be read once out is closed.
type unpacker struct {
	lim      Limits
	in       *packed
	br       *bufio.Reader
	free     chan []byte
	unpacked chan chunk // to the hasher
	out      chan chunk // to the walker
	tarHash  hash.Hash
	bytes    int64 // unpacked
	trailing int64 // bytes of the blob behind the packed data
}

// start begins to unpack. The goroutines end when the blob does, on its error,
// or when ctx ends; the out channel is closed then.
func start(ctx context.Context, blob io.Reader, want Want, lim Limits) *unpacker {
	u := &unpacker{
		lim: lim, in: &packed{r: blob, hash: sha256.New(), max: want.Size},
		free: make(chan []byte, chunks), unpacked: make(chan chunk, chunks), out: make(chan chunk, chunks),
	}
	u.br = bufio.NewReaderSize(u.in, inputBytes)
	for range chunks {
		u.free <- make([]byte, chunkBytes)
	}
	go func() {
		defer close(u.unpacked)
		u.unpack(ctx)
	}()
	go func() {
		defer close(u.out)
		for c := range u.unpacked {
			if u.tarHash != nil {
				u.tarHash.Write(c.data)
			}
			u.out <- c // never blocks: there are no more chunks than places
		}
	}()
	return u
}

func (u *unpacker) unpack(ctx context.Context) {
	head, err := u.br.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		u.unpacked <- chunk{err: err}
		return
	}
	kind, err := packingOf(head)
	if err != nil {
		u.unpacked <- chunk{err: err}
		return
	}
	var r io.Reader = u.br
	switch kind {
	case gzipped:
		zr := gunzip.NewReader(u.br)
		defer func() { u.trailing = zr.Trailing() }()
		r = zr
	case zstandard:
		d, err := zstd.NewReader(u.br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(u.lim.Window)))
		if err != nil {
			u.unpacked <- chunk{err: fmt.Errorf("unpack layer: %w", err)}
			return
		}
		defer d.Close()
		r = d
	}
	if kind != plain {
		u.tarHash = sha256.New() // else the blob is the tar, and its hash is known already
	}
	for {
		var buf []byte
		select {
		case buf = <-u.free:
		case <-ctx.Done():
			return
		}
		n, err := readFull(r, buf[:chunkBytes])
		u.bytes += int64(n)
		if err == nil || errors.Is(err, io.EOF) {
			if over := u.over(); over != nil {
				err = over
			}
		} else {
			err = unpackError(err)
		}
		u.unpacked <- chunk{data: buf[:n], err: err}
		if err != nil {
			return
		}
	}
}

// readFull fills b unless the reader ends; io.EOF may come with data.
func readFull(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// over checks the limits of the whole layer.
func (u *unpacker) over() error {
	if u.bytes > u.lim.Bytes {
		return fmt.Errorf("unpack layer: more than %d bytes: %w", u.lim.Bytes, ErrTooBig)
	}
	return ratio(u.bytes, u.in.n, u.lim)
}

func ratio(unpacked, packed int64, lim Limits) error {
	if unpacked > lim.RatioFrom && unpacked/int64(lim.Ratio) > packed {
		return fmt.Errorf("unpack layer: %d bytes out of %d, more than %d to 1: %w", unpacked, packed, lim.Ratio, ErrBomb)
	}
	return nil
}

// unpackError tells failures of the source from those of the content.
func unpackError(err error) error {
	var re *readError
	if errors.As(err, &re) || errors.Is(err, ErrMismatch) {
		return err
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return fmt.Errorf("unpack layer: its zstd window is beyond the limit: %w", ErrTooBig)
	}
	return fmt.Errorf("unpack layer: %w: %w", ErrCorrupt, err)
}

// noEOF turns an end in the middle into what it is.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
