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
	"github.com/gabion-dev/gabion/scan/vuln/feed/alpine"
	"github.com/gabion-dev/gabion/scan/vuln/feed/csaf"
	"github.com/gabion-dev/gabion/scan/vuln/feed/debian"
	"github.com/gabion-dev/gabion/scan/vuln/feed/epss"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
	"github.com/gabion-dev/gabion/scan/vuln/feed/kev"
	"github.com/gabion-dev/gabion/scan/vuln/feed/osv"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ssvc"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ubuntu"
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
	// lines says that a document with one record per line may be cut between any
	// two lines.
	lines bool
}

// All lists the formats, in the order of their names.
func All() []Format {
	return []Format{
		{Name: "alpine", Title: "Alpine security database (secdb JSON)", Import: records(alpine.Import)},
		{Name: "csaf", Title: "CSAF 2.0 advisories and VEX of Red Hat and SUSE", Import: records(csaf.Import)},
		{Name: "debian", Title: "Debian security tracker (JSON)", Import: records(debian.Import)},
		{Name: "epss", Title: "EPSS scores by FIRST (CSV)", Import: extras(epss.Import)},
		{Name: "kev", Title: "CISA's known exploited vulnerabilities (JSON)", Import: extras(kev.Import)},
		{Name: "osv", Title: "Open Source Vulnerability records (JSON)", Import: records(osv.Import), lines: true},
		{Name: "ssvc", Title: "CISA's SSVC decision points (Vulnrichment JSON, or a table)", Import: extras(ssvc.Import)},
		{Name: "ubuntu", Title: "Ubuntu's OSV records (JSON)", Import: records(ubuntu.Import), lines: true},
	}
}

// ByName finds a format.
func ByName(name string) (Format, bool) {
	for _, f := range All() {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

func records(f func(context.Context, io.Reader, func(vuln.Record) error) (Stats, error)) func(context.Context, io.Reader, Sink) (Stats, error) {
	return func(ctx context.Context, r io.Reader, to Sink) (Stats, error) { return f(ctx, r, to.Add) }
}

func extras(f func(context.Context, io.Reader, func(vuln.Extra) error) (Stats, error)) func(context.Context, io.Reader, Sink) (Stats, error) {
	return func(ctx context.Context, r io.Reader, to Sink) (Stats, error) { return f(ctx, r, to.Extra) }
}
