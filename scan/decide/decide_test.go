package decide

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// sample is a report as the matcher makes it: three packages of which the
// first two are the base image's, findings in each, a secret, checks, licences.
func sample() *scan.Report {
	return &scan.Report{
		Image: scan.Image{
			Name: "registry:registry.example/team/web:1.2", Kind: scan.Registry, Digest: "sha256:" + strings.Repeat("a", 64),
			ConfigID: "sha256:" + strings.Repeat("c", 64),
			Layers:   []scan.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:2"}},
		},
		Base:     &scan.Base{Name: "debian:12", Layers: 1, How: HowGiven},
		Database: scan.Database{Digest: "sha256:db", Data: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		Packages: []scan.Package{
			{Name: "bash", Version: "5.2-1", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/bash@5.2-1?arch=amd64&distro=debian-12", Path: "/var/lib/dpkg/status", Layer: 0, Programs: []string{"/usr/bin/bash"}},
			{Name: "libssl3", Version: "3.0.11-1", Source: "openssl", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12", Path: "/var/lib/dpkg/status", Layer: 0, Programs: []string{"/usr/lib/libssl.so.3"}},
			{Name: "lodash", Version: "4.17.20", Ecosystem: "npm", PURL: "pkg:npm/lodash@4.17.20", Path: "/app/node_modules/lodash/package.json", Layer: 1},
		},
		Findings: []scan.Finding{
			{Advisory: scan.Advisory{ID: "CVE-2026-1", Aliases: []string{"DSA-1-1"}, Severity: scan.High, Score: 8}, Package: 0, Fix: "5.2-2", State: scan.Open},
			{Advisory: scan.Advisory{ID: "CVE-2026-2", Severity: scan.Unknown}, Package: 1, State: scan.Unsupported},
			{Advisory: scan.Advisory{ID: "CVE-2026-3", Aliases: []string{"GHSA-aaaa-bbbb-cccc"}, Severity: scan.Critical, Score: 9.8}, Package: 2, Fix: "4.17.21", State: scan.Open},
		},
		Secrets: []scan.Secret{
			{Detector: "private-key", Where: "/etc/key.pem", Line: 1, Fingerprint: "0123456789abcdef", Layer: 0},
			{Detector: "password", Where: "env DB_PASSWORD", Fingerprint: "fedcba9876543210", Layer: -1},
		},
		Checks: []scan.Check{
			{ID: "IMG-ROOT", Title: "runs as root", Status: "fail"},
			{ID: "IMG-TAG", Title: "tag", Status: "pass"},
		},
		Licenses: []scan.License{
			{License: "GPL-3.0-only", Packages: []int{0, 1}, Verdict: denied},
			{License: "MIT", Packages: []int{2}, Verdict: "allowed"},
		},
	}
}

func finding(t *testing.T, r *scan.Report, id string) *scan.Finding {
	t.Helper()
	for i := range r.Findings {
		if r.Findings[i].ID == id {
			return &r.Findings[i]
		}
	}
	t.Fatalf("finding %s is gone", id)
	return nil
}

func ignore(t *testing.T, text string) *IgnoreFile {
	t.Helper()
	f, err := ParseIgnore(IgnoreName, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func gapsAt(r *scan.Report, where string) []string {
	var out []string
	for _, g := range r.Gaps {
		if strings.HasPrefix(g.Where, where) {
			if !g.Minor {
				out = append(out, "MAJOR")
			}
			out = append(out, g.What)
		}
	}
	return out
}

func TestApplyWithoutDecisions(t *testing.T) {
	r := sample()
	Apply(r, Inputs{}, now)
	if !r.Image.Layers[0].Base || r.Image.Layers[1].Base {
		t.Errorf("layers %+v", r.Image.Layers)
	}
	var got []string
	for _, f := range r.Findings {
		got = append(got, fmt.Sprintf("%s %s base=%t %d", f.ID, f.State, f.Base, f.Priority))
	}
	want := []string{"CVE-2026-3 open base=false 49", "CVE-2026-1 open base=true 34", "CVE-2026-2 will_not_fix base=true 14"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := gapsAt(r, "severity"); !slices.Equal(got, []string{"nobody has rated 1 vulnerability"}) || r.Incomplete() {
		t.Errorf("gaps %q", got)
	}
	for _, s := range r.Secrets {
		if s.State != scan.Open {
			t.Errorf("secret %+v", s)
		}
	}
	// Without a base image nothing is own, and no layer is marked.
	r = sample()
	r.Base = nil
	Apply(r, Inputs{}, now)
	if f := finding(t, r, "CVE-2026-3"); f.Base || f.Priority != 45 || r.Image.Layers[0].Base {
		t.Errorf("%+v", f)
	}
}

// TestExpiry holds the moment itself: one that is reached has passed.
func TestExpiry(t *testing.T) {
	at := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	inputs := map[string]Inputs{
		"date":      {Ignore: ignore(t, "vulnerabilities: [{id: CVE-2026-3, owner: web, reason: r, expires: 2026-12-31}]")},
		"time":      {Ignore: ignore(t, "vulnerabilities: [{id: CVE-2026-3, owner: web, reason: r, expires: 2026-12-31T01:00:00+01:00}]")},
		"exception": {Exceptions: []v1alpha1.Exception{exception(at)}},
	}
	for name, in := range inputs {
		for _, tt := range []struct {
			now  time.Time
			want scan.State
		}{
			{at.Add(-time.Second), scan.Ignored}, {at.Add(-time.Nanosecond), scan.Ignored}, {at, scan.Open}, {at.Add(time.Second), scan.Open},
		} {
			r := sample()
			Apply(r, in, tt.now)
			f := finding(t, r, "CVE-2026-3")
			if f.State != tt.want {
				t.Errorf("%s at %s: %s, want %s", name, tt.now, f.State, tt.want)
			}
			gaps := strings.Join(append(gapsAt(r, "ignore"), gapsAt(r, "Exception")...), "; ")
			if expired := strings.Contains(gaps, "expired on 2026-12-31T00:00:00Z"); expired != (tt.want == scan.Open) {
				t.Errorf("%s at %s: gaps %q", name, tt.now, gaps)
			}
			if failed := len(Judge(r, Thresholds{FailOn: scan.Critical})) > 0; failed != (tt.want == scan.Open) {
				t.Errorf("%s at %s: failed %t", name, tt.now, failed)
			}
		}
	}
}

func exception(until time.Time) v1alpha1.Exception {
	return v1alpha1.Exception{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: v1alpha1.ExceptionSpec{
			Images: []string{"registry.example/team/**"}, Owner: "web team", Reason: "not reachable", ExpiresAt: metav1.NewTime(until),
			Rules: v1alpha1.ExceptionRules{Vulnerabilities: []v1alpha1.VulnerabilityRule{{ID: "ghsa-AAAA-bbbb-cccc", Reason: "never called"}}},
		},
	}
}

func TestExceptionByAlias(t *testing.T) {
	r := sample()
	until := now.Add(time.Hour)
	Apply(r, Inputs{Exceptions: []v1alpha1.Exception{exception(until)}}, now)
	f := finding(t, r, "CVE-2026-3")
	want := &scan.Decision{By: "Exception/web", Owner: "web team", Reason: "not reachable: never called", Expires: until}
	if diff := cmp.Diff(want, f.Decision); diff != "" || f.State != scan.Ignored || f.Priority != 0 {
		t.Errorf("state %s priority %d (-want +got)\n%s", f.State, f.Priority, diff)
	}
	if want := []string{"ignored by Exception/web"}; !slices.Equal(f.Reasons, want) {
		t.Errorf("reasons %q", f.Reasons)
	}
}

func TestExceptionImages(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		pattern string
		name    string
		tags    []string
		want    bool
	}{
		{"registry.example/team/web", "registry.example/team/web:1", nil, true},
		{"registry.example/team/web:1", "registry:registry.example/team/web:1", nil, true},
		{"registry.example/team/web:2", "registry.example/team/web:1", nil, false},
		{"registry.example/*", "registry.example/team/web:1", nil, false},
		{"registry.example/**", "registry.example/team/web:1", nil, true},
		{"*", "registry.example/team/web:1", nil, false},
		{"*", "web:1", nil, true},
		{"sha256", "registry.example/team/web:1", nil, false},
		{"nginx", "docker.io/library/nginx:1.2", nil, true},
		{"nginx:1.*", "index.docker.io/library/nginx:1.2", nil, true},
		{"nginx", "nginx", nil, true},
		{digest, "web.tar", nil, true},
		{"sha256:" + strings.Repeat("c", 64), "web.tar", nil, true},
		{"sha256:" + strings.Repeat("b", 64), "web.tar", nil, false},
		{"registry.example/web@" + digest, "registry.example/web:1", nil, true},
		{"registry.example/web:2", "oci:layout", []string{"registry.example/web:2"}, true},
		{"/srv/**", "dir:/srv/app", nil, true},
		{"**", "anything", nil, true},
		{"", "anything", nil, false},
	} {
		img := &scan.Image{Name: tt.name, Digest: digest, ConfigID: "sha256:" + strings.Repeat("c", 64), Tags: tt.tags}
		if got := matchesImage([]string{tt.pattern}, img); got != tt.want {
			t.Errorf("%q matches %q: %t", tt.pattern, tt.name, got)
		}
	}
	if matchesImage(nil, &scan.Image{Name: "x"}) {
		t.Error("no pattern means no image")
	}
}

func TestIgnoreRules(t *testing.T) {
	const tail = ", owner: o, reason: r, expires: 2027-01-01}]"
	for _, tt := range []struct {
		rule string
		want string // what is settled
		gap  string
	}{
		{"vulnerabilities: [{id: DSA-1-1", "CVE-2026-1", ""},
		{"vulnerabilities: [{id: CVE-2026-1, package: 'ba*', path: /var/lib/**", "CVE-2026-1", ""},
		{"vulnerabilities: [{id: CVE-2026-1, package: zsh", "", "CVE-2026-1 zsh: matches nothing"},
		{"vulnerabilities: [{id: CVE-2026-1, path: /opt/**", "", "CVE-2026-1 /opt/**: matches nothing"},
		{"vulnerabilities: [{id: '*', package: openssl", "CVE-2026-2", ""}, // the source package
		{"vulnerabilities: [{id: '*', package: libssl3", "CVE-2026-2", ""},
		{"vulnerabilities: [{id: CVE-2026-1, untilFixed: true", "", "CVE-2026-1: counts no more, since it is fixed in 5.2-2"},
		{"vulnerabilities: [{id: CVE-2026-2, untilFixed: true", "CVE-2026-2", ""},
		{"vulnerabilities: [{id: CVE-2026-9", "", "CVE-2026-9: matches nothing"},
		{"secrets: [{fingerprint: 0123456789abcdef", "private-key", ""},
		{"secrets: [{detector: password", "password", ""},
		{"secrets: [{path: /etc/*", "private-key", ""},
		{"secrets: [{path: 'env DB_*', detector: private-key", "", "secret private-key env DB_*: matches nothing"},
		{"checks: [{id: img-root", "IMG-ROOT", ""},
		{"checks: [{id: IMG-TAG", "", "check IMG-TAG: matches nothing"}, // it passed
		{"licenses: [{license: gpl-3.0-ONLY, package: bash", "GPL-3.0-only[0]", ""},
		{"licenses: [{license: GPL-3.0-only", "GPL-3.0-only[0 1]", ""},
		{"licenses: [{license: MIT", "", "licence MIT: matches nothing"}, // it is allowed
		{"licenses: [{license: GPL-3.0-only, package: zsh", "", "licence GPL-3.0-only of zsh: matches nothing"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			r := sample()
			Apply(r, Inputs{Ignore: ignore(t, tt.rule+tail)}, now)
			var settled []string
			for _, f := range r.Findings {
				if f.State == scan.Ignored {
					settled = append(settled, f.ID)
				}
			}
			for _, s := range r.Secrets {
				if s.State == scan.Ignored {
					settled = append(settled, s.Detector)
				}
			}
			for _, c := range r.Checks {
				if c.State == scan.Ignored {
					settled = append(settled, c.ID)
				}
			}
			for _, l := range r.Licenses {
				if l.Verdict == Excepted && l.Decision.Owner == "o" {
					settled = append(settled, l.License+fmt.Sprint(l.Packages))
				}
			}
			if got := strings.Join(settled, " "); got != tt.want {
				t.Errorf("settles %q, want %q", got, tt.want)
			}
			if got := strings.Join(gapsAt(r, "ignore file .gabionignore.yaml:1"), "; "); got != tt.gap {
				t.Errorf("gap %q, want %q", got, tt.gap)
			}
		})
	}
}

// TestUnusedNeedsALook: a rule about what nobody looked for is not unused.
func TestUnusedNeedsALook(t *testing.T) {
	r := sample()
	r.Database, r.Findings, r.Secrets, r.Checks, r.Licenses = scan.Database{}, nil, nil, nil, nil
	Apply(r, Inputs{Ignore: ignore(t, `
vulnerabilities: [{id: CVE-1, owner: o, reason: r, expires: 2027-01-01}]
secrets: [{detector: x, owner: o, reason: r, expires: 2027-01-01}]
checks: [{id: x, owner: o, reason: r, expires: 2027-01-01}]
licenses: [{license: x, owner: o, reason: r, expires: 2027-01-01}]`)}, now)
	if len(r.Gaps) != 0 || r.Licenses != nil {
		t.Errorf("gaps %+v", r.Gaps)
	}
}

// TestExceptionElsewhere: an exception is for many images, so that one which
// does nothing here is not worth a word.
func TestExceptionElsewhere(t *testing.T) {
	e := exception(now.Add(-time.Hour))
	e.Spec.Rules.Vulnerabilities[0].ID = "CVE-2026-9"
	other := exception(now.Add(-time.Hour))
	other.Spec.Images = []string{"elsewhere/**"}
	fresh := exception(now.Add(time.Hour))
	fresh.Spec.Rules.Vulnerabilities[0].ID = "CVE-2026-9"
	r := sample()
	Apply(r, Inputs{Exceptions: []v1alpha1.Exception{e, other, fresh}}, now)
	if got := gapsAt(r, "Exception"); len(got) > 0 {
		t.Errorf("gaps %q", got)
	}
}

// TestFirstDecisionIsNamed: documents before files before exceptions, and a
// second rule that would settle the same is used, not unused.
func TestFirstDecisionIsNamed(t *testing.T) {
	in := Inputs{
		Ignore:     ignore(t, "vulnerabilities: [{id: CVE-2026-3, owner: o, reason: r, expires: 2027-01-01}]"),
		Exceptions: []v1alpha1.Exception{exception(now.Add(time.Hour))},
		VEX: []vex.Document{{Name: "v.json", Author: "vendor", Statements: []vex.Statement{{
			IDs: []string{"CVE-2026-3"}, Status: vex.NotAffected, Justification: "component_not_present",
			Products: []vex.Product{{Names: []string{"pkg:npm/lodash"}}},
		}}}},
	}
	r := sample()
	Apply(r, in, now)
	f := finding(t, r, "CVE-2026-3")
	if f.State != scan.NotAffected || f.Decision.By != "VEX v.json" || f.Decision.Owner != "vendor" || f.Decision.Reason != "component_not_present" {
		t.Errorf("%s %+v", f.State, f.Decision)
	}
	if got := append(gapsAt(r, "ignore"), gapsAt(r, "VEX")...); len(got) > 0 {
		t.Errorf("gaps %q", got)
	}
	in.VEX = nil
	r = sample()
	Apply(r, in, now)
	if f := finding(t, r, "CVE-2026-3"); f.State != scan.Ignored || f.Decision.By != "ignore file .gabionignore.yaml:1" {
		t.Errorf("%s %+v", f.State, f.Decision)
	}
}

// TestRemark: statements that leave a finding open are told, and change nothing.
func TestRemark(t *testing.T) {
	plain := sample()
	Apply(plain, Inputs{}, now)
	r := sample()
	Apply(r, Inputs{VEX: []vex.Document{{Name: "v.json", Statements: []vex.Statement{{
		IDs: []string{"CVE-2026-3"}, Status: vex.Affected, Note: "upgrade\nsoon", Products: []vex.Product{{Names: []string{"pkg:npm/lodash"}}},
	}}}}}, now)
	f := finding(t, r, "CVE-2026-3")
	if f.State != scan.Open || f.Priority != finding(t, plain, "CVE-2026-3").Priority || !slices.Contains(f.Reasons, "affected: upgrade soon (VEX v.json)") {
		t.Errorf("%s %d %q", f.State, f.Priority, f.Reasons)
	}
}

// TestApplyIsPure: equal inputs give equal bytes, and the inputs stay as they were.
func TestApplyIsPure(t *testing.T) {
	in := Inputs{
		Ignore:     ignore(t, "licenses: [{license: GPL-3.0-only, package: bash, owner: o, reason: r, expires: 2027-01-01}]"),
		Exceptions: []v1alpha1.Exception{exception(now.Add(time.Hour))},
	}
	before, _ := json.Marshal(in.Exceptions)
	var first string
	for range 3 {
		r := sample()
		slices.Reverse(r.Findings)
		Apply(r, in, now)
		r.Plan = Plan(r)
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(raw)
		}
		if string(raw) != first {
			t.Fatal(cmp.Diff(first, string(raw)))
		}
	}
	if after, _ := json.Marshal(in.Exceptions); string(after) != string(before) {
		t.Error("an exception was changed")
	}
}

// TestStrayIndices: findings and licences that refer to no package break nothing.
func TestStrayIndices(t *testing.T) {
	r := sample()
	r.Findings[0].Package, r.Findings[1].Package = -1, 99
	r.Licenses[0].Packages = []int{-1, 99}
	Apply(r, Inputs{
		Ignore: ignore(t, "vulnerabilities: [{id: '*', package: bash, owner: o, reason: r, expires: 2027-01-01}]"),
		VEX:    []vex.Document{{Name: "v", Statements: []vex.Statement{{IDs: []string{"CVE-2026-1"}, Status: vex.Fixed, Products: []vex.Product{{Names: []string{"pkg:deb/debian/bash"}}}}}}},
	}, now)
	if f := finding(t, r, "CVE-2026-1"); f.State != scan.Open {
		t.Errorf("%+v", f)
	}
	Plan(r)
	Judge(r, Thresholds{FailOn: scan.Negligible, Licenses: true})
	Diff(r, sample())
}
