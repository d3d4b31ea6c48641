package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/scan/vuln/feed"
)

// completeScan teaches shells the words of the flags that every command has
// that scans.
func completeScan(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("skip", completeList(scanning.Skippable))
	_ = cmd.RegisterFlagCompletionFunc("fail-on", completeList(scanning.FailOnWords))
	_ = cmd.RegisterFlagCompletionFunc("platform", cobra.FixedCompletions([]string{"linux/amd64", "linux/arm64"}, cobra.ShellCompDirectiveNoFileComp))
}

// completeOutputs completes FORMAT, and after "FORMAT=" files.
func completeOutputs(cmd *cobra.Command, formats []string) {
	_ = cmd.RegisterFlagCompletionFunc("output", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(typed, "=") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return formats, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
}

// completeList completes the last word of a list with commas.
func completeList(words func() []string) completer {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		var out []string
		for _, w := range words() {
			if !contains(strings.Split(before, ","), w) {
				out = append(out, before+w)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// dataSets are the names of the public data sets.
func dataSets() []string {
	public, err := feed.Public()
	if err != nil {
		return nil
	}
	var out []string
	for _, in := range public {
		out = append(out, in.Name)
	}
	return slices.Compact(out)
}
