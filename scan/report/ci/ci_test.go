package ci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

// compile reads a schema. Those in testdata are our own, of the part that is
// written, and stricter than the official ones: no other fields are allowed.
// GABION_SARIF_SCHEMA may name the official schema of SARIF, too.
func compile(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := v.(map[string]any); ok {
		delete(m, "$id")
		delete(m, "id")
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://gabion.dev/test.json", v); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("https://gabion.dev/test.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func reports() []*scan.Report {
	broken := sample.Report()
	broken.Findings[0].Package = -1
	return []*scan.Report{sample.Report(), sample.Clean(), broken, {}, {Findings: []scan.Finding{{}}, Secrets: []scan.Secret{{}}, Checks: []scan.Check{{Status: "fail"}}, Gaps: []scan.Gap{{}}}}
}

func check(t *testing.T, s *jsonschema.Schema, print func(io.Writer, *scan.Report) error) {
	t.Helper()
	for i, r := range reports() {
		var b bytes.Buffer
		if err := print(&b, r); err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("report %d: %v", i, err)
		}
	}
}

func TestSARIFSchema(t *testing.T) {
	files := []string{"testdata/sarif-2.1.0-written.schema.json"}
	if f := os.Getenv("GABION_SARIF_SCHEMA"); f != "" {
		files = append(files, f)
	}
	for _, f := range files {
		for _, all := range []bool{false, true} {
			check(t, compile(t, f), func(w io.Writer, r *scan.Report) error { return SARIF(w, r, all) })
		}
	}
}

func TestGitLabSchema(t *testing.T) {
	check(t, compile(t, "testdata/gitlab-15-written.schema.json"), GitLab)
}

// TestSchemasRefuse: a schema that lets everything through proves nothing.
func TestSchemasRefuse(t *testing.T) {
	for _, f := range []string{"testdata/sarif-2.1.0-written.schema.json", "testdata/gitlab-15-written.schema.json"} {
		if compile(t, f).Validate(map[string]any{"version": "2.1.0", "runs": []any{map[string]any{}}}) == nil {
			t.Errorf("%s lets a wrong document through", f)
		}
	}
}

type sarifRead struct {
	Runs []struct {
		Tool struct {
			Driver struct{ Rules []struct{ ID string } }
		}
		Invocations []struct{ ExecutionSuccessful bool }
		Results     []struct {
			RuleID       string
			RuleIndex    int
			Level        string
			Fingerprints map[string]string `json:"partialFingerprints"`
			Suppressions []struct{ Justification string }
		}
	}
}

func readSARIF(t *testing.T, r *scan.Report, all bool) sarifRead {
	t.Helper()
	var b bytes.Buffer
	if err := SARIF(&b, r, all); err != nil {
		t.Fatal(err)
	}
	var s sarifRead
	if err := json.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSARIFResults(t *testing.T) {
	s := readSARIF(t, sample.Report(), false)
	run := s.Runs[0]
	// 6 open findings, 2 open secrets, 2 failed checks.
	if len(run.Results) != 10 || run.Invocations[0].ExecutionSuccessful {
		t.Errorf("%d results, successful %v; want 10, not successful", len(run.Results), run.Invocations[0].ExecutionSuccessful)
	}
	seen := map[string]bool{}
	for _, res := range run.Results {
		if run.Tool.Driver.Rules[res.RuleIndex].ID != res.RuleID {
			t.Errorf("%s has the rule index of %s", res.RuleID, run.Tool.Driver.Rules[res.RuleIndex].ID)
		}
		if len(res.Suppressions) > 0 {
			t.Errorf("%s is suppressed though only open results are asked for", res.RuleID)
		}
		f := res.Fingerprints["gabion/v1"]
		if f == "" || seen[f] {
			t.Errorf("%s has the fingerprint %q of another", res.RuleID, f)
		}
		seen[f] = true
	}
	suppressed := 0
	for _, res := range readSARIF(t, sample.Report(), true).Runs[0].Results {
		if len(res.Suppressions) > 0 {
			suppressed++
		}
	}
	if suppressed != 5 {
		t.Errorf("%d results are suppressed, want 5", suppressed)
	}
	if !readSARIF(t, sample.Clean(), false).Runs[0].Invocations[0].ExecutionSuccessful {
		t.Error("a complete scan is called unsuccessful")
	}
}

// TestFingerprintsSurviveUpgrades: the version is not part of what makes two
// findings the same, so that a host does not open the alert anew.
func TestFingerprintsSurviveUpgrades(t *testing.T) {
	old, r := sample.Report(), sample.Report()
	for i := range r.Packages {
		r.Packages[i].Version += ".1"
	}
	a, b := readSARIF(t, old, false).Runs[0].Results, readSARIF(t, r, false).Runs[0].Results
	for i := range a {
		if a[i].Fingerprints["gabion/v1"] != b[i].Fingerprints["gabion/v1"] {
			t.Errorf("%s has another fingerprint after an upgrade", a[i].RuleID)
		}
	}
}

func TestGitLabIncomplete(t *testing.T) {
	for status, r := range map[string]*scan.Report{"failure": sample.Report(), "success": sample.Clean()} {
		var b bytes.Buffer
		if err := GitLab(&b, r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), fmt.Sprintf(`"status": %q`, status)) {
			t.Errorf("want the status %s", status)
		}
	}
}

func TestGitHub(t *testing.T) {
	r := sample.Clean()
	for i := range 25 {
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: fmt.Sprintf("CVE-2024-%04d", i), Severity: scan.Medium}, State: scan.Open})
	}
	var b bytes.Buffer
	if err := GitHub(&b, r); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "::warning "); n != 10 || !strings.Contains(b.String(), "15 more annotations") {
		t.Errorf("%d warnings:\n%s", n, b.String())
	}
	for in, want := range map[string]string{
		"a%b": "a%25b", "::error::x": ": :error::x", "a\nb\r": "a\ufffdb\ufffd", "Foo::Bar": "Foo::Bar",
	} {
		if got := data(in); got != want {
			t.Errorf("data(%q) = %q, want %q", in, got, want)
		}
	}
	if got := property("a:b,c%"); got != "a%3Ab%2Cc%25" {
		t.Errorf("property: %q", got)
	}
}

func TestURI(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/lib/x": "usr/lib/x", "": "image", "//x": "x", "a b?c#d": "a%20b%3Fc%23d", "/app.jar!/a": "app.jar%21/a", "env TOKEN": "env%20TOKEN",
	} {
		if got := uri(in); strings.ReplaceAll(got, "%21", "!") != strings.ReplaceAll(want, "%21", "!") {
			t.Errorf("uri(%q) = %q, want %q", in, got, want)
		}
	}
	if got := uri("javascript:x"); strings.Contains(got, ":") && !strings.HasPrefix(got, "./") {
		t.Errorf("%q could be taken for an address with a scheme", got)
	}
}
