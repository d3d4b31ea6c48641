package ci

import (
	"cmp"
	"encoding/xml"
	"io"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/view"
)

type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit prints two suites: the policy, in which every violation is a failed
// test, and the scan itself, in which every gap is a test that ended in an
// error. A suite in which nothing is wrong has one test that passed.
func JUnit(w io.Writer, r *scan.Report) error {
	image := clean(cmp.Or(r.Image.Name, "image"))
	policy, whole := junitSuite{Name: "policy of " + image}, junitSuite{Name: "completeness of " + image}
	for _, v := range r.Violations {
		policy.Cases = append(policy.Cases, junitCase{Class: clean(v.Rule), Name: clean(v.Object),
			Failure: &junitMessage{Message: clean(v.Object), Type: clean(v.Rule), Text: clean(v.Rule + ": " + v.Object)}})
	}
	policy.Failures = len(policy.Cases)
	if policy.Failures == 0 {
		policy.Cases = []junitCase{{Class: image, Name: "no rule is violated"}}
	}
	for i := range r.Gaps {
		g := &r.Gaps[i]
		c := junitCase{Class: image, Name: clean(g.Where)}
		if g.Minor {
			c.Out = clean(gapText(g))
		} else {
			c.Error = &junitMessage{Message: "INCOMPLETE: " + clean(g.What), Type: "incomplete", Text: clean(gapText(g))}
			whole.Errors++
		}
		whole.Cases = append(whole.Cases, c)
	}
	if len(whole.Cases) == 0 {
		whole.Cases = []junitCase{{Class: image, Name: "everything could be examined"}}
	}
	policy.Tests, whole.Tests = len(policy.Cases), len(whole.Cases)
	all := junitSuites{Name: "gabion scan: " + view.Result(r), Tests: policy.Tests + whole.Tests, Failures: policy.Failures, Errors: whole.Errors,
		Suites: []junitSuite{policy, whole}}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
