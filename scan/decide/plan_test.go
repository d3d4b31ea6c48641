package decide

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
)

func show(steps []scan.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, fmt.Sprintf("%d %s | %s | %s | %v", s.Priority, s.Worst, s.Do, s.Where, s.Closes))
	}
	return out
}

func TestPlan(t *testing.T) {
	r := &scan.Report{
		Image: scan.Image{Name: "x", Layers: make([]scan.Layer, 3)},
		Base:  &scan.Base{Name: "debian:12", Layers: 1, How: HowGiven},
		Packages: []scan.Package{
			0: {Name: "bash", Version: "5.2-1", Ecosystem: "Debian:12", Path: "/var/lib/dpkg/status", Layer: 0},
			1: {Name: "curl", Version: "7.88-1", Ecosystem: "Debian:12", Path: "/var/lib/dpkg/status", Layer: 1},
			2: {Name: "git", Version: "2.39-1", Ecosystem: "Debian:12", Path: "/var/lib/dpkg/status", Layer: 1},
			3: {Name: "lodash", Version: "4.17.4", Ecosystem: "npm", Path: "/a/node_modules/lodash/package.json", Layer: 2},
			4: {Name: "lodash", Version: "4.17.4", Ecosystem: "npm", Path: "/b/node_modules/lodash/package.json", Layer: 2},
			5: {Name: "lodash", Version: "3.0.0", Ecosystem: "npm", Path: "/c/node_modules/lodash/package.json", Layer: 2},
			6: {Name: "stdlib", Version: "1.25.1", Ecosystem: "Go", Path: "/usr/bin/app", Layer: 2},
			7: {Name: "odd", Version: "1", Ecosystem: "Nowhere", Path: "/odd", Layer: 2},
		},
	}
	add := func(id string, pkg int, s scan.Severity, fix string) {
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: id, Severity: s}, Package: pkg, Fix: fix, State: scan.Open})
	}
	add("CVE-1", 0, scan.Low, "5.2-2")
	add("CVE-2", 1, scan.High, "7.88-2")
	add("CVE-3", 1, scan.High, "7.88-10") // newer than 7.88-2
	add("CVE-3", 2, scan.High, "2.39-2")
	add("CVE-4", 3, scan.High, "4.17.11")
	add("CVE-5", 3, scan.Critical, "4.17.21")
	add("CVE-4", 4, scan.High, "4.17.11")
	add("CVE-5", 4, scan.Critical, "4.17.21")
	add("CVE-4", 5, scan.High, "4.17.11")
	add("CVE-6", 6, scan.Medium, "1.25.8")
	add("CVE-7", 6, scan.Medium, "1.25.10")
	add("CVE-8", 3, scan.Critical, "") // nothing can be done
	add("CVE-9", 7, scan.Low, "3")
	add("CVE-10", 7, scan.Low, "20")
	r.Findings = append(r.Findings,
		scan.Finding{Advisory: scan.Advisory{ID: "CVE-11", Severity: scan.Critical}, Package: 3, Fix: "9", State: scan.Ignored},
		scan.Finding{Advisory: scan.Advisory{ID: "CVE-12", Severity: scan.Critical}, Package: 3, Fix: "9", State: scan.NotAffected})
	Apply(r, Inputs{}, now)
	want := []string{
		"45 critical | upgrade npm lodash 4.17.4 to 4.17.21 | /a/node_modules/lodash/package.json, /b/node_modules/lodash/package.json | [CVE-4 CVE-5]",
		"35 high | upgrade 2 Debian packages: curl to 7.88-10, git to 2.39-2 | /var/lib/dpkg/status | [CVE-2 CVE-3]",
		"35 high | upgrade npm lodash 3.0.0 to 4.17.11 | /c/node_modules/lodash/package.json | [CVE-4]",
		"25 medium | rebuild with Go 1.25.10 (was built with 1.25.1) | /usr/bin/app | [CVE-6 CVE-7]",
		"17 low | upgrade Nowhere odd 1 to 20 or 3, whichever is newer | /odd | [CVE-10 CVE-9]",
		"13 low | upgrade base image debian:12 to one with 1 fixed package: bash to 5.2-2 | base image | [CVE-1]",
	}
	if diff := cmp.Diff(want, show(Plan(r))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// The order of findings does not matter.
	slices.Reverse(r.Findings)
	if diff := cmp.Diff(want, show(Plan(r))); diff != "" {
		t.Errorf("reversed (-want +got)\n%s", diff)
	}
	// Every open finding with a fix is in one step exactly.
	closed := 0
	for _, s := range Plan(r) {
		closed += len(s.Closes)
	}
	if closed != 10 {
		t.Errorf("%d ids are closed", closed)
	}
}

func TestPlanLong(t *testing.T) {
	r := &scan.Report{Base: &scan.Base{Layers: 1, How: HowHistory}}
	for i := range 8 {
		r.Packages = append(r.Packages, scan.Package{Name: fmt.Sprintf("p%d", i), Version: "1", Ecosystem: "Alpine:v3.19"})
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: fmt.Sprint("CVE-", i)}, Package: i, Fix: "2", State: scan.Open})
	}
	Apply(r, Inputs{}, now)
	steps := Plan(r)
	if len(steps) != 1 || steps[0].Do != "upgrade the base image to one with 8 fixed packages: p0 to 2, p1 to 2, p2 to 2, p3 to 2, p4 to 2 and 3 more" {
		t.Errorf("%+v", show(steps))
	}
	if got := Plan(&scan.Report{}); got == nil || len(got) != 0 {
		t.Errorf("nothing to do is %v", got)
	}
}
