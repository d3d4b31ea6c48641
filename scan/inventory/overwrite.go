package inventory

import (
	"cmp"
	"path"
	"slices"
)

// dropOverwritten forgets what earlier entries of a path said: as for those
// who unpack a layer, the last one counts.
func (c *Collector) dropOverwritten() {
	slices.SortFunc(c.paths, func(a, b pathEntry) int {
		if a.hash != b.hash {
			if a.hash < b.hash {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.seq, b.seq)
	})
	last := map[uint64]uint32{}
	for i := 1; i < len(c.paths); i++ {
		if p, q := c.paths[i-1], c.paths[i]; p.hash == q.hash && p.hash&kinds == covers {
			last[p.hash] = q.seq
		}
	}
	// What lay below a directory is gone when anything else took its place.
	replaced := map[string]uint32{}
	var below func(d string) uint32
	below = func(d string) uint32 {
		if d == "." {
			return 0
		}
		at, ok := replaced[d]
		if !ok {
			at = max(below(path.Dir(d)), c.taken(d))
			replaced[d] = at
		}
		return at
	}
	old := func(o origin) bool {
		l, twice := last[hashPath(o.path)]
		return twice && uint32(o.seq) < l || uint32(o.seq) < below(path.Dir(o.path))
	}
	out := c.out
	out.units = slices.DeleteFunc(out.units, func(v unit) bool { return old(v.origin) })
	out.files = slices.DeleteFunc(out.files, func(v program) bool { return old(v.origin) })
	out.releases = slices.DeleteFunc(out.releases, func(v release) bool { return old(v.origin) })
	out.users = slices.DeleteFunc(out.users, func(v users) bool { return old(v.origin) })
	out.owners = slices.DeleteFunc(out.owners, func(v ownerList) bool { return old(v.origin) })
	out.docs = slices.DeleteFunc(out.docs, func(v doc) bool { return old(v.origin) })
	out.gaps = slices.DeleteFunc(out.gaps, func(v gap) bool { return v.path != "" && old(v.origin) })
	c.links = slices.DeleteFunc(c.links, func(v link) bool { return old(v.origin) })
	// Secrets stay: the earlier entry is in the layer for everyone to read.
}

// taken is the last entry of the layer that puts something else than a
// directory at p, or 0.
func (c *Collector) taken(p string) (seq uint32) {
	for _, e := range c.at(p) {
		if !e.white {
			seq = e.seq
		}
	}
	return seq
}

// at lists the entries of a path that are no directories. The entries must be
// sorted.
func (c *Collector) at(p string) []pathEntry {
	h := hashPath(p) | covers
	i, _ := slices.BinarySearchFunc(c.paths, h, func(e pathEntry, h uint64) int { return cmp.Compare(e.hash, h) })
	n := i
	for n < len(c.paths) && c.paths[n].hash == h {
		n++
	}
	return c.paths[i:n]
}
