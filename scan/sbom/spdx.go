package sbom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
)

// The part of SPDX 2.3 that is written and read here, named as in its JSON
// form; the tag-value form has the same parts under other names. Own types,
// because documents of other tools must be read also where they are not quite
// right, and hostile ones within bounds.
type (
	spdxDocument struct {
		Version   string         `json:"spdxVersion"`
		Licence   string         `json:"dataLicense"`
		ID        string         `json:"SPDXID"`
		Name      string         `json:"name"`
		Namespace string         `json:"documentNamespace"`
		Comment   string         `json:"comment,omitempty"`
		Creation  spdxCreation   `json:"creationInfo"`
		Describes []string       `json:"documentDescribes,omitempty"` // read only: deprecated
		Packages  []spdxPackage  `json:"packages"`
		Extracted []spdxLicence  `json:"hasExtractedLicensingInfos,omitempty"`
		Relations []spdxRelation `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID         string         `json:"SPDXID"`
		Name       string         `json:"name"`
		Version    string         `json:"versionInfo,omitempty"`
		Purpose    string         `json:"primaryPackagePurpose,omitempty"`
		Download   string         `json:"downloadLocation"`
		Analyzed   bool           `json:"filesAnalyzed"`
		Checksums  []spdxChecksum `json:"checksums,omitempty"`
		SourceInfo string         `json:"sourceInfo,omitempty"`
		Concluded  string         `json:"licenseConcluded,omitempty"`
		Declared   string         `json:"licenseDeclared,omitempty"`
		Copyright  string         `json:"copyrightText,omitempty"`
		Comment    string         `json:"comment,omitempty"`
		References []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Text string `json:"extractedText"`
		Name string `json:"name,omitempty"`
	}
	spdxRelation struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	spdxDocumentID = "SPDXRef-DOCUMENT"
	spdxImageID    = "SPDXRef-Image"
	spdxReleaseID  = "SPDXRef-OperatingSystem"
	noAssertion    = "NOASSERTION"
)

func writeSPDX(w io.Writer, r *scan.Report) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(toSPDX(r))
}

func toSPDX(r *scan.Report) *spdxDocument {
	tool := strings.ReplaceAll(cmp.Or(r.Tool, version.Name), " ", "-")
	// The standard wants a date. It is that of the image, else that of the
	// database, so that the same content gives the same document.
	created := cmp.Or(timestamp(r.Image.Config.Created), timestamp(r.Database.Built), time.Unix(0, 0).UTC().Format(time.RFC3339))
	d := &spdxDocument{
		Version: "SPDX-2.3", Licence: "CC0-1.0", ID: spdxDocumentID, Name: cmp.Or(oneLine(r.Image.Name), "unnamed"),
		Creation: spdxCreation{Created: created, Creators: []string{"Tool: " + oneLine(tool)}},
	}
	if r.Incomplete() {
		d.Comment = fmt.Sprintf("INCOMPLETE: %d things could not be examined; see the comment of %s.", len(r.Gaps), spdxImageID)
	}
	d.Packages = append(d.Packages, spdxImage(r))
	d.relate(spdxDocumentID, "DESCRIBES", spdxImageID)
	if r.Release.ID != "" {
		d.Packages = append(d.Packages, spdxPackage{
			ID: spdxReleaseID, Name: oneLine(r.Release.ID), Version: oneLine(r.Release.Version), Purpose: "OPERATING_SYSTEM",
			Download: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
		})
		d.relate(spdxImageID, "CONTAINS", spdxReleaseID)
	}
	files := map[string]string{}
	for i := range r.Files {
		files[r.Files[i].Path] = strings.TrimPrefix(r.Files[i].Digest, "sha256:")
	}
	known := map[string]bool{}
	for i, ref := range refs(r.Packages) {
		p := d.spdxPackage(&r.Packages[i], known)
		p.ID = "SPDXRef-Package-" + ref
		if digest := files[r.Packages[i].Path]; len(digest) == 64 {
			p.Checksums = []spdxChecksum{{"SHA256", digest}}
		}
		d.Packages = append(d.Packages, p)
		d.relate(spdxImageID, "CONTAINS", p.ID)
	}
	d.Namespace = "https://gabion.dev/spdx/" + uuid(encode(d))
	return d
}

func (d *spdxDocument) relate(from, how, to string) {
	d.Relations = append(d.Relations, spdxRelation{from, how, to})
}

func spdxImage(r *scan.Report) spdxPackage {
	p := spdxPackage{
		ID: spdxImageID, Name: cmp.Or(oneLine(r.Image.Name), "unnamed"), Version: oneLine(r.Image.Digest), Purpose: "CONTAINER",
		Download: noAssertion, Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
	}
	if r.Image.Kind == scan.Directory {
		p.Purpose = "FILE"
	}
	in := imageFields(r)
	if p.Name != r.Image.Name {
		in = append(in, field{"image:name", r.Image.Name})
	}
	p.Comment = pack(in)
	if u := imagePURL(&r.Image); u != "" {
		p.References = []spdxRef{{"PACKAGE-MANAGER", "purl", u}}
	}
	if digest, ok := strings.CutPrefix(r.Image.Digest, "sha256:"); ok && len(digest) == 64 {
		p.Checksums = []spdxChecksum{{"SHA256", digest}}
	}
	return p
}

func (d *spdxDocument) spdxPackage(p *scan.Package, known map[string]bool) spdxPackage {
	out := spdxPackage{
		Name: cmp.Or(oneLine(p.Name), "unnamed"), Version: oneLine(p.Version), Purpose: "LIBRARY", Download: noAssertion,
		Concluded: noAssertion, Declared: d.declare(p.Licenses, known), Copyright: noAssertion,
	}
	if p.Ecosystem == "Binary" {
		out.Purpose = "APPLICATION"
	}
	if p.Path != "" {
		out.SourceInfo = "found in " + oneLine(p.Path)
	}
	in := fields(p)
	// What the lines of the tag-value form could not carry goes by the side.
	if out.Name != p.Name {
		in = append(in, field{"name", p.Name})
	}
	if out.Version != p.Version {
		in = append(in, field{"version", p.Version})
	}
	switch {
	case strings.ContainsFunc(p.PURL, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		in = append(in, field{"purl", p.PURL})
	case p.PURL != "":
		out.References = []spdxRef{{"PACKAGE-MANAGER", "purl", p.PURL}}
	}
	out.Comment = pack(in)
	return out
}

// declare gives the expression for licences; those that are no expression
// become references to their text.
func (d *spdxDocument) declare(texts []string, known map[string]bool) string {
	if len(texts) == 0 {
		return noAssertion
	}
	out := make([]string, len(texts))
	for i, t := range texts {
		e, ok := normalize(t)
		switch {
		case !ok:
			e = "LicenseRef-" + hash(t)[:16]
			if !known[e] {
				known[e] = true
				d.Extracted = append(d.Extracted, spdxLicence{ID: e, Text: cmp.Or(oneLine(t), noAssertion), Name: noAssertion})
			}
		case len(texts) > 1 && strings.Contains(e, " OR "):
			e = "(" + e + ")"
		}
		out[i] = e
	}
	return strings.Join(out, " AND ")
}

// oneLine makes text fit for one line: control characters become spaces, and
// what would begin or end a longer text is taken apart.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(strings.ReplaceAll(s, "text>", "text >"))
}
