package walk_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan/walk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// file is one entry of a tar in a test.
type file struct {
	h    tar.Header
	body string
}

func reg(name, body string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}, body}
}

func link(kind byte, name, target string) file {
	return file{h: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}}
}

func tarOf(t testing.TB, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&f.h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zst(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func sum(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// list is a visitor that remembers entries, with what it could read of files.
type list struct{ got []string }

func (l *list) Visit(e *walk.Entry, r io.Reader) error {
	s := fmt.Sprintf("%s %s", e.Type, e.Path)
	if e.Target != "" {
		s += " -> " + e.Target
	}
	if r != nil {
		b, err := io.ReadAll(r)
		s += fmt.Sprintf(" %d %q", e.Size, b[:min(len(b), 20)])
		if err != nil {
			s += " " + err.Error()
		} else if int64(len(b)) != e.Size {
			return fmt.Errorf("%s: size %d, content %d", e.Path, e.Size, len(b))
		}
	}
	l.got = append(l.got, s)
	return nil
}

func layer(t *testing.T, blob []byte, want walk.Want, lim walk.Limits) ([]string, walk.Result, error) {
	t.Helper()
	l := &list{}
	res, err := walk.Layer(context.Background(), bytes.NewReader(blob), want, lim, l)
	return l.got, res, err
}

// TestPackings: the first bytes decide how a layer is packed, whatever its
// media type says, and both digests are right.
func TestPackings(t *testing.T) {
	plain := tarOf(t, reg("a", "one"), reg("b/c", strings.Repeat("x", 300_000)))
	half := len(plain) / 1024 * 512
	for name, blob := range map[string][]byte{
		"tar": plain, "gzip": gz(t, plain), "zstd": zst(t, plain),
		"gzip of two members":         append(gz(t, plain[:half]), gz(t, plain[half:])...),
		"zstd of two frames":          append(zst(t, plain[:half]), zst(t, plain[half:])...),
		"zstd behind what is skipped": append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"), zst(t, plain)...),
	} {
		for _, mt := range []string{"", "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip"} {
			got, res, err := layer(t, blob, walk.Want{Digest: sum(blob), DiffID: sum(plain), Size: int64(len(blob)), MediaType: mt}, walk.Limits{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			want := []string{`regular a 3 "one"`, `regular b/c 300000 "xxxxxxxxxxxxxxxxxxxx"`}
			if diff := cmp.Diff(want, got); diff != "" || len(res.Gaps) != 0 || res.Bytes != int64(len(plain)) || res.Size != int64(len(blob)) || res.Entries != 2 {
				t.Errorf("%s: %s %+v", name, diff, res)
			}
		}
	}
}

func TestEntries(t *testing.T) {
	long := strings.Repeat("long/", 40) + "name"
	blob := gz(t, tarOf(t,
		file{h: tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}},
		file{h: tar.Header{Name: "./usr/bin/", Typeflag: tar.TypeDir, Mode: 0o1777}},
		file{tar.Header{Name: "/usr/bin/su", Mode: 0o4755, Uid: 1, Gid: 2, Size: 2}, "su"},
		link(tar.TypeSymlink, "usr/bin/sh", "../../../../etc/passwd"),
		link(tar.TypeLink, "usr/bin/su2", "/usr/bin/../bin/su"),
		link(tar.TypeFifo, "run/f", ""),
		file{h: tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		reg(long, "l"),
		file{tar.Header{Name: "p", Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}, "p"},
		reg("etc/.wh.passwd", ""), reg("etc/ssl/.wh..wh..opq", ""), reg(".wh..wh.plnk/1.2", ""), reg(".wh..wh.aufs", ""),
		reg(".wh.top", ""), reg(".wh..wh..opq", ""), reg("a/.wh..wh.orph", ""),
		reg("a//b/./c", ""), reg("usr/bin/su", "again"),
	))
	var modes []string
	l := &list{}
	res, err := walk.Layer(context.Background(), bytes.NewReader(blob), walk.Want{}, walk.Limits{}, walk.VisitorFunc(func(e *walk.Entry, r io.Reader) error {
		modes = append(modes, fmt.Sprintf("%o %d:%d", e.Mode, e.UID, e.GID))
		return l.Visit(e, r)
	}))
	if err != nil || len(res.Gaps) != 0 || res.Entries != 18 {
		t.Fatalf("%v %+v", err, res)
	}
	want := []string{
		"directory .", "directory usr/bin", `regular usr/bin/su 2 "su"`, "symlink usr/bin/sh -> ../../../../etc/passwd",
		"hardlink usr/bin/su2 -> usr/bin/su", "device run/f", "device dev/null", fmt.Sprintf("regular %s 1 %q", long, "l"), `regular p 1 "p"`,
		"whiteout etc/passwd", "opaque etc/ssl", "whiteout top", "opaque .", `regular a/b/c 0 ""`, `regular usr/bin/su 5 "again"`,
	}
	if diff := cmp.Diff(want, l.got); diff != "" {
		t.Error(diff)
	}
	if modes[1] != "1777 0:0" || modes[2] != "4755 1:2" {
		t.Errorf("modes %v", modes[:3])
	}
}

// TestStopped: a walk ends when its context does, also when the blob hangs, and
// leaves no goroutine behind.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(tarOf(t, reg("a", "x"))[:600])
		cancel()
	}()
	if _, err := walk.Layer(ctx, r, walk.Want{}, walk.Limits{}, &list{}); !errors.Is(err, context.Canceled) {
		t.Errorf("hanging blob: %v", err)
	}
	mine := errors.New("mine")
	_, err := walk.Layer(context.Background(), bytes.NewReader(gz(t, tarOf(t, reg("a", "x")))), walk.Want{}, walk.Limits{},
		walk.VisitorFunc(func(*walk.Entry, io.Reader) error { return mine }))
	if !errors.Is(err, mine) {
		t.Errorf("the visitor's error became %v", err)
	}
	broken := errors.New("broken")
	_, err = walk.Layer(context.Background(), io.MultiReader(bytes.NewReader(tarOf(t, reg("a", "x"))[:600]), failing{broken}), walk.Want{}, walk.Limits{}, &list{})
	if !errors.Is(err, broken) || errors.Is(err, walk.ErrCorrupt) {
		t.Errorf("the source's error became %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestUnread: content that is not read, or read in part, costs the walk nothing.
func TestUnread(t *testing.T) {
	var files []file
	for i := range 200 {
		files = append(files, reg(fmt.Sprintf("f%03d", i), strings.Repeat("content", i*97)))
	}
	plain := tarOf(t, files...)
	n := 0
	res, err := walk.Layer(context.Background(), bytes.NewReader(gz(t, plain)), walk.Want{DiffID: sum(plain)}, walk.Limits{}, walk.VisitorFunc(func(e *walk.Entry, r io.Reader) error {
		if n++; n%2 == 0 {
			_, err := io.CopyN(io.Discard, r, min(e.Size, 5))
			return err
		}
		return nil
	}))
	if err != nil || n != 200 || res.Entries != 200 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func ExampleLayer() {
	var blob bytes.Buffer
	w := tar.NewWriter(&blob)
	_ = w.WriteHeader(&tar.Header{Name: "etc/.wh.motd"})
	_ = w.WriteHeader(&tar.Header{Name: "etc/hostname", Size: 4})
	_, _ = io.WriteString(w, "web\n")
	_ = w.Close()

	res, err := walk.Layer(context.Background(), &blob, walk.Want{MediaType: "application/vnd.oci.image.layer.v1.tar"}, walk.DefaultLimits(),
		walk.VisitorFunc(func(e *walk.Entry, r io.Reader) error {
			fmt.Println(e.Type, e.Path, e.Size)
			return nil
		}))
	fmt.Println(res.Entries, "entries,", len(res.Gaps), "gaps,", err)
	// Output:
	// whiteout etc/motd 0
	// regular etc/hostname 4
	// 2 entries, 0 gaps, <nil>
}
