package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

const (
	lodash = `{"name":"lodash","version":"4.17.20","license":"MIT"}`
	leftad = `{"name":"left-pad","version":"1.0.0"}`
	pkgA   = "app/node_modules/lodash/package.json"
)

func TestLayersHideEachOther(t *testing.T) {
	base := []item{dir("app"), reg(pkgA, lodash), reg("app/node_modules/left-pad/package.json", leftad)}
	for _, c := range []struct {
		name  string
		upper []item
		want  []string
	}{
		{"nothing", nil, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @0"}},
		{"replaced", []item{reg(pkgA, `{"name":"lodash","version":"4.17.21"}`)}, []string{"npm lodash 4.17.21 @1", "npm left-pad 1.0.0 @0"}},
		{"same again", []item{reg(pkgA, lodash)}, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @0"}},
		{"replaced by something else", []item{reg(pkgA, "{}")}, []string{"npm left-pad 1.0.0 @0"}},
		{"whiteout of the file", []item{gone(pkgA)}, []string{"npm left-pad 1.0.0 @0"}},
		{"whiteout of a directory", []item{gone("app/node_modules")}, nil},
		{"opaque directory", []item{dir("app"), opaqueDir("app")}, nil},
		{"opaque directory below", []item{opaqueDir("app/node_modules/lodash")}, []string{"npm left-pad 1.0.0 @0"}},
		{"opaque directory elsewhere", []item{opaqueDir("app/other")}, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @0"}},
		{"opaque root", []item{opaqueDir(".")}, nil},
		{"directory replaced by a file", []item{reg("app", "x")}, nil},
		{"directory replaced by a link", []item{symlink("app/node_modules", "/elsewhere")}, nil},
		{"file replaced by a directory", []item{dir(pkgA)}, []string{"npm left-pad 1.0.0 @0"}},
		{"directory again", []item{dir("app"), dir("app/node_modules")}, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @0"}},
		{"opaque and filled again", []item{opaqueDir("app"), reg("app/node_modules/left-pad/package.json", leftad)}, []string{"npm left-pad 1.0.0 @0"}},
		{"name that only begins alike", []item{gone("ap"), gone("app/node_modules/lodas")}, []string{"npm lodash 4.17.20 @0", "npm left-pad 1.0.0 @0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantNames(t, merged(t, base, c.upper), c.want...)
		})
	}
}

func TestLostLayerHidesNothing(t *testing.T) {
	x := New(Config{})
	a := visit(t, x, reg(pkgA, lodash))
	inv := Merge([]*Contents{nil, a, nil})
	wantNames(t, inv, "npm lodash 4.17.20 @1")
	if got := Merge(nil); len(got.Packages) != 0 || len(got.Gaps) != 0 {
		t.Errorf("no layers: %+v", got)
	}
}

func TestWhiteoutInTheMiddleBreaksTheChain(t *testing.T) {
	// Removed and added again: it is the third layer that brought it.
	wantNames(t, merged(t,
		[]item{reg(pkgA, lodash)},
		[]item{gone("app/node_modules")},
		[]item{reg(pkgA, lodash)},
	), "npm lodash 4.17.20 @2")
}

func TestPackageBelongsToTheLayerThatBroughtIt(t *testing.T) {
	os := reg("etc/os-release", debian12)
	db := func(pkgs ...string) item { return reg("var/lib/dpkg/status", status(pkgs...)) }
	inv := merged(t,
		[]item{os, db("base-files 12.4", "curl 7.88.1-10", "vim 2:9.0")},
		[]item{db("base-files 12.4", "curl 7.88.1-10+deb12u4", "nginx 1.22.1")},
		[]item{reg("unrelated", "x")},
		[]item{db("base-files 12.4", "curl 7.88.1-10+deb12u4", "vim 2:9.0")},
	)
	wantNames(t, inv,
		"Debian:12 base-files 12.4 @0",
		"Debian:12 curl 7.88.1-10+deb12u4 @1",
		"Debian:12 vim 2:9.0 @3", // it was away in between
	)
	if p := inv.Packages[0].PURL; p != "pkg:deb/debian/base-files@12.4?arch=amd64&distro=debian-12" {
		t.Errorf("purl %s", p)
	}
}

func TestLastEntryOfAPathCounts(t *testing.T) {
	inv := merged(t, []item{
		reg(pkgA, lodash), reg(pkgA, `{"name":"lodash","version":"4.17.21"}`),
		exe("bin/x", "#!/bin/sh\nold"), exe("bin/x", "#!/bin/sh\nnew"),
		reg("b/package.json", leftad), symlink("b/package.json", "elsewhere"),
	})
	wantNames(t, inv, "npm lodash 4.17.21 @0")
	sum := sha256.Sum256([]byte("#!/bin/sh\nnew"))
	if len(inv.Files) != 1 || inv.Files[0].Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("files %+v", inv.Files)
	}
}

func TestProgramsAreHashed(t *testing.T) {
	inv := merged(t,
		[]item{
			exe("bin/a", elf("a")), exe("bin/b", "#!/bin/sh\n"), exe("bin/notes", "no program"), reg("bin/c", elf("c")),
			reg("lib/libx.so.1", elf("x")), {path: "bin/su", mode: 0o4755, text: elf("su")}, exe("bin/gone", elf("g")),
			reg("lib/fake.so", "text"), reg("lib/m/addon.node", elf("n")),
		},
		[]item{exe("bin/a", elf("A")), gone("bin/gone")},
	)
	got := map[string]scan.File{}
	for _, f := range inv.Files {
		got[f.Path] = f
	}
	if len(got) != 5 {
		t.Fatalf("files %+v", inv.Files)
	}
	sum := sha256.Sum256([]byte(elf("A")))
	want := scan.File{Path: "/bin/a", Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(elf("A"))), Mode: 0o755, Kind: "elf", Layer: 1}
	if got["/bin/a"] != want {
		t.Errorf("got %+v\nwant %+v", got["/bin/a"], want)
	}
	for path, kind := range map[string]string{"/bin/b": "script", "/lib/libx.so.1": "library", "/bin/su": "elf", "/lib/m/addon.node": "library"} {
		if got[path].Kind != kind {
			t.Errorf("%s is %q, want %q", path, got[path].Kind, kind)
		}
	}
	if got["/bin/su"].Mode != 0o4755 {
		t.Errorf("mode %o", got["/bin/su"].Mode)
	}
}

func TestHardLinks(t *testing.T) {
	node := elf("\x00node.js/v18.19.0\x00")
	inv := merged(t,
		[]item{
			exe("bin/[", elf("\x00BusyBox v1.36.1 (x)\x00")), hard("bin/busybox", "bin/["), hard("bin/ls", "bin/["),
			exe("bin/node", node), hard("bin/js", "bin/ls"), exe("bin/other", elf("o")),
			reg("store/package.json", lodash), hard("app/node_modules/lodash/package.json", "store/package.json"),
		},
		[]item{hard("bin/again", "bin/other"), hard("app/go.mod", "store/123")},
	)
	wantNames(t, inv, "Binary busybox 1.36.1 @0", "Binary node 18.19.0 @0", "npm lodash 4.17.20 @0", "npm lodash 4.17.20 @0")
	var paths []string
	for _, f := range inv.Files {
		paths = append(paths, f.Path)
	}
	if want := []string{"/bin/[", "/bin/again", "/bin/busybox", "/bin/js", "/bin/ls", "/bin/node", "/bin/other"}; !slices.Equal(paths, want) {
		t.Errorf("files %v, want %v", paths, want)
	}
	wantGaps(t, inv, "/app/go.mod: go-gomod: file is a hard link to /store/123")
	if inv.Gaps[0].Minor {
		t.Error("a package file that was not read must make the report incomplete")
	}
}

// A directory shows hard links as files of their own; the packages must be the
// same.
func TestHardLinksLikeFiles(t *testing.T) {
	busy := elf("\x00BusyBox v1.36.1 (x)\x00")
	links := merged(t, []item{exe("bin/[", busy), hard("bin/busybox", "bin/["), hard("bin/ls", "bin/[")})
	files := merged(t, []item{exe("bin/[", busy), exe("bin/busybox", busy), exe("bin/ls", busy)})
	if len(links.Packages) != 1 || len(files.Packages) != 1 || links.Packages[0].Path != files.Packages[0].Path {
		t.Errorf("layer: %+v\ndirectory: %+v", links.Packages, files.Packages)
	}
	if !slices.Equal(links.Files, files.Files) {
		t.Errorf("layer: %+v\ndirectory: %+v", links.Files, files.Files)
	}
}

// What is in a program is told for as long as one of its names is there, and by
// the first of them, whichever name the layer has first.
func TestHardLinkedGoProgram(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	want := merged(t, []item{exe("bin/b", string(b)), hard("bin/a", "bin/b")})
	if len(want.Packages) == 0 || want.Packages[0].Path != "/bin/a" {
		t.Fatalf("packages %+v", want.Packages)
	}
	for name, layers := range map[string][][]item{
		"in order":               {{exe("bin/a", string(b)), hard("bin/b", "bin/a")}},
		"copies":                 {{exe("bin/b", string(b)), exe("bin/a", string(b))}},
		"the other name is gone": {{exe("bin/b", string(b)), hard("bin/a", "bin/b")}, {gone("bin/b")}},
	} {
		if got := merged(t, layers...); !slices.EqualFunc(got.Packages, want.Packages, func(a, b scan.Package) bool { return a.PURL == b.PURL && a.Path == b.Path }) {
			t.Errorf("%s: %d packages, want %d", name, len(got.Packages), len(want.Packages))
		}
	}
}

// The entry of a hard link sets the mode of the file, for all its names: a
// setuid bit must not hide there.
func TestHardLinkSetsTheMode(t *testing.T) {
	inv := merged(t, []item{exe("bin/su", elf("x")), {path: "lib/.x", typ: walk.Hardlink, mode: 0o4755, text: "bin/su"}})
	if len(inv.Files) != 2 || inv.Files[0].Mode != 0o4755 || inv.Files[1].Mode != 0o4755 {
		t.Errorf("files %+v", inv.Files)
	}
}

func TestOwnersAndPrograms(t *testing.T) {
	layer := []item{
		reg("etc/os-release", debian12),
		reg("var/lib/dpkg/status", status("nodejs 18.13.0", "python3-requests 2.28.1", "libc6 2.36")),
		reg("var/lib/dpkg/info/nodejs.list", "/.\n/usr\n/usr/bin\n/usr/bin/node\n"),
		reg("var/lib/dpkg/info/python3-requests.list", "/usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO\n"),
		reg("var/lib/dpkg/info/libc6:amd64.list", "/lib/x86_64-linux-gnu/libc.so.6\n/lib/x86_64-linux-gnu\n"),
		exe("usr/bin/node", elf("\x00node.js/v18.13.0\x00")),
		exe("usr/local/bin/node", elf("\x00node.js/v20.0.0\x00")),
		exe("usr/lib/x86_64-linux-gnu/libc.so.6", elf("libc")),
		reg("usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO", "Name: requests\nVersion: 2.28.1\n\n"),
		reg("usr/local/lib/python3/site-packages/flask.dist-info/METADATA", "Name: flask\nVersion: 3.0\n"),
	}
	inv := merged(t, layer)
	wantNames(t, inv, "Binary node 20.0.0 @0", "Debian:12 libc6 2.36 @0", "Debian:12 nodejs 18.13.0 @0", "Debian:12 python3-requests 2.28.1 @0", "PyPI flask 3.0 @0")
	for _, p := range inv.Packages {
		want := map[string][]string{"nodejs": {"/usr/bin/node"}, "libc6": {"/usr/lib/x86_64-linux-gnu/libc.so.6"}}[p.Name]
		if !slices.Equal(p.Programs, want) {
			t.Errorf("programs of %s: %q, want %q", p.Name, p.Programs, want)
		}
	}
	wantGaps(t, inv)

	// Without advisories for the system, what its packages contain is told.
	layer[0] = reg("etc/os-release", "ID=wolfi\nVERSION_ID=20230201\nPRETTY_NAME=Wolfi\n")
	inv = merged(t, layer)
	wantNames(t, inv, "Binary node 20.0.0 @0", "Wolfi libc6 2.36 @0", "Wolfi nodejs 18.13.0 @0", "Wolfi python3-requests 2.28.1 @0", "PyPI flask 3.0 @0", "PyPI requests 2.28.1 @0")
	wantGaps(t, inv, "no advisories are matched for Wolfi")
}

func TestUnknownSystemIsAGap(t *testing.T) {
	for _, c := range []struct {
		name  string
		layer []item
		gap   string
	}{
		{"unknown", []item{reg("etc/os-release", "ID=templeos\nVERSION_ID=5\nPRETTY_NAME=TempleOS\n"), reg("var/lib/dpkg/status", status("a 1"))}, "no advisories are matched for TempleOS"},
		{"none", []item{reg("var/lib/dpkg/status", status("a 1"))}, "does not say its name"},
		{"none, and no packages", []item{reg("x", "")}, ""},
		{"unknown, and no packages", []item{reg("etc/os-release", "ID=templeos\nVERSION_ID=5\n")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := merged(t, c.layer)
			if c.gap == "" {
				wantGaps(t, inv)
				return
			}
			wantGaps(t, inv, c.gap)
			if inv.Gaps[0].Minor {
				t.Error("must make the report incomplete")
			}
		})
	}
}

type fakeSecrets struct{}

func (fakeSecrets) Version() string { return "f1" }
func (fakeSecrets) Wants(p string, _ uint32, _ int64) bool {
	return p != "etc/skip" && p != "usr/bin/x"
}
func (fakeSecrets) Scan(p string, b []byte) []scan.Secret {
	switch string(b) {
	case "panic":
		panic("detector")
	case "secret", "other secret":
		return []scan.Secret{{Detector: "d", Title: "t", Severity: scan.High, Where: "/" + p, Line: 3, Masked: "s***", Fingerprint: string(b), State: scan.Open}}
	}
	return nil
}

func TestSecretsOfLowerLayersStay(t *testing.T) {
	x := New(Config{Secrets: fakeSecrets{}})
	if x.Version() == New(Config{}).Version() {
		t.Error("the version must tell whether secrets were looked for")
	}
	inv := Merge([]*Contents{
		recoded(t, visit(t, x, reg("etc/key", "secret"), reg("etc/kept", "secret"), reg("etc/skip", "secret"), reg("etc/boom", "panic"))),
		recoded(t, visit(t, x, gone("etc/key"), reg("etc/over", "secret"))),
		recoded(t, visit(t, x, reg("etc/over", "other secret"))),
	})
	type row struct {
		where   string
		layer   int
		deleted bool
	}
	var got []row
	for _, s := range inv.Secrets {
		got = append(got, row{s.Where, s.Layer, s.Deleted})
		if s.Line != 3 || s.Severity != scan.High || s.State != scan.Open || s.Masked != "s***" {
			t.Errorf("secret %+v", s)
		}
	}
	want := []row{{"/etc/kept", 0, false}, {"/etc/key", 0, true}, {"/etc/over", 1, true}, {"/etc/over", 2, false}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	wantGaps(t, inv, "detector failed: detector")
}

func TestUsersComeFromTheTop(t *testing.T) {
	inv := merged(t,
		[]item{reg("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")},
		[]item{reg("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n# x\n")},
	)
	if len(inv.Users) != 2 || inv.Users["app"] != 1000 || inv.Users["root"] != 0 {
		t.Errorf("users %v", inv.Users)
	}
}

func TestGapOfAHiddenFileVanishes(t *testing.T) {
	bad := reg("var/lib/dpkg/status", "Package: x\nStatus: install ok installed\n\n")
	os := reg("etc/os-release", debian12)
	wantGaps(t, merged(t, []item{os, bad}), "dpkg: read file: package x has no version")
	wantGaps(t, merged(t, []item{os, bad}, []item{reg("var/lib/dpkg/status", status("a 1"))}))
	wantGaps(t, merged(t, []item{os, bad}, []item{gone("var/lib/dpkg")}), "no package database")
}
