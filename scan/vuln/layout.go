package vuln

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// layout is everything a database holds, numbered and sorted as it will lie in
// the file.
type layout struct {
	b           *Builder
	advisories  []*advisory
	vulns       []vulnerability
	vulnsOf     [][]uint32 // of an advisory
	ecosystems  []ecosystemMeta
	packages    []packageLayout
	versions    []versionLayout // 0 is none
	versionOf   []uint32        // by the builder's number
	strings     []string        // sorted
	stringAt    map[string]uint32
	info        scan.Database
	sourceIndex map[string]uint32
}

type packageLayout struct {
	packageKey // with the final number of the ecosystem
	entries    []entry
}

type versionLayout struct {
	versionKey
	key []byte // nil when the scheme cannot read the text
}

func (b *Builder) layout() (*layout, error) {
	l := &layout{b: b, stringAt: map[string]uint32{}, sourceIndex: map[string]uint32{}}
	b.stats.Outdated, b.stats.Unneeded = 0, 0
	live, order := l.choose()
	c := newCanonical(l.advisories)
	if err := l.numberVulns(c); err != nil {
		return nil, err
	}
	l.numberPackages(live, order)
	l.numberVersions()
	l.numberStrings()
	return l, l.describe()
}

// choose settles which entries of which packages stay, and numbers the
// advisories they belong to by source and id.
func (l *layout) choose() (live map[packageKey][]entry, order map[uint32]uint32) {
	b := l.b
	dead := make([]bool, len(b.advisories))
	for key, at := range b.withdrawn {
		if n, ok := b.byID[key]; ok && (at == 0 || b.advisories[n].modified <= at) {
			dead[n] = true
		}
	}
	used := make([]bool, len(b.advisories))
	live = make(map[packageKey][]entry, len(b.packages))
	for key, entries := range b.packages {
		entries = b.current(entries, dead)
		entries = b.contradicted(entries)
		entries = b.oneBuild(key, entries)
		if len(entries) == 0 {
			continue
		}
		live[key] = entries
		for i := range entries {
			used[entries[i].advisory] = true
		}
	}
	var numbers []uint32
	for n, u := range used {
		if u {
			numbers = append(numbers, uint32(n))
		}
	}
	slices.SortFunc(numbers, func(x, y uint32) int {
		a, b := &b.advisories[x], &b.advisories[y]
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.id, b.id))
	})
	order = make(map[uint32]uint32, len(numbers))
	for i, n := range numbers {
		order[n] = uint32(i)
		l.advisories = append(l.advisories, &b.advisories[n])
	}
	return live, order
}

// current drops what is withdrawn, and what a newer record of the same advisory
// says anew.
func (b *Builder) current(entries []entry, dead []bool) []entry {
	newest := map[uint32]int64{}
	for i := range entries {
		e := &entries[i]
		newest[e.advisory] = max(newest[e.advisory], e.modified)
	}
	var out []entry
	for _, e := range entries {
		switch {
		case dead[e.advisory]:
		case e.modified < newest[e.advisory]:
			b.stats.Outdated++
		default:
			out = append(out, e)
		}
	}
	return out
}

// contradicted drops statements that a package is not affected by something
// that nobody says it is affected by.
func (b *Builder) contradicted(entries []entry) []entry {
	if !slices.ContainsFunc(entries, func(e entry) bool { return e.status == NotAffected }) {
		return entries
	}
	affected := map[string]bool{}
	for i := range entries {
		if e := &entries[i]; e.status != NotAffected {
			for _, id := range b.advisories[e.advisory].about() {
				affected[id] = true
			}
		}
	}
	return slices.DeleteFunc(entries, func(e entry) bool {
		unneeded := e.status == NotAffected && !slices.ContainsFunc(b.advisories[e.advisory].about(), func(id string) bool { return affected[id] })
		if unneeded {
			b.stats.Unneeded++
		}
		return unneeded
	})
}

// about are all the ids of what a record is about.
func (a *advisory) about() []string { return append(a.own(), a.upstream...) }

// oneBuild joins what AlmaLinux says once per build of a module: the same
// version and release, built again for a later point release, is fixed from the
// first of those builds on.
func (b *Builder) oneBuild(key packageKey, entries []entry) []entry {
	if version.SchemeOf(b.names[key.ecosystem]) != version.RPM {
		return entries
	}
	type place struct {
		advisory      uint32
		module, fixed string
	}
	first := map[place]int{}
	n := 0
	for _, e := range entries {
		if p, ok := (place{}), false; e.module != "" && len(e.versions) == 0 && len(e.ranges) == 1 && e.ranges[0].low == 0 && e.ranges[0].kind == boundFixed {
			fixed := b.texts[e.ranges[0].up].text
			if i := strings.Index(fixed, ".module"); i >= 0 {
				p, ok = place{e.advisory, e.module, fixed[:i] + " " + strings.Join(e.arch, ",")}, true
			}
			if at, seen := first[p]; ok && seen {
				old := entries[at].ranges[0].up
				if cmp.Or(bytes.Compare(b.keyOf(e.ranges[0].up), b.keyOf(old)), cmp.Compare(fixed, b.texts[old].text)) < 0 {
					entries[at] = e
				}
				continue
			} else if ok {
				first[p] = n
			}
		}
		entries[n] = e
		n++
	}
	return entries[:n]
}

// numberVulns gives every vulnerability that an advisory is about a number, by
// id: CVEs by number, then the others.
func (l *layout) numberVulns(c *canonical) error {
	aliases := map[string]map[string]bool{}
	names := make([][]string, len(l.advisories))
	for i, a := range l.advisories {
		for name, ids := range c.of(a) {
			names[i] = append(names[i], name)
			if aliases[name] == nil {
				aliases[name] = map[string]bool{}
			}
			for _, id := range ids {
				if id != name {
					aliases[name][id] = true
				}
			}
		}
	}
	numbers := make(map[string]uint32, len(aliases))
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		numbers[name] = uint32(len(l.vulns))
		l.vulns = append(l.vulns, vulnerability{name, slices.Sorted(maps.Keys(aliases[name]))})
	}
	l.vulnsOf = make([][]uint32, len(l.advisories))
	for i := range names {
		for _, name := range names[i] {
			l.vulnsOf[i] = append(l.vulnsOf[i], numbers[name])
		}
		slices.Sort(l.vulnsOf[i])
	}
	return nil
}

func (l *layout) numberPackages(live map[packageKey][]entry, order map[uint32]uint32) {
	names := map[string]uint32{}
	for key := range live {
		names[l.b.names[key.ecosystem]] = 0
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		names[name] = uint32(len(l.ecosystems))
		l.ecosystems = append(l.ecosystems, ecosystemMeta{Name: name, Scheme: uint8(version.SchemeOf(name))})
	}
	for key, entries := range live {
		for i := range entries {
			entries[i].advisory = order[entries[i].advisory]
			slices.SortFunc(entries[i].ranges, l.compareIntervals)
		}
		slices.SortFunc(entries, l.compareEntries)
		entries = slices.CompactFunc(entries, func(a, b entry) bool { return l.compareEntries(a, b) == 0 })
		key.ecosystem = names[l.b.names[key.ecosystem]]
		e := &l.ecosystems[key.ecosystem]
		if key.source {
			e.BySource++
		} else {
			e.ByBinary++
		}
		l.packages = append(l.packages, packageLayout{key, entries})
	}
	slices.SortFunc(l.packages, func(a, b packageLayout) int {
		return cmp.Or(cmp.Compare(keyPrefix(a.ecosystem, a.source), keyPrefix(b.ecosystem, b.source)), cmp.Compare(a.name, b.name))
	})
}

func (l *layout) compareIntervals(a, b interval) int {
	return cmp.Or(bytes.Compare(l.b.keyOf(a.low), l.b.keyOf(b.low)), bytes.Compare(l.b.keyOf(a.up), l.b.keyOf(b.up)),
		cmp.Compare(a.kind, b.kind), cmp.Compare(l.b.texts[a.low].text, l.b.texts[b.low].text), cmp.Compare(l.b.texts[a.up].text, l.b.texts[b.up].text))
}

func (l *layout) compareEntries(a, b entry) int {
	return cmp.Or(cmp.Compare(a.advisory, b.advisory), cmp.Compare(a.status, b.status), cmp.Compare(a.severity, b.severity),
		cmp.Compare(a.module, b.module), slices.Compare(a.arch, b.arch), slices.CompareFunc(a.ranges, b.ranges, l.compareIntervals),
		slices.CompareFunc(a.versions, b.versions, func(x, y uint32) int { return cmp.Compare(l.b.texts[x].text, l.b.texts[y].text) }),
		compareBool(a.unreadable, b.unreadable), compareBool(a.all, b.all))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// numberVersions sorts the versions in use by scheme and order.
func (l *layout) numberVersions() {
	l.versionOf = make([]uint32, len(l.b.texts))
	var used []uint32
	use := func(n uint32) {
		if n != 0 && l.versionOf[n] == 0 {
			l.versionOf[n] = 1
			used = append(used, n)
		}
	}
	for _, p := range l.packages {
		for _, e := range p.entries {
			for _, i := range e.ranges {
				use(i.low)
				use(i.up)
			}
			for _, v := range e.versions {
				use(v)
			}
		}
	}
	type numbered struct {
		versionLayout
		n uint32
	}
	sorted := make([]numbered, len(used))
	for i, n := range used {
		sorted[i] = numbered{l.b.texts[n], n}
	}
	slices.SortFunc(sorted, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.scheme, b.scheme), bytes.Compare(a.key, b.key), cmp.Compare(a.text, b.text))
	})
	l.versions = make([]versionLayout, 1, len(sorted)+1)
	for _, s := range sorted {
		l.versionOf[s.n] = uint32(len(l.versions))
		l.versions = append(l.versions, s.versionLayout)
	}
}

// numberStrings sorts all strings that are referred to by place.
func (l *layout) numberStrings() {
	set := map[string]bool{}
	id := func(s string) {
		if _, ok := packCVE(s); !ok {
			set[s] = true
		}
	}
	for _, a := range l.advisories {
		for _, s := range a.about() {
			id(s)
		}
		set[a.cvss] = true
	}
	for _, v := range l.vulns {
		id(v.id)
		for _, s := range v.aliases {
			id(s)
		}
	}
	for _, p := range l.packages {
		for _, e := range p.entries {
			set[e.module] = true
			for _, a := range e.arch {
				set[a] = true
			}
		}
	}
	for _, v := range l.b.cvss {
		set[v] = true
	}
	set[""] = true
	l.strings = slices.Sorted(maps.Keys(set))
}

// describe fills in what Info tells.
func (l *layout) describe() error {
	sources := map[string]scan.Source{}
	newest := map[string]int64{}
	for _, a := range l.advisories {
		s, ok := sources[a.source]
		if !ok {
			if s, ok = l.b.sources[a.source]; !ok {
				return fmt.Errorf("build database: source %q of %s was not declared", a.source, a.id)
			}
			s.Advisories = 0
		}
		s.Advisories++
		sources[a.source] = s
		newest[a.source] = max(newest[a.source], a.modified, a.published)
	}
	for name, s := range l.b.sources {
		if _, ok := sources[name]; !ok {
			s.Advisories = 0 // facts, or nothing that could match
			sources[name] = s
		}
	}
	l.info = scan.Database{Built: l.b.o.Built.UTC().Truncate(time.Second), Advisories: len(l.advisories), Packages: len(l.packages)}
	for i, name := range slices.Sorted(maps.Keys(sources)) {
		s := sources[name]
		if s.Data.IsZero() {
			s.Data = fromSecond(uint64(newest[name]))
		}
		s.Data = s.Data.UTC()
		if s.Data.After(l.info.Data) {
			l.info.Data = s.Data
		}
		l.sourceIndex[name] = uint32(i)
		l.info.Sources = append(l.info.Sources, s)
	}
	if l.b.o.Built.IsZero() {
		l.info.Built = l.info.Data
	}
	of := make([]map[int]bool, len(l.ecosystems))
	for _, p := range l.packages {
		if of[p.ecosystem] == nil {
			of[p.ecosystem] = map[int]bool{}
		}
		for _, e := range p.entries {
			of[p.ecosystem][int(l.sourceIndex[l.advisories[e.advisory].source])] = true
		}
	}
	for i := range l.ecosystems {
		l.ecosystems[i].Sources = slices.Sorted(maps.Keys(of[i]))
	}
	return nil
}
