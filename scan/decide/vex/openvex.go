package vex

import (
	"fmt"
	"path"
	"strings"

	openvex "github.com/openvex/go-vex/pkg/vex"
)

// openVEX reads an OpenVEX document, version 0.2.
func openVEX(data []byte) (*reading, error) {
	doc, err := openvex.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("OpenVEX: %w", err)
	}
	d := &reading{Document: Document{Format: OpenVEX, ID: doc.ID, Author: doc.Author}}
	if doc.Timestamp != nil {
		d.Issued = doc.Timestamp.UTC()
	}
	if doc.LastUpdated != nil {
		d.Issued = doc.LastUpdated.UTC()
	}
	for i := range doc.Statements {
		o := &doc.Statements[i]
		s := Statement{Status: Status(o.Status), Justification: string(o.Justification), Note: o.ImpactStatement}
		if s.Justification != "" && !o.Justification.Valid() {
			d.skipped.add("the statement on %.80s has the unknown justification %.80q", o.Vulnerability.Name, s.Justification)
			continue
		}
		for _, note := range []string{o.ActionStatement, o.StatusNotes} {
			if s.Note == "" {
				s.Note = note
			}
		}
		if o.Timestamp != nil {
			s.Time = o.Timestamp.UTC()
		}
		if o.LastUpdated != nil {
			s.Time = o.LastUpdated.UTC()
		}
		s.IDs = []string{string(o.Vulnerability.Name)}
		if id := o.Vulnerability.ID; id != "" {
			// An IRI such as https://nvd.nist.gov/vuln/detail/CVE-2021-44228.
			s.IDs = append(s.IDs, path.Base(strings.TrimRight(id, "/")))
		}
		for _, a := range o.Vulnerability.Aliases {
			s.IDs = append(s.IDs, string(a))
		}
		for _, p := range o.Products {
			product := component(&p.Component)
			for _, c := range p.Subcomponents {
				product.Components = append(product.Components, component(&c.Component))
			}
			s.Products = append(s.Products, product)
		}
		if err := d.add(s); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func component(c *openvex.Component) Product {
	p := Product{Names: []string{c.ID, c.Identifiers[openvex.PURL]}}
	return Product{Names: append(p.Names, digestName("sha-256", string(c.Hashes[openvex.SHA256])))}
}
