package inventory

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

func TestOSRelease(t *testing.T) {
	for _, c := range []struct{ text, id, version, ecosystem string }{
		{debian12, "debian", "12", "Debian:12"},
		{"PRETTY_NAME=\"Debian GNU/Linux trixie/sid\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n", "debian", "", "Debian:13"},
		{"PRETTY_NAME=\"Debian GNU/Linux sid\"\nID=debian\n", "debian", "", "Debian:sid"},
		{"PRETTY_NAME=\"Debian GNU/Linux future\"\nID=debian\n", "debian", "", ""},
		{"ID=ubuntu\nVERSION_ID=\"22.04\"\nID_LIKE=debian\n", "ubuntu", "22.04", "Ubuntu:22.04"},
		{"ID=alpine\nVERSION_ID=3.19.1\n", "alpine", "3.19.1", "Alpine:v3.19"},
		{"ID=alpine\nVERSION_ID=3.21_alpha20240807\n", "alpine", "3.21_alpha20240807", "Alpine:edge"},
		{"ID=\"rhel\"\nVERSION_ID=\"9.4\"\n", "rhel", "9.4", "Red Hat:9"},
		{"ID=\"centos\"\nNAME=\"CentOS Stream\"\nVERSION_ID=\"9\"\n", "centos", "9", "CentOS Stream:9"},
		{"ID=\"centos\"\nNAME=\"CentOS Linux\"\nVERSION_ID=\"7\"\n", "centos", "7", "Red Hat:7"},
		{"ID=almalinux\nVERSION_ID=\"9.3\"\n", "almalinux", "9.3", "AlmaLinux:9"},
		{"ID=rocky\nVERSION_ID=\"8.9\"\n", "rocky", "8.9", "Rocky Linux:8"},
		{"ID=ol\nVERSION_ID=\"9.3\"\n", "ol", "9.3", "Oracle Linux:9"},
		{"ID=fedora\nVERSION_ID=41\n", "fedora", "41", "Fedora:41"},
		{"ID=amzn\nVERSION_ID=2023\n", "amzn", "2023", "Amazon Linux:2023"},
		{"ID=amzn\nVERSION_ID=\"2018.03\"\n", "amzn", "2018.03", "Amazon Linux:1"},
		{"ID=sles\nVERSION_ID=\"15.6\"\n", "sles", "15.6", "SUSE Linux Enterprise:15.6"},
		{"ID=sle-micro\nVERSION_ID=5.5\n", "sle-micro", "5.5", "SUSE Linux Enterprise Micro:5.5"},
		{"ID=\"opensuse-leap\"\nVERSION_ID=\"15.6\"\n", "opensuse-leap", "15.6", "openSUSE:Leap 15.6"},
		{"ID=\"opensuse-tumbleweed\"\nVERSION_ID=\"20240101\"\n", "opensuse-tumbleweed", "20240101", "openSUSE:Tumbleweed"},
		{"ID=photon\nVERSION_ID=5.0\n", "photon", "5.0", "Photon OS:5.0"},
		{"ID=azurelinux\nVERSION_ID=3.0\n", "azurelinux", "3.0", "Azure Linux:3"},
		{"ID=mariner\nVERSION_ID=\"2.0\"\n", "mariner", "2.0", "Azure Linux:2"},
		{"ID=arch\nBUILD_ID=rolling\n", "arch", "", "Arch Linux"},
		{"ID=wolfi\nVERSION_ID=\"20230201\"\n", "wolfi", "20230201", "Wolfi"},
		{"ID=chainguard\nVERSION_ID=\"20230214\"\n", "chainguard", "20230214", "Chainguard"},
		{"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=21\n", "linuxmint", "21", ""},
		{"ID=fedora\n", "fedora", "", ""},
		{"# nothing\n\nx", "", "", ""},
		{"ID='deb\\ian'\nVERSION_ID=12", "debian", "12", "Debian:12"},
	} {
		r := parseOSRelease(c.text)
		if r.ID != c.id || r.Version != c.version || r.Ecosystem != c.ecosystem {
			t.Errorf("%q: %+v, want %q %q %q", c.text, r, c.id, c.version, c.ecosystem)
		}
	}
}

func TestOldReleases(t *testing.T) {
	for _, c := range []struct{ path, text, ecosystem, gap string }{
		{"etc/redhat-release", "CentOS release 6.10 (Final)\n", "Red Hat:6", ""},
		{"etc/redhat-release", "Red Hat Enterprise Linux Server release 6.9 (Santiago)\n", "Red Hat:6", ""},
		{"etc/redhat-release", "something else\n", "", "names no release"},
		{"etc/alpine-release", "3.5.2\n", "Alpine:v3.5", ""},
		{"etc/debian_version", "11.7\n", "Debian:11", ""},
		{"etc/debian_version", "bookworm/sid\n", "", ""},
		{"usr/lib/os-release", "VERSION=1\n", "", "neither ID nor PRETTY_NAME"},
	} {
		layer := []item{reg(c.path, c.text)}
		if c.ecosystem != "" {
			layer = append(layer, reg("var/lib/dpkg/status", status("a 1")))
		}
		inv := merged(t, layer)
		if inv.Release.Ecosystem != c.ecosystem {
			t.Errorf("%s %q: %+v, want %q", c.path, c.text, inv.Release, c.ecosystem)
		}
		if c.gap == "" {
			wantGaps(t, inv)
		} else {
			wantGaps(t, inv, c.gap)
		}
	}
	// os-release is better than what came before it, in whatever layer it is.
	inv := merged(t, []item{reg("etc/os-release", "ID=rocky\nVERSION_ID=9.1\n")}, []item{reg("etc/redhat-release", "Rocky Linux release 9.1")})
	if inv.Release.Version != "9.1" || inv.Release.Ecosystem != "Rocky Linux:9" {
		t.Errorf("release %+v", inv.Release)
	}
}

func TestDpkg(t *testing.T) {
	text := `Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl (3.0.11-1)
Version: 3.0.11-1~deb12u2
Description: text
 Version: 9 in a continuation

Package: old
Status: deinstall ok config-files
Version: 1

Package: never
Status: unknown ok not-installed

Package: half
Status: install ok half-configured
Version: 2:1.0
Source: half

Package: other
Status: hold ok installed
Version: 1.0-1+b1
Source: src (1.0-1)
`
	inv := merged(t, []item{reg("etc/os-release", debian12), reg("var/lib/dpkg/status", text)})
	wantGaps(t, inv)
	want := []scan.Package{
		{Name: "half", Version: "2:1.0"},
		{Name: "libssl3", Version: "3.0.11-1~deb12u2", Source: "openssl", SourceVersion: "3.0.11-1", Arch: "amd64"},
		{Name: "other", Version: "1.0-1+b1", Source: "src", SourceVersion: "1.0-1"},
	}
	for i := range want {
		want[i].Ecosystem, want[i].Found, want[i].Path = "Debian:12", "dpkg", "/var/lib/dpkg/status"
	}
	want[0].PURL = "pkg:deb/debian/half@2:1.0?distro=debian-12"
	want[1].PURL = "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12"
	want[2].PURL = "pkg:deb/debian/other@1.0-1%2Bb1?distro=debian-12"
	if !reflect.DeepEqual(inv.Packages, want) {
		t.Errorf("got\n%+v\nwant\n%+v", inv.Packages, want)
	}
}

// What is damaged is told, and what is intact is kept.
func TestDamagedDatabases(t *testing.T) {
	os := reg("etc/os-release", debian12)
	for _, c := range []struct {
		name, path, text, gap string
		left                  int
	}{
		{"no version", "var/lib/dpkg/status", status("a 1") + "Package: b\nStatus: install ok installed\n\n" + status("c 1"), "package b has no version", 2},
		{"no name", "var/lib/dpkg/status", "Version: 1\n\n" + status("c 1"), "no Package field", 1},
		{"status", "var/lib/dpkg/status", "Package: a\nStatus: installed\nVersion: 1\n", "has not three words", 0},
		{"rubbish", "var/lib/dpkg/status", "\x00\x01\x02\x03", "is no field", 0},
		{"long line", "var/lib/dpkg/status", "Package: " + strings.Repeat("x", maxLine+1), "too long", 0},
		{"apk", "lib/apk/db/installed", "P:a\nV:1\n\nP:b\n\nP:c\nV:1\n", "no name or no version", 2},
		{"apk rubbish", "lib/apk/db/installed", "rubbish\n", "is no field", 0},
		{"rpm", "var/lib/rpm/rpmdb.sqlite", strings.Repeat("no database ", 10), "no intact rpm database", 0},
		{"rpm cut off", "usr/lib/sysimage/rpm/Packages.db", "RpmP", "too short", 0},
		{"pacman", "var/lib/pacman/local/a-1-1/desc", "%NAME%\na\n", "no name or no version", 0},
		{"passwd", "etc/passwd", "root\n", "1 lines are not users", 0},
		{"npm", "n/node_modules/a/package.json", "{", "unexpected end", 0},
		{"npm scope", "n/node_modules/@s/a/package.json", "{", "unexpected end", 0},
		{"python", "l/a.dist-info/METADATA", "Name: a\n", "no name or no version", 0},
		{"java", "a.jar", "PK", "not a valid zip", 0},
		{"wheel", "a.whl", "PK", "not a valid zip", 0},
		{"lock", "app/package-lock.json", "{", "unexpected", 0},
		{"composer", "v/composer/installed.json", "[{}]", "no name or no version", 0},
		{"conda", "c/conda-meta/a.json", "{}", "no name or no version", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			layer := []item{reg(c.path, c.text)}
			if slices.Contains([]string{"var", "lib", "usr"}, strings.Split(c.path, "/")[0]) {
				layer = append(layer, os)
			}
			inv := merged(t, layer)
			if len(inv.Packages) != c.left {
				t.Errorf("packages %q, want %d", names(inv), c.left)
			}
			wantGaps(t, inv, c.gap)
			g := inv.Gaps[0]
			if g.Minor || g.Where != "/"+c.path || g.Means == "" || g.Do == "" {
				t.Errorf("gap %+v", g)
			}
		})
	}
	inv := merged(t, []item{reg("app/node_modules/resolve/test/bad/package.json", "{")})
	wantGaps(t, inv, "unexpected end")
	if !inv.Gaps[0].Minor {
		t.Error("files that are damaged on purpose must not make a report incomplete")
	}
}

func TestDistroless(t *testing.T) {
	inv := merged(t, []item{
		reg("etc/os-release", debian12),
		reg("var/lib/dpkg/status.d/libssl3", "Package: libssl3\nVersion: 3.0.11\nSource: openssl\nArchitecture: amd64\n"),
		reg("var/lib/dpkg/status.d/libssl1.1.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/libssl.so.1.1\n"),
		reg("var/lib/dpkg/status.d/libssl1.1", "Package: libssl1.1\nVersion: 1.1.1\nArchitecture: amd64\n"),
		exe("usr/lib/libssl.so.1.1", elf("\x00OpenSSL 1.1.1n  15 Mar 2022\x00")),
	})
	wantNames(t, inv, "Debian:12 libssl1.1 1.1.1 @0", "Debian:12 libssl3 3.0.11 @0")
	if p := inv.Packages[0].Programs; len(p) != 1 || p[0] != "/usr/lib/libssl.so.1.1" {
		t.Errorf("programs %q", p)
	}
}

func TestCopyright(t *testing.T) {
	dep5 := "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n text\n\nFiles: x\nLicense: MIT\n\nLicense: GPL-2+\n"
	inv := merged(t,
		[]item{
			reg("etc/os-release", debian12),
			reg("var/lib/dpkg/status", status("a 1", "b 1", "c 1", "d 1", "e 1")),
			reg("usr/share/doc/a/copyright", dep5),
			symlink("usr/share/doc/b", "a"),
			reg("usr/share/doc/c/copyright", "On Debian systems, see /usr/share/common-licenses/GPL-3. And\n`/usr/share/common-licenses/LGPL-2.1'.\n"),
			reg("usr/share/doc/d/copyright", "Do what you want.\n"),
			symlink("usr/share/doc/e", "/usr/share/doc/a"),
		},
	)
	got := map[string][]string{}
	for _, p := range inv.Packages {
		got[p.Name] = p.Licenses
	}
	want := map[string][]string{"a": {"GPL-2+", "MIT"}, "b": {"GPL-2+", "MIT"}, "c": {"GPL-3", "LGPL-2.1"}, "d": nil, "e": {"GPL-2+", "MIT"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestApk(t *testing.T) {
	inv := merged(t, []item{
		reg("etc/os-release", "ID=alpine\nVERSION_ID=3.19.1\n"),
		reg("lib/apk/db/installed", "C:Q1\nP:libcrypto3\nV:3.1.4-r5\nA:x86_64\nL:Apache-2.0\no:openssl\nF:lib\nR:libcrypto.so.3\n\nP:busybox\nV:1.36.1-r15\nA:x86_64\no:busybox\nF:bin\nR:busybox\n"),
		exe("lib/libcrypto.so.3", elf("\x00OpenSSL 3.1.4 24 Oct 2023\x00")), exe("bin/busybox", elf("BusyBox v1.36.1 (x)")),
	})
	want := []scan.Package{
		{Name: "busybox", Version: "1.36.1-r15", Programs: []string{"/bin/busybox"}, PURL: "pkg:apk/alpine/busybox@1.36.1-r15?arch=x86_64&distro=alpine-3.19.1"},
		{Name: "libcrypto3", Version: "3.1.4-r5", Source: "openssl", SourceVersion: "3.1.4-r5", Licenses: []string{"Apache-2.0"}, Programs: []string{"/lib/libcrypto.so.3"}, PURL: "pkg:apk/alpine/libcrypto3@3.1.4-r5?arch=x86_64&distro=alpine-3.19.1"},
	}
	for i := range want {
		want[i].Ecosystem, want[i].Found, want[i].Path, want[i].Arch = "Alpine:v3.19", "apk", "/lib/apk/db/installed", "x86_64"
	}
	if !reflect.DeepEqual(inv.Packages, want) {
		t.Errorf("got\n%+v\nwant\n%+v", inv.Packages, want)
	}
}

func TestPacman(t *testing.T) {
	inv := merged(t, []item{
		reg("etc/os-release", "ID=arch\nPRETTY_NAME=\"Arch Linux\"\n"),
		reg("var/lib/pacman/local/gcc-libs-13.2.1-3/desc", "%NAME%\ngcc-libs\n\n%VERSION%\n13.2.1-3\n\n%BASE%\ngcc\n\n%ARCH%\nx86_64\n\n%LICENSE%\nGPL\nLGPL\n"),
		reg("var/lib/pacman/local/gcc-libs-13.2.1-3/files", "%FILES%\nusr/\nusr/lib/\nusr/lib/libgcc_s.so.1\n"),
		reg("usr/lib/libgcc_s.so.1", elf("x")),
	})
	want := []scan.Package{{
		Name: "gcc-libs", Version: "13.2.1-3", Ecosystem: "Arch Linux", PURL: "pkg:alpm/arch/gcc-libs@13.2.1-3?arch=x86_64&distro=arch", Source: "gcc", SourceVersion: "13.2.1-3",
		Arch: "x86_64", Licenses: []string{"GPL", "LGPL"}, Found: "pacman", Path: "/var/lib/pacman/local/gcc-libs-13.2.1-3/desc", Programs: []string{"/usr/lib/libgcc_s.so.1"},
	}}
	if !reflect.DeepEqual(inv.Packages, want) {
		t.Errorf("got\n%+v\nwant\n%+v", inv.Packages, want)
	}
}

func TestSystemWithoutPackagesIsAGap(t *testing.T) {
	os := reg("etc/os-release", debian12)
	db := reg("var/lib/dpkg/status", status("a 1"))
	wantGaps(t, merged(t, []item{os, db}))
	for _, layers := range [][][]item{{{os}}, {{os, db}, {gone("var/lib/dpkg")}}, {{os, reg("var/lib/dpkg/status", "")}}} {
		inv := merged(t, layers...)
		wantGaps(t, inv, "no package database of Debian GNU/Linux 12")
		if inv.Gaps[0].Minor {
			t.Error("must make the report incomplete")
		}
	}
	if inv := Merge([]*Contents{visit(t, New(Config{}), os), nil}); len(inv.Gaps) != 0 {
		t.Errorf("the lost layer is the caller's to tell, not %+v", inv.Gaps)
	}
}

func TestChisel(t *testing.T) {
	lines := `{"jsonwall":"1.0","schema":"1.0","count":4}
{"kind":"package","name":"libssl3t64","version":"3.0.13-0ubuntu3","sha256":"00","arch":"amd64"}
{"kind":"path","path":"/usr/lib/libssl.so.3","mode":"0644","slices":["libssl3t64_libs"]}
{"kind":"slice","name":"libssl3t64_libs"}
`
	pack := func(s string) string {
		w, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(w.EncodeAll([]byte(s), nil))
	}
	os := reg("etc/os-release", "ID=ubuntu\nVERSION_ID=24.04\n")
	lib := reg("usr/lib/libssl.so.3", elf("\x00OpenSSL 3.0.13 30 Jan 2024\x00"))
	inv := merged(t, []item{os, lib, reg("var/lib/chisel/manifest.wall", pack(lines))})
	wantNames(t, inv, "Ubuntu:24.04 libssl3t64 3.0.13-0ubuntu3 @0")
	wantGaps(t, inv)
	if p := inv.Packages[0]; p.PURL != "pkg:deb/ubuntu/libssl3t64@3.0.13-0ubuntu3?arch=amd64&distro=ubuntu-24.04" || len(p.Programs) != 1 {
		t.Errorf("package %+v", p)
	}
	wantGaps(t, merged(t, []item{os, reg("var/lib/chisel/manifest.wall", "no zstd")}), "chisel: read file")
	wantGaps(t, merged(t, []item{os, reg("var/lib/chisel/manifest.wall", pack(`{"kind":"package"}`))}), "no name or no version")
	wantGaps(t, merged(t, []item{os, reg("var/lib/chisel/manifest.wall", pack("rubbish"))}), "chisel: read file")
}

func TestRPM(t *testing.T) {
	db, err := os.ReadFile("rpmdb/testdata/small.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	layer := []item{
		reg("etc/os-release", "ID=rhel\nVERSION_ID=9.4\n"), reg("var/lib/rpm/rpmdb.sqlite", string(db)), reg("var/lib/rpm/rpmdb.sqlite-wal", ""),
		exe("usr/bin/curl", elf("curl/7.76.1")),
	}
	inv := merged(t, layer)
	wantGaps(t, inv)
	want := []scan.Package{
		{Name: "b", Version: "1", PURL: "pkg:rpm/redhat/b@1?distro=rhel-9.4"},
		{
			Name: "curl", Version: "1:7.76.1-26.el9_3.2", PURL: "pkg:rpm/redhat/curl@7.76.1-26.el9_3.2?arch=x86_64&distro=rhel-9.4&epoch=1&rpmmod=curl:7:1:abc",
			Arch: "x86_64", Module: "curl:7:1:abc", Licenses: []string{"MIT"}, Programs: []string{"/usr/bin/curl"},
		},
	}
	for i := range want {
		want[i].Ecosystem, want[i].Found, want[i].Path = "Red Hat:9", "rpm", "/var/lib/rpm/rpmdb.sqlite"
	}
	if !reflect.DeepEqual(inv.Packages, want) {
		t.Errorf("got\n%+v\nwant\n%+v", inv.Packages, want)
	}
	layer[2] = reg("var/lib/rpm/rpmdb.sqlite-wal", "x")
	wantGaps(t, merged(t, layer), "write-ahead log")
}

func TestSourceRPM(t *testing.T) {
	for file, want := range map[string][2]string{
		"curl-7.76.1-26.el9.src.rpm": {"curl", "7.76.1-26.el9"}, "java-17-openjdk-17.0.9-1.el9.src.rpm": {"java-17-openjdk", "17.0.9-1.el9"}, "a-1-1.nosrc.rpm": {"a", "1-1"},
		"a-1.src.rpm": {}, "a-1-1.rpm": {}, "": {}, "-1-1.src.rpm": {},
	} {
		name, version, ok := sourceRPM(file)
		if name != want[0] || version != want[1] || ok != (want[0] != "") {
			t.Errorf("%q: %q %q %v", file, name, version, ok)
		}
	}
}

// What one layer leaves behind is bounded, and says so.
func TestBounds(t *testing.T) {
	c := New(Config{}).Begin()
	for i := range maxGaps + 50 {
		c.gap(origin{path: "x", seq: i}, scan.Gap{Where: "/x", What: "w"})
	}
	if n := len(c.out.gaps); n != maxGaps+1 {
		t.Errorf("%d gaps", n)
	}
	if last := c.out.gaps[maxGaps]; last.path != "" || !strings.Contains(last.What, "more than 1000 files") {
		t.Errorf("last gap %+v", last)
	}
	c = New(Config{}).Begin()
	c.packages = maxPackages - 1
	pl := &plugin{name: "p", extract: func(_ *file, out *result) error {
		out.add(scan.Package{Name: "a"})
		out.add(scan.Package{Name: "b"})
		return nil
	}}
	for range 2 {
		c.extract(pl, origin{path: "x"}, &file{path: "x"})
	}
	if len(c.out.units) != 1 || len(c.out.units[0].packages) != 1 || len(c.out.gaps) != 2 || !strings.Contains(c.out.gaps[0].What, "more than 100000 packages") {
		t.Errorf("%+v", c.out)
	}
	c.out.files = make([]program, maxPrograms)
	p := c.newProgramScan("x", true, false)
	c.program(origin{path: "x"}, &walk.Entry{Path: "x"}, kindELF, p)
	if len(c.out.files) != maxPrograms || len(c.out.gaps) != 3 {
		t.Errorf("%d files, %d gaps", len(c.out.files), len(c.out.gaps))
	}
}
