package inventory

import (
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

// What lies in packages of others than the distributor is told, since nobody
// fixes it under the distributor's versions.
func TestForeignPackages(t *testing.T) {
	debian, rhel := scan.Release{ID: "debian"}, scan.Release{ID: "rhel"}
	for _, c := range []struct {
		release scan.Release
		plugin  string
		vendor  string
		path    string
		want    bool
	}{
		{debian, dpkgPlugin, "Debian Python Team <team+python@tracker.debian.org>", "usr/bin/x", false},
		{debian, dpkgPlugin, "Jane Doe <jane@example.org>", "usr/bin/x", false},
		{debian, dpkgPlugin, "", "usr/bin/x", false},
		{debian, dpkgPlugin, "Docker <support@docker.com>", "usr/bin/x", true},
		{debian, dpkgPlugin, "someone <x@notdocker.com.example.org>", "usr/bin/x", false},
		{debian, dpkgPlugin, "none", "usr/bin/x", true}, // as fpm writes it
		{debian, dpkgPlugin, "Debian", "usr/bin/x", false},
		{debian, dpkgPlugin, "Debian", "opt/x/y", true},
		{rhel, rpmPlugin, "Red Hat, Inc.", "usr/bin/x", false},
		{rhel, rpmPlugin, "", "usr/bin/x", false},
		{rhel, rpmPlugin, "(none)", "usr/bin/x", false},
		{rhel, rpmPlugin, "Fedora Project", "usr/bin/x", true}, // EPEL
		{rhel, rpmPlugin, "Docker", "usr/bin/x", true},
		{scan.Release{ID: "unheard-of"}, rpmPlugin, "Whoever", "usr/bin/x", false},
	} {
		p := &placed{Package: scan.Package{Found: c.plugin}, vendor: c.vendor}
		if got := foreign(&c.release, p, c.path); got != c.want {
			t.Errorf("%s %s %q %s: %v", c.release.ID, c.plugin, c.vendor, c.path, got)
		}
	}
	status := "Package: nodejs\nStatus: install ok installed\nVersion: 18.19.0-1nodesource1\nArchitecture: amd64\nMaintainer: Packagers <packages@nodesource.com>\n\n" +
		"Package: python3-six\nStatus: install ok installed\nVersion: 1.16.0-4\nArchitecture: all\nMaintainer: Debian <x@lists.debian.org>\n"
	wantNames(t, merged(t, []item{
		reg("etc/os-release", debian12), reg("var/lib/dpkg/status", status),
		reg("var/lib/dpkg/info/nodejs.list", "/usr/bin/node\n/usr/lib/node_modules/npm/package.json\n"),
		reg("var/lib/dpkg/info/python3-six.list", "/usr/lib/python3/dist-packages/six-1.16.0.egg-info\n"),
		exe("usr/bin/node", elf("\x00node.js/v18.19.0\x00")), reg("usr/lib/node_modules/npm/package.json", `{"name":"npm","version":"10.2.3"}`),
		reg("usr/lib/python3/dist-packages/six-1.16.0.egg-info", "Name: six\nVersion: 1.16.0\n\n"),
	}), "Binary node 18.19.0 @0", "Debian:12 nodejs 18.19.0-1nodesource1 @0", "Debian:12 python3-six 1.16.0-4 @0", "npm npm 10.2.3 @0")
}
