package inventory_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/inventory"
	"github.com/gabion-dev/gabion/scan/walk"
)

// root makes a small root file system with one of everything that matters.
func root(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, mode fs.FileMode, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/os-release", 0o644, "ID=debian\nVERSION_ID=12\n")
	write("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n")
	write("var/lib/dpkg/status", 0o644, "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2\nArchitecture: amd64\n")
	write("var/lib/dpkg/info/bash.list", 0o644, "/bin/bash\n")
	write("usr/bin/bash", 0o755, "\x7fELF"+strings.Repeat("\x00", 60)+"@(#)Bash version 5.2.15(1) release")
	write("usr/bin/node", 0o755, "\x7fELF"+strings.Repeat("\x00", 60)+"\x00node.js/v18.19.0\x00")
	write("usr/bin/run", 0o755, "#!/bin/sh\n")
	write("app/node_modules/lodash/package.json", 0o644, `{"name":"lodash","version":"4.17.20"}`)
	write("app/node_modules/bad/package.json", 0o644, `{`)
	if err := os.Link(filepath.Join(dir, "usr/bin/node"), filepath.Join(dir, "usr/bin/nodejs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// layer packs a directory, hard links as such.
func layer(t testing.TB, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	var first os.FileInfo
	var firstName string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		target := ""
		if fi.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(fi, target)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(dir, p); err != nil {
			return err
		}
		if first != nil && os.SameFile(first, fi) {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, firstName, 0
			return w.WriteHeader(h)
		}
		if d.Name() == "node" {
			first, firstName = fi, h.Name
		}
		if err := w.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func inventoryOf(t testing.TB, walked func(walk.Visitor) (walk.Result, error)) scan.Inventory {
	t.Helper()
	c := inventory.New(inventory.Config{}).Begin()
	r, err := walked(c)
	if err != nil {
		t.Fatal(err)
	}
	return inventory.Merge([]*inventory.Contents{c.Finish(r)})
}

func TestLayerAndDirectoryAreTheSame(t *testing.T) {
	dir := root(t)
	a := inventoryOf(t, func(v walk.Visitor) (walk.Result, error) {
		return walk.Dir(context.Background(), dir, walk.DefaultLimits(), v)
	})
	b := inventoryOf(t, func(v walk.Visitor) (walk.Result, error) {
		return walk.Layer(context.Background(), bytes.NewReader(layer(t, dir)), walk.Want{}, walk.DefaultLimits(), v)
	})
	if !reflect.DeepEqual(a, b) {
		t.Errorf("directory %+v\nlayer %+v", a, b)
	}
	if len(a.Packages) != 3 || len(a.Files) != 4 || len(a.Gaps) != 1 || a.Users["root"] != 0 {
		t.Errorf("inventory %+v", a)
	}
	for _, p := range a.Packages {
		if p.Name == "bash" && !reflect.DeepEqual(p.Programs, []string{"/usr/bin/bash"}) {
			t.Errorf("package %+v", p)
		}
	}
}

// A layer that is cut off is lost as a whole: an error, never a short list.
func TestReadErrorsAreTheWalkers(t *testing.T) {
	broken := io.ErrUnexpectedEOF
	for _, path := range []string{"usr/bin/node", "app/package.json", "a.jar"} {
		for _, size := range []int64{100, 64 << 20} {
			c := inventory.New(inventory.Config{}).Begin()
			r := io.MultiReader(strings.NewReader("\x7fELF"), failing{broken})
			if err := c.Visit(&walk.Entry{Path: path, Mode: 0o755, Size: size}, r); err != broken {
				t.Errorf("%s of %d bytes: %v", path, size, err)
			}
			if c.Finish(walk.Result{}) == nil {
				t.Error("no contents")
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func BenchmarkMerge(b *testing.B) {
	c := inventory.New(inventory.Config{}).Begin()
	for i := range 20_000 {
		text := fmt.Sprintf(`{"name":"p%d","version":"1.0.%d"}`, i, i)
		p := fmt.Sprintf("app/node_modules/p%d/package.json", i)
		if i%10 != 0 {
			p = fmt.Sprintf("app/node_modules/p%d/lib/file%d.js", i/10, i)
		}
		if err := c.Visit(&walk.Entry{Path: p, Mode: 0o644, Size: int64(len(text))}, strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
	l := c.Finish(walk.Result{})
	data, err := l.MarshalBinary()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(inventory.Contents).UnmarshalBinary(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("merge", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			inventory.Merge([]*inventory.Contents{l})
		}
	})
}

func Example() {
	x := inventory.New(inventory.Config{})
	c := x.Begin()
	// walk.Layer or walk.Dir show it every entry.
	text := `{"name":"lodash","version":"4.17.20"}`
	e := &walk.Entry{Path: "app/node_modules/lodash/package.json", Mode: 0o644, Size: int64(len(text))}
	if err := c.Visit(e, strings.NewReader(text)); err != nil {
		fmt.Println(err)
	}
	for _, p := range inventory.Merge([]*inventory.Contents{c.Finish(walk.Result{})}).Packages {
		fmt.Println(p.PURL, "in", p.Path)
	}
	// Output: pkg:npm/lodash@4.17.20 in /app/node_modules/lodash/package.json
}
