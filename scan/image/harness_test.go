package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tarOf packs files (name -> content) into an uncompressed tar.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(files[n]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipOf(t testing.TB, b []byte) []byte {
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

// testImage has two layers, an empty step and every field that is read.
func testImage(t testing.TB, arch string) v1.Image {
	t.Helper()
	var adds []mutate.Addendum
	for i, files := range []map[string]string{
		{"etc/os-release": "ID=debian\n", "bin/sh": strings.Repeat("lower "+arch, 1000)},
		{"app/run": strings.Repeat("upper ", 50000), "etc/.wh.os-release": ""},
	} {
		raw := tarOf(t, files)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
		if err != nil {
			t.Fatal(err)
		}
		adds = append(adds, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: fmt.Sprintf("COPY %d", i), Created: v1.Time{Time: time.Unix(1700000000, 0).UTC()}}})
	}
	adds = slices.Insert(adds, 1, mutate.Addendum{History: v1.History{CreatedBy: "ENV A=b", EmptyLayer: true, Comment: "buildkit"}})
	img, err := mutate.Append(empty.Image, adds...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", arch
	c.Created = v1.Time{Time: time.Unix(1700000001, 0).UTC()}
	c.Config = v1.Config{
		User: "app", Env: []string{"A=b"}, Entrypoint: []string{"/app/run"}, Cmd: []string{"-x"}, WorkingDir: "/app",
		ExposedPorts: map[string]struct{}{"443/tcp": {}, "80/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
		Labels: map[string]string{"l": "v"}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}},
	}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// index puts images of these processors into one index.
func index(t testing.TB, archs ...string) v1.ImageIndex {
	t.Helper()
	var idx v1.ImageIndex = empty.Index
	for _, a := range archs {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: testImage(t, a), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}}})
	}
	return idx
}

// writeLayout writes an OCI layout with one image, or one index.
func writeLayout(t testing.TB, add mutate.Appendable, options ...layout.Option) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err == nil {
		switch a := add.(type) {
		case v1.Image:
			err = p.AppendImage(a, options...)
		case v1.ImageIndex:
			err = p.AppendIndex(a, options...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// tarDir packs a directory as an archive.
func tarDir(t testing.TB, dir string) string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "archive.tar", tarOf(t, files))
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens and closes at the end of the test.
func open(t testing.TB, ref string, o Options) *Image {
	t.Helper()
	img, err := Open(context.Background(), ref, o)
	if err != nil {
		t.Fatalf("open %s: %v", ref, err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Errorf("close %s: %v", ref, err)
		}
	})
	return img
}

// entries walks all layers, verified, and lists what they hold by layer.
func entries(t testing.TB, img *Image) [][]string {
	t.Helper()
	var all [][]string
	for i, l := range img.Layers {
		if l.MediaType == UpperMediaType {
			continue
		}
		blob, err := img.Blob(context.Background(), i)
		if err != nil {
			t.Fatalf("open layer %d of %s: %v", i, img.Name, err)
		}
		var list []string
		_, err = walk.Layer(context.Background(), blob, walk.Want{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size, MediaType: l.MediaType}, walk.Limits{},
			walk.VisitorFunc(func(e *walk.Entry, r io.Reader) error {
				list = append(list, fmt.Sprintf("%s %s %d", e.Type, e.Path, e.Size))
				return nil
			}))
		_ = blob.Close()
		if err != nil {
			t.Fatalf("walk layer %d of %s: %v", i, img.Name, err)
		}
		all = append(all, list)
	}
	return all
}

// host is a test server's address as a reference needs it.
func host(s *httptest.Server) string { return s.Listener.Addr().String() }

// same reports whether two images have the same layers and configuration,
// however they are transported.
func same(a, b scan.Image) bool {
	ids := func(i scan.Image) (out []string) {
		for _, l := range i.Layers {
			out = append(out, l.DiffID+" "+l.Command)
		}
		return out
	}
	return slices.Equal(ids(a), ids(b)) && a.Platform == b.Platform
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// archiveWriter makes tars with links.
type archiveWriter struct {
	buf bytes.Buffer
}

func (a *archiveWriter) add(t testing.TB, h *tar.Header, b []byte) {
	t.Helper()
	w := tar.NewWriter(&a.buf)
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil { // without the end
		t.Fatal(err)
	}
}

func (a *archiveWriter) file(t testing.TB, name string, b []byte) {
	t.Helper()
	a.add(t, &tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}, b)
}

func (a *archiveWriter) link(t testing.TB, name, target string) {
	t.Helper()
	a.add(t, &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil)
}

func (a *archiveWriter) bytes(t testing.TB) []byte {
	t.Helper()
	return append(bytes.Clone(a.buf.Bytes()), make([]byte, 1024)...)
}

func mustDigest(t testing.TB, s string) v1.Descriptor {
	t.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{Digest: h}
}
