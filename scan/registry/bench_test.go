package registry

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/vuln"
)

// engineMatcher is what the command line uses.
type engineMatcher struct{ o engine.Options }

func (engineMatcher) Database() string { return "new" }

func (m engineMatcher) Match(k *Kept) (*scan.Report, error) {
	return engine.Assemble(&engine.Content{Image: k.Image, Inventory: k.Inventory, Signatures: k.Signatures, Signed: k.Signed, Base: k.Base}, m.o)
}

// BenchmarkRematchEngine10000 is the whole way of 10,000 stored images of 400
// npm packages each, a tenth of them with advisories: read, match against the
// embedded database, check, decide, plan. One core.
func BenchmarkRematchEngine10000(b *testing.B) {
	db, err := vuln.Embedded()
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	known := []string{"lodash", "minimist", "handlebars", "jquery", "marked", "moment", "ws", "request", "qs", "tar"}
	var s stock
	s.count = &counter{}
	for i := range 10_000 {
		k := sample(i, 400)
		for n := range k.Inventory.Packages {
			p := &k.Inventory.Packages[n]
			p.Ecosystem, p.Source, p.SourceVersion, p.Found = "npm", "", "", "npm"
			p.Version = fmt.Sprintf("1.%d.0", n)
			if n%10 == 0 {
				p.Name, p.Version = known[n/10%len(known)], fmt.Sprintf("1.%d.0", n/100)
			}
		}
		packed, err := k.Pack()
		if err != nil {
			b.Fatal(err)
		}
		s.packed = append(s.packed, packed)
	}
	m := engineMatcher{engine.Options{DB: db, Checks: true, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}}
	findings := 0
	if k, err := Unpack(s.packed[0]); err == nil {
		if r, err := m.Match(k); err == nil {
			findings = len(r.Findings)
		}
	}
	b.ResetTimer()
	for b.Loop() {
		if sum, err := Rematch(context.Background(), s, m, 1); err != nil || sum.Matched != 10_000 {
			b.Fatal(sum, err)
		}
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "images/s")
	b.ReportMetric(float64(findings), "findings/image")
}
