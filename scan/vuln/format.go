package vuln

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// The file, all numbers little endian:
//
//	header    magic, format, number of sections, SHA-256 of all that follows it
//	sections  offset and length of each, 8 bytes each
//	meta      JSON: what Info tells, and the ecosystems
//	strings   sorted; a string is named by where it begins: uvarint length, bytes
//	versions  table of offsets, then each: uvarint length, text, key to the end
//	vulns     table of offsets, then each: id, aliases
//	advisories table of offsets, then each: id, source, severity, dates, vulns ...
//	buckets   hash of (ecosystem, name) -> first row; rows: hash, offset
//	packages  each: ecosystem, name, entries
//	ids       CVE -> advisory, and string -> advisory, both sorted
//	facts     CVSS, KEV, EPSS, SSVC by CVE, sorted
//	prose     blocks of zstd
//
// An id is a CVE number packed in 31 bits, or a string (see idRef). Entries
// and their intervals are uvarints, described at encodeEntry.
const (
	magic         = "GABIONDB"
	formatVersion = 1
	headerSize    = 8 + 4 + 4 + 32
	sectionSize   = 16

	maxMeta = 4 << 20
)

type section int

const (
	secMeta section = iota
	secStrings
	secVersionIndex
	secVersions
	secVulnIndex
	secVulns
	secAdvisoryIndex
	secAdvisories
	secBuckets
	secRows
	secPackages
	secCVEs
	secIDs
	secCVSS
	secKEV
	secEPSS
	secSSVC
	secProseIndex
	secProse
	sections
)

// Row sizes of fixed tables.
const (
	rowSize  = 8  // hash, offset
	pairSize = 8  // id, advisory
	cvssSize = 8  // CVE, string
	kevSize  = 12 // CVE, day added, day due << 1 | ransomware
	epssSize = 16 // CVE, score * 1e6, percentile * 1e6, day
	ssvcSize = 8  // CVE, three words of 8 bits
)

// ErrFormat is in the chain of errors about files that are no database, or a
// damaged one; ErrVersion of those of another format version.
var (
	ErrFormat  = errors.New("not an intact advisory database")
	ErrVersion = errors.New("advisory database of another format")
)

func damaged(what string) error { return fmt.Errorf("read %s: %w", what, ErrFormat) }

// meta is the JSON section.
type meta struct {
	scan.Database
	Ecosystems []ecosystemMeta `json:"ecosystems"`
}

type ecosystemMeta struct {
	Name     string `json:"name"`
	Scheme   uint8  `json:"scheme"`
	BySource int    `json:"bySource,omitempty"` // packages
	ByBinary int    `json:"byBinary,omitempty"`
	Sources  []int  `json:"sources"` // indices into Database.Sources
}

// Hash of a package key. FNV-1a is enough: names do not come from attackers
// who could choose an ecosystem's packages, and a bad hash only costs time.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func hashKey(ecosystem uint32, bySource bool, name []byte) uint64 {
	h := uint64(fnvOffset)
	h = (h ^ uint64(keyPrefix(ecosystem, bySource))) * fnvPrime
	for _, c := range name {
		h = (h ^ uint64(c)) * fnvPrime
	}
	// FNV's high bits, which choose the bucket, mix last bytes badly.
	h ^= h >> 32
	h *= 0x9E3779B97F4A7C15
	return h ^ h>>29
}

func keyPrefix(ecosystem uint32, bySource bool) uint32 {
	if bySource {
		return ecosystem<<1 | 1
	}
	return ecosystem << 1
}

// packCVE packs "CVE-2024-12345" into 31 bits; ok is false for what is no CVE
// id in its usual form.
func packCVE(id string) (packed uint32, ok bool) {
	rest, ok := strings.CutPrefix(id, "CVE-")
	if !ok {
		return 0, false
	}
	year, number, ok := strings.Cut(rest, "-")
	if !ok || len(year) != 4 || len(number) < 4 || len(number) > 7 || len(number) > 4 && number[0] == '0' {
		return 0, false
	}
	y, err := strconv.ParseUint(year, 10, 32)
	n, err2 := strconv.ParseUint(number, 10, 32)
	if err != nil || err2 != nil || y < firstYear || y >= firstYear+128 {
		return 0, false
	}
	return uint32(y-firstYear)<<24 | uint32(n), true
}

const firstYear = 1980

func unpackCVE(p uint32) string {
	b := make([]byte, 0, len("CVE-2024-1234567"))
	b = strconv.AppendUint(append(b, "CVE-"...), uint64(p>>24+firstYear), 10)
	b = append(b, '-')
	number := p & 0xFFFFFF
	for floor := uint32(1000); floor > 1 && number < floor; floor /= 10 {
		b = append(b, '0')
	}
	return string(strconv.AppendUint(b, uint64(number), 10))
}

// idRef names an id: a packed CVE with the lowest bit set, or where its string
// begins with the bit clear.
type idRef uint64

func cveRef(packed uint32) idRef    { return idRef(packed)<<1 | 1 }
func stringRef(at uint32) idRef     { return idRef(at) << 1 }
func (r idRef) cve() (uint32, bool) { return uint32(r >> 1), r&1 == 1 }

// Days since 1970, for dates of facts; 0 is no date.
func toDay(t time.Time) uint32 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return uint32(t.Unix() / 86400)
}

func fromDay(d uint32) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Unix(int64(d)*86400, 0).UTC()
}

// Seconds since 1970; 0 is no date.
func toSecond(t time.Time) uint64 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())
}

func fromSecond(s uint64) time.Time {
	if s == 0 || s > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

var (
	exploitations = []string{"", "none", "poc", "active"}
	automatables  = []string{"", "no", "yes"}
	impacts       = []string{"", "partial", "total"}
)

// cursor reads uvarints from bytes that are not trusted. After a bad read ok
// is false and everything reads as zero.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		n := c.b[0]
		c.b = c.b[1:]
		return uint64(n)
	}
	n, size := binary.Uvarint(c.b)
	if size <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[size:]
	return n
}

// index reads a number below limit.
func (c *cursor) index(limit int) uint32 {
	n := c.uint()
	if n >= uint64(limit) {
		c.bad, c.b = true, nil
		return 0
	}
	return uint32(n)
}

// count reads a number of things that take at least one byte each.
func (c *cursor) count() int { return int(c.index(len(c.b) + 1)) }

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}
