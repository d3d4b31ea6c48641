package vuln

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
)

// Entry is one advisory with what it says of packages.
type Entry struct {
	scan.Advisory
	Details  string     `json:"details,omitempty"`
	Affected []Affected `json:"affected,omitempty"`
}

// Lookup finds advisories by any id or alias, sorted by source and id. It reads
// every package of the database, which takes some milliseconds. A CVE that only
// facts are known of (KEV, EPSS, SSVC) gives one Entry without a Source.
func (d *DB) Lookup(id string) (list []Entry, err error) {
	defer guardFaults(func() { list, err = nil, damaged("database") })()
	numbers := d.advisoriesOf(id)
	wanted := map[uint32]int{}
	var reader proseReader
	for _, n := range numbers {
		e, err := d.entry(n)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", id, err)
		}
		p, err := reader.read(d, n)
		if err != nil {
			return nil, fmt.Errorf("look up %s: %w", id, err)
		}
		e.Summary, e.Details, e.URL = p.summary, p.details, cmp.Or(p.url, address(e.ID))
		wanted[n] = len(list)
		list = append(list, e)
	}
	if len(list) == 0 {
		if cve, ok := packCVE(id); ok {
			e := Entry{Advisory: scan.Advisory{ID: id, URL: address(id)}}
			vector, _ := d.text(d.facts(cve, &e.Advisory))
			e.CVSS = string(vector)
			if e.Score, e.Severity, _ = Score(e.CVSS); e.CVSS != "" || e.KEV != nil || e.EPSS != nil || e.SSVC != nil {
				return []Entry{e}, nil
			}
		}
		return nil, nil
	}
	if err := d.fillAffected(list, wanted); err != nil {
		return nil, fmt.Errorf("look up %s: %w", id, err)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// advisoriesOf finds the numbers of the advisories that know an id.
func (d *DB) advisoriesOf(id string) []uint32 {
	table := d.parts[secIDs]
	var want func(i int) int
	if cve, ok := packCVE(id); ok {
		table = d.parts[secCVEs]
		want = func(i int) int { return cmp.Compare(u32(table, i*2), cve) }
	} else {
		want = func(i int) int {
			s, _ := d.text(u32(table, i*2))
			return strings.Compare(view(s), id)
		}
	}
	n := len(table) / pairSize
	var out []uint32
	for i := sort.Search(n, func(i int) bool { return want(i) >= 0 }); i < n && want(i) == 0; i++ {
		out = append(out, u32(table, i*2+1))
	}
	return out
}

// entry reads an advisory with its own id, and all others as aliases.
func (d *DB) entry(n uint32) (Entry, error) {
	a, ok := d.advisory(n)
	if !ok {
		return Entry{}, damaged("advisory")
	}
	e := Entry{Advisory: scan.Advisory{
		Severity: a.severity, Source: d.meta.Sources[a.source].Name,
		Published: fromSecond(a.published), Modified: fromSecond(a.modified),
	}}
	if e.ID, ok = d.id(a.id); !ok {
		return Entry{}, damaged("id")
	}
	var vector string
	for c := (cursor{b: a.vulns}); len(c.b) > 0; {
		ref, aliases, ok := d.vuln(uint32(c.uint()))
		if !ok || c.bad {
			return Entry{}, damaged("aliases")
		}
		refs := cursor{b: aliases}
		for {
			other, ok := d.id(ref)
			if !ok || refs.bad {
				return Entry{}, damaged("aliases")
			}
			if cve, isCVE := packCVE(other); isCVE && vector == "" {
				general, _ := d.text(d.facts(cve, &e.Advisory))
				vector = string(general)
			}
			if other != e.ID {
				e.Aliases = append(e.Aliases, other)
			}
			if len(refs.b) == 0 {
				break
			}
			ref = idRef(refs.uint())
		}
	}
	e.Aliases = slices.Compact(slices.Sorted(slices.Values(e.Aliases)))
	if own, ok := d.text(a.cvss); ok && len(own) > 0 {
		vector = string(own)
	}
	score, severity, ok := Score(vector)
	if ok {
		e.CVSS, e.Score = vector, score
		e.Severity = cmp.Or(e.Severity, severity)
	}
	return e, nil
}

// fillAffected collects what the wanted advisories say of packages.
func (d *DB) fillAffected(list []Entry, wanted map[uint32]int) error {
	for rest := d.parts[secPackages]; len(rest) > 0; {
		prefix, name, body, next, ok := packageAt(rest)
		if !ok || prefix>>1 >= uint64(len(d.meta.Ecosystems)) {
			return damaged("packages")
		}
		rest = next
		w := entries{cursor: cursor{b: body}}
		for w.next() {
			i, ok := wanted[w.e.advisory]
			if !ok {
				continue
			}
			a := Affected{Ecosystem: d.meta.Ecosystems[prefix>>1].Name, Name: string(name), Status: w.e.status, Severity: w.e.severity, All: w.e.all, By: ByBinary}
			if prefix&1 == 1 {
				a.By = BySource
			}
			if err := d.fillEntry(&a, &w.e); err != nil {
				return err
			}
			list[i].Affected = append(list[i].Affected, a)
		}
		if w.bad {
			return damaged("packages")
		}
	}
	return nil
}

// fillEntry writes out versions, module and architectures of an entry.
func (d *DB) fillEntry(a *Affected, e *entryRow) error {
	text := func(n uint32) string {
		t, _, _ := d.version(n)
		return string(t)
	}
	if e.fixed != 0 {
		a.Ranges = []Range{{Fixed: text(e.fixed)}}
	}
	c := cursor{b: e.ranges}
	for range e.nRanges {
		kind, r := bound(c.byte()), Range{}
		if low := uint32(c.uint()); low != 0 {
			r.Introduced = text(low)
		}
		switch kind {
		case boundNone:
		case boundFixed:
			r.Fixed = text(uint32(c.uint()))
		case boundLast:
			r.LastAffected = text(uint32(c.uint()))
		default:
			r.Limit = text(uint32(c.uint()))
		}
		a.Ranges = append(a.Ranges, r)
	}
	c = cursor{b: e.versions}
	for range e.nVersions {
		a.Versions = append(a.Versions, text(uint32(c.uint())))
	}
	module, ok := d.text(e.module)
	if !ok {
		return damaged("module")
	}
	a.Module = string(module)
	c = cursor{b: e.arch}
	for range e.nArch {
		arch, ok := d.text(uint32(c.uint()))
		if !ok {
			return damaged("architecture")
		}
		a.Arch = append(a.Arch, string(arch))
	}
	return nil
}

// Describe fills Summary and URL of findings from the prose, where the
// database has it. Match leaves it unread because reading it costs time. Of
// several advisories of a finding the first with a summary, by source and id,
// is taken, those of the finding's own source first.
func (d *DB) Describe(findings []scan.Finding) (err error) {
	if len(d.parts[secProseIndex]) == 0 {
		return nil
	}
	defer guardFaults(func() { err = damaged("prose") })()
	var reader proseReader
	done := map[[2]string]prose{}
	for i := range findings {
		f := &findings[i]
		key := [2]string{f.ID, f.Source}
		p, ok := done[key]
		if !ok {
			for _, n := range d.advisoriesOf(f.ID) {
				q, err := reader.read(d, n)
				if err != nil {
					return fmt.Errorf("describe %s: %w", f.ID, err)
				}
				a, ok := d.advisory(n)
				if !ok {
					return fmt.Errorf("describe %s: %w", f.ID, damaged("advisory"))
				}
				own := d.meta.Sources[a.source].Name == f.Source
				if q.summary != "" && (p.summary == "" || own) {
					p = q
					if own {
						break
					}
				}
			}
			done[key] = p
		}
		f.Summary = cmp.Or(p.summary, f.Summary)
		f.URL = cmp.Or(p.url, f.URL)
	}
	return nil
}

// proseReader keeps the blocks of prose that were unpacked last.
type proseReader struct {
	decoder *zstd.Decoder
	blocks  map[int][]byte
}

// keptBlocks bounds the memory of a proseReader.
const keptBlocks = 32

func (r *proseReader) read(d *DB, n uint32) (prose, error) {
	index := d.parts[secProseIndex]
	rows := len(index) / 8
	i := sort.Search(rows, func(i int) bool { return u32(index, i*2) > n }) - 1
	if i < 0 {
		return prose{}, nil
	}
	block, ok := r.blocks[i]
	if !ok {
		from, to := u32(index, i*2+1), uint32(len(d.parts[secProse]))
		if i+1 < rows {
			to = u32(index, i*2+3)
		}
		if from > to || uint64(to) > uint64(len(d.parts[secProse])) {
			return prose{}, damaged("prose")
		}
		if r.decoder == nil {
			var err error
			if r.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxProseBlock)); err != nil {
				return prose{}, err
			}
			r.blocks = map[int][]byte{}
		}
		var err error
		if block, err = r.decoder.DecodeAll(d.parts[secProse][from:to], nil); err != nil {
			return prose{}, fmt.Errorf("unpack prose: %w: %w", ErrFormat, err)
		}
		if len(r.blocks) >= keptBlocks {
			clear(r.blocks)
		}
		r.blocks[i] = block
	}
	c := cursor{b: block}
	var texts [3]string
	for at := u32(index, i*2); at <= n && !c.bad; at++ {
		for t := range texts {
			texts[t] = view(c.bytes(c.uint()))
		}
	}
	if c.bad {
		return prose{}, damaged("prose")
	}
	return prose{summary: strings.Clone(texts[0]), url: strings.Clone(texts[1]), details: strings.Clone(texts[2])}, nil
}
