// Package table prints a report for a person at a terminal.
//
// It is not for scripts. The one idea: the order is that of the questions a
// person has (what is this, can I trust the answer, did it fail and why, what
// do I do first, what is behind it), and nothing is left out without saying
// how many and how to see them.
package table

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// Options say how to print.
type Options struct {
	Colour bool
	Width  int       // columns; 0: lines are not broken
	All    bool      // what is settled, too, and no list is cut
	Now    time.Time // tells the age of the database
}

// How much of a list is shown without All: steps, findings of one package,
// reasons why the scan failed.
const (
	maxSteps      = 10
	maxFindings   = 8
	maxViolations = 10
	maxText       = 200 // characters of one text from outside
)

// printer prints one report.
type printer struct {
	*term.Printer
	r *scan.Report
	o Options
	t view.Totals
}

// Write prints r.
func Write(w io.Writer, r *scan.Report, o Options) error {
	p := &printer{Printer: &term.Printer{W: w, Colour: o.Colour, Width: o.Width}, r: r, o: o, t: view.Total(r)}
	p.header()
	p.gaps()
	p.violations()
	p.summary()
	p.plan()
	p.findings()
	p.settled()
	p.secrets()
	p.checks()
	p.licences()
	p.signatures()
	p.packages()
	p.footer()
	return nil
}

func text(s string) string { return view.Text(s, maxText) }

func styleOf(s scan.Severity) term.Style {
	switch s {
	case scan.Critical, scan.High:
		return term.Bad
	case scan.Medium:
		return term.Warn
	}
	return term.Plain
}

// line prints one text, broken to the width, behind indent spaces.
func (p *printer) line(indent int, parts ...term.Cell) {
	p.Hang(strings.Repeat(" ", indent), indent, parts...)
}

// heading begins a section.
func (p *printer) heading(style term.Style, format string, args ...any) {
	p.Printf("\n")
	if style == term.Plain {
		style = term.Strong
	}
	p.line(0, term.C(style, "%s", fmt.Sprintf(format, args...)))
}

func (p *printer) header() {
	img := &p.r.Image
	parts := []term.Cell{term.C(term.Strong, "%s", text(cmp.Or(img.Name, "(no name)")))}
	if img.Platform != "" {
		parts = append(parts, term.T(text(img.Platform)))
	}
	if img.Digest != "" {
		parts = append(parts, term.C(term.Faint, "%s", text(img.Digest)))
	}
	p.line(0, parts...)
	about := []string{cmp.Or(text(cmp.Or(p.r.Release.Name, p.r.Release.ID)), "no operating system known"), view.Plural(len(p.r.Packages), "package")}
	if n := len(img.Layers); n > 0 {
		about = append(about, view.Plural(n, "layer"))
	}
	if b := p.r.Base; b != nil && b.Layers > 0 {
		about = append(about, fmt.Sprintf("%s from the base image %s (known by %s)", view.Plural(b.Layers, "layer"), text(cmp.Or(b.Name, b.Digest, "(no name)")), text(b.How)))
	}
	p.line(0, term.T(strings.Join(about, ", ")))
	p.database()
}

func (p *printer) database() {
	db := &p.r.Database
	if db.Digest == "" {
		p.line(0, term.C(term.Warn, "No advisory database was used: vulnerabilities were not looked for."))
		return
	}
	what := fmt.Sprintf("%s of %s", view.Plural(db.Advisories, "advisory"), view.Date(db.Data))
	age := view.Age(db.Data, p.o.Now)
	if age != "" {
		what += ", " + age
	}
	if db.Embedded {
		what += ", the snapshot inside this program"
	}
	parts := []term.Cell{term.T(what)}
	if age != "" && p.o.Now.Sub(db.Data) > view.Stale {
		parts = append(parts, term.C(term.Warn, "(old: run \"gabion db update\")"))
	}
	p.line(0, parts...)
}

func (p *printer) gaps() {
	if len(p.r.Gaps) == 0 {
		return
	}
	if p.t.Gaps > 0 {
		p.heading(term.Bad, "INCOMPLETE: %s could not be examined; more may be wrong than is shown here.", view.Plural(p.t.Gaps, "thing"))
	}
	told := false
	for _, minor := range []bool{false, true} {
		for i := range p.r.Gaps {
			g := &p.r.Gaps[i]
			if g.Minor != minor {
				continue
			}
			if minor && !told {
				told = true
				p.heading(term.Warn, "Worth knowing")
			}
			p.line(2, term.C(term.Strong, "%s:", text(g.Where)), term.T(text(g.What)))
			var more []string
			for _, s := range []string{g.Means, g.Do} {
				if s != "" {
					more = append(more, text(s))
				}
			}
			if len(more) > 0 {
				p.line(4, term.C(term.Faint, "%s", strings.Join(more, "; ")))
			}
		}
	}
}

func (p *printer) violations() {
	list := p.r.Violations
	if len(list) == 0 {
		return
	}
	p.heading(term.Bad, "FAILED: %s of the policy", view.Plural(len(list), "violation"))
	shown := p.limit(len(list), maxViolations)
	for _, v := range list[:shown] {
		p.line(2, term.C(term.Bad, "%s:", text(v.Rule)), term.T(text(v.Object)))
	}
	p.more(2, len(list)-shown)
}

// limit is how much of n is shown.
func (p *printer) limit(n, most int) int {
	if p.o.All || n <= most {
		return n
	}
	return most
}

func (p *printer) more(indent, n int) {
	if n > 0 {
		p.line(indent, term.C(term.Faint, "... and %s more (--all)", view.Thousands(n)))
	}
}

func (p *printer) summary() {
	p.Printf("\n")
	parts := []term.Cell{term.C(term.Good, "No open vulnerabilities")}
	if p.t.Open > 0 {
		parts = []term.Cell{term.C(term.Strong, "%s open:", view.Plural(p.t.Open, "vulnerability")), term.T(p.t.Severities() + ";")}
		if p.t.Exploited > 0 {
			parts = append(parts, term.C(term.Bad, "%s known to be exploited,", view.Thousands(p.t.Exploited)))
		}
		parts = append(parts, term.T(fmt.Sprintf("%s with a fix", view.Thousands(p.t.Fixable))))
	} else if p.r.Database.Digest == "" {
		parts = []term.Cell{term.C(term.Warn, "Vulnerabilities were not looked for")}
	} else if p.t.Gaps > 0 {
		parts = []term.Cell{term.C(term.Warn, "No vulnerability is known in what could be examined")}
	}
	if p.t.Settled > 0 && !p.o.All {
		parts = append(parts, term.C(term.Faint, "(%s settled by decisions: --all)", view.Thousands(p.t.Settled)))
	}
	p.line(0, parts...)
}

func (p *printer) plan() {
	if len(p.r.Plan) == 0 {
		return
	}
	p.heading(term.Plain, "What to do, best first")
	shown := p.limit(len(p.r.Plan), maxSteps)
	for i := range p.r.Plan[:shown] {
		s := &p.r.Plan[i]
		closes := fmt.Sprintf("closes %s, worst %s", view.Thousands(len(s.Closes)), s.Worst)
		parts := []term.Cell{term.T(text(s.Do)), term.C(styleOf(s.Worst), "(%s)", closes)}
		if s.Where != "" && s.Where != "base image" {
			parts = append(parts, term.C(term.Faint, "in %s", view.Text(s.Where, 100)))
		}
		p.Hang(p.Paint(term.Strong, fmt.Sprintf("%4d. ", i+1)), 6, parts...)
	}
	p.more(6, len(p.r.Plan)-shown)
}

func (p *printer) footer() {
	p.Printf("\n")
	style := term.Good
	if len(p.r.Violations) > 0 || p.t.Gaps > 0 {
		style = term.Bad
	}
	parts := []term.Cell{term.C(style, "%s", view.Result(p.r))}
	var why []string
	if n := len(p.r.Violations); n > 0 {
		why = append(why, view.Plural(n, "violation"))
	}
	if p.t.Gaps > 0 {
		why = append(why, view.Plural(p.t.Gaps, "gap"))
	}
	if len(why) > 0 {
		parts = append(parts, term.T("("+strings.Join(why, ", ")+")"))
	}
	p.line(0, parts...)
}
