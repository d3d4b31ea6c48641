package inventory

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
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
	{"app/Gemfile.lock", "GEM\n  remote: https://rubygems.org/\n  specs:\n    rake (13.0.6)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n  rake\n", "pkg:gem/rake@13.0.6"},
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
	for _, p := range plugins() {
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

// zipped makes an archive; names that begin with a plus are stored, not packed.
func zipped(t testing.TB, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &zip.FileHeader{Name: strings.TrimPrefix(files[i], "+"), Method: zip.Deflate}
		if strings.HasPrefix(files[i], "+") {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func props(group, artifact, version string) string {
	return "#x\ngroupId=" + group + "\nartifactId=" + artifact + "\r\nversion=" + version + "\n"
}

func TestJava(t *testing.T) {
	core := zipped(t, "META-INF/maven/g/a/pom.properties", props("org.apache.logging.log4j", "log4j-core", "2.14.1"))
	shaded := zipped(t, "META-INF/maven/1/pom.properties", props("g", "shaded", "1.0"), "META-INF/maven/2/pom.properties", props("com.google.guava", "guava", "30.0-jre"))
	for _, c := range []struct {
		name string
		text string
		want string
	}{
		{"x.jar", core, "org.apache.logging.log4j:log4j-core 2.14.1 /x.jar"},
		{"shaded-1.0.jar", shaded, "com.google.guava:guava 30.0-jre /shaded-1.0.jar, g:shaded 1.0 /shaded-1.0.jar"},
		{"app.war", zipped(t, "WEB-INF/lib/core.jar", core), "org.apache.logging.log4j:log4j-core 2.14.1 /app.war!/WEB-INF/lib/core.jar"},
		{"app.ear", zipped(t, "+a.war", zipped(t, "+lib/core.jar", core)), "org.apache.logging.log4j:log4j-core 2.14.1 /app.ear!/a.war!/lib/core.jar"},
		{"junit-4.12.jar", zipped(t, "x", ""), "junit:junit 4.12 /junit-4.12.jar"},
		{"failureaccess-1.0.1.jar", zipped(t, "META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nBundle-SymbolicName: com.google.guava.fai\r\n lureaccess;singleton:=true\r\n"), "com.google.guava:failureaccess 1.0.1 /failureaccess-1.0.1.jar"},
		{"spring-core-5.3.20.jar", zipped(t, "META-INF/MANIFEST.MF", "Implementation-Title: spring-core\nAutomatic-Module-Name: spring.core\n"), "org.springframework:spring-core 5.3.20 /spring-core-5.3.20.jar"},
		{"log4j-1.2-api.jar", zipped(t, "META-INF/maven/pom.properties", props("o", "log4j-1.2-api", "2.19.0")), "o:log4j-1.2-api 2.19.0 /log4j-1.2-api.jar"},
		{"named.jar", zipped(t, "META-INF/MANIFEST.MF", "Implementation-Title: thing\nImplementation-Version: 3.2\nImplementation-Vendor-Id: org.example\n"), "org.example:thing 3.2 /named.jar"},
		{"plain.jar", zipped(t, "x.class", ""), ""},
		{"template.jar", zipped(t, "META-INF/maven/pom.properties", props("${g}", "a", "1")), ""},
		{"UPPER.JAR.jar", core, "org.apache.logging.log4j:log4j-core 2.14.1 /UPPER.JAR.jar"},
		{"empty.jar", "", ""},
	} {
		inv := merged(t, []item{reg(c.name, c.text)})
		var got []string
		for _, p := range inv.Packages {
			got = append(got, p.Name+" "+p.Version+" "+p.Path)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got %q\nwant %q", c.name, s, c.want)
		}
		wantGaps(t, inv)
	}
}

// Archives a hundred deep, a large one, and one that says it is larger than
// allowed: bounded, and told.
func TestJavaIsBounded(t *testing.T) {
	deep := zipped(t, "META-INF/maven/pom.properties", props("g", "deepest", "1"))
	for range 100 {
		deep = zipped(t, "a.jar", deep)
	}
	inv := merged(t, []item{reg("deep.jar", deep)})
	wantNames(t, inv)
	wantGaps(t, inv, "archives lie more than 8 deep in each other")

	stored := zipped(t, "META-INF/maven/pom.properties", props("g", "deepest", "1"))
	for range 7 {
		stored = zipped(t, "+a.jar", stored)
	}
	wantNames(t, merged(t, []item{reg("deep.jar", stored)}), "Maven g:deepest 1 @0")

	// Larger than the buffer, in a temporary file, outside and inside.
	x := New(Config{MaxBuffer: 1 << 20, TempDir: t.TempDir()})
	large := zipped(t, "+fill", strings.Repeat("x", 2<<20), "META-INF/maven/pom.properties", props("g", "large", "1"))
	outer := zipped(t, "lib/large.jar", large, "+more", strings.Repeat("y", 2<<20))
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantNames(t, inv, "Maven g:large 1 @0")
	if left, err := os.ReadDir(x.config.TempDir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	x = New(Config{MaxBuffer: 1 << 20, TempDir: filepath.Join(t.TempDir(), "missing")})
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantGaps(t, inv, "keep content in a temporary file")

	x = New(Config{MaxFile: 1 << 20, MaxBuffer: 1 << 20})
	inv = Merge([]*Contents{visit(t, x, reg("outer.jar", outer))})
	wantGaps(t, inv, "more than the 1048576 allowed")

	many := zip.NewWriter(new(bytes.Buffer))
	_ = many.Close()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 120_000 {
		if _, err := w.Create(fmt.Sprintf("%0200d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	inv = Merge([]*Contents{visit(t, New(Config{}), reg("many.jar", b.String()))})
	wantGaps(t, inv, "list of entries has more than")
}

func TestPythonArchives(t *testing.T) {
	wheel := zipped(t, "flask/x.py", "", "flask-2.0.1.dist-info/METADATA", "Name: Flask\nVersion: 2.0.1\nLicense-Expression: BSD-3-Clause\n")
	egg := zipped(t, "EGG-INFO/PKG-INFO", "Name: six\nVersion: 1.16.0\nClassifier: License :: OSI Approved :: MIT License\n")
	inv := merged(t, []item{reg("w/flask.whl", wheel), reg("w/six.egg", egg)})
	wantNames(t, inv, "PyPI Flask 2.0.1 @0", "PyPI six 1.16.0 @0")
	if p := inv.Packages[0]; p.Path != "/w/flask.whl!/flask-2.0.1.dist-info/METADATA" || p.Licenses[0] != "BSD-3-Clause" || inv.Packages[1].Licenses[0] != "MIT License" {
		t.Errorf("packages %+v", inv.Packages)
	}
}

// The test's own program is a real one of Go.
func TestGoBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("test has no build information")
	}
	fi, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, buffer := range []int64{1 << 20, 1 << 28} {
		f, err := os.Open(self)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		inv := Merge([]*Contents{recoded(t, visit(t, New(Config{MaxBuffer: buffer}), big("usr/bin/app", f, fi.Size())))})
		got := map[string]string{}
		for _, p := range inv.Packages {
			if p.Ecosystem != "Go" || p.Path != "/usr/bin/app" || p.Found != "go-binary" {
				t.Errorf("package %+v", p)
			}
			got[p.Name] = p.Version
		}
		if len(got) < 2 {
			t.Errorf("packages %v", got)
		}
		for _, d := range own.Deps {
			if got[d.Path] != strings.TrimPrefix(d.Version, "v") {
				t.Errorf("%s is %q, want %q", d.Path, got[d.Path], d.Version)
			}
		}
		if want := goRelease(own.GoVersion); got["stdlib"] != want {
			t.Errorf("stdlib is %q, want %q", got["stdlib"], want)
		}
	}
}

// goInfo makes the build information as the linker writes it.
func goInfo(version, modules string) string {
	mark := strings.Repeat("m", 16)
	if modules != "" {
		modules = mark + modules + mark
	}
	return goMagic + "\x08\x02" + strings.Repeat("\x00", 16) + string(rune(len(version))) + version + string(appendUvarint(len(modules))) + modules
}

func appendUvarint(n int) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func TestGoBuildInfo(t *testing.T) {
	mods := "path\tex.com/app\nmod\tex.com/app\tv1.2.3\th1:x=\ndep\tex.com/a\tv1.0.0\th1:x=\ndep\tex.com/b\tv1.0.0\n=>\tex.com/fork\tv1.1.0\th1:x=\ndep\tex.com/c\tv1.0.0\n=>\t./local\t\t\n"
	for _, c := range []struct {
		name, body string
		want       []string
		gap        string
	}{
		{"modules", goInfo("go1.21.5", mods), []string{"Go ex.com/app 1.2.3 @0", "Go ex.com/a 1.0.0 @0", "Go ex.com/fork 1.1.0 @0", "Go stdlib 1.21.5 @0"}, ""},
		{"none", goInfo("go1.21.5 X:boringcrypto", ""), []string{"Go stdlib 1.21.5 @0"}, ""},
		{"between releases", goInfo("devel go1.23-abc", mods), []string{"Go ex.com/app 1.2.3 @0", "Go ex.com/a 1.0.0 @0", "Go ex.com/fork 1.1.0 @0"}, "which is no release of Go"},
		{"not built from a version", goInfo("go1.22", "path\tcmd/x\nmod\tex.com/app\t(devel)\t\n"), []string{"Go ex.com/app @0", "Go stdlib 1.22 @0"}, ""},
		{"old", goMagic + "\x08\x00" + strings.Repeat("\x00", 64), nil, "Go before 1.18"},
		{"text that only mentions it", "x" + goInfo("go1.21.5", mods), nil, ""},
		{"rubbish after it", goMagic + "\x08\x02" + strings.Repeat("\xff", 64), nil, ""},
		{"damaged list", goInfo("go1.21.5", "mod\tx\n"), nil, "read build information"},
		{"list cut off", goInfo("go1.21.5", mods)[:90], nil, "list of modules is cut off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inv := merged(t, []item{exe("app", elf(c.body))})
			wantNames(t, inv, c.want...)
			if c.gap == "" {
				wantGaps(t, inv)
			} else {
				wantGaps(t, inv, c.gap)
			}
		})
	}
}

// A Go program may carry another one as data. The one in the writable segment
// is its own.
func TestGoProgramInAProgram(t *testing.T) {
	head := make([]byte, 64+56)
	copy(head, "\x7fELF\x02\x01\x01")
	head[32], head[54], head[56] = 64, 56, 1
	head[64], head[68] = 1, 6 // loaded, writable
	head[64+8+1] = 0x10       // at 4096
	head[64+32+1] = 0x10      // 4096 bytes
	inner, own := goInfo("go1.20", ""), goInfo("go1.22.1", "")
	body := string(head) + strings.Repeat("\x00", 8)
	body += inner + strings.Repeat("\x00", 4096-len(body)-len(inner)) + own + strings.Repeat("\x00", 4096)
	wantNames(t, merged(t, []item{exe("app", body)}), "Go stdlib 1.22.1 @0")
}

func TestRust(t *testing.T) {
	pack := func(text string) string {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	list := `{"packages":[{"name":"serde","version":"1.0.190","source":"crates.io"},{"name":"cc","version":"1.0.83","source":"crates.io","kind":"build"},{"name":"app","version":"0.1.0","source":"local","root":true}]}`
	fill := strings.Repeat("x\x9c\x04x\xda\x02", 50)
	inv := merged(t, []item{exe("app", elf(fill+pack(list)+fill))})
	wantNames(t, inv, "crates.io serde 1.0.190 @0", "crates.io app 0.1.0 @0")
	wantGaps(t, inv)
	wantNames(t, merged(t, []item{exe("app", elf(pack(`{"other":1}`)))}))
	inv = merged(t, []item{exe("app", elf(pack(list)[:60]))})
	wantGaps(t, inv, "unpack list of crates")
	inv = merged(t, []item{exe("app", elf(pack(`{"packages":[{]}`)))})
	wantGaps(t, inv, "read list of crates")
	inv = merged(t, []item{exe("app", elf(strings.Repeat("x\x9c\x04", maxRustTries+10)))})
	wantGaps(t, inv, "gave up looking")
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
