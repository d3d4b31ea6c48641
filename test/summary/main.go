// Command summary reads the JSON stream of `go test -json`, prints one line a
// package and the whole output of what failed, lists what was skipped and why,
// and closes with "N passed, N failed, N skipped".
//
// It runs no tests. The one idea: a package that fails to build, or that dies
// without a failed test, counts as a failure too.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type line struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
	// ImportPath is set instead of Package for build output.
	ImportPath string
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 64<<20)
	output := map[string]*strings.Builder{}
	var passed, failed, skipped int
	failedIn := map[string]int{}
	for in.Scan() {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			fmt.Println(in.Text())
			continue
		}
		key := l.Package + l.ImportPath + " " + l.Test
		switch l.Action {
		case "output", "build-output":
			b := output[key]
			if b == nil {
				b = &strings.Builder{}
				output[key] = b
			}
			b.WriteString(l.Output)
		case "pass", "fail", "skip":
			if l.Test == "" {
				if l.Action == "fail" {
					if failedIn[l.Package] == 0 {
						failed++
						fmt.Printf("--- FAIL %s\n%s", l.Package, text(output, l.Package+" "))
					}
				}
				if l.Action != "skip" {
					fmt.Printf("%-4s %-60s %6.1fs\n", l.Action, l.Package, l.Elapsed)
				}
				continue
			}
			switch l.Action {
			case "pass":
				passed++
			case "fail":
				failed++
				failedIn[l.Package]++
				fmt.Printf("--- FAIL %s %s\n%s", l.Package, l.Test, text(output, key))
			case "skip":
				skipped++
				fmt.Printf("--- SKIP %s %s\n%s", l.Package, l.Test, text(output, key))
			}
			delete(output, key)
		case "build-fail":
			failed++
			fmt.Printf("--- BUILD FAILED %s\n%s", l.ImportPath, text(output, l.ImportPath+" "))
			failedIn[l.ImportPath]++
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("read test output:", err)
		failed++
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func text(m map[string]*strings.Builder, key string) string {
	if b := m[key]; b != nil {
		return b.String()
	}
	return ""
}
