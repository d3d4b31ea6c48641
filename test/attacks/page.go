package attacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tally counts verdicts of a backend.
func tally(cases []Case, b Backend) map[Verdict]int {
	n := map[Verdict]int{}
	for _, c := range cases {
		less, _ := c.Expected(b)
		n[less.Verdict]++
	}
	return n
}

// possible is how many of a tally anybody could do on that kernel.
func possible(n map[Verdict]int) int {
	sum := 0
	for v, k := range n {
		if v != Absent {
			sum += k
		}
	}
	return sum
}

// Page is docs/reference/evasion.md.
func Page(cases []Case) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<!-- Made by "go test ./test/attacks -run TestPage -args -update"; do not edit. -->
# Evasion

%d ways to get round a policy, tried for real in a container with an intruder inside, each beside a harmless twin that the same policy must let pass.
What counts is the effect: a program said its word, a byte came back. It must happen without a policy, happen for the twin, and not happen under the policy; then the engine must have counted exactly that, or the test fails. No twin may be blocked.
This page is what those runs are held to: a run that ends otherwise fails, better or worse (`+"`test/attacks`"+`, in `+"`make test`"+` and, under Debian's kernels, `+"`make test-kernel`"+`).

- **B+C**: a kernel that can refuse no call (6.18 here). Forbidden programs are killed at exec, written files are held by fanotify.
- **A 6.1**, **A 6.12**: Debian's kernels, where the call itself fails; the same with and without `+"`bpf`"+` among the security modules.

| | %s |
|---|%s
`, len(cases), joined(" | ", func(x Backend) string { return string(x) }), strings.Repeat("---|", len(Backends())))
	for _, v := range []Verdict{Prevented, Late, Detected, Passed, Absent} {
		fmt.Fprintf(&b, "| %s | %s |\n", v, joined(" | ", func(x Backend) string { return fmt.Sprint(tally(cases, x)[v]) }))
	}
	fmt.Fprintf(&b, "| share prevented of what is possible | %s |\n", joined(" | ", func(x Backend) string {
		n := tally(cases, x)
		return fmt.Sprintf("%.1f%%", 100*float64(n[Prevented])/float64(possible(n)))
	}))
	var threats, notes []string
	for _, c := range cases {
		if !slices.Contains(threats, c.Threat) {
			threats = append(threats, c.Threat)
		}
	}
	for _, threat := range threats {
		fmt.Fprintf(&b, "\n## %s\n\n| attack | technique | policy | %s |\n|---|---|---|%s\n", strings.ToUpper(threat[:1])+threat[1:],
			joined(" | ", func(x Backend) string { return string(x) }), strings.Repeat("---|", len(Backends())))
		for _, c := range cases {
			if c.Threat != threat {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", c.Name, c.Technique, c.Policy, joined(" | ", func(x Backend) string {
				less, _ := c.Expected(x)
				if less.Why == "" {
					return string(less.Verdict)
				}
				i := slices.Index(notes, less.Why)
				if i < 0 {
					i, notes = len(notes), append(notes, less.Why)
				}
				return fmt.Sprintf("%s (%d)", less.Verdict, i+1)
			}))
		}
	}
	b.WriteString("\n## Why not\n\n")
	for i, n := range notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, n)
	}
	b.WriteString("\n## Under siege\n\nThe same attack in bad times, with every backend: nothing passed, and every attempt was counted.\n\n| siege | what |\n|---|---|\n")
	for _, s := range Sieges() {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Name, s.What)
	}
	b.WriteString("\n## The policies\n")
	policies := Policies()
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		fmt.Fprintf(&b, "\n```yaml\n%s```\n", policies[name])
	}
	return b.Bytes()
}

func joined(by string, cell func(Backend) string) string {
	var cells []string
	for _, b := range Backends() {
		cells = append(cells, cell(b))
	}
	return strings.Join(cells, by)
}

// figure is a row of bench/results, as docs/reference/figures.md has them.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target,omitempty"`
	OK     bool    `json:"ok"`
}

// Figures are bench/results/evasion.json.
func Figures(cases []Case) ([]byte, error) {
	rows := []figure{
		{"evasion, cases", float64(len(cases)), "cases", "higher", 100, len(cases) >= 100},
		{"evasion, harmless twins blocked", 0, "twins", "lower", 0, true},
	}
	for _, b := range Backends() {
		n := tally(cases, b)
		row := figure{Name: fmt.Sprintf("evasion, prevented by %s", b), Value: float64(n[Prevented]) / float64(possible(n)), Unit: "of the possible", Better: "higher", OK: true}
		if b != Kill {
			row.Target, row.OK = 0.95, row.Value >= 0.95
		}
		rows = append(rows, row)
	}
	out, err := json.MarshalIndent(rows, "", "  ")
	return append(out, '\n'), err
}
