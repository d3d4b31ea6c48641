package sbom

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

// big has the packages of a large image: 2,000 of npm, 300 of Debian.
func big() *scan.Report {
	r := sample.Clean()
	r.Packages = nil
	for i := range 2300 {
		p := scan.Package{Name: fmt.Sprintf("package-%d", i), Version: fmt.Sprintf("1.%d.0", i), Ecosystem: "npm", Licenses: []string{"MIT"},
			PURL: fmt.Sprintf("pkg:npm/package-%d@1.%d.0", i, i), Found: "npm", Path: fmt.Sprintf("/app/node_modules/package-%d/package.json", i), Layer: 2}
		if i >= 2000 {
			p.Ecosystem, p.Source, p.Path, p.PURL = "Debian:12", "source", "/var/lib/dpkg/status", fmt.Sprintf("pkg:deb/debian/package-%d@1.%d.0?distro=debian-12", i, i)
		}
		r.Packages = append(r.Packages, p)
	}
	r.Packages = scan.SortPackages(r.Packages)
	return r
}

func BenchmarkWrite(b *testing.B) {
	r := big()
	for _, f := range formats {
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Write(io.Discard, f, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, f := range formats {
		doc := write(b, f, big())
		b.Run(string(f), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc)))
			for b.Loop() {
				if _, _, err := Read(bytes.NewReader(doc)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
