package vex

import (
	"io"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Options say who issues a document and when.
type Options struct {
	Author string    // person or organisation; required
	Time   time.Time // of the document; required
	// ID is an IRI. Default: made from the content.
	ID string
}

// Write gives the decisions of a report as an OpenVEX document: findings that
// an exception or a statement has settled, and the open ones as under
// investigation. Equal reports and options give equal bytes.
func Write(w io.Writer, r *scan.Report, o Options) error { return nil }
