package vuln

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

func TestEmbedded(t *testing.T) {
	d, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(); err != nil {
		t.Fatal(err)
	}
	info := d.Info()
	if !info.Embedded || info.Advisories < 30_000 || info.Packages < 15_000 || info.Data.IsZero() {
		t.Errorf("info: %+v", info)
	}
	licences, err := os.ReadFile("embedded/LICENCES.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Sources {
		if s.Licence == "" || !strings.Contains(string(licences), "| "+s.Name+" |") {
			t.Errorf("source %s: licence %q; LICENCES.md does not list it, or it has none", s.Name, s.Licence)
		}
	}
	if len(d.parts[secProse]) != 0 {
		t.Error("the snapshot has prose, which its licences were not asked for")
	}
	for _, c := range []struct {
		p    scan.Package
		want string
		fix  string
	}{
		{scan.Package{Ecosystem: "Go", Name: "golang.org/x/net", Version: "v0.17.0"}, "CVE-2023-45288", "0.23.0"},
		{scan.Package{Ecosystem: "Go", Name: "stdlib", Version: "1.22.3"}, "CVE-2024-24790", "1.22.4"},
		{scan.Package{Ecosystem: "PyPI", Name: "Django", Version: "3.2.1"}, "CVE-2021-33203", "3.2.4"},
		{scan.Package{Ecosystem: "AlmaLinux:9", Name: "openssl-libs", Version: "1:3.0.7-6.el9_2"}, "CVE-2023-0464", "1:3.0.7-16.el9_2"},
		{scan.Package{Ecosystem: "Debian:11", Name: "libssl1.1", Version: "1.1.1n-0+deb11u3", Source: "openssl"}, "CVE-2022-4304", "1.1.1n-0+deb11u4"},
		{scan.Package{Ecosystem: "npm", Name: "lodash", Version: "4.17.1"}, "CVE-2018-16487", "4.17.11"},
		{scan.Package{Ecosystem: "Binary", Name: "node", Version: "18.12.0"}, "CVE-2022-3602", "18.12.1"},
		{scan.Package{Ecosystem: "crates.io", Name: "openssl", Version: "0.8.0"}, "CVE-2016-10931", "0.9.0"},
		{scan.Package{Ecosystem: "RubyGems", Name: "rack", Version: "2.0.1"}, "CVE-2018-16471", ""},
	} {
		findings, _ := d.Match(scan.Release{}, []scan.Package{c.p})
		i := slices.IndexFunc(findings, func(f scan.Finding) bool { return f.ID == c.want })
		if i < 0 {
			t.Errorf("%s %s: %s is missing among %q", c.p.Name, c.p.Version, c.want, brief(findings))
			continue
		}
		if c.fix != "" && findings[i].Fix != c.fix {
			t.Errorf("%s %s: fix of %s is %q, want %q", c.p.Name, c.p.Version, c.want, findings[i].Fix, c.fix)
		}
	}
	_, gaps := d.Match(scan.Release{}, []scan.Package{{Ecosystem: "npm", Name: "x", Version: "1.0.0"}, {Ecosystem: "Debian:12", Name: "x", Version: "1"}})
	if len(gaps) != 2 || gaps[0].Minor || gaps[1].Minor {
		t.Errorf("a snapshot that lacks things must say so: %+v", gaps)
	}
}

func ExampleDB_Match() {
	d, err := Embedded()
	if err != nil {
		fmt.Println(err)
		return
	}
	findings, gaps := d.Match(scan.Release{}, []scan.Package{{Ecosystem: "Go", Name: "golang.org/x/crypto", Version: "v0.16.0"}})
	fmt.Println(findings[0].ID, findings[0].Fix, len(gaps))
	// Output: CVE-2023-48795 0.17.0 0
}

// inventory makes packages with the names of the snapshot, in versions old and
// new, among as many names that it does not have.
func inventory(b testing.TB, d *DB, n int) []scan.Package {
	var names []scan.Package
	for rest := d.parts[secPackages]; len(rest) > 0; {
		prefix, name, _, next, ok := packageAt(rest)
		if !ok {
			b.Fatal("damaged")
		}
		rest = next
		if e := d.meta.Ecosystems[prefix>>1].Name; e != "Bitnami" && e != "Docker Hardened Images" {
			names = append(names, scan.Package{Ecosystem: e, Name: string(name)})
		}
	}
	pkgs := make([]scan.Package, n)
	for i := range pkgs {
		p := names[(i*7919)%len(names)]
		switch i % 10 {
		case 0: // one in ten has advisories for its name
			p.Version = []string{"0.1", "1.2.3", "9.9.9", "99.1"}[i/10%4]
		default:
			p.Name, p.Version = p.Name+"-other", "1.2.3"
		}
		pkgs[i] = p
	}
	return scan.SortPackages(pkgs)
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		if _, err := Embedded(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFile(b *testing.B) {
	for b.Loop() {
		d, err := Open("embedded/gabion.db")
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	d, err := Embedded()
	if err != nil {
		b.Fatal(err)
	}
	mixed := inventory(b, d, 10_000)
	misses := slices.DeleteFunc(slices.Clone(mixed), func(p scan.Package) bool { return !strings.HasSuffix(p.Name, "-other") })
	for name, pkgs := range map[string][]scan.Package{"misses": misses, "mixed": mixed, "image-of-2055": inventory(b, d, 2055)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			found := 0
			for b.Loop() {
				findings, _ := d.Match(scan.Release{}, pkgs)
				found = len(findings)
			}
			b.ReportMetric(float64(len(pkgs)*b.N)/b.Elapsed().Seconds(), "packages/s")
			b.ReportMetric(float64(found), "findings")
		})
	}
}
