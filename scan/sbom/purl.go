package sbom

import (
	"regexp"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/gabion-dev/gabion/scan"
)

// purl is a package URL and what can be worked out of it.
type purl struct {
	packageurl.PackageURL
	qualifiers map[string]string
	distro     scan.Release // of the qualifier "distro"; ID "" when there is none
}

func parsePURL(text string) (purl, error) {
	p, err := packageurl.FromString(text)
	if err != nil {
		return purl{}, err
	}
	u := purl{PackageURL: p, qualifiers: p.Qualifiers.Map()}
	if u.isOS() {
		u.distro = distroOf(u.qualifiers["distro"], u.Namespace)
	}
	return u, nil
}

// isOS reports whether the advisories for it depend on the release of an
// operating system.
func (u *purl) isOS() bool {
	switch u.Type {
	case "deb", "rpm", "apk", "alpm":
		return true
	}
	return false
}

// languageEcosystem maps types of package URLs to the names OSV gives them. "Binary"
// is our own for programs that are known by their bytes.
func languageEcosystem(purlType string) string {
	switch purlType {
	case "npm":
		return "npm"
	case "maven":
		return "Maven"
	case "golang":
		return "Go"
	case "pypi":
		return "PyPI"
	case "gem":
		return "RubyGems"
	case "cargo":
		return "crates.io"
	case "nuget":
		return "NuGet"
	case "composer":
		return "Packagist"
	case "hex":
		return "Hex"
	case "pub":
		return "Pub"
	case "hackage":
		return "Hackage"
	case "cran":
		return "CRAN"
	case "swift":
		return "SwiftURL"
	case "conan":
		return "ConanCenter"
	case "julia":
		return "Julia"
	case "bitnami":
		return "Bitnami"
	case "opam":
		return "opam"
	case "githubactions", "github":
		return "GitHub Actions"
	case "generic":
		return "Binary"
	}
	return ""
}

// ecosystem is that of the package; an operating system's package without its
// own distro belongs to the release of the whole document.
func (u *purl) ecosystem(release scan.Release) string {
	if !u.isOS() {
		return languageEcosystem(u.Type)
	}
	if u.distro.ID != "" {
		// The document may know more of the same system (its VERSION_ID).
		if u.distro.Version != "" || release.ID != u.distro.ID {
			return u.distro.Ecosystem
		}
	}
	return release.Ecosystem
}

var pypiSeparators = regexp.MustCompile(`[-_.]+`)

// name is the name under which advisories know the package.
func (u *purl) name() string {
	switch u.Type {
	case "maven":
		return joinName("Maven", u.Namespace, u.Name)
	case "pypi":
		return pypiSeparators.ReplaceAllString(strings.ToLower(u.Name), "-")
	case "deb", "rpm", "apk", "alpm", "conan", "generic", "bitnami", "cran", "hackage":
		return u.Name
	}
	if u.Type == "golang" && u.Subpath != "" && u.Namespace == "" {
		return u.Name
	}
	return joinName("", u.Namespace, u.Name)
}

// version is complete, with the epoch that package URLs of rpm keep apart.
func (u *purl) version(said string) string {
	v := u.Version
	if v == "" {
		v = said
	}
	if u.Type == "golang" {
		v = strings.TrimPrefix(strings.TrimPrefix(v, "go"), "v")
	}
	if epoch := u.qualifiers["epoch"]; u.isOS() && epoch != "" && epoch != "0" && !strings.Contains(v, ":") {
		v = epoch + ":" + v
	}
	return v
}

// module is the modularity label of an rpm.
func (u *purl) module() string {
	if u.Type != "rpm" {
		return ""
	}
	for _, key := range []string{"rpmmod", "modularitylabel", "modularity"} {
		if m := u.qualifiers[key]; m != "" {
			return m
		}
	}
	return ""
}

// source is the source package, by the qualifiers that tools write: "upstream"
// (name, name@version, or the file name of a source rpm), "source" with
// "sourceversion", "origin", "sourcerpm".
func (u *purl) source() (name, version string) {
	for _, key := range []string{"upstream", "source", "origin", "sourcerpm"} {
		text := u.qualifiers[key]
		if text == "" {
			continue
		}
		if file, ok := strings.CutSuffix(text, ".src.rpm"); ok {
			return u.sourceRPM(file)
		}
		if name, version, ok := strings.Cut(text, "@"); ok && name != "" {
			return name, version
		}
		return text, u.qualifiers["sourceversion"]
	}
	return "", ""
}

// sourceRPM takes "name-version-release" apart. The epoch is not in file
// names; the source package has that of its binary packages nearly always.
func (u *purl) sourceRPM(file string) (name, version string) {
	r := strings.LastIndexByte(file, '-')
	if r <= 0 {
		return file, ""
	}
	v := strings.LastIndexByte(file[:r], '-')
	if v <= 0 {
		return file, ""
	}
	version = file[v+1:]
	if epoch, _, ok := strings.Cut(u.version(""), ":"); ok {
		version = epoch + ":" + version
	}
	return file[:v], version
}

// distroOf reads the qualifier "distro": "debian-12", "rhel-9.4", "bookworm",
// "opensuse-leap-15.6". The namespace of the package URL names the system when
// the qualifier does not.
func distroOf(text, namespace string) scan.Release {
	text = strings.ToLower(text)
	if text == "" {
		return scan.Release{}
	}
	rel := scan.Release{ID: text}
	if i := strings.LastIndexByte(text, '-'); i > 0 && i+1 < len(text) && text[i+1] >= '0' && text[i+1] <= '9' {
		rel.ID, rel.Version = text[:i], text[i+1:]
	} else if text[0] >= '0' && text[0] <= '9' && namespace != "" {
		rel.ID, rel.Version = namespace, text
	} else if id, version := codename(strings.TrimPrefix(text, namespace+"-")); id != "" {
		rel.ID, rel.Version, rel.Codename = id, version, strings.TrimPrefix(text, namespace+"-")
	}
	rel.ID = canonicalID(rel.ID)
	rel.Ecosystem = ecosystemOf(rel)
	return rel
}

// canonicalID is the ID of os-release for the names other tools use.
func canonicalID(id string) string {
	switch id {
	case "redhat", "red hat", "red hat enterprise linux":
		return "rhel"
	case "amazon", "amazonlinux", "amazon linux":
		return "amzn"
	case "oracle", "oraclelinux", "oracle linux":
		return "ol"
	case "rockylinux", "rocky linux":
		return "rocky"
	case "alma", "alma linux":
		return "almalinux"
	case "centos stream", "centos-stream":
		return "centos"
	case "suse", "suse linux enterprise", "suse linux enterprise server", "suse-linux-enterprise-server":
		return "sles"
	case "opensuse leap", "opensuse.leap":
		return "opensuse-leap"
	case "opensuse tumbleweed", "opensuse.tumbleweed":
		return "opensuse-tumbleweed"
	case "azure", "azure linux", "cbl-mariner":
		return "azurelinux"
	case "archlinux":
		return "arch"
	}
	return id
}

// codename tells the release of the names that Debian and Ubuntu use.
func codename(name string) (id, version string) {
	switch name {
	case "buster":
		return "debian", "10"
	case "bullseye":
		return "debian", "11"
	case "bookworm":
		return "debian", "12"
	case "trixie":
		return "debian", "13"
	case "forky":
		return "debian", "14"
	case "sid":
		return "debian", "sid"
	case "bionic":
		return "ubuntu", "18.04"
	case "focal":
		return "ubuntu", "20.04"
	case "jammy":
		return "ubuntu", "22.04"
	case "noble":
		return "ubuntu", "24.04"
	}
	return "", ""
}

// ecosystemOf is the advisory ecosystem of a release, as scan/inventory names
// it; empty when there is none or the version is not told. A derivative is
// never taken for what it derives from.
func ecosystemOf(r scan.Release) string {
	major, rest, _ := strings.Cut(r.Version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	switch r.ID { // those that have no versions
	case "arch":
		return "Arch Linux"
	case "opensuse-tumbleweed":
		return "openSUSE:Tumbleweed"
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	}
	if major == "" {
		return ""
	}
	two := major
	if minor != "" {
		two += "." + minor
	}
	switch r.ID {
	case "debian":
		return "Debian:" + major
	case "ubuntu":
		return "Ubuntu:" + two
	case "alpine":
		if strings.Contains(r.Version, "_alpha") || major == "edge" {
			return "Alpine:edge"
		}
		return "Alpine:v" + two
	case "rhel":
		return "Red Hat:" + major
	case "almalinux":
		return "AlmaLinux:" + major
	case "rocky":
		return "Rocky Linux:" + major
	case "ol":
		return "Oracle Linux:" + major
	case "centos":
		// From 9 on there is only Stream; before, Red Hat's sources were rebuilt.
		if strings.Contains(r.Name, "Stream") || (len(major) == 1 && major >= "9") || len(major) > 1 {
			return "CentOS Stream:" + major
		}
		return "Red Hat:" + major
	case "fedora":
		return "Fedora:" + major
	case "amzn":
		if major == "2017" || major == "2018" {
			major = "1"
		}
		return "Amazon Linux:" + major
	case "sles", "sled", "sle_hpc", "sles_sap":
		return "SUSE Linux Enterprise:" + two
	case "sle-micro", "sl-micro", "suse-microos":
		return "SUSE Linux Enterprise Micro:" + two
	case "opensuse-leap":
		return "openSUSE:Leap " + two
	case "photon":
		return "Photon OS:" + two
	case "azurelinux", "mariner":
		return "Azure Linux:" + major
	}
	return ""
}

// unmatched reports whether no advisories are matched for a system's packages:
// it is not known, or its vendor does not let its advisories be passed on.
func unmatched(ecosystem string) bool {
	return ecosystem == "" || ecosystem == "Wolfi" || ecosystem == "Chainguard"
}

// ociPURL is the package URL of an image: the digest is its version, the
// repository a qualifier.
func ociPURL(repository, digest string) string {
	name := repository[strings.LastIndexByte(repository, '/')+1:]
	q := packageurl.QualifiersFromMap(map[string]string{"repository_url": repository})
	return packageurl.NewPackageURL("oci", "", strings.ToLower(name), digest, q, "").ToString()
}
