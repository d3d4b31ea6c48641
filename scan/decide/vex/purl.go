package vex

import (
	"net/url"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/gabion-dev/gabion/scan"
)

// purl is a package URL as it is compared.
type purl struct {
	Type, Namespace, Name, Version, Subpath string
	qualifiers                              map[string]string
}

// parsePURL gives nil for what is no package URL.
func parsePURL(s string) *purl {
	if !strings.HasPrefix(s, "pkg:") || len(s) > 4096 {
		return nil
	}
	p, err := packageurl.FromString(s)
	if err != nil {
		return nil
	}
	return &purl{
		Type: p.Type, Namespace: p.Namespace, Name: p.Name, Version: p.Version, Subpath: p.Subpath,
		qualifiers: p.Qualifiers.Map(),
	}
}

// covers reports whether a statement's package URL means the installed package
// have: what it does not say may be anything, what it says must be so.
func (p *purl) covers(have *purl, pkg *scan.Package) bool {
	if p.Type != have.Type || p.Namespace != have.Namespace {
		return false
	}
	version, source := have.Version, false
	if p.Name != have.Name {
		// Distributors speak of source packages too.
		if pkg.Source == "" || p.Name != pkg.Source || !distribution(p.Type) {
			return false
		}
		source = true
		if pkg.SourceVersion != "" {
			version = pkg.SourceVersion
		}
	}
	if p.Version != "" && !sameVersion(p, version, have.qualifiers["epoch"]) {
		return false
	}
	if p.Subpath != "" && p.Subpath != have.Subpath {
		return false
	}
	for k, v := range p.qualifiers {
		switch k {
		case "repository_url", "download_url", "vcs_url", "checksum", "epoch", "upstream":
			// Where it was fetched from is not what it is; epochs belong to versions.
		case "arch":
			if v != "source" && v != "src" && !source && have.qualifiers[k] != v {
				return false
			}
		default:
			if have.qualifiers[k] != v {
				return false
			}
		}
	}
	return true
}

// sameVersion compares versions as texts. The epoch of an rpm may stand in the
// version or beside it, and none is 0.
func sameVersion(p *purl, have, haveEpoch string) bool {
	if p.Version == have {
		return p.Type != "rpm" || zero(p.qualifiers["epoch"]) == zero(haveEpoch) || strings.Contains(have, ":")
	}
	if p.Type != "rpm" {
		return false
	}
	return withEpoch(p.Version, p.qualifiers["epoch"]) == withEpoch(have, haveEpoch)
}

func withEpoch(version, epoch string) string {
	if e, rest, ok := strings.Cut(version, ":"); ok {
		return zero(e) + ":" + rest
	}
	return zero(epoch) + ":" + version
}

func zero(epoch string) string {
	if epoch == "" {
		return "0"
	}
	return epoch
}

func distribution(purlType string) bool {
	switch purlType {
	case "deb", "rpm", "apk", "alpm":
		return true
	}
	return false
}

// genericPURL names a package that has no package URL of its own.
func genericPURL(p *scan.Package) string {
	return "pkg:generic/" + url.PathEscape(p.Name) + "@" + url.PathEscape(p.Version)
}

// imagePURL names an image by its digest, "" when it has none.
func imagePURL(img *scan.Image) string {
	if img.Digest == "" {
		return ""
	}
	repo := ""
	for _, n := range append([]string{img.Name}, img.Tags...) {
		if r := repository(n); r != "" && img.Kind != scan.Directory {
			repo = r
			break
		}
	}
	name := repo[strings.LastIndexByte(repo, '/')+1:]
	if name == "" {
		name = "image"
	}
	p := packageurl.PackageURL{Type: packageurl.TypeOCI, Name: name, Version: img.Digest}
	if strings.Contains(repo, "/") {
		p.Qualifiers = packageurl.QualifiersFromMap(map[string]string{"repository_url": repo})
	}
	return p.ToString()
}
