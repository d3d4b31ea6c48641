// Command benchscan measures Gabion's scanner beside others, on one image, in
// one run: what a scan costs, which packages are found, and why two tools
// differ; then the advisory database by itself.
//
// It judges nobody's findings, only inventories: the others have no advisory
// database without a network. The one idea: tools take turns, every figure is
// of the same run, and for every package that one tool lists and Gabion does
// not, or the other way round, there is a reason in the table.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// Row is one figure, as `make bench` writes them.
type Row struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

// lower is a figure that should be small; target 0 means that there is none.
func lower(name string, value float64, unit string, target float64) Row {
	return Row{name, value, unit, "lower", target, target > 0 && value <= target}
}

func higher(name string, value float64, unit string, target float64) Row {
	return Row{name, value, unit, "higher", target, target > 0 && value >= target}
}

// options are the places that measuring needs.
type options struct {
	images  string // holds image.tar and changed.tar
	gabion  string
	rivals  string // holds their programs; those that are missing are left out
	data    string // advisory data for building a database; "": not built
	work    string
	runs    int
	out     string
	doc     string
	skipDB  bool
	helpers string // holds meter and floor
}

func main() {
	var o options
	flag.StringVar(&o.images, "images", "", "folder that image.sh made")
	flag.StringVar(&o.gabion, "gabion", "bin/gabion", "the binary to measure")
	flag.StringVar(&o.rivals, "rivals", "", "folder that rivals.sh made")
	flag.StringVar(&o.helpers, "helpers", "", "folder of the built programs meter and floor")
	flag.StringVar(&o.data, "data", "", "folder of advisory data to build a database from")
	flag.IntVar(&o.runs, "runs", 3, "how often everything is measured")
	flag.StringVar(&o.out, "out", "bench/results/scan.json", "file for the figures")
	flag.StringVar(&o.doc, "doc", "", "write the tables as a page of the documentation to this file")
	flag.BoolVar(&o.skipDB, "skip-database", false, "leave the figures of the database out")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "benchscan:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	for _, p := range []*string{&o.images, &o.gabion, &o.rivals, &o.helpers} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	var err error
	if o.work, err = os.MkdirTemp("", "benchscan"); err != nil {
		return err
	}
	defer os.RemoveAll(o.work)
	cases, err := all(o)
	if err != nil {
		return err
	}
	if err := measure(o, cases); err != nil {
		return err
	}
	lists, err := inventories(cases)
	if err != nil {
		return err
	}
	owned, err := ownedFiles(filepath.Join(o.images, "base"))
	if err != nil {
		return err
	}
	r := results{cases: cases, lists: lists, differences: explain(lists, owned), runs: o.runs}
	info, err := os.Stat(filepath.Join(o.images, "image.tar"))
	if err != nil {
		return err
	}
	r.size = info.Size()
	r.rows = costs(cases)
	if !o.skipDB {
		rows, err := database(o)
		if err != nil {
			return err
		}
		r.rows = append(r.rows, rows...)
	}
	data, err := json.MarshalIndent(r.rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.out, append(data, '\n'), 0o644); err != nil {
		return err
	}
	text := r.page()
	fmt.Print(text)
	if o.doc == "" {
		return nil
	}
	return os.WriteFile(o.doc, []byte(text), 0o644)
}
