package main

import (
	"bufio"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// difference counts the packages that one of two tools lists and the other does
// not, by reason.
type difference struct {
	tool    string // the other one
	ours    bool   // only Gabion lists them
	kind    string
	reason  string
	count   int
	example string
}

const unexplained = "not explained"

// explain compares Gabion's list, the first, with every other one. Packages are
// compared by kind, name and version, however often they occur.
func explain(lists []list, owned map[string]bool) []difference {
	if len(lists) == 0 {
		return nil
	}
	ours := index(lists[0].packages)
	var out []difference
	for _, l := range lists[1:] {
		theirs := index(l.packages)
		c := comparison{ours: ours, theirs: theirs, owned: owned, sources: map[string]bool{}, listed: map[string]bool{}, paths: map[string]bool{}, ourPaths: map[string]bool{}}
		for _, p := range lists[0].packages {
			c.sources[p.source], c.sources[p.built()] = true, true
			c.ourPaths[p.kind+p.path] = true
		}
		for _, p := range l.packages {
			c.listed[p.name+" "+p.version] = true
			c.paths[p.kind+p.path] = true
		}
		out = append(out, c.count(l.tool, true, ours, theirs)...)
		out = append(out, c.count(l.tool, false, theirs, ours)...)
	}
	return out
}

func index(list []pkg) map[string]pkg {
	m := map[string]pkg{}
	for _, p := range list {
		if _, twice := m[p.key()]; !twice {
			m[p.key()] = p
		}
	}
	return m
}

// comparison is of two lists.
type comparison struct {
	ours, theirs    map[string]pkg
	owned           map[string]bool // files that a Debian package brought
	sources         map[string]bool // Gabion's source packages, "name version"
	listed          map[string]bool // the other's names and versions
	paths, ourPaths map[string]bool // kind and path of what either lists
}

func (c comparison) count(tool string, ours bool, have, lack map[string]pkg) []difference {
	var out []difference
	for _, key := range sorted(have) {
		if _, both := lack[key]; both {
			continue
		}
		p := have[key]
		d := difference{tool: tool, ours: ours, kind: p.kind, count: 1, example: strings.TrimSpace(p.name + " " + p.version)}
		if ours {
			d.reason = c.onlyOurs(p)
		} else {
			d.reason = c.onlyTheirs(p)
		}
		at := slices.IndexFunc(out, func(o difference) bool { return o.kind == d.kind && o.reason == d.reason })
		if at < 0 {
			out = append(out, d)
		} else {
			out[at].count++
		}
	}
	return out
}

// onlyOurs gives the reason for which only Gabion lists p.
func (c comparison) onlyOurs(p pkg) string {
	switch {
	case p.kind == "deb" && (c.listed[p.source] || c.listed[p.built()]):
		return "the other lists the source package only"
	case p.kind == "deb" && c.listedEpochless(p):
		return "the other leaves the epoch of the version out"
	case p.kind == "maven" && c.paths[p.kind+p.path]:
		return "the same jar, for which the other guesses another group: it says none itself"
	case p.kind == "maven" && c.ours[p.key()].path != "" && !c.paths[p.kind+p.path]:
		return "a jar that does not say what it is, named after its manifest and file; the other needs its Java database for it"
	case p.kind == "npm" && !installed(p.path):
		return "a package.json with name and version inside another package or the application itself; the other lists what the lock file of npm says"
	}
	return unexplained
}

// listedEpochless tells whether the other has p without the epoch.
func (c comparison) listedEpochless(p pkg) bool {
	_, bare, ok := strings.Cut(p.version, ":")
	return ok && c.listed[p.name+" "+bare]
}

// onlyTheirs gives the reason for which only the other lists p.
func (c comparison) onlyTheirs(p pkg) string {
	switch {
	case c.owned[p.path]:
		return "its files belong to a Debian package, which is listed and whose advisories count"
	case p.kind == "deb" && c.sources[p.name+" "+p.version]:
		return "the source package; Gabion lists its binary packages and keeps the source beside"
	case p.kind == "maven" && c.ourPaths[p.kind+p.path]:
		return "the same jar, for which Gabion guesses another group: it says none itself"
	case p.version == "":
		return "a package.json without a version, which no advisory can match: part of another package, or a test's"
	}
	return unexplained
}

// installed tells whether p is where package managers put a package.
func installed(p string) bool {
	dir := path.Dir(p)
	parent := path.Dir(dir)
	if strings.HasPrefix(path.Base(parent), "@") {
		parent = path.Dir(parent)
	}
	return path.Base(parent) == "node_modules"
}

// ownedFiles are the files that dpkg's lists in a root name.
func ownedFiles(root string) (map[string]bool, error) {
	lists, err := filepath.Glob(filepath.Join(root, "var/lib/dpkg/info/*.list"))
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{}
	for _, name := range lists {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			owned[strings.TrimPrefix(s.Text(), "/")] = true
		}
		err = s.Err()
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return owned, nil
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
