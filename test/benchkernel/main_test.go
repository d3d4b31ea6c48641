package main

import (
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

func TestReplaceKeepsOtherRuns(t *testing.T) {
	old := []guests.Row{{Name: "6.1: a", Value: 1}, {Name: "6.12: a", Value: 2}, {Name: "6.12: gone", Value: 3}}
	got := replace(old, "6.12: ", []guests.Row{{Name: "6.12: a", Value: 4}})
	if len(got) != 2 || got[0] != old[0] || got[1].Value != 4 {
		t.Errorf("%+v", got)
	}
}

func TestPage(t *testing.T) {
	text := string(page([]guests.Row{
		{Name: "6.12: exec: managed", Value: 1.0123, Unit: "ratio to no agent", Better: "lower", Target: 1.01},
		{Name: "6.12: storm", Value: 100, Unit: "%", Better: "higher", Target: 100, OK: true},
		{Name: "here: apply", Value: 3.5, Unit: "ms", Better: "lower"},
	}, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)))
	for _, want := range []string{
		"Measured on 2026-01-02.", "Not measured yet: 6.1.\n", "\n## 6.12\n", "\n## here\n",
		"| exec: managed | 1.012 ratio to no agent | at most 1.01 | missed |",
		"| storm | 100 % | at least 100 | met |", "| apply | 3.5 ms | - |  |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Not measured yet: 6.12.\n") {
		t.Error("what was measured is said not to be")
	}
}
