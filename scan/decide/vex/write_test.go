package vex

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

var issued = time.Date(2026, 11, 24, 12, 0, 0, 999, time.FixedZone("", 3600))

// decided is image with a decision of every kind.
func decided() *scan.Report {
	r := image()
	until := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	set := func(i int, s scan.State, d *scan.Decision) { r.Findings[i].State, r.Findings[i].Decision = s, d }
	set(0, scan.NotAffected, &scan.Decision{By: "VEX v", Reason: "vulnerable_code_not_present: not built"})
	set(1, scan.Ignored, &scan.Decision{By: "Exception/x", Owner: "web team", Reason: "not called", Expires: until})
	set(2, scan.Fixed, &scan.Decision{By: "VEX v", Reason: "fixed"})
	set(3, scan.NotAffected, &scan.Decision{By: "VEX v", Reason: "code_not_reachable: elsewhere"})
	set(4, scan.Unsupported, nil)
	set(5, scan.NotAffected, nil)
	r.Findings[6].Reasons = []string{"critical", "fixed in 8"}
	return r
}

func written(t testing.TB, r *scan.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r, Options{Author: "platform team", Time: issued}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRoundTrip: what is written says of another scan what it said of this one.
func TestRoundTrip(t *testing.T) {
	for name, change := range map[string]func(*scan.Report){
		"image":     func(*scan.Report) {},
		"directory": func(r *scan.Report) { r.Image = scan.Image{Name: "/srv/app", Kind: scan.Directory} },
		"archive": func(r *scan.Report) {
			r.Image = scan.Image{Name: "tar:web.tar", Kind: scan.DockerArchive, Digest: digest}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := decided()
			change(r)
			text := written(t, r)
			d, err := Parse("out.json", []byte(text))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if len(d.Skipped) > 0 || d.Author != "platform team" || !d.Issued.Equal(issued.Truncate(time.Second)) {
				t.Errorf("%+v", d)
			}
			x := NewIndex([]Document{*d}, &r.Image, r.Packages)
			for i := range r.Findings {
				said := x.Find(&r.Findings[i])
				want := r.Findings[i].State
				if want != scan.NotAffected && want != scan.Fixed {
					want = ""
				}
				if r.Image.Kind == scan.Directory && (i == 1 || i == 8) {
					continue // the same package URL twice: which is which is lost, and the open one wins
				}
				if said.Statement == nil || said.State() != want {
					t.Errorf("%d: %+v, want %q", i, said.Statement, want)
				}
			}
		})
	}
}

func TestWrite(t *testing.T) {
	text := written(t, decided())
	for _, want := range []string{
		`"@context": "https://openvex.dev/ns/v0.2.0"`, `"author": "platform team"`, `"timestamp": "2026-11-24T11:00:00Z"`, `"tooling": "gabion test"`,
		`"@id": "pkg:oci/web@sha256:` + strings.Repeat("a", 64) + `?repository_url=registry.example%2Fteam%2Fweb"`,
		`"justification": "vulnerable_code_not_present"`, `"impact_statement": "not built"`, `"impact_statement": "code_not_reachable: elsewhere"`,
		`"impact_statement": "no reason is recorded"`,
		`"action_statement": "risk accepted by web team: not called (until 2027-01-31T00:00:00Z)"`,
		`"action_statement": "the distributor will not fix it; replace the package or accept the risk"`,
		`"status_notes": "critical; fixed in 8"`, `"@id": "https://gabion.dev/vex/`, "GHSA-1111-2222-3333",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing\n%s", want, text)
		}
	}
	// Equal decisions, equal bytes, whatever the order of the findings.
	r := decided()
	slices.Reverse(r.Findings)
	if written(t, r) != text {
		t.Error("the order of findings shows")
	}
	r.Findings[0].State = scan.Fixed
	if other := written(t, r); other == text || strings.Contains(other, text[strings.Index(text, "gabion.dev/vex/"):][:40]) {
		t.Error("other decisions have the same id")
	}
	for _, o := range []Options{{Author: "a"}, {Time: issued}, {Author: " ", Time: issued}} {
		if err := Write(&bytes.Buffer{}, decided(), o); err == nil {
			t.Errorf("%+v is enough", o)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, &scan.Report{}, Options{Author: "a", Time: issued, ID: "https://x.example/1"}); err != nil || !strings.Contains(b.String(), `"@id": "https://x.example/1"`) || !strings.Contains(b.String(), `"statements": []`) {
		t.Errorf("%v %s", err, b.String())
	}
}

// TestWriteIsValid: the library's own rules hold for every statement.
func TestWriteIsValid(t *testing.T) {
	for _, s := range statements(decided()) {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
