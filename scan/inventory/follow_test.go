package inventory

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const usrPkg = "usr/share/nodejs/lodash/package.json"

// Links of the layer itself are followed, as by those who unpack it.
func TestLinksOfTheSameLayer(t *testing.T) {
	newer := `{"name":"lodash","version":"4.17.21"}`
	for _, c := range []struct {
		name  string
		layer []item
		want  []string
	}{
		{"through a link", []item{reg(usrPkg, lodash), symlink("node", "usr/share/nodejs"), reg("node/lodash/package.json", newer)}, []string{"npm lodash 4.17.21 @0"}},
		{"absolute", []item{reg(usrPkg, lodash), symlink("a/b", "/usr/share"), reg("a/b/nodejs/lodash/package.json", newer)}, []string{"npm lodash 4.17.21 @0"}},
		{"out of the root", []item{reg(usrPkg, lodash), symlink("a/b", "../../../../usr/share"), reg("a/b/nodejs/lodash/package.json", newer)}, []string{"npm lodash 4.17.21 @0"}},
		{"link to a link", []item{reg(usrPkg, lodash), symlink("one", "usr"), symlink("two", "one/share"), reg("two/nodejs/lodash/package.json", newer)}, []string{"npm lodash 4.17.21 @0"}},
		{"link below a link", []item{symlink("one", "usr"), symlink("one/s", "share"), reg("one/s/nodejs/lodash/package.json", lodash), reg(usrPkg, newer)}, []string{"npm lodash 4.17.21 @0"}},
		{"circle", []item{symlink("a", "b"), symlink("b", "a"), reg("a/package.json", lodash)}, []string{"npm lodash 4.17.20 @0"}},
		{"link replaced by a directory", []item{reg(usrPkg, lodash), symlink("node", "usr/share/nodejs"), dir("node"), reg("node/lodash/package.json", newer)}, []string{"npm lodash 4.17.20 @0", "npm lodash 4.17.21 @0"}},
		{"directory replaced by a link", []item{reg("d/package.json", lodash), symlink("d", "usr")}, nil},
		{"directory replaced by a file", []item{reg("d/e/package.json", lodash), reg("d", "x")}, nil},
		{"whiteout hides nothing of its layer", []item{reg("d/package.json", lodash), gone("d")}, []string{"npm lodash 4.17.20 @0"}},
		{"hard link through a link", []item{reg("usr/x/one", lodash), symlink("s", "usr/x"), hard("s/package.json", "s/one"), reg("usr/x/package.json", newer)}, []string{"npm lodash 4.17.21 @0"}},
	} {
		t.Run(c.name, func(t *testing.T) { wantNames(t, merged(t, c.layer), c.want...) })
	}
}

// Removals of a layer go through its own links, not through those below it.
func TestRemovalsAndLinks(t *testing.T) {
	low := []item{reg(usrPkg, lodash), symlink("node", "usr/share/nodejs")}
	for _, c := range []struct {
		name  string
		upper []item
		want  []string
	}{
		{"whiteout through a lower link", []item{gone("node/lodash")}, []string{"npm lodash 4.17.20 @0"}},
		{"opaque through a lower link", []item{opaqueDir("node")}, []string{"npm lodash 4.17.20 @0"}},
		{"file below a lower link", []item{reg("node/lodash/package.json", leftad)}, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @1"}},
		{"whiteout through a link of its own", []item{symlink("node", "usr/share/nodejs"), gone("node/lodash")}, nil},
		{"opaque through a link of its own", []item{symlink("node", "usr/share/nodejs"), opaqueDir("node")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { wantNames(t, merged(t, low, c.upper), c.want...) })
	}
}

// Whatever links say, the answer is a clean path in the root.
func TestFollowStaysInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "c", "..", ".", "/", "a/b", ""})
		p := func(label string) string {
			return strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, label), "/")
		}
		var f follow
		for i := range rapid.IntRange(0, 12).Draw(t, "links") {
			f.set(clean(p(fmt.Sprint("at", i))), p(fmt.Sprint("to", i)))
		}
		got := f.entry(clean(p("path")))
		if got != clean(got) {
			t.Fatalf("%q of %v", got, f.to)
		}
	})
}

func FuzzFollow(f *testing.F) {
	f.Add("lib", "usr/lib", "lib/x")
	f.Add("a", "../a/b", "a/a/a")
	f.Add("a/b", "/", "a/b/a/b")
	f.Fuzz(func(t *testing.T, at, to, p string) {
		var w follow
		w.set(clean(at), to)
		if got := w.entry(clean(p)); got != clean(got) {
			t.Errorf("%q -> %q: %q became %q", at, to, p, got)
		}
	})
}
