package decide

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

const goodIgnore = `# what we live with
vulnerabilities:
  - id: CVE-2021-44228
    package: log4j-core
    path: /app/**
    untilFixed: true
    owner: payments
    reason: lookups are off
    expires: 2027-01-31
  - {id: "*", package: linux-libc-dev, owner: base, reason: headers only, expires: 2027-01-31T12:00:00+01:00}
secrets:
  - {detector: private-key, path: /etc/ssl/test.key, fingerprint: 0123456789abcdef, owner: qa, reason: a test key, expires: 2027-01-31}
checks:
  - {id: IMG-ROOT, owner: base, reason: drops rights itself, expires: 2027-01-31}
licenses:
  - {license: GPL-3.0-only, package: bash, owner: legal, reason: not linked, expires: 2027-01-31}
`

func TestParseIgnore(t *testing.T) {
	f, err := ParseIgnore(IgnoreName, []byte(goodIgnore))
	if err != nil {
		t.Fatal(err)
	}
	if f.Rules() != 5 || f.Name != IgnoreName {
		t.Fatalf("%d rules", f.Rules())
	}
	r := f.rules[0]
	want := v1alpha1.VulnerabilityRule{ID: "CVE-2021-44228", Package: "log4j-core", Path: "/app/**", UntilFixed: true}
	if diff := cmp.Diff(&want, r.vuln); diff != "" {
		t.Error(diff)
	}
	if r.by != "ignore file .gabionignore.yaml:3" || r.owner != "payments" || r.reason != "lookups are off" || !r.local ||
		!r.expires.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
	if e := f.rules[1].expires; !e.Equal(time.Date(2027, 1, 31, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("expires %s", e)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "\ufeff", "vulnerabilities: []\n", "null"} {
		if f, err := ParseIgnore("x", []byte(empty)); err != nil || f.Rules() != 0 {
			t.Errorf("%q: %v %v", empty, f, err)
		}
	}
}

func TestParseIgnoreRefuses(t *testing.T) {
	const tail = ", owner: o, reason: r, expires: 2027-01-01}]"
	for _, tt := range []struct{ name, text, want string }{
		{"plain list", "# accepted\n\nCVE-2021-44228\nCVE-2022-1 exp:2027-01-01 # soon\n",
			"f:3:1: is a plain list of ids; here every rule has an owner, a reason and a date (write each as: vulnerabilities: [{id: CVE-2021-44228, owner: NAME, reason: WHY, expires: DATE}])"},
		{"plain list with a reason", "GHSA-jfh8-c2jp-5v3q # why\n",
			"f:1:1: is a plain list of ids; here every rule has an owner, a reason and a date (write each as: vulnerabilities: [{id: GHSA-jfh8-c2jp-5v3q, owner: NAME, reason: WHY, expires: DATE}])"},
		{"not a map", "- a\n", "f:1:1: wants a map of fields"},
		{"syntax", "vulnerabilities: [\n", "f:2:1: not valid YAML: did not find expected node content"},
		{"second document", "checks: []\n---\nchecks: []\n", "f:2:1: more follows the end of the document (put all rules into one document)"},
		{"unknown section", "vulnerabilites: []\n", `f:1:1: vulnerabilites: unknown field (did you mean "vulnerabilities"?)`},
		{"twice", "checks: []\nchecks: []\n", "f:2:1: checks: is given twice, first at line 1 (keep one of them)"},
		{"not a list", "checks: {}\n", "f:1:9: checks: wants a list of rules"},
		{"nothing given", "vulnerabilities:\n  - id: CVE-1\n",
			"f:2:5: vulnerabilities[0].owner: is missing (name the person or team that answers for it)\n" +
				"f:2:5: vulnerabilities[0].reason: is missing (say why it is needed)\n" +
				"f:2:5: vulnerabilities[0].expires: is missing (write it as 2027-01-31 or 2027-01-31T12:00:00Z)"},
		{"blank owner", "checks: [{id: x, owner: ' ', reason: r, expires: 2027-01-01}]", "f:1:25: checks[0].owner: is missing (name the person or team that answers for it)"},
		{"date", "checks: [{id: x, owner: o, reason: r, expires: soon}]", `f:1:48: checks[0].expires: "soon" is neither a date nor a time in RFC 3339 (write it as 2027-01-31 or 2027-01-31T12:00:00Z)`},
		{"no such day", "checks: [{id: x, owner: o, reason: r, expires: 2027-02-30}]", `f:1:48: checks[0].expires: "2027-02-30" is neither a date nor a time in RFC 3339 (write it as 2027-01-31 or 2027-01-31T12:00:00Z)`},
		{"unknown field", "checks: [{id: x, untilFixed: true" + tail, `f:1:18: checks[0].untilFixed: unknown field (known here: id, owner, reason, expires)`},
		{"number", "checks: [{id: 7" + tail, "f:1:15: checks[0].id: wants text (put it in quotes: \"7\")\nf:1:15: checks[0].id: is empty (name the check as the report does)"},
		{"flag", "vulnerabilities: [{id: CVE-1, untilFixed: 1" + tail, "f:1:43: vulnerabilities[0].untilFixed: wants true or false"},
		{"no id", "vulnerabilities: [{package: x" + tail, "f:1:19: vulnerabilities[0].id: is empty (name the vulnerability as the report does)"},
		{"everything", "vulnerabilities: [{id: '*'" + tail, "f:1:24: vulnerabilities[0].id: waives every vulnerability of every package (name the package whose vulnerabilities are meant)"},
		{"every secret", "secrets: [{path: '**'" + tail, "f:1:18: secrets[0].path: waives every secret (name the place, or the detector)"},
		{"no secret", "secrets: [{" + tail[2:], "f:1:11: secrets[0]: names no secret (give it a fingerprint, a path or a detector)"},
		{"anchor", "checks: &a [{id: x" + tail, "f:1:9: checks: anchors, aliases and tags are not part of the format (write the value out)"},
		{"alias", "checks: [{id: &x y, owner: *x, reason: r, expires: 2027-01-01}]",
			"f:1:15: checks[0].id: anchors, aliases and tags are not part of the format (write the value out)\n" +
				"f:1:28: checks[0].owner: anchors, aliases and tags are not part of the format (write the value out)\n" +
				"f:1:28: checks[0].owner: is missing (name the person or team that answers for it)\n" +
				"f:1:15: checks[0].id: is empty (name the check as the report does)"},
		{"control", "checks: [{id: x, owner: \"a\\nb\", reason: r, expires: 2027-01-01}]",
			"f:1:25: checks[0].owner: is too long or has control characters\nf:1:25: checks[0].owner: is missing (name the person or team that answers for it)"},
		{"entry", "checks: [x]", "f:1:10: checks[0]: wants a map of fields"},
		{"size", strings.Repeat("#\n", MaxIgnoreBytes/2+1), "f: file has 1048578 bytes, more than the limit of 1048576 (remove what has expired)"},
		{"many", "checks:\n" + strings.Repeat("- {id: x, owner: o, reason: r, expires: 2027-01-01}\n", MaxIgnoreRules+1), "f:4098:3: checks: more than 4096 rules (remove what has expired)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ParseIgnore("f", []byte(tt.text))
			if err == nil || f != nil {
				t.Fatal("it is taken")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if _, ok := errors.AsType[*v1alpha1.Error](err); !ok {
				t.Errorf("%T is not an error of a document", err)
			}
		})
	}
}

// FuzzParseIgnore: no bytes break the parser, and no rule gets through without
// an owner, a reason and a date.
func FuzzParseIgnore(f *testing.F) {
	f.Add([]byte(goodIgnore))
	f.Add([]byte("CVE-2021-44228\n"))
	f.Add([]byte("checks: [{id: &x y, owner: *x}]"))
	f.Add([]byte("a: b\n--- c\n"))
	f.Add([]byte("secrets:\n- fingerprint: 0123456789abcdef\n  expires: 2027-01-01T00:00:00Z\n  owner: a\n  reason: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseIgnore("f", data)
		if (file == nil) == (err == nil) {
			t.Fatalf("file %v, error %v", file, err)
		}
		if err != nil {
			return
		}
		for _, r := range file.rules {
			if strings.TrimSpace(r.owner) == "" || strings.TrimSpace(r.reason) == "" || r.expires.IsZero() {
				t.Fatalf("%+v is nobody's", r)
			}
		}
		r := sample()
		Apply(r, Inputs{Ignore: file}, now)
	})
}
