package vuln

import (
	"cmp"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// Match finds what is known of the packages. Finding.Package is the index into
// pkgs. Findings are sorted by package and id, and have no Priority yet.
//
// Several advisories about one vulnerability in one package are one finding:
// severity is the worst word of an issuer, and that of CVSS only where no
// issuer has one; the fix is the lowest version above the installed one that
// none of them calls affected. A statement that the package is not affected
// wins over others that are not newer.
//
// What could not be judged is a Gap: an ecosystem the database lacks or has in
// part only, a version that cannot be ordered although there are advisories.
func (d *DB) Match(release scan.Release, pkgs []scan.Package) (findings []scan.Finding, gaps []scan.Gap) {
	m := matcher{d: d, release: release}
	// A file that is cut short while it is mapped faults on access; that must
	// not take the program down.
	defer guardFaults(func() {
		findings, gaps = nil, []scan.Gap{damageGap}
	})()
	for i := range pkgs {
		m.match(i, &pkgs[i])
	}
	m.sort()
	return m.findings, m.allGaps()
}

// matcher holds the state of one Match.
type matcher struct {
	d        *DB
	release  scan.Release
	places   []*place
	last     *place
	findings []scan.Finding
	notes    notes
	name     []byte
	keys     [2][]byte // buffers
	hits     []hit
	spans    []span
	vectors  map[uint32]scored
	any      bool // one of the hits calls the package affected
}

// place is an ecosystem as packages name it, and where to look for them.
type place struct {
	written  string
	known    bool // the database has advisories for it
	packages int
	base     string
	scheme   version.Scheme
	system   bool
	programs bool // known by their bytes: names are translated
	tables   []table
}

// table is one ecosystem of the database.
type table struct {
	ecosystem uint32
	source    bool
	extended  bool // Ubuntu Pro
	base      string
	scheme    version.Scheme
}

// place finds or makes the place of an ecosystem.
func (m *matcher) place(ecosystem string) *place {
	if m.last != nil && m.last.written == ecosystem {
		return m.last
	}
	for _, p := range m.places {
		if p.written == ecosystem {
			m.last = p
			return p
		}
	}
	name := Ecosystem(ecosystem)
	base, release, _ := strings.Cut(name, ":")
	if release == "" && strings.HasPrefix(m.release.Ecosystem, base+":") {
		name = Ecosystem(m.release.Ecosystem)
		base, release, _ = strings.Cut(name, ":")
	}
	p := &place{written: ecosystem, base: base, scheme: version.SchemeOf(name), system: isSystem(name), programs: base == "Binary"}
	add := func(name string, extended bool) {
		n, ok := m.d.byName[name]
		if !ok {
			return
		}
		p.known = true
		e := m.d.meta.Ecosystems[n]
		b, _, _ := strings.Cut(name, ":")
		t := table{n, true, extended, b, version.Scheme(e.Scheme)}
		if e.BySource > 0 {
			p.tables = append(p.tables, t)
		}
		if t.source = false; e.ByBinary > 0 {
			p.tables = append(p.tables, t)
		}
	}
	add(name, false)
	if base != name {
		add(base, false) // advisories for every release
	}
	if base == "Ubuntu" {
		add("Ubuntu:Pro:"+strings.TrimPrefix(release, "Pro:"), true)
	}
	if p.programs {
		for _, up := range upstreams {
			add(up, false)
		}
	}
	m.places = append(m.places, p)
	m.last = p
	return p
}

// hit is an entry that is about the package: one that calls it affected, or one
// that does not, which matters to fixes and to tiers of support.
type hit struct {
	vuln, advisory uint32
	spans          [2]uint32 // of matcher.spans
	table          *table
	key            uint8 // of matcher.keys
	status         Status
	severity       scan.Severity
	affected       bool
}

func (m *matcher) match(i int, p *scan.Package) {
	if p.Ecosystem == "" {
		return
	}
	at := m.place(p.Ecosystem)
	at.packages++
	m.hits, m.spans, m.any = m.hits[:0], m.spans[:0], false
	var keys [2]installed
	names := 0
	for t := range at.tables {
		table := &at.tables[t]
		if at.programs {
			list, ok := m.d.programs[p.Name]
			if !ok {
				list = []string{p.Name}
			}
			for _, name := range list {
				names += m.look(p, table, name, &keys[0], 0)
			}
			continue
		}
		if table.source && p.Source != "" {
			names += m.look(p, table, p.Source, &keys[1], 1)
		} else {
			names += m.look(p, table, p.Name, &keys[0], 0)
		}
	}
	if at.programs && names == 0 {
		m.notes.program(p.Name)
	}
	if m.any {
		m.conclude(i, p, keys)
	}
}

// installed is a version of a package as it is compared.
type installed struct {
	text string
	key  []byte // nil: its order cannot be read
	done bool
}

// look collects the hits of one name in one table, and tells whether the name
// is there at all.
func (m *matcher) look(p *scan.Package, t *table, name string, v *installed, slot int) int {
	m.name = appendName(m.name[:0], t.base, name)
	body, ok := m.d.find(t.ecosystem, t.source, m.name)
	if !ok {
		m.notes.damaged = true
		return 1
	}
	if body == nil {
		return 0
	}
	if !v.done {
		m.read(p, t, v, slot)
	}
	modular := t.scheme == version.RPM && (p.Module != "" || modularBuild(p.Version))
	w := entries{cursor: cursor{b: body}}
	for w.next() {
		e := &w.e
		fits, doubt, ok := m.d.fits(e, p, modular)
		if !ok {
			m.notes.damaged = true
			return 1
		}
		if !fits {
			continue
		}
		from := len(m.spans)
		if m.spans, ok = m.d.spans(m.spans, e); !ok {
			m.notes.damaged = true
			return 1
		}
		spans := m.spans[from:]
		affected := false
		for s := range spans {
			if affected = spans[s].holds(v.key, v.text); affected {
				break
			}
		}
		switch {
		case affected:
			m.notes.streams = m.notes.streams || doubt
		case v.key == nil:
			m.notes.version(p, v.text)
		case e.broken:
			m.notes.broken(e.advisory)
		}
		m.any = m.any || affected
		m.hit(e, hit{
			advisory: e.advisory, spans: [2]uint32{uint32(from), uint32(len(m.spans))}, table: t,
			key: uint8(slot), status: e.status, severity: e.severity, affected: affected,
		})
	}
	if w.bad {
		m.notes.damaged = true
	}
	return 1
}

// read makes the key of the installed version. Source rpms do not name their
// epoch; it is that of the packages built from them.
func (m *matcher) read(p *scan.Package, t *table, v *installed, slot int) {
	v.done, v.text = true, p.Version
	if slot == 1 && p.SourceVersion != "" {
		v.text = p.SourceVersion
		if t.scheme == version.RPM && !strings.Contains(v.text, ":") {
			if epoch, _, ok := strings.Cut(p.Version, ":"); ok {
				v.text = epoch + ":" + v.text
			}
		}
	}
	key, err := t.scheme.Append(m.keys[slot][:0], v.text)
	m.keys[slot] = key
	if err == nil {
		v.key = key
	}
}

// hit notes an entry once for every vulnerability its advisory is about.
func (m *matcher) hit(e *entryRow, h hit) {
	a, ok := m.d.advisory(e.advisory)
	if !ok {
		m.notes.damaged = true
		return
	}
	c := cursor{b: a.vulns}
	for len(c.b) > 0 {
		h.vuln = c.index(len(m.d.parts[secVulnIndex]) / 4)
		if c.bad {
			m.notes.damaged = true
			return
		}
		m.hits = append(m.hits, h)
	}
}

func (m *matcher) sort() {
	slices.SortStableFunc(m.findings, func(a, b scan.Finding) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.ID, b.ID))
	})
}
