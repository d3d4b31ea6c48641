package vex

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

var digest = "sha256:" + strings.Repeat("a", 64)

// image is a report with packages of several kinds and a finding in each.
func image() *scan.Report {
	r := &scan.Report{
		Tool:  "gabion test",
		Image: scan.Image{Name: "registry.example/team/web:1.2", Kind: scan.Registry, Digest: digest, ConfigID: "sha256:" + strings.Repeat("c", 64)},
		Packages: []scan.Package{
			0: {Name: "libssl3", Version: "3.0.11-1", Source: "openssl", SourceVersion: "3.0.11-1", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12", Path: "/var/lib/dpkg/status"},
			1: {Name: "lodash", Version: "4.17.20", Ecosystem: "npm", PURL: "pkg:npm/lodash@4.17.20", Path: "/app/node_modules/lodash/package.json"},
			2: {Name: "web", Version: "1.0", Ecosystem: "npm", PURL: "pkg:npm/web@1.0", Path: "/app/package.json"},
			3: {Name: "log4j-core", Version: "2.14.1", Ecosystem: "Maven", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Path: "/opt/app.jar!/log4j-core.jar"},
			4: {Name: "app", Version: "1", Ecosystem: "Maven", PURL: "pkg:maven/example/app@1", Path: "/opt/app.jar"},
			5: {Name: "openssl-libs", Version: "1:3.0.7-1.el9", Source: "openssl", SourceVersion: "1:3.0.7-1.el9", Ecosystem: "Red Hat:9", PURL: "pkg:rpm/redhat/openssl-libs@3.0.7-1.el9?arch=x86_64&epoch=1&distro=rhel-9", Path: "/var/lib/rpm/rpmdb.sqlite"},
			6: {Name: "own thing", Version: "7", Ecosystem: "Binary", Path: "/usr/bin/own"},
			7: {Name: "curl", Version: "7", Ecosystem: "Debian:12", PURL: "pkg:deb/debian/curl@7?arch=amd64&distro=debian-12", Path: "/var/lib/dpkg/status"},
			8: {Name: "lodash", Version: "4.17.20", Ecosystem: "npm", PURL: "pkg:npm/lodash@4.17.20", Path: "/other/node_modules/lodash/package.json"},
		},
	}
	for i := range r.Packages {
		r.Findings = append(r.Findings, scan.Finding{Advisory: scan.Advisory{ID: "CVE-2026-1", Aliases: []string{"GHSA-1111-2222-3333"}}, Package: i, State: scan.Open})
	}
	return r
}

// matched gives the packages whose findings a product is about.
func matched(p Product) []int {
	r := image()
	d := Document{Name: "d", Statements: []Statement{{IDs: []string{"CVE-2026-1"}, Status: Fixed, Products: []Product{p}}}}
	x := NewIndex([]Document{d}, &r.Image, r.Packages)
	var out []int
	for i := range r.Findings {
		if x.Find(&r.Findings[i]).Statement != nil {
			out = append(out, i)
		}
	}
	return out
}

func TestProducts(t *testing.T) {
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	names := func(n ...string) Product { return Product{Names: n} }
	within := func(whole string, parts ...string) Product {
		p := names(whole)
		for _, c := range parts {
			p.Components = append(p.Components, names(c))
		}
		return p
	}
	for _, tt := range []struct {
		name string
		p    Product
		want []int
	}{
		{"package", names("pkg:npm/lodash@4.17.20"), []int{1, 8}},
		{"any version", names("pkg:npm/lodash"), []int{1, 8}},
		{"another version", names("pkg:npm/lodash@4.17.21"), nil},
		{"another type", names("pkg:pypi/lodash@4.17.20"), nil},
		{"another namespace", names("pkg:npm/%40scope/lodash@4.17.20"), nil},
		{"one of its names", names("nothing", "pkg:npm/lodash"), []int{1, 8}},
		{"name alone", names("lodash"), nil},
		{"qualifier", names("pkg:deb/debian/libssl3?distro=debian-12"), []int{0}},
		{"another qualifier", names("pkg:deb/debian/libssl3?distro=debian-11"), nil},
		{"another architecture", names("pkg:deb/debian/libssl3?arch=arm64"), nil},
		{"source package", names("pkg:deb/debian/openssl?arch=source"), []int{0}},
		{"source package with version", names("pkg:deb/debian/openssl@3.0.11-1"), []int{0}},
		{"source package, another version", names("pkg:deb/debian/openssl@3.0.12-1"), nil},
		{"rpm with epoch beside", names("pkg:rpm/redhat/openssl@3.0.7-1.el9?arch=src&epoch=1"), []int{5}},
		{"rpm with epoch inside", names("pkg:rpm/redhat/openssl-libs@1:3.0.7-1.el9"), []int{5}},
		{"rpm with another epoch", names("pkg:rpm/redhat/openssl-libs@3.0.7-1.el9?epoch=2"), nil},
		{"rpm without epoch", names("pkg:rpm/redhat/openssl-libs@3.0.7-1.el9"), nil},
		{"download place", names("pkg:npm/lodash@4.17.20?repository_url=https%3A%2F%2Fregistry.example"), []int{1, 8}},
		{"subpath", names("pkg:npm/lodash@4.17.20#lib"), nil},
		{"no package URL of its own", names("pkg:generic/own%20thing@7"), []int{6}},
		{"image by digest", names(digest), all},
		{"image by configuration", names("sha256:" + strings.Repeat("c", 64)), all},
		{"another digest", names("sha256:" + strings.Repeat("b", 64)), nil},
		{"image by reference", names("registry.example/team/web:1.2"), all},
		{"image by repository", names("registry.example/team/web"), all},
		{"image by address", names("https://registry.example/team/web:1.2"), all},
		{"image by reference and digest", names("registry.example/team/web@" + digest), all},
		{"another tag", names("registry.example/team/web:1.3"), nil},
		{"oci digest", names("pkg:oci/web@" + strings.Replace(digest, ":", "%3A", 1)), all},
		{"oci digest of another", names("pkg:oci/web@sha256%3Abb?repository_url=registry.example/team/web"), nil},
		{"oci repository", names("pkg:oci/web?repository_url=registry.example/team/web"), all},
		{"oci repository without name", names("pkg:oci/web?repository_url=registry.example/team"), all},
		{"oci elsewhere", names("pkg:oci/web?repository_url=elsewhere.example/team/web"), nil},
		{"oci tag", names("pkg:oci/web?repository_url=registry.example/team/web&tag=1.2"), all},
		{"oci another tag", names("pkg:oci/web?repository_url=registry.example/team/web&tag=9"), nil},
		{"oci name", names("pkg:oci/web"), all},
		{"oci another name", names("pkg:oci/we"), nil},
		{"docker", names("pkg:docker/team/web@1.2?repository_url=registry.example"), all},
		{"docker another tag", names("pkg:docker/team/web@1.3?repository_url=registry.example"), nil},
		{"docker elsewhere", names("pkg:docker/team/web@1.2"), nil},
		{"component of the image", within(digest, "pkg:npm/lodash"), []int{1, 8}},
		{"components of the image", within(digest, "pkg:npm/lodash", "pkg:npm/web"), []int{1, 2, 8}},
		{"component of another image", within("sha256:bb", "pkg:npm/lodash"), nil},
		{"component of an application", within("pkg:npm/web@1.0", "pkg:npm/lodash@4.17.20"), []int{1}},
		{"component of an archive", within("pkg:maven/example/app@1", "pkg:maven/org.apache.logging.log4j/log4j-core"), []int{3}},
		{"component of a stranger", within("pkg:maven/example/app@2", "pkg:maven/org.apache.logging.log4j/log4j-core"), nil},
		{"component of itself", within("pkg:deb/debian/curl", "pkg:deb/debian/curl"), []int{7}},
		{"component of a distribution's package", within("pkg:deb/debian/curl", "pkg:deb/debian/libssl3"), nil},
		{"nonsense", names("pkg:", "pkg:npm", "pkg:///", "sha256:", ":", "@", ""), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := matched(tt.p); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestDockerHub(t *testing.T) {
	for _, ref := range []string{"nginx:1", "docker.io/library/nginx:1", "index.docker.io/library/nginx:1", "registry:nginx:1"} {
		n := namesOfImage(&scan.Image{Name: ref})
		for _, product := range []string{"nginx", "nginx:1", "docker.io/library/nginx:1", "pkg:docker/nginx@1", "pkg:docker/library/nginx@1", "pkg:oci/nginx?repository_url=docker.io/library/nginx"} {
			if !n.are(product) {
				t.Errorf("%s is not %s", ref, product)
			}
		}
		if n.are("nginx:2") || n.are("other/nginx") {
			t.Errorf("%s is everything", ref)
		}
	}
}

// TestLatestStatementCounts: in one document and across several.
func TestLatestStatementCounts(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	say := func(s Status, day int) Statement {
		return Statement{IDs: []string{"ghsa-1111-2222-3333"}, Status: s, Note: "n", Time: at(day), Products: []Product{{Names: []string{"pkg:npm/lodash"}}}}
	}
	for _, tt := range []struct {
		name string
		docs [][]Statement
		want scan.State
	}{
		{"one", [][]Statement{{say(NotAffected, 1)}}, scan.NotAffected},
		{"later in the document", [][]Statement{{say(UnderInvestigation, 1), say(NotAffected, 2)}}, scan.NotAffected},
		{"order does not matter", [][]Statement{{say(NotAffected, 2), say(UnderInvestigation, 1)}}, scan.NotAffected},
		{"withdrawn", [][]Statement{{say(NotAffected, 1), say(Affected, 2)}}, ""},
		{"withdrawn by another document", [][]Statement{{say(Fixed, 1)}, {say(Affected, 2)}}, ""},
		{"tie is open", [][]Statement{{say(NotAffected, 1)}, {say(Affected, 1)}}, ""},
		{"tie is open the other way", [][]Statement{{say(UnderInvestigation, 1)}, {say(NotAffected, 1)}}, ""},
		{"fixed", [][]Statement{{say(NotAffected, 1), say(Fixed, 3)}}, scan.Fixed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := image()
			var docs []Document
			for _, s := range tt.docs {
				docs = append(docs, Document{Name: "d", Statements: s})
			}
			x := NewIndex(docs, &r.Image, r.Packages)
			said := x.Find(&r.Findings[1])
			if said.State() != tt.want || (said.Remark() == "") != (tt.want != "") {
				t.Errorf("%q %q", said.State(), said.Remark())
			}
			if len(x.Gaps()) > 0 {
				t.Errorf("%+v", x.Gaps())
			}
		})
	}
}

func TestSaid(t *testing.T) {
	d := &Document{Name: "v.json", Author: "vendor"}
	for _, tt := range []struct{ j, note, want string }{
		{"component_not_present", "", "component_not_present"}, {"", "not\n built", "not built"}, {"a", "b", "a: b"}, {"", "", "not_affected"},
	} {
		got := Said{d, &Statement{Status: NotAffected, Justification: tt.j, Note: tt.note}}.Decision()
		if got.Reason != tt.want || got.By != "VEX v.json" || got.Owner != "vendor" {
			t.Errorf("%+v", got)
		}
	}
	long := Said{d, &Statement{Status: Affected, Note: strings.Repeat("é", 300)}}.Remark()
	if len(long) > 250 || !strings.Contains(long, "...") || strings.ContainsRune(long, '\ufffd') {
		t.Errorf("%d %q", len(long), long)
	}
	if (Said{}).Decision() != nil || (Said{}).Remark() != "" {
		t.Error("nothing says something")
	}
}

func TestGaps(t *testing.T) {
	r := image()
	x := NewIndex([]Document{{Name: "a", Skipped: []string{"why"}, Statements: make([]Statement, 2)}}, &r.Image, r.Packages)
	x.Find(&r.Findings[0])
	var got []string
	for _, g := range x.Gaps() {
		if !g.Minor || g.Where != "VEX a" || g.Do == "" {
			t.Errorf("%+v", g)
		}
		got = append(got, g.What)
	}
	if want := []string{"why", "none of its 2 statements is about a finding of this image"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// FuzzNames: whatever a product and an image are called, comparing them breaks
// nothing, and an image is always what it is called itself.
func FuzzNames(f *testing.F) {
	for _, n := range []string{"pkg:oci/web?repository_url=registry.example/web&tag=1", "pkg:docker/a/b@1", digest, "registry.example:5000/a/b:1@" + digest, "pkg:deb/debian/openssl@1?arch=source", "docker.io/library/nginx", "@", ":/", "pkg:npm/%40a/b#c"} {
		f.Add(n, "registry.example/team/web:1.2")
		f.Add("pkg:npm/lodash", n)
	}
	f.Fuzz(func(t *testing.T, product, ref string) {
		n := namesOfImage(&scan.Image{Name: ref, Digest: digest})
		n.are(product)
		if parsePURL(ref) == nil && plainRef(ref) != "" && !n.are(ref) {
			t.Fatalf("%q is not itself", ref)
		}
		if p := imagePURL(&scan.Image{Name: ref, Digest: digest, Kind: scan.Registry}); parsePURL(p) == nil && len(p) < 4096 {
			t.Fatalf("the package URL %q of %q cannot be read", p, ref)
		}
		matched(Product{Names: []string{product}, Components: []Product{{Names: []string{ref}}}})
	})
}
