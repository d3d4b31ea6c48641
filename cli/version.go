package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/gabion-dev/gabion/internal/version"
)

func versionCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show version, revision and platform",
		Args:  cobra.NoArgs,
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

func manCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages into a folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return exit(ExitFailed, err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "GABION", Section: "1", Source: " ", Manual: "Gabion"}, args[0]); err != nil {
				return exit(ExitFailed, err)
			}
			pages, _ := filepath.Glob(filepath.Join(args[0], "*.1"))
			env.Err.Printf("%d manual pages written to %s; read one with: man -l %s/gabion.1\n", len(pages), args[0], args[0])
			return nil
		},
	}
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
