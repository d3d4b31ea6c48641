// Package csaf reads advisories in the Common Security Advisory Framework 2.0
// as Red Hat and SUSE publish them: errata ("csaf_security_advisory") and one
// document per vulnerability ("csaf_vex").
//
// It is not for VEX statements of users about their own products (decide/vex),
// nor for products other than the two operating systems: what is said of those
// is counted and left out. The one idea: a product id stands for a package, of
// a module perhaps, on a platform; once the product tree has been resolved to
// that, statuses and remediations become affected versions.
package csaf

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Import reads one document and hands one record to sink. An error means that
// it is not a CSAF document or not a whole one.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Record) error) (intake.Stats, error) {
	var s intake.Stats
	doc, err := read(intake.NewDecoder(ctx, r, intake.Limits{}))
	if err != nil {
		return s, fmt.Errorf("read CSAF %.60s: %w", doc.head.Tracking.ID, noEOF(err))
	}
	s.Records++
	if doc.head.Tracking.Status == "draft" {
		s.Skip("draft")
		return s, nil
	}
	c := converter{doc: doc, stats: &s, seen: map[string]item{}}
	out, err := c.convert()
	if err != nil {
		s.Refuse(doc.head.Tracking.ID, err.Error())
		return s, nil
	}
	s.See(out.Published, out.Modified)
	if len(out.Affected) == 0 {
		s.Skip("no package of an operating system")
		return s, nil
	}
	if err := sink(out); err != nil {
		s.Refuse(out.ID, err.Error())
		return s, ctx.Err()
	}
	s.Kept++
	return s, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type converter struct {
	doc   *document
	stats *intake.Stats
	seen  map[string]item
	out   vuln.Record
}

func (c *converter) convert() (vuln.Record, error) {
	h := &c.doc.head
	if c.out.ID = intake.ID(h.Tracking.ID); c.out.ID == "" {
		return c.out, fmt.Errorf("document.tracking.id: %.60q is no id", h.Tracking.ID)
	}
	var err error
	if c.out.Published, err = intake.Time(h.Tracking.Initial); err != nil {
		c.stats.Note(c.out.ID, "document.tracking.initial_release_date: "+err.Error())
	}
	if c.out.Modified, err = intake.Time(h.Tracking.Current); err != nil {
		c.stats.Note(c.out.ID, "document.tracking.current_release_date: "+err.Error())
	}
	c.out.Severity = intake.Severity(h.Severity.Text)
	c.out.Summary = h.Title
	var vectors intake.Vectors
	gathered := map[subject]vuln.Affected{}
	for i := range c.doc.vulns {
		v := &c.doc.vulns[i]
		c.ids(v)
		for _, s := range v.Scores {
			for _, x := range []vector{s.V3, s.V4, s.V2} {
				vectors.Add(x.Vector)
				if c.out.Severity == scan.Unknown {
					c.out.Severity = intake.Severity(x.Severity)
				}
			}
		}
		for _, n := range v.Notes {
			if n.Category == "description" && c.out.Details == "" {
				c.out.Details = n.Text
			}
		}
		c.statuses(v, gathered)
	}
	for _, k := range slices.SortedFunc(maps.Keys(gathered), subject.compare) {
		c.out.Affected = append(c.out.Affected, gathered[k])
	}
	mergeArch(&c.out.Affected)
	c.out.CVSS = vectors.Best()
	for _, r := range h.References {
		if r.Category == "self" && strings.HasPrefix(r.URL, "https://") {
			c.out.URL = r.URL
			break
		}
	}
	return c.out, nil
}

// ids makes the vulnerability upstream of the document, unless the document is
// named after it.
func (c *converter) ids(v *vulnerability) {
	id := intake.CVE(v.CVE)
	for _, o := range v.IDs {
		if id == "" && strings.HasPrefix(o.Text, "GHSA-") {
			id = intake.ID(o.Text)
		}
	}
	if id != "" && id != c.out.ID && !slices.Contains(c.out.Upstream, id) {
		c.out.Upstream = append(c.out.Upstream, id)
	}
}

// subject is what one Affected speaks of.
type subject struct {
	platform, name, module, version, arch string
	status                                vuln.Status
	by                                    vuln.By
}

func (a subject) compare(b subject) int {
	return cmp.Or(cmp.Compare(a.platform, b.platform), cmp.Compare(a.name, b.name), cmp.Compare(a.module, b.module),
		cmp.Compare(a.by, b.by), cmp.Compare(a.status, b.status), cmp.Compare(a.version, b.version), cmp.Compare(a.arch, b.arch))
}

// statuses turns the product status of one vulnerability into affected
// versions.
func (c *converter) statuses(v *vulnerability, to map[subject]vuln.Affected) {
	wont := map[string]bool{}
	for _, r := range v.Remediations {
		if r.Category == "no_fix_planned" {
			for id := range c.products(r.Products, r.Groups) {
				wont[id] = true
			}
		}
	}
	impact := map[string]scan.Severity{}
	for _, t := range v.Threats {
		if t.Category != "impact" {
			continue
		}
		s := intake.Severity(t.Details)
		if len(t.Products)+len(t.Groups) == 0 && c.out.Severity == scan.Unknown {
			c.out.Severity = s
		}
		for id := range c.products(t.Products, t.Groups) {
			impact[id] = s
		}
	}
	p := &v.Status
	for _, list := range [][]string{p.Fixed, p.FirstFixed, p.Recommended} {
		for _, id := range list {
			c.add(id, vuln.IsAffected, impact[id], to)
		}
	}
	for _, id := range p.Affected {
		status := vuln.Unfixed
		if wont[id] {
			status = vuln.WontFix
		}
		c.add(id, status, impact[id], to)
	}
	for _, id := range p.Investigation {
		c.add(id, vuln.UnderInvestigation, impact[id], to)
	}
	for _, id := range p.NotAffected {
		c.add(id, vuln.NotAffected, scan.Unknown, to)
	}
	for range len(p.First) + len(p.Last) {
		c.stats.Part("bounds of affected versions") // neither publisher writes them
	}
}

func (c *converter) products(ids, groups []string) map[string]bool {
	set := map[string]bool{}
	for _, id := range ids {
		set[id] = true
	}
	for _, g := range groups {
		for _, id := range c.doc.group[g] {
			set[id] = true
		}
	}
	return set
}

func (c *converter) add(id string, status vuln.Status, severity scan.Severity, to map[subject]vuln.Affected) {
	i, ok := c.seen[id]
	if !ok {
		i = c.doc.resolve(id, 0)
		c.seen[id] = i
	}
	switch {
	case i.elsewhere != "":
		c.stats.Part(i.elsewhere)
		return
	case i.platform == "" || i.name == "":
		c.stats.Part("product that could not be resolved")
		return
	case strings.HasSuffix(i.module, ":flatpak"):
		c.stats.Part("flatpak")
		return
	case status == vuln.IsAffected && i.version == "":
		c.stats.Part("fix without a version")
		return
	case status == vuln.NotAffected && i.version != "":
		// It says that this build is good, which follows from the fix; about
		// earlier ones it says nothing.
		c.stats.Part("not affected at one version")
		return
	}
	by := vuln.ByBinary
	if i.arch == "src" || i.arch == "nosrc" {
		if status == vuln.IsAffected {
			return // the binary packages are listed besides
		}
		by = vuln.BySource
	} else if i.arch == "" && i.version == "" {
		by = vuln.ByDefault // the component as the issuer names it
	}
	k := subject{platform: i.platform, name: i.name, module: i.module, status: status, by: by}
	a := vuln.Affected{Ecosystem: i.platform, Name: i.name, By: by, Status: status, Module: i.module}
	switch {
	case status == vuln.IsAffected:
		k.version = i.version
		if k.arch = i.arch; i.arch == "noarch" {
			k.arch = ""
		}
		a.Ranges = []vuln.Range{{Fixed: i.version}}
		if k.arch != "" {
			a.Arch = []string{k.arch}
		}
	case i.version != "":
		k.version = i.version
		a.Ranges = []vuln.Range{{LastAffected: i.version}}
	}
	a.Severity = severity
	if old, ok := to[k]; ok && old.Severity > a.Severity {
		a.Severity = old.Severity
	}
	to[k] = a
}

// mergeArch joins what differs in architecture only. Where a package has one
// fix, it holds for every architecture, whichever are listed.
func mergeArch(list *[]vuln.Affected) {
	same := func(a, b *vuln.Affected) bool {
		return a.Ecosystem == b.Ecosystem && a.Name == b.Name && a.Module == b.Module && a.By == b.By && a.Status == b.Status
	}
	var out []vuln.Affected
	in := *list
	for i := 0; i < len(in); {
		j := i + 1
		for j < len(in) && same(&in[i], &in[j]) {
			j++
		}
		if in[i].Status != vuln.IsAffected {
			out = append(out, in[i:j]...)
			i = j
			continue
		}
		first := len(out)
		for _, a := range in[i:j] {
			if n := len(out); n > first && out[n-1].Ranges[0] == a.Ranges[0] {
				out[n-1].Severity = max(out[n-1].Severity, a.Severity)
				if len(a.Arch) == 0 || len(out[n-1].Arch) == 0 {
					out[n-1].Arch = nil
				} else {
					out[n-1].Arch = append(out[n-1].Arch, a.Arch...)
				}
				continue
			}
			out = append(out, a)
		}
		if len(out)-first == 1 {
			out[first].Arch = nil
		}
		i = j
	}
	*list = out
}
