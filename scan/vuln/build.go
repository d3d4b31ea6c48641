package vuln

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// Options say how a database is made. The zero value is a database of facts
// without prose, dated by its newest record.
type Options struct {
	// Built is the date of making; zero: the newest date in the data, so that
	// equal data give equal bytes.
	Built time.Time
	// Prose keeps summaries, details and links, in a section of their own.
	Prose bool
}

// Builder collects records and writes a database. The order in which they come
// does not change a byte. Records with the same Source and ID add up, so that a
// feed may tell of an advisory package by package; where two of them speak of
// the same package, the one with the newer Modified counts. A Builder is not
// safe for concurrent use.
type Builder struct {
	o          Options
	stats      BuildStats
	sources    map[string]scan.Source
	advisories []advisory
	byID       map[advisoryKey]uint32
	withdrawn  map[advisoryKey]int64
	ecosystems map[string]uint32
	names      []string // of ecosystems, by number
	packages   map[packageKey][]entry
	versions   map[versionKey]uint32
	texts      []versionLayout // by number
	strings    map[string]string
	cvss       map[uint32]string
	kev        map[uint32]scan.KEV
	epss       map[uint32]scan.EPSS
	ssvc       map[uint32]scan.SSVC
	name, key  []byte // buffers
	none       *rare  // shared
}

// BuildStats count what a Builder was given and what it did with it.
type BuildStats struct {
	Records   int // given to Add
	Withdrawn int // left out
	Empty     int // packages left out: nothing in them could ever match
	Outdated  int // packages left out: a newer record with the same source and id speaks of them
	// Unneeded counts statements that a package is not affected which nothing
	// contradicts, so that there is nothing to keep.
	Unneeded int
	// Unreadable counts versions in ranges that the ecosystem's order cannot
	// read; such an advisory matches exact versions only, and the matcher tells
	// of it.
	Unreadable int
	// Unknown counts packages by ecosystem whose version order is not known here.
	Unknown map[string]int
}

type advisoryKey struct{ source, id string }

type advisory struct {
	advisoryKey
	aliases, upstream   []string
	severity            scan.Severity
	cvss                string
	published, modified int64
	prose               prose
	proseModified       int64
}

type prose struct{ summary, details, url string }

func (p prose) compare(o prose) int {
	return cmp.Or(cmp.Compare(p.summary, o.summary), cmp.Compare(p.details, o.details), cmp.Compare(p.url, o.url))
}

type packageKey struct {
	ecosystem uint32
	source    bool
	name      string
}

type versionKey struct {
	scheme version.Scheme
	text   string
}

// entry is what one record says of one package.
// There are millions of them.
type entry struct {
	modified   int64
	advisory   uint32
	status     Status
	severity   uint8 // scan.Severity
	unreadable bool
	all        bool
	ranges     []interval
	*rare
}

// rare is what few entries have; the others share an empty one.
type rare struct {
	versions []uint32
	module   string
	arch     []string
}

// interval is a Range by numbers of versions; 0 is none.
type interval struct {
	low, up uint32
	kind    bound
}

type bound uint8

// Upper bounds.
const (
	boundNone bound = iota
	boundFixed
	boundLast
	boundLimit
)

// NewBuilder makes an empty builder.
func NewBuilder(o Options) *Builder {
	return &Builder{
		o: o, sources: map[string]scan.Source{}, byID: map[advisoryKey]uint32{}, withdrawn: map[advisoryKey]int64{},
		ecosystems: map[string]uint32{}, packages: map[packageKey][]entry{}, versions: map[versionKey]uint32{},
		texts: make([]versionLayout, 1), strings: map[string]string{},
		cvss: map[uint32]string{}, kev: map[uint32]scan.KEV{}, epss: map[uint32]scan.EPSS{}, ssvc: map[uint32]scan.SSVC{},
		stats: BuildStats{Unknown: map[string]int{}}, none: &rare{},
	}
}

// Source declares a data set; records name it. A zero Data is filled with the
// date of the newest record, Advisories with their number.
func (b *Builder) Source(s scan.Source) { b.sources[s.Name] = s }

// Stats tells what was counted so far.
func (b *Builder) Stats() BuildStats { return b.stats }

// Limits of one record. Real ones stay far below; a broken or hostile feed must
// not fill the memory.
const (
	maxID       = 200
	maxName     = 1000
	maxIDs      = 20_000
	maxAffected = 200_000
)

// Add takes one record. An error means that the record cannot be used at all.
func (b *Builder) Add(r Record) error {
	b.stats.Records++
	if r.ID == "" || r.Source == "" {
		return errors.New("add advisory: it has no id or no source")
	}
	if len(r.ID) > maxID || len(r.Aliases) > maxIDs || len(r.Upstream) > maxIDs || len(r.Affected) > maxAffected {
		return fmt.Errorf("add advisory %.40q: too big (%d aliases, %d bundled, %d packages)", r.ID, len(r.Aliases), len(r.Upstream), len(r.Affected))
	}
	key := advisoryKey{b.intern(r.Source), b.intern(r.ID)}
	modified := int64(toSecond(r.Modified))
	if !r.Withdrawn.IsZero() {
		b.stats.Withdrawn++
		b.withdrawn[key] = max(b.withdrawn[key], modified)
		return nil
	}
	if len(r.Affected) == 0 {
		b.stats.Empty++
		return nil
	}
	n := b.advisory(key, &r, modified)
	stream := streamOf(r.Summary)
	for i := range r.Affected {
		if err := b.affected(n, modified, &r.Affected[i], stream); err != nil {
			return fmt.Errorf("add advisory %q: %w", r.ID, err)
		}
	}
	return nil
}

// advisory finds or makes the advisory of a record and merges the record into
// it, in a way that does not depend on the order of records.
func (b *Builder) advisory(key advisoryKey, r *Record, modified int64) uint32 {
	n, ok := b.byID[key]
	if !ok {
		n = uint32(len(b.advisories))
		b.byID[key] = n
		b.advisories = append(b.advisories, advisory{advisoryKey: key})
	}
	a := &b.advisories[n]
	a.aliases = b.ids(a.aliases, r.Aliases, r.ID)
	a.upstream = b.ids(a.upstream, r.Upstream, r.ID)
	a.severity = max(a.severity, r.Severity)
	if _, _, ok := Score(r.CVSS); ok {
		a.cvss = betterVector(a.cvss, b.intern(r.CVSS))
	}
	if p := int64(toSecond(r.Published)); p != 0 && (a.published == 0 || p < a.published) {
		a.published = p
	}
	a.modified = max(a.modified, modified)
	if p := (prose{r.Summary, r.Details, r.URL}); b.o.Prose && (modified > a.proseModified || modified == a.proseModified && p.compare(a.prose) > 0) {
		a.prose, a.proseModified = p, modified
	}
	return n
}

// ids adds ids to a sorted list without doubles and without the record's own.
func (b *Builder) ids(list, more []string, own string) []string {
	for _, id := range more {
		if id = strings.TrimSpace(id); id == "" || id == own || len(id) > maxID {
			continue
		}
		if i, found := slices.BinarySearch(list, id); !found {
			list = slices.Insert(list, i, b.intern(id))
		}
	}
	return list
}

// betterVector prefers the higher score, so that nothing depends on order.
func betterVector(a, b string) string {
	sa, _, _ := Score(a)
	sb, _, _ := Score(b)
	if a == "" || sb > sa || sb == sa && b > a {
		return b
	}
	return a
}

// Extra adds facts about a CVE; nil and empty fields leave what is there. Of
// several facts of one kind the more alarming or newer one stays.
func (b *Builder) Extra(e Extra) error {
	cve, ok := packCVE(e.CVE)
	if !ok {
		return fmt.Errorf("add facts: %.40q is not a CVE id", e.CVE)
	}
	if e.CVSS != "" {
		if _, _, ok := Score(e.CVSS); !ok {
			return fmt.Errorf("add facts about %s: CVSS vector %.40q cannot be read", e.CVE, e.CVSS)
		}
		b.cvss[cve] = betterVector(b.cvss[cve], b.intern(e.CVSS))
	}
	if k := e.KEV; k != nil {
		old := b.kev[cve]
		b.kev[cve] = scan.KEV{Added: earlier(old.Added, k.Added), Due: earlier(old.Due, k.Due), Ransomware: k.Ransomware || old.Ransomware}
	}
	if p := e.EPSS; p != nil {
		if !(p.Score >= 0 && p.Score <= 1 && p.Percentile >= 0 && p.Percentile <= 1) {
			return fmt.Errorf("add facts about %s: EPSS score %v or percentile %v is not between 0 and 1", e.CVE, p.Score, p.Percentile)
		}
		if old, ok := b.epss[cve]; !ok || cmp.Or(p.Date.Compare(old.Date), cmp.Compare(p.Score, old.Score), cmp.Compare(p.Percentile, old.Percentile)) > 0 {
			b.epss[cve] = *p
		}
	}
	if s := e.SSVC; s != nil {
		x, a, i := slices.Index(exploitations, s.Exploitation), slices.Index(automatables, s.Automatable), slices.Index(impacts, s.Impact)
		if x < 0 || a < 0 || i < 0 {
			return fmt.Errorf("add facts about %s: unknown SSVC decision points %.20q, %.20q, %.20q", e.CVE, s.Exploitation, s.Automatable, s.Impact)
		}
		old := b.ssvc[cve]
		b.ssvc[cve] = scan.SSVC{
			Exploitation: exploitations[max(x, slices.Index(exploitations, old.Exploitation))],
			Automatable:  automatables[max(a, slices.Index(automatables, old.Automatable))],
			Impact:       impacts[max(i, slices.Index(impacts, old.Impact))],
		}
	}
	return nil
}

// earlier prefers a date to none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// intern keeps one copy of a string, and none of the document it was cut from.
func (b *Builder) intern(s string) string {
	if have, ok := b.strings[s]; ok {
		return have
	}
	s = strings.Clone(s)
	b.strings[s] = s
	return s
}

// Write writes the database to a file, beside it first and then renamed, so
// that nobody ever sees half of it. What is there and is no file is left alone.
func (b *Builder) Write(path string) (scan.Database, error) {
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return scan.Database{}, fmt.Errorf("write database %s: it is no file; name one", path)
	}
	data, info, err := b.Bytes()
	if err != nil {
		return scan.Database{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return scan.Database{}, fmt.Errorf("write database: %w", err)
	}
	_, err = f.Write(data)
	err = cmp.Or(err, f.Chmod(0o644), f.Sync())
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("write database %s: %w", path, err), os.Remove(f.Name()))
		return scan.Database{}, err
	}
	return info, nil
}
