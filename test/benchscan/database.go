package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// database measures the advisory database: the rooms' own benchmarks for what
// happens within a process, and a build from the data at hand.
func database(o options) ([]Row, error) {
	var rows []Row
	info, err := os.Stat(o.gabion)
	if err != nil {
		return nil, err
	}
	rows = append(rows, lower("size of the binary, embedded database included", float64(info.Size())/(1<<20), "MiB", 0))
	if o.data != "" {
		built, err := build(o)
		if err != nil {
			return nil, err
		}
		rows = append(rows, built...)
	}
	text, err := bench("./scan/vuln", "^(BenchmarkOpenFile|BenchmarkMatch)$", "1s")
	if err != nil {
		return nil, err
	}
	open, err := figure(text, `BenchmarkOpenFile\S*`, "ns/op")
	if err != nil {
		return nil, err
	}
	rows = append(rows, lower("database, open", open/1e6, "ms", 5))
	for _, m := range []struct{ sub, name string }{
		{"misses", "database, matching packages without advisories"},
		{"mixed", "database, matching packages, a third of them with advisories"},
	} {
		v, err := figure(text, "BenchmarkMatch/"+m.sub+`\S*`, "packages/s")
		if err != nil {
			return nil, err
		}
		rows = append(rows, higher(m.name, v, "packages/s/core", 1e6))
	}
	if text, err = bench("./scan/registry", "^BenchmarkRematchEngine10000$", "1x"); err != nil {
		return nil, err
	}
	v, err := figure(text, "BenchmarkRematchEngine10000"+`\S*`, "images/s")
	if err != nil {
		return nil, err
	}
	rows = append(rows,
		higher("10,000 stored inventories of 400 packages against a new database", v, "images/s/core", 1000),
		lower("one stored inventory against a new database", 1000/v, "ms", 50))
	return rows, nil
}

// build makes a database of everything in the data folder that is one.
func build(o options) ([]Row, error) {
	var files []string
	for _, pattern := range []string{"*.ndjson.zst", "known_exploited*.json", "ssvc.tsv.zst"} {
		found, err := filepath.Glob(filepath.Join(o.data, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no advisory data", o.data)
	}
	file := filepath.Join(o.work, "advisories.gdb")
	args := append([]string{filepath.Join(o.work, "log"), o.gabion, "db", "build", "--no-prose", "--file", file}, files...)
	var best cost
	for range o.runs {
		text, err := exec.Command(filepath.Join(o.helpers, "meter"), args...).Output()
		if err != nil {
			return nil, fmt.Errorf("build database: %w", err)
		}
		var c cost
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, err
		}
		if c.Exit != 0 {
			said, _ := os.ReadFile(filepath.Join(o.work, "log"))
			return nil, fmt.Errorf("build database: %s", last(string(said), 5))
		}
		if best.CPU == 0 || c.CPU < best.CPU {
			best = c
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	return []Row{
		lower("database, build from the data at hand, processor time", best.CPU, "s", 0),
		lower("database, build from the data at hand, time", best.Wall, "s", 0),
		lower("database, build from the data at hand, peak memory", best.RSS, "MiB", 0),
		lower("database, size without prose", float64(info.Size())/(1<<20), "MiB", 0),
	}, nil
}

// bench runs Go benchmarks on one processor.
func bench(pkg, pattern, time string) (string, error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", time, "-cpu", "1", "-timeout", "10m", pkg)
	text, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("measure %s: %w\n%s", pkg, err, text)
	}
	return string(text), nil
}

// figure finds the value with a unit in the line of one benchmark.
func figure(text, name, unit string) (float64, error) {
	m := regexp.MustCompile(`(?m)^` + name + `\s.*?([0-9.e+]+) ` + regexp.QuoteMeta(unit)).FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("no %s of %s in:\n%s", unit, name, text)
	}
	return strconv.ParseFloat(m[1], 64)
}
