package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

// page is the documentation's page of the figures.
func page(rows []guests.Row, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<!-- Made by `+"`make bench-kernel`"+`; do not edit. -->
# Figures of run-time enforcement

Measured on %s. Under 6.1 and 6.12, Debian's cloud kernels in an emulated machine whose clock counts instructions, a
ratio compares the instructions that the same work takes with and without Gabion: the same loads in the same
container, before the agent came and after it went. The row "noise" says how far these two are apart; a difference
smaller than that means nothing. The program that is started is the smallest there can be, the files are in the
caches, and nothing is done with them: no real program pays a larger share. "here" is the machine that made the page.

"For comparison" is the kernel's own audit system with the two rules that log starts and openings, and a reader that
throws the records away: the least that an auditing daemon costs.
`, now.UTC().Format("2006-01-02"))
	for _, run := range runs {
		if !slices.ContainsFunc(rows, func(r guests.Row) bool { return strings.HasPrefix(r.Name, run.name+": ") }) {
			fmt.Fprintf(&b, "\nNot measured yet: %s.\n", run.name)
		}
	}
	section := ""
	for _, r := range rows {
		where, name, _ := strings.Cut(r.Name, ": ")
		if where != section {
			section = where
			fmt.Fprintf(&b, "\n## %s\n\n| figure | value | target | |\n|---|---|---|---|\n", where)
		}
		value, target, verdict := words(r)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, value, target, verdict)
	}
	return b.Bytes()
}
