// Package sbom writes and reads software bills of materials: CycloneDX and
// SPDX documents of what an image contains.
//
// It is not for finding packages and not for judging them. The one idea: a
// document written here reads back as the same package set, because what the
// standards have no field for travels in fields named gabion:* (see fields.go),
// and what a foreign document does not tell is worked out of its package URLs
// (purl.go) or becomes a Gap.
//
// Documents say whether they are complete: CycloneDX by a composition with the
// aggregate "incomplete", SPDX in the comment of the document. Executables that
// belong to no package, secrets and the image's environment are left out.
package sbom

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

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

// MaxSize is how many bytes of a document Read takes in.
const MaxSize = 256 << 20

var (
	// ErrUnknown is returned for documents that are neither CycloneDX nor SPDX.
	ErrUnknown = errors.New("neither CycloneDX (JSON, XML) nor SPDX 2 (JSON, tag-value)")
	// ErrTooBig is returned for documents of more than MaxSize bytes.
	ErrTooBig = fmt.Errorf("more than %d MiB", MaxSize>>20)
)

// Write writes the bill of materials of a report. Equal reports give equal
// bytes: no clock and no randomness is asked.
func Write(w io.Writer, format Format, r *scan.Report) error {
	buf := bufio.NewWriter(w)
	var err error
	switch format {
	case CycloneDX:
		err = writeCycloneDX(buf, r)
	case SPDX:
		err = writeSPDX(buf, r)
	case SPDXTag:
		err = writeTags(buf, r)
	default:
		err = fmt.Errorf("unknown format %q: use %s, %s or %s", format, CycloneDX, SPDX, SPDXTag)
	}
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return fmt.Errorf("write bill of materials: %w", err)
	}
	return nil
}

// Read reads a document of any of the formats (CycloneDX up to 1.6 also as
// XML), whoever wrote it, and finds out by its content which one it is. The
// packages are sorted; their layers are indices into Image.Layers, which is
// empty for documents of most other tools.
func Read(r io.Reader) (scan.Inventory, scan.Image, error) {
	d, err := read(r)
	if err != nil {
		return scan.Inventory{}, scan.Image{}, fmt.Errorf("read bill of materials: %w", err)
	}
	inv, img := d.finish()
	return inv, img, nil
}

func read(r io.Reader) (*document, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, ErrTooBig
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	switch {
	case len(data) == 0:
		return nil, fmt.Errorf("the document is empty: %w", ErrUnknown)
	case data[0] == '{':
		return readJSON(data)
	case data[0] == '<':
		return readXML(data)
	case isTags(data):
		return readTags(data)
	}
	return nil, ErrUnknown
}

// readJSON tells the two JSON formats apart by the fields each must have.
func readJSON(data []byte) (*document, error) {
	var head struct {
		BOMFormat   string          `json:"bomFormat"`
		SpecVersion string          `json:"specVersion"`
		SPDXVersion string          `json:"spdxVersion"`
		Context     json.RawMessage `json:"@context"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	switch {
	case strings.EqualFold(head.BOMFormat, "CycloneDX"):
		return readCycloneDXJSON(data)
	case strings.HasPrefix(head.SPDXVersion, "SPDX-2"):
		return readSPDX(data)
	case head.SPDXVersion != "" || bytes.Contains(head.Context, []byte("spdx")):
		return nil, fmt.Errorf("SPDX of another version than 2; convert it to 2.3: %w", ErrUnknown)
	}
	return nil, ErrUnknown
}
