package inventory

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// licenses gives Debian's packages what their copyright files say.
func (m *merger) licenses(system []placed) {
	docs := map[string]*doc{}
	each(m, func(c *Contents) []doc { return c.docs }, func(d *doc) origin { return d.origin }, func(_ int, d *doc) { docs[d.name] = d })
	if len(docs) == 0 {
		return
	}
	for i := range system {
		p := &system[i]
		if systems[p.Found] != "deb" || len(p.Licenses) > 0 {
			continue
		}
		d := docs[p.Name]
		if d != nil && d.alias != "" {
			d = docs[d.alias]
		}
		if d != nil {
			p.Licenses = d.licenses
		}
	}
}

// owners fills Programs of the system's packages and gives, for the path of
// every other package that is owned, its owner.
func (m *merger) owners(system, other []placed) map[string]*placed {
	lists := map[string]*ownerList{}
	each(m, func(c *Contents) []ownerList { return c.owners }, func(o *ownerList) origin { return o.origin }, func(_ int, o *ownerList) {
		lists[o.name+":"+o.arch] = o
	})
	// Only paths of which something is known matter; a path below /usr also
	// answers to its old name, which merged systems still list.
	wanted := map[uint64]string{}
	want := func(p string) {
		wanted[hashPath(p)] = p
	}
	for i := range m.out.Files {
		want(m.out.Files[i].Path[1:])
	}
	for i := range other {
		want(other[i].path)
	}
	for _, p := range slices.Collect(maps.Values(wanted)) {
		if old, ok := strings.CutPrefix(p, "usr/"); ok {
			if h := hashPath(old); wanted[h] == "" {
				wanted[h] = p
			}
		}
	}
	owner := map[string]*placed{}
	for i := range system {
		p := &system[i]
		owns := p.owns
		if owns == nil {
			l := cmp.Or(lists[p.Name+":"+p.Arch], lists[p.Name+":"])
			if l == nil {
				continue
			}
			owns = l.hashes
		}
		for _, h := range owns {
			if w := wanted[h]; w != "" {
				owner[w] = p
				if _, ok := m.byPath["/"+w]; ok {
					p.Programs = append(p.Programs, "/"+w)
				}
			}
		}
		slices.Sort(p.Programs)
		p.Programs = slices.Compact(p.Programs)
	}
	return owner
}
