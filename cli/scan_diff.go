package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/report"
)

func scanDiffCommand(env *Env) *cobra.Command {
	o := scanning.Options{Tool: version.Name + " " + version.Version}
	var output string
	var failOnNew bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show what changed from one image to another",
		Long: `Compares packages, findings, secrets and configuration of two images, or of
reports that were written with -o json. Exit code 2 with --fail-on-new when the
new one has findings that the old one has not.`,
		Example: `  gabion scan diff shop/web:1 shop/web:2
  gabion scan diff last-release.json . --fail-on-new`,
		Args: arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Environment(os.Getenv)
			s, err := scanning.Setup(o)
			if err != nil {
				return exit(ScanFailed, err)
			}
			defer s.Close()
			var reports [2]*scan.Report
			for i, ref := range args {
				if reports[i], err = reportFile(ref); err != nil {
					return exit(ScanFailed, err)
				}
				if reports[i] != nil {
					continue
				}
				reports[i], err = engine.Scan(cmd.Context(), ref, s.Engine)
				if err = interrupted(cmd.Context(), err); err != nil {
					return exit(ScanFailed, err)
				}
			}
			d := decide.Diff(reports[0], reports[1])
			if err := report.WriteDiff(env.Out.W, output, d, report.Options{Colour: env.Out.Colour, Width: env.Out.Width}); err != nil {
				return exit(ScanFailed, err)
			}
			switch n := len(d.Findings.New); {
			case failOnNew && n > 0:
				return exit(ScanViolated, fmt.Errorf("%d new %s", n, plural(n, "finding", "findings")))
			case d.Old.Incomplete || d.New.Incomplete:
				return exit(ScanIncomplete, fmt.Errorf("one of the two could not be examined completely: what is missing may have been unseen"))
			}
			return nil
		},
	}
	cmd.Flags().SortFlags = false
	outputFlag(cmd, &output, "table", "markdown", "json")
	cmd.Flags().BoolVar(&failOnNew, "fail-on-new", false, "exit with 2 when there are new findings")
	o.Flags(cmd.Flags())
	completeScan(cmd)
	return cmd
}

// maxReport bounds a report that is read back.
const maxReport = 1 << 30

// reportFile reads a report that -o json wrote; nil: the file is none.
func reportFile(name string) (*scan.Report, error) {
	fi, err := os.Stat(name)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxReport {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 1)
	if n, _ := f.Read(head); n == 0 || head[0] != '{' {
		return nil, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var r scan.Report
	if err := json.Unmarshal(data, &r); err != nil || r.Schema != scan.ReportSchema {
		return nil, nil
	}
	return &r, nil
}
