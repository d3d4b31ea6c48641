// Package feed turns published advisory data into a database: it knows the
// formats, opens files, directories, archives and addresses, and hands every
// record to a vuln.Builder.
//
// It does not merge, order or match; that is the Builder's and the database's
// work. The one idea: a format is one small package with one Import function
// over a stream, this package holds the list of them, and a source that could
// not be read completely is never silently smaller.
package feed

import (
	"context"
	"io"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Sink takes what importers find. *vuln.Builder is one.
type Sink interface {
	Add(vuln.Record) error
	Extra(vuln.Extra) error
}

// Stats says what became of the records of an input.
type Stats = intake.Stats

// Format is one kind of published data.
type Format struct {
	Name  string // "osv", what --format takes
	Title string // for people
	// Import reads one document (a stream of records, or one record of many) and
	// hands everything to the sink. An error means that the rest of the document
	// is lost; bad records inside are counted in Stats and passed over.
	Import func(ctx context.Context, r io.Reader, to Sink) (Stats, error)
	// lines says that a document may be cut between any two lines.
	lines bool
}

// All lists the formats, in the order of their names.
func All() []Format { return nil }

// ByName finds a format.
func ByName(name string) (Format, bool) { return Format{}, false }
