// Package report prints a scan.Report in the formats people and machines read.
//
// It decides nothing and computes nothing but words. The one idea: every format
// is a pure function of the report and the options, every format says
// INCOMPLETE when something could not be examined, and no text from an image
// can break out of any of them. Formats for terminals are in table, for build
// systems in ci, for reading and passing on in page; what they must agree on is
// in view.
package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
	"github.com/gabion-dev/gabion/scan/report/ci"
	"github.com/gabion-dev/gabion/scan/report/page"
	"github.com/gabion-dev/gabion/scan/report/table"
	"github.com/gabion-dev/gabion/scan/sbom"
)

// Format is one way to print a report.
type Format struct {
	Name      string // as given to --format
	About     string // one line for help
	Extension string // usual end of a file name, with the dot
	print     func(io.Writer, *scan.Report, Options) error
}

// Options say how to print. The zero value prints plain text without colour
// and breaks no lines.
type Options struct {
	Colour bool // table: escape sequences are welcome
	Width  int  // table: columns of the terminal; 0: do not break lines
	All    bool // show what decisions have settled, too, and cut no lists
	// Template is the text of a Go template; the format "template" needs it.
	Template string
	// Author is who makes the statements of an OpenVEX document; empty: the tool.
	Author string
	// Now tells the age of the database in the table; zero: ages are not told,
	// dates are. It is the date of an OpenVEX document; zero: that of the newest
	// advisory.
	Now time.Time
}

// Formats lists every format, the default first.
func Formats() []Format {
	return []Format{
		{"table", "for people at a terminal", ".txt", func(w io.Writer, r *scan.Report, o Options) error {
			return table.Write(w, r, table.Options{Colour: o.Colour, Width: o.Width, All: o.All, Now: o.Now})
		}},
		{jsonName, "everything, as one JSON object", ".json", writeJSON},
		{"ndjson", "everything, one JSON object a line", ".ndjson", writeLines},
		{"sarif", "SARIF 2.1.0, for code scanning", ".sarif", func(w io.Writer, r *scan.Report, o Options) error { return ci.SARIF(w, r, o.All) }},
		{"cyclonedx", "CycloneDX 1.6 with vulnerabilities, JSON", ".cdx.json", bom(sbom.CycloneDX)},
		{"spdx", "SPDX 2.3, JSON", ".spdx.json", bom(sbom.SPDX)},
		{"spdx-tag-value", "SPDX 2.3, tag-value", ".spdx", bom(sbom.SPDXTag)},
		{"openvex", "OpenVEX: what was decided of each finding (--vex-author)", ".vex.json", writeVEX},
		{"junit", "JUnit XML: violated rules fail, gaps are errors", ".xml", plain(ci.JUnit)},
		{"gitlab", "GitLab container scanning report, schema 15", ".json", plain(ci.GitLab)},
		{"github", "GitHub workflow annotations", ".txt", plain(ci.GitHub)},
		{"markdown", "for comments and job summaries", ".md", func(w io.Writer, r *scan.Report, o Options) error { return page.Markdown(w, r, o.All) }},
		{"html", "one self-contained page", ".html", plain(page.HTML)},
		{"template", "your own Go template (--template)", ".txt", writeTemplate},
	}
}

func writeVEX(w io.Writer, r *scan.Report, o Options) error {
	at := o.Now
	if at.IsZero() {
		at = r.Database.Data
	}
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	return vex.Write(w, r, vex.Options{Author: cmp.Or(o.Author, r.Tool, "gabion"), Time: at})
}

func bom(f sbom.Format) func(io.Writer, *scan.Report, Options) error {
	return func(w io.Writer, r *scan.Report, _ Options) error { return sbom.Write(w, f, r) }
}

func plain(f func(io.Writer, *scan.Report) error) func(io.Writer, *scan.Report, Options) error {
	return func(w io.Writer, r *scan.Report, _ Options) error { return f(w, r) }
}

// Write prints r in the named format. Nothing is written when it fails, except
// by a failing writer.
func Write(w io.Writer, format string, r *scan.Report, o Options) error {
	names := make([]string, 0, 16)
	for _, f := range Formats() {
		if f.Name != format {
			names = append(names, f.Name)
			continue
		}
		if f.Name == jsonName { // it fails before it writes, and is large
			if err := f.print(w, r, o); err != nil {
				return fmt.Errorf("write report as %s: %w", format, err)
			}
			return nil
		}
		var b bytes.Buffer
		if err := f.print(&b, r, o); err != nil {
			return fmt.Errorf("print report as %s: %w", format, err)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	}
	return fmt.Errorf("print report: unknown format %q: use one of %s", format, strings.Join(names, ", "))
}
