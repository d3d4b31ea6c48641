package decide_test

import (
	"fmt"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
)

func report() *scan.Report {
	return &scan.Report{
		Image: scan.Image{Name: "registry.example/web:1", Layers: []scan.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}}},
		Packages: []scan.Package{
			{Name: "log4j-core", Version: "2.14.1", Ecosystem: "Maven", Path: "/app.jar!/log4j-core.jar", Layer: 1},
			{Name: "log4j-api", Version: "2.14.1", Ecosystem: "Maven", Path: "/app.jar!/log4j-api.jar", Layer: 1},
		},
		Findings: []scan.Finding{
			{Advisory: scan.Advisory{ID: "CVE-2021-44228", Severity: scan.Critical, Score: 10, KEV: &scan.KEV{}}, Package: 0, Fix: "2.17.1", State: scan.Open},
			{Advisory: scan.Advisory{ID: "CVE-2026-1", Severity: scan.Low}, Package: 1, Fix: "2.20.0", State: scan.Open},
		},
	}
}

func ExampleApply() {
	file, err := decide.ParseIgnore(decide.IgnoreName, []byte(`
vulnerabilities:
  - {id: CVE-2026-1, owner: web team, reason: only our own input is parsed, expires: 2027-01-31}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	r := report()
	decide.Apply(r, decide.Inputs{Ignore: file}, time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC))
	for _, f := range r.Findings {
		fmt.Println(f.ID, f.State, f.Priority, f.Reasons)
	}
	// Output:
	// CVE-2021-44228 open 68 [critical, CVSS 10.0 known to be exploited (CISA KEV) fixed in 2.17.1]
	// CVE-2026-1 ignored 0 [ignored by ignore file .gabionignore.yaml:3]
}

func ExamplePlan() {
	r := report()
	decide.Apply(r, decide.Inputs{}, time.Time{})
	for _, s := range decide.Plan(r) {
		fmt.Println(s.Do, s.Closes)
	}
	// Output:
	// upgrade Maven log4j-core 2.14.1 to 2.17.1 [CVE-2021-44228]
	// upgrade Maven log4j-api 2.14.1 to 2.20.0 [CVE-2026-1]
}

func ExampleJudge() {
	thresholds, err := decide.ParseThresholds("high,kev,fixable")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, v := range decide.Judge(report(), thresholds) {
		fmt.Println(v.Rule, v.Object)
	}
	// Output:
	// --fail-on high CVE-2021-44228 in log4j-core 2.14.1
}

func ExampleParseIgnore() {
	_, err := decide.ParseIgnore(decide.IgnoreName, []byte("vulnerabilities:\n  - id: CVE-2021-44228\n    owner: web team\n    reasn: none\n"))
	fmt.Println(err)
	// Output:
	// .gabionignore.yaml:4:5: vulnerabilities[0].reasn: unknown field (did you mean "reason"?)
	// .gabionignore.yaml:2:5: vulnerabilities[0].reason: is missing (say why it is needed)
	// .gabionignore.yaml:2:5: vulnerabilities[0].expires: is missing (write it as 2027-01-31 or 2027-01-31T12:00:00Z)
}

func ExampleFindBase() {
	img := scan.Image{Layers: []scan.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}}}
	base := scan.Image{Name: "debian:12", Layers: []scan.Layer{{DiffID: "sha256:1"}}}
	fmt.Println(*decide.FindBase(img, &base))
	// Output:
	// {debian:12  1 given}
}

func ExampleDiff() {
	old, new := report(), report()
	new.Packages[0].Version, new.Findings = "2.17.1", new.Findings[1:]
	d := decide.Diff(old, new)
	fmt.Println(d.Packages.Changed[0].Name, d.Packages.Changed[0].Old, d.Packages.Changed[0].New)
	fmt.Println(len(d.Findings.New), len(d.Findings.Fixed), len(d.Findings.Still))
	// Output:
	// log4j-core [2.14.1] [2.17.1]
	// 0 1 1
}
