package vuln

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// vuln is one vulnerability: its canonical id and all other ids of it.
type vulnerability struct {
	id      string
	aliases []string
}

// canonical finds out which ids mean the same vulnerability.
//
// Issuers' own ids (GHSA, GO, PYSEC, ...) that call each other aliases are one
// group. If all of a group knows exactly one CVE, that is the name of all of
// it. CVEs are never joined with each other: a record that names several keeps
// its own id, and stands for all of them when a person ignores one.
type canonical struct {
	parent map[string]string   // union-find over issuers' ids
	cves   map[string][]string // root -> CVEs of the group, sorted
	ids    map[string][]string // root -> ids of the group, sorted
}

func isCVE(id string) bool { return strings.HasPrefix(id, "CVE-") }

func (c *canonical) root(id string) string {
	for {
		p, ok := c.parent[id]
		if !ok || p == id {
			return id
		}
		if pp, ok := c.parent[p]; ok {
			c.parent[id] = pp
		}
		id = p
	}
}

func (c *canonical) join(a, b string) {
	ra, rb := c.root(a), c.root(b)
	// The smaller id becomes the root, so that the order of joins is no matter.
	if rb < ra {
		ra, rb = rb, ra
	}
	c.parent[ra], c.parent[rb] = ra, ra
}

func newCanonical(advisories []*advisory) *canonical {
	c := &canonical{parent: map[string]string{}, cves: map[string][]string{}, ids: map[string][]string{}}
	for _, a := range advisories {
		if len(a.upstream) > 0 {
			continue
		}
		first := ""
		for _, id := range a.own() {
			if isCVE(id) {
				continue
			}
			c.join(id, cmp.Or(first, id))
			first = cmp.Or(first, id)
		}
	}
	for _, a := range advisories {
		if len(a.upstream) > 0 {
			continue
		}
		ids := a.own()
		i := slices.IndexFunc(ids, func(id string) bool { return !isCVE(id) })
		if i < 0 {
			continue
		}
		root := c.root(ids[i])
		for _, id := range ids {
			if isCVE(id) {
				c.cves[root] = append(c.cves[root], id)
			}
		}
	}
	for id := range c.parent {
		root := c.root(id)
		c.ids[root] = append(c.ids[root], id)
	}
	for _, m := range []map[string][]string{c.cves, c.ids} {
		for root, list := range m {
			slices.Sort(list)
			m[root] = slices.Compact(list)
		}
	}
	return c
}

// own are the ids of the record itself.
func (a *advisory) own() []string { return append([]string{a.id}, a.aliases...) }

// of gives the canonical ids of the vulnerabilities a record is about, and of
// each the ids that the record vouches for.
func (c *canonical) of(a *advisory) map[string][]string {
	if len(a.upstream) == 0 {
		ids := a.own()
		return map[string][]string{c.name(ids): c.aliases(ids)}
	}
	all := map[string][]string{}
	for _, id := range a.upstream {
		ids := []string{id}
		name := c.name(ids)
		all[name] = append(all[name], c.aliases(ids)...)
	}
	return all
}

func (c *canonical) name(ids []string) string {
	var cves []string
	for _, id := range ids {
		if isCVE(id) {
			cves = append(cves, id)
		}
	}
	switch {
	case len(cves) == 1:
		return cves[0]
	case len(cves) > 1:
		return ids[0]
	}
	root := c.root(ids[0])
	if group := c.cves[root]; len(group) == 1 {
		return group[0]
	}
	group := c.ids[root]
	if i := slices.IndexFunc(group, func(id string) bool { return strings.HasPrefix(id, "GHSA-") }); i >= 0 {
		return group[i]
	}
	return root
}

// aliases gives what else the ids of a record are called: all of the group,
// unless the group is about several CVEs and so says too much.
func (c *canonical) aliases(ids []string) []string {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
		if isCVE(id) {
			continue
		}
		if root := c.root(id); len(c.cves[root]) <= 1 {
			for _, other := range c.ids[root] {
				set[other] = true
			}
			for _, cve := range c.cves[root] {
				set[cve] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}
