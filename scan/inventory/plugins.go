package inventory

import (
	"strings"

	"github.com/google/osv-scalibr/extractor/filesystem/language/cpp/conanlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dart/pubspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/depsjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packagesconfig"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/packageslockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/erlang/mixlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gomod"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/cabal"
	"github.com/google/osv-scalibr/extractor/filesystem/language/haskell/stacklock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradlelockfile"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/gradleverificationmetadataxml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/bunlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagelockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/pnpmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/yarnlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/julia/manifesttoml"
	"github.com/google/osv-scalibr/extractor/filesystem/language/lua/luarocks"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pdmlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pipfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/poetrylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/pylock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/requirements"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/uvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/r/renvlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemfilelock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargolock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/packageresolved"
	"github.com/google/osv-scalibr/extractor/filesystem/language/swift/podfilelock"
)

// loseSystem is what a package database that cannot be read takes away.
const loseSystem = "the packages of the operating system are missing from the report, or some of them"

// plugins is the one list of all that is read. Programs are not in it: they
// are looked at while they are hashed, see programScan.
func plugins(c *classifiers) []*plugin {
	under := func(dir string) func(string) bool {
		return func(p string) bool { return strings.HasPrefix(p, dir) }
	}
	is := func(paths ...string) func(string) bool {
		return func(p string) bool {
			for _, q := range paths {
				if p == q {
					return true
				}
			}
			return false
		}
	}
	list := []*plugin{
		{name: "os-release", version: 1, bases: []string{"os-release"}, wants: is(releaseFiles...), extract: readOSRelease, lose: "the operating system is not known"},
		{name: "old-release", version: 1, bases: []string{"redhat-release", "alpine-release", "debian_version"}, wants: is(releaseFiles...), extract: readOldRelease, lose: "the operating system is not known where os-release is missing"},
		{name: "passwd", version: 1, bases: []string{"passwd"}, wants: is("etc/passwd"), extract: readPasswd, lose: "users that the image's configuration names may be unknown"},

		{name: dpkgPlugin, version: 1, bases: []string{"status"}, wants: is("var/lib/dpkg/status"), extract: readDpkg, lose: loseSystem},
		{name: statusdPlugin, version: 1, dirs: []string{"var/lib/dpkg/status.d"}, wants: isStatusD, extract: readDpkg, lose: loseSystem},
		{name: "dpkg-list", version: 1, exts: []string{".list"}, wants: under("var/lib/dpkg/info/"), extract: readDpkgList, lose: "which package these files belong to is not known"},
		{name: "dpkg-md5sums", version: 1, exts: []string{".md5sums"}, wants: under("var/lib/dpkg/status.d/"), extract: readMD5Sums, lose: "which package these files belong to is not known"},
		{name: "dpkg-copyright", version: 1, bases: []string{"copyright"}, wants: isCopyright, extract: readCopyright, lose: "the licence of this package is not known"},
		{name: chiselPlugin, version: 1, bases: []string{"manifest.wall"}, wants: is("var/lib/chisel/manifest.wall"), extract: readChisel, lose: loseSystem},
		{name: apkPlugin, version: 1, bases: []string{"installed"}, wants: is("lib/apk/db/installed", "usr/lib/apk/db/installed"), extract: readApk, lose: loseSystem},
		{name: rpmPlugin, version: 1, bases: rpmFiles, wants: isRPMDatabase, extract: readRPM, lose: loseSystem},
		{name: "rpm-log", version: 1, bases: []string{"rpmdb.sqlite-wal"}, wants: isRPMDatabase, extract: readRPMLog, lose: "the latest changes to the packages of the operating system may be missing from the report"},
		{name: pacmanPlugin, version: 1, bases: []string{"desc"}, wants: under(pacmanDir), extract: readPacman, lose: loseSystem},
		{name: "pacman-files", version: 1, bases: []string{"files"}, wants: under(pacmanDir), extract: readPacmanFiles, lose: "which package these files belong to is not known"},

		{name: npmPlugin, version: 1, bases: []string{"package.json"}, extract: readPackageJSON},
		{name: pythonPlugin, version: 1, bases: []string{"METADATA", "PKG-INFO"}, exts: []string{".egg-info"}, wants: isPythonMetadata, extract: readPython},
		{name: pythonPlugin, version: 1, exts: []string{".whl", ".egg"}, extract: readPythonZip},
		{name: javaPlugin, version: 1, exts: javaExts, extract: readJava},
		{name: condaPlugin, version: 1, exts: []string{".json"}, wants: isConda, extract: readConda},
		{name: composerPlugin, version: 1, bases: []string{"installed.json"}, wants: func(p string) bool { return strings.HasSuffix("/"+p, "/composer/installed.json") }, extract: readComposer},

		scalibr(packagelockjson.New, []string{"package-lock.json", "npm-shrinkwrap.json"}, nil),
		scalibr(yarnlock.New, []string{"yarn.lock"}, nil),
		scalibr(pnpmlock.New, []string{"pnpm-lock.yaml"}, nil),
		scalibr(bunlock.New, []string{"bun.lock"}, nil),
		scalibr(requirements.New, nil, []string{".txt"}),
		scalibr(poetrylock.New, []string{"poetry.lock"}, nil),
		scalibr(pipfilelock.New, []string{"Pipfile.lock"}, nil),
		scalibr(uvlock.New, []string{"uv.lock"}, nil),
		scalibr(pdmlock.New, []string{"pdm.lock"}, nil),
		scalibr(pylock.New, nil, []string{".toml"}),
		scalibr(gradlelockfile.New, []string{"gradle.lockfile", "buildscript-gradle.lockfile"}, nil),
		scalibr(gradleverificationmetadataxml.New, []string{"verification-metadata.xml"}, nil),
		scalibr(gomod.New, []string{"go.mod"}, nil),
		scalibr(gemfilelock.New, []string{"Gemfile.lock", "gems.locked"}, nil),
		installedGems(),
		scalibr(composerlock.New, []string{"composer.lock"}, nil),
		scalibr(cargolock.New, []string{"Cargo.lock"}, nil),
		scalibr(depsjson.New, nil, []string{".json"}),
		scalibr(packageslockjson.New, []string{"packages.lock.json"}, nil),
		scalibr(packagesconfig.New, []string{"packages.config"}, nil),
		scalibr(conanlock.New, []string{"conan.lock"}, nil),
		scalibr(pubspec.New, []string{"pubspec.lock"}, nil),
		scalibr(mixlock.New, []string{"mix.lock"}, nil),
		scalibr(packageresolved.New, []string{"Package.resolved"}, nil),
		scalibr(podfilelock.New, []string{"Podfile.lock"}, nil),
		scalibr(renvlock.New, []string{"renv.lock"}, nil),
		scalibr(cabal.New, []string{"cabal.project.freeze"}, nil),
		scalibr(stacklock.New, []string{"stack.yaml.lock"}, nil),
		scalibr(luarocks.New, nil, []string{".rockspec"}),
		scalibr(manifesttoml.New, []string{"Manifest.toml"}, nil),
	}
	return append(list, c.plugins()...)
}

// installedGems reads the specifications of installed gems, which RubyGems
// writes with all their values in place; those in sources are programs.
func installedGems() *plugin {
	p := scalibr(gemspec.New, nil, []string{".gemspec"})
	p.wants = func(path string) bool { return strings.Contains("/"+path, "/specifications/") }
	return p
}

// isStatusD selects the package files of distroless, which have no extension
// of their own.
func isStatusD(p string) bool {
	name, ok := strings.CutPrefix(p, "var/lib/dpkg/status.d/")
	return ok && name != "" && !strings.Contains(name, "/") && !strings.HasSuffix(name, ".md5sums")
}

func isCopyright(p string) bool {
	name, ok := strings.CutPrefix(p, docDir)
	return ok && strings.Count(name, "/") == 1
}
