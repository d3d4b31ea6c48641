package vuln

import (
	"errors"
	"time"

	"github.com/gabion-dev/gabion/scan"
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
// does not change a byte. It is not safe for concurrent use.
type Builder struct {
	o Options
}

// BuildStats count what a Builder was given and what it did with it.
type BuildStats struct {
	Records   int // given to Add
	Withdrawn int // left out
	Empty     int // left out: nothing that could ever match
	Doubles   int // left out: an equal or newer record has the same source and id
	// Unreadable counts versions in ranges and lists that the ecosystem's order
	// cannot read; such an advisory matches exact versions only, and the matcher
	// tells of it.
	Unreadable int
	// Unknown counts packages by ecosystem whose version order is not known here.
	Unknown map[string]int
}

// NewBuilder makes an empty builder.
func NewBuilder(o Options) *Builder { return &Builder{o: o} }

// Add takes one record. An error means that the record cannot be used at all
// (no id, no source, not a single package).
func (b *Builder) Add(r Record) error { return errors.New("add advisory: not built yet") }

// Source declares a data set; records name it. Advisories and a zero Data are
// filled in by Write.
func (b *Builder) Source(s scan.Source) {}

// Extra adds facts about a CVE; nil and empty fields leave what is there.
func (b *Builder) Extra(e Extra) error { return errors.New("add facts: not built yet") }

// Stats tells what was counted so far.
func (b *Builder) Stats() BuildStats { return BuildStats{} }

// Bytes gives the database.
func (b *Builder) Bytes() ([]byte, scan.Database, error) {
	return nil, scan.Database{}, errors.New("build database: not built yet")
}

// Write writes the database to a file, beside it first and then renamed.
func (b *Builder) Write(path string) (scan.Database, error) {
	_, d, err := b.Bytes()
	return d, err
}
