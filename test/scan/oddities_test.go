package scan_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"slices"
	"testing"
)

func jar(t testing.TB, path, group, artifact, version string) entry {
	t.Helper()
	return file(path, string(zipOf(t, file("META-INF/maven/"+group+"/"+artifact+"/pom.properties",
		fmt.Sprintf("groupId=%s\nartifactId=%s\nversion=%s\n", group, artifact, version)))))
}

func zipOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.Create(e.path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func nuget(name, version string) entry {
	return file("app/packages.lock.json", fmt.Sprintf(`{"version":1,"dependencies":{"net8.0":{%q:{"type":"Direct","requested":"[%[2]s, )","resolved":%[2]q}}}}`, name, version))
}

// TestOddities holds what databases and package managers do that a plain
// comparison of names and versions gets wrong.
func TestOddities(t *testing.T) {
	alma8 := osRelease("almalinux", "8.9", "")
	debian12 := osRelease("debian", "12", "")
	rhel9 := osRelease("rhel", "9.4", "")
	rpms := func(s ...software) entry { return rpmSQLite(t, "var/lib/rpm/rpmdb.sqlite", s...) }
	opensslDSA := document{"debian", `{"openssl":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1~deb12u2","urgency":"not yet assigned"}}}}}`}
	module := document{"osv", `{"id":"ALSA-2023:1","summary":"Important: postgresql:15 security update","related":["CVE-2023-2454"],"affected":[{"package":{"ecosystem":"AlmaLinux:8","name":"postgresql-server"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"15.3-1.module_el8.8.0+3568+6734ab6f"}]}]}]}`}
	maven := osvOf("GHSA-2222-3333-4444", "CVE-2022-22965", "Maven", "org.springframework:spring-beans", "5.2.20.RELEASE")
	alpha := osvOf("GHSA-2222-3333-5555", "CVE-2022-1", "Maven", "g:a", "1.0")
	nu := osvOf("GHSA-2222-3333-6666", "CVE-2024-21907", "NuGet", "Newtonsoft.Json", "13.0.1")
	for _, c := range []struct {
		name  string
		docs  []document
		files []entry
		want  []string
	}{
		{"module: the stream of the advisory", []document{module}, []entry{alma8, rpms(software{name: "postgresql-server", version: "15.2-1.module_el8.7.0+1+a", module: "postgresql:15:8070020230316063021:bd1311ed"})},
			[]string{"CVE-2023-2454 postgresql-server 15.3-1.module_el8.8.0+3568+6734ab6f"}},
		{"module: another stream", []document{module}, []entry{alma8, rpms(software{name: "postgresql-server", version: "13.10-1.module_el8.7.0+1+a", module: "postgresql:13:8070020230316063021:bd1311ed"})}, nil},
		{"module: the same name outside of modules", []document{module}, []entry{alma8, rpms(software{name: "postgresql-server", version: "10.23-1.el8"})}, nil},
		{"epoch beats version", []document{osvOf("RLSA-1", "CVE-2024-2", "Rocky Linux:9", "x", "1:1.0-1.el9")}, []entry{osRelease("rocky", "9.3", ""), rpms(software{name: "x", version: "9.0-1.el9"})},
			[]string{"CVE-2024-2 x 1:1.0-1.el9"}},
		{"epoch of the installed one", []document{osvOf("RLSA-1", "CVE-2024-2", "Rocky Linux:9", "x", "9.0-1.el9")}, []entry{osRelease("rocky", "9.3", ""), rpms(software{name: "x", version: "1:1.0-1.el9"})}, nil},
		{"dpkg: tilde is older than nothing", []document{opensslDSA}, []entry{debian12, dpkgStatus(software{name: "openssl", version: "3.0.11-1~bpo12+1"})},
			[]string{"CVE-2023-5363 openssl 3.0.11-1~deb12u2"}},
		{"a binary package of the source", []document{opensslDSA}, []entry{debian12, dpkgStatus(software{name: "libssl3t64", source: "openssl", version: "3.0.9-1"})},
			[]string{"CVE-2023-5363 libssl3t64 3.0.11-1~deb12u2"}},
		{"a binary package that only has the source's name", []document{opensslDSA}, []entry{debian12, dpkgStatus(software{name: "openssl", source: "other", version: "1.0"})}, nil},
		{"the version of the source counts", []document{opensslDSA}, []entry{debian12, dpkgStatus(software{name: "libssl3", source: "openssl", sourceVersion: "3.0.11-1~deb12u2", version: "1:0.1+b1"})}, nil},
		{"a source package was renamed", []document{{"debian", `{"openssl":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.11-1","urgency":"high"}}}},"openssl3":{"CVE-2023-5363":{"releases":{"bookworm":{"status":"resolved","fixed_version":"3.0.12-1","urgency":"high"}}}}}`}},
			[]entry{debian12, dpkgStatus(software{name: "libssl3", source: "openssl3", version: "3.0.11-5"}, software{name: "libssl1", source: "openssl", version: "3.0.11-5"})},
			[]string{"CVE-2023-5363 libssl3 3.0.12-1"}},
		{"rpm: binary names, not the source's", []document{redHat("CVE-2024-6119", "cpe:/o:redhat:enterprise_linux:9::baseos", "openssl-libs-1:3.0.7-28.el9_4.x86_64", "pkg:rpm/redhat/openssl-libs@3.0.7-28.el9_4?arch=x86_64&epoch=1")},
			[]entry{rhel9, rpms(software{name: "openssl-perl", source: "openssl", version: "1:3.0.7-1.el9"}, software{name: "openssl-libs", source: "openssl", version: "1:3.0.7-1.el9"})},
			[]string{"CVE-2024-6119 openssl-libs 1:3.0.7-28.el9_4"}},
		{"withdrawn", []document{{"osv", `{"id":"GHSA-2222-3333-7777","aliases":["CVE-2020-1"],"modified":"2024-01-01T00:00:00Z","withdrawn":"2024-02-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}]}]}`}, osvOf("GHSA-2222-3333-8888", "CVE-2020-2", "npm", "other", "1.0.0")},
			[]entry{file("a/node_modules/lodash/package.json", `{"name":"lodash","version":"1.0.0"}`)}, nil},
		{"Maven: RELEASE is the release", []document{maven}, []entry{jar(t, "app/a.jar", "org.springframework", "spring-beans", "5.2.20.RELEASE")}, nil},
		{"Maven: and the one before is not", []document{maven}, []entry{jar(t, "app/a.jar", "org.springframework", "spring-beans", "5.2.19.RELEASE")}, []string{"CVE-2022-22965 org.springframework:spring-beans 5.2.20.RELEASE"}},
		{"Maven: alpha, milestone, rc, snapshot come before", []document{alpha}, []entry{
			jar(t, "1.jar", "g", "a", "1.0-alpha-1"), jar(t, "2.jar", "g", "a", "1.0-M2"), jar(t, "3.jar", "g", "a", "1.0-rc1"), jar(t, "4.jar", "g", "a", "1.0-SNAPSHOT"), jar(t, "5.jar", "g", "a", "1.0-beta2")},
			slices.Repeat([]string{"CVE-2022-1 g:a 1.0"}, 5)},
		{"Maven: ga, final, sp and zeros do not", []document{alpha}, []entry{
			jar(t, "1.jar", "g", "a", "1.0.0"), jar(t, "2.jar", "g", "a", "1.0.Final"), jar(t, "3.jar", "g", "a", "1.0-ga"), jar(t, "4.jar", "g", "a", "1.0-sp1"), jar(t, "5.jar", "g", "a", "1.0-jre"), jar(t, "6.jar", "g", "a", "1")}, nil},
		{"NuGet: names in any case", []document{nu}, []entry{nuget("newtonsoft.json", "12.0.3")}, []string{"CVE-2024-21907 newtonsoft.json 13.0.1"}},
		{"NuGet: four parts", []document{nu}, []entry{nuget("Newtonsoft.Json", "13.0.0.9")}, []string{"CVE-2024-21907 Newtonsoft.Json 13.0.1"}},
		{"NuGet: a fourth part of zero", []document{nu}, []entry{nuget("Newtonsoft.Json", "13.0.1.0")}, nil},
		{"NuGet: previews come before", []document{nu}, []entry{nuget("Newtonsoft.Json", "13.0.1-beta2")}, []string{"CVE-2024-21907 Newtonsoft.Json 13.0.1"}},
		{"PyPI: names are one", []document{osvOf("PYSEC-1", "CVE-2024-3", "PyPI", "my-package-name", "2.0")}, []entry{file("usr/lib/site-packages/My_Package.Name-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: My_Package.Name\nVersion: 1.0\n\n")}, []string{"CVE-2024-3 My_Package.Name 2.0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := scanEntries(t, databaseOf(t, c.docs...), c.files...)
			if got := found(r); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q\npackages %q\n%s", got, c.want, packages(r), gapsOf(r))
			}
			if r.Incomplete() {
				t.Errorf("incomplete:\n%s", gapsOf(r))
			}
		})
	}
}
