package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/tagvalue"
	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

var formats = []Format{CycloneDX, SPDX, SPDXTag}

func write(t testing.TB, f Format, r *scan.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, f, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRoundTrip: what was written reads back as the same packages, release,
// layers and gaps, hostile names and all.
func TestRoundTrip(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			r := sample.Report()
			inv, img, err := Read(bytes.NewReader(write(t, f, r)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(scan.SortPackages(r.Packages), inv.Packages); d != "" {
				t.Errorf("packages (-written +read):\n%s", d)
			}
			if d := cmp.Diff(r.Release, inv.Release); d != "" {
				t.Errorf("release (-written +read):\n%s", d)
			}
			if d := cmp.Diff(r.Gaps, inv.Gaps); d != "" {
				t.Errorf("gaps (-written +read):\n%s", d)
			}
			want := r.Image
			want.Kind, want.Config = scan.SBOM, scan.Config{}
			if d := cmp.Diff(want, img); d != "" {
				t.Errorf("image (-written +read):\n%s", d)
			}
		})
	}
}

// TestNothingSecret: the environment must not travel in a document.
func TestNothingSecret(t *testing.T) {
	for _, f := range formats {
		if bytes.Contains(write(t, f, sample.Report()), []byte("not-to-be-printed")) {
			t.Errorf("%s holds the environment of the image", f)
		}
	}
}

func TestDeterministic(t *testing.T) {
	for _, f := range formats {
		one := write(t, f, sample.Report())
		if two := write(t, f, sample.Report()); !bytes.Equal(one, two) {
			t.Errorf("%s: equal reports gave different documents", f)
		}
		other := sample.Report()
		other.Packages[0].Version = "9"
		if id := identity(t, one); id == "" || id == identity(t, write(t, f, other)) {
			t.Errorf("%s: documents of different content share the identity %q", f, id)
		}
	}
}

// identity finds the name a document has among all documents.
func identity(t *testing.T, doc []byte) string {
	t.Helper()
	for line := range strings.Lines(string(doc)) {
		for _, key := range []string{`"serialNumber": "`, `"documentNamespace": "`, "DocumentNamespace: "} {
			if _, id, ok := strings.Cut(line, key); ok {
				return strings.TrimRight(id, "\",\n")
			}
		}
	}
	return ""
}

// TestRandomPackages round-trips packages that nobody would think of.
func TestRandomPackages(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", " ", "@a/b", "a:b", "<text>", "</text>", "\n", "gabion:", sample.Hostile}))
	pkg := rapid.Custom(func(t *rapid.T) scan.Package {
		return scan.Package{
			Name: text.Draw(t, "name"), Version: text.Draw(t, "version"), Ecosystem: rapid.SampledFrom([]string{"", "npm", "Maven", "Go", "Debian:12"}).Draw(t, "ecosystem"),
			PURL: text.Draw(t, "purl"), Source: text.Draw(t, "source"), Arch: text.Draw(t, "arch"), Module: text.Draw(t, "module"),
			Licenses: rapid.SliceOfN(text, 0, 3).Draw(t, "licences"), Found: text.Draw(t, "found"), Path: text.Draw(t, "path"),
			Layer: rapid.IntRange(-1, 2).Draw(t, "layer"), Dev: rapid.Bool().Draw(t, "dev"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		r := sample.Clean()
		r.Packages = scan.SortPackages(rapid.SliceOfN(pkg, 0, 4).Draw(t, "packages"))
		for _, f := range formats {
			var b bytes.Buffer
			if err := Write(&b, f, r); err != nil {
				t.Fatal(err)
			}
			inv, _, err := Read(&b)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if d := cmp.Diff(r.Packages, inv.Packages, cmpopts.EquateEmpty()); d != "" {
				t.Fatalf("%s (-written +read):\n%s", f, d)
			}
		}
	})
}

// TestCycloneDXSchema checks documents against the official schema, which the
// library's module carries.
func TestCycloneDXSchema(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("find the module of CycloneDX: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		addSchema(t, c, "http://cyclonedx.org/schema/"+name, filepath.Join(dir, file))
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*scan.Report{sample.Report(), sample.Clean(), {}} {
		validate(t, schema, write(t, CycloneDX, r))
	}
	broken := bytes.Replace(write(t, CycloneDX, sample.Report()), []byte(`"aggregate": "incomplete"`), []byte(`"aggregate": "some"`), 1)
	if v, err := jsonschema.UnmarshalJSON(bytes.NewReader(broken)); err != nil || schema.Validate(v) == nil {
		t.Error("the schema lets everything through")
	}
}

// TestSPDXSchema checks documents against our own schema of the part of SPDX
// 2.3 that is written, which is stricter than the official one: it allows no
// other fields. GABION_SPDX_SCHEMA may name the official schema's file.
func TestSPDXSchema(t *testing.T) {
	files := []string{"testdata/spdx-2.3-written.schema.json"}
	if f := os.Getenv("GABION_SPDX_SCHEMA"); f != "" {
		files = append(files, f)
	}
	for _, f := range files {
		c := jsonschema.NewCompiler()
		addSchema(t, c, "https://gabion.dev/test/spdx.json", f)
		schema, err := c.Compile("https://gabion.dev/test/spdx.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*scan.Report{sample.Report(), sample.Clean(), {}} {
			validate(t, schema, write(t, SPDX, r))
		}
	}
}

func addSchema(t *testing.T, c *jsonschema.Compiler, url, file string) {
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
		delete(m, "$id") // it is known by url
	}
	if err := c.AddResource(url, v); err != nil {
		t.Fatal(err)
	}
}

func validate(t *testing.T, schema *jsonschema.Schema, doc []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%v", err)
	}
}

// TestSPDXLibrary: the standard's own library reads what is written, both ways.
func TestSPDXLibrary(t *testing.T) {
	r := sample.Report()
	doc, err := spdxjson.Read(bytes.NewReader(write(t, SPDX, r)))
	if err != nil {
		t.Fatal(err)
	}
	tags, err := tagvalue.Read(bytes.NewReader(write(t, SPDXTag, r)))
	if err != nil {
		t.Fatal(err)
	}
	if want := len(r.Packages) + 2; len(doc.Packages) != want || len(tags.Packages) != want {
		t.Errorf("packages: %d as JSON, %d as tags, want %d", len(doc.Packages), len(tags.Packages), want)
	}
	urls := map[string]bool{}
	for _, p := range tags.Packages {
		for _, ref := range p.PackageExternalReferences {
			urls[ref.Locator] = true
		}
	}
	for _, p := range r.Packages {
		if !urls[p.PURL] {
			t.Errorf("the tag-value document has no %s", p.PURL)
		}
	}
}

// TestIncomplete: a report with gaps says so in every document, one without
// does not.
func TestIncomplete(t *testing.T) {
	for _, f := range formats {
		if doc := strings.ToLower(string(write(t, f, sample.Report()))); !strings.Contains(doc, "incomplete") {
			t.Errorf("%s does not say that the report is incomplete", f)
		}
		if doc := strings.ToLower(string(write(t, f, sample.Clean()))); strings.Contains(doc, "incomplete") {
			t.Errorf("%s says that a complete report is incomplete", f)
		}
	}
}

// TestJudgingGapsStay: what a database did not know is no gap of the content;
// the document still says that the scan it comes from was incomplete.
func TestJudgingGapsStay(t *testing.T) {
	r := sample.Clean()
	r.Gaps = []scan.Gap{{Where: "Debian:12", What: "the database has nothing", Judging: true}, {Where: "/x", What: "unreadable"}}
	for _, f := range formats {
		doc := write(t, f, r)
		inv, _, err := Read(bytes.NewReader(doc))
		if err != nil || len(inv.Gaps) != 1 || inv.Gaps[0].Where != "/x" {
			t.Errorf("%s: %v, gaps %+v", f, err, inv.Gaps)
		}
		r := sample.Clean()
		r.Gaps = []scan.Gap{{Where: "Debian:12", Judging: true}}
		doc = write(t, f, r)
		if inv, _, err := Read(bytes.NewReader(doc)); err != nil || len(inv.Gaps) != 0 || !bytes.Contains(bytes.ToLower(doc), []byte("incomplete")) {
			t.Errorf("%s: %v, gaps %+v", f, err, inv.Gaps)
		}
	}
}

// TestForeignIncomplete: another tool's word that its document is incomplete
// is taken.
func TestForeignIncomplete(t *testing.T) {
	doc := `{"bomFormat":"CycloneDX","specVersion":"1.6","compositions":[{"aggregate":"complete"},{"aggregate":"incomplete"}]}`
	inv, _, err := Read(strings.NewReader(doc))
	if err != nil || len(inv.Gaps) != 1 || inv.Gaps[0].Minor {
		t.Errorf("%v, gaps %+v", err, inv.Gaps)
	}
}

func TestVulnerabilities(t *testing.T) {
	var doc struct {
		Components []struct {
			Ref  string `json:"bom-ref"`
			Name string `json:"name"`
		} `json:"components"`
		Vulnerabilities []struct {
			ID       string
			Affects  []struct{ Ref string }
			Analysis struct{ State, Detail string }
			Ratings  []struct{ Severity, Method string }
		}
	}
	if err := json.Unmarshal(write(t, CycloneDX, sample.Report()), &doc); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, c := range doc.Components {
		names[c.Ref] = c.Name
	}
	states := map[string]string{}
	for _, v := range doc.Vulnerabilities {
		states[v.ID] = names[v.Affects[0].Ref] + " " + v.Analysis.State + " " + v.Ratings[0].Severity
	}
	for id, want := range map[string]string{
		"CVE-2021-44228": "log4j-core  critical", "CVE-2023-49083": "cryptography exploitable high",
		"CVE-2021-23337": "lodash not_affected high", "CVE-2022-0001": "busybox resolved info", "CVE-2022-3715": "bash  low",
	} {
		if states[id] != want {
			t.Errorf("%s: %q, want %q", id, states[id], want)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Write(&bytes.Buffer{}, "cyclone", sample.Report()); err == nil || !strings.Contains(err.Error(), "spdx-tag-value") {
		t.Errorf("%v: want an error that names the formats", err)
	}
}
