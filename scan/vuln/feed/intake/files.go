package intake

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow bounds the memory of a zstd decoder: 128 MiB is what the
// command's --long=27 makes.
const zstdWindow = 128 << 20

// Documents calls f with every document of an input, one after the other in an
// order that depends on nothing but the input: a file itself, the members of a
// zip or tar archive, the files below a directory. Files may be compressed by
// gzip, zstd or bzip2, which their content tells. name is the path inside the
// archive or directory and empty for a file itself. Members and files that are
// not JSON, CSV or TSV by name, hidden ones and links are passed over; their
// number is returned.
func Documents(ctx context.Context, input string, lim Limits, f func(name string, r io.Reader) error) (passed int, err error) {
	w := &walker{ctx: ctx, lim: lim.OrDefault(), f: f}
	fi, err := os.Stat(input)
	if err != nil {
		return 0, fmt.Errorf("open input: %w", err)
	}
	if fi.IsDir() {
		err = w.dir(input)
	} else {
		err = w.file(input)
	}
	return w.passed, err
}

type walker struct {
	ctx           context.Context
	lim           Limits
	f             func(string, io.Reader) error
	bytes         int64
	files, passed int
}

// dir walks without following links, also when one is put there meanwhile.
func (w *walker) dir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open input: %w", err)
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("read input %s: %w", p, err)
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if p != "." && strings.HasPrefix(d.Name(), ".") {
			w.passed++
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			if strings.Count(p, "/") >= w.lim.Depth {
				return fmt.Errorf("read input %s: directories deeper than %d: %w", p, w.lim.Depth, ErrTooBig)
			}
			return nil
		}
		if !d.Type().IsRegular() || !isData(p) {
			w.passed++
			return nil
		}
		file, err := root.Open(p)
		if err != nil {
			return fmt.Errorf("read input %s: %w", p, err)
		}
		defer file.Close()
		r, done, err := unpack(file)
		if err != nil {
			return fmt.Errorf("read input %s: %w", p, err)
		}
		defer done()
		return w.document(p, r)
	})
}

func (w *walker) file(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open input: %w", err)
	}
	defer file.Close()
	var magic [4]byte
	if n, _ := file.ReadAt(magic[:], 0); n == 4 && string(magic[:]) == "PK\x03\x04" {
		return w.zip(file)
	}
	r, done, err := unpack(file)
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	defer done()
	br := bufio.NewReaderSize(r, 64<<10)
	if head, _ := br.Peek(512); len(head) > 262 && string(head[257:262]) == "ustar" {
		return w.tar(br)
	}
	return w.document("", br)
}

func (w *walker) zip(file *os.File) error {
	fi, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read input: %w", err)
	}
	z, err := zip.NewReader(file, fi.Size())
	if err != nil {
		return fmt.Errorf("read zip: %w", err)
	}
	for _, m := range z.File {
		if !m.Mode().IsRegular() || !isData(m.Name) {
			w.passed++
			continue
		}
		if err := w.member(m); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) member(m *zip.File) error {
	r, err := m.Open()
	if err != nil {
		return fmt.Errorf("read zip member %q: %w", clip(m.Name, 200), err)
	}
	defer r.Close()
	u, done, err := unpack(r)
	if err != nil {
		return fmt.Errorf("read zip member %q: %w", clip(m.Name, 200), err)
	}
	defer done()
	return w.document(clip(m.Name, 200), u)
}

func (w *walker) tar(r io.Reader) error {
	end := &tail{r: r}
	t := tar.NewReader(end)
	for {
		h, err := t.Next()
		if err == io.EOF && !end.zero() {
			err = io.ErrUnexpectedEOF
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !isData(h.Name) {
			w.passed++
			continue
		}
		if err := w.tarMember(h.Name, t); err != nil {
			return err
		}
	}
}

// tail remembers the last bytes read: package tar takes an archive that was cut
// off between members for a whole one, but a whole one ends in blocks of zeros.
type tail struct {
	r    io.Reader
	last [512]byte
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n >= len(t.last) {
		copy(t.last[:], p[n-len(t.last):n])
	} else {
		copy(t.last[:], t.last[n:])
		copy(t.last[len(t.last)-n:], p[:n])
	}
	return n, err
}

func (t *tail) zero() bool { return t.last == [512]byte{} }

func (w *walker) tarMember(name string, t *tar.Reader) error {
	u, done, err := unpack(t)
	if err != nil {
		return fmt.Errorf("read tar member %q: %w", clip(name, 200), err)
	}
	defer done()
	return w.document(clip(name, 200), u)
}

func (w *walker) document(name string, r io.Reader) error {
	if w.files++; w.files > w.lim.Files {
		return fmt.Errorf("read input: more than %d files: %w", w.lim.Files, ErrTooBig)
	}
	g := &guard{ctx: w.ctx, r: r, left: w.lim.Bytes, max: w.lim.Bytes - w.bytes}
	err := w.f(name, g)
	w.bytes += g.total
	return err
}

// isData tells by its name whether a file among others is a document.
func isData(name string) bool {
	base := path.Base(name)
	for _, c := range []string{".gz", ".zst", ".bz2"} {
		base = strings.TrimSuffix(base, c)
	}
	switch path.Ext(base) {
	case ".json", ".ndjson", ".jsonl", ".csv", ".tsv":
		return !strings.HasPrefix(base, ".")
	}
	return false
}

// unpack undoes the compression that the content shows. done frees what was
// taken.
func unpack(r io.Reader) (out io.Reader, done func(), err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(br), func() {}, nil
	}
	return br, func() {}, nil
}
