package sbom

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/licence"
)

// Names of the two components that are no packages.
const (
	imageRef   = "image"
	releaseRef = "operating-system"
)

func writeCycloneDX(w io.Writer, r *scan.Report) error {
	bom := &cdx.BOM{
		JSONSchema: "http://cyclonedx.org/schema/bom-1.6.schema.json", BOMFormat: cdx.BOMFormat,
		SpecVersion: cdx.SpecVersion1_6, Version: 1,
	}
	bom.Metadata = metadata(r)
	names := refs(r.Packages)
	bom.Components = components(r, names)
	if v := vulnerabilities(r, names); len(v) > 0 {
		bom.Vulnerabilities = &v
	}
	aggregate := cdx.CompositionAggregateUnknown // no scan can swear that it saw all there is
	if r.Incomplete() {
		aggregate = cdx.CompositionAggregateIncomplete
	}
	bom.Compositions = &[]cdx.Composition{{Aggregate: aggregate, Assemblies: &[]cdx.BOMReference{imageRef}}}
	body, err := json.Marshal(bom)
	if err != nil {
		return err
	}
	bom.SerialNumber = "urn:uuid:" + uuid(string(body))
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
}

// uuid is derived from content: version 8 of RFC 9562, made of a SHA-256.
func uuid(content string) string {
	h := []byte(hash(content)[:32])
	h[12] = '8'
	h[16] = "89ab"[strings.IndexByte("0123456789abcdef", h[16])%4]
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

func metadata(r *scan.Report) *cdx.Metadata {
	kind := cdx.ComponentTypeContainer
	if r.Image.Kind == scan.Directory {
		kind = cdx.ComponentTypeFile
	}
	tool, toolVersion, _ := strings.Cut(r.Tool, " ")
	m := &cdx.Metadata{
		Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{
			Type: cdx.ComponentTypeApplication, Name: cmp.Or(tool, version.Name), Version: toolVersion,
		}}},
		Component: &cdx.Component{
			BOMRef: imageRef, Type: kind, Name: r.Image.Name, Version: r.Image.Digest,
			PackageURL: imagePURL(&r.Image), Properties: properties(imageFields(r)),
		},
		Timestamp: timestamp(r.Image.Config.Created),
	}
	if db := r.Database; db.Digest != "" {
		m.Properties = properties([]field{{"database:digest", db.Digest}, {"database:data", timestamp(db.Data)}})
	}
	return m
}

// imagePURL is the package URL of an image that came from a registry.
func imagePURL(img *scan.Image) string {
	if img.Kind != scan.Registry || img.Digest == "" {
		return ""
	}
	repository, _, _ := strings.Cut(img.Name, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository = repository[:i]
	}
	return ociPURL(repository, img.Digest)
}

// components are the operating system and the packages, in the order of the
// report.
func components(r *scan.Report, names []string) *[]cdx.Component {
	files := map[string]string{}
	for i := range r.Files {
		files[r.Files[i].Path] = strings.TrimPrefix(r.Files[i].Digest, "sha256:")
	}
	out := make([]cdx.Component, 0, len(r.Packages)+1)
	if r.Release.ID != "" {
		out = append(out, cdx.Component{
			BOMRef: releaseRef, Type: cdx.ComponentTypeOS, Name: r.Release.ID, Version: r.Release.Version, Description: r.Release.Name,
		})
	}
	for i := range r.Packages {
		p := &r.Packages[i]
		c := cdx.Component{
			BOMRef: names[i], Type: cdx.ComponentTypeLibrary, Version: p.Version, PackageURL: p.PURL,
			Licenses: cdxLicences(p.Licenses), Properties: properties(fields(p)),
		}
		if p.Ecosystem == "Binary" {
			c.Type = cdx.ComponentTypeApplication
		}
		c.Group, c.Name = splitName(p.Ecosystem, p.Name)
		if digest := files[p.Path]; len(digest) == 64 {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: digest}}
		}
		if p.Path != "" {
			c.Evidence = &cdx.Evidence{Occurrences: &[]cdx.EvidenceOccurrence{{Location: p.Path}}}
		}
		out = append(out, c)
	}
	return &out
}

// cdxLicences writes one expression when all are expressions, else names: a
// list may not mix the two.
func cdxLicences(texts []string) *cdx.Licenses {
	if len(texts) == 0 {
		return nil
	}
	if e, ok := expression(texts); ok {
		return &cdx.Licenses{{Expression: e}}
	}
	var out cdx.Licenses
	for _, t := range texts {
		if t == "" {
			continue // may not be written; fields has it
		}
		out = append(out, cdx.LicenseChoice{License: &cdx.License{Name: t}})
	}
	if len(out) == 0 {
		return nil
	}
	return &out
}

// normalize gives the SPDX expression of one licence.
func normalize(text string) (string, bool) {
	e, ok, err := licence.Normalize(text)
	return e, ok && err == nil && e != licence.None
}

// expression joins licences, all of which apply, into one SPDX expression.
func expression(texts []string) (string, bool) {
	out := make([]string, len(texts))
	for i, t := range texts {
		e, ok := normalize(t)
		if !ok {
			return "", false
		}
		if len(texts) > 1 && strings.Contains(e, " OR ") {
			e = "(" + e + ")"
		}
		out[i] = e
	}
	return strings.Join(out, " AND "), len(out) > 0
}

func properties(in []field) *[]cdx.Property {
	out := make([]cdx.Property, len(in))
	for i, f := range in {
		out[i] = cdx.Property{Name: prefix + f.name, Value: f.value}
	}
	return &out
}

// timestamp is RFC 3339 in UTC, empty for the zero time.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// groupKey tells which findings one entry of a document can hold.
func groupKey(f *scan.Finding) string {
	return strings.Join([]string{f.ID, string(f.State), f.Source, f.CVSS, fmt.Sprint(f.Severity, f.Priority, f.Base), encode(f.Decision)}, "\x00")
}

// vulnerabilities groups the findings: one entry says one thing of one
// vulnerability for one or more packages.
func vulnerabilities(r *scan.Report, names []string) []cdx.Vulnerability {
	var out []cdx.Vulnerability
	index := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Package < 0 || f.Package >= len(r.Packages) {
			continue
		}
		p := &r.Packages[f.Package]
		key := groupKey(f)
		at, ok := index[key]
		if !ok {
			at = len(out)
			index[key] = at
			v := vulnerability(f)
			v.BOMRef = "vulnerability-" + hash(key)[:16]
			out = append(out, v)
		}
		v := &out[at]
		affects := cdx.Affects{Ref: names[f.Package], Range: &[]cdx.AffectedVersions{{Version: p.Version, Status: cdx.VulnerabilityStatusAffected}}}
		if f.State == scan.NotAffected || f.State == scan.Fixed {
			(*affects.Range)[0].Status = cdx.VulnerabilityStatusNotAffected
		}
		if !slices.ContainsFunc(*v.Affects, func(a cdx.Affects) bool { return a.Ref == affects.Ref }) {
			*v.Affects = append(*v.Affects, affects)
		}
		if advice := fmt.Sprintf("Upgrade %s to %s.", p.Name, f.Fix); f.Fix != "" && !strings.Contains(v.Recommendation, advice) {
			v.Recommendation = strings.TrimSpace(v.Recommendation + " " + advice)
		}
	}
	return out
}

func vulnerability(f *scan.Finding) cdx.Vulnerability {
	v := cdx.Vulnerability{
		ID: f.ID, Source: &cdx.Source{Name: cmp.Or(f.Source, "unknown"), URL: f.URL}, Description: f.Summary,
		Published: timestamp(f.Published), Updated: timestamp(f.Modified), Affects: &[]cdx.Affects{},
		Ratings: &[]cdx.VulnerabilityRating{rating(f)}, Analysis: analysis(f),
	}
	if len(f.Aliases) > 0 {
		list := make([]cdx.VulnerabilityReference, len(f.Aliases))
		for i, a := range f.Aliases {
			issuer, _, _ := strings.Cut(a, "-")
			list[i] = cdx.VulnerabilityReference{ID: a, Source: &cdx.Source{Name: issuer}}
		}
		v.References = &list
	}
	props := []field{{"priority", fmt.Sprint(f.Priority)}, {"state", string(f.State)}}
	for _, reason := range f.Reasons {
		props = append(props, field{"reason", reason})
	}
	if f.KEV != nil {
		props = append(props, field{"kev", cmp.Or(timestamp(f.KEV.Added), "true")})
	}
	if f.EPSS != nil {
		props = append(props, field{"epss", fmt.Sprintf("%.5f", f.EPSS.Score)})
	}
	if f.Base {
		props = append(props, field{"base", "true"})
	}
	v.Properties = properties(props)
	return v
}

func rating(f *scan.Finding) cdx.VulnerabilityRating {
	out := cdx.VulnerabilityRating{Severity: cdx.Severity(f.Severity.String()), Vector: f.CVSS}
	if f.Severity == scan.Negligible {
		out.Severity = cdx.SeverityInfo
	}
	switch {
	case strings.HasPrefix(f.CVSS, "CVSS:4"):
		out.Method = cdx.ScoringMethodCVSSv4
	case strings.HasPrefix(f.CVSS, "CVSS:3.1"):
		out.Method = cdx.ScoringMethodCVSSv31
	case strings.HasPrefix(f.CVSS, "CVSS:3"):
		out.Method = cdx.ScoringMethodCVSSv3
	case f.CVSS != "":
		out.Method = cdx.ScoringMethodCVSSv2
	}
	if f.Score > 0 {
		out.Score = &f.Score
	}
	return out
}

// analysis says what was decided. An accepted risk stays exploitable: nobody
// showed the contrary.
func analysis(f *scan.Finding) *cdx.VulnerabilityAnalysis {
	a := &cdx.VulnerabilityAnalysis{}
	switch f.State {
	case scan.Ignored:
		a.State, a.Response = cdx.IASExploitable, &[]cdx.ImpactAnalysisResponse{cdx.IARWillNotFix}
	case scan.NotAffected:
		a.State = cdx.IASNotAffected
	case scan.Fixed:
		a.State = cdx.IASResolved
	default:
		return nil
	}
	if d := f.Decision; d != nil {
		a.Detail = d.Reason + " (" + d.By
		if d.Owner != "" {
			a.Detail += ", " + d.Owner
		}
		if !d.Expires.IsZero() {
			a.Detail += ", until " + timestamp(d.Expires)
		}
		a.Detail += ")"
	}
	return a
}
