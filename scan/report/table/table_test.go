package table

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

// TestWidth: on a terminal no line is longer than the terminal is wide.
func TestWidth(t *testing.T) {
	for _, width := range []int{60, 72, 80, 100, 132, 200} {
		for _, all := range []bool{false, true} {
			var b bytes.Buffer
			if err := Write(&b, sample.Report(), Options{Width: width, All: all}); err != nil {
				t.Fatal(err)
			}
			d := decide.Diff(sample.Clean(), sample.Report())
			if err := WriteDiff(&b, &d, Options{Width: width, All: all}); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				line = strings.TrimRight(line, "\n")
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("width %d, all %v: %d columns: %s", width, all, n, line)
				}
			}
		}
	}
}

// TestCutListsAreCounted: what is not shown is counted, and All shows it.
func TestCutListsAreCounted(t *testing.T) {
	r := sample.Clean()
	for i := range 30 {
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: fmt.Sprintf("CVE-2024-%04d", i), Severity: scan.Low}, State: scan.Open})
		r.Plan = append(r.Plan, scan.Step{Do: fmt.Sprintf("step number %d", i)})
		r.Violations = append(r.Violations, scan.Violation{Rule: "rule", Object: fmt.Sprintf("object number %d", i)})
	}
	var short, long bytes.Buffer
	if err := Write(&short, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Write(&long, r, Options{All: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"and 22 more (--all)", "and 20 more (--all)", "30 vulnerabilities open", "FAILED: 30 violations"} {
		if !strings.Contains(short.String(), want) {
			t.Errorf("no %q in\n%s", want, short.String())
		}
	}
	for _, want := range []string{"CVE-2024-0029", "step number 29", "object number 29"} {
		if strings.Contains(short.String(), want) || !strings.Contains(long.String(), want) {
			t.Errorf("%q: want it with All only", want)
		}
	}
	if strings.Contains(long.String(), "--all") {
		t.Error("All still points to --all")
	}
}

// TestNoFalseComfort: without a database, or with gaps, the absence of
// findings is not called good.
func TestNoFalseComfort(t *testing.T) {
	const good = "No open vulnerabilities"
	clean, nothing, gaps := sample.Clean(), sample.Clean(), sample.Clean()
	nothing.Database = scan.Database{}
	gaps.Gaps = []scan.Gap{{Where: "layer 1", What: "truncated"}}
	for _, c := range []struct {
		r    *scan.Report
		want bool
	}{{clean, true}, {nothing, false}, {gaps, false}} {
		var b bytes.Buffer
		if err := Write(&b, c.r, Options{}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), good) != c.want {
			t.Errorf("want %q: %v\n%s", good, c.want, b.String())
		}
	}
}

// TestColourIsOnlyColour: the words are the same without it.
func TestColourIsOnlyColour(t *testing.T) {
	var plain, colour bytes.Buffer
	if err := Write(&plain, sample.Report(), Options{Width: 100}); err != nil {
		t.Fatal(err)
	}
	if err := Write(&colour, sample.Report(), Options{Width: 100, Colour: true}); err != nil {
		t.Fatal(err)
	}
	stripped := colour.String()
	for _, code := range []string{"0", "1", "2", "31", "32", "33"} {
		stripped = strings.ReplaceAll(stripped, "\x1b["+code+"m", "")
	}
	if stripped != plain.String() || stripped == colour.String() {
		t.Error("colour changes words, or there is none")
	}
}
