package main

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestFromPURL(t *testing.T) {
	for text, want := range map[string]pkg{
		"pkg:deb/debian/git@1%3A2.39.5-0%2Bdeb12u3?arch=amd64&distro=debian-12": {kind: "deb", name: "git", version: "1:2.39.5-0+deb12u3"},
		"pkg:deb/debian/git@2.39.5-0%2Bdeb12u3?arch=amd64&epoch=1":              {kind: "deb", name: "git", version: "1:2.39.5-0+deb12u3"},
		"pkg:npm/%40babel/core@7.0.0":                                           {kind: "npm", name: "@babel/core", version: "7.0.0"},
		"pkg:golang/github.com/BurntSushi/toml@v1.4.1":                          {kind: "golang", name: "github.com/burntsushi/toml", version: "1.4.1"},
		"pkg:maven/com.google.guava/guava@31.1#x":                               {kind: "maven", name: "com.google.guava/guava", version: "31.1"},
		"pkg:npm/left-pad": {kind: "npm", name: "left-pad"},
	} {
		if got, ok := fromPURL(text); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	if got, ok := fromPURL("left-pad"); ok {
		t.Errorf("no package URL is read as %+v", got)
	}
}

func FuzzFromPURL(f *testing.F) {
	f.Add("pkg:deb/debian/git@1%3A2.39.5?epoch=1&x=%zz#y")
	f.Add("pkg:npm/%40a")
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := fromPURL(text); !ok && p != (pkg{}) {
			t.Errorf("refused, and yet %+v", p)
		}
	})
}

func TestReaders(t *testing.T) {
	for name, c := range map[string]struct {
		parse func([]byte) ([]pkg, error)
		text  string
		want  pkg
	}{
		"gabion": {fromGabion, `{"packages": [{"name": "libc6", "version": "2.36-9", "ecosystem": "Debian:12", "purl": "pkg:deb/debian/libc6@2.36-9", "path": "/var/lib/dpkg/status", "source": "glibc"}]}`,
			pkg{kind: "deb", name: "libc6", version: "2.36-9", path: "var/lib/dpkg/status", source: "glibc 2.36-9"}},
		"cyclonedx": {fromCycloneDX, `{"components": [{"name": "node"}, {"purl": "pkg:npm/ws@1.0.0", "properties": [{"name": "x:FilePath", "value": "a/package.json"}]}]}`,
			pkg{kind: "npm", name: "ws", version: "1.0.0", path: "a/package.json"}},
		"syft": {fromSyft, `{"artifacts": [{"name": "a/b", "version": "", "purl": "pkg:npm/a/b", "locations": [{"path": "/a/package.json"}]}]}`,
			pkg{kind: "npm", name: "a/b", path: "a/package.json"}},
		"osv": {fromOSV, `{"results": [{"source": {"path": "/a.jar"}, "packages": [{"package": {"name": "g:a", "version": "1", "ecosystem": "Maven"}}]}]}`,
			pkg{kind: "maven", name: "g/a", version: "1", path: "a.jar"}},
	} {
		got, err := c.parse([]byte(c.text))
		if err != nil || !reflect.DeepEqual(got, []pkg{c.want}) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
		if _, err := c.parse([]byte("{")); err == nil {
			t.Errorf("%s: half a document is read", name)
		}
	}
}

func TestExplain(t *testing.T) {
	ours := list{"gabion", []pkg{
		{kind: "deb", name: "libc6", version: "2.36-9", source: "glibc 2.36-9"},
		{kind: "deb", name: "libbrotli1", version: "1.0.9-2+b6", source: "brotli 1.0.9-2"},
		{kind: "deb", name: "git", version: "1:2.39", source: "git 1:2.39"},
		{kind: "maven", name: "guess/x", version: "1", path: "opt/x.jar"},
		{kind: "npm", name: "fixture", version: "0.0.0", path: "app/node_modules/a/test/package.json"},
		{kind: "npm", name: "a", version: "1.0.0", path: "app/node_modules/a/package.json"},
		{kind: "npm", name: "a", version: "1.0.0", path: "app/node_modules/b/node_modules/a/package.json"},
	}}
	theirs := list{"other", []pkg{
		{kind: "deb", name: "glibc", version: "2.36-9"},
		{kind: "deb", name: "brotli", version: "1.0.9-2+b6"},
		{kind: "deb", name: "git", version: "2.39"},
		{kind: "maven", name: "other/x", version: "1", path: "opt/x.jar"},
		{kind: "npm", name: "part", path: "app/node_modules/a/part/package.json"},
		{kind: "npm", name: "strange", version: "1.0.0", path: "app/strange"},
		{kind: "gem", name: "rake", version: "13", path: "usr/lib/rake.gemspec"},
		{kind: "npm", name: "a", version: "1.0.0"},
	}}
	counts := map[string]int{}
	for _, d := range explain([]list{ours, theirs}, map[string]bool{"usr/lib/rake.gemspec": true}) {
		side := "theirs "
		if d.ours {
			side = "ours "
		}
		counts[side+d.kind] += d.count
		if (d.reason == unexplained) != (d.example == "strange 1.0.0" || d.kind == "deb" && !d.ours && d.example == "git 2.39") {
			t.Errorf("%+v", d)
		}
	}
	want := map[string]int{"ours deb": 3, "ours maven": 1, "ours npm": 1, "theirs deb": 3, "theirs maven": 1, "theirs npm": 2, "theirs gem": 1}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("%v, want %v", counts, want)
	}
}

func TestInstalled(t *testing.T) {
	for p, want := range map[string]bool{
		"app/node_modules/a/package.json":      true,
		"app/node_modules/@s/a/package.json":   true,
		"app/node_modules/a/test/package.json": false,
		"app/package.json":                     false,
		"":                                     false,
	} {
		if installed(p) != want {
			t.Errorf("%q: %v", p, !want)
		}
	}
}

func TestOwnedFiles(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "var/lib/dpkg/info")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.list"), []byte("/.\n/usr/bin/a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ownedFiles(root); err != nil || !got["usr/bin/a"] || got["a"] {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFigure(t *testing.T) {
	const text = "BenchmarkMatch/misses-2 \t 100\t 12.5 ns/op\t 6.5e+06 packages/s\t 3 findings\nBenchmarkMatch/mixed \t 1\t 7 packages/s\n"
	for unit, want := range map[string]float64{"ns/op": 12.5, "packages/s": 6.5e6} {
		if got, err := figure(text, `BenchmarkMatch/misses\S*`, unit); err != nil || got != want {
			t.Errorf("%s: %v, %v", unit, got, err)
		}
	}
	if _, err := figure(text, `BenchmarkMatch/mixed\S*`, "ns/op"); err == nil {
		t.Error("found what is not there")
	}
}

func TestCosts(t *testing.T) {
	cases := []*kase{
		{tool: "floor", name: "cold", costs: []cost{{CPU: 4, Wall: 4, RSS: 8}}},
		{tool: "gabion", name: "cold, secrets off", costs: []cost{{CPU: 3, Wall: 1, RSS: 70}, {CPU: 2, Wall: 2, RSS: 50}, {CPU: 6, Wall: 3, RSS: 60}}},
		{tool: "trivy", name: "cold", costs: []cost{{CPU: 6, Wall: 1, RSS: 300}}},
	}
	got := map[string]Row{}
	for _, r := range costs(cases) {
		got[r.Name] = r
	}
	for name, want := range map[string]Row{
		"gabion, cold, secrets off, processor time": {"", 2, "s", "lower", 5, true},
		"gabion, cold, secrets off, peak memory":    {"", 60, "MiB", "lower", 64, true},
		"gabion cold to trivy cold, processor time": {"", 0.5, "ratio", "lower", 1, true},
		"gabion cold to floor, processor time":      {"", 0.75, "ratio", "lower", 0, false},
		"gabion cold, time to processor time":       {"", 0.5, "ratio", "lower", 0.6, true},
	} {
		want.Name = name
		if got[name] != want {
			t.Errorf("%s: %+v, want %+v", name, got[name], want)
		}
	}
	if _, ok := got["gabion cold to syft cold, processor time"]; ok {
		t.Error("a ratio to what was not measured")
	}
}
