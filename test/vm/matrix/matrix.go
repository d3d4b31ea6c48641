// Package matrix writes what works under which kernel as a page of the
// documentation.
//
// It finds nothing out; guests do. The one idea: a cell is what a real attempt
// with a canary said, and a refusal is quoted with its reason below the table.
package matrix

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/guard"
)

// Answer is what one guest found possible.
type Answer struct {
	// Features are what the rooms tried; Backends are the mechanisms built on
	// them, Works meaning active.
	Features, Backends []guard.Feature
}

// Suite is how the tests of a package ended in a guest.
type Suite struct {
	Package                 string
	Passed, Failed, Skipped int
}

// Column is one guest.
type Column struct {
	Name    string // "6.1"
	Release string // as uname prints it
	LSM     string // active security modules
	Answer  Answer
	Suites  []Suite
}

// Page is the whole page, in Markdown. Columns are in order of their name.
func Page(columns []Column) []byte {
	columns = slices.Clone(columns)
	slices.SortFunc(columns, func(a, b Column) int { return cmp.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	b.WriteString("<!-- Made by `make test-kernel`; do not edit. -->\n# Kernels\n\n" +
		"What was tried for real, each time with a canary, under Debian's cloud kernels in an emulated machine.\n" +
		"A name ending in `-nobpf` is the same kernel booted without `bpf` in its list of security modules.\n" +
		"`gabion doctor` tries the same on your machine.\n\n| kernel | release | active security modules |\n|---|---|---|\n")
	for _, c := range columns {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.Name, c.Release, strings.ReplaceAll(c.LSM, ",", ", "))
	}
	var notes notes
	b.WriteString("\n## Features\n\n")
	table(&b, "feature", columns, &notes, func(a Answer) []guard.Feature { return a.Features }, "works", "no")
	b.WriteString("\n## Backends\n\n")
	table(&b, "backend", columns, &notes, func(a Answer) []guard.Feature { return a.Backends }, "active", "not active")
	if len(notes) > 0 {
		b.WriteString("\nWhy not:\n\n")
		for i, n := range notes {
			fmt.Fprintf(&b, "%d. %s\n", i+1, n)
		}
	}
	b.WriteString("\n## Tests\n\nPassed of those that ran when this page was made; a dash means that the suite did not run under that kernel.\n\n")
	head(&b, "suite", columns)
	var names []string
	for _, c := range columns {
		for _, s := range c.Suites {
			if !slices.Contains(names, s.Package) {
				names = append(names, s.Package)
			}
		}
	}
	for _, name := range names {
		fmt.Fprintf(&b, "| `%s` |", name)
		for _, c := range columns {
			i := slices.IndexFunc(c.Suites, func(s Suite) bool { return s.Package == name })
			if i < 0 {
				b.WriteString(" - |")
				continue
			}
			s := c.Suites[i]
			fmt.Fprintf(&b, " %d of %d", s.Passed, s.Passed+s.Failed)
			if s.Skipped > 0 {
				fmt.Fprintf(&b, ", %d skipped", s.Skipped)
			}
			b.WriteString(" |")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func head(b *bytes.Buffer, first string, columns []Column) {
	fmt.Fprintf(b, "| %s |", first)
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
}

func table(b *bytes.Buffer, first string, columns []Column, notes *notes, of func(Answer) []guard.Feature, yes, no string) {
	head(b, first, columns)
	var names []string
	for _, c := range columns {
		for _, f := range of(c.Answer) {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	for _, name := range names {
		fmt.Fprintf(b, "| %s |", name)
		for _, c := range columns {
			features := of(c.Answer)
			i := slices.IndexFunc(features, func(f guard.Feature) bool { return f.Name == name })
			switch {
			case i < 0:
				b.WriteString(" not tried |")
			case features[i].Works:
				fmt.Fprintf(b, " %s |", yes)
			default:
				fmt.Fprintf(b, " %s (%d) |", no, notes.number(features[i].Detail))
			}
		}
		b.WriteByte('\n')
	}
}

// notes are reasons, each once; its number is its place, from 1.
type notes []string

func (n *notes) number(why string) int {
	why = strings.Join(strings.Fields(why), " ")
	if i := slices.Index(*n, why); i >= 0 {
		return i + 1
	}
	*n = append(*n, why)
	return len(*n)
}
