package vuln

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// conclude turns the hits of a package into findings.
func (m *matcher) conclude(i int, p *scan.Package, keys [2]installed) {
	slices.SortStableFunc(m.hits, func(a, b hit) int { return cmp.Compare(a.vuln, b.vuln) })
	for from := 0; from < len(m.hits); {
		to := from + 1
		for to < len(m.hits) && m.hits[to].vuln == m.hits[from].vuln {
			to++
		}
		if said, all := m.speakers(p, m.hits[from:to]); len(said) > 0 {
			m.finding(i, said, all, keys)
		}
		from = to
	}
}

// speakers separates the hits that make a finding from all those whose word
// counts at all.
func (m *matcher) speakers(p *scan.Package, hits []hit) (said, all []hit) {
	if !slices.ContainsFunc(hits, func(h hit) bool { return h.affected }) {
		return nil, nil
	}
	if m.last.base == "Ubuntu" {
		hits = tier(p, hits)
	}
	denied, denial := uint64(0), false
	for _, h := range hits {
		if h.status == NotAffected && h.affected {
			if a, ok := m.d.advisory(h.advisory); ok {
				denied, denial = max(denied, a.modified), true
			}
		}
	}
	hits = slices.DeleteFunc(hits, func(h hit) bool {
		if h.status == NotAffected {
			return true
		}
		a, ok := m.d.advisory(h.advisory)
		return denial && (!ok || a.modified <= denied)
	})
	// Those that call it affected first, each half in its order.
	slices.SortStableFunc(hits, func(a, b hit) int { return compareBool(b.affected, a.affected) })
	n := slices.IndexFunc(hits, func(h hit) bool { return !h.affected })
	if n < 0 {
		n = len(hits)
	}
	return hits[:n], hits
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

// finding makes one finding of all that is said of one vulnerability; all are
// also the hits that call other versions affected.
func (m *matcher) finding(i int, hits, all []hit, keys [2]installed) {
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
	f.Aliases = make([]string, 0, len(aliases)/3+len(hits)) // an id takes some three bytes
	for c := (cursor{b: aliases}); len(c.b) > 0; {
		alias, ok := d.id(idRef(c.uint()))
		if !ok || c.bad {
			m.notes.damaged = true
			return
		}
		f.Aliases = append(f.Aliases, alias)
	}
	m.merge(&f, id, hits)
	slices.Sort(f.Aliases)
	f.Aliases = slices.DeleteFunc(slices.Compact(f.Aliases), func(a string) bool { return a == f.ID })
	if len(f.Aliases) == 0 {
		f.Aliases = nil
	}
	f.Fix = m.fix(hits, all, keys)
	if f.Fix == "" && !slices.ContainsFunc(hits, func(h hit) bool { return h.status != WontFix }) {
		f.State = scan.Unsupported
	}
	m.findings = append(m.findings, f)
}

// merge fills severity, source and dates from the advisories of a finding.
func (m *matcher) merge(f *scan.Finding, id idRef, hits []hit) {
	d := m.d
	var rated scan.Severity
	var best *hit
	var bestRow advisoryRow
	for n := range hits {
		h := &hits[n]
		a, ok := d.advisory(h.advisory)
		if !ok {
			m.notes.damaged = true
			continue
		}
		if a.id != id {
			if own, ok := d.id(a.id); ok {
				f.Aliases = append(f.Aliases, own)
			}
		}
		said := cmp.Or(h.severity, a.severity)
		f.Severity = max(f.Severity, said)
		if v := m.vector(a.cvss); v.text != "" && (f.CVSS == "" || v.score > f.Score) {
			f.CVSS, f.Score, rated = v.text, v.score, v.severity
		}
		if p := fromSecond(a.published); !p.IsZero() && (f.Published.IsZero() || p.Before(f.Published)) {
			f.Published = p
		}
		if t := fromSecond(a.modified); t.After(f.Modified) {
			f.Modified = t
		}
		// The source named is one with a word on severity, the newest of those.
		if best == nil || cmp.Or(compareBool(said != 0, cmp.Or(best.severity, bestRow.severity) != 0),
			cmp.Compare(a.modified, bestRow.modified), cmp.Compare(best.advisory, h.advisory)) > 0 {
			best, bestRow = h, a
		}
	}
	if best != nil {
		f.Source = d.meta.Sources[bestRow.source].Name
	}
	if cve, ok := id.cve(); ok {
		if v := m.vector(d.facts(cve, &f.Advisory)); f.CVSS == "" && v.text != "" {
			f.CVSS, f.Score, rated = v.text, v.score, v.severity
		}
	}
	if f.Severity == scan.Unknown {
		f.Severity = rated
	}
	f.URL = address(f.ID)
}

// scored is a CVSS vector with what it amounts to.
type scored struct {
	text     string
	score    float64
	severity scan.Severity
}

// vector reads and scores a CVSS vector, once per Match: few of them serve many
// vulnerabilities.
func (m *matcher) vector(at uint32) scored {
	v, ok := m.vectors[at]
	if !ok {
		if text, readable := m.d.text(at); readable && len(text) > 0 {
			if score, severity, ok := Score(view(text)); ok {
				v = scored{string(text), score, severity}
			}
		}
		if m.vectors == nil {
			m.vectors = map[uint32]scored{}
		}
		m.vectors[at] = v
	}
	return v
}

// fix finds the lowest version above the installed one that no advisory of the
// finding calls affected. Versions of source and binary packages are never
// mixed: the first kind that has a fix is taken.
func (m *matcher) fix(hits, all []hit, keys [2]installed) string {
	for slot := range keys {
		if keys[slot].key == nil {
			continue
		}
		var lowest []byte
		var text string
		for _, h := range hits {
			if int(h.key) != slot {
				continue
			}
			for _, s := range m.spans[h.spans[0]:h.spans[1]] {
				if s.fix == 0 || bytes.Compare(s.up, keys[slot].key) <= 0 || !lowerKey(s.up, lowest) {
					continue
				}
				if t, key, ok := m.d.version(s.fix); ok && !m.affected(all, slot, key, string(t)) {
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
		if int(h.key) != slot {
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
