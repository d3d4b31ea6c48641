package inventory

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// fuzzFile lets one plugin read arbitrary bytes under the path that it wants:
// no panic, and nothing without a name.
func fuzzFile(f *testing.F, name, path string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	var pl *plugin
	x := New(Config{TempDir: f.TempDir()})
	for _, p := range x.choose(path, path[strings.LastIndexByte(path, '/')+1:]) {
		if p.name == name {
			pl = p
		}
	}
	if pl == nil {
		f.Fatalf("%s is not read by %s", path, name)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r result
		_ = pl.extract(&file{path: path, mode: 0o644, size: int64(len(b)), data: b, at: bytes.NewReader(b), cfg: &x.config}, &r)
		for _, p := range r.packages {
			if p.Name == "" {
				t.Errorf("package without a name: %+v", p)
			}
		}
	})
}

func FuzzDpkg(f *testing.F) {
	fuzzFile(f, dpkgPlugin, "var/lib/dpkg/status", status("a 1", "b 2:1-1"), "Package: x\n y\n:\n")
}

func FuzzApk(f *testing.F) {
	fuzzFile(f, apkPlugin, "lib/apk/db/installed", "P:a\nV:1\nF:bin\nR:a\n\n", "F:\nR:x\n")
}

func FuzzPacman(f *testing.F) {
	fuzzFile(f, pacmanPlugin, "var/lib/pacman/local/a-1-1/desc", "%NAME%\na\n\n%VERSION%\n1\n")
}

func FuzzCopyright(f *testing.F) {
	fuzzFile(f, "dpkg-copyright", "usr/share/doc/a/copyright", "Format: copyright-format\nLicense: MIT\n", "/usr/share/common-licenses/GPL-2.\n")
}

func FuzzPackageJSON(f *testing.F) {
	fuzzFile(f, npmPlugin, "n/node_modules/a/package.json", lodash, `{"name":"a","version":"1","licenses":[{"type":"X"}],"engines":{"vscode":1}}`)
}

func FuzzPython(f *testing.F) {
	fuzzFile(f, pythonPlugin, "a.dist-info/METADATA", "Name: a\nVersion: 1\nClassifier: License :: X\n\nbody", "\n")
}

func FuzzComposer(f *testing.F) {
	fuzzFile(f, composerPlugin, "vendor/composer/installed.json", `[{"name":"a/b","version":"1"}]`, `{"packages":[],"dev-package-names":["x"]}`)
}

func FuzzJava(f *testing.F) {
	inner := zipped(f, "META-INF/maven/pom.properties", props("g", "a", "1"), "META-INF/MANIFEST.MF", "Implementation-Title: a\n b\n")
	fuzzFile(f, javaPlugin, "lib/a-1.0.jar", inner, zipped(f, "+x.jar", inner), zipped(f, "x.war", inner))
}

func FuzzWheel(f *testing.F) {
	fuzzFile(f, pythonPlugin, "lib/a.whl", zipped(f, "a.dist-info/METADATA", "Name: a\nVersion: 1\n"))
}

func FuzzOSRelease(f *testing.F) {
	f.Add(debian12)
	f.Add("ID='\\'\nVERSION_ID=")
	f.Fuzz(func(t *testing.T, s string) {
		r := parseOSRelease(s)
		if strings.HasSuffix(r.Ecosystem, ":") {
			t.Errorf("%q: ecosystem %q", s, r.Ecosystem)
		}
	})
}

func FuzzPasswd(f *testing.F) {
	fuzzFile(f, "passwd", "etc/passwd", "root:x:0:0::/:/bin/sh\n", "a:::\n")
}

// FuzzProgram shows arbitrary programs in windows and in one piece.
func FuzzProgram(f *testing.F) {
	f.Add([]byte(elf(goInfo("go1.21.5", "path\tx\nmod\tx\tv1.0.0\th\n"))))
	f.Add([]byte(elf(goMagic + "\x08\x00" + strings.Repeat("\x00", 64))))
	f.Add([]byte(elf("x\x9c\x04\x00\x00node.js/v1.2.3")))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := New(Config{})
		for _, name := range []string{"usr/bin/node", "lib/libcrypto.so.3"} {
			c := visit(t, x, exe(name, string(b)))
			if kinds := len(c.files); kinds > 1 {
				t.Errorf("%d files", kinds)
			}
			recoded(t, c)
		}
	})
}

func FuzzContents(f *testing.F) {
	x := New(Config{Secrets: fakeSecrets{}})
	b, err := visit(f, x,
		reg("etc/os-release", debian12), reg("var/lib/dpkg/status", status("a 1")), reg("var/lib/dpkg/info/a.list", "/usr/bin/a\n"),
		exe("usr/bin/a", elf("a")), hard("usr/bin/b", "elsewhere"), reg("etc/passwd", "root:x:0:0:\n"), reg("k", "secret"),
		symlink("usr/share/doc/a", "b"), reg("bad/package.json", "{"),
	).MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{formatVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Contents
		if c.UnmarshalBinary(b) != nil {
			return
		}
		again, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var d Contents
		if err := d.UnmarshalBinary(again); err != nil || !reflect.DeepEqual(&c, &d) {
			t.Errorf("read %+v, after writing %+v (%v)", c, d, err)
		}
		Merge([]*Contents{&c, nil, &d})
	})
}

func FuzzSourceRPM(f *testing.F) {
	f.Add("curl-7.76.1-26.el9.src.rpm")
	f.Add("-.src.rpm")
	f.Fuzz(func(t *testing.T, s string) {
		if name, version, ok := sourceRPM(s); ok && name+"-"+version+".src.rpm" != s && name+"-"+version+".nosrc.rpm" != s {
			t.Errorf("%q is %q and %q", s, name, version)
		}
	})
}
