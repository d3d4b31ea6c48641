package inventory

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// repeated gives a text again and again, up to a size.
type repeated struct {
	text string
	left int64
	at   int
}

func (r *repeated) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), r.left)], r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	r.left -= int64(n)
	return n, nil
}

// A package database without end is cut, and says so, before it fills memory.
func TestDatabasesWithoutEnd(t *testing.T) {
	for _, c := range []struct{ path, text, want string }{
		{"var/lib/dpkg/status", "Package: a\nVersion: 1\n\n", "more than 100000 packages"},
		{"var/lib/dpkg/status", "Package: " + strings.Repeat("a", 5000) + "\nVersion: 1\n\n", "more than 4096 bytes"},
		{"lib/apk/db/installed", "P:a\nV:1\n\n", "more than 100000 packages"},
		{"lib/apk/db/installed", "R:a\n", "owns more than"},
		{"var/lib/dpkg/info/a.list", "/a\n", "more than 1000000 lines"},
		{"app/package-lock.json", " ", "more than the"},
	} {
		t.Run(c.path+" "+c.text[:min(len(c.text), 5)], func(t *testing.T) {
			const size = 32 << 20
			text := strings.Repeat(c.text, 1+(64<<10)/len(c.text))
			inv := merged(t, []item{big(c.path, &repeated{text: text, left: size}, size)})
			all := ""
			for _, g := range inv.Gaps {
				if all += g.What + "\n"; g.Minor {
					t.Errorf("minor: %+v", g)
				}
			}
			if !strings.Contains(all, c.want) {
				t.Errorf("gaps %q, want %q", all, c.want)
			}
			if len(inv.Packages) > maxPackages+1 {
				t.Errorf("%d packages", len(inv.Packages))
			}
		})
	}
}

func TestMemoryOfALayerIsBounded(t *testing.T) {
	c := New(Config{}).Begin()
	if !c.keep(origin{path: "a"}, maxKept) || c.keep(origin{path: "b"}, 1) || c.keep(origin{path: "c"}, 1) {
		t.Error("the bound is not kept")
	}
	if len(c.out.gaps) != 1 || !strings.Contains(c.out.gaps[0].What, "from /b on") {
		t.Errorf("gaps %+v", c.out.gaps)
	}
}

// Layers that are each within their bound are cut together.
func TestPackagesOfAnImageAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 90_000 {
		fmt.Fprintf(&text, "Package: p%d\nVersion: 1\n\n", i)
	}
	x := New(Config{})
	layer := func(name string) *Contents {
		return visit(t, x, reg("etc/os-release", debian12), reg("var/lib/dpkg/status.d/"+name, text.String()))
	}
	inv := Merge([]*Contents{layer("a"), layer("b"), layer("c")})
	if len(inv.Packages) != 90_000 {
		t.Errorf("%d packages", len(inv.Packages))
	}
	wantGaps(t, inv, "180000 packages beyond the 150000")
}
