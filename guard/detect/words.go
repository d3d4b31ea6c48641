package detect

import (
	"fmt"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/content"
)

// Rule says in lines what a detection looks for, its expressions as they were
// written.
func Rule(d content.Detection) []string {
	var out []string
	for i, s := range d.Steps {
		head := strings.Join(s.On, " or ")
		if len(s.Programs) > 0 {
			head += " of " + strings.Join(s.Programs, ", ")
		}
		if len(s.Parents) > 0 {
			head += " started by " + strings.Join(s.Parents, ", ")
		}
		switch {
		case i == 0:
		case d.AnyOrder:
			head = "and " + head
		default:
			head = "then " + head
		}
		if s.When.Text != "" {
			head += ", when"
		}
		out = append(out, head)
		if s.When.Text != "" {
			for line := range strings.SplitSeq(s.When.Text, "\n") {
				out = append(out, "  "+line)
			}
		}
	}
	if d.Burst != nil {
		out = append(out, fmt.Sprintf("%d times with a different %s", d.Burst.Count, d.Burst.Distinct.Text))
	}
	if d.Within != 0 {
		by := "in one container"
		if d.By == "process" {
			by = "in one process or one that descends from it"
		}
		out = append(out, fmt.Sprintf("within %s, %s", shortDuration(time.Duration(d.Within)), by))
	}
	return out
}

// shortDuration leaves out what is zero: 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
