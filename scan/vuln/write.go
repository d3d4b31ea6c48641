package vuln

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
)

// Bytes gives the database.
func (b *Builder) Bytes() ([]byte, scan.Database, error) {
	l, err := b.layout()
	if err != nil {
		return nil, scan.Database{}, err
	}
	var parts [sections][]byte
	parts[secStrings] = l.encodeStrings()
	parts[secVersionIndex], parts[secVersions] = l.encodeVersions()
	parts[secVulnIndex], parts[secVulns] = l.encodeVulns()
	if parts[secProseIndex], parts[secProse], err = l.encodeProse(); err != nil {
		return nil, scan.Database{}, err
	}
	parts[secAdvisoryIndex], parts[secAdvisories] = l.encodeAdvisories()
	parts[secBuckets], parts[secRows], parts[secPackages] = l.encodePackages()
	parts[secCVEs], parts[secIDs] = l.encodeIDs()
	parts[secCVSS], parts[secKEV], parts[secEPSS], parts[secSSVC] = l.encodeFacts()
	if parts[secMeta], err = json.Marshal(meta{l.info, l.ecosystems}); err != nil {
		return nil, scan.Database{}, fmt.Errorf("build database: %w", err)
	}
	for s, p := range parts {
		if len(p) > math.MaxUint32 {
			return nil, scan.Database{}, fmt.Errorf("build database: section %d has %d bytes, more than the format can address; leave out prose or sources", s, len(p))
		}
	}
	if len(parts[secMeta]) > maxMeta {
		return nil, scan.Database{}, errors.New("build database: too many sources or ecosystems")
	}
	out := assemble(parts)
	l.info.Digest = "sha256:" + hex.EncodeToString(out[headerSize-sha256.Size:headerSize])
	return out, l.info, nil
}

func assemble(parts [sections][]byte) []byte {
	size := headerSize + int(sections)*sectionSize
	for _, p := range parts {
		size = align(size) + len(p)
	}
	out := make([]byte, headerSize+int(sections)*sectionSize, size)
	copy(out, magic)
	binary.LittleEndian.PutUint32(out[8:], formatVersion)
	binary.LittleEndian.PutUint32(out[12:], uint32(sections))
	for i, p := range parts {
		out = append(out, make([]byte, align(len(out))-len(out))...)
		at := out[headerSize+i*sectionSize:]
		binary.LittleEndian.PutUint64(at, uint64(len(out)))
		binary.LittleEndian.PutUint64(at[8:], uint64(len(p)))
		out = append(out, p...)
	}
	sum := sha256.Sum256(out[headerSize:])
	copy(out[headerSize-sha256.Size:], sum[:])
	return out
}

func align(n int) int { return (n + 7) &^ 7 }

func (l *layout) encodeStrings() []byte {
	var out []byte
	for _, s := range l.strings {
		l.stringAt[s] = uint32(len(out))
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return out
}

func (l *layout) ref(id string) idRef {
	if p, ok := packCVE(id); ok {
		return cveRef(p)
	}
	return stringRef(l.stringAt[id])
}

func (l *layout) encodeVersions() (index, out []byte) {
	for _, v := range l.versions {
		index = binary.LittleEndian.AppendUint32(index, uint32(len(out)))
		out = binary.AppendUvarint(out, uint64(len(v.text)))
		out = append(out, v.text...)
		out = append(out, v.key...)
	}
	return binary.LittleEndian.AppendUint32(index, uint32(len(out))), out
}

func (l *layout) encodeVulns() (index, out []byte) {
	for _, v := range l.vulns {
		index = binary.LittleEndian.AppendUint32(index, uint32(len(out)))
		out = binary.AppendUvarint(out, uint64(l.ref(v.id)))
		for _, a := range v.aliases {
			out = binary.AppendUvarint(out, uint64(l.ref(a)))
		}
	}
	return binary.LittleEndian.AppendUint32(index, uint32(len(out))), out
}

func (l *layout) encodeAdvisories() (index, out []byte) {
	for i, a := range l.advisories {
		index = binary.LittleEndian.AppendUint32(index, uint32(len(out)))
		out = binary.AppendUvarint(out, uint64(l.ref(a.id)))
		out = binary.AppendUvarint(out, uint64(l.sourceIndex[a.source]))
		out = append(out, byte(a.severity))
		out = binary.AppendUvarint(out, uint64(l.stringAt[a.cvss]))
		out = binary.AppendUvarint(out, uint64(a.published))
		out = binary.AppendUvarint(out, uint64(a.modified))
		for _, v := range l.vulnsOf[i] {
			out = binary.AppendUvarint(out, uint64(v))
		}
	}
	return binary.LittleEndian.AppendUint32(index, uint32(len(out))), out
}

// Flags of an entry, one byte.
const (
	flagStatus   = 0x07
	flagAll      = 0x08 // every version, no intervals follow
	flagFixed    = 0x10 // one interval from the beginning: its fix follows
	flagVersions = 0x20 // exact versions follow
	flagMore     = 0x40 // severity, module, architectures, unreadable follow
)

// encodeEntry appends an entry: what its advisory's number is above the one
// before, flags, then by flags: intervals (number of; of each the kind of upper
// bound, lower version, and the upper one if any), exact versions (number of;
// versions), more (severity, unreadable, module, number of architectures; those).
func (l *layout) encodeEntry(out []byte, e *entry, before uint32) []byte {
	out = binary.AppendUvarint(out, uint64(e.advisory-before))
	flags := byte(e.status)
	fixed := len(e.ranges) == 1 && e.ranges[0].low == 0 && e.ranges[0].kind == boundFixed
	all := e.all || e.status != IsAffected && len(e.ranges) == 0 && len(e.versions) == 0 && !e.unreadable
	switch {
	case all:
		flags |= flagAll
	case fixed:
		flags |= flagFixed
	}
	if len(e.versions) > 0 {
		flags |= flagVersions
	}
	more := e.severity != uint8(scan.Unknown) || e.unreadable || e.module != "" || len(e.arch) > 0
	if more {
		flags |= flagMore
	}
	out = append(out, flags)
	switch {
	case all:
	case fixed:
		out = binary.AppendUvarint(out, uint64(l.versionOf[e.ranges[0].up]))
	default:
		out = binary.AppendUvarint(out, uint64(len(e.ranges)))
		for _, i := range e.ranges {
			out = append(out, byte(i.kind))
			out = binary.AppendUvarint(out, uint64(l.versionOf[i.low]))
			if i.kind != boundNone {
				out = binary.AppendUvarint(out, uint64(l.versionOf[i.up]))
			}
		}
	}
	if len(e.versions) > 0 {
		out = binary.AppendUvarint(out, uint64(len(e.versions)))
		numbers := make([]uint32, len(e.versions))
		for i, v := range e.versions {
			numbers[i] = l.versionOf[v]
		}
		slices.Sort(numbers)
		for _, v := range numbers {
			out = binary.AppendUvarint(out, uint64(v))
		}
	}
	if more {
		unreadable := byte(0)
		if e.unreadable {
			unreadable = 1
		}
		out = append(out, e.severity, unreadable)
		out = binary.AppendUvarint(out, uint64(l.stringAt[e.module]))
		out = binary.AppendUvarint(out, uint64(len(e.arch)))
		for _, a := range e.arch {
			out = binary.AppendUvarint(out, uint64(l.stringAt[a]))
		}
	}
	return out
}

func (l *layout) encodePackages() (buckets, rows, out []byte) {
	type row struct {
		hash uint64
		at   uint32
	}
	all := make([]row, len(l.packages))
	for i, p := range l.packages {
		all[i] = row{hashKey(p.ecosystem, p.source, []byte(p.name)), uint32(len(out))}
		out = binary.AppendUvarint(out, uint64(keyPrefix(p.ecosystem, p.source)))
		out = binary.AppendUvarint(out, uint64(len(p.name)))
		out = append(out, p.name...)
		var body []byte
		before := uint32(0)
		for j := range p.entries {
			body = l.encodeEntry(body, &p.entries[j], before)
			before = p.entries[j].advisory
		}
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.at, b.at)) })
	bits := bucketBits(len(all))
	next := 0
	for bucket := range uint64(1) << bits {
		for next < len(all) && all[next].hash>>(64-bits) < bucket {
			next++
		}
		buckets = binary.LittleEndian.AppendUint32(buckets, uint32(next))
	}
	buckets = binary.LittleEndian.AppendUint32(buckets, uint32(len(all)))
	for _, r := range all {
		rows = binary.LittleEndian.AppendUint32(rows, uint32(r.hash))
		rows = binary.LittleEndian.AppendUint32(rows, r.at)
	}
	return buckets, rows, out
}

// bucketBits makes one to two buckets per package.
func bucketBits(packages int) int {
	bits := 1
	for 1<<bits < packages && bits < 26 {
		bits++
	}
	return bits
}

// encodeIDs lists which advisories know an id.
func (l *layout) encodeIDs() (cves, ids []byte) {
	type pair struct {
		ref      idRef
		advisory uint32
	}
	var pairs []pair
	for i, a := range l.advisories {
		for _, id := range a.about() {
			pairs = append(pairs, pair{l.ref(id), uint32(i)})
		}
		for _, v := range l.vulnsOf[i] {
			pairs = append(pairs, pair{l.ref(l.vulns[v].id), uint32(i)})
			for _, id := range l.vulns[v].aliases {
				pairs = append(pairs, pair{l.ref(id), uint32(i)})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return cmp.Or(cmp.Compare(a.ref, b.ref), cmp.Compare(a.advisory, b.advisory)) })
	for _, p := range slices.Compact(pairs) {
		if cve, ok := p.ref.cve(); ok {
			cves = binary.LittleEndian.AppendUint32(cves, cve)
			cves = binary.LittleEndian.AppendUint32(cves, p.advisory)
		} else {
			ids = binary.LittleEndian.AppendUint32(ids, uint32(p.ref>>1))
			ids = binary.LittleEndian.AppendUint32(ids, p.advisory)
		}
	}
	return cves, ids
}

// encodeFacts keeps facts about every CVE, whether an advisory knows it or not:
// Lookup is asked about those too, and a stored inventory may meet them later.
func (l *layout) encodeFacts() (cvss, kev, epss, ssvc []byte) {
	for _, c := range slices.Sorted(maps.Keys(l.b.cvss)) {
		cvss = binary.LittleEndian.AppendUint32(cvss, c)
		cvss = binary.LittleEndian.AppendUint32(cvss, l.stringAt[l.b.cvss[c]])
	}
	for _, c := range slices.Sorted(maps.Keys(l.b.kev)) {
		k := l.b.kev[c]
		due := toDay(k.Due) << 1
		if k.Ransomware {
			due |= 1
		}
		kev = binary.LittleEndian.AppendUint32(kev, c)
		kev = binary.LittleEndian.AppendUint32(kev, toDay(k.Added))
		kev = binary.LittleEndian.AppendUint32(kev, due)
	}
	for _, c := range slices.Sorted(maps.Keys(l.b.epss)) {
		e := l.b.epss[c]
		epss = binary.LittleEndian.AppendUint32(epss, c)
		epss = binary.LittleEndian.AppendUint32(epss, uint32(math.Round(e.Score*1e6)))
		epss = binary.LittleEndian.AppendUint32(epss, uint32(math.Round(e.Percentile*1e6)))
		epss = binary.LittleEndian.AppendUint32(epss, toDay(e.Date))
	}
	for _, c := range slices.Sorted(maps.Keys(l.b.ssvc)) {
		s := l.b.ssvc[c]
		ssvc = binary.LittleEndian.AppendUint32(ssvc, c)
		ssvc = append(ssvc, byte(slices.Index(exploitations, s.Exploitation)), byte(slices.Index(automatables, s.Automatable)),
			byte(slices.Index(impacts, s.Impact)), 0)
	}
	return cvss, kev, epss, ssvc
}

// proseBlock is how much text is compressed together: enough to compress well,
// little enough that one look-up costs little.
const (
	proseBlock    = 64 << 10
	maxProseBlock = 64 << 20
)

// encodeProse writes three texts per advisory (each: uvarint length, bytes) in
// blocks. The index has one row per block: number of its first advisory, where
// it begins.
func (l *layout) encodeProse() (index, out []byte, err error) {
	if !l.b.o.Prose {
		return nil, nil, nil
	}
	// One goroutine and a fixed level: equal text gives equal bytes.
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, nil, fmt.Errorf("compress prose: %w", err)
	}
	var block []byte
	first := 0
	flush := func(next int) {
		index = binary.LittleEndian.AppendUint32(index, uint32(first))
		index = binary.LittleEndian.AppendUint32(index, uint32(len(out)))
		out = w.EncodeAll(block, out)
		block, first = block[:0], next
	}
	for i, a := range l.advisories {
		for _, s := range [3]string{a.prose.summary, a.prose.url, a.prose.details} {
			s = s[:min(len(s), maxProse)]
			block = binary.AppendUvarint(block, uint64(len(s)))
			block = append(block, s...)
		}
		if len(block) >= proseBlock {
			flush(i + 1)
		}
	}
	if len(block) > 0 {
		flush(len(l.advisories))
	}
	return index, out, w.Close()
}

// maxProse bounds one text of an advisory.
const maxProse = 1 << 20
