package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

var update = flag.Bool("update", false, "write the golden files anew")

const sampleTemplate = `{{result}}{{if incomplete}} (INCOMPLETE: {{len .Gaps}}){{end}}
{{range open .Findings}}{{with package .}}{{csv .Name}}{{end}},{{csv .ID}},{{.Severity}}{{if atLeast "high" .Severity}} !{{end}}
{{end}}{{range .Secrets}}{{markdown (text .Where)}} | {{html .Where}} | {{json .Where}} | {{cut 10 .Where}} | {{layer .Layer}}
{{end}}{{upper "a"}}{{lower "B"}} {{join "+" .Image.Tags}} {{date .Database.Data}} {{totals.Open}} {{text .Image.Name}}
`

func render(t testing.TB, format string, r *scan.Report, o Options) []byte {
	t.Helper()
	o.Template = sampleTemplate
	var b bytes.Buffer
	if err := Write(&b, format, r, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGolden holds every format to what a person has looked at.
func TestGolden(t *testing.T) {
	type variant struct {
		name string
		r    *scan.Report
		o    Options
	}
	for _, f := range Formats() {
		variants := []variant{{f.Name, sample.Report(), Options{}}}
		if f.Name == "table" {
			variants = []variant{
				{"table", sample.Report(), Options{Now: sample.Now()}},
				{"table-80", sample.Report(), Options{Width: 80, Now: sample.Now()}},
				{"table-120-colour", sample.Report(), Options{Width: 120, Colour: true, Now: sample.Now().AddDate(0, 1, 0)}},
				{"table-all", sample.Report(), Options{Width: 120, All: true}},
				{"table-clean", sample.Clean(), Options{Width: 100}},
			}
		}
		if f.Name == "sarif" || f.Name == "markdown" {
			variants = append(variants, variant{f.Name + "-all", sample.Report(), Options{All: true}})
		}
		for _, v := range variants {
			t.Run(v.name, func(t *testing.T) {
				got := render(t, f.Name, v.r, v.o)
				file := filepath.Join("testdata", v.name+f.Extension)
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), string(got)); d != "" {
					t.Errorf("%s differs (-golden +got); go test -update writes it anew:\n%s", file, d)
				}
			})
		}
	}
}

// TestIncomplete: a report with gaps says so in every format, one without
// never does.
func TestIncomplete(t *testing.T) {
	for _, f := range Formats() {
		with, without := render(t, f.Name, sample.Report(), Options{}), render(t, f.Name, sample.Clean(), Options{})
		if !strings.Contains(strings.ToUpper(string(with)), "INCOMPLETE") {
			t.Errorf("%s does not say that the report is incomplete", f.Name)
		}
		// The JSON formats carry the word as the name of a field.
		without = bytes.ReplaceAll(without, []byte(`"incomplete": false`), nil)
		without = bytes.ReplaceAll(without, []byte(`"incomplete":false`), nil)
		if strings.Contains(strings.ToUpper(string(without)), "INCOMPLETE") {
			t.Errorf("%s says that a complete report is incomplete", f.Name)
		}
	}
}

// TestMinorGap: what is minor is told but does not make a report incomplete.
func TestMinorGap(t *testing.T) {
	r := sample.Clean()
	r.Gaps = []scan.Gap{{Where: "somewhere", What: "something small", Minor: true}}
	for _, f := range []string{"table", "markdown", "html", "junit", "gitlab", "sarif"} {
		out := string(render(t, f, r, Options{}))
		if !strings.Contains(out, "something small") || strings.Contains(out, "INCOMPLETE") {
			t.Errorf("%s tells a minor gap wrongly", f)
		}
	}
}

// TestNothingEscapes: no control character, direction mark or line break of an
// image's text reaches an output in which it would do something.
func TestNothingEscapes(t *testing.T) {
	for _, f := range Formats() {
		out := string(render(t, f.Name, sample.Report(), Options{All: true}))
		// JSON is for files, not for screens and logs; the template has some.
		file := strings.HasSuffix(f.Name, "json") || f.Name == "cyclonedx" || f.Name == "openvex" || strings.HasPrefix(f.Name, "spdx") || f.Name == "template"
		for _, c := range out {
			if (unicode.IsControl(c) && c != '\n' && c != '\t') || c == '\u2028' {
				t.Errorf("%s lets %U through", f.Name, c)
			}
			if unicode.Is(unicode.Bidi_Control, c) && !file {
				t.Errorf("%s lets the direction mark %U through", f.Name, c)
			}
		}
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if f.Name == "github" && (strings.HasPrefix(line, "::error title=") || strings.HasPrefix(line, "::warning title=")) {
				line = line[2:]
			}
			if strings.HasPrefix(line, "::") || (strings.Contains(line, "##[") && !file) {
				t.Errorf("%s: a build system would take this for a command: %.100q", f.Name, line)
			}
		}
	}
}

// TestSecretsStayMasked: the environment appears in no format for people or
// hosts; the JSON formats are the whole report and have it.
func TestSecretsStayMasked(t *testing.T) {
	for _, f := range Formats() {
		if f.Name == "json" || f.Name == "ndjson" {
			continue
		}
		if bytes.Contains(render(t, f.Name, sample.Report(), Options{All: true}), []byte("not-to-be-printed")) {
			t.Errorf("%s prints the environment", f.Name)
		}
	}
}

func TestDeterministic(t *testing.T) {
	for _, f := range Formats() {
		if !bytes.Equal(render(t, f.Name, sample.Report(), Options{}), render(t, f.Name, sample.Report(), Options{})) {
			t.Errorf("%s: equal reports give different bytes", f.Name)
		}
	}
}

// TestEmpty: the zero report can be printed in every format and is no success
// story: nothing was matched against.
func TestEmpty(t *testing.T) {
	for _, f := range Formats() {
		if out := render(t, f.Name, &scan.Report{}, Options{}); len(out) == 0 {
			t.Errorf("%s prints nothing", f.Name)
		}
	}
	for _, f := range []string{"table", "markdown", "html"} {
		if out := string(render(t, f, &scan.Report{}, Options{})); !strings.Contains(strings.ToLower(out), "no advisory database was used") {
			t.Errorf("%s does not say that no database was used:\n%s", f, out)
		}
	}
}

// TestIndexOutOfRange: a report of another program may be broken.
func TestIndexOutOfRange(t *testing.T) {
	r := sample.Report()
	r.Findings[0].Package, r.Findings[1].Package = -1, 1000
	r.Secrets[0].Layer, r.Packages[0].Layer = 77, -9
	r.Licenses[0].Packages = []int{-1, 500}
	for _, f := range Formats() {
		render(t, f.Name, r, Options{All: true})
	}
}

// TestJSONReadsBack: the JSON is the report.
func TestJSONReadsBack(t *testing.T) {
	var got scan.Report
	if err := json.Unmarshal(render(t, "json", sample.Report(), Options{}), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample.Report(), &got); d != "" {
		t.Errorf("(-printed +read):\n%s", d)
	}
	var lists map[string]json.RawMessage
	if err := json.Unmarshal(render(t, "json", &scan.Report{}, Options{}), &lists); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"packages", "findings", "secrets", "checks", "violations", "gaps"} {
		if string(lists[name]) != "[]" {
			t.Errorf("%s of an empty report is %s, want []", name, lists[name])
		}
	}
}

func TestNDJSON(t *testing.T) {
	r := sample.Report()
	counts, last := map[string]int{}, map[string]any{}
	d := json.NewDecoder(bytes.NewReader(render(t, "ndjson", r, Options{})))
	n := 0
	for {
		var l map[string]any
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		kind, _ := l["type"].(string)
		if l[kind] == nil {
			t.Errorf("a line of type %q has no field of that name", kind)
		}
		counts[kind]++
		n++
		last = l
	}
	end, _ := last["end"].(map[string]any)
	if end["lines"] != float64(n-2) || counts["finding"] != len(r.Findings) || counts["package"] != len(r.Packages) || counts["report"] != 1 {
		t.Errorf("%d lines, %v, end %v", n, counts, end)
	}
}

func TestJUnitParses(t *testing.T) {
	var s struct {
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suites   []struct {
			Cases []struct {
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(render(t, "junit", sample.Report(), Options{}), &s); err != nil {
		t.Fatal(err)
	}
	failures, errs := 0, 0
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			if c.Failure != nil {
				failures++
			}
			if c.Error != nil {
				errs++
			}
		}
	}
	if r := sample.Report(); failures != len(r.Violations) || errs != 2 || s.Failures != failures || s.Errors != errs {
		t.Errorf("%d failures and %d errors in the cases, %d and %d in the head", failures, errs, s.Failures, s.Errors)
	}
}

// TestHTMLIsInert: no script, nothing loaded, and the hostile text is text.
func TestHTMLIsInert(t *testing.T) {
	out := strings.ToLower(string(render(t, "html", sample.Report(), Options{})))
	for _, bad := range []string{"<script", "javascript:", " onclick", " onerror", "<img", "<link", "<iframe", "@import", "url("} {
		// Escaped text may say javascript: where it is no address.
		if bad == "javascript:" {
			bad = `href="javascript:`
		}
		if strings.Contains(out, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if !strings.Contains(out, "default-src &#39;none&#39;") {
		t.Error("the page has no content security policy")
	}
}

// TestStale: an old database is called old.
func TestStale(t *testing.T) {
	const words = `run "gabion db update"`
	fresh, old := render(t, "table", sample.Clean(), Options{Now: sample.Now()}), render(t, "table", sample.Clean(), Options{Now: sample.Now().Add(30 * 24 * time.Hour)})
	if bytes.Contains(fresh, []byte(words)) || !bytes.Contains(old, []byte(words)) {
		t.Errorf("fresh:\n%s\nold:\n%s", fresh, old)
	}
}

func TestErrors(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, "pdf", sample.Report(), Options{}); err == nil || !strings.Contains(err.Error(), "sarif") {
		t.Errorf("%v: want an error that lists the formats", err)
	}
	for _, text := range []string{"", "{{", "{{.Nothing}}", `{{atLeast "terrible" 1}}`} {
		if err := Write(&b, "template", sample.Report(), Options{Template: text}); err == nil {
			t.Errorf("template %q: no error", text)
		}
	}
	if b.Len() > 0 {
		t.Errorf("something was written in spite of an error: %q", b.String())
	}
	if err := Write(failing{}, "json", sample.Report(), Options{}); !errors.Is(err, errDisk) {
		t.Errorf("%v: want the writer's error", err)
	}
}

var errDisk = errors.New("the disk is full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errDisk }

// TestNobodyLooked: without a database nothing sounds like a clean bill.
func TestNobodyLooked(t *testing.T) {
	r := sample.Clean()
	r.Database = scan.Database{}
	out := string(render(t, "table", r, Options{}))
	if !strings.Contains(out, "Vulnerabilities were not looked for") || strings.Contains(out, "No open vulnerabilities") {
		t.Errorf("the table says of a scan without a database:\n%s", out)
	}
}
