// Command refdoc writes the reference of detections: the language from the
// engine's own table, and a section for each detection from its folder.
//
//	go run ./internal/refdoc ../../docs/reference/detections.md
//
// It knows nothing itself, so that the page cannot say what the program does
// not.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard/detect"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: refdoc OUTPUT")
		os.Exit(2)
	}
	page, err := generate()
	if err == nil {
		err = os.WriteFile(os.Args[1], page, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "refdoc:", err)
		os.Exit(1)
	}
}

func generate() ([]byte, error) {
	list, err := content.Detections()
	if err != nil {
		return nil, err
	}
	groups, err := content.DetectionGroups()
	if err != nil {
		return nil, err
	}
	library, err := content.Load()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n## The language\n\n| word | type | what it is |\n|---|---|---|\n")
	for _, v := range detect.Variables() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, v.Type, v.Text)
	}
	b.WriteString(language)
	kinds := make([]string, 0, len(detect.Kinds()))
	for _, k := range detect.Kinds() {
		kinds = append(kinds, "`"+string(k)+"`")
	}
	fmt.Fprintf(&b, "\nKinds for `on`: %s. `file.access`, `capability.use` and `hardening` come from kernels and policies that watch those; see [kernels.md](kernels.md).\n", strings.Join(kinds, ", "))
	b.WriteString("\nGroups for `programs` and `parents`, besides the [classes of policies](policy.md):\n\n")
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&b, "- `%s`: %s\n", name, strings.Join(groups[name], ", "))
	}
	fmt.Fprintf(&b, "\n## The %d detections\n\n| detection | severity | ATT&CK | what |\n|---|---|---|---|\n", len(list))
	slices.SortStableFunc(list, func(x, y content.Detection) int {
		return event.Severity(y.Severity).Rank() - event.Severity(x.Severity).Rank()
	})
	for _, d := range list {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", d.Name, d.Name, d.Severity, strings.Join(d.Techniques, " "), d.Title)
	}
	for _, d := range list {
		fmt.Fprintf(&b, "\n### %s\n\n%s. Severity %s.\n\n%s\n\n", d.Name, d.Title, d.Severity, d.What)
		for _, t := range d.Techniques {
			fmt.Fprintf(&b, "- %s %s\n", t, library.TechniqueName(t))
		}
		fmt.Fprintf(&b, "\nWhat else looks like it: %s\n\nWhat to do: %s\n\n```\n%s\n```\n", d.FalsePositives, d.Remedy, strings.Join(detect.Rule(d), "\n"))
	}
	return []byte(b.String()), nil
}

const head = `# Detections

Written from content/detections by ` + "`make generate`" + `; do not edit.

A detection describes behaviour that is worth telling of, whatever policy says. All of these are looked for from the
first start of ` + "`gabion up`" + `, without policy and without learning, and nothing is blocked by them: what was found becomes an
event of kind ` + "`detection`" + ` with severity, evidence and ATT&CK ids, to which a ResponsePolicy can answer. Why there are
detections beside policy, and what they cannot see: [detections](../explanation/detections.md).

## Detections of your own

A folder per detection, given by ` + "`gabion up --detections DIR`" + ` and checked by ` + "`gabion detections test DIR`" + `:

` + "```yaml" + `
# DIR/report-tool-connects/detection.yaml
name: report-tool-connects        # that of the folder
title: Report tool connects out
severity: high                    # low, medium, high, critical
techniques: [T1071]
what: The report tool never needs a network.
falsePositives: None.
remedy: Look at what it was given.
within: 60s                       # with several steps, or a burst
by: process                       # container (default), or the same process and its descendants
steps:                            # all must happen, in this order (anyOrder: true: in any)
  - on: [process.exec]
    programs: [report]            # classes, groups or base names; a version behind a name does not matter
    when: '"--all" in args'       # CEL; true or false
  - on: [network.connect]
    when: reach == "public"
` + "```" + `

Instead of several steps, ` + "`burst: {count: 20, distinct: peer}`" + ` wants the one step that often within the time, each
time with another value of the expression. positive.jsonl and negative.jsonl beside it hold one case a line:

` + "```json" + `
{"name": "all", "happenings": [{"kind": "process.exec", "pid": 7, "exe": "/opt/report", "args": ["report", "--all"]}, {"at": 2, "kind": "network.connect", "pid": 7, "exe": "/opt/report", "peer": "203.0.113.9", "port": 443, "protocol": "tcp"}]}
` + "```" + `

` + "`gabion events -o json | gabion detections replay --record NAME -`" + ` makes cases of what happened. A folder with the name
of one of ours takes its place; ` + "`disabled: true`" + ` in it turns ours off. A folder with a fault is refused as a whole, with
file and line.
`

const language = `
Besides CEL itself, ` + "`text.hasAny([\"a\", \"b\"])`" + ` is true when the text contains one of them, and ` + "`list.hasAny([...])`" + ` when a
list has one of them. Expressions are bounded by CEL's own estimate of their worst cost.
`
