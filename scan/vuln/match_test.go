package vuln

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

// database builds a database of records; those without a source get "test".
func database(t testing.TB, o Options, records []Record, extras ...Extra) *DB {
	t.Helper()
	b := NewBuilder(o)
	b.Source(scan.Source{Name: "test", Licence: "none"})
	b.Source(scan.Source{Name: "other", Licence: "none"})
	b.Source(scan.Source{Name: "part", Licence: "none", Partial: "most of it"})
	for _, r := range records {
		if r.Source == "" {
			r.Source = "test"
		}
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range extras {
		if err := b.Extra(e); err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(info, d.Info()); diff != "" {
		t.Errorf("what was built and what is read differ: %s", diff)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
	return d
}

func fixed(ecosystem, name, version string) Affected {
	return Affected{Ecosystem: ecosystem, Name: name, Ranges: []Range{{Introduced: "0", Fixed: version}}}
}

// brief writes findings as "id fix state".
func brief(findings []scan.Finding) []string {
	var out []string
	for _, f := range findings {
		s := f.ID
		if f.Fix != "" {
			s += " fix " + f.Fix
		}
		if f.State != scan.Open {
			s += " " + string(f.State)
		}
		out = append(out, s)
	}
	return out
}

func TestMatch(t *testing.T) {
	records := []Record{
		// Debian: sources, backports, epochs, unfixed, will not fix.
		{ID: "CVE-2023-1001", Affected: []Affected{fixed("Debian:12", "openssl", "3.0.11-1~deb12u2")}},
		{ID: "CVE-2023-1002", Affected: []Affected{fixed("Debian:12", "vim", "2:9.0.1378-2+deb12u3")}},
		{ID: "CVE-2023-1003", Affected: []Affected{{Ecosystem: "Debian:12", Name: "zlib", Status: Unfixed}}},
		{ID: "CVE-2023-1004", Affected: []Affected{{Ecosystem: "Debian:12", Name: "zlib", Status: WontFix, Severity: scan.Negligible}}},
		{ID: "CVE-2023-1005", Affected: []Affected{{Ecosystem: "Debian:12", Name: "zlib", Status: UnderInvestigation}}},
		{ID: "CVE-2023-1006", Affected: []Affected{{Ecosystem: "Debian:12", Name: "libonly", By: ByBinary, Status: Unfixed}}},
		{ID: "DSA-9000-1", Upstream: []string{"CVE-2023-1010", "CVE-2023-1011"}, Affected: []Affected{fixed("Debian:12", "bundle", "2.0-1")}},
		// rpm: binaries, epochs, architectures, streams.
		{ID: "CVE-2023-2001", Affected: []Affected{fixed("AlmaLinux:9", "openssl-libs", "1:3.0.7-16.el9_2")}},
		{ID: "CVE-2023-2002", Affected: []Affected{{Ecosystem: "Red Hat:enterprise_linux:9::baseos", Name: "openssl", By: BySource, Ranges: []Range{{Fixed: "1:3.0.7-20.el9"}}}}},
		{ID: "CVE-2023-2003", Affected: []Affected{{Ecosystem: "Red Hat:9", Name: "armonly", Arch: []string{"aarch64"}, Ranges: []Range{{Fixed: "2-1"}}}}},
		{ID: "CVE-2023-2004", Affected: []Affected{{Ecosystem: "Red Hat:8", Name: "nodejs", Module: "nodejs:18", Ranges: []Range{{Fixed: "1:18.20.0-1.module+el8"}}}}},
		{ID: "CVE-2023-2005", Affected: []Affected{fixed("Red Hat:8", "nodejs", "1:20.1.0-1.module+el8")}},
		{ID: "CVE-2023-2006", Affected: []Affected{fixed("Red Hat:8", "nodejs", "1:10.0.0-1.el8")}},
		{ID: "CVE-2023-2007", Summary: "Important: nodejs:16 security update", Affected: []Affected{fixed("Red Hat:8", "nodejs", "1:16.30.0-1.module+el8")}},
		{ID: "CVE-2023-2008", Summary: "Important: tool:1 update", Affected: []Affected{
			fixed("AlmaLinux:8", "tool", "1.0-2.module_el8.5.0+119+aa"), fixed("AlmaLinux:8", "tool", "1.0-2.module_el8.4.0+20+bb")}},
		// Alpine.
		{ID: "CVE-2023-3001", Affected: []Affected{fixed("Alpine:v3.19", "openssl", "3.1.4-r5")}},
		// Ubuntu and its tiers.
		{ID: "CVE-2023-4001", Affected: []Affected{
			{Ecosystem: "Ubuntu:20.04:LTS", Name: "tiered", Status: Unfixed}, fixed("Ubuntu:Pro:20.04:LTS", "tiered", "1.0-1ubuntu1+esm2")}},
		{ID: "CVE-2023-4002", Affected: []Affected{fixed("Ubuntu:Pro:20.04:LTS", "proonly", "1.0-1ubuntu1+esm1")}},
		// Languages.
		{ID: "GHSA-aaaa", Aliases: []string{"CVE-2023-5001"}, Severity: scan.High, Affected: []Affected{fixed("PyPI", "Flask.Thing", "2.2.5")}},
		{ID: "PYSEC-1", Source: "other", Aliases: []string{"CVE-2023-5001", "GHSA-aaaa"}, Affected: []Affected{fixed("PyPI", "flask-thing", "2.2.6")}},
		{ID: "GHSA-bbbb", Affected: []Affected{{Ecosystem: "npm", Name: "lines", Ranges: []Range{{Fixed: "1.2.3"}, {Introduced: "2.0.0", Fixed: "2.3.4"}, {Introduced: "3.0.0", LastAffected: "3.1.0"}, {Introduced: "4.0.0", Limit: "4.1.0"}}}}},
		{ID: "GHSA-cccc", Affected: []Affected{fixed("Maven", "org.example:lib", "4.1.100.Final")}},
		{ID: "GHSA-dddd", Affected: []Affected{fixed("NuGet", "Newtonsoft.Json", "13.0.1")}},
		{ID: "GHSA-eeee", Affected: []Affected{{Ecosystem: "PyPI", Name: "old", Versions: []string{"2004d", "1.0"}}}},
		{ID: "GHSA-ffff", Affected: []Affected{fixed("npm", "old-name", "2.0.0"), fixed("npm", "new-name", "2.0.0")}},
		{ID: "GHSA-gggg", Aliases: []string{"CVE-2023-5002", "CVE-2023-5003"}, Affected: []Affected{fixed("npm", "two-cves", "2.0.0")}},
		{ID: "GHSA-hhhh", Affected: []Affected{{Ecosystem: "npm", Name: "malware", All: true}}},
		{ID: "GHSA-iiii", Withdrawn: day("2024-01-01"), Affected: []Affected{fixed("npm", "withdrawn", "2.0.0")}},
		{ID: "GO-2023-1", Aliases: []string{"CVE-2023-5004"}, Affected: []Affected{{Ecosystem: "Go", Name: "stdlib", Ranges: []Range{{Fixed: "1.21.9"}, {Introduced: "1.22.0-0", Fixed: "1.22.2"}}}}},
		// Programs.
		{ID: "BIT-node-1", Aliases: []string{"CVE-2023-6001"}, Affected: []Affected{fixed("Bitnami", "node", "18.12.1")}},
		// Not affected.
		{ID: "CVE-2023-7001", Affected: []Affected{fixed("Debian:12", "denied", "9")}, Modified: day("2023-01-01")},
		{ID: "CVE-2023-7001", Source: "other", Affected: []Affected{{Ecosystem: "Debian:12", Name: "denied", Status: NotAffected}}, Modified: day("2023-02-01")},
		{ID: "CVE-2023-7002", Affected: []Affected{fixed("Debian:12", "denied", "9")}, Modified: day("2023-03-01")},
		{ID: "CVE-2023-7002", Source: "other", Affected: []Affected{{Ecosystem: "Debian:12", Name: "denied", Status: NotAffected}}, Modified: day("2023-02-01")},
	}
	d := database(t, Options{}, records)
	for _, c := range []struct {
		name string
		p    scan.Package
		want []string
	}{
		{"binary of a source package", scan.Package{Name: "libssl3", Version: "3.0.11-1~deb12u1", Source: "openssl", Ecosystem: "Debian:12"}, []string{"CVE-2023-1001 fix 3.0.11-1~deb12u2"}},
		{"backport that fixes", scan.Package{Name: "libssl3", Version: "3.0.11-1~deb12u2", Source: "openssl", Ecosystem: "Debian:12"}, nil},
		{"rebuilt binary, version of the source", scan.Package{Name: "libssl3", Version: "3.0.11-1+b9", Source: "openssl", SourceVersion: "3.0.11-1~deb12u1", Ecosystem: "Debian:12"}, []string{"CVE-2023-1001 fix 3.0.11-1~deb12u2"}},
		{"binary with the name of another source", scan.Package{Name: "openssl", Version: "1", Source: "quictls", Ecosystem: "Debian:12"}, nil},
		{"epoch below", scan.Package{Name: "vim", Version: "9.9.9-1", Ecosystem: "Debian:12"}, []string{"CVE-2023-1002 fix 2:9.0.1378-2+deb12u3"}},
		{"epoch above", scan.Package{Name: "vim", Version: "3:1.0-1", Ecosystem: "Debian:12"}, nil},
		{"other release", scan.Package{Name: "vim", Version: "9.0", Ecosystem: "Debian:13"}, nil},
		{"release from the image", scan.Package{Name: "vim", Version: "9.0", Ecosystem: "Debian"}, []string{"CVE-2023-1002 fix 2:9.0.1378-2+deb12u3"}},
		{"unfixed, refused, unknown", scan.Package{Name: "zlib1g", Version: "1:1.2.13", Source: "zlib", Ecosystem: "Debian:12"}, []string{"CVE-2023-1003", "CVE-2023-1004 will_not_fix", "CVE-2023-1005"}},
		{"by binary name in a source ecosystem", scan.Package{Name: "libonly", Version: "1", Source: "whatever", Ecosystem: "Debian:12"}, []string{"CVE-2023-1006"}},
		{"a bundle is a finding per CVE", scan.Package{Name: "bundle", Version: "1.0-1", Ecosystem: "Debian:12"}, []string{"CVE-2023-1010 fix 2.0-1", "CVE-2023-1011 fix 2.0-1"}},
		{"rpm", scan.Package{Name: "openssl-libs", Version: "1:3.0.7-6.el9_2", Ecosystem: "AlmaLinux:9"}, []string{"CVE-2023-2001 fix 1:3.0.7-16.el9_2"}},
		{"rpm without its epoch is older", scan.Package{Name: "openssl-libs", Version: "3.0.7-27.el9", Ecosystem: "AlmaLinux:9"}, []string{"CVE-2023-2001 fix 1:3.0.7-16.el9_2"}},
		{"source rpm has the epoch of its packages", scan.Package{Name: "openssl-libs", Version: "1:3.0.7-24.el9", Source: "openssl", SourceVersion: "3.0.7-24.el9", Ecosystem: "Red Hat:9"}, nil},
		{"source rpm affected", scan.Package{Name: "openssl-libs", Version: "1:3.0.7-18.el9", Source: "openssl", SourceVersion: "3.0.7-18.el9", Ecosystem: "Red Hat:9"}, []string{"CVE-2023-2002 fix 1:3.0.7-20.el9"}},
		{"architecture", scan.Package{Name: "armonly", Version: "1-1", Arch: "aarch64", Ecosystem: "Red Hat:9"}, []string{"CVE-2023-2003 fix 2-1"}},
		{"other architecture", scan.Package{Name: "armonly", Version: "1-1", Arch: "x86_64", Ecosystem: "Red Hat:9"}, nil},
		{"stream 18", scan.Package{Name: "nodejs", Version: "1:18.1.0-1.module+el8", Module: "nodejs:18:8060020220523:ad008a3a", Ecosystem: "Red Hat:8"}, []string{"CVE-2023-2004 fix 1:18.20.0-1.module+el8", "CVE-2023-2005 fix 1:20.1.0-1.module+el8"}},
		{"stream 16 by summary", scan.Package{Name: "nodejs", Version: "1:16.1.0-1.module+el8", Module: "nodejs:16:1:x", Ecosystem: "Red Hat:8"}, []string{"CVE-2023-2005 fix 1:20.1.0-1.module+el8", "CVE-2023-2007 fix 1:16.30.0-1.module+el8"}},
		{"stream 180 is not 18", scan.Package{Name: "nodejs", Version: "1:18.1.0-1.module+el8", Module: "nodejs:180:1:x", Ecosystem: "Red Hat:8"}, []string{"CVE-2023-2005 fix 1:20.1.0-1.module+el8"}},
		{"no module", scan.Package{Name: "nodejs", Version: "1:9.0.0-1.el8", Ecosystem: "Red Hat:8"}, []string{"CVE-2023-2006 fix 1:10.0.0-1.el8"}},
		{"first build of a module counts", scan.Package{Name: "tool", Version: "1.0-2.module_el8.4.0+20+bb", Module: "tool:1:1:x", Ecosystem: "AlmaLinux:8"}, nil},
		{"before the first build", scan.Package{Name: "tool", Version: "1.0-1.module_el8.4.0+20+bb", Module: "tool:1:1:x", Ecosystem: "AlmaLinux:8"}, []string{"CVE-2023-2008 fix 1.0-2.module_el8.4.0+20+bb"}},
		{"apk origin", scan.Package{Name: "libcrypto3", Version: "3.1.4-r4", Source: "openssl", Ecosystem: "Alpine:v3.19"}, []string{"CVE-2023-3001 fix 3.1.4-r5"}},
		{"Ubuntu without Pro", scan.Package{Name: "tiered", Version: "1.0-1ubuntu1", Ecosystem: "Ubuntu:20.04"}, []string{"CVE-2023-4001"}},
		{"Ubuntu Pro, fixed", scan.Package{Name: "tiered", Version: "1.0-1ubuntu1+esm2", Ecosystem: "Ubuntu:20.04"}, nil},
		{"Ubuntu Pro, affected", scan.Package{Name: "tiered", Version: "1.0-1ubuntu1+esm1", Ecosystem: "Ubuntu:20.04"}, []string{"CVE-2023-4001 fix 1.0-1ubuntu1+esm2"}},
		{"only Pro speaks", scan.Package{Name: "proonly", Version: "1.0-1", Ecosystem: "Ubuntu:20.04"}, []string{"CVE-2023-4002 fix 1.0-1ubuntu1+esm1"}},
		{"two sources, one finding, the fix that satisfies both", scan.Package{Name: "flask_thing", Version: "2.0", Ecosystem: "PyPI"}, []string{"CVE-2023-5001 fix 2.2.6"}},
		{"one source is enough", scan.Package{Name: "Flask-Thing", Version: "2.2.5", Ecosystem: "PyPI"}, []string{"CVE-2023-5001 fix 2.2.6"}},
		{"first line", scan.Package{Name: "lines", Version: "1.0.0", Ecosystem: "npm"}, []string{"GHSA-bbbb fix 1.2.3"}},
		{"between lines", scan.Package{Name: "lines", Version: "1.2.3", Ecosystem: "npm"}, nil},
		{"prerelease of a line", scan.Package{Name: "lines", Version: "2.0.0-rc.1", Ecosystem: "npm"}, nil},
		{"second line", scan.Package{Name: "lines", Version: "2.1.0", Ecosystem: "npm"}, []string{"GHSA-bbbb fix 2.3.4"}},
		{"last affected", scan.Package{Name: "lines", Version: "3.1.0", Ecosystem: "npm"}, []string{"GHSA-bbbb"}},
		{"after last affected", scan.Package{Name: "lines", Version: "3.1.1", Ecosystem: "npm"}, nil},
		{"limit is no fix", scan.Package{Name: "lines", Version: "4.0.9", Ecosystem: "npm"}, []string{"GHSA-bbbb"}},
		{"limit", scan.Package{Name: "lines", Version: "4.1.0", Ecosystem: "npm"}, nil},
		{"npm names have case", scan.Package{Name: "Lines", Version: "1.0.0", Ecosystem: "npm"}, nil},
		{"Maven", scan.Package{Name: "org.example:lib", Version: "4.1.99.Final", Ecosystem: "Maven"}, []string{"GHSA-cccc fix 4.1.100.Final"}},
		{"Maven zeros", scan.Package{Name: "org.example:lib", Version: "4.1.100", Ecosystem: "Maven"}, nil},
		{"NuGet names have no case, a fourth zero means nothing", scan.Package{Name: "newtonsoft.json", Version: "13.0.1.0", Ecosystem: "NuGet"}, nil},
		{"NuGet", scan.Package{Name: "newtonsoft.json", Version: "13.0.0.9", Ecosystem: "NuGet"}, []string{"GHSA-dddd fix 13.0.1"}},
		{"exact version without an order", scan.Package{Name: "old", Version: "2004d", Ecosystem: "PyPI"}, []string{"GHSA-eeee"}},
		{"exact version written otherwise", scan.Package{Name: "old", Version: "1.0.0", Ecosystem: "PyPI"}, []string{"GHSA-eeee"}},
		{"old name", scan.Package{Name: "old-name", Version: "1.0.0", Ecosystem: "npm"}, []string{"GHSA-ffff fix 2.0.0"}},
		{"new name", scan.Package{Name: "new-name", Version: "1.0.0", Ecosystem: "npm"}, []string{"GHSA-ffff fix 2.0.0"}},
		{"several CVEs keep the issuer's id", scan.Package{Name: "two-cves", Version: "1.0.0", Ecosystem: "npm"}, []string{"GHSA-gggg fix 2.0.0"}},
		{"every version", scan.Package{Name: "malware", Version: "whatever", Ecosystem: "npm"}, []string{"GHSA-hhhh"}},
		{"withdrawn", scan.Package{Name: "withdrawn", Version: "1.0.0", Ecosystem: "npm"}, nil},
		{"Go toolchain", scan.Package{Name: "stdlib", Version: "go1.22rc1", Ecosystem: "Go"}, []string{"CVE-2023-5004 fix 1.22.2"}},
		{"Go toolchain, first line", scan.Package{Name: "stdlib", Version: "1.21.8", Ecosystem: "Go"}, []string{"CVE-2023-5004 fix 1.21.9"}},
		{"program by another name", scan.Package{Name: "nodejs", Version: "18.12.0", Ecosystem: "Binary"}, []string{"CVE-2023-6001 fix 18.12.1"}},
		{"not affected wins, unless older", scan.Package{Name: "denied", Version: "1", Ecosystem: "Debian:12"}, []string{"CVE-2023-7002 fix 9"}},
		{"no ecosystem", scan.Package{Name: "openssl", Version: "1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			findings, _ := d.Match(scan.Release{Ecosystem: "Debian:12"}, []scan.Package{c.p})
			if diff := cmp.Diff(c.want, brief(findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
	if s := d.Info(); s.Advisories == 0 || s.Packages == 0 || !s.Data.Equal(day("2023-03-01")) {
		t.Errorf("info: %+v", s)
	}
}

func TestFindingIsComplete(t *testing.T) {
	vector := "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
	d := database(t, Options{Prose: true}, []Record{
		{ID: "DSA-1-1", Source: "other", Upstream: []string{"CVE-2023-1"}, Affected: []Affected{fixed("Debian:12", "a", "2")}},
		{ID: "DSA-2-1", Source: "other", Upstream: []string{"CVE-2023-0001"}, Severity: scan.Low, Published: day("2023-01-05"), Modified: day("2023-03-01"),
			Affected: []Affected{fixed("Debian:12", "a", "2")}, Summary: "short", URL: "https://example.org/DSA-2", Details: "long"},
		{ID: "CVE-2023-0001", Published: day("2023-01-02"), Modified: day("2023-02-01"), CVSS: "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N",
			Affected: []Affected{{Ecosystem: "Debian:12", Name: "a", Status: Unfixed, Severity: scan.Medium}}},
		{ID: "GHSA-x", Aliases: []string{"CVE-2023-0001", "PYSEC-9"}, Affected: []Affected{fixed("npm", "b", "1.0.0")}},
	}, Extra{CVE: "CVE-2023-0001", CVSS: vector, KEV: &scan.KEV{Added: day("2023-04-01"), Due: day("2023-05-01"), Ransomware: true}},
		Extra{CVE: "CVE-2023-0001", EPSS: &scan.EPSS{Score: 0.97531, Percentile: 0.99987, Date: day("2024-01-01")}, SSVC: &scan.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total"}})
	findings, gaps := d.Match(scan.Release{}, []scan.Package{{Name: "b", Version: "0.1.0", Ecosystem: "npm"}, {Name: "a", Version: "1", Ecosystem: "Debian:12"}})
	if len(gaps) != 0 {
		t.Errorf("gaps: %+v", gaps)
	}
	// "CVE-2023-1" is no well-formed id and stays what it is.
	if want := []string{"CVE-2023-0001 fix 1.0.0", "CVE-2023-0001", "CVE-2023-1 fix 2"}; !slices.Equal(brief(findings), want) {
		t.Fatalf("findings: %q, want %q", brief(findings), want)
	}
	if err := d.Describe(findings); err != nil {
		t.Fatal(err)
	}
	kev := &scan.KEV{Added: day("2023-04-01"), Due: day("2023-05-01"), Ransomware: true}
	epss := &scan.EPSS{Score: 0.97531, Percentile: 0.99987, Date: day("2024-01-01")}
	ssvc := &scan.SSVC{Exploitation: "active", Automatable: "yes", Impact: "total"}
	want := scan.Finding{
		Advisory: scan.Advisory{
			ID: "CVE-2023-0001", Aliases: []string{"DSA-2-1", "GHSA-x", "PYSEC-9"}, Severity: scan.Medium,
			CVSS: "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N", Score: 3.3, Source: "other",
			Published: day("2023-01-02"), Modified: day("2023-03-01"), KEV: kev, EPSS: epss, SSVC: ssvc,
			Summary: "short", URL: "https://example.org/DSA-2",
		},
		Package: 1, State: scan.Open,
	}
	if diff := cmp.Diff(want, findings[1]); diff != "" {
		t.Errorf("finding (-want +got):\n%s", diff)
	}
	if f := findings[0]; f.Severity != scan.Critical || f.Score != 9.8 || f.CVSS != vector {
		t.Errorf("without a word of the issuer the general vector counts: %+v", f.Advisory)
	}
}

func TestGaps(t *testing.T) {
	d := database(t, Options{}, []Record{
		{ID: "CVE-2023-0001", Affected: []Affected{fixed("npm", "a", "2.0.0")}},
		{ID: "CVE-2023-0002", Source: "part", Affected: []Affected{fixed("Maven", "g:a", "2")}},
		{ID: "CVE-2023-0003", Affected: []Affected{fixed("npm", "broken", "not a version"), fixed("Bitnami", "node", "1.0.0")}},
		{ID: "CVE-2023-0004", Affected: []Affected{{Ecosystem: "AlmaLinux:9", Name: "m", Module: "m:1", Ranges: []Range{{Fixed: "2-1"}}}}},
	})
	findings, gaps := d.Match(scan.Release{}, []scan.Package{
		{Name: "a", Version: "git+x", Ecosystem: "npm"},
		{Name: "no-advisories", Version: "git+y", Ecosystem: "npm"},
		{Name: "broken", Version: "1.0.0", Ecosystem: "npm"},
		{Name: "g:b", Version: "1", Ecosystem: "Maven"},
		{Name: "x", Version: "1", Ecosystem: "Debian:12"},
		{Name: "y", Version: "1", Ecosystem: "Debian:12"},
		{Name: "m", Version: "1-1.module_el9+1", Ecosystem: "AlmaLinux:9"},
		{Name: "frobnicate", Version: "1", Ecosystem: "Binary"},
		{Name: "z", Version: "1", Ecosystem: "No Such Thing"},
		{Name: "nobody issues for it", Version: "1"},
	})
	if want := []string{"CVE-2023-0004 fix 2-1"}; !slices.Equal(brief(findings), want) {
		t.Errorf("findings: %q, want %q", brief(findings), want)
	}
	var got []string
	for _, g := range gaps {
		s := g.Where + ": " + g.What
		if g.Minor {
			s += " (minor)"
		}
		if g.Means == "" {
			t.Errorf("%s: it does not say what that means", g.Where)
		}
		got = append(got, s)
	}
	want := []string{
		"CVE-2023-0003: the advisory has versions that cannot be ordered (minor)",
		"Debian:12: the database has no advisories for this ecosystem",
		"Maven: the advisories in this database are not all there are: part: most of it",
		"No Such Thing: the database has no advisories for this ecosystem",
		`npm a: version "git+x" cannot be ordered`,
		"programs without a package manager: the database has no advisories for frobnicate (minor)",
		"rpm modules: modular packages do not say which stream they belong to (minor)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gaps (-want +got):\n%s", diff)
	}
}

// TestMatchAgainstPlainReading compares the database with a reading of the same
// records that knows nothing of keys, tables and merging, and holds that the
// fix of a finding really ends it.
func TestMatchAgainstPlainReading(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	number := func() string { return fmt.Sprintf("%d.%d.%d", r.IntN(3), r.IntN(4), r.IntN(4)) }
	var records []Record
	for i := range 300 {
		rec := Record{ID: fmt.Sprintf("GHSA-%d", i), Aliases: []string{fmt.Sprintf("CVE-2023-%04d", r.IntN(150))}}
		for range 1 + r.IntN(3) {
			a := Affected{Ecosystem: "npm", Name: fmt.Sprintf("p%d", r.IntN(20))}
			for range 1 + r.IntN(3) {
				rg := Range{Introduced: number()}
				switch r.IntN(4) {
				case 0:
					rg.LastAffected = number()
				case 1:
				default:
					rg.Fixed = number()
				}
				a.Ranges = append(a.Ranges, rg)
			}
			if r.IntN(3) == 0 {
				a.Versions = []string{number(), number()}
			}
			rec.Affected = append(rec.Affected, a)
		}
		records = append(records, rec)
	}
	d := database(t, Options{}, records)
	found := 0
	for range 2000 {
		p := scan.Package{Ecosystem: "npm", Name: fmt.Sprintf("p%d", r.IntN(20)), Version: number()}
		findings, _ := d.Match(scan.Release{}, []scan.Package{p})
		want := map[string]bool{}
		for _, rec := range records {
			if slices.ContainsFunc(rec.Affected, func(a Affected) bool { return a.Name == p.Name && plainlyAffected(t, a, p.Version) }) {
				want[rec.Aliases[0]] = true
			}
		}
		got := map[string]bool{}
		for _, f := range findings {
			got[f.ID] = true
			if f.Fix == "" {
				continue
			}
			found++
			q := p
			q.Version = f.Fix
			after, _ := d.Match(scan.Release{}, []scan.Package{q})
			if slices.ContainsFunc(after, func(g scan.Finding) bool { return g.ID == f.ID }) {
				t.Fatalf("%s in %s %s is still there in its fix %s", f.ID, p.Name, p.Version, f.Fix)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s %s (-want +got):\n%s", p.Name, p.Version, diff)
		}
	}
	if found < 100 {
		t.Errorf("only %d fixes were tried", found)
	}
}

// plainlyAffected reads versions "a.b.c" of single digits as text.
func plainlyAffected(t *testing.T, a Affected, v string) bool {
	t.Helper()
	for _, r := range a.Ranges {
		if v >= r.Introduced && (r.Fixed == "" || v < r.Fixed) && (r.LastAffected == "" || v <= r.LastAffected) {
			return true
		}
	}
	return slices.Contains(a.Versions, v)
}

func TestMatchAllocatesNothingForMisses(t *testing.T) {
	d := database(t, Options{}, []Record{{ID: "CVE-2023-0001", Affected: []Affected{fixed("npm", "a", "2.0.0"), fixed("PyPI", "b", "1")}}})
	pkgs := make([]scan.Package, 0, 2000)
	for i := range 1000 {
		pkgs = append(pkgs, scan.Package{Ecosystem: "npm", Name: fmt.Sprintf("miss-%d", i), Version: "1.0.0"})
	}
	for i := range 1000 {
		pkgs = append(pkgs, scan.Package{Ecosystem: "PyPI", Name: strings.Repeat("Miss_", i%9) + "x", Version: "1.0.0"})
	}
	if n := testing.AllocsPerRun(20, func() { d.Match(scan.Release{}, pkgs) }); n > 40 {
		t.Errorf("2,000 misses allocate %v times", n)
	}
}
