package page

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// DiffMarkdown prints what changed, for a comment on a merge request.
func DiffMarkdown(w io.Writer, d *decide.Difference, all bool) error {
	var b strings.Builder
	m := &markdown{Builder: &b, all: all}
	fmt.Fprintf(m, "## Gabion: what changed\n\n%s to %s\n\n", code(cmp.Or(d.Old.Name, "(no name)")), code(cmp.Or(d.New.Name, "(no name)")))
	if d.Old.Incomplete || d.New.Incomplete {
		m.WriteString("**INCOMPLETE: not everything could be examined; what seems to be missing may not have been seen.**\n\n")
	}
	if d.Old.Database != d.New.Database {
		m.WriteString("The two were matched against different databases; some differences may come from that.\n\n")
	}
	fmt.Fprintf(m, "| | new | fixed | settled | still open |\n|---|--:|--:|--:|--:|\n| vulnerabilities | %d | %d | %d | %d |\n| secrets | %d | %d | | |\n| failed checks | %d | %d | | |\n\n",
		len(d.Findings.New), len(d.Findings.Fixed), len(d.Findings.Settled), len(d.Findings.Still), len(d.Secrets.New), len(d.Secrets.Gone), len(d.Checks.New), len(d.Checks.Fixed))
	m.changed("New vulnerabilities", d.Findings.New)
	m.changed("Fixed vulnerabilities", d.Findings.Fixed)
	var rows [][]string
	for i := range d.Secrets.New {
		s := &d.Secrets.New[i]
		rows = append(rows, []string{s.Severity.String(), Escape(view.Text(s.Title, maxText)), code(view.Where(s)), code(s.Masked)})
	}
	m.table("New secrets", []string{"severity", "what", "where", "masked"}, rows)
	rows = nil
	for i := range d.Checks.New {
		c := &d.Checks.New[i]
		rows = append(rows, []string{c.Severity.String(), code(c.ID), Escape(view.Text(c.Title, maxText)), Escape(view.Text(c.Remedy, maxText))})
	}
	m.table("Checks that fail now", []string{"severity", "check", "what", "remedy"}, rows)
	m.packages(&d.Packages)
	rows = nil
	for _, c := range d.Config {
		rows = append(rows, []string{code(c.Field), code(c.Old), code(c.New)})
	}
	m.table("Configuration", []string{"field", "old", "new"}, rows)
	_, err := io.WriteString(w, strings.TrimRight(m.String(), "\n")+"\n")
	return err
}

func (m *markdown) changed(heading string, list []decide.FindingIn) {
	var rows [][]string
	for i := range list {
		f := &list[i]
		fix := "none"
		if f.Fix != "" {
			fix = code(view.Text(f.Fix, 60))
		}
		rows = append(rows, []string{fmt.Sprint(f.Priority), f.Severity.String(), code(f.ID), code(view.Text(f.In.Name, 60) + " " + view.Text(f.In.Version, 40)), fix})
	}
	m.table(heading, []string{"priority", "severity", "id", "package", "fixed in"}, rows)
}

func (m *markdown) packages(d *decide.PackageDifference) {
	var rows [][]string
	for _, c := range d.Changed {
		rows = append(rows, []string{"changed", code(c.Ecosystem), code(c.Name), code(strings.Join(c.Old, ", ")), code(strings.Join(c.New, ", "))})
	}
	add := func(word string, list []scan.Package, was bool) {
		for i := range list {
			p := &list[i]
			row := []string{word, code(p.Ecosystem), code(view.Text(p.Name, 80)), "", code(view.Text(p.Version, 60))}
			if was {
				row[3], row[4] = row[4], row[3]
			}
			rows = append(rows, row)
		}
	}
	add("added", d.Added, false)
	add("removed", d.Removed, true)
	m.table("Packages", []string{"change", "ecosystem", "package", "old", "new"}, rows)
}
