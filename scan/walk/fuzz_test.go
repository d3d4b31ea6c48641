package walk

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"time"
)

// seeds are a few layers, packed and not.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "a/b", Size: 3}, {Name: "a/.wh.b"}, {Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../x"},
		{Name: strings.Repeat("long/", 60), Typeflag: tar.TypeDir, Format: tar.FormatPAX}, {Name: strings.Repeat("gnu/", 60) + "x", Format: tar.FormatGNU},
		{Name: "h", Typeflag: tar.TypeLink, Linkname: "a/b"},
	} {
		if err := w.WriteHeader(&h); err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	return [][]byte{buf.Bytes(), make([]byte, 1024), nil, []byte("\x1f\x8b"), []byte("\x28\xb5\x2f\xfd")}
}

// FuzzLayer: whatever a layer is made of, it is walked or refused, within its
// limits, and what the standard library finds in a tar is found or told.
func FuzzLayer(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	lim := Limits{Bytes: 4 << 20, Ratio: 100, RatioFrom: 1 << 20, Entries: 200, FileBytes: 1 << 20, PathBytes: 300, Depth: 50, Window: 1 << 20, Gaps: 5, Time: time.Minute}
	f.Fuzz(func(t *testing.T, b []byte) {
		var paths []string
		res, err := Layer(context.Background(), bytes.NewReader(b), Want{}, lim, VisitorFunc(func(e *Entry, r io.Reader) error {
			if !honest(e.Path) || e.Type == Hardlink && !honest(e.Target) || e.Mode > 0o7777 || e.Size < 0 || (r != nil) != (e.Type == Regular) {
				t.Fatalf("entry %+v", e)
			}
			paths = append(paths, e.Path)
			if r == nil {
				return nil
			}
			n, err := io.Copy(io.Discard, r)
			if err == nil && n != e.Size {
				t.Fatalf("%s: %d bytes of %d", e.Path, n, e.Size)
			}
			return nil // the walk has its own word on what cannot be read
		}))
		if err != nil {
			return
		}
		if res.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(b)) || res.Size != int64(len(b)) || len(res.Gaps) > lim.Gaps+1 {
			t.Fatalf("result %+v of %d bytes", res, len(b))
		}
		if kind, _ := packingOf(b[:min(6, len(b))]); kind != plain || len(res.Gaps) > 0 {
			return
		}
		// Nothing was left out, so the standard library sees as many, less what
		// belongs to AUFS.
		tr := tar.NewReader(bytes.NewReader(b))
		for i := 0; ; {
			h, err := tr.Next()
			if err != nil {
				if i != len(paths) {
					t.Fatalf("%d entries, the standard library has %d: %v", len(paths), i, err)
				}
				return
			}
			p, _ := clean(h.Name)
			p, _, skip, _ := whiteout(p)
			if skip || h.Typeflag == tar.TypeXGlobalHeader {
				continue
			}
			if i >= len(paths) || paths[i] != p {
				t.Fatalf("entry %d: %q is not among %q", i, p, paths)
			}
			i++
		}
	})
}

// honest reports whether a path is clean and stays where it is.
func honest(p string) bool {
	return p != "" && p == path.Clean(p) && p[0] != '/' && p != ".." && !strings.HasPrefix(p, "../") && !strings.Contains(p, "\x00")
}

// FuzzPath: names become clean paths, the same that a runtime makes of them.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a", "./a", "/a/", "../../a", "a/../../b", ".wh.a", "a/.wh..wh..opq", ".wh..wh.plnk/x", ".wh.", "a/.wh...", "", "//", "a//b", "..", "a/..", "././x", "/./../x", "a/.wh..wh.orph"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.Contains(name, "\x00") {
			return // no name of a tar has one
		}
		p, escaped := clean(name)
		want := path.Clean("/" + name)[1:]
		if want == "" {
			want = "."
		}
		if p != want {
			t.Fatalf("%q: %q, not %q", name, p, want)
		}
		rel := path.Clean(strings.TrimLeft(name, "/"))
		if leaves := rel == ".." || strings.HasPrefix(rel, "../"); leaves != escaped {
			t.Fatalf("%q: escaped %v, not %v", name, escaped, leaves)
		}
		target, kind, skip, bad := whiteout(p)
		if !skip && !bad && !honest(target) {
			t.Fatalf("%q: a %s of %q", name, kind, target)
		}
		if kind == Regular && !skip && target != p {
			t.Fatalf("%q: became %q", name, target)
		}
	})
}
