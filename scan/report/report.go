// Package report prints a scan.Report in the formats people and machines read.
//
// It decides nothing and computes nothing but words. The one idea: every format
// is a pure function of the report and the options, and every format says
// INCOMPLETE when something could not be examined.
package report

import (
	"fmt"
	"io"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Format is one way to print a report.
type Format struct {
	Name      string // as given to --format
	About     string // one line for help
	Extension string // usual end of a file name, with the dot
}

// Options say how to print. The zero value prints plain text without colour
// and breaks no lines.
type Options struct {
	Colour bool // table: escape sequences are welcome
	Width  int  // table: columns of the terminal; 0: do not break lines
	All    bool // show what decisions have settled, and every package too
	// Template is the text of a Go template; the format "template" needs it.
	Template string
	// Now tells the age of the database; zero: ages are not told, dates are.
	// Only the formats for people use it.
	Now time.Time
}

// Formats lists every format, the default first.
func Formats() []Format { return nil }

// Write prints r in the named format.
func Write(w io.Writer, format string, r *scan.Report, o Options) error {
	return fmt.Errorf("print report: unknown format %q", format)
}
