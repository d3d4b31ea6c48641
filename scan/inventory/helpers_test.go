package inventory

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// item is one entry of a layer in a test.
type item struct {
	path   string
	typ    walk.Type
	mode   uint32
	text   string // content, or target of a link
	reader io.Reader
	size   int64
}

func reg(path, text string) item   { return item{path: path, mode: 0o644, text: text} }
func exe(path, text string) item   { return item{path: path, mode: 0o755, text: text} }
func dir(path string) item         { return item{path: path, typ: walk.Directory, mode: 0o755} }
func symlink(path, to string) item { return item{path: path, typ: walk.Symlink, text: to} }
func hard(path, to string) item    { return item{path: path, typ: walk.Hardlink, mode: 0o755, text: to} }
func gone(path string) item        { return item{path: path, typ: walk.Whiteout} }
func opaqueDir(path string) item   { return item{path: path, typ: walk.Opaque} }
func big(path string, r io.Reader, n int64) item {
	return item{path: path, mode: 0o755, reader: r, size: n}
}

// visit shows items to a collector.
func visit(t testing.TB, x *Extractor, items ...item) *Contents {
	t.Helper()
	c := x.Begin()
	for _, i := range items {
		e := &walk.Entry{Path: i.path, Type: i.typ, Mode: i.mode}
		var r io.Reader
		switch i.typ {
		case walk.Regular:
			e.Size, r = int64(len(i.text)), strings.NewReader(i.text)
			if i.reader != nil {
				e.Size, r = i.size, i.reader
			}
		case walk.Symlink, walk.Hardlink:
			e.Target = i.text
		}
		if err := c.Visit(e, r); err != nil {
			t.Fatalf("visit %s: %v", i.path, err)
		}
	}
	return c.Finish(walk.Result{})
}

// merged lays layers over each other, each through its encoded form, so that
// every test also tests that.
func merged(t testing.TB, layers ...[]item) scan.Inventory {
	t.Helper()
	x := New(Config{})
	var all []*Contents
	for _, l := range layers {
		all = append(all, recoded(t, visit(t, x, l...)))
	}
	return Merge(all)
}

func recoded(t testing.TB, c *Contents) *Contents {
	t.Helper()
	b, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var out Contents
	if err := out.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	again, err := out.MarshalBinary()
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("encoding is not stable (%v)", err)
	}
	return &out
}

// names lists packages as "ecosystem name version @layer".
func names(inv scan.Inventory) []string {
	var out []string
	for _, p := range inv.Packages {
		out = append(out, strings.TrimSpace(p.Ecosystem+" "+p.Name+" "+p.Version)+" @"+string(rune('0'+p.Layer)))
	}
	return out
}

func wantNames(t *testing.T, inv scan.Inventory, want ...string) {
	t.Helper()
	got := names(inv)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("packages\n got %q\nwant %q", got, want)
	}
}

func wantGaps(t *testing.T, inv scan.Inventory, parts ...string) {
	t.Helper()
	if len(inv.Gaps) != len(parts) {
		t.Fatalf("%d gaps, want %d: %+v", len(inv.Gaps), len(parts), inv.Gaps)
	}
	for i, g := range inv.Gaps {
		if s := g.Where + ": " + g.What; !strings.Contains(s, parts[i]) {
			t.Errorf("gap %q does not say %q", s, parts[i])
		}
	}
}

const debian12 = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"

// status makes a dpkg status file of "name version" pairs.
func status(pkgs ...string) string {
	var b strings.Builder
	for _, p := range pkgs {
		name, version, _ := strings.Cut(p, " ")
		b.WriteString("Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n")
	}
	return b.String()
}

// elf makes something that begins like an ELF file.
func elf(body string) string { return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 57) + body }
