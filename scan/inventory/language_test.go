package inventory

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

// TestLockFiles reads one file of each kind. Every plugin must have a case
// here or in another test: see TestEveryPluginFinds.
func TestLockFiles(t *testing.T) {
	for _, c := range lockFiles {
		t.Run(c.path, func(t *testing.T) {
			inv := merged(t, []item{reg(c.path, c.text)})
			var got []string
			for _, p := range inv.Packages {
				s := p.PURL
				if p.Dev {
					s += " dev"
				}
				got = append(got, s)
				if p.Path != "/"+c.path || p.Found == "" || p.Layer != 0 {
					t.Errorf("package %+v", p)
				}
			}
			slices.Sort(got)
			if want := strings.Fields(strings.ReplaceAll(c.want, " dev", "+dev")); !slices.Equal(got, unplus(want)) {
				t.Errorf("got %q\nwant %q", got, unplus(want))
			}
			wantGaps(t, inv)
		})
	}
}

func unplus(s []string) []string {
	for i := range s {
		if r, ok := strings.CutSuffix(s[i], "+dev"); ok {
			s[i] = r + " dev"
		}
	}
	return s
}

var lockFiles = []struct{ path, text, want string }{
	{"app/package-lock.json", `{"lockfileVersion":3,"packages":{"":{"name":"app"},"node_modules/lodash":{"version":"4.17.20"},"node_modules/@s/jest":{"version":"29.6.0","dev":true}}}`,
		"pkg:npm/%40s/jest@29.6.0 dev pkg:npm/lodash@4.17.20"},
	{"app/yarn.lock", "# yarn lockfile v1\n\nlodash@^4.17.0:\n  version \"4.17.20\"\n  resolved \"https://registry.example/lodash-4.17.20.tgz\"\n", "pkg:npm/lodash@4.17.20"},
	{"app/pnpm-lock.yaml", "lockfileVersion: '6.0'\npackages:\n  /lodash@4.17.20:\n    resolution: {integrity: sha512-x}\n    dev: false\n", "pkg:npm/lodash@4.17.20"},
	{"app/bun.lock", `{"lockfileVersion":1,"packages":{"lodash":["lodash@4.17.20","",{},"sha512-x"]}}`, "pkg:npm/lodash@4.17.20"},
	{"app/requirements.txt", "flask==2.0.1\n# x\nJinja_2==3.1\n", "pkg:pypi/flask@2.0.1 pkg:pypi/jinja-2@3.1"},
	{"app/poetry.lock", "[[package]]\nname = \"flask\"\nversion = \"2.0.1\"\n", "pkg:pypi/flask@2.0.1"},
	{"app/Pipfile.lock", `{"default":{"flask":{"version":"==2.0.1"}},"develop":{"pytest":{"version":"==7.0"}}}`, "pkg:pypi/flask@2.0.1 pkg:pypi/pytest@7.0 dev"},
	{"app/uv.lock", "version = 1\n[[package]]\nname = \"flask\"\nversion = \"2.0.1\"\nsource = { registry = \"https://x\" }\n", "pkg:pypi/flask@2.0.1"},
	{"app/pdm.lock", "[[package]]\nname = \"flask\"\nversion = \"2.0.1\"\ngroups = [\"default\"]\n", "pkg:pypi/flask@2.0.1"},
	{"app/pylock.toml", "lock-version = \"1.0\"\n[[packages]]\nname = \"flask\"\nversion = \"2.0.1\"\n", "pkg:pypi/flask@2.0.1"},
	{"app/gradle.lockfile", "org.yaml:snakeyaml:1.33=runtimeClasspath\nempty=\n", "pkg:maven/org.yaml/snakeyaml@1.33"},
	{"app/gradle/verification-metadata.xml", `<verification-metadata><components><component group="org.yaml" name="snakeyaml" version="1.33"/></components></verification-metadata>`, "pkg:maven/org.yaml/snakeyaml@1.33"},
	{"app/go.mod", "module example.com/app\n\ngo 1.21\n\nrequire github.com/pkg/errors v0.9.1\n", "pkg:golang/github.com/pkg/errors@v0.9.1"},
	{"app/Gemfile.lock", "GEM\n  remote: https://gems.example/\n  specs:\n    rake (13.0.6)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  rake\n", "pkg:gem/rake@13.0.6"},
	{"usr/lib/ruby/gems/3.2.0/specifications/rake-13.0.6.gemspec", "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.0.6\"\nend\n", "pkg:gem/rake@13.0.6"},
	{"app/composer.lock", `{"packages":[{"name":"monolog/monolog","version":"2.9.1"}],"packages-dev":[{"name":"phpunit/phpunit","version":"9.0.0"}]}`, "pkg:composer/monolog/monolog@2.9.1 pkg:composer/phpunit/phpunit@9.0.0 dev"},
	{"app/vendor/composer/installed.json", `{"packages":[{"name":"monolog/monolog","version":"2.9.1","license":["MIT"]},{"name":"a/b","version":"1"}],"dev-package-names":["a/b"]}`, "pkg:composer/a/b@1 dev pkg:composer/monolog/monolog@2.9.1"},
	{"old/vendor/composer/installed.json", `[{"name":"monolog/monolog","version":"1.0.0"}]`, "pkg:composer/monolog/monolog@1.0.0"},
	{"app/Cargo.lock", "[[package]]\nname = \"serde\"\nversion = \"1.0.190\"\nsource = \"registry+https://x\"\n", "pkg:cargo/serde@1.0.190"},
	{"app/web.deps.json", `{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"targets":{},"libraries":{"Newtonsoft.Json/13.0.1":{"type":"package","serviceable":true}}}`, "pkg:nuget/Newtonsoft.Json@13.0.1"},
	{"app/packages.lock.json", `{"version":1,"dependencies":{"net8.0":{"Newtonsoft.Json":{"type":"Direct","resolved":"13.0.1"}}}}`, "pkg:nuget/Newtonsoft.Json@13.0.1"},
	{"app/packages.config", `<packages><package id="Newtonsoft.Json" version="13.0.1" targetFramework="net46"/></packages>`, "pkg:nuget/Newtonsoft.Json@13.0.1"},
	{"app/conan.lock", `{"version":"0.5","requires":["zlib/1.2.11#abc%1"]}`, "pkg:conan/zlib@1.2.11"},
	{"app/pubspec.lock", "packages:\n  http:\n    dependency: \"direct main\"\n    source: hosted\n    version: \"1.1.0\"\n", "pkg:pub/http@1.1.0"},
	{"app/mix.lock", "%{\n  \"plug\": {:hex, :plug, \"1.14.2\", \"abc\", [:mix], [], \"hexpm\", \"def\"},\n}\n", "pkg:hex/plug@1.14.2"},
	{"app/Package.resolved", `{"pins":[{"identity":"swift-nio","kind":"remoteSourceControl","location":"https://github.com/apple/swift-nio.git","state":{"revision":"abc","version":"2.58.0"}}],"version":2}`, "pkg:swift/github.com/apple/swift-nio@2.58.0"},
	{"app/Podfile.lock", "PODS:\n  - AFNetworking (4.0.1)\n", "pkg:cocoapods/AFNetworking@4.0.1"},
	{"app/renv.lock", `{"Packages":{"digest":{"Package":"digest","Version":"0.6.33","Repository":"CRAN"}}}`, "pkg:cran/digest@0.6.33"},
	{"app/cabal.project.freeze", "active-repositories: hackage\nconstraints: any.aeson ==2.1.0.0\n", "pkg:hackage/aeson@2.1.0.0"},
	{"app/stack.yaml.lock", "packages:\n- completed:\n    hackage: aeson-2.1.0.0@sha256:abc,1\n", "pkg:hackage/aeson@2.1.0.0"},
	{"usr/lib/luarocks/rocks-5.3/lpeg/1.0.2-1/lpeg-1.0.2-1.rockspec", "package = \"lpeg\"\nversion = \"1.0.2-1\"\n", "pkg:luarocks/lpeg@1.0.2-1"},
	{"app/Manifest.toml", "manifest_format = \"2.0\"\n[[deps.JSON]]\nuuid = \"682c06a0-de6a-54ab-a142-c8b1cf79cde6\"\nversion = \"0.21.4\"\n", "pkg:julia/JSON@0.21.4"},
	{"opt/conda/conda-meta/openssl-3.1.4-h1.json", `{"name":"openssl","version":"3.1.4","license":"Apache-2.0"}`, "pkg:conda/openssl@3.1.4"},
	{"l/site-packages/flask-2.0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: Flask\nVersion: 2.0.1\nLicense: BSD-3-Clause\n\nName: not\n", "pkg:pypi/flask@2.0.1"},
	{"l/dist-packages/six-1.16.0.egg-info", "Name: six\nVersion: 1.16.0\n", "pkg:pypi/six@1.16.0"},
	{"l/six.egg-info/PKG-INFO", "Name: six\nVersion: 1.16.0\n", "pkg:pypi/six@1.16.0"},
	{"app/node_modules/@s/x/package.json", "\xef\xbb\xbf" + `{"name":"@s/x","version":"1.0.0","license":{"type":"MIT"}}`, "pkg:npm/%40s/x@1.0.0"},
	{"app/ext/package.json", `{"name":"x","version":"1.0.0","engines":{"vscode":"^1"}}`, ""},
	{"app/odd/package.json", `{"name":["x"],"version":1}`, ""},
	{"app/node_modules/x/yarn.lock", "lodash@^4.17.0:\n  version \"4.17.20\"\n", ""},
	{"root/go/pkg/mod/example.com/x@v1/go.mod", "module example.com/x\n\ngo 1.21\n\nrequire github.com/pkg/errors v0.9.1\n", ""},
}

// TestEveryPluginFinds proves that no plugin is in the list without a file that
// it reads in the tests.
func TestEveryPluginFinds(t *testing.T) {
	x := New(Config{})
	seen := map[string]bool{"go-binary": true}
	for _, c := range lockFiles {
		for _, p := range x.choose(c.path, filepath.Base(c.path)) {
			seen[p.name] = true
		}
	}
	for _, path := range []string{
		"etc/os-release", "etc/redhat-release", "etc/passwd", "var/lib/dpkg/status", "var/lib/dpkg/status.d/a", "var/lib/dpkg/status.d/a.md5sums",
		"var/lib/dpkg/info/a.list", "usr/share/doc/a/copyright", "lib/apk/db/installed", "var/lib/rpm/Packages", "var/lib/pacman/local/a-1-1/desc",
		"var/lib/pacman/local/a-1-1/files", "var/lib/rpm/rpmdb.sqlite-wal", "var/lib/chisel/manifest.wall", "a.jar", "usr/local/go/VERSION",
	} {
		list := x.choose(path, filepath.Base(path))
		if len(list) == 0 {
			t.Errorf("nobody reads %s", path)
		}
		for _, p := range list {
			seen[p.name] = true
		}
	}
	for _, p := range plugins(x.classifiers) {
		if !seen[p.name] {
			t.Errorf("plugin %s has no case", p.name)
		}
	}
	for _, path := range []string{"etc/status", "app/info/a.list", "home/desc", "x/METADATA", "a.txt", "a.json", "a.toml", "usr/share/doc/a/b/copyright", "src/x.gemspec"} {
		if list := x.choose(path, filepath.Base(path)); len(list) != 0 {
			t.Errorf("%s is read by %s", path, list[0].name)
		}
	}
}

func TestInstalledCountsOverLockFile(t *testing.T) {
	lock := reg("app/package-lock.json", `{"lockfileVersion":3,"packages":{"node_modules/lodash":{"version":"4.17.20"},"node_modules/jest":{"version":"29.6.0","dev":true}}}`)
	wantNames(t, merged(t, []item{lock, reg("app/node_modules/lodash/package.json", lodash)}), "npm lodash 4.17.20 @0")
	wantNames(t, merged(t, []item{lock, reg("other/node_modules/lodash/package.json", lodash)}), "npm lodash 4.17.20 @0", "npm jest 29.6.0 @0", "npm lodash 4.17.20 @0")
	wantNames(t, merged(t, []item{lock, reg("app/node_modules/lodash/package.json", lodash)}, []item{gone("app/node_modules")}), "npm jest 29.6.0 @0", "npm lodash 4.17.20 @0")
}

func TestNPMLicences(t *testing.T) {
	for text, want := range map[string][]string{
		`"license":"MIT"`: {"MIT"}, `"license":{"type":"ISC","url":"x"}`: {"ISC"}, `"licenses":[{"type":"MIT"},{"type":"GPL-2.0"}]`: {"MIT", "GPL-2.0"},
		`"license":["MIT","MIT"]`: {"MIT"}, `"licenses":{"type":"X"}`: {"X"}, `"license":7`: nil, `"x":1`: nil,
	} {
		inv := merged(t, []item{reg("n/package.json", `{"name":"a","version":"1",`+text+`}`)})
		if got := inv.Packages[0].Licenses; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// A plugin that fails does so for its file alone.
func TestPanicIsAGap(t *testing.T) {
	p := &plugin{name: "bad", extract: func(*file, *result) error { panic("index out of range") }}
	err := p.run(&file{path: "x"}, new(result))
	if err == nil || !strings.Contains(err.Error(), "index out of range") || !strings.Contains(err.Error(), "inventory") {
		t.Errorf("error %v", err)
	}
	g := p.gap("x", err)
	if g.Minor || g.Where != "/x" || !strings.Contains(g.What, "bad: ") {
		t.Errorf("gap %+v", g)
	}
	var _ scan.Gap = g
}
