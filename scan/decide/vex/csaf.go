package vex

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The parts of CSAF 2.0 and 2.1 that VEX is made of, as far as they are used.
type (
	csafDocument struct {
		Document struct {
			Publisher struct {
				Name string `json:"name"`
			} `json:"publisher"`
			Tracking struct {
				ID      string    `json:"id"`
				Current time.Time `json:"current_release_date"`
			} `json:"tracking"`
		} `json:"document"`
		Tree struct {
			csafBranch
			Names         []csafProduct      `json:"full_product_names"`
			Relationships []csafRelationship `json:"relationships"`
			Groups        []struct {
				ID       string   `json:"group_id"`
				Products []string `json:"product_ids"`
			} `json:"product_groups"`
		} `json:"product_tree"`
		Vulnerabilities []csafVulnerability `json:"vulnerabilities"`
	}
	csafBranch struct {
		Branches []csafBranch `json:"branches"`
		Product  csafProduct  `json:"product"`
	}
	csafProduct struct {
		ID     string `json:"product_id"`
		Helper struct {
			PURL   string   `json:"purl"`
			PURLs  []string `json:"purls"`
			Hashes []struct {
				Hashes []struct {
					Algorithm string `json:"algorithm"`
					Value     string `json:"value"`
				} `json:"file_hashes"`
			} `json:"hashes"`
		} `json:"product_identification_helper"`
	}
	csafRelationship struct {
		Product   csafProduct `json:"full_product_name"`
		Part      string      `json:"product_reference"`
		RelatesTo string      `json:"relates_to_product_reference"`
	}
	csafVulnerability struct {
		CVE string `json:"cve"`
		IDs []struct {
			Text string `json:"text"`
		} `json:"ids"`
		Status map[string][]string `json:"product_status"`
		Flags  []struct {
			Label string `json:"label"`
			csafReach
		} `json:"flags"`
		Threats []struct {
			Category string `json:"category"`
			Details  string `json:"details"`
			csafReach
		} `json:"threats"`
		Remediations []struct {
			Details string `json:"details"`
			csafReach
		} `json:"remediations"`
	}
	// csafReach says which products something is about.
	csafReach struct {
		Products []string `json:"product_ids"`
		Groups   []string `json:"group_ids"`
	}
)

// csafStatuses maps the lists of product_status. Others (recommended) say
// nothing of being affected.
func csafStatuses() map[string]Status {
	return map[string]Status{
		"known_not_affected": NotAffected, "fixed": Fixed, "first_fixed": Fixed,
		"known_affected": Affected, "first_affected": Affected, "last_affected": Affected,
		"under_investigation": UnderInvestigation,
	}
}

// csaf reads a CSAF document of any profile that has product statuses.
func csaf(data []byte) (*reading, error) {
	var doc csafDocument
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("CSAF: %w", err)
	}
	d := &reading{Document: Document{
		Format: CSAF, ID: doc.Document.Tracking.ID, Author: doc.Document.Publisher.Name,
		Issued: doc.Document.Tracking.Current.UTC(),
	}}
	tree := newCSAFTree(&doc)
	statuses := csafStatuses()
	for i := range doc.Vulnerabilities {
		v := &doc.Vulnerabilities[i]
		ids := []string{v.CVE}
		for _, id := range v.IDs {
			ids = append(ids, id.Text)
		}
		justified, impact, todo, err := tree.words(v)
		if err != nil {
			return nil, err
		}
		for _, list := range slices.Sorted(maps.Keys(v.Status)) {
			status, ok := statuses[list]
			if !ok {
				continue
			}
			// One statement for each justification, so that each keeps its own.
			type words struct{ justification, note string }
			grouped := map[words][]Product{}
			var order []words
			for _, id := range v.Status[list] {
				p, why := tree.product(id, 0)
				if why != "" {
					d.skipped.add("%.80s of the product %.80q: %s", ids[0], id, why)
					continue
				}
				var w words
				switch status {
				case NotAffected:
					w = words{justified[id], impact[id]}
				case Affected:
					w.note = todo[id]
				}
				if grouped[w] == nil {
					order = append(order, w)
				}
				grouped[w] = append(grouped[w], p)
			}
			for _, w := range order {
				s := Statement{IDs: ids, Products: grouped[w], Status: status, Justification: w.justification, Note: w.note}
				if err := d.add(s); err != nil {
					return nil, err
				}
			}
		}
	}
	return d, nil
}

// csafTree finds products by id.
type csafTree struct {
	products  map[string][]string
	relations map[string]csafRelationship
	groups    map[string][]string
	spread    int // products named through groups so far
}

func newCSAFTree(doc *csafDocument) *csafTree {
	t := &csafTree{products: map[string][]string{}, relations: map[string]csafRelationship{}, groups: map[string][]string{}}
	t.branch(&doc.Tree.csafBranch)
	for i := range doc.Tree.Names {
		t.name(&doc.Tree.Names[i])
	}
	for _, r := range doc.Tree.Relationships {
		t.relations[r.Product.ID] = r
		t.name(&r.Product)
	}
	for _, g := range doc.Tree.Groups {
		t.groups[g.ID] = g.Products
	}
	return t
}

// branch walks the tree; encoding/json has bounded its depth.
func (t *csafTree) branch(b *csafBranch) {
	t.name(&b.Product)
	for i := range b.Branches {
		t.branch(&b.Branches[i])
	}
}

func (t *csafTree) name(p *csafProduct) {
	if p.ID == "" {
		return
	}
	names := append([]string{p.Helper.PURL}, p.Helper.PURLs...)
	for _, h := range p.Helper.Hashes {
		for _, f := range h.Hashes {
			names = append(names, digestName(f.Algorithm, f.Value))
		}
	}
	t.products[p.ID] = append(t.products[p.ID], slices.DeleteFunc(names, func(s string) bool { return s == "" })...)
}

// product resolves an id, through relationships ("part as a component of
// platform"), or says why it cannot.
func (t *csafTree) product(id string, depth int) (Product, string) {
	r, related := t.relations[id]
	part := Product{Names: t.products[id]}
	switch {
	case !related && len(part.Names) == 0:
		return part, "it has no package URL and no digest"
	case !related:
		return part, ""
	case depth > 8:
		return part, "its relationships lead nowhere"
	case len(part.Names) == 0:
		var why string
		if part, why = t.product(r.Part, depth+1); why != "" {
			return part, why
		}
	}
	if whole := t.products[r.RelatesTo]; len(whole) > 0 {
		return Product{Names: whole, Components: []Product{part}}, ""
	}
	// The platform is known by a CPE or a name only, which is never guessed at.
	// A part with its version is that very part wherever it is installed; one
	// without would be any version on any platform.
	for _, n := range part.Names {
		if p := parsePURL(n); p != nil && p.Version == "" {
			return part, "its platform has no package URL and the package no version"
		}
	}
	return part, ""
}

// words gives what a vulnerability says of each product: why it is not
// affected, in a word and in words, and what to do.
func (t *csafTree) words(v *csafVulnerability) (justified, impact, todo map[string]string, err error) {
	justified, impact, todo = map[string]string{}, map[string]string{}, map[string]string{}
	put := func(m map[string]string, r csafReach, text string) {
		for _, id := range r.Products {
			m[id] = text
		}
		for _, g := range r.Groups {
			// Groups are named again and again: few bytes, many products.
			if t.spread += len(t.groups[g]); t.spread > 8*MaxProducts {
				err = errTooMany
				return
			}
			for _, id := range t.groups[g] {
				m[id] = text
			}
		}
	}
	for _, f := range v.Flags {
		put(justified, f.csafReach, strings.TrimSpace(f.Label))
	}
	for _, h := range v.Threats {
		if h.Category == "impact" {
			put(impact, h.csafReach, strings.TrimSpace(h.Details))
		}
	}
	for _, r := range v.Remediations {
		put(todo, r.csafReach, strings.TrimSpace(r.Details))
	}
	return justified, impact, todo, err
}
