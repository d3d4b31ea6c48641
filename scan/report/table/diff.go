package table

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// maxChanges is how much of each list of a difference is shown without All.
const maxChanges = 20

// WriteDiff prints what changed, what got worse first.
func WriteDiff(w io.Writer, d *decide.Difference, o Options) error {
	p := &printer{Printer: &term.Printer{W: w, Colour: o.Colour, Width: o.Width}, r: &scan.Report{}, o: o}
	for _, side := range []struct {
		word string
		s    decide.Side
	}{{"old", d.Old}, {"new", d.New}} {
		parts := []term.Cell{term.C(term.Faint, "%s", side.word), term.C(term.Strong, "%s", text(cmp.Or(side.s.Name, "(no name)"))),
			term.T(text(side.s.Release)), term.C(term.Faint, "%s", text(side.s.Digest))}
		if side.s.Incomplete {
			parts = append(parts, term.C(term.Bad, "INCOMPLETE: what seems to be missing may not have been examined"))
		}
		p.line(0, parts...)
	}
	if d.Old.Database != d.New.Database {
		p.line(0, term.C(term.Warn, "The two were matched against different databases; some differences may come from that."))
	}
	p.line(0, term.T(fmt.Sprintf("%s the same, %d added, %d removed", view.Plural(d.Layers.Same, "layer"), d.Layers.Added, d.Layers.Removed)))
	p.changedFindings("New vulnerabilities", term.Bad, d.Findings.New)
	p.changedFindings("Fixed vulnerabilities", term.Good, d.Findings.Fixed)
	p.changedFindings("Settled since by a decision", term.Plain, d.Findings.Settled)
	if n := len(d.Findings.Still); n > 0 {
		p.heading(term.Plain, "Still open: %s", view.Plural(n, "vulnerability"))
	}
	p.changedSecrets("New secrets", term.Bad, d.Secrets.New)
	p.changedSecrets("Secrets that are gone", term.Good, d.Secrets.Gone)
	p.changedChecks("Checks that fail now", term.Bad, d.Checks.New)
	p.changedChecks("Checks that do not fail any more", term.Good, d.Checks.Fixed)
	p.changedPackages(&d.Packages)
	var lines []string
	for _, l := range d.Licenses.New {
		lines = append(lines, "+ "+text(l))
	}
	for _, l := range d.Licenses.Gone {
		lines = append(lines, "- "+text(l))
	}
	p.list("Licences", lines)
	lines = nil
	for _, c := range d.Config {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", text(c.Field), text(cmp.Or(c.Old, "(nothing)")), text(cmp.Or(c.New, "(nothing)"))))
	}
	p.list("Configuration", lines)
	return nil
}

// list prints lines under a heading, as many as are wanted.
func (p *printer) list(heading string, lines []string) {
	if len(lines) == 0 {
		return
	}
	p.heading(term.Plain, "%s: %s", heading, view.Thousands(len(lines)))
	shown := p.limit(len(lines), maxChanges)
	for _, l := range lines[:shown] {
		p.line(2, term.T(l))
	}
	p.rest(len(lines) - shown)
}

// rest counts what is not shown; a difference has no --all, but its JSON has
// everything.
func (p *printer) rest(n int) {
	if n > 0 {
		p.line(2, term.C(term.Faint, "... and %s more (-o json)", view.Thousands(n)))
	}
}

func (p *printer) changedFindings(heading string, style term.Style, list []decide.FindingIn) {
	if len(list) == 0 {
		return
	}
	p.heading(style, "%s: %s", heading, view.Thousands(len(list)))
	shown := p.limit(len(list), maxChanges)
	var rows [][]term.Cell
	for i := range list[:shown] {
		f := &list[i]
		mark := ""
		if f.KEV != nil {
			mark = "KEV"
		}
		rows = append(rows, []term.Cell{term.T(fmt.Sprintf("%4d", f.Priority)), term.C(styleOf(f.Severity), "%s", f.Severity.String()),
			term.T(view.Text(f.ID, 40)), term.C(term.Bad, "%s", mark), term.T(view.Text(f.In.Name+" "+f.In.Version, 70)), term.T(view.Text(cmp.Or(f.Fix, "none"), 50))})
	}
	p.Table([]string{"  PRIO", "SEVERITY", "ID", "", "PACKAGE", "FIXED IN"}, indent(rows))
	p.rest(len(list) - shown)
}

func (p *printer) changedSecrets(heading string, style term.Style, list []scan.Secret) {
	if len(list) == 0 {
		return
	}
	p.heading(style, "%s: %s", heading, view.Thousands(len(list)))
	shown := p.limit(len(list), maxChanges)
	for i := range list[:shown] {
		s := &list[i]
		p.line(2, term.T(s.Severity.String()), term.T(text(s.Title)+" in"), term.C(term.Strong, "%s", view.Text(view.Where(s), 120)), term.T(view.Text(s.Masked, 32)))
	}
	p.rest(len(list) - shown)
}

func (p *printer) changedChecks(heading string, style term.Style, list []scan.Check) {
	if len(list) == 0 {
		return
	}
	p.heading(style, "%s: %s", heading, view.Thousands(len(list)))
	shown := p.limit(len(list), maxChanges)
	for i := range list[:shown] {
		c := &list[i]
		p.line(2, term.T(c.Severity.String()), term.C(term.Strong, "%s", text(c.ID)), term.T(text(c.Title)))
	}
	p.rest(len(list) - shown)
}

func (p *printer) changedPackages(d *decide.PackageDifference) {
	var lines []string
	for _, c := range d.Changed {
		lines = append(lines, fmt.Sprintf("~ %s %s %s -> %s", text(c.Ecosystem), text(c.Name), view.Text(strings.Join(c.Old, ", "), 60), view.Text(strings.Join(c.New, ", "), 60)))
	}
	for i := range d.Added {
		lines = append(lines, "+ "+packageLine(&d.Added[i]))
	}
	for i := range d.Removed {
		lines = append(lines, "- "+packageLine(&d.Removed[i]))
	}
	p.list("Packages changed (~), added (+), removed (-)", lines)
}

func packageLine(p *scan.Package) string {
	return strings.TrimSpace(text(p.Ecosystem) + " " + view.Text(p.Name, 80) + " " + view.Text(p.Version, 60))
}
