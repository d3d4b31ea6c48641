// Package page prints a report to be read and passed on: Markdown for comments
// and job summaries, and one HTML file that needs nothing else.
//
// It is not for terminals and not for scripts. The one idea: text from an image
// is never markup. In Markdown it is escaped or put in a code span; the HTML
// goes through html/template and forbids scripts and all loading by its own
// content security policy.
package page

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// How much is listed without all: hosts refuse comments of more than 64 KiB
// and summaries of more than 1 MiB.
const (
	maxRows = 50
	maxText = 200
)

// Markdown prints a summary with tables: the outcome, gaps, violations, what
// to do, and the findings that count, the most pressing first.
func Markdown(w io.Writer, r *scan.Report, all bool) error {
	var b strings.Builder
	t := view.Total(r)
	fmt.Fprintf(&b, "## Gabion scan: %s\n\n", view.Result(r))
	fmt.Fprintf(&b, "%s", code(cmp.Or(r.Image.Name, "(no name)")))
	if r.Image.Digest != "" {
		fmt.Fprintf(&b, " %s", code(r.Image.Digest))
	}
	if name := cmp.Or(r.Release.Name, r.Release.ID); name != "" {
		fmt.Fprintf(&b, ", %s", Escape(view.Text(name, maxText)))
	}
	fmt.Fprintf(&b, ", %s, ", view.Plural(len(r.Packages), "package"))
	if r.Database.Digest == "" {
		b.WriteString("**no advisory database was used**\n\n")
	} else {
		fmt.Fprintf(&b, "%s of %s\n\n", view.Plural(r.Database.Advisories, "advisory"), view.Date(r.Database.Data))
	}
	if t.Gaps > 0 {
		fmt.Fprintf(&b, "**INCOMPLETE: %s could not be examined; more may be wrong than is shown here.**\n\n", view.Plural(t.Gaps, "thing"))
	}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		fmt.Fprintf(&b, "- %s: %s", code(g.Where), Escape(view.Text(g.What, maxText)))
		for _, s := range []string{g.Means, g.Do} {
			if s != "" {
				b.WriteString("; " + Escape(view.Text(s, maxText)))
			}
		}
		b.WriteByte('\n')
	}
	m := &markdown{Builder: &b, all: all}
	if len(r.Gaps) > 0 {
		b.WriteByte('\n')
	}
	m.violations(r)
	fmt.Fprintf(&b, "| open | critical | high | medium | low | negligible | unknown | exploited (KEV) | with a fix | settled | secrets | failed checks |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n| %d ", t.Open)
	for _, s := range view.Order() {
		fmt.Fprintf(&b, "| %d ", t.By[s])
	}
	fmt.Fprintf(&b, "| %d | %d | %d | %d | %d |\n\n", t.Exploited, t.Fixable, t.Settled, t.Secrets, t.Checks)
	m.plan(r)
	m.findings(r)
	m.secrets(r)
	m.checks(r)
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

type markdown struct {
	*strings.Builder
	all bool
}

// table prints rows under a heading, as many as are wanted, and counts the rest.
func (m *markdown) table(heading string, header []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(m, "### %s\n\n| %s |\n|%s\n", heading, strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	shown := len(rows)
	if !m.all {
		shown = min(shown, maxRows)
	}
	for _, row := range rows[:shown] {
		fmt.Fprintf(m, "| %s |\n", strings.Join(row, " | "))
	}
	if more := len(rows) - shown; more > 0 {
		fmt.Fprintf(m, "\n%d more are not shown here.\n", more)
	}
	m.WriteByte('\n')
}

func (m *markdown) violations(r *scan.Report) {
	var rows [][]string
	for _, v := range r.Violations {
		rows = append(rows, []string{Escape(view.Text(v.Rule, maxText)), code(v.Object)})
	}
	m.table("Why it failed", []string{"rule", "what violates it"}, rows)
}

func (m *markdown) plan(r *scan.Report) {
	var rows [][]string
	for i := range r.Plan {
		s := &r.Plan[i]
		rows = append(rows, []string{code(s.Do), code(s.Where), fmt.Sprint(len(s.Closes)), s.Worst.String(), fmt.Sprint(s.Priority)})
	}
	m.table("What to do, best first", []string{"step", "where", "closes", "worst", "priority"}, rows)
}

func (m *markdown) findings(r *scan.Report) {
	var rows [][]string
	for i := range r.Findings {
		f := &r.Findings[i]
		if !view.Counts(f.State) && !m.all {
			continue
		}
		p := view.Package(r, f)
		why := Escape(view.Text(strings.Join(f.Reasons, ", "), maxText))
		if f.KEV != nil {
			why = "**KEV** " + why
		}
		if !view.Counts(f.State) {
			why = Escape(view.Text(view.Settled(f.State, f.Decision), maxText))
		}
		fix := "none"
		if f.Fix != "" {
			fix = code(view.Text(f.Fix, 60))
		}
		layer := ""
		if p.Layer >= 0 {
			layer = fmt.Sprint(p.Layer + 1)
		}
		rows = append(rows, []string{fmt.Sprint(f.Priority), f.Severity.String(), code(f.ID), code(view.Text(p.Name, 60) + " " + view.Text(p.Version, 40)), fix, layer, why})
	}
	m.table("Vulnerabilities", []string{"priority", "severity", "id", "package", "fixed in", "layer", "why"}, rows)
}

func (m *markdown) secrets(r *scan.Report) {
	var rows [][]string
	for i := range r.Secrets {
		s := &r.Secrets[i]
		if !view.Counts(s.State) && !m.all {
			continue
		}
		note := ""
		if s.Deleted {
			note = "deleted later, still to be pulled"
		}
		if !view.Counts(s.State) {
			note = Escape(view.Text(view.Settled(s.State, s.Decision), maxText))
		}
		rows = append(rows, []string{s.Severity.String(), Escape(view.Text(s.Title, maxText)), code(view.Where(s)), code(s.Masked), note})
	}
	m.table("Secrets", []string{"severity", "what", "where", "masked", "note"}, rows)
}

func (m *markdown) checks(r *scan.Report) {
	var rows [][]string
	for i := range r.Checks {
		c := &r.Checks[i]
		if (c.Status != "fail" || !view.Counts(c.State)) && !m.all {
			continue
		}
		note := Escape(view.Text(c.Remedy, maxText))
		if !view.Counts(c.State) {
			note = Escape(view.Text(view.Settled(c.State, c.Decision), maxText))
		}
		rows = append(rows, []string{Escape(c.Status), c.Severity.String(), code(c.ID), Escape(view.Text(c.Title, maxText)), note})
	}
	m.table("Configuration of the image", []string{"result", "severity", "check", "what", "remedy"}, rows)
	if !m.all {
		for _, u := range view.Undecided(r) {
			fmt.Fprintf(m, "%s of the configuration not decided: %s\n\n", view.Plural(u.Checks, "check"), Escape(view.Text(u.Why, maxText)))
		}
	}
}

// code puts text in a code span, in which nothing is markup and nobody is
// mentioned; pipes are escaped for tables.
func code(s string) string {
	s = strings.TrimSpace(view.Text(s, maxText))
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// Escape makes text safe within a line of Markdown: no markup, links, HTML,
// table cells or mentions come of it.
func Escape(s string) string {
	s = view.Text(s, 0)
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '@':
			b.WriteString("@<!-- -->")
		case '\\', '`', '*', '_', '[', ']', '(', ')', '|', '#', '!', '~', '{', '}', '$', '^', '=':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	// Addresses become links by themselves where they are not taken apart.
	return strings.NewReplacer("://", ":<!-- -->//", "www.", "www<!-- -->.").Replace(b.String())
}
