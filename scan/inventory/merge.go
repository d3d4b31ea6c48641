package inventory

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Merge lays layers over each other, lowest first. A nil element is a layer
// that was lost; saying so is up to the caller.
//
// Files that a package of the operating system owns are that package's: what
// classifiers and language extractors found in them is not told a second time,
// because the distribution fixes it under its own version. Go and Rust modules
// in programs are the exception, for they are what was linked in, and so is an
// operating system without advisories, and packages of other makers, for which
// the maker of the operating system issues none.
func Merge(layers []*Contents) scan.Inventory {
	m := &merger{layers: layers, over: newOverlay(layers)}
	m.files()
	m.gaps()
	m.release()
	m.users()
	m.secrets()
	m.packages()
	m.sort()
	return m.out
}

// maxImage bounds the packages of one image; the largest honest ones have a
// tenth of it.
const maxImage = 150_000

type merger struct {
	layers []*Contents
	over   *overlay
	out    scan.Inventory
	byPath map[string]int // path -> index into out.Files
}

// visible reports whether a file of layer i is in the image.
func (m *merger) visible(i int, o origin) bool { return m.over.top(o.path) <= i }

// each calls fn for every visible element of a list of every layer.
func each[T any](m *merger, of func(*Contents) []T, at func(*T) origin, fn func(layer int, v *T)) {
	for i, l := range m.layers {
		if l == nil {
			continue
		}
		list := of(l)
		for k := range list {
			if v := &list[k]; m.visible(i, at(v)) {
				fn(i, v)
			}
		}
	}
}

func (m *merger) files() {
	m.byPath = map[string]int{}
	put := func(f scan.File) {
		m.byPath[f.Path] = len(m.out.Files)
		m.out.Files = append(m.out.Files, f)
	}
	each(m, func(c *Contents) []program { return c.files }, func(f *program) origin { return f.origin }, func(i int, f *program) {
		put(scan.File{
			Path: "/" + f.path, Digest: "sha256:" + hex.EncodeToString(f.digest[:]), Size: f.size,
			Mode: f.mode, UID: f.uid, Kind: programKinds[f.kind], Layer: i,
		})
	})
	each(m, func(c *Contents) []link { return c.links }, func(l *link) origin { return l.origin }, func(i int, l *link) {
		if k, ok := m.byPath["/"+l.target]; ok {
			f := m.out.Files[k]
			f.Path, f.Layer = "/"+l.path, i
			put(f)
		}
	})
}

func (m *merger) gaps() {
	for i, l := range m.layers {
		if l == nil {
			continue
		}
		for _, g := range l.gaps {
			if g.path == "" || m.visible(i, g.origin) {
				m.out.Gaps = append(m.out.Gaps, g.Gap)
			}
		}
	}
}

// release takes the best source of each field: os-release, and what older
// systems have instead of it.
func (m *merger) release() {
	best := -1
	each(m, func(c *Contents) []release { return c.releases }, func(r *release) origin { return r.origin }, func(_ int, r *release) {
		if rank := slices.Index(releaseFiles, r.path); best < 0 || rank < best {
			best, m.out.Release = rank, r.Release
		}
	})
}

func (m *merger) users() {
	each(m, func(c *Contents) []users { return c.users }, func(u *users) origin { return u.origin }, func(_ int, u *users) {
		m.out.Users = maps.Clone(u.ids)
	})
}

func (m *merger) secrets() {
	for i, l := range m.layers {
		if l == nil {
			continue
		}
		for _, s := range l.secrets {
			out := s.Secret
			out.Layer, out.Deleted = i, !m.visible(i, s.origin)
			m.out.Secrets = append(m.out.Secrets, out)
		}
	}
}

// packages collects the packages of all visible files, and tells those of the
// operating system what belongs to them.
func (m *merger) packages() {
	system, other := make([]placed, 0, 512), make([]placed, 0, min(m.count(), maxImage))
	history := m.history()
	left := 0
	each(m, func(c *Contents) []unit { return c.units }, func(u *unit) origin { return u.origin }, func(i int, u *unit) {
		if n := len(system) + len(other) + len(u.packages); n > maxImage {
			left += len(u.packages)
			return
		}
		since := m.since(history[unitKey{u.plugin, u.path}], i)
		for k := range u.packages {
			f := &u.packages[k]
			p := placed{Package: f.Package, owns: f.owns, origin: u.origin, vendor: f.vendor}
			p.Layer = i
			if since != nil {
				p.Layer = since[identity(f)]
			}
			if systems[u.plugin] != "" {
				system = append(system, p)
			} else {
				other = append(other, p)
			}
		}
	})
	if left > 0 {
		m.out.Gaps = append(m.out.Gaps, scan.Gap{
			Where: "image", What: fmt.Sprintf("it has %d packages beyond the %d that are taken in", left, maxImage),
			Means: "they are missing from the report", Do: "look at the image: no honest one holds so many",
		})
	}
	m.licenses(system)
	owner := m.owners(system, other)
	installed := installedBeside(other)
	m.out.Packages = make([]scan.Package, 0, len(system)+len(other))
	known := m.finishSystem(system)
	for i := range other {
		p := &other[i]
		if by, owned := owner[p.path]; owned && !foreign(&m.out.Release, by, p.path) && suppressed(&p.Package, known) {
			continue
		}
		if installed[path.Dir(p.path)+"\x00"+installs[p.Found]] {
			continue
		}
		m.out.Packages = append(m.out.Packages, p.Package)
	}
	m.oneBinary()
}

// count is how many packages the layers have together, hidden ones too.
func (m *merger) count() (n int) {
	for _, l := range m.layers {
		if l != nil {
			for i := range l.units {
				n += len(l.units[i].packages)
			}
		}
	}
	return n
}

// placed is a package with its layer, before it is known who owns what.
type placed struct {
	scan.Package
	owns   []uint64
	vendor string
	origin
}

// installs names, for plugins of lock files, the plugin that reads what was
// installed by them.
var installs = map[string]string{
	"javascript-packagelockjson": npmPlugin, "javascript-yarnlock": npmPlugin, "javascript-pnpmlock": npmPlugin,
	"javascript-bunlock": npmPlugin, "php-composerlock": composerPlugin,
}

// installedBeside finds the folders, each with the plugin that says so, in
// which packages are installed. There a lock file says what was asked for, with
// what only development needs, and what is installed counts instead.
func installedBeside(other []placed) map[string]bool {
	out := map[string]bool{}
	for i := range other {
		p := &other[i]
		dir := map[string]string{npmPlugin: "/node_modules/", composerPlugin: "/vendor/"}[p.Found]
		if dir == "" {
			continue
		}
		if root, _, ok := strings.Cut("/"+p.path, dir); ok {
			out[path.Clean("./"+root)+"\x00"+p.Found] = true
		}
	}
	return out
}

// suppressed reports whether a package is not told when a package of the
// operating system owns its file. known: advisories for that system exist.
func suppressed(p *scan.Package, known bool) bool {
	return p.Ecosystem == binaryEcosystem || known && p.Found != goPlugin && p.Found != rustPlugin
}

// oneBinary tells what is in a program that has several names once, by its first
// name: which of them is the link depends on the order of the layer.
func (m *merger) oneBinary() {
	digest := func(p *scan.Package) string {
		if i, ok := m.byPath[p.Path]; ok {
			return m.out.Files[i].Digest
		}
		return p.Path
	}
	type key struct{ name, version, digest string }
	first := map[key]string{}
	for i := range m.out.Packages {
		if p := &m.out.Packages[i]; inPrograms[p.Found] {
			k := key{p.Name, p.Version, digest(p)}
			if f, ok := first[k]; !ok || p.Path < f {
				first[k] = p.Path
			}
		}
	}
	m.out.Packages = slices.DeleteFunc(m.out.Packages, func(p scan.Package) bool {
		return inPrograms[p.Found] && first[key{p.Name, p.Version, digest(&p)}] != p.Path
	})
}

func (m *merger) sort() {
	m.out.Packages = scan.SortPackages(m.out.Packages)
	slices.SortFunc(m.out.Files, func(a, b scan.File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.out.Gaps, func(a, b scan.Gap) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.What, b.What))
	})
	m.out.Gaps = slices.Compact(m.out.Gaps)
	slices.SortStableFunc(m.out.Secrets, func(a, b scan.Secret) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Layer, b.Layer))
	})
}

// finishSystem gives the packages of the operating system their ecosystem and
// reports whether advisories for it exist.
func (m *merger) finishSystem(system []placed) bool {
	r := &m.out.Release
	if len(system) > 0 && (r.Ecosystem == "" || unmatched[r.Ecosystem]) {
		m.out.Gaps = append(m.out.Gaps, releaseGap(r, len(system)))
	}
	if len(system) == 0 && r.Ecosystem != "" && !m.emptied() {
		m.out.Gaps = append(m.out.Gaps, missingGap(r))
	}
	for i := range system {
		p := &system[i].Package
		p.Ecosystem = r.Ecosystem
		p.PURL = systemPURL(systems[p.Found], r, p)
		m.out.Packages = append(m.out.Packages, *p)
	}
	return r.Ecosystem != "" && !unmatched[r.Ecosystem]
}

// emptied reports whether a layer was lost, or a package database could not be
// read: then a Gap says why there are no packages already.
func (m *merger) emptied() bool {
	return slices.Contains(m.layers, nil) || slices.ContainsFunc(m.out.Gaps, func(g scan.Gap) bool { return g.Means == loseSystem })
}
