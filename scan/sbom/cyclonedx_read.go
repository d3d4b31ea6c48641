package sbom

import (
	"bytes"
	"fmt"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/gabion-dev/gabion/scan"
)

// maxDepth is how deep components may lie in components.
const maxDepth = 64

func readCycloneDXJSON(data []byte) (*document, error) {
	return readCycloneDX(data, cdx.BOMFileFormatJSON)
}

func readXML(data []byte) (*document, error) {
	if !bytes.Contains(data[:min(len(data), 4096)], []byte("cyclonedx.org/schema/bom")) {
		return nil, ErrUnknown
	}
	return readCycloneDX(data, cdx.BOMFileFormatXML)
}

func readCycloneDX(data []byte, format cdx.BOMFileFormat) (*document, error) {
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(data), format).Decode(&bom); err != nil {
		return nil, fmt.Errorf("decode CycloneDX: %w", err)
	}
	d := &document{layers: map[string]int{}}
	if bom.Metadata != nil && bom.Metadata.Component != nil {
		c := bom.Metadata.Component
		d.image.Name = c.Name
		if strings.HasPrefix(c.Version, "sha256:") {
			d.image.Digest = c.Version
		}
		d.setImageFields(ownFields(c.Properties))
		d.foreignLayers(c.Properties)
		// An image described by its own components, as some tools write it.
		d.addComponents(c.Components, 1)
	}
	d.addComponents(bom.Components, 0)
	if bom.Compositions != nil && !d.own {
		for _, c := range *bom.Compositions {
			if c.Aggregate == cdx.CompositionAggregateIncomplete {
				d.gaps = append(d.gaps, scan.Gap{Where: "bill of materials", What: "it says of itself that it is incomplete",
					Means: "what it leaves out is not examined", Do: "scan the image itself"})
				break
			}
		}
	}
	return d, nil
}

func (d *document) addComponents(list *[]cdx.Component, depth int) {
	if list == nil {
		return
	}
	if depth > maxDepth {
		d.gap("bill of materials", fmt.Sprintf("components lie more than %d deep in each other", maxDepth))
		return
	}
	for i := range *list {
		c := &(*list)[i]
		d.addComponent(c)
		d.addComponents(c.Components, depth+1)
	}
}

func (d *document) addComponent(c *cdx.Component) {
	switch c.Type {
	case cdx.ComponentTypeOS:
		if d.release.ID == "" {
			d.release = scan.Release{ID: canonicalID(strings.ToLower(c.Name)), Version: c.Version, Name: c.Description}
		}
		return
	case cdx.ComponentTypeFile, cdx.ComponentTypeDevice, cdx.ComponentTypeData, cdx.ComponentTypeMachineLearningModel,
		cdx.ComponentTypeCryptographicAsset, cdx.ComponentTypeContainer:
		if c.PackageURL == "" {
			return
		}
	}
	p := part{group: c.Group}
	p.Name, p.Version, p.PURL, p.Layer = c.Name, c.Version, c.PackageURL, -1
	p.Licenses = readLicences(c.Licenses)
	own := ownFields(c.Properties)
	if p.own = setFields(&p.Package, own); p.own {
		p.Name = joinName(p.Ecosystem, c.Group, c.Name)
	} else {
		d.foreign(&p, c)
	}
	d.pkgs = append(d.pkgs, p)
}

// ownFields are the properties that properties wrote.
func ownFields(list *[]cdx.Property) []field {
	if list == nil {
		return nil
	}
	var out []field
	for _, p := range *list {
		if name, ok := strings.CutPrefix(p.Name, prefix); ok {
			out = append(out, field{name, p.Value})
		}
	}
	return out
}

// foreign takes what Syft and Trivy say in properties of their own.
func (d *document) foreign(p *part, c *cdx.Component) {
	if c.Evidence != nil && c.Evidence.Occurrences != nil && len(*c.Evidence.Occurrences) > 0 {
		p.Path = (*c.Evidence.Occurrences)[0].Location
	}
	if c.Properties == nil {
		return
	}
	var srcRelease, srcEpoch string
	for _, prop := range *c.Properties {
		switch prop.Name {
		case "syft:package:foundBy":
			p.Found = prop.Value
		case "syft:location:0:path", "aquasecurity:trivy:FilePath":
			p.Path = prop.Value
		case "syft:location:0:layerID", "aquasecurity:trivy:LayerDiffID":
			p.layer = prop.Value
		case "syft:metadata:source", "syft:metadata:originPackage", "aquasecurity:trivy:SrcName":
			p.source = prop.Value
		case "syft:metadata:sourceVersion", "aquasecurity:trivy:SrcVersion":
			p.sourceVersion = prop.Value
		case "aquasecurity:trivy:SrcRelease":
			srcRelease = prop.Value
		case "aquasecurity:trivy:SrcEpoch":
			srcEpoch = prop.Value
		case "syft:metadata:modularityLabel", "aquasecurity:trivy:Modularitylabel":
			p.Module = prop.Value
		}
	}
	if p.sourceVersion != "" && srcRelease != "" {
		p.sourceVersion += "-" + srcRelease
	}
	if p.sourceVersion != "" && srcEpoch != "" && srcEpoch != "0" {
		p.sourceVersion = srcEpoch + ":" + p.sourceVersion
	}
}

// foreignLayers takes the layers from the properties in which Trivy lists them.
func (d *document) foreignLayers(list *[]cdx.Property) {
	if list == nil || len(d.image.Layers) > 0 {
		return
	}
	for _, p := range *list {
		if p.Name == "aquasecurity:trivy:DiffID" {
			d.layers[p.Value] = len(d.image.Layers)
			d.image.Layers = append(d.image.Layers, scan.Layer{DiffID: p.Value})
		}
	}
}

func readLicences(list *cdx.Licenses) []string {
	if list == nil {
		return nil
	}
	var out []string
	for _, l := range *list {
		switch {
		case l.Expression != "":
			out = append(out, l.Expression)
		case l.License != nil && l.License.ID != "":
			out = append(out, l.License.ID)
		case l.License != nil && l.License.Name != "":
			out = append(out, l.License.Name)
		}
	}
	return out
}
