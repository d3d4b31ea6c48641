package inventory

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/gabion-dev/gabion/scan"
)

// binaryEcosystem is that of programs known by their bytes alone.
const binaryEcosystem = "Binary"

// unmatched are operating systems whose packages are listed but whose
// advisories no database of ours may carry.
var unmatched = map[string]bool{"Wolfi": true, "Chainguard": true}

// debianReleases numbers the releases that have no VERSION_ID while they are
// being made.
var debianReleases = map[string]string{
	"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15",
}

// ecosystem names the advisory ecosystem of an operating system, with its
// release; name is NAME of os-release. It is empty for those nobody knows
// here: a derivative is never taken for what it derives from, since its
// versions may differ.
func ecosystem(r *scan.Release, name string) string {
	major, rest, _ := strings.Cut(r.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	if major == "" && r.ID != "debian" && r.ID != "opensuse-tumbleweed" && r.ID != "arch" && r.ID != "wolfi" && r.ID != "chainguard" {
		return ""
	}
	switch r.ID {
	case "debian":
		if major == "" {
			major = debianReleases[r.Codename]
		}
		if major == "" && r.Codename == "sid" {
			major = "sid"
		}
		if major == "" {
			return ""
		}
		return "Debian:" + major
	case "ubuntu":
		return "Ubuntu:" + r.Version
	case "alpine":
		// "3.21_alpha20240807" is edge, "3.20.0_rc1" still a release.
		if strings.Contains(r.Version, "_alpha") {
			return "Alpine:edge"
		}
		return "Alpine:v" + major + "." + minor
	case "rhel":
		return "Red Hat:" + major
	case "centos":
		if strings.Contains(name, "Stream") || strings.Contains(r.Name, "Stream") {
			return "CentOS Stream:" + major
		}
		return "Red Hat:" + major // CentOS Linux was built from the same sources, version by version
	case "almalinux":
		return "AlmaLinux:" + major
	case "rocky":
		return "Rocky Linux:" + major
	case "ol":
		return "Oracle Linux:" + major
	case "fedora":
		return "Fedora:" + major
	case "amzn":
		if strings.HasPrefix(r.Version, "2018.") || strings.HasPrefix(r.Version, "2017.") {
			return "Amazon Linux:1"
		}
		return "Amazon Linux:" + major
	case "sles", "sled", "sle_hpc", "sles_sap":
		return "SUSE Linux Enterprise:" + r.Version
	case "sle-micro", "sl-micro", "suse-microos":
		return "SUSE Linux Enterprise Micro:" + r.Version
	case "opensuse-leap":
		return "openSUSE:Leap " + r.Version
	case "opensuse-tumbleweed":
		return "openSUSE:Tumbleweed"
	case "photon":
		return "Photon OS:" + r.Version
	case "azurelinux", "mariner":
		return "Azure Linux:" + major
	case "arch":
		return "Arch Linux"
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	}
	return ""
}

// releaseGap says that packages of the operating system have no advisories.
func releaseGap(r *scan.Release, packages int) scan.Gap {
	name := cmp.Or(r.Name, r.ID, "an operating system that does not say its name")
	g := scan.Gap{
		Where: "/etc/os-release",
		What:  fmt.Sprintf("no advisories are matched for %s", name),
		Means: fmt.Sprintf("its %d packages are listed, but what is vulnerable in them is not known", packages),
		Do:    "use a base image of a supported operating system, or add VEX documents of its vendor",
	}
	if r.ID == "" && r.Name == "" {
		g.Do = "keep /etc/os-release in the image, it names the system whose advisories apply"
	}
	return g
}

// missingGap says that an operating system that installs packages has no
// database of them.
func missingGap(r *scan.Release) scan.Gap {
	return scan.Gap{
		Where: "/", What: fmt.Sprintf("no package database of %s is there", cmp.Or(r.Name, r.ID)),
		Means: "what the operating system has installed is not known, though it says which one it is",
		Do:    "leave the package database in the image, or remove /etc/os-release when nothing of that system is in it",
	}
}

// systems says which plugins read package databases of operating systems, and
// the type of their package URLs.
var systems = map[string]string{dpkgPlugin: "deb", statusdPlugin: "deb", chiselPlugin: "deb", apkPlugin: "apk", rpmPlugin: "rpm", pacmanPlugin: "alpm"}

// systemPURL makes the package URL of a package of the operating system.
func systemPURL(kind string, r *scan.Release, p *scan.Package) string {
	namespace := cmp.Or(map[string]string{
		"rhel": "redhat", "sles": "suse", "sled": "suse", "sle-micro": "suse", "sl-micro": "suse",
		"opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse",
	}[r.ID], r.ID)
	version, q := p.Version, map[string]string{}
	if kind == "rpm" {
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			version, q["epoch"] = rest, epoch
		}
		if p.Module != "" {
			q["rpmmod"] = p.Module
		}
	}
	if p.Arch != "" {
		q["arch"] = p.Arch
	}
	if r.ID != "" {
		q["distro"] = strings.TrimSuffix(r.ID+"-"+cmp.Or(r.Version, r.Codename), "-")
	}
	return makePURL(kind, namespace, p.Name, version, packageurl.QualifiersFromMap(q))
}

// languages maps the types of package URLs to the ecosystems of OSV.
var languages = map[string]string{
	"npm": "npm", "pypi": "PyPI", "maven": "Maven", "golang": "Go", "gem": "RubyGems", "composer": "Packagist",
	"cargo": "crates.io", "nuget": "NuGet", "conan": "ConanCenter", "pub": "Pub", "hex": "Hex", "cran": "CRAN",
	"hackage": "Hackage", "swift": "SwiftURL", "opam": "opam", "julia": "Julia", "generic": binaryEcosystem,
}

// language makes a package of a language ecosystem; kind is the type of its
// package URL. Maven's names are "group:artifact".
func language(kind, name, version string) scan.Package {
	namespace, short := "", name
	cut := func(sep string) {
		if i := strings.LastIndex(name, sep); i > 0 {
			namespace, short = name[:i], name[i+len(sep):]
		}
	}
	switch kind {
	case "maven":
		cut(":")
	case "npm", "golang", "composer", "swift", "github":
		cut("/")
	case "pypi":
		short = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	}
	return scan.Package{Name: name, Version: version, Ecosystem: languages[kind], PURL: makePURL(kind, namespace, short, version, nil)}
}

func makePURL(kind, namespace, name, version string, q packageurl.Qualifiers) string {
	return packageurl.NewPackageURL(kind, namespace, name, version, q, "").ToString()
}
