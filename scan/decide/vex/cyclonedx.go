package vex

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// cdxStates maps the states of an analysis.
func cdxStates() map[cdx.ImpactAnalysisState]Status {
	return map[cdx.ImpactAnalysisState]Status{
		cdx.IASResolved: Fixed, cdx.IASResolvedWithPedigree: Fixed,
		cdx.IASExploitable: Affected, cdx.IASInTriage: UnderInvestigation,
		cdx.IASNotAffected: NotAffected, cdx.IASFalsePositive: NotAffected,
	}
}

// cycloneDX reads the analyses of a CycloneDX document. Vulnerabilities without
// one are findings, not statements.
func cycloneDX(data []byte, xml bool) (*reading, error) {
	format := cdx.BOMFileFormatJSON
	if xml {
		format = cdx.BOMFileFormatXML
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), format).Decode(&bom); err != nil {
		return nil, fmt.Errorf("CycloneDX: %w", err)
	}
	d := &reading{Document: Document{Format: CycloneDX, ID: bom.SerialNumber}}
	parts := map[string]*cdx.Component{}
	var root *cdx.Component
	if m := bom.Metadata; m != nil {
		d.Issued = stamp(m.Timestamp)
		root = m.Component
		if m.Supplier != nil {
			d.Author = m.Supplier.Name
		}
		if m.Authors != nil && len(*m.Authors) > 0 && d.Author == "" {
			d.Author = (*m.Authors)[0].Name
		}
		if root != nil {
			collect(parts, &[]cdx.Component{*root})
		}
	}
	collect(parts, bom.Components)
	if bom.Vulnerabilities == nil {
		return d, nil
	}
	states := cdxStates()
	for i := range *bom.Vulnerabilities {
		v := &(*bom.Vulnerabilities)[i]
		a := v.Analysis
		if a == nil || a.State == "" {
			continue
		}
		s := Statement{IDs: []string{v.ID}, Status: Status(a.State), Justification: string(a.Justification), Note: a.Detail}
		if known, ok := states[a.State]; ok {
			s.Status = known
		}
		if a.State == cdx.IASFalsePositive && s.Justification == "" {
			s.Justification = string(cdx.IASFalsePositive)
		}
		if v.References != nil {
			for _, r := range *v.References {
				s.IDs = append(s.IDs, r.ID)
			}
		}
		if s.Time = stamp(a.LastUpdated); s.Time.IsZero() {
			s.Time = stamp(a.FirstIssued)
		}
		if v.Affects != nil {
			for _, x := range *v.Affects {
				if x.Range != nil && len(*x.Range) > 0 {
					// The analysis is about versions, and which ones a range means
					// differs by ecosystem.
					d.skipped.add("%.80s of %.80q: statements on ranges of versions are not read", v.ID, x.Ref)
					continue
				}
				s.Products = append(s.Products, affected(x.Ref, parts, root))
			}
		}
		if err := d.add(s); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// collect indexes components by reference; the decoder has bounded the depth.
func collect(into map[string]*cdx.Component, list *[]cdx.Component) {
	if list == nil {
		return
	}
	for i := range *list {
		c := &(*list)[i]
		if c.BOMRef != "" {
			into[c.BOMRef] = c
		}
		collect(into, c.Components)
	}
}

// affected names what a reference of an affects list means: a component of this
// document, one of another (BOM-Link), or a package URL itself. A component of
// an image is meant as part of that image only.
func affected(ref string, parts map[string]*cdx.Component, root *cdx.Component) Product {
	c := parts[ref]
	if link, ok := strings.CutPrefix(ref, "urn:cdx:"); ok && c == nil {
		_, ref, _ = strings.Cut(link, "#")
		if plain, err := url.PathUnescape(ref); err == nil {
			ref = plain
		}
		c = parts[ref]
	}
	if c == nil {
		return Product{Names: []string{ref}}
	}
	p := Product{Names: namesOf(c)}
	if root == nil || c.BOMRef == root.BOMRef {
		return p
	}
	whole := namesOf(root)
	for _, n := range whole {
		if strings.HasPrefix(n, "pkg:oci/") || strings.HasPrefix(n, "pkg:docker/") || strings.HasPrefix(n, "sha256:") {
			return Product{Names: whole, Components: []Product{p}}
		}
	}
	return p
}

func namesOf(c *cdx.Component) []string {
	var names []string
	if c.PackageURL != "" {
		names = append(names, c.PackageURL)
	}
	if c.Type != cdx.ComponentTypeContainer {
		return names
	}
	if strings.HasPrefix(c.Version, "sha256:") {
		names = append(names, c.Version)
	} else if c.PackageURL == "" && c.Name != "" {
		name := c.Name
		if c.Version != "" && !strings.ContainsRune(name, '@') && !strings.HasSuffix(name, ":"+c.Version) {
			name += ":" + c.Version
		}
		names = append(names, name)
	}
	if c.Hashes != nil {
		for _, h := range *c.Hashes {
			if n := digestName(string(h.Algorithm), h.Value); n != "" {
				names = append(names, n)
			}
		}
	}
	return names
}

func stamp(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
