package vuln

import (
	"bytes"
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

// hit is an entry that is about the package.
type hit struct {
	vuln     uint32
	entry    entryRow
	table    *table
	affected bool
	spans    [2]int // of matcher.spans
	key      int    // of matcher.keys
}

func (m *matcher) match(i int, p *scan.Package) {
	if p.Ecosystem == "" {
		return
	}
	at := m.place(p.Ecosystem)
	at.packages++
	m.hits, m.spans = m.hits[:0], m.spans[:0]
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
	if len(m.hits) > 0 {
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
		if !affected && !m.twoTiers(t) {
			m.spans = m.spans[:from]
			continue
		}
		m.hit(e, t, affected, [2]int{from, len(m.spans)}, slot)
	}
	if w.bad {
		m.notes.damaged = true
	}
	return 1
}

// twoTiers tells whether it matters that a table knows a vulnerability even
// when it says that this version is not affected: where another tier of
// support may say something else.
func (m *matcher) twoTiers(t *table) bool {
	return t.base == "Ubuntu" && slices.ContainsFunc(m.last.tables, func(t table) bool { return t.extended })
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
func (m *matcher) hit(e *entryRow, t *table, affected bool, spans [2]int, slot int) {
	a, ok := m.d.advisory(e.advisory)
	if !ok {
		m.notes.damaged = true
		return
	}
	c := cursor{b: a.vulns}
	for len(c.b) > 0 {
		n := c.index(len(m.d.parts[secVulnIndex]) / 4)
		if c.bad {
			m.notes.damaged = true
			return
		}
		m.hits = append(m.hits, hit{n, *e, t, affected, spans, slot})
	}
}

// conclude turns the hits of a package into findings.
func (m *matcher) conclude(i int, p *scan.Package, keys [2]installed) {
	slices.SortStableFunc(m.hits, func(a, b hit) int { return cmp.Compare(a.vuln, b.vuln) })
	for from := 0; from < len(m.hits); {
		to := from + 1
		for to < len(m.hits) && m.hits[to].vuln == m.hits[from].vuln {
			to++
		}
		if hits := m.speakers(p, m.hits[from:to]); len(hits) > 0 {
			m.finding(i, hits, keys)
		}
		from = to
	}
}

// speakers leaves the hits whose word counts.
func (m *matcher) speakers(p *scan.Package, hits []hit) []hit {
	if m.last.base == "Ubuntu" {
		hits = tier(p, hits)
	}
	hits = slices.DeleteFunc(hits, func(h hit) bool { return !h.affected })
	if !slices.ContainsFunc(hits, func(h hit) bool { return h.entry.status == NotAffected }) {
		return hits
	}
	denied := uint64(0)
	for _, h := range hits {
		if a, ok := m.d.advisory(h.entry.advisory); ok && h.entry.status == NotAffected {
			denied = max(denied, a.modified)
		}
	}
	return slices.DeleteFunc(hits, func(h hit) bool {
		a, ok := m.d.advisory(h.entry.advisory)
		return h.entry.status == NotAffected || !ok || a.modified <= denied
	})
}

// tier settles between Ubuntu's standard support and Ubuntu Pro: a package
// built for Pro is judged by what Pro says, every other by standard support,
// and where only one of them speaks of a vulnerability, by that one.
func tier(p *scan.Package, hits []hit) []hit {
	pro := strings.Contains(p.Version, "esm") || strings.Contains(p.Version, "fips")
	if slices.ContainsFunc(hits, func(h hit) bool { return h.table.extended == pro }) {
		return slices.DeleteFunc(hits, func(h hit) bool { return h.table.extended != pro })
	}
	return hits
}

// finding makes one finding of all that is said of one vulnerability.
func (m *matcher) finding(i int, hits []hit, keys [2]installed) {
	d := m.d
	id, aliases, ok := d.vuln(hits[0].vuln)
	if !ok {
		m.notes.damaged = true
		return
	}
	f := scan.Finding{Package: i, State: scan.Open}
	if f.ID, ok = d.id(id); !ok {
		m.notes.damaged = true
		return
	}
	for c := (cursor{b: aliases}); len(c.b) > 0; {
		alias, ok := d.id(idRef(c.uint()))
		if !ok || c.bad {
			m.notes.damaged = true
			return
		}
		f.Aliases = append(f.Aliases, alias)
	}
	m.merge(&f, hits)
	f.Aliases = slices.Compact(slices.Sorted(slices.Values(f.Aliases)))
	f.Aliases = slices.DeleteFunc(f.Aliases, func(a string) bool { return a == f.ID })
	f.Fix = m.fix(hits, keys)
	if f.Fix == "" && !slices.ContainsFunc(hits, func(h hit) bool { return h.entry.status != WontFix }) {
		f.State = scan.Unsupported
	}
	m.findings = append(m.findings, f)
}

// merge fills severity, source and dates from the advisories of a finding.
func (m *matcher) merge(f *scan.Finding, hits []hit) {
	d := m.d
	var scored scan.Severity
	var best *hit
	var bestRow advisoryRow
	for n := range hits {
		h := &hits[n]
		a, ok := d.advisory(h.entry.advisory)
		if !ok {
			m.notes.damaged = true
			continue
		}
		if own, ok := d.id(a.id); ok {
			f.Aliases = append(f.Aliases, own)
		}
		said := cmp.Or(h.entry.severity, a.severity)
		f.Severity = max(f.Severity, said)
		if vector, ok := d.text(a.cvss); ok && len(vector) > 0 {
			if score, s, ok := Score(string(vector)); ok && (f.CVSS == "" || score > f.Score) {
				f.CVSS, f.Score, scored = string(vector), score, s
			}
		}
		if p := fromSecond(a.published); !p.IsZero() && (f.Published.IsZero() || p.Before(f.Published)) {
			f.Published = p
		}
		if t := fromSecond(a.modified); t.After(f.Modified) {
			f.Modified = t
		}
		// The source named is one with a word on severity, the newest of those.
		if best == nil || cmp.Or(compareBool(said != 0, cmp.Or(best.entry.severity, bestRow.severity) != 0),
			cmp.Compare(a.modified, bestRow.modified), cmp.Compare(best.entry.advisory, h.entry.advisory)) > 0 {
			best, bestRow = h, a
		}
	}
	if best != nil {
		f.Source = d.meta.Sources[bestRow.source].Name
	}
	if cve, ok := packCVE(f.ID); ok {
		if vector := d.facts(cve, &f.Advisory); f.CVSS == "" && vector != "" {
			if score, s, ok := Score(vector); ok {
				f.CVSS, f.Score, scored = vector, score, s
			}
		}
	}
	if f.Severity == scan.Unknown {
		f.Severity = scored
	}
	f.URL = address(f.ID)
}

// fix finds the lowest version above the installed one that no advisory of the
// finding calls affected. Versions of source and binary packages are never
// mixed: the first kind that has a fix is taken.
func (m *matcher) fix(hits []hit, keys [2]installed) string {
	for slot := range keys {
		if keys[slot].key == nil {
			continue
		}
		var lowest []byte
		var text string
		for _, h := range hits {
			if h.key != slot {
				continue
			}
			for _, s := range m.spans[h.spans[0]:h.spans[1]] {
				if s.fix == 0 || bytes.Compare(s.up, keys[slot].key) <= 0 || !lowerKey(s.up, lowest) {
					continue
				}
				if t, key, ok := m.d.version(s.fix); ok && !m.affected(hits, slot, key, string(t)) {
					lowest, text = key, string(t)
				}
			}
		}
		if text != "" {
			return text
		}
	}
	return ""
}

// affected tells whether any of the hits calls a version affected.
func (m *matcher) affected(hits []hit, slot int, key []byte, text string) bool {
	for _, h := range hits {
		if h.key != slot {
			continue
		}
		for i := h.spans[0]; i < h.spans[1]; i++ {
			if m.spans[i].holds(key, text) {
				return true
			}
		}
	}
	return false
}

func (m *matcher) sort() {
	slices.SortStableFunc(m.findings, func(a, b scan.Finding) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.ID, b.ID))
	})
}
