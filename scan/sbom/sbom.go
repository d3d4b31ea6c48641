// Package sbom writes and reads software bills of materials: CycloneDX and
// SPDX documents of what an image contains.
//
// It is not for finding packages and not for judging them. The one idea: a
// document written here reads back as the same package set, because what the
// standards have no field for travels in properties named gabion:*, and what a
// foreign document does not tell is worked out of its package URLs or becomes a
// Gap.
package sbom

import (
	"fmt"
	"io"

	"github.com/gabion-dev/gabion/scan"
)

// Format names a kind of document that Write makes.
type Format string

// Formats of documents.
const (
	CycloneDX Format = "cyclonedx-json" // CycloneDX 1.6, with vulnerabilities
	SPDX      Format = "spdx-json"      // SPDX 2.3
	SPDXTag   Format = "spdx-tag-value" // SPDX 2.3, lines of "Tag: value"
)

// Write writes the bill of materials of a report. Equal reports give equal
// bytes: no clock and no randomness is asked.
func Write(w io.Writer, format Format, r *scan.Report) error {
	return fmt.Errorf("write bill of materials: unknown format %q", format)
}

// Read reads a document of any of the formats, whoever wrote it, and finds out
// by its content which one it is. Layers of packages refer to Image.Layers.
func Read(r io.Reader) (scan.Inventory, scan.Image, error) {
	return scan.Inventory{}, scan.Image{}, fmt.Errorf("read bill of materials: neither CycloneDX nor SPDX")
}
