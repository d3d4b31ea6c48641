package vuln

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

func TestEcosystem(t *testing.T) {
	for in, want := range map[string]string{
		"npm": "npm", "Debian:12": "Debian:12", "Debian": "Debian", "Ubuntu:22.04:LTS": "Ubuntu:22.04", "Ubuntu:24.10": "Ubuntu:24.10",
		"Ubuntu:Pro:16.04:LTS": "Ubuntu:Pro:16.04", "Ubuntu:Pro:FIPS:20.04:LTS": "Ubuntu:Pro:FIPS:20.04",
		"Red Hat:9": "Red Hat:9", "Red Hat:enterprise_linux:9::appstream": "Red Hat:9", "Red Hat:enterprise_linux:8.6": "Red Hat:8",
		"Red Hat:rhel_eus:9.2::baseos":                        "Red Hat:rhel_eus:9.2",
		"SUSE:Linux Enterprise Server 15 SP5":                 "SUSE Linux Enterprise:15.5",
		"SUSE:Linux Enterprise Module for Basesystem 15 SP6":  "SUSE Linux Enterprise:15.6",
		"SUSE:Linux Enterprise Micro 5.3":                     "SUSE Linux Enterprise Micro:5.3",
		"SUSE:Linux Enterprise High Performance Computing 12": "SUSE Linux Enterprise:12",
		"openSUSE:Leap 15.5":                                  "openSUSE:Leap 15.5", "Mariner:2": "Azure Linux:2", "DHI": "Docker Hardened Images", " npm ": "npm", "": "",
	} {
		if got := Ecosystem(in); got != want {
			t.Errorf("Ecosystem(%q) = %q, want %q", in, got, want)
		}
		if again := Ecosystem(Ecosystem(in)); again != Ecosystem(in) {
			t.Errorf("Ecosystem(%q) is not settled: %q", in, again)
		}
	}
}

func TestFromEvents(t *testing.T) {
	i := func(v string) Event { return Event{Introduced: v} }
	f := func(v string) Event { return Event{Fixed: v} }
	l := func(v string) Event { return Event{LastAffected: v} }
	for name, c := range map[string]struct {
		ecosystem string
		events    []Event
		want      []Range
	}{
		"plain":                {"npm", []Event{i("0"), f("1.2.0")}, []Range{{Introduced: "0", Fixed: "1.2.0"}}},
		"never fixed":          {"npm", []Event{i("0")}, []Range{{Introduced: "0"}}},
		"branches out of turn": {"npm", []Event{f("2.1.0"), i("0"), i("2.0.0"), f("1.5.0")}, []Range{{Introduced: "0", Fixed: "1.5.0"}, {Introduced: "2.0.0", Fixed: "2.1.0"}}},
		"two introduced":       {"npm", []Event{i("1.0.0"), i("1.1.0"), f("1.2.0")}, []Range{{Introduced: "1.0.0", Fixed: "1.2.0"}}},
		"two fixed":            {"npm", []Event{i("1.0.0"), f("1.1.0"), f("1.2.0")}, []Range{{Introduced: "1.0.0", Fixed: "1.1.0"}}},
		"one version":          {"npm", []Event{i("1.0.0"), l("1.0.0")}, []Range{{Introduced: "1.0.0", LastAffected: "1.0.0"}}},
		"fixed and back":       {"npm", []Event{i("1.0.0"), f("1.1.0"), i("1.1.0")}, []Range{{Introduced: "1.0.0", Fixed: "1.1.0"}, {Introduced: "1.1.0"}}},
		"limit":                {"npm", []Event{i("1.0.0"), {Limit: "2.0.0"}}, []Range{{Introduced: "1.0.0", Limit: "2.0.0"}}},
		"limit of everything":  {"npm", []Event{i("1.0.0"), {Limit: "*"}}, []Range{{Introduced: "1.0.0"}}},
		"by the right order":   {"Debian:12", []Event{i("0"), f("1.10-1"), i("1.20-1"), f("1.9-1")}, []Range{{Introduced: "0", Fixed: "1.9-1"}, {Introduced: "1.20-1"}}},
		"nothing":              {"npm", nil, nil},
	} {
		got, err := FromEvents(c.ecosystem, c.events)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := FromEvents("npm", []Event{i("0"), f("latest")}); err == nil {
		t.Error("a range up to \"latest\" was read")
	}
	if _, err := FromEvents("Nothing", []Event{i("1")}); err == nil {
		t.Error("a range of an unknown ecosystem was read")
	}
}

func TestScore(t *testing.T) {
	for vector, want := range map[string]struct {
		score    float64
		severity scan.Severity
		ok       bool
	}{
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H":                    {10, scan.Critical, true},
		"CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:N/A:H":                    {6.5, scan.Medium, true},
		"AV:N/AC:L/Au:N/C:P/I:P/A:P":                                      {7.5, scan.High, true},
		"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N": {9.3, scan.Critical, true},
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N":                    {0, scan.Negligible, true},
		"": {}, "CVSS:3.1/": {}, "CVSS:9.9/AV:N": {}, "7.5": {}, "CVSS:3.1/" + strings.Repeat("AV:N/", 100): {},
	} {
		score, severity, ok := Score(vector)
		if score != want.score || severity != want.severity || ok != want.ok {
			t.Errorf("Score(%.60q) = %v %v %v, want %+v", vector, score, severity, ok, want)
		}
	}
}

func FuzzScore(f *testing.F) {
	f.Add("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N")
	f.Add("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H")
	f.Add("AV:N/AC:L/Au:N/C:P/I:P/A:P")
	f.Fuzz(func(t *testing.T, vector string) {
		if score, _, ok := Score(vector); ok && (score < 0 || score > 10) {
			t.Errorf("Score(%q) = %v", vector, score)
		}
	})
}

func TestPackCVE(t *testing.T) {
	for _, id := range []string{"CVE-1999-0001", "CVE-2024-0001", "CVE-2024-9999", "CVE-2024-10000", "CVE-2026-1234567"} {
		p, ok := packCVE(id)
		if !ok || unpackCVE(p) != id {
			t.Errorf("%s becomes %s, %v", id, unpackCVE(p), ok)
		}
	}
	for _, id := range []string{"", "CVE-", "CVE-2024", "CVE-2024-1", "CVE-2024-01234", "CVE-2024-12345678", "CVE-1900-1234", "CVE-2024-12a4", "cve-2024-1234", "CVE-20245-1234", "GHSA-x"} {
		if p, ok := packCVE(id); ok {
			t.Errorf("%q was packed as %s", id, unpackCVE(p))
		}
	}
}

func TestCanonicalIDs(t *testing.T) {
	a := func(id string, aliases ...string) *advisory {
		return &advisory{advisoryKey: advisoryKey{"s", id}, aliases: slices.Sorted(slices.Values(aliases))}
	}
	bundle := a("DSA-1-1")
	bundle.upstream = []string{"CVE-2023-0001", "CVE-2023-0009", "GHSA-free"}
	list := []*advisory{
		a("GHSA-one", "CVE-2023-0001"), a("PYSEC-one", "GHSA-one"), // by way of the group
		a("GHSA-two", "CVE-2023-0002", "CVE-2023-0003"), a("GO-two", "GHSA-two", "CVE-2023-0002"), // never joins CVEs
		a("PYSEC-free", "GHSA-free"), a("GHSA-free"), // no CVE at all
		a("CVE-2023-0004", "GHSA-four"),
		bundle,
	}
	c := newCanonical(list)
	got := map[string]string{}
	for _, x := range list {
		var names []string
		for name, ids := range c.of(x) {
			names = append(names, fmt.Sprint(name, slices.Compact(slices.Sorted(slices.Values(ids)))))
		}
		slices.Sort(names)
		got[x.id] = strings.Join(names, " ")
	}
	want := map[string]string{
		"GHSA-one":      "CVE-2023-0001[CVE-2023-0001 GHSA-one PYSEC-one]",
		"PYSEC-one":     "CVE-2023-0001[CVE-2023-0001 GHSA-one PYSEC-one]",
		"GHSA-two":      "GHSA-two[CVE-2023-0002 CVE-2023-0003 GHSA-two]",
		"GO-two":        "CVE-2023-0002[CVE-2023-0002 GHSA-two GO-two]",
		"PYSEC-free":    "GHSA-free[GHSA-free PYSEC-free]",
		"GHSA-free":     "GHSA-free[GHSA-free PYSEC-free]",
		"CVE-2023-0004": "CVE-2023-0004[CVE-2023-0004 GHSA-four]",
		"DSA-1-1":       "CVE-2023-0001[CVE-2023-0001] CVE-2023-0009[CVE-2023-0009] GHSA-free[GHSA-free PYSEC-free]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("canonical ids (-want +got):\n%s", diff)
	}
}

func TestStreamOf(t *testing.T) {
	for summary, want := range map[string]string{
		"Important: nodejs:18 security update":                     "nodejs:18",
		"Moderate: container-tools:rhel8 security, bug fix update": "container-tools:rhel8",
		"Important: thunderbird security update":                   "",
		"virt:rhel and virt-devel:rhel update":                     "",
		"see https://example.org/x for nodejs:20.":                 "nodejs:20",
		"nodejs:18 and again nodejs:18":                            "nodejs:18",
		"":                                                         "",
	} {
		if got := streamOf(summary); got != want {
			t.Errorf("streamOf(%q) = %q, want %q", summary, got, want)
		}
	}
}

// TestProgramsAreKnown holds that every ecosystem that advisories for programs
// come from can order versions, and that the table is well-formed.
func TestProgramsAreKnown(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(programsText) {
		name, names, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || name == "" || names == "" || name != strings.ToLower(name) || seen[name] {
			t.Errorf("programs.txt: bad or double line %q", line)
		}
		seen[name] = true
	}
}
