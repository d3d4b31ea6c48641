package sbom

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

// TestForeignURLs: what a package URL of another tool comes to.
func TestForeignURLs(t *testing.T) {
	debian := scan.Release{ID: "debian", Version: "12", Ecosystem: "Debian:12"}
	for _, c := range []struct {
		url  string
		want scan.Package
	}{
		{"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl",
			scan.Package{Name: "libssl3", Version: "3.0.11-1~deb12u2", Ecosystem: "Debian:12", Arch: "amd64", Source: "openssl", SourceVersion: "3.0.11-1~deb12u2"}},
		{"pkg:deb/debian/libc6@2.36-9%2Bdeb12u3?distro=bookworm&upstream=glibc%402.36-9%2Bdeb12u3",
			scan.Package{Name: "libc6", Version: "2.36-9+deb12u3", Ecosystem: "Debian:12", Source: "glibc", SourceVersion: "2.36-9+deb12u3"}},
		{"pkg:deb/debian/bash@5.2.15-2%2Bb2?distro=debian-12&upstream=bash%405.2.15-2",
			scan.Package{Name: "bash", Version: "5.2.15-2+b2", Ecosystem: "Debian:12", Source: "bash", SourceVersion: "5.2.15-2"}},
		{"pkg:deb/ubuntu/curl@7.81.0-1ubuntu1.15?distro=ubuntu-22.04", scan.Package{Name: "curl", Version: "7.81.0-1ubuntu1.15", Ecosystem: "Ubuntu:22.04"}},
		{"pkg:deb/debian/shadow@1:4.13%2Bdfsg1-1", scan.Package{Name: "shadow", Version: "1:4.13+dfsg1-1", Ecosystem: "Debian:12"}},
		{"pkg:apk/alpine/libcrypto3@3.1.4-r5?arch=x86_64&distro=alpine-3.19.1&upstream=openssl",
			scan.Package{Name: "libcrypto3", Version: "3.1.4-r5", Ecosystem: "Alpine:v3.19", Arch: "x86_64", Source: "openssl", SourceVersion: "3.1.4-r5"}},
		{"pkg:rpm/redhat/openssl-libs@3.0.7-24.el9?arch=x86_64&distro=rhel-9.3&epoch=1&upstream=openssl-3.0.7-24.el9.src.rpm",
			scan.Package{Name: "openssl-libs", Version: "1:3.0.7-24.el9", Ecosystem: "Red Hat:9", Arch: "x86_64", Source: "openssl", SourceVersion: "1:3.0.7-24.el9"}},
		{"pkg:rpm/almalinux/nodejs@18.17.1-1.module_el9?distro=almalinux-9.2&rpmmod=nodejs:18:9020230725:a75119d5",
			scan.Package{Name: "nodejs", Version: "18.17.1-1.module_el9", Ecosystem: "AlmaLinux:9", Module: "nodejs:18:9020230725:a75119d5"}},
		{"pkg:rpm/opensuse/zypper@1.14.64-1?distro=opensuse-leap-15.6", scan.Package{Name: "zypper", Version: "1.14.64-1", Ecosystem: "openSUSE:Leap 15.6"}},
		{"pkg:rpm/amzn/glibc@2.34-52.amzn2023?distro=amzn-2023", scan.Package{Name: "glibc", Version: "2.34-52.amzn2023", Ecosystem: "Amazon Linux:2023"}},
		{"pkg:alpm/arch/pacman@6.0.2-7?distro=arch", scan.Package{Name: "pacman", Version: "6.0.2-7", Ecosystem: "Arch Linux"}},
		{"pkg:deb/debian/apt@2.9?distro=sid", scan.Package{Name: "apt", Version: "2.9", Ecosystem: "Debian:sid"}},
		{"pkg:rpm/centos/bash@4.2?distro=centos-7", scan.Package{Name: "bash", Version: "4.2", Ecosystem: "Red Hat:7"}},
		{"pkg:rpm/centos/bash@5.1?distro=centos-9", scan.Package{Name: "bash", Version: "5.1", Ecosystem: "CentOS Stream:9"}},
		{"pkg:rpm/opensuse/bash@5.2?distro=opensuse-tumbleweed-20240101", scan.Package{Name: "bash", Version: "5.2", Ecosystem: "openSUSE:Tumbleweed"}},
		{"pkg:npm/%40babel/core@7.1.0", scan.Package{Name: "@babel/core", Version: "7.1.0", Ecosystem: "npm"}},
		{"pkg:maven/org.apache.commons/commons-text@1.9", scan.Package{Name: "org.apache.commons:commons-text", Version: "1.9", Ecosystem: "Maven"}},
		{"pkg:golang/github.com/gin-gonic/gin@v1.9.0", scan.Package{Name: "github.com/gin-gonic/gin", Version: "1.9.0", Ecosystem: "Go"}},
		{"pkg:golang/stdlib@go1.22.3", scan.Package{Name: "stdlib", Version: "1.22.3", Ecosystem: "Go"}},
		{"pkg:pypi/Zope.Interface@5.0", scan.Package{Name: "zope-interface", Version: "5.0", Ecosystem: "PyPI"}},
		{"pkg:cargo/serde@1.0.1", scan.Package{Name: "serde", Version: "1.0.1", Ecosystem: "crates.io"}},
		{"pkg:gem/rack@2.2.3", scan.Package{Name: "rack", Version: "2.2.3", Ecosystem: "RubyGems"}},
		{"pkg:nuget/Newtonsoft.Json@12.0.3", scan.Package{Name: "Newtonsoft.Json", Version: "12.0.3", Ecosystem: "NuGet"}},
		{"pkg:composer/symfony/http-kernel@5.4.0", scan.Package{Name: "symfony/http-kernel", Version: "5.4.0", Ecosystem: "Packagist"}},
		{"pkg:generic/nginx@1.25.3", scan.Package{Name: "nginx", Version: "1.25.3", Ecosystem: "Binary"}},
	} {
		p := part{}
		p.PURL = c.url
		d := &document{release: debian, pkgs: []part{p}}
		inv, _ := d.finish()
		c.want.PURL, c.want.Layer, c.want.Found = c.url, -1, "sbom"
		if len(inv.Packages) != 1 || len(inv.Gaps) != 0 {
			t.Errorf("%s: %d packages, gaps %v", c.url, len(inv.Packages), inv.Gaps)
			continue
		}
		if diff := cmp.Diff(c.want, inv.Packages[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.url, diff)
		}
	}
}

// TestForeignDocuments: the shapes in which Syft, Trivy and others write.
func TestForeignDocuments(t *testing.T) {
	for _, c := range []struct {
		file      string
		name      string
		ecosystem string
		packages  []string // "ecosystem name version source@version layer path"
		gaps      []string
	}{
		{"syft.cdx.json", "shop:1", "Debian:12", []string{
			"Debian:12 libssl3 3.0.11-1~deb12u2 openssl@3.0.11-1~deb12u2 -1 /var/lib/dpkg/status",
			"npm lodash 4.17.20 @ -1 /app/package.json"}, nil},
		{"trivy.cdx.json", "shop:1", "Debian:12", []string{
			"Debian:12 libc6 2.36-9+deb12u3 glibc@2.36-9+deb12u3 0 ",
			"Debian:12 login 1:4.13+dfsg1-1 shadow@1:4.13+dfsg1-1 0 ",
			"npm lodash 4.17.20 @ 1 app/package-lock.json"}, nil},
		{"trivy.spdx.json", "shop:1", "Alpine:v3.19", []string{
			"Alpine:v3.19 libcrypto3 3.1.4-r5 openssl@3.1.4-r5 -1 "}, nil},
		{"plain.spdx", "shop", "", []string{
			" mystery 1 @ -1 ", "Maven org.example:thing 2.0 @ -1 "}, []string{"1 package without a package URL: mystery"}},
		{"old.cdx.xml", "shop", "", []string{"PyPI flask 1.0 @ -1 "}, nil},
		{"wolfi.cdx.json", "x", "Wolfi", []string{"Wolfi busybox 1.36.1-r7 @ -1 "}, []string{"1 package of an operating system without advisories here: busybox"}},
		{"homeless.cdx.json", "x", "", []string{" libc6 2.36-9 @ -1 ", " thing 1 @ -1 "}, []string{
			"package URL \"what?\" cannot be read", "1 package of an operating system without advisories here: libc6",
			"1 package of kinds nobody issues advisories for: huggingface", "1 package without a package URL: broken"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			data, err := os.ReadFile("testdata/" + c.file)
			if err != nil {
				t.Fatal(err)
			}
			inv, img, err := Read(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if img.Name != c.name || inv.Release.Ecosystem != c.ecosystem || img.Kind != scan.SBOM {
				t.Errorf("image %q of kind %q, ecosystem %q; want %q, %q", img.Name, img.Kind, inv.Release.Ecosystem, c.name, c.ecosystem)
			}
			var got []string
			for _, p := range inv.Packages {
				got = append(got, fmt.Sprintf("%s %s %s %s@%s %d %s", p.Ecosystem, p.Name, p.Version, p.Source, p.SourceVersion, p.Layer, p.Path))
			}
			for _, want := range c.packages {
				if !strings.Contains(strings.Join(got, "\n")+"\n", want+"\n") {
					t.Errorf("no package %q in\n%s", want, strings.Join(got, "\n"))
				}
			}
			var gaps strings.Builder
			for _, g := range inv.Gaps {
				gaps.WriteString(g.What + "\n")
			}
			for _, want := range c.gaps {
				if !strings.Contains(gaps.String(), want) {
					t.Errorf("no gap %q in\n%s", want, gaps.String())
				}
			}
			if c.gaps == nil && len(inv.Gaps) > 0 {
				t.Errorf("gaps where there are none:\n%s", gaps.String())
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "spaces": " \n ", "another JSON": `{"a":1}`, "not JSON": `{"bomFormat":`, "text": "hello", "HTML": "<html></html>",
		"list": "[]", "SPDX 3": `{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld"}`, "SPDX 3 tag": "SPDXVersion: SPDX-3.0\n",
		"open text": "SPDXVersion: SPDX-2.3\nDocumentComment: <text>never", "no tag": "SPDXVersion: SPDX-2.3\nwhat is this",
	} {
		if _, _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
	if _, _, err := Read(strings.NewReader("hello")); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v: want ErrUnknown", err)
	}
}

// TestDepth: components in components are bounded, and said to be.
func TestDepth(t *testing.T) {
	const depth = 200
	open := strings.Repeat(`{"type":"library","name":"a","version":"1","purl":"pkg:npm/a@1","components":[`, depth)
	doc := `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[` + open + strings.Repeat("]}", depth) + `]}`
	inv, _, err := Read(strings.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Gaps) != 1 || inv.Gaps[0].Minor || !strings.Contains(inv.Gaps[0].What, "64 deep") {
		t.Errorf("gaps %+v: want one that says how deep", inv.Gaps)
	}
}

// TestLayersOutOfRange: an index no layer has must not reach those who use it.
func TestLayersOutOfRange(t *testing.T) {
	doc := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"a","version":"1",
		"properties":[{"name":"gabion:found","value":"npm"},{"name":"gabion:layer","value":"7"}]}]}`
	inv, _, err := Read(strings.NewReader(doc))
	if err != nil || len(inv.Packages) != 1 || inv.Packages[0].Layer != -1 {
		t.Errorf("%v, %+v: want layer -1", err, inv.Packages)
	}
}

func FuzzRead(f *testing.F) {
	for _, format := range formats {
		f.Add(write(f, format, sample.Clean()))
	}
	for _, file := range []string{"syft.cdx.json", "trivy.cdx.json", "trivy.spdx.json", "plain.spdx", "old.cdx.xml", "homeless.cdx.json"} {
		data, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, img, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, p := range inv.Packages {
			if p.Layer < -1 || p.Layer >= len(img.Layers) {
				t.Fatalf("layer %d of %d", p.Layer, len(img.Layers))
			}
		}
		// What was read can be written, and reads back the same.
		r := &scan.Report{Image: img, Release: inv.Release, Packages: inv.Packages, Gaps: inv.Gaps}
		for _, format := range formats {
			again, _, err := Read(bytes.NewReader(write(t, format, r)))
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			if len(again.Packages) != len(inv.Packages) {
				t.Fatalf("%s: %d packages became %d", format, len(inv.Packages), len(again.Packages))
			}
		}
	})
}
