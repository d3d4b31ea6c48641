package vex

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func load(t testing.TB, name string) *Document {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tell writes a document as lines.
func tell(d *Document) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s by %q at %s\n", d.Format, d.ID, d.Author, d.Issued.Format(time.DateOnly))
	var product func(Product) string
	product = func(p Product) string {
		s := strings.Join(p.Names, " = ")
		for _, c := range p.Components {
			s += " > " + product(c)
		}
		return s
	}
	for _, s := range d.Statements {
		fmt.Fprintf(&b, "%s %s %q %q %s\n", strings.Join(s.IDs, ","), s.Status, s.Justification, s.Note, s.Time.Format(time.DateOnly))
		for _, p := range s.Products {
			fmt.Fprintf(&b, "  %s\n", product(p))
		}
	}
	for _, s := range d.Skipped {
		fmt.Fprintf(&b, "skipped: %s\n", s)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for name, want := range map[string]string{
		"openvex.json": `openvex https://vex.example/web-1 by "web team" at 2026-10-01
CVE-2026-1,GHSA-1111-2222-3333 not_affected "vulnerable_code_not_in_execute_path" "template is never called" 2026-10-01
  pkg:oci/web?repository_url=registry.example/team/web > pkg:npm/lodash@4.17.20
CVE-2026-2 fixed "" "" 2026-10-02
  sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
CVE-2026-3 affected "" "upgrade" 2026-10-01
  pkg:deb/debian/openssl
skipped: the statement on CVE-2026-4 says not_affected and gives no justification
skipped: the statement on CVE-2026-5 has the unknown justification "we_think_so"
skipped: the statement on CVE-2026-6 has the unknown status "dunno"
skipped: the statement on CVE-2026-7 names no product by package URL, image or digest
skipped: a statement names no vulnerability
skipped: the statement on CVE-2026-8 names no product by package URL, image or digest
`,
		"csaf.json": `csaf EX-2026-1 by "Example Distributor" at 2026-09-01
CVE-2026-1,EX-77 not_affected "vulnerable_code_not_present" "" 2026-09-01
  pkg:rpm/example/openssl@3.0.7-1.el9?arch=src&epoch=1
CVE-2026-1,EX-77 not_affected "" "not built in" 2026-09-01
  pkg:oci/app?repository_url=registry.example/app > pkg:rpm/example/curl
  sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
CVE-2026-2 fixed "" "" 2026-09-01
  pkg:rpm/example/openssl@3.0.7-1.el9?arch=src&epoch=1
CVE-2026-2 affected "" "install the update" 2026-09-01
  pkg:oci/app?repository_url=registry.example/app > pkg:rpm/example/curl
CVE-2026-2 under_investigation "" "" 2026-09-01
  sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
skipped: CVE-2026-1 of the product "system-9:curl": its platform has no package URL and the package no version
skipped: CVE-2026-1 of the product "nameless": it has no package URL and no digest
skipped: CVE-2026-1 of the product "loop": its relationships lead nowhere
skipped: CVE-2026-1 of the product "missing": it has no package URL and no digest
skipped: the statement on CVE-2026-3 says not_affected and gives no justification
`,
		"cyclonedx.json": `cyclonedx urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79 by "Someone" at 2026-07-01
CVE-2026-1,GHSA-1111-2222-3333 not_affected "code_not_reachable" "never called" 2026-07-02
  pkg:npm/lodash@4.17.20
  pkg:npm/inner@1
CVE-2026-2 fixed "" "" 2026-07-01
  registry.example/team/web:1.2
CVE-2026-3 affected "" "soon" 2026-07-01
  pkg:npm/other@2
CVE-2026-4 under_investigation "" "" 2026-07-01
  pkg:npm/lodash@4.17.20
CVE-2026-5 not_affected "false_positive" "" 2026-07-01
  pkg:npm/other@2
skipped: the statement on CVE-2026-7 says not_affected and gives no justification
skipped: CVE-2026-8 of "lodash": statements on ranges of versions are not read
skipped: the statement on CVE-2026-8 names no product by package URL, image or digest
skipped: the statement on CVE-2026-9 names no product by package URL, image or digest
`,
	} {
		if diff := cmp.Diff(want, tell(load(t, name))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestCycloneDXOfAnImage(t *testing.T) {
	for name, component := range map[string]string{
		"purl":   `"purl": "pkg:oci/web@sha256:aa?repository_url=registry.example/web"`,
		"digest": `"version": "sha256:aa"`,
	} {
		d, err := Parse("x", []byte(`{"bomFormat": "CycloneDX", "specVersion": "1.5",
			"metadata": {"component": {"bom-ref": "r", "type": "container", "name": "web", `+component+`}},
			"components": [{"bom-ref": "l", "type": "library", "name": "l", "purl": "pkg:npm/l@1"}],
			"vulnerabilities": [{"id": "CVE-1", "analysis": {"state": "resolved"}, "affects": [{"ref": "l"}]}]}`))
		if err != nil {
			t.Fatal(err)
		}
		if p := d.Statements[0].Products[0]; len(p.Components) != 1 || p.Components[0].Names[0] != "pkg:npm/l@1" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestCycloneDXInXML(t *testing.T) {
	d, err := Parse("x.xml", []byte(`<?xml version="1.0"?>
<bom xmlns="http://cyclonedx.org/schema/bom/1.5" version="1">
  <components><component type="library" bom-ref="l"><name>l</name><purl>pkg:npm/l@1</purl></component></components>
  <vulnerabilities><vulnerability><id>CVE-1</id><analysis><state>resolved</state></analysis>
    <affects><target><ref>l</ref></target></affects></vulnerability></vulnerabilities>
</bom>`))
	if err != nil {
		t.Fatal(err)
	}
	if got := tell(d); !strings.Contains(got, "CVE-1 fixed") || !strings.Contains(got, "  pkg:npm/l@1") {
		t.Error(got)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"empty":         {"", "read VEX document f: not an OpenVEX, CSAF or CycloneDX document: unexpected end of JSON input"},
		"text":          {"hello", "read VEX document f: not an OpenVEX, CSAF or CycloneDX document: invalid character 'h' looking for beginning of value"},
		"other":         {`{"a": 1}`, "read VEX document f: not an OpenVEX, CSAF or CycloneDX document"},
		"list":          {`[]`, "read VEX document f: not an OpenVEX, CSAF or CycloneDX document: field "},
		"wrong type":    {`{"document": 1}`, "read VEX document f: not an OpenVEX, CSAF or CycloneDX document: field document"},
		"broken":        {`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": 1}`, "read VEX document f: OpenVEX: "},
		"broken csaf":   {`{"document": {"category": "csaf_vex"}, "vulnerabilities": 1}`, "read VEX document f: CSAF: "},
		"broken cdx":    {`{"bomFormat": "CycloneDX", "vulnerabilities": 1}`, "read VEX document f: CycloneDX: "},
		"html":          {"<html></html>", "read VEX document f: CycloneDX: "},
		"deep":          {strings.Repeat("[", 20000), "read VEX document f: not an OpenVEX, CSAF or CycloneDX document: invalid character '[' exceeded max depth"},
		"too many":      {many(), "read VEX document f: it names more than 500000 products"},
		"groups spread": {spread(), "read VEX document f: it names more than 500000 products"},
	} {
		d, err := Parse("f", []byte(tt.text))
		if err == nil || d != nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(tt.want, "not an") != errors.Is(err, ErrFormat) {
			t.Errorf("%s: errors.Is does not tell", name)
		}
	}
	if _, err := Parse("f", make([]byte, MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("%v", err)
	}
}

// many is a small document with too many products.
func many() string {
	var b strings.Builder
	b.WriteString(`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{"vulnerability": {"name": "x"}, "status": "fixed", "products": [`)
	b.WriteString(strings.Repeat(`{"@id":"a"},`, MaxProducts))
	b.WriteString(`{"@id":"a"}]}]}`)
	return b.String()
}

// spread is a small document whose groups name few products again and again.
func spread() string {
	return `{"document": {"category": "csaf_vex"}, "product_tree": {"product_groups": [{"group_id": "g", "product_ids": [` +
		strings.Repeat(`"a",`, 9999) + `"a"]}]}, "vulnerabilities": [{"cve": "x", "flags": [` +
		strings.Repeat(`{"label": "l", "group_ids": ["g"]},`, 500) + `{}]}]}`
}

func TestSkippedIsBounded(t *testing.T) {
	d, err := Parse("f", []byte(`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [`+
		strings.Repeat(`{"status": "fixed"},`, 99)+`{"status": "fixed"}]}`))
	if err != nil || len(d.Skipped) != 21 || d.Skipped[20] != "80 more statements" {
		t.Errorf("%v %d", err, len(d.Skipped))
	}
}

func TestNamesAreBounded(t *testing.T) {
	var ids []string
	for i := range maxIDs + 1 {
		ids = append(ids, fmt.Sprintf(`"A-%d"`, i))
	}
	text := func(list []string) []byte {
		return []byte(`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [{"status": "fixed", "products": [{"@id": "pkg:npm/x"}],
			"vulnerability": {"aliases": [` + strings.Join(list, ",") + `]}}]}`)
	}
	if d, err := Parse("f", text(ids[1:])); err != nil || len(d.Statements) != 1 || len(d.Statements[0].IDs) != maxIDs {
		t.Errorf("%v %+v", err, d)
	}
	if d, err := Parse("f", text(ids)); err != nil || len(d.Statements) != 0 || len(d.Skipped) != 1 || !strings.Contains(d.Skipped[0], "more than 256") {
		t.Errorf("%v %+v", err, d)
	}
}

// FuzzParse: no bytes break a parser, and every statement that gets through can
// be matched and names what it must.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"openvex.json", "csaf.json", "cyclonedx.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`<bom xmlns="http://cyclonedx.org/schema/bom/1.5"><vulnerabilities><vulnerability><id>a</id></vulnerability></vulnerabilities></bom>`))
	for _, small := range []string{
		`{"@context":"https://openvex.dev/ns/v0.2.0","timestamp":"2026-10-01T00:00:00Z","statements":[{"vulnerability":{"name":"CVE-2026-1"},"products":[{"@id":"pkg:npm/x"}],"status":"fixed"}]}`,
		`{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"aliases":["CVE-2026-1"]},"products":[{"@id":"x","subcomponents":[{"@id":"pkg:npm/x"}]}],"status":"affected","action_statement":"a"}]}`,
		`{"document":{"category":"csaf_vex"},"product_tree":{"full_product_names":[{"product_id":"a","product_identification_helper":{"purl":"pkg:npm/x"}}]},"vulnerabilities":[{"cve":"CVE-2026-1","product_status":{"fixed":["a"]}}]}`,
		`{"document":{"csaf_version":"2.0"},"product_tree":{"relationships":[{"product_reference":"a","relates_to_product_reference":"b","full_product_name":{"product_id":"c"}}]},"vulnerabilities":[{"cve":"CVE-2026-1","product_status":{"fixed":["c"]}}]}`,
		`{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":"CVE-2026-1","analysis":{"state":"resolved"},"affects":[{"ref":"pkg:npm/lodash"}]}]}`,
		`{"bomFormat":"CycloneDX","specVersion":"1.4","metadata":{"component":{"bom-ref":"r","type":"container","name":"a"}},"vulnerabilities":[{"id":"CVE-2026-1","analysis":{"state":"exploitable"},"affects":[{"ref":"r"}]}]}`,
		`{"document":null}`, `{}`, `[]`, `<bom/>`,
	} {
		f.Add([]byte(small))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse("f", data)
		if (d == nil) == (err == nil) {
			t.Fatalf("document %v, error %v", d, err)
		}
		if err != nil {
			return
		}
		for _, s := range d.Statements {
			if len(s.IDs) == 0 || len(s.Products) == 0 || s.Status == NotAffected && s.Justification+strings.TrimSpace(s.Note) == "" {
				t.Fatalf("%+v says nothing", s)
			}
			for _, p := range s.Products {
				if len(p.Names) == 0 {
					t.Fatalf("%+v names nothing", s)
				}
			}
		}
		r := image()
		for i := range r.Findings {
			r.Findings[i].ID = "CVE-2026-1"
		}
		x := NewIndex([]Document{*d}, &r.Image, r.Packages)
		for i := range r.Findings {
			said := x.Find(&r.Findings[i])
			if (said.Decision() == nil) != (said.State() == "") {
				t.Fatal("a state without a decision")
			}
			said.Remark()
		}
		x.Gaps()
	})
}
