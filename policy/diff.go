package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
)

// Difference is what replacing one set by another would change.
type Difference struct {
	Documents []DocumentChange `json:"documents"`
	// Plans are the containers whose plan would change in what it means; a
	// rule that only moved to another line is no change.
	Plans []PlanChange `json:"plans"`
}

// DocumentChange is one document that is new, gone or different.
type DocumentChange struct {
	ID     string `json:"id"`
	Change string `json:"change"` // "added", "removed", "changed"
	// Text is a unified difference of the documents in normal form.
	Text string `json:"text"`
}

// PlanChange is one container whose plan would be another.
type PlanChange struct {
	Workload  workload.Ref `json:"workload"`
	Container string       `json:"container"`
	Removed   []string     `json:"removed,omitempty"`
	Added     []string     `json:"added,omitempty"`
}

// Empty reports that nothing would change.
func (d *Difference) Empty() bool { return len(d.Documents) == 0 && len(d.Plans) == 0 }

// Diff compares two sets by their documents and by the plans of containers at
// the moment now.
func Diff(before, after *Set, containers []workload.Container, now time.Time) (*Difference, error) {
	d := &Difference{Documents: []DocumentChange{}, Plans: []PlanChange{}}
	ids := map[string]bool{}
	for _, s := range []*Set{before, after} {
		for id := range s.byID {
			ids[id] = true
		}
	}
	for id := range ids {
		a, err := normal(before.byID[id])
		if err != nil {
			return nil, err
		}
		b, err := normal(after.byID[id])
		if err != nil {
			return nil, err
		}
		if a == b {
			continue
		}
		change := DocumentChange{ID: id, Change: "changed", Text: unified(a, b)}
		switch {
		case a == "":
			change.Change = "added"
		case b == "":
			change.Change = "removed"
		}
		d.Documents = append(d.Documents, change)
	}
	slices.SortFunc(d.Documents, func(a, b DocumentChange) int { return cmp.Compare(a.ID, b.ID) })
	for i := range containers {
		c := &containers[i]
		a, b := facets(before.Compile(c, now)), facets(after.Compile(c, now))
		change := PlanChange{Workload: c.Workload, Container: c.Name, Removed: without(a, b), Added: without(b, a)}
		if len(change.Removed)+len(change.Added) > 0 {
			d.Plans = append(d.Plans, change)
		}
	}
	return d, nil
}

func normal(d *v1alpha1.Document) (string, error) {
	if d == nil {
		return "", nil
	}
	raw, err := v1alpha1.Encode(d.Object, nil)
	return string(raw), err
}

// facets is what a plan means: its rules, and what is said beside them.
func facets(p *Plan) []string {
	if p == nil {
		return []string{"no policy: observed only"}
	}
	out := meaning(p)
	for _, m := range p.modes() {
		out = append(out, m.Section+" mode "+string(m.Mode))
	}
	return append(out, "when blind "+string(p.WhenBlind))
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// Text gives the difference for a terminal or a review; empty when there is none.
func (d *Difference) Text() string {
	var b strings.Builder
	for _, c := range d.Documents {
		from, to := c.ID, c.ID
		switch c.Change {
		case "added":
			from = "/dev/null"
		case "removed":
			to = "/dev/null"
		}
		fmt.Fprintf(&b, "--- %s\n+++ %s\n%s", from, to, c.Text)
	}
	for _, p := range d.Plans {
		fmt.Fprintf(&b, "@@ plan of %s (container %s) @@\n", p.Workload, p.Container)
		for _, r := range p.Removed {
			fmt.Fprintf(&b, "-%s\n", r)
		}
		for _, r := range p.Added {
			fmt.Fprintf(&b, "+%s\n", r)
		}
	}
	return b.String()
}

const (
	contextLines = 3
	maxCells     = 4 << 20 // of the table of common lines; beyond it whole blocks are shown
)

type line struct {
	op   byte // ' ', '-', '+'
	text string
}

// unified gives the hunks of a unified difference of two texts.
func unified(a, b string) string {
	lines := compare(strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n"))
	var out strings.Builder
	oldLine, newLine := 1, 1
	for i := 0; i < len(lines); {
		if lines[i].op == ' ' {
			i, oldLine, newLine = i+1, oldLine+1, newLine+1
			continue
		}
		start := max(0, i-contextLines)
		end, quiet := i, 0
		for j := i; j < len(lines) && quiet <= 2*contextLines; j++ {
			if lines[j].op == ' ' {
				quiet++
			} else {
				quiet, end = 0, j
			}
		}
		end = min(len(lines), end+contextLines+1)
		fromLine, toLine := oldLine-(i-start), newLine-(i-start)
		var hunk strings.Builder
		olds, news := 0, 0
		for _, l := range lines[start:end] {
			if l.op != '+' {
				olds++
			}
			if l.op != '-' {
				news++
			}
			hunk.WriteByte(l.op)
			hunk.WriteString(strings.TrimSuffix(l.text, "\n"))
			hunk.WriteByte('\n')
		}
		if olds == 0 {
			fromLine = 0
		}
		if news == 0 {
			toLine = 0
		}
		fmt.Fprintf(&out, "@@ -%d,%d +%d,%d @@\n%s", fromLine, olds, toLine, news, hunk.String())
		for ; i < end; i++ {
			if lines[i].op != '+' {
				oldLine++
			}
			if lines[i].op != '-' {
				newLine++
			}
		}
	}
	return out.String()
}

// compare aligns two lists of lines along their longest common subsequence.
func compare(a, b []string) []line {
	a = slices.DeleteFunc(slices.Clone(a), func(s string) bool { return s == "" })
	b = slices.DeleteFunc(slices.Clone(b), func(s string) bool { return s == "" })
	var head, tail []line
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, line{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, line{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	if len(a)*len(b) > maxCells {
		for _, s := range a {
			head = append(head, line{'-', s})
		}
		for _, s := range b {
			head = append(head, line{'+', s})
		}
		return append(head, tail...)
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			head = append(head, line{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			head = append(head, line{'-', a[i]})
			i++
		default:
			head = append(head, line{'+', b[j]})
			j++
		}
	}
	return append(head, tail...)
}
