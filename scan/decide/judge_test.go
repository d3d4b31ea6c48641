package decide

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
)

func TestParseThresholds(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  Thresholds
	}{
		{nil, Thresholds{}},
		{[]string{"high,kev,fixable"}, Thresholds{FailOn: scan.High, KEV: true, FixableOnly: true}},
		{[]string{"Critical", " medium "}, Thresholds{FailOn: scan.Medium}},
		{[]string{"negligible", "unknown", "new"}, Thresholds{FailOn: scan.Negligible, Unknown: true, NewOnly: true}},
		{[]string{"priority:70,priority:50,priority:60"}, Thresholds{MinPriority: 50}},
		{[]string{"secrets,checks,licenses,unsigned"}, Thresholds{Secrets: true, Checks: true, Licenses: true, Unsigned: true}},
		{[]string{"fixable"}, Thresholds{FailOn: scan.Negligible, Unknown: true, FixableOnly: true}},
		{[]string{"new,secrets"}, Thresholds{FailOn: scan.Negligible, Unknown: true, NewOnly: true, Secrets: true}},
		{[]string{"kev,new"}, Thresholds{KEV: true, NewOnly: true}},
	} {
		got, err := ParseThresholds(tt.words...)
		if err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v", tt.words, got, err)
		}
	}
	for words, want := range map[string]string{
		"hihg":         `read --fail-on "hihg": "hihg" is not a word for it: did you mean "high"?`,
		"x":            `read --fail-on "x": "x" is not a word for it: use negligible, low, medium, high, critical, unknown, kev, fixable, new, secrets, checks, licenses, unsigned or priority:N`,
		"priority:0":   `read --fail-on "priority:0": "0" is not a priority from 1 to 100: write priority:70`,
		"priority:101": `read --fail-on "priority:101": "101" is not a priority from 1 to 100: write priority:70`,
		"priority:x":   `read --fail-on "priority:x": "x" is not a priority from 1 to 100: write priority:70`,
		"":             `read --fail-on "": an empty word; use negligible, low, medium, high, critical, unknown, kev, fixable, new, secrets, checks, licenses, unsigned or priority:N`,
	} {
		if got, err := ParseThresholds(words); err == nil || err.Error() != want || got != (Thresholds{}) {
			t.Errorf("%q: %+v, %v", words, got, err)
		}
	}
	if _, err := ParseThresholds("high,,low"); err == nil {
		t.Error("an empty word is taken")
	}
}

// TestWordsOfThePolicyLanguage: what a ScanTarget may say is what is understood here.
func TestWordsOfThePolicyLanguage(t *testing.T) {
	for _, w := range append(v1alpha1.FailOnWords(), v1alpha1.PriorityWord+"70") {
		if got, err := ParseThresholds(w); err != nil || got == (Thresholds{}) {
			t.Errorf("%s: %+v %v", w, got, err)
		}
	}
}

func TestJudge(t *testing.T) {
	full := sample()
	full.Findings = append(full.Findings,
		scan.Finding{Advisory: scan.Advisory{ID: "CVE-2026-4", Severity: scan.Low, KEV: &scan.KEV{}}, Package: 2, State: scan.Open},
		scan.Finding{Advisory: scan.Advisory{ID: "CVE-2026-5", Severity: scan.Critical, KEV: &scan.KEV{}}, Package: 2, Fix: "9", State: scan.Ignored},
		// The same package in another place is not told twice.
		scan.Finding{Advisory: scan.Advisory{ID: "CVE-2026-3", Severity: scan.Critical}, Package: 2, Fix: "4.17.21", State: scan.Open})
	full.Signatures = []scan.Signature{{Kind: "sigstore", Why: "wrong key"}}
	full.Checks = append(full.Checks, scan.Check{ID: "IMG-X", Status: "unknown"})
	Apply(full, Inputs{}, now)
	for _, tt := range []struct{ words, want string }{
		{"", ""},
		{"critical", "--fail-on critical: CVE-2026-3 in lodash 4.17.20"},
		{"high", "--fail-on high: CVE-2026-1 in bash 5.2-1; --fail-on high: CVE-2026-3 in lodash 4.17.20"},
		{"high,new", "--fail-on high: CVE-2026-3 in lodash 4.17.20"},
		{"unknown", "--fail-on unknown: CVE-2026-2 in libssl3 3.0.11-1"}, // will_not_fix counts
		{"unknown,fixable", ""},
		{"kev", "--fail-on kev: CVE-2026-4 in lodash 4.17.20"},
		{"kev,fixable", ""},
		{"critical,kev", "--fail-on critical: CVE-2026-3 in lodash 4.17.20; --fail-on kev: CVE-2026-4 in lodash 4.17.20"},
		{"fixable", "--fail-on negligible: CVE-2026-1 in bash 5.2-1; --fail-on negligible: CVE-2026-3 in lodash 4.17.20"},
		{"priority:40", "--fail-on priority:40: CVE-2026-3 in lodash 4.17.20"},
		{"secrets", "secrets: password in env DB_PASSWORD; secrets: private-key in /etc/key.pem:1"},
		{"secrets,new,critical", "--fail-on critical: CVE-2026-3 in lodash 4.17.20; secrets: password in env DB_PASSWORD"},
		{"checks", "checks: IMG-ROOT runs as root"},
		{"licenses", "licence GPL-3.0-only: bash 5.2-1; licence GPL-3.0-only: libssl3 3.0.11-1"},
		{"unsigned", "unsigned: registry:registry.example/team/web:1.2: none of 1 signature is valid"},
	} {
		t.Run(tt.words, func(t *testing.T) {
			var th Thresholds
			if tt.words != "" {
				var err error
				if th, err = ParseThresholds(tt.words); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, v := range Judge(full, th) {
				got = append(got, v.Rule+": "+v.Object)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	full.Signatures = nil
	if got := Judge(full, Thresholds{Unsigned: true}); len(got) != 1 || !strings.HasSuffix(got[0].Object, "no signature was found") {
		t.Errorf("%+v", got)
	}
	full.Signatures = []scan.Signature{{}, {Valid: true}}
	if got := Judge(full, Thresholds{Unsigned: true}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	// Nothing is known of a base: then everything is new.
	loose := sample()
	loose.Base = nil
	Apply(loose, Inputs{}, now)
	if got := Judge(loose, Thresholds{FailOn: scan.High, NewOnly: true, Secrets: true}); len(got) != 4 {
		t.Errorf("%+v", got)
	}
}

// TestDecisionsEndViolations: what is settled fails nothing.
func TestDecisionsEndViolations(t *testing.T) {
	all, err := ParseThresholds(strings.Join(v1alpha1.FailOnWords(), ","))
	if err != nil {
		t.Fatal(err)
	}
	all.FixableOnly, all.NewOnly, all.Unsigned = false, false, false
	r := sample()
	rule := func(section, what string) string {
		return fmt.Sprintf("%s: [{%s, owner: o, reason: r, expires: 2027-01-01}]\n", section, what)
	}
	Apply(r, Inputs{Ignore: ignore(t, "vulnerabilities:\n"+
		"- {id: CVE-2026-1, owner: o, reason: r, expires: 2027-01-01}\n- {id: CVE-2026-2, owner: o, reason: r, expires: 2027-01-01}\n"+
		"- {id: CVE-2026-3, owner: o, reason: r, expires: 2027-01-01}\n"+
		"secrets:\n- {detector: password, owner: o, reason: r, expires: 2027-01-01}\n- {detector: private-key, owner: o, reason: r, expires: 2027-01-01}\n"+
		rule("checks", "id: IMG-ROOT")+rule("licenses", "license: GPL-3.0-only"))}, now)
	if got := Judge(r, all); len(got) > 0 || len(r.Gaps) > 0 {
		t.Errorf("%+v %+v", got, r.Gaps)
	}
	if got := Plan(r); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
