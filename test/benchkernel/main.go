// Command benchkernel measures what `make bench-kernel` promises of run-time
// enforcement and prints one table: the cost of starts and openings as ratios
// of instructions, in guests with distribution kernels; storms, memory and
// scale on this machine. The rows go to bench/results/kernel.json and to the
// documentation.
//
// It measures nothing by itself: inside does, through guests.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

// runs are all measurements; series is empty for this machine.
var runs = []struct {
	name, series string
	args         []string
}{
	{"6.12", "6.12", []string{"-measure", "cost,storm", "-audit"}},
	{"6.1", "6.1", []string{"-measure", "cost,storm", "-audit"}},
	{"6.12 without backend A", "6.12", []string{"-measure", "cost", "-shapes", "learn,exec", "-refusal=false"}},
	{"here", "", []string{"-measure", "storm,memory,scale"}},
}

func main() {
	out := flag.String("out", "bench/results", "folder for the rows")
	doc := flag.String("doc", "docs/reference/figures-kernel.md", "write the tables as a page of the documentation to this file; empty for none")
	only := flag.String("only", "", "measure only this: 6.12, 6.1, here, ...")
	flag.Parse()
	if err := measure(context.Background(), *out, *doc, *only); err != nil {
		fmt.Fprintln(os.Stderr, "benchkernel:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, out, doc, only string) error {
	dir, err := os.MkdirTemp("", "gabionbenchkernel")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := guests.Build(ctx, ".", dir)
	if err != nil {
		return err
	}
	file := filepath.Join(out, "kernel.json")
	all, err := read(file)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if only != "" && only != r.name {
			continue
		}
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "benchkernel: %s ...\n", r.name)
		var rows []guests.Row
		var log string
		if r.series == "" {
			rows, log, err = guests.Here(ctx, program, r.args...)
		} else {
			rows, log, err = guests.Guest(ctx, ".", dir, program, r.series, "", r.args...)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%sbenchkernel: %s: %d figures in %s\n", log, r.name, len(rows), time.Since(begun).Round(time.Second))
		for i := range rows {
			rows[i].Name = r.name + ": " + rows[i].Name
		}
		all = replace(all, r.name+": ", rows)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return err
	}
	if doc != "" {
		if err := os.WriteFile(doc, page(all, time.Now()), 0o644); err != nil {
			return err
		}
	}
	return table(all)
}

// read gives the rows of earlier runs, which stay when only some are repeated.
func read(file string) ([]guests.Row, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	var rows []guests.Row
	if err == nil {
		err = json.Unmarshal(text, &rows)
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier figures in %s (remove it to begin anew): %w", file, err)
	}
	return rows, nil
}

// replace puts rows in the place of those whose names begin with prefix.
func replace(all []guests.Row, prefix string, rows []guests.Row) []guests.Row {
	var out []guests.Row
	for _, r := range all {
		if !strings.HasPrefix(r.Name, prefix) {
			out = append(out, r)
		}
	}
	return append(out, rows...)
}

func table(rows []guests.Row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tVALUE\tTARGET\t")
	missed := 0
	for _, r := range rows {
		value, target, verdict := words(r)
		if verdict == "missed" {
			missed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, value, target, verdict)
	}
	fmt.Fprintf(w, "\n%d targets missed\n", missed)
	return w.Flush()
}

// words gives the figure, its target and whether it is met.
func words(r guests.Row) (value, target, verdict string) {
	format := "%.4g %s"
	if strings.HasPrefix(r.Unit, "ratio") {
		format = "%.3f %s"
	}
	value = strings.TrimSpace(fmt.Sprintf(format, r.Value, r.Unit))
	if r.Target == 0 {
		return value, "-", ""
	}
	sign, verdict := "at most", "missed"
	if r.Better == "higher" {
		sign = "at least"
	}
	if r.OK {
		verdict = "met"
	}
	return value, fmt.Sprintf("%s %g", sign, r.Target), verdict
}
