package vex

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	openvex "github.com/openvex/go-vex/pkg/vex"

	"github.com/gabion-dev/gabion/scan"
)

// Options say who issues a document and when.
type Options struct {
	Author string    // person or organisation; required
	Time   time.Time // of the document; required
	// ID is an IRI. Default: made from the content.
	ID string
}

// Write gives the decisions of a report as an OpenVEX document:
//
//   - settled by a VEX document: as it says, with its justification;
//   - waived by an exception or an ignore file: affected, since the risk was
//     accepted and not removed, with owner, reason and date as the action;
//   - will_not_fix: affected, with that as the action;
//   - open: under_investigation, with the priority's reasons as a note.
//
// The product is the image, by digest, and the package its component; without a
// digest the package is the product. Equal reports and options give equal bytes.
func Write(w io.Writer, r *scan.Report, o Options) error {
	if strings.TrimSpace(o.Author) == "" || o.Time.IsZero() {
		return errors.New("write VEX document: author and time are required: say who makes these statements")
	}
	tool := r.Tool
	if r.Incomplete() {
		tool += " (INCOMPLETE: the scan could not examine everything)"
	}
	at := o.Time.UTC().Truncate(time.Second)
	doc := openvex.VEX{Metadata: openvex.Metadata{
		Context: openvex.Context + "/v" + openvex.SpecVersion, ID: o.ID, Author: o.Author, Timestamp: &at, Version: 1, Tooling: tool,
	}}
	doc.Statements = statements(r)
	if doc.ID == "" {
		raw, err := json.Marshal(&doc)
		if err != nil {
			return fmt.Errorf("write VEX document: %w", err)
		}
		sum := sha256.Sum256(raw)
		doc.ID = "https://gabion.dev/vex/" + hex.EncodeToString(sum[:])
	}
	if err := doc.ToJSON(w); err != nil {
		return fmt.Errorf("write VEX document: %w", err)
	}
	return nil
}

// statements makes one statement of the findings that say the same of one
// vulnerability.
func statements(r *scan.Report) []openvex.Statement {
	type key struct{ id, status, justification, impact, action, notes string }
	components := map[key][]string{}
	aliases := map[string][]string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		s := statement(f)
		k := key{f.ID, string(s.Status), string(s.Justification), s.ImpactStatement, s.ActionStatement, s.StatusNotes}
		p := "pkg:generic/unknown"
		if f.Package >= 0 && f.Package < len(r.Packages) {
			if p = r.Packages[f.Package].PURL; p == "" {
				p = genericPURL(&r.Packages[f.Package])
			}
		}
		components[k] = append(components[k], p)
		aliases[f.ID] = append(aliases[f.ID], f.Aliases...)
	}
	for id, list := range aliases {
		slices.Sort(list)
		aliases[id] = slices.Compact(list)
	}
	keys := make([]key, 0, len(components))
	for k := range components {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.status, b.status), cmp.Compare(a.justification, b.justification),
			cmp.Compare(a.impact, b.impact), cmp.Compare(a.action, b.action), cmp.Compare(a.notes, b.notes))
	})
	image := imagePURL(&r.Image)
	out := make([]openvex.Statement, 0, len(keys))
	for _, k := range keys {
		s := openvex.Statement{
			Vulnerability: openvex.Vulnerability{Name: openvex.VulnerabilityID(k.id)}, Status: openvex.Status(k.status),
			Justification: openvex.Justification(k.justification), ImpactStatement: k.impact, ActionStatement: k.action, StatusNotes: k.notes,
		}
		for _, a := range aliases[k.id] {
			s.Vulnerability.Aliases = append(s.Vulnerability.Aliases, openvex.VulnerabilityID(a))
		}
		slices.Sort(components[k])
		list := slices.Compact(components[k])
		if image == "" {
			for _, p := range list {
				s.Products = append(s.Products, openvex.Product{Component: openvex.Component{ID: p}})
			}
		} else {
			p := openvex.Product{Component: openvex.Component{ID: image}}
			for _, c := range list {
				p.Subcomponents = append(p.Subcomponents, openvex.Subcomponent{Component: openvex.Component{ID: c}})
			}
			s.Products = []openvex.Product{p}
		}
		out = append(out, s)
	}
	return out
}

// statement says what became of a finding.
func statement(f *scan.Finding) openvex.Statement {
	switch f.State {
	case scan.NotAffected:
		s := openvex.Statement{Status: openvex.StatusNotAffected}
		reason := "no reason is recorded"
		if f.Decision != nil && f.Decision.Reason != "" {
			reason = f.Decision.Reason
		}
		word, rest, _ := strings.Cut(reason, ":")
		if j := openvex.Justification(word); j.Valid() {
			s.Justification, s.ImpactStatement = j, strings.TrimSpace(rest)
			return s
		}
		s.ImpactStatement = reason
		return s
	case scan.Fixed:
		return openvex.Statement{Status: openvex.StatusFixed}
	case scan.Ignored:
		action := "risk accepted"
		if d := f.Decision; d != nil {
			action = fmt.Sprintf("risk accepted by %s: %s", d.Owner, d.Reason)
			if !d.Expires.IsZero() {
				action += " (until " + d.Expires.UTC().Format(time.RFC3339) + ")"
			}
		}
		return openvex.Statement{Status: openvex.StatusAffected, ActionStatement: action}
	case scan.Unsupported:
		return openvex.Statement{Status: openvex.StatusAffected, ActionStatement: "the distributor will not fix it; replace the package or accept the risk"}
	}
	s := openvex.Statement{Status: openvex.StatusUnderInvestigation}
	if len(f.Reasons) > 0 {
		s.StatusNotes = strings.Join(f.Reasons, "; ")
	}
	return s
}
