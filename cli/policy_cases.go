package cli

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/policy"
	"github.com/spf13/cobra"
)

// maxCaseFile bounds a file of recorded events, in bytes.
const maxCaseFile = 64 << 20

func casesCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Check that policies decide what their tests want",
		Long: `Runs every PolicyTest in the files against the policies and exceptions in the same
files, with the evaluator that also enforces them; no gabion need run. Exit code 1
when a case is not decided as wanted, a document is refused, or there is no test.`,
		Example: `  gabion policy test policies/
  gabion policy test policies/ --output junit > policy-tests.xml`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, problems, err := loadFiles(env.In, args)
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				return refuse(env, problems)
			}
			results := policy.RunTests(set, time.Now(), readBeside)
			if len(results) == 0 {
				return exit(ExitFailed, fmt.Errorf("test policies: no PolicyTest in %d documents: write one beside the policy", len(set.Documents())))
			}
			failed := 0
			for _, r := range results {
				if !r.Pass {
					failed++
				}
			}
			switch output {
			case "json":
				err = printJSON(env, results)
			case "junit":
				var raw []byte
				if raw, err = junit(results); err == nil {
					env.Out.Printf("%s", raw)
				}
			default:
				printCases(env, results)
				env.Err.Printf("%s, %d not decided as wanted\n", counted(len(results), "case", "cases"), failed)
			}
			if err == nil && failed > 0 {
				err = exit(ExitFailed, nil)
			}
			return err
		},
	}
	outputFlag(cmd, &output, "table", "json", "junit")
	return cmd
}

// readBeside reads a file named relative to a test's file.
func readBeside(test, file string) ([]byte, error) {
	f, err := os.Open(filepath.Join(filepath.Dir(test), filepath.FromSlash(file)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxCaseFile+1))
	if err == nil && len(raw) > maxCaseFile {
		err = fmt.Errorf("read %s: it has more than %d bytes: split it", file, maxCaseFile)
	}
	return raw, err
}

func printCases(env *Env, results []policy.CaseResult) {
	p := env.Out
	test := ""
	for _, r := range results {
		if r.Test != test {
			test = r.Test
			p.Printf("%s\n", p.Paint(term.Strong, term.Clean(test)))
		}
		if r.Pass {
			p.Printf("  %s    %s\n", p.Paint(term.Good, "ok"), term.Clean(r.Name))
			continue
		}
		p.Printf("  %s  %s\n        %s:%d: %s\n", p.Paint(term.Bad, "FAIL"), term.Clean(r.Name), term.Clean(r.File), r.Line, term.Clean(r.Why))
	}
}

type (
	casesSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []casesSuite `xml:"testsuite"`
	}
	casesSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []casesCase `xml:"testcase"`
	}
	casesCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *casesFailure `xml:"failure"`
	}
	casesFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit writes the results as JUnit XML: a suite for each PolicyTest.
func junit(results []policy.CaseResult) ([]byte, error) {
	var all casesSuites
	for _, r := range results {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != r.Test {
			all.Suites = append(all.Suites, casesSuite{Name: r.Test})
		}
		suite := &all.Suites[len(all.Suites)-1]
		one := casesCase{Name: r.Name, Class: r.Test, File: r.File, Line: r.Line}
		suite.Tests++
		all.Tests++
		if !r.Pass {
			one.Failure = &casesFailure{Message: r.Why, Text: fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Why)}
			suite.Failures++
			all.Failures++
		}
		suite.Cases = append(suite.Cases, one)
	}
	raw, err := xml.MarshalIndent(&all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(raw, '\n')...), nil
}
