package decide

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/scan"
)

func ids(list []FindingIn) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.ID+" "+f.In.Name+" "+f.In.Version)
	}
	return out
}

func TestDiff(t *testing.T) {
	old, new := sample(), sample()
	new.Image.Name, new.Release = "registry.example/team/web:1.3", scan.Release{ID: "debian", Version: "13"}
	new.Packages[0].Version, new.Packages[0].Ecosystem = "5.3-1", "Debian:13"
	new.Packages[1].Ecosystem = "Debian:13"
	new.Packages = append(new.Packages, scan.Package{Name: "zod", Version: "1", Ecosystem: "npm", Path: "/app/node_modules/zod/package.json"})
	old.Packages = append(old.Packages, scan.Package{Name: "ansi", Version: "2", Ecosystem: "npm", Path: "/app/node_modules/ansi/package.json"})
	new.Findings = []scan.Finding{
		{Advisory: scan.Advisory{ID: "CVE-2026-1", Severity: scan.High}, Package: 0, State: scan.Open},    // another version, still there
		{Advisory: scan.Advisory{ID: "CVE-2026-3", Severity: scan.High}, Package: 2, State: scan.Ignored}, // settled
		{Advisory: scan.Advisory{ID: "CVE-2026-7", Severity: scan.Low}, Package: 3, State: scan.Open},     // new
		{Advisory: scan.Advisory{ID: "CVE-2026-8", Severity: scan.Low}, Package: 3, State: scan.Ignored},  // came settled
	}
	new.Secrets = []scan.Secret{
		{Detector: "private-key", Where: "/etc/key.pem", Line: 9, Fingerprint: "0123456789abcdef"}, // moved by lines
		{Detector: "token", Where: "/x", Fingerprint: "1111111111111111"},
		{Detector: "token", Where: "/x", Fingerprint: "1111111111111111", Layer: 1}, // once is enough
	}
	new.Checks = []scan.Check{{ID: "IMG-ROOT", Status: "pass"}, {ID: "IMG-TAG", Status: "fail"}, {ID: "IMG-SKIP", Status: "fail", State: scan.Ignored}}
	new.Licenses = []scan.License{{License: "MIT"}, {License: "BSD-3-Clause"}}
	old.Image.Config = scan.Config{User: "0", Env: []string{"A=1", "B=2", "C=3"}, Cmd: []string{"x"}, ExposedPorts: []string{"2/tcp", "1/tcp"}, Labels: map[string]string{"v": "1"}}
	new.Image.Config = scan.Config{User: "app", Env: []string{"B=2", "C=4", "D=5"}, Cmd: []string{"x"}, ExposedPorts: []string{"1/tcp", "2/tcp"}, Labels: map[string]string{"v": "2", "w": "3"}}
	new.Image.Layers = []scan.Layer{{DiffID: "sha256:1"}, {DiffID: "sha256:3"}, {DiffID: "sha256:4"}}
	new.Gaps = []scan.Gap{{What: "lost"}}
	before, _ := json.Marshal([]any{old, new})

	d := Diff(old, new)
	if after, _ := json.Marshal([]any{old, new}); string(after) != string(before) {
		t.Error("the reports were changed")
	}
	if d.New != (Side{Name: new.Image.Name, Digest: new.Image.Digest, Release: "debian 13", Database: "sha256:db", Incomplete: true}) || d.Old.Incomplete {
		t.Errorf("%+v", d.New)
	}
	if got := d.Packages; len(got.Added) != 1 || got.Added[0].Name != "zod" || len(got.Removed) != 1 || got.Removed[0].Name != "ansi" {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]PackageChange{{Ecosystem: "Debian", Name: "bash", Path: "/var/lib/dpkg/status", Old: []string{"5.2-1"}, New: []string{"5.3-1"}}}, d.Packages.Changed); diff != "" {
		t.Error(diff)
	}
	for name, got := range map[string][2][]string{
		"new":     {ids(d.Findings.New), {"CVE-2026-7 zod 1"}},
		"fixed":   {ids(d.Findings.Fixed), {"CVE-2026-2 libssl3 3.0.11-1"}},
		"settled": {ids(d.Findings.Settled), {"CVE-2026-3 lodash 4.17.20"}},
		"still":   {ids(d.Findings.Still), {"CVE-2026-1 bash 5.3-1"}},
	} {
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%s: %q, want %q", name, got[0], got[1])
		}
	}
	if len(d.Secrets.New) != 1 || d.Secrets.New[0].Detector != "token" || len(d.Secrets.Gone) != 1 || d.Secrets.Gone[0].Detector != "password" {
		t.Errorf("%+v", d.Secrets)
	}
	if len(d.Checks.New) != 1 || d.Checks.New[0].ID != "IMG-TAG" || len(d.Checks.Fixed) != 1 || d.Checks.Fixed[0].ID != "IMG-ROOT" {
		t.Errorf("%+v", d.Checks)
	}
	if !slices.Equal(d.Licenses.New, []string{"BSD-3-Clause"}) || !slices.Equal(d.Licenses.Gone, []string{"GPL-3.0-only"}) {
		t.Errorf("%+v", d.Licenses)
	}
	if diff := cmp.Diff([]Change{
		{"user", "0", "app"}, {"env A", "set", ""}, {"env C", "set", "changed"}, {"env D", "", "set"}, {"label v", "1", "2"}, {"label w", "", "3"},
	}, d.Config); diff != "" {
		t.Error(diff)
	}
	if d.Layers != (LayerDifference{Same: 1, Added: 2, Removed: 1}) {
		t.Errorf("%+v", d.Layers)
	}
}

// TestDiffMirrors: nothing changed against itself, and what is new one way is
// gone the other way.
func TestDiffMirrors(t *testing.T) {
	draw := func(t *rapid.T, name string) *scan.Report {
		r := sample()
		r.Findings = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) scan.Finding {
			return scan.Finding{
				Advisory: scan.Advisory{ID: rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "id")},
				Package:  rapid.IntRange(-1, 3).Draw(t, "package"),
				State:    rapid.SampledFrom([]scan.State{scan.Open, scan.Ignored, scan.Unsupported}).Draw(t, "state"),
			}
		}), 0, 6).Draw(t, name)
		for i := range r.Packages {
			r.Packages[i].Version = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "version")
		}
		return r
	}
	keys := func(list []FindingIn) []string {
		var out []string
		for _, f := range list {
			out = append(out, f.ID+" "+f.In.Name)
		}
		slices.Sort(out)
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "old"), draw(t, "new")
		same := Diff(a, a)
		if len(same.Findings.New)+len(same.Findings.Fixed)+len(same.Findings.Settled)+len(same.Packages.Changed)+len(same.Packages.Added)+len(same.Config) > 0 {
			t.Fatalf("a report differs from itself: %+v", same)
		}
		there, back := Diff(a, b), Diff(b, a)
		if !slices.Equal(keys(there.Findings.Still), keys(back.Findings.Still)) {
			t.Fatal("what stays is not the same both ways")
		}
		for _, f := range there.Findings.New {
			if slices.ContainsFunc(there.Findings.Still, func(s FindingIn) bool { return s.ID == f.ID && s.In.Name == f.In.Name && s.In.Path == f.In.Path }) {
				t.Fatal("it is new and was there")
			}
		}
		if len(there.Findings.New) != len(back.Findings.Fixed)+len(back.Findings.Settled) {
			t.Fatalf("new %q; back fixed %q settled %q", keys(there.Findings.New), keys(back.Findings.Fixed), keys(back.Findings.Settled))
		}
	})
}
