package decide

import (
	"fmt"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
)

// BenchmarkApply decides an ordinary image: 400 packages, 300 findings, with
// and without decisions at hand.
func BenchmarkApply(b *testing.B) {
	fresh := func() *scan.Report {
		r := &scan.Report{Image: scan.Image{Name: "registry.example/web:1", Layers: make([]scan.Layer, 8)}, Base: &scan.Base{Layers: 4}, Database: scan.Database{Digest: "x", Data: now}}
		for i := range 400 {
			r.Packages = append(r.Packages, scan.Package{
				Name: fmt.Sprintf("package-%d", i), Version: "1.2-3", Ecosystem: "Debian:12", Path: "/var/lib/dpkg/status", Layer: i % 8,
				PURL: fmt.Sprintf("pkg:deb/debian/package-%d@1.2-3?arch=amd64&distro=debian-12", i),
			})
		}
		for i := range 300 {
			r.Findings = append(r.Findings, scan.Finding{
				Advisory: scan.Advisory{ID: fmt.Sprintf("CVE-2026-%d", i), Aliases: []string{fmt.Sprintf("DSA-%d", i)}, Severity: scan.Severity(i % 6), Score: 7.5, Published: now.Add(-time.Hour * 2000), EPSS: &scan.EPSS{Score: 0.01}},
				Package:  i, Fix: "1.2-4", State: scan.Open,
			})
		}
		return r
	}
	var in Inputs
	in.Exceptions = append(in.Exceptions, exception(now.Add(time.Hour)))
	doc := vex.Document{Name: "v"}
	for i := range 1000 {
		doc.Statements = append(doc.Statements, vex.Statement{IDs: []string{fmt.Sprintf("CVE-2026-%d", i)}, Status: vex.Fixed, Products: []vex.Product{{Names: []string{fmt.Sprintf("pkg:deb/debian/package-%d", i)}}}})
	}
	in.VEX = []vex.Document{doc}
	for _, bb := range []struct {
		name string
		in   Inputs
	}{{"plain", Inputs{}}, {"decisions", in}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r := fresh()
				b.StartTimer()
				Apply(r, bb.in, now)
				r.Plan = Plan(r)
				Judge(r, Thresholds{FailOn: scan.High})
			}
		})
	}
}
