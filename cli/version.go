package cli

import (
	"encoding/json"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/internal/version"
)

func versionCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show version, revision and platform",
		Example: `  gabion version -o json`,
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Revision string `json:"revision"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version.Version, version.Revision(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if output == "json" {
				return printJSON(env, v)
			}
			env.Out.Printf("%s %s (revision %s, %s, %s)\n", version.Name, v.Version, v.Revision, v.Go, v.Platform)
			return nil
		},
	}
	outputFlag(cmd, &output, "text", "json")
	return cmd
}

func printJSON(env *Env, v any) error {
	enc := json.NewEncoder(env.Out.W)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return exit(ExitFailed, err)
	}
	return nil
}
