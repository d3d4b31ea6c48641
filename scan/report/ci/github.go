package ci

import (
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// maxAnnotations is how many annotations of one kind GitHub shows per step.
const maxAnnotations = 10

// GitHub prints workflow commands: an error for each gap and each violation, a
// warning for each of the most pressing open findings when nothing is
// violated. What is more than GitHub shows is counted in the last line.
func GitHub(w io.Writer, r *scan.Report) error {
	image := view.Text(r.Image.Name, 120)
	var b strings.Builder
	left := maxAnnotations
	hidden := 0
	say := func(kind, title, text string) {
		if left == 0 {
			hidden++
			return
		}
		left--
		fmt.Fprintf(&b, "::%s title=%s::%s\n", kind, property(title), data(text))
	}
	for i := range r.Gaps {
		if g := &r.Gaps[i]; !g.Minor {
			say("error", "INCOMPLETE: "+image, gapText(g))
		}
	}
	for _, v := range r.Violations {
		say("error", v.Rule+": "+image, v.Object)
	}
	left = maxAnnotations
	for i := range r.Findings {
		f := &r.Findings[i]
		if !view.Counts(f.State) || len(r.Violations) > 0 {
			continue
		}
		p := view.Package(r, f)
		text := p.Name + " " + p.Version
		if f.Fix != "" {
			text += ", fixed in " + f.Fix
		}
		if len(f.Reasons) > 0 {
			text += fmt.Sprintf(" (priority %d: %s)", f.Priority, strings.Join(f.Reasons, ", "))
		}
		say("warning", f.ID+" "+f.Severity.String(), text)
	}
	t := view.Total(r)
	fmt.Fprintf(&b, "gabion: %s: %s, %s open (%s), %s, %s", image, view.Result(r), view.Plural(t.Open, "vulnerability"),
		orNone(t.Severities()), view.Plural(t.Secrets, "secret"), view.Plural(t.Checks, "failed check"))
	if hidden > 0 {
		fmt.Fprintf(&b, "; %d more annotations than GitHub shows: see the job summary", hidden)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// data escapes the text of a workflow command, property that of a property.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(view.Text(s, maxText))
}

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(data(view.Text(s, 200)))
}
