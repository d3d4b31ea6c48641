// Command make builds the snapshot that package embedded carries, from a
// folder of open data sets in OSV form, the catalogue of known exploited
// vulnerabilities and a table of SSVC decisions.
//
// It is not how users build databases; that is `gabion db build`. The one idea:
// sets.yaml says of every set what it is, under which licence, how old, and what
// is missing of it, and the database says so to everyone who uses it.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/gabion-dev/gabion/scan/vuln/feed"
)

//go:embed sets.yaml
var setsText []byte

func main() {
	data := flag.String("data", "", "folder of the data sets")
	out := flag.String("o", "gabion.db", "file to write")
	flag.Parse()
	if err := build(context.Background(), *data, *out); err != nil {
		fmt.Fprintln(os.Stderr, "make snapshot:", err)
		os.Exit(1)
	}
}

// set is one entry of sets.yaml.
type set struct {
	Name    string `yaml:"name"`
	File    string `yaml:"file"`
	Format  string `yaml:"format"`
	Licence string `yaml:"licence"`
	Data    string `yaml:"data"` // date, where records do not tell
	Partial string `yaml:"partial"`
}

func build(ctx context.Context, data, out string) error {
	if data == "" {
		return fmt.Errorf("-data names no folder")
	}
	var sets []set
	if err := yaml.Unmarshal(setsText, &sets); err != nil {
		return fmt.Errorf("read sets.yaml: %w", err)
	}
	var inputs []feed.Input
	for _, s := range sets {
		in := feed.Input{Name: s.Name, Path: filepath.Join(data, s.File), Format: s.Format, Licence: s.Licence, Partial: s.Partial}
		if s.Data != "" {
			var err error
			if in.Data, err = time.Parse(time.DateOnly, s.Data); err != nil {
				return fmt.Errorf("read sets.yaml: %s: %w", s.Name, err)
			}
		}
		inputs = append(inputs, in)
	}
	result, err := feed.Build(ctx, inputs, out, feed.Options{})
	if err != nil {
		return err
	}
	w := json.NewEncoder(os.Stdout)
	w.SetIndent("", "  ")
	return w.Encode(result)
}
