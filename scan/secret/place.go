package secret

import (
	"path"
	"strings"

	"github.com/gabion-dev/gabion/content"
)

// globs matches paths quickly: names and endings by table, the rest one by one.
type globs struct {
	names   map[string]bool // whole base names
	endings map[string]bool // "*.pem" as "pem"
	paths   []string        // endings of paths, or parts of them with a slash at the end
	general []string        // base names with stars
}

func newGlobs(patterns []string) globs {
	g := globs{names: map[string]bool{}, endings: map[string]bool{}}
	for _, p := range patterns {
		switch ext, isExt := strings.CutPrefix(p, "*."); {
		case strings.Contains(p, "/"):
			g.paths = append(g.paths, strings.TrimPrefix(p, "*/"))
		case isExt && !strings.ContainsAny(ext, "*?[."):
			g.endings[ext] = true
		case strings.ContainsAny(p, "*?["):
			g.general = append(g.general, p)
		default:
			g.names[p] = true
		}
	}
	return g
}

func (g *globs) empty() bool {
	return len(g.names)+len(g.endings)+len(g.paths)+len(g.general) == 0
}

// match takes a path without leading slash, its base name and extension.
func (g *globs) match(p, base, ext string) bool {
	if g.names[base] || g.endings[ext] {
		return true
	}
	for _, want := range g.paths {
		if strings.HasSuffix(want, "/") {
			if strings.HasPrefix(p, want) || strings.Contains(p, "/"+want) {
				return true
			}
			continue
		}
		if p == want || strings.HasSuffix(p, "/"+want) {
			return true
		}
		if strings.Contains(want, "*") {
			if ok, _ := path.Match(want, tail(p, strings.Count(want, "/")+1)); ok {
				return true
			}
		}
	}
	for _, want := range g.general {
		if ok, _ := path.Match(want, base); ok {
			return true
		}
	}
	return false
}

// tail gives the last n elements of a path.
func tail(p string, n int) string {
	i := len(p)
	for range n {
		j := strings.LastIndexByte(p[:i], '/')
		if j < 0 {
			return p
		}
		i = j
	}
	return p[i+1:]
}

// dirs matches paths by the directories they are in.
type dirs struct {
	top  map[string][]string // by first element: prefixes of the path
	any  map[string][]string // by last element: "a/b" of "**/a/b/"
	base globs
}

func newDirs(places []content.Place) dirs {
	d := dirs{top: map[string][]string{}, any: map[string][]string{}}
	var names []string
	for _, place := range places {
		for _, p := range place.Paths {
			switch dir, anywhere := strings.CutPrefix(p, "**/"); {
			case anywhere:
				dir = strings.TrimSuffix(dir, "/")
				d.any[path.Base(dir)] = append(d.any[path.Base(dir)], dir)
			case strings.HasSuffix(p, "/"):
				first, _, _ := strings.Cut(p, "/")
				d.top[first] = append(d.top[first], p)
			default:
				names = append(names, p)
			}
		}
	}
	d.base = newGlobs(names)
	return d
}

func (d *dirs) match(p, base, ext string) bool {
	first, _, _ := strings.Cut(p, "/")
	for _, prefix := range d.top[first] {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	for from := 0; ; {
		i := strings.IndexByte(p[from:], '/')
		if i < 0 {
			break
		}
		for _, dir := range d.any[p[from:from+i]] {
			to := from + i
			if strings.HasSuffix(p[:to], dir) && (to == len(dir) || p[to-len(dir)-1] == '/') {
				return true
			}
		}
		from += i + 1
	}
	return d.base.match(p, base, ext)
}

// places are the paths of content.Places made ready.
type places struct {
	skip, quiet, lower             dirs
	credentials                    globs
	binary, sources, configuration map[string]bool
}

func newPlaces(c *content.Places) places {
	var names []string
	for _, p := range c.Credentials {
		names = append(names, p.Paths...)
	}
	return places{
		skip: newDirs(c.Skip), quiet: newDirs(c.Quiet), lower: newDirs(c.Lower),
		credentials: newGlobs(names),
		binary:      set(c.Binary), sources: set(c.Sources), configuration: set(c.Configuration),
	}
}

func set(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

// Sizes up to which files are looked at that are not named like a credential,
// in bytes. Larger texts are data and libraries bundled for browsers.
const (
	maxPlain  = 1 << 20
	maxSource = 256 << 10
	maxQuiet  = 32 << 10
)

func (p *places) wants(name string, size int64) bool {
	if size <= 0 || p.skip.match(name, "", "") {
		return false
	}
	base, ext := split(name)
	if p.credential(name, base, ext) {
		return true
	}
	switch {
	case p.binary[ext], strings.Contains(base, ".so."):
		return false
	case p.quiet.match(name, base, ext):
		return size <= maxQuiet && p.configuration[ext]
	case p.sources[ext]:
		return size <= maxSource && !strings.Contains(base, ".min.") && !strings.Contains(base, ".bundle.") && ext != "map"
	}
	return size <= maxPlain
}

// credential reports whether a file is named like one. Sources are not, whatever
// they are called, but for the exact names.
func (p *places) credential(name, base, ext string) bool {
	if p.sources[ext] || p.binary[ext] {
		return p.credentials.names[base]
	}
	return p.credentials.match(name, base, ext)
}

// split gives the base name and the extension without dot.
func split(name string) (base, ext string) {
	base = name[strings.LastIndexByte(name, '/')+1:]
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		ext = base[i+1:]
	}
	return base, ext
}
