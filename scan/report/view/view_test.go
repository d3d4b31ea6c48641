package view

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/gabion-dev/gabion/scan"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                      "plain",
		"a\x1b[31mb\x00":             "a\ufffd[31mb\ufffd",
		"two\nlines\r\u2028":         "two\ufffdlines\ufffd\ufffd",
		"\u202egnp.exe\u2066":        "\ufffdgnp.exe\ufffd",
		"::error::x":                 ": :error::x",
		"  ::add-mask::x":            "  : :add-mask::x",
		"Foo::Bar":                   "Foo::Bar",
		"x ##[command]y ##vso[a]":    "x # #[command]y ##vso[a]",
		"::::":                       ": : : :",
		"caf\u00e9 \u65e5\u672c":     "caf\u00e9 \u65e5\u672c",
		strings.Repeat("x", 9) + "y": "xxxxxxxxxy",
	} {
		if got := Text(in, 0); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Text("\u65e5\u672c\u8a9e\u6f22\u5b57", 3); got != "\u65e5\u672c\u2026" {
		t.Errorf("cut to %q", got)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "::x", "##[", "a::b", "\x1b]0;x\a", "\xff\xfe", "\u202e"} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := Text(s, limit)
		if limit > 0 && len([]rune(got)) > limit {
			t.Fatalf("%d characters, at most %d wanted", len([]rune(got)), limit)
		}
		if strings.HasPrefix(strings.TrimSpace(got), "::") || strings.Contains(got, "##[") {
			t.Fatalf("%q could be taken for a command", got)
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}

func TestResult(t *testing.T) {
	gap, minor, violation := []scan.Gap{{}}, []scan.Gap{{Minor: true}}, []scan.Violation{{}}
	for want, r := range map[string]*scan.Report{
		"PASSED": {Gaps: minor}, "FAILED": {Violations: violation}, "INCOMPLETE": {Gaps: gap}, "FAILED and INCOMPLETE": {Gaps: gap, Violations: violation},
	} {
		if got := Result(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestGroups: the binary packages of one source are one group, with each
// vulnerability once.
func TestGroups(t *testing.T) {
	r := &scan.Report{
		Packages: []scan.Package{
			{Name: "libssl3", Version: "3.0-1", Source: "openssl", SourceVersion: "3.0-1", Ecosystem: "Debian:12", Path: "/s"},
			{Name: "openssl", Version: "3.0-1", Ecosystem: "Debian:12", Path: "/s"},
			{Name: "openssl", Version: "3.0-1", Ecosystem: "Debian:12", Path: "/elsewhere"},
		},
		Findings: []scan.Finding{
			{Advisory: scan.Advisory{ID: "A"}, Package: 0, Fix: "3.0-2", State: scan.Open},
			{Advisory: scan.Advisory{ID: "A"}, Package: 1, Fix: "3.0-2", State: scan.Open},
			{Advisory: scan.Advisory{ID: "A"}, Package: 2, Fix: "3.0-2", State: scan.Open},
			{Advisory: scan.Advisory{ID: "B"}, Package: 0, Fix: "3.0-2", State: scan.Ignored},
		},
	}
	g := Groups(r, func(f *scan.Finding) bool { return Counts(f.State) })
	if len(g) != 2 || g[0].Name != "openssl" || strings.Join(g[0].Packages, ",") != "libssl3,openssl" || len(g[0].Findings) != 1 || g[1].Packages != nil {
		t.Errorf("%+v", g)
	}
}

func TestTotal(t *testing.T) {
	r := &scan.Report{
		Findings: []scan.Finding{
			{Advisory: scan.Advisory{Severity: scan.High, KEV: &scan.KEV{}}, Fix: "2", State: scan.Open},
			{Advisory: scan.Advisory{Severity: scan.Low}, State: scan.Unsupported},
			{Advisory: scan.Advisory{Severity: scan.Critical, KEV: &scan.KEV{}}, State: scan.NotAffected},
		},
		Secrets:  []scan.Secret{{State: scan.Open}, {State: scan.Ignored}},
		Checks:   []scan.Check{{Status: "pass"}, {Status: "fail"}, {Status: "unknown"}, {Status: "fail", State: scan.Ignored}},
		Licenses: []scan.License{{Verdict: "denied"}, {Verdict: "allowed"}},
		Gaps:     []scan.Gap{{}, {Minor: true}},
	}
	got := Total(r)
	if got.Open != 2 || got.Exploited != 1 || got.Fixable != 1 || got.Settled != 3 || got.Secrets != 1 || got.Checks != 1 || got.Unchecked != 1 || got.Denied != 1 || got.Gaps != 1 {
		t.Errorf("%+v", got)
	}
	if got.Severities() != "1 high, 1 low" {
		t.Errorf("%q", got.Severities())
	}
}

func TestWords(t *testing.T) {
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for want, got := range map[string]string{
		"37,020": Thousands(37020), "999": Thousands(999), "1,000,000": Thousands(1000000), "-1,000": Thousands(-1000),
		"1 layer": Plural(1, "layer"), "0 gaps": Plural(0, "gap"), "2 advisories": Plural(2, "advisory"), "1,234 things": Plural(1234, "thing"),
		"of today": Age(day, day.Add(time.Hour)), "1 day old": Age(day, day.Add(24*time.Hour)), "31 days old": Age(day, day.Add(31*24*time.Hour)),
		"2026-03-01": Date(day), "unknown": Date(time.Time{}),
		"ignored by X (owner me, until 2026-03-01): because": Settled(scan.Ignored, &scan.Decision{By: "X", Owner: "me", Reason: "because", Expires: day}),
		"not affected": Settled(scan.NotAffected, nil), "/a:3": Where(&scan.Secret{Where: "/a", Line: 3}), "env X": Where(&scan.Secret{Where: "env X"}),
		"https://a": Link("https://a"), "layer 1 of the base image: ADD x": Layer(&scan.Report{Image: scan.Image{Layers: []scan.Layer{{Base: true, Command: "ADD x"}}}}, 0),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Age(day, day.Add(-time.Hour)) != "" || Age(time.Time{}, day) != "" || Link("javascript:x") != "" || Layer(&scan.Report{}, 0) != "" {
		t.Error("something is told that is not known")
	}
	if Identity("ab", "c") == Identity("a", "bc") {
		t.Error("two things share an identity")
	}
}

func TestUndecided(t *testing.T) {
	r := &scan.Report{Checks: []scan.Check{
		{Status: "unknown", Evidence: []string{"rare"}}, {Status: "unknown", Evidence: []string{"a", "b"}}, {Status: "unknown", Evidence: []string{"a", "b"}},
		{Status: "fail"}, {Status: "pass"}, {Status: "unknown", State: scan.Ignored}, {Status: "unknown"},
	}}
	got := Undecided(r)
	if len(got) != 3 || got[0] != (Reason{"a, b", 2}) || got[2].Why != "no reason given" {
		t.Errorf("%+v", got)
	}
}
