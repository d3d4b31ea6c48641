package sbom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

func readSPDX(data []byte) (*document, error) {
	var s spdxDocument
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("decode SPDX: %w", err)
	}
	return fromSPDX(&s), nil
}

func fromSPDX(s *spdxDocument) *document {
	d := &document{}
	described := map[string]bool{}
	for _, id := range s.Describes {
		described[id] = true
	}
	for _, r := range s.Relations {
		switch {
		case r.Type == "DESCRIBES" && r.From == spdxDocumentID:
			described[r.To] = true
		case r.Type == "DESCRIBED_BY" && r.To == spdxDocumentID:
			described[r.From] = true
		}
	}
	texts := map[string]string{}
	for _, l := range s.Extracted {
		texts[l.ID] = l.Text
	}
	d.image.Name = s.Name
	for i := range s.Packages {
		p := &s.Packages[i]
		switch {
		case described[p.ID] && isSubject(p):
			d.image.Name = p.Name
			if strings.HasPrefix(p.Version, "sha256:") {
				d.image.Digest = p.Version
			}
			in := unpack(p.Comment)
			d.setImageFields(in)
			for _, f := range in {
				if f.name == "image:name" {
					d.image.Name = f.value
				}
			}
		case isSystem(p):
			if d.release.ID == "" {
				d.release = scan.Release{ID: canonicalID(strings.ToLower(p.Name)), Version: p.Version}
			}
		default:
			d.pkgs = append(d.pkgs, spdxPart(p, texts))
		}
	}
	return d
}

// isSubject tells the thing that a document describes from a package that it
// describes: images and repositories are no packages.
func isSubject(p *spdxPackage) bool {
	u := p.purl()
	return u == "" || p.Purpose == "CONTAINER" || strings.HasPrefix(u, "pkg:oci/") ||
		strings.HasPrefix(u, "pkg:docker/") || strings.HasPrefix(u, "pkg:github/")
}

// isSystem tells the operating system; Trivy marked it by its id alone before
// the standard had purposes.
func isSystem(p *spdxPackage) bool {
	return strings.ReplaceAll(p.Purpose, "_", "-") == "OPERATING-SYSTEM" || strings.HasPrefix(p.ID, "SPDXRef-OperatingSystem")
}

func (p *spdxPackage) purl() string {
	for _, r := range p.References {
		if r.Type == "purl" {
			return r.Locator
		}
	}
	return ""
}

func spdxPart(p *spdxPackage, texts map[string]string) part {
	var out part
	out.Name, out.Version, out.PURL, out.Layer = p.Name, p.Version, p.purl(), -1
	if out.Version == noAssertion {
		out.Version = ""
	}
	if out.own = setFields(&out.Package, unpack(p.Comment)); out.own {
		return out
	}
	if l := cmp.Or(known(p.Declared), known(p.Concluded)); l != "" {
		out.Licenses = []string{cmp.Or(texts[l], l)}
	}
	// Trivy names the source package in words: "built package from: NAME VERSION".
	if said, ok := strings.CutPrefix(p.SourceInfo, "built package from: "); ok {
		out.source, out.sourceVersion, _ = strings.Cut(strings.TrimSpace(said), " ")
	}
	if i := strings.LastIndex(p.SourceInfo, ": /"); i >= 0 && out.source == "" { // Syft: "acquired ... from DPKG DB: /var/lib/dpkg/status, /..."
		out.Path, _, _ = strings.Cut(p.SourceInfo[i+2:], ", ")
	}
	return out
}

// known drops the words for "nothing said".
func known(expression string) string {
	if expression == noAssertion || expression == "NONE" {
		return ""
	}
	return expression
}
