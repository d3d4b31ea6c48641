package csaf

import (
	"fmt"

	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// maxBranches is how deep a product tree may branch; the standard says 30.
const maxBranches = 30

// document holds what is used of a CSAF 2.0 document.
type document struct {
	head  head
	prods map[string]product
	rels  map[string]relation
	group map[string][]string
	vulns []vulnerability
}

type head struct {
	Category string `json:"category"`
	Title    string `json:"title"`
	Severity struct {
		Text string `json:"text"`
	} `json:"aggregate_severity"`
	Publisher struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"publisher"`
	References []struct {
		Category string `json:"category"`
		URL      string `json:"url"`
	} `json:"references"`
	Tracking struct {
		ID      string `json:"id"`
		Status  string `json:"status"`
		Initial string `json:"initial_release_date"`
		Current string `json:"current_release_date"`
	} `json:"tracking"`
}

// product is a leaf of the product tree.
type product struct {
	Name   string `json:"name"`
	ID     string `json:"product_id"`
	Helper struct {
		CPE  string `json:"cpe"`
		PURL string `json:"purl"`
	} `json:"product_identification_helper"`
}

// relation says that one product comes as a part of another.
type relation struct {
	Part  string  `json:"product_reference"`
	Whole string  `json:"relates_to_product_reference"`
	Full  product `json:"full_product_name"`
}

type vulnerability struct {
	CVE string `json:"cve"`
	IDs []struct {
		Text string `json:"text"`
	} `json:"ids"`
	Title    string  `json:"title"`
	Released string  `json:"release_date"`
	Notes    []note  `json:"notes"`
	Scores   []score `json:"scores"`
	Threats  []struct {
		Category string   `json:"category"`
		Details  string   `json:"details"`
		Products []string `json:"product_ids"`
		Groups   []string `json:"group_ids"`
	} `json:"threats"`
	Remediations []struct {
		Category string   `json:"category"`
		Products []string `json:"product_ids"`
		Groups   []string `json:"group_ids"`
	} `json:"remediations"`
	Status struct {
		Fixed         []string `json:"fixed"`
		FirstFixed    []string `json:"first_fixed"`
		Recommended   []string `json:"recommended"`
		Affected      []string `json:"known_affected"`
		NotAffected   []string `json:"known_not_affected"`
		Investigation []string `json:"under_investigation"`
		First         []string `json:"first_affected"`
		Last          []string `json:"last_affected"`
	} `json:"product_status"`
}

type note struct {
	Category string `json:"category"`
	Text     string `json:"text"`
}

type score struct {
	V2 vector `json:"cvss_v2"`
	V3 vector `json:"cvss_v3"`
	V4 vector `json:"cvss_v4"`
}

type vector struct {
	Vector   string `json:"vectorString"`
	Severity string `json:"baseSeverity"`
}

// read takes a document piece by piece: product trees of a kernel have
// hundreds of thousands of entries.
func read(d *intake.Decoder) (*document, error) {
	doc := &document{prods: map[string]product{}, rels: map[string]relation{}, group: map[string][]string{}}
	found := false
	err := d.Members(func(key string) error {
		switch key {
		case "document":
			found = true
			return d.Value(&doc.head)
		case "product_tree":
			return doc.tree(d)
		case "vulnerabilities":
			return d.Elements(func() error {
				var v vulnerability
				if err := d.Value(&v); err != nil {
					return fmt.Errorf("vulnerabilities[%d]: %w", len(doc.vulns), err)
				}
				doc.vulns = append(doc.vulns, v)
				return nil
			})
		}
		return d.Skip()
	})
	if err == nil {
		err = d.End()
	}
	if err == nil && !found {
		err = fmt.Errorf("no \"document\" in it: is it CSAF?")
	}
	return doc, err
}

func (doc *document) tree(d *intake.Decoder) error {
	return d.Members(func(key string) error {
		switch key {
		case "branches":
			return d.Elements(func() error { return doc.branch(d, 1) })
		case "full_product_names":
			return d.Elements(func() error { return doc.product(d) })
		case "relationships":
			return d.Elements(func() error {
				var r relation
				if err := d.Value(&r); err != nil {
					return fmt.Errorf("relationships: %w", err)
				}
				doc.rels[r.Full.ID] = r
				return nil
			})
		case "product_groups":
			return d.Elements(func() error {
				var g struct {
					ID       string   `json:"group_id"`
					Products []string `json:"product_ids"`
				}
				if err := d.Value(&g); err != nil {
					return fmt.Errorf("product_groups: %w", err)
				}
				doc.group[g.ID] = g.Products
				return nil
			})
		}
		return d.Skip()
	})
}

func (doc *document) branch(d *intake.Decoder, depth int) error {
	if depth > maxBranches {
		return fmt.Errorf("branches deeper than %d: %w", maxBranches, intake.ErrTooBig)
	}
	return d.Members(func(key string) error {
		switch key {
		case "branches":
			return d.Elements(func() error { return doc.branch(d, depth+1) })
		case "product":
			return doc.product(d)
		}
		return d.Skip()
	})
}

func (doc *document) product(d *intake.Decoder) error {
	var p product
	if err := d.Value(&p); err != nil {
		return fmt.Errorf("product: %w", err)
	}
	doc.prods[p.ID] = p
	return nil
}
