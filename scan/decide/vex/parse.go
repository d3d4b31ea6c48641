package vex

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrFormat is in the chain of the error for a file that is no VEX document.
var ErrFormat = errors.New("not an OpenVEX, CSAF or CycloneDX document")

// Parse reads a document of any of the formats, found out by its content. The
// name is for messages. An error means that nothing of it can be used; what is
// wrong with single statements is in Skipped.
func Parse(name string, data []byte) (*Document, error) {
	d, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read VEX document %s: %w", name, err)
	}
	d.Name = name
	d.skipped.finish(d)
	return &d.Document, nil
}

func parse(data []byte) (*reading, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("it has %d bytes, more than the limit of %d", len(data), MaxBytes)
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	if bytes.HasPrefix(data, []byte("<")) {
		return cycloneDX(data, true)
	}
	var probe struct {
		Context   json.RawMessage `json:"@context"`
		BOMFormat string          `json:"bomFormat"`
		Document  struct {
			Category string `json:"category"`
			Version  string `json:"csaf_version"`
		} `json:"document"`
	}
	if err := json.Unmarshal(data, &probe); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) {
			return nil, fmt.Errorf("%w: field %s", ErrFormat, typed.Field)
		}
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case strings.Contains(string(probe.Context), "openvex.dev/ns"):
		return openVEX(data)
	case probe.BOMFormat == "CycloneDX":
		return cycloneDX(data, false)
	case probe.Document.Version != "" || strings.HasPrefix(probe.Document.Category, "csaf_"):
		return csaf(data)
	}
	return nil, ErrFormat
}

// reading is a document while it is read.
type reading struct {
	Document
	products int
	skipped  skips
}

// maxIDs is how many names one vulnerability may have.
const maxIDs = 256

var errTooMany = fmt.Errorf("it names more than %d products", MaxProducts)

// add takes a statement over, or says why not.
func (d *reading) add(s Statement) error {
	var ids []string
	for _, id := range s.IDs {
		if id = strings.TrimSpace(id); id != "" && len(ids) <= maxIDs && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	s.IDs = ids
	what := "a statement"
	if len(ids) > 0 {
		what = "the statement on " + ids[0]
	}
	var products []Product
	for _, p := range s.Products {
		if p = p.clean(); len(p.Names) > 0 {
			products = append(products, p)
			d.products += 1 + len(p.Components)
		}
	}
	s.Products = products
	if d.products > MaxProducts {
		return errTooMany
	}
	switch {
	case len(ids) == 0:
		d.skipped.add("%s names no vulnerability", what)
	case len(ids) > maxIDs:
		d.skipped.add("%s names more than %d vulnerabilities", what, maxIDs)
	case len(products) == 0:
		d.skipped.add("%s names no product by package URL, image or digest", what)
	case s.Status != NotAffected && s.Status != Affected && s.Status != Fixed && s.Status != UnderInvestigation:
		d.skipped.add("%s has the unknown status %.40q", what, string(s.Status))
	case s.Status == NotAffected && s.Justification == "" && strings.TrimSpace(s.Note) == "":
		d.skipped.add("%s says not_affected and gives no justification", what)
	default:
		if s.Time.IsZero() {
			s.Time = d.Issued
		}
		d.Statements = append(d.Statements, s)
	}
	return nil
}

// clean drops names that name nothing. A product whose components all name
// nothing is dropped with them: without them it would say more than it did.
func (p Product) clean() Product {
	out := Product{}
	for _, n := range p.Names {
		if n = strings.TrimSpace(n); n != "" {
			out.Names = append(out.Names, n)
		}
	}
	for _, c := range p.Components {
		if c = c.clean(); len(c.Names) > 0 {
			out.Components = append(out.Components, c)
		}
	}
	if len(p.Components) > 0 && len(out.Components) == 0 {
		return Product{}
	}
	return out
}

// skips lists reasons without growing with the document.
type skips struct {
	list []string
	more int
}

func (s *skips) add(format string, args ...any) {
	if len(s.list) >= 20 {
		s.more++
		return
	}
	s.list = append(s.list, fmt.Sprintf(format, args...))
}

func (s *skips) finish(d *reading) {
	d.Skipped = s.list
	if s.more > 0 {
		d.Skipped = append(d.Skipped, fmt.Sprintf("%d more statements", s.more))
	}
}

// digestName makes the name of a hash: "sha256:..."; "" for other algorithms.
func digestName(algorithm, value string) string {
	switch strings.ToLower(algorithm) {
	case "sha256", "sha-256":
		value = strings.ToLower(strings.TrimPrefix(value, "sha256:"))
		if len(value) == 64 && strings.Trim(value, "0123456789abcdef") == "" {
			return "sha256:" + value
		}
	}
	return ""
}
