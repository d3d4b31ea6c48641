package table

import (
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// findings prints the open ones by package, the most pressing package first.
func (p *printer) findings() {
	groups := view.Groups(p.r, func(f *scan.Finding) bool { return view.Counts(f.State) })
	if len(groups) == 0 {
		return
	}
	p.heading(term.Plain, "Vulnerabilities by package, priority 100 to 0")
	for i := range groups {
		p.group(&groups[i])
	}
}

func (p *printer) group(g *view.Group) {
	parts := []term.Cell{term.C(term.Strong, "%s", text(g.Name)), term.T(view.Text(g.Version, 60))}
	switch {
	case g.Fix != "":
		parts = append(parts, term.C(term.Good, "-> %s", view.Text(g.Fix, 60)))
	default:
		parts = append(parts, term.C(term.Warn, "no fix"))
	}
	p.line(2, parts...)
	var where []string
	if g.Ecosystem != "" {
		where = append(where, text(g.Ecosystem))
	}
	if g.Packages != nil {
		shown := p.limit(len(g.Packages), 4)
		list := text(strings.Join(g.Packages[:shown], ", "))
		if more := len(g.Packages) - shown; more > 0 {
			list += fmt.Sprintf(" and %d more", more)
		}
		where = append(where, list)
	}
	if l := view.Layer(p.r, g.Layer); l != "" {
		where = append(where, l)
	}
	if g.Path != "" {
		where = append(where, view.Text(g.Path, 100))
	}
	p.line(4, term.C(term.Faint, "%s", strings.Join(where, " | ")))
	shown := p.limit(len(g.Findings), maxFindings)
	for _, f := range g.Findings[:shown] {
		p.finding(f)
	}
	p.more(8, len(g.Findings)-shown)
}

// finding prints one: priority, severity, id, and why.
func (p *printer) finding(f *scan.Finding) {
	id := view.Text(f.ID, 40)
	margin := fmt.Sprintf("  %s  %s  %s", p.Paint(term.Strong, fmt.Sprintf("%4d", f.Priority)),
		p.Paint(styleOf(f.Severity), fmt.Sprintf("%-10s", f.Severity)), fmt.Sprintf("%-19s", id))
	width := 2 + 4 + 2 + 10 + 2 + max(19, len([]rune(id)))
	var parts []term.Cell
	if f.KEV != nil {
		parts = append(parts, term.C(term.Bad, "KEV"))
	}
	if len(f.Reasons) > 0 {
		parts = append(parts, term.T(text(strings.Join(f.Reasons, ", "))))
	}
	if f.Summary != "" {
		parts = append(parts, term.C(term.Faint, "- %s", view.Text(f.Summary, 160)))
	}
	p.Hang(margin+"  ", width+2, parts...)
}

// settled prints what decisions took out of the count.
func (p *printer) settled() {
	if !p.o.All {
		return
	}
	var rows [][]term.Cell
	for i := range p.r.Findings {
		f := &p.r.Findings[i]
		if view.Counts(f.State) {
			continue
		}
		pkg := view.Package(p.r, f)
		rows = append(rows, []term.Cell{term.T(view.Text(f.ID, 40)), term.C(styleOf(f.Severity), "%s", f.Severity.String()),
			term.T(view.Text(pkg.Name+" "+pkg.Version, 60)), term.T(text(view.Settled(f.State, f.Decision)))})
	}
	if len(rows) > 0 {
		p.heading(term.Plain, "Settled by decisions")
		p.Table([]string{"  ID", "SEVERITY", "PACKAGE", "DECISION"}, indent(rows))
	}
}

// indent moves the first column in by two, under its heading.
func indent(rows [][]term.Cell) [][]term.Cell {
	for _, r := range rows {
		r[0].Text = "  " + r[0].Text
	}
	return rows
}

func (p *printer) secrets() {
	told := false
	for i := range p.r.Secrets {
		s := &p.r.Secrets[i]
		if !view.Counts(s.State) && !p.o.All {
			continue
		}
		if !told {
			told = true
			p.heading(term.Bad, "Secrets: %s", view.Thousands(p.t.Secrets))
		}
		note := view.Layer(p.r, s.Layer)
		if s.Deleted {
			note = "deleted later, yet anyone can pull it: " + note
		}
		if !view.Counts(s.State) {
			note = strings.TrimPrefix(note+"; "+text(view.Settled(s.State, s.Decision)), "; ")
		}
		p.Hang("  "+p.Paint(styleOf(s.Severity), fmt.Sprintf("%-10s", s.Severity))+"  ", 14,
			term.T(text(s.Title)+" in"), term.C(term.Strong, "%s", view.Text(view.Where(s), 120)), term.T(view.Text(s.Masked, 32)), term.C(term.Faint, "%s", note))
	}
}

func (p *printer) checks() {
	var rows [][]term.Cell
	for i := range p.r.Checks {
		c := &p.r.Checks[i]
		if (c.Status != "fail" || !view.Counts(c.State)) && !p.o.All {
			continue
		}
		status := term.C(styleOf(c.Severity), "%s", text(c.Status))
		switch c.Status {
		case "pass":
			status.Style = term.Good
		case "fail":
		default:
			status.Style = term.Plain
		}
		about := text(c.Title)
		if c.Status != "pass" {
			if len(c.Evidence) > 0 {
				about += ": " + text(strings.Join(c.Evidence, ", "))
			}
			if c.Remedy != "" {
				about += ". " + text(c.Remedy)
			}
		}
		if !view.Counts(c.State) {
			about += " (" + text(view.Settled(c.State, c.Decision)) + ")"
		}
		rows = append(rows, []term.Cell{status, term.T(c.Severity.String()), term.T(text(c.ID)), term.T(about)})
	}
	if len(rows) == 0 && p.t.Unchecked == 0 {
		return
	}
	p.heading(term.Plain, "Configuration of the image: %s failed, %s undecided", view.Thousands(p.t.Checks), view.Thousands(p.t.Unchecked))
	if len(rows) > 0 {
		p.Table([]string{"  RESULT", "SEVERITY", "CHECK", "WHAT"}, indent(rows))
	}
	if !p.o.All {
		for _, u := range view.Undecided(p.r) {
			p.line(2, term.C(term.Faint, "%s not decided: %s (--all)", view.Plural(u.Checks, "check"), text(u.Why)))
		}
	}
}

func (p *printer) licences() {
	var rows [][]term.Cell
	for i := range p.r.Licenses {
		l := &p.r.Licenses[i]
		if l.Verdict != "denied" && !p.o.All {
			continue
		}
		var names []string
		for _, n := range l.Packages {
			if n >= 0 && n < len(p.r.Packages) {
				names = append(names, p.r.Packages[n].Name)
			}
		}
		shown := p.limit(len(names), 8)
		list := text(strings.Join(names[:shown], ", "))
		if more := len(names) - shown; more > 0 {
			list += fmt.Sprintf(" and %d more (--all)", more)
		}
		style := term.Plain
		if l.Verdict == "denied" {
			style = term.Bad
		}
		rows = append(rows, []term.Cell{term.C(style, "%s", text(l.Verdict)), term.T(view.Text(l.License, 60)), term.T(list)})
	}
	if len(rows) > 0 {
		p.heading(term.Plain, "Licences: %s denied", view.Thousands(p.t.Denied))
		p.Table([]string{"  VERDICT", "LICENCE", "PACKAGES"}, indent(rows))
	}
}

func (p *printer) signatures() {
	if len(p.r.Signatures) == 0 {
		return
	}
	p.heading(term.Plain, "Signatures")
	for i := range p.r.Signatures {
		s := &p.r.Signatures[i]
		verdict := term.C(term.Good, "valid")
		if !s.Valid {
			verdict = term.C(term.Bad, "not valid")
		}
		parts := []term.Cell{verdict, term.T(text(s.Kind))}
		for _, v := range []string{s.Predicate, s.Identity, s.Issuer, s.KeyID} {
			if v != "" {
				parts = append(parts, term.T(text(v)))
			}
		}
		if s.Why != "" {
			parts = append(parts, term.C(term.Bad, "(%s)", text(s.Why)))
		}
		p.line(2, parts...)
	}
}

// packages lists all of them, when everything was asked for.
func (p *printer) packages() {
	if !p.o.All || len(p.r.Packages) == 0 {
		return
	}
	p.heading(term.Plain, "Packages: %s", view.Thousands(len(p.r.Packages)))
	rows := make([][]term.Cell, 0, len(p.r.Packages))
	for i := range p.r.Packages {
		pkg := &p.r.Packages[i]
		layer := ""
		if pkg.Layer >= 0 {
			layer = fmt.Sprint(pkg.Layer + 1)
		}
		rows = append(rows, []term.Cell{term.T(view.Text(pkg.Name, 60)), term.T(view.Text(pkg.Version, 40)), term.T(text(pkg.Ecosystem)), term.T(layer), term.T(view.Text(pkg.Path, 100))})
	}
	p.Table([]string{"  NAME", "VERSION", "ECOSYSTEM", "LAYER", "FOUND IN"}, indent(rows))
}
