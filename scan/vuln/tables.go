package vuln

import (
	"bytes"
	"encoding/binary"
	"sort"
	"unsafe"

	"github.com/gabion-dev/gabion/scan"
)

// u32 reads number i of a table; the caller has checked i.
func u32(table []byte, i int) uint32 { return binary.LittleEndian.Uint32(table[i*4:]) }

// item gives the bytes of number i of an indexed section.
func (d *DB) item(index, data section, i uint32) ([]byte, bool) {
	table := d.parts[index]
	if uint64(i)+1 >= uint64(len(table)/4) {
		return nil, false
	}
	from, to := u32(table, int(i)), u32(table, int(i)+1)
	if from > to || uint64(to) > uint64(len(d.parts[data])) {
		return nil, false
	}
	return d.parts[data][from:to], true
}

// text reads the string that begins at a place.
func (d *DB) text(at uint32) ([]byte, bool) {
	if uint64(at) >= uint64(len(d.parts[secStrings])) {
		return nil, false
	}
	c := cursor{b: d.parts[secStrings][at:]}
	s := c.bytes(c.uint())
	return s, !c.bad
}

// version gives text and key of a version; the key is empty when its order
// could not be read.
func (d *DB) version(n uint32) (text, key []byte, ok bool) {
	b, ok := d.item(secVersionIndex, secVersions, n)
	if !ok {
		return nil, nil, false
	}
	c := cursor{b: b}
	text = c.bytes(c.uint())
	return text, c.b, !c.bad
}

// id writes out an id.
func (d *DB) id(ref idRef) (string, bool) {
	if cve, ok := ref.cve(); ok {
		return unpackCVE(cve), ref>>1 <= 1<<31-1
	}
	if ref>>1 > 1<<32-1 {
		return "", false
	}
	s, ok := d.text(uint32(ref >> 1))
	return string(s), ok
}

// advisoryRow is an advisory as it lies in the file.
type advisoryRow struct {
	id                  idRef
	source              uint32
	severity            scan.Severity
	cvss                uint32 // string
	published, modified uint64
	vulns               []byte // uvarints
}

func (d *DB) advisory(n uint32) (a advisoryRow, ok bool) {
	b, ok := d.item(secAdvisoryIndex, secAdvisories, n)
	if !ok {
		return a, false
	}
	c := cursor{b: b}
	a.id = idRef(c.uint())
	a.source = c.index(len(d.meta.Sources))
	a.severity = scan.Severity(min(c.byte(), byte(scan.Critical)))
	a.cvss = c.index(len(d.parts[secStrings]))
	a.published, a.modified = c.uint(), c.uint()
	a.vulns = c.b
	return a, !c.bad
}

// vuln gives the id of a vulnerability and its other ids, as uvarints.
func (d *DB) vuln(n uint32) (id idRef, aliases []byte, ok bool) {
	b, ok := d.item(secVulnIndex, secVulns, n)
	if !ok {
		return 0, nil, false
	}
	c := cursor{b: b}
	id = idRef(c.uint())
	return id, c.b, !c.bad
}

// find gives the entries of a package, nil when there are none. ok is false
// when the file is damaged.
func (d *DB) find(ecosystem uint32, bySource bool, name []byte) (entries []byte, ok bool) {
	h := hashKey(ecosystem, bySource, name)
	buckets, rows := d.parts[secBuckets], d.parts[secRows]
	bucket := int(h >> (64 - d.bits))
	from, to := u32(buckets, bucket), u32(buckets, bucket+1)
	if from > to || uint64(to) > uint64(len(rows)/rowSize) {
		return nil, false
	}
	for i := from; i < to; i++ {
		row := rows[i*rowSize:]
		if binary.LittleEndian.Uint32(row) != uint32(h) {
			continue
		}
		at := binary.LittleEndian.Uint32(row[4:])
		if uint64(at) > uint64(len(d.parts[secPackages])) {
			return nil, false
		}
		prefix, key, body, _, ok := packageAt(d.parts[secPackages][at:])
		if !ok {
			return nil, false
		}
		if prefix == uint64(keyPrefix(ecosystem, bySource)) && bytes.Equal(key, name) {
			return body, true
		}
	}
	return nil, true
}

// packageAt reads a package and what follows it.
func packageAt(b []byte) (prefix uint64, name, body, rest []byte, ok bool) {
	c := cursor{b: b}
	prefix = c.uint()
	name = c.bytes(c.uint())
	body = c.bytes(c.uint())
	return prefix, name, body, c.b, !c.bad
}

// fact finds the row of a CVE in a table of facts.
func (d *DB) fact(s section, size int, cve uint32) ([]byte, bool) {
	table := d.parts[s]
	n := len(table) / size
	i := sort.Search(n, func(i int) bool { return u32(table[i*size:], 0) >= cve })
	if i == n || u32(table[i*size:], 0) != cve {
		return nil, false
	}
	return table[i*size : (i+1)*size], true
}

// facts fills in what is known of a CVE whoever issued the advisory, and
// returns where its general CVSS vector is, if it has one.
func (d *DB) facts(cve uint32, a *scan.Advisory) (vector uint32) {
	if row, ok := d.fact(secKEV, kevSize, cve); ok {
		due := u32(row, 2)
		a.KEV = &scan.KEV{Added: fromDay(u32(row, 1)), Due: fromDay(due >> 1), Ransomware: due&1 == 1}
	}
	if row, ok := d.fact(secEPSS, epssSize, cve); ok {
		a.EPSS = &scan.EPSS{Score: float64(u32(row, 1)) / 1e6, Percentile: float64(u32(row, 2)) / 1e6, Date: fromDay(u32(row, 3))}
	}
	if row, ok := d.fact(secSSVC, ssvcSize, cve); ok {
		a.SSVC = &scan.SSVC{Exploitation: word(exploitations, row[4]), Automatable: word(automatables, row[5]), Impact: word(impacts, row[6])}
	}
	if row, ok := d.fact(secCVSS, cvssSize, cve); ok {
		vector = u32(row, 1)
	}
	return vector
}

func word(words []string, i byte) string {
	if int(i) < len(words) {
		return words[i]
	}
	return ""
}

// view is a string over bytes that stay for as long as it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
