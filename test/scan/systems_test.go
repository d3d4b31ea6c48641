package scan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan/engine"
)

// osvOf is a record as data sets in the form of OSV have it.
func osvOf(id, cve, ecosystem, name, fixed string) document {
	return document{"osv", fmt.Sprintf(`{"id":%q,"upstream":[%q],"modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`,
		id, cve, ecosystem, name, fixed)}
}

// redHat is a VEX document as Red Hat publishes it, cut down to one package.
func redHat(cve, cpe, nevra, purl string) document {
	return document{"csaf", fmt.Sprintf(`{"document":{"category":"csaf_vex","csaf_version":"2.0","title":"x","aggregate_severity":{"text":"Important"},
"publisher":{"name":"Red Hat Product Security","namespace":"https://www.redhat.com"},
"tracking":{"id":%[1]q,"status":"final","initial_release_date":"2024-01-01T00:00:00Z","current_release_date":"2024-01-02T00:00:00Z"}},
"product_tree":{"branches":[{"category":"vendor","name":"Red Hat","branches":[
{"category":"product_name","name":"P","product":{"name":"P","product_id":"P","product_identification_helper":{"cpe":%[2]q}}},
{"category":"product_version","name":%[3]q,"product":{"name":%[3]q,"product_id":%[3]q,"product_identification_helper":{"purl":%[4]q}}}]}],
"relationships":[{"category":"default_component_of","product_reference":%[3]q,"relates_to_product_reference":"P","full_product_name":{"name":"x","product_id":"P:x"}}]},
"vulnerabilities":[{"cve":%[1]q,"product_status":{"fixed":["P:x"]}}]}`, cve, cpe, nevra, purl)}
}

func osRelease(id, version, more string) entry {
	return file("etc/os-release", fmt.Sprintf("ID=%s\nVERSION_ID=%q\nPRETTY_NAME=\"%s %s\"\n%s", id, version, id, version, more))
}

// system is one operating system: what its images look like, and what is
// published about it.
type system struct {
	name    string
	release entry
	// put writes the package database.
	put func(t *testing.T, s ...software) []entry
	doc document
	// before is affected, after is the fixed one; version is replaced in both.
	pkg           software
	before, after string
	fix           string // "": after
	// matched says that a source of advisories is built in for it; the others
	// are matched when someone brings records, and say so when nobody does.
	matched bool
}

func one(e entry) []entry { return []entry{e} }

func systems() []system {
	dpkg := func(_ *testing.T, s ...software) []entry { return one(dpkgStatus(s...)) }
	apk := func(_ *testing.T, s ...software) []entry { return one(apkInstalled(s...)) }
	rpm := func(path string) func(*testing.T, ...software) []entry {
		return func(t *testing.T, s ...software) []entry { return one(rpmSQLite(t, path, s...)) }
	}
	ndb := func(_ *testing.T, s ...software) []entry {
		return one(rpmNDB("usr/lib/sysimage/rpm/Packages.db", s...))
	}
	const varRPM = "var/lib/rpm/rpmdb.sqlite"
	return []system{
		{name: "Debian", release: osRelease("debian", "12", "VERSION_CODENAME=bookworm\n"), put: dpkg, matched: true,
			doc: document{"debian", `{"openssl":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2","urgency":"not yet assigned"}}}}}`},
			pkg: software{name: "libssl3", source: "openssl"}, before: "3.0.11-1~deb12u1", after: "3.0.11-1~deb12u2"},
		{name: "Debian, backport", release: osRelease("debian", "12", ""), put: dpkg, matched: true,
			doc: document{"debian", `{"curl":{"CVE-2023-38545":{"releases":{"bookworm":{"status":"resolved","fixed_version":"7.88.1-10+deb12u4","urgency":"high"}}}}}`},
			pkg: software{name: "curl"}, before: "7.88.1-10+deb12u3", after: "7.88.1-10+deb12u4"},
		{name: "Ubuntu", release: osRelease("ubuntu", "22.04", "VERSION_CODENAME=jammy\n"), put: dpkg, matched: true,
			doc: document{"ubuntu", `[{"id":"UBUNTU-CVE-2022-1292","upstream":["CVE-2022-1292"],"modified":"2025-01-13T10:22:00Z","affected":[{"package":{"ecosystem":"Ubuntu:22.04:LTS","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.2-0ubuntu1.1"}]}]}]}]`},
			pkg: software{name: "libssl3", source: "openssl"}, before: "3.0.2-0ubuntu1", after: "3.0.2-0ubuntu1.1"},
		{name: "Alpine", release: osRelease("alpine", "3.19.1", ""), put: apk, matched: true,
			doc: document{"alpine", `{"reponame":"main","distroversion":"v3.19","packages":[{"pkg":{"name":"openssl","secfixes":{"3.1.4-r3":["CVE-2023-6129"]}}}]}`},
			pkg: software{name: "libssl3", source: "openssl"}, before: "3.1.4-r2", after: "3.1.4-r3"},
		{name: "RHEL", release: osRelease("rhel", "9.4", ""), put: rpm(varRPM), matched: true,
			doc: redHat("CVE-2024-10041", "cpe:/o:redhat:enterprise_linux:9::baseos", "pam-0:1.5.1-21.el9_5.x86_64", "pkg:rpm/redhat/pam@1.5.1-21.el9_5?arch=x86_64"),
			pkg: software{name: "pam"}, before: "1.5.1-20.el9", after: "1.5.1-21.el9_5"},
		{name: "RHEL, epoch", release: osRelease("rhel", "9.4", ""), put: rpm(varRPM), matched: true,
			doc: redHat("CVE-2024-6119", "cpe:/o:redhat:enterprise_linux:9::baseos", "openssl-libs-1:3.0.7-28.el9_4.x86_64", "pkg:rpm/redhat/openssl-libs@3.0.7-28.el9_4?arch=x86_64&epoch=1"),
			pkg: software{name: "openssl-libs", source: "openssl"}, before: "1:3.0.7-27.el9", after: "1:3.0.7-28.el9_4"},
		{name: "AlmaLinux", release: osRelease("almalinux", "9.3", ""), put: rpm(varRPM), matched: true,
			doc: osvOf("ALSA-2024:1", "CVE-2024-1001", "AlmaLinux:9", "bash", "5.1.8-9.el9"),
			pkg: software{name: "bash"}, before: "5.1.8-6.el9", after: "5.1.8-9.el9"},
		{name: "Rocky", release: osRelease("rocky", "9.3", ""), put: rpm(varRPM), matched: true,
			doc: osvOf("RLSA-2024:1", "CVE-2024-1002", "Rocky Linux:9", "bash", "5.1.8-9.el9"),
			pkg: software{name: "bash"}, before: "5.1.8-6.el9", after: "5.1.8-9.el9"},
		{name: "Oracle", release: osRelease("ol", "9.3", ""), put: rpm(varRPM),
			doc: osvOf("ELSA-2024-1", "CVE-2024-1003", "Oracle Linux:9", "bash", "5.1.8-9.0.1.el9"),
			pkg: software{name: "bash"}, before: "5.1.8-9.el9", after: "5.1.8-9.0.1.el9", fix: "5.1.8-9.0.1.el9"},
		{name: "CentOS Stream", release: osRelease("centos", "9", "NAME=\"CentOS Stream\"\n"), put: rpm(varRPM),
			doc: osvOf("X-1", "CVE-2024-1004", "CentOS Stream:9", "bash", "5.1.8-9.el9"),
			pkg: software{name: "bash"}, before: "5.1.8-6.el9", after: "5.1.8-9.el9"},
		{name: "Fedora", release: osRelease("fedora", "40", ""), put: rpm("usr/lib/sysimage/rpm/rpmdb.sqlite"),
			doc: osvOf("FEDORA-2024-1", "CVE-2024-1005", "Fedora:40", "bash", "5.2.26-4.fc40"),
			pkg: software{name: "bash"}, before: "5.2.26-3.fc40", after: "5.2.26-4.fc40"},
		{name: "Amazon", release: osRelease("amzn", "2023", ""), put: rpm(varRPM),
			doc: osvOf("ALAS-2024-1", "CVE-2024-1006", "Amazon Linux:2023", "bash", "5.2.15-2.amzn2023.0.3"),
			pkg: software{name: "bash"}, before: "5.2.15-1.amzn2023.0.2", after: "5.2.15-2.amzn2023.0.3"},
		{name: "SUSE", release: osRelease("sles", "15.5", ""), put: ndb, matched: true,
			doc: osvOf("SUSE-SU-2023:4044-1", "CVE-2023-38545", "SUSE:Linux Enterprise Server 15 SP5", "curl", "8.0.1-150400.5.32.1"),
			pkg: software{name: "curl"}, before: "8.0.1-150400.5.29.1", after: "8.0.1-150400.5.32.1"},
		{name: "openSUSE", release: osRelease("opensuse-leap", "15.5", ""), put: ndb, matched: true,
			doc: osvOf("openSUSE-SU-2023:1-1", "CVE-2023-38546", "openSUSE:Leap 15.5", "curl", "8.0.1-150400.5.32.1"),
			pkg: software{name: "curl"}, before: "8.0.1-150400.5.29.1", after: "8.0.1-150400.5.32.1"},
		{name: "Photon", release: osRelease("photon", "5.0", ""), put: rpm("usr/lib/sysimage/rpm/rpmdb.sqlite"), matched: true,
			doc: osvOf("PHSA-2024-5.0-0200", "CVE-2024-1007", "Photon OS:5.0", "curl", "8.1.2-9.ph5"),
			pkg: software{name: "curl-libs", source: "curl"}, before: "8.1.2-8.ph5", after: "8.1.2-9.ph5"},
		{name: "Azure Linux", release: osRelease("azurelinux", "3.0.20240727", ""), put: rpm(varRPM), matched: true,
			doc: osvOf("AZL-1", "CVE-2024-1008", "Azure Linux:3", "curl", "8.8.0-2.azl3"),
			pkg: software{name: "curl-libs", source: "curl"}, before: "8.8.0-1.azl3", after: "8.8.0-2.azl3"},
		{name: "Arch", release: file("etc/os-release", "ID=arch\nPRETTY_NAME=\"Arch Linux\"\n"),
			put: func(_ *testing.T, s ...software) []entry { return pacmanLocal(s...) },
			doc: osvOf("AVG-1", "CVE-2024-1009", "Arch Linux", "openssl", "3.3.1-1"),
			pkg: software{name: "openssl", source: "openssl"}, before: "3.3.0-1", after: "3.3.1-1"},
		{name: "distroless", release: osRelease("debian", "12", ""), matched: true,
			put: func(_ *testing.T, s ...software) (out []entry) {
				for _, p := range s {
					text := strings.Replace(dpkgText(p), "Status: install ok installed\n", "", 1)
					out = append(out, file("var/lib/dpkg/status.d/"+p.name, text), file("var/lib/dpkg/status.d/"+p.name+".md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/x\n"))
				}
				return out
			},
			doc: document{"debian", `{"openssl":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2","urgency":"not yet assigned"}}}}}`},
			pkg: software{name: "libssl3", source: "openssl"}, before: "3.0.11-1~deb12u1", after: "3.0.11-1~deb12u2"},
		{name: "chiselled Ubuntu", release: osRelease("ubuntu", "24.04", ""), matched: true,
			put: func(t *testing.T, s ...software) []entry { return one(chiselManifest(t, s...)) },
			doc: document{"ubuntu", `[{"id":"UBUNTU-CVE-2024-1","upstream":["CVE-2024-1"],"modified":"2025-01-13T10:22:00Z","affected":[{"package":{"ecosystem":"Ubuntu:24.04:LTS","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.13-0ubuntu3.1"}]}],"ecosystem_specific":{"binaries":[{"binary_name":"openssl","binary_version":"3.0.13-0ubuntu3.1"}]}}]}]`},
			pkg: software{name: "openssl"}, before: "3.0.13-0ubuntu3", after: "3.0.13-0ubuntu3.1"},
	}
}

// Every system: the version before the fix is found with the right fix, the
// fixed one is not, and without advisories for it the report is incomplete.
func TestOperatingSystems(t *testing.T) {
	other := databaseOf(t, osvOf("GHSA-1", "CVE-1999-1", "npm", "nothing", "1.0.0"))
	for _, s := range systems() {
		t.Run(s.name, func(t *testing.T) {
			db := databaseOf(t, s.doc)
			id := ""
			for _, word := range strings.FieldsFunc(s.doc.text, func(r rune) bool { return r == '"' }) {
				if strings.HasPrefix(word, "CVE-") {
					id = word
				}
			}
			fix := s.fix
			if fix == "" {
				fix = s.after
			}
			files := func(version string) []entry {
				p := s.pkg
				p.version = version
				return append(s.put(t, p, software{name: "unrelated", version: "1.0-1"}), s.release)
			}
			r := scanEntries(t, db, files(s.before)...)
			if want := []string{id + " " + s.pkg.name + " " + fix}; !slices.Equal(found(r), want) {
				t.Errorf("before the fix: %q, want %q\npackages %q\n%s", found(r), want, packages(r), gapsOf(r))
			}
			if r.Incomplete() {
				t.Errorf("incomplete:\n%s", gapsOf(r))
			}
			if r = scanEntries(t, db, files(s.after)...); len(r.Findings) != 0 || len(r.Packages) != 2 || r.Incomplete() {
				t.Errorf("fixed: %q, packages %q\n%s", found(r), packages(r), gapsOf(r))
			}
			if r = scanEntries(t, other, files(s.before)...); !r.Incomplete() {
				t.Errorf("no advisories for the system, and nobody says so:\n%s", gapsOf(r))
			}
		})
	}
}

// Wolfi and unknown systems are listed, never judged, and the report says so.
func TestSystemsWithoutAdvisories(t *testing.T) {
	db := databaseOf(t, osvOf("X-1", "CVE-2024-1", "Alpine:v3.19", "openssl", "9"))
	p := software{name: "openssl", version: "3.1.4-r0"}
	for name, release := range map[string]entry{
		"wolfi":         osRelease("wolfi", "20230201", ""),
		"unknown":       osRelease("templeos", "5", ""),
		"derivative":    osRelease("postmarketos", "v23", "ID_LIKE=alpine\n"),
		"nameless":      file("etc/unrelated", ""),
		"empty":         file("etc/os-release", ""),
		"huge":          file("etc/os-release", "ID=alpine\nVERSION_ID=3.19.0\n"+strings.Repeat("# x\n", 2<<20)),
		"without value": file("etc/os-release", "ID=alpine\n"),
	} {
		r := scanEntries(t, db, apkInstalled(p), release)
		if len(r.Packages) != 1 || len(r.Findings) != 0 || !r.Incomplete() {
			t.Errorf("%s: packages %q, findings %q, gaps\n%s", name, packages(r), found(r), gapsOf(r))
		}
	}
}

// Other limits are another reading: the cache must not mix them up.
func TestLimitsAreInTheVersion(t *testing.T) {
	var o engine.Options
	a := engine.Version(o)
	o.Limits.FileBytes = 1 << 20
	b := engine.Version(o)
	o.Limits.FileBytes = 0
	o.Limits.Bytes = 1 << 20
	if c := engine.Version(o); a == b || a == c || b == c {
		t.Errorf("%s, %s and %s", a, b, c)
	}
}
