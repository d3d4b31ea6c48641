// Package osv reads advisories in the format of the Open Source Vulnerability
// schema: one record, an array of them, or one per line.
//
// It is not for archives and directories of records (feed opens those) nor for
// the order of versions. The one idea: what the schema says is taken at its
// word, and the few things that data sets say beside the schema (severity
// words, requirements kept as text, advisories that are no vulnerabilities)
// are read here, in one place each.
package osv

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ranges"
)

// Import reads records from r and hands them to sink. Bad records are counted
// and named in Stats and the rest is read on; the error is nil unless the
// remaining input is lost. Withdrawn records are handed on as such.
func Import(ctx context.Context, r io.Reader, sink func(vuln.Record) error) (intake.Stats, error) {
	return ImportOnly(ctx, r, nil, sink)
}

// ImportOnly is Import with a judge, which sees every record before the sink
// and may change it, or give a reason for which it is skipped.
func ImportOnly(ctx context.Context, r io.Reader, judge func(*vuln.Record) (skip string), sink func(vuln.Record) error) (intake.Stats, error) {
	var s intake.Stats
	err := intake.Records(ctx, r, intake.DefaultLimits(), func(raw json.RawMessage) error {
		s.Records++
		var in record
		if err := json.Unmarshal(raw, &in); err != nil {
			s.Refuse(idOf(raw), err.Error())
			return ctx.Err()
		}
		c := converter{in: &in, stats: &s}
		out, skip, err := c.convert()
		if err == nil && skip == "" && judge != nil {
			skip = judge(&out)
		}
		if skip != "" {
			s.Skip(skip)
			return nil
		}
		if err == nil {
			err = sink(out)
		}
		if err != nil {
			s.Refuse(in.ID, err.Error())
			return ctx.Err()
		}
		s.See(out.Published, out.Modified)
		if out.Withdrawn.IsZero() {
			s.Kept++
		} else {
			s.Withdrawn++
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("read OSV after record %d: %w", s.Records, err)
	}
	return s, nil
}

// idOf finds the id of a record whose types are wrong elsewhere.
func idOf(raw json.RawMessage) string {
	var v struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return strings.Trim(string(v.ID), `"`)
}

// converter turns one OSV record into one of ours.
type converter struct {
	in    *record
	stats *intake.Stats
	out   vuln.Record
}

func (c *converter) convert() (out vuln.Record, skip string, err error) {
	in := c.in
	if c.out.ID = intake.ID(in.ID); c.out.ID == "" {
		return out, "", fmt.Errorf("id: %.60q is none", in.ID)
	}
	c.times()
	c.ids()
	if !c.out.Withdrawn.IsZero() && len(in.Affected) == 0 {
		// The schema lets a withdrawn record be empty.
		return c.out, "", nil
	}
	if notSecurity(c.out.ID) && !slices.ContainsFunc(append(c.out.Aliases, c.out.Upstream...), isCVE) {
		return out, "not a security advisory", nil
	}
	var vectors intake.Vectors
	c.severity(in.Severity, &vectors)
	var whole specific
	whole.read(in.DatabaseSpecific)
	if c.out.Severity == scan.Unknown {
		c.out.Severity = firstKnown(intake.Severity(whole.severity), intake.Score(whole.score), c.byTitle())
	}
	skip, err = c.affected(&vectors)
	if skip != "" || err != nil {
		return out, skip, err
	}
	c.out.CVSS = vectors.Best()
	c.prose()
	return c.out, "", nil
}

func (c *converter) times() {
	var err error
	if c.out.Published, err = intake.Time(c.in.Published); err != nil {
		c.stats.Note(c.out.ID, "published: "+err.Error())
	}
	if c.out.Modified, err = intake.Time(c.in.Modified); err != nil {
		c.stats.Note(c.out.ID, "modified: "+err.Error())
	}
	if c.out.Withdrawn, err = intake.Time(c.in.Withdrawn); err != nil {
		c.stats.Note(c.out.ID, "withdrawn: "+err.Error())
	}
}

// ids sorts out which ids mean the very same vulnerability and which are
// bundled. Distributors without "upstream" name their CVEs as "related".
func (c *converter) ids() {
	c.out.Aliases = c.clean("aliases", c.in.Aliases)
	up := c.clean("upstream", c.in.Upstream)
	if len(up) == 0 && len(c.out.Aliases) == 0 && bundles(c.out.ID) {
		up = slices.DeleteFunc(c.clean("related", c.in.Related), func(id string) bool { return !isCVE(id) })
	}
	// Beside the CVE itself, lists hold other issuers' names of it
	// ("UBUNTU-CVE-...", "GHSA-..."), which would count twice.
	if slices.ContainsFunc(up, isCVE) {
		up = slices.DeleteFunc(up, func(id string) bool { return !isCVE(id) })
	}
	c.out.Upstream = up
}

func (c *converter) clean(field string, list []string) []string {
	var out []string
	for _, s := range list {
		id := intake.ID(s)
		switch {
		case id == "":
			c.stats.Note(c.out.ID, fmt.Sprintf("%s: %.60q is no id", field, s))
		case id != c.out.ID && !slices.Contains(out, id):
			out = append(out, id)
		}
	}
	return out
}

func isCVE(id string) bool { return strings.HasPrefix(id, "CVE-") }

// bundles tells by its id an erratum of a distributor, which may fix several
// vulnerabilities.
func bundles(id string) bool {
	for _, p := range []string{"ALSA-", "ALBA-", "ALEA-", "RLSA-", "RXSA-", "RHSA-", "RHBA-", "RHEA-", "ELSA-", "SUSE-", "openSUSE-", "MGASA-", "USN-", "DSA-", "DLA-"} {
		if strings.HasPrefix(id, p) {
			return true
		}
	}
	return false
}

// notSecurity tells bug-fix and enhancement errata by their ids.
func notSecurity(id string) bool {
	for _, p := range []string{"ALBA-", "ALEA-", "RLBA-", "RLEA-", "RHBA-", "RHEA-", "ELBA-", "ELEA-", "SUSE-RU-", "SUSE-FU-", "SUSE-OU-", "openSUSE-RU-", "openSUSE-FU-"} {
		if strings.HasPrefix(id, p) {
			return true
		}
	}
	return false
}

// severity reads typed severities. One of Ubuntu's type is a word.
func (c *converter) severity(list []severity, v *intake.Vectors) {
	for _, s := range list {
		if strings.HasPrefix(s.Type, "CVSS") {
			if !v.Add(s.Score) {
				c.stats.Part("severity of unknown form")
			}
		} else if w := intake.Severity(s.Score); w != scan.Unknown {
			c.out.Severity = w
		}
	}
}

// byTitle reads the severity that errata of Red Hat's family begin with
// ("Important: kernel security update").
func (c *converter) byTitle() scan.Severity {
	if strings.HasPrefix(c.out.ID, "MAL-") {
		return scan.Critical // code that is malicious by intent
	}
	if !bundles(c.out.ID) {
		return scan.Unknown
	}
	word, _, _ := strings.Cut(c.in.Summary, ":")
	return intake.Severity(word)
}

func firstKnown(list ...scan.Severity) scan.Severity {
	for _, s := range list {
		if s != scan.Unknown {
			return s
		}
	}
	return scan.Unknown
}

func (c *converter) prose() {
	c.out.Summary, c.out.Details = c.in.Summary, c.in.Details
	for _, r := range c.in.References {
		if !strings.HasPrefix(r.URL, "https://") && !strings.HasPrefix(r.URL, "http://") {
			continue
		}
		if c.out.URL == "" || r.Type == "ADVISORY" {
			c.out.URL = r.URL
		}
		if r.Type == "ADVISORY" {
			return
		}
	}
}

// affected converts the packages. A record of which nothing can ever match is
// skipped for the reason of its last package.
func (c *converter) affected(v *intake.Vectors) (skip string, err error) {
	if len(c.in.Affected) == 0 {
		return "no package", nil
	}
	var firstErr error
	for i := range c.in.Affected {
		a := &c.in.Affected[i]
		out, why, err := c.one(a, v)
		if err != nil {
			err = fmt.Errorf("affected[%d]: %w", i, err)
			if firstErr == nil {
				firstErr = err
			}
			continue
		}
		if why != "" {
			skip = why
			c.stats.Part(why)
			continue
		}
		c.out.Affected = append(c.out.Affected, out)
	}
	if len(c.out.Affected) > 0 {
		if firstErr != nil {
			c.stats.Note(c.out.ID, firstErr.Error())
		}
		return "", nil
	}
	return skip, firstErr
}

func (c *converter) one(a *affected, v *intake.Vectors) (out vuln.Affected, skip string, err error) {
	out.Ecosystem, out.Name = a.Package.Ecosystem, a.Package.Name
	base, _, _ := strings.Cut(out.Ecosystem, ":")
	switch {
	case out.Ecosystem == "" || out.Name == "":
		return out, "no package name", nil // commits of a repository, for example
	case len(out.Ecosystem) > 200 || len(out.Name) > 1000:
		return out, "", fmt.Errorf("package: name of %d bytes", len(out.Ecosystem)+len(out.Name))
	case base == "Wolfi" || base == "Chainguard":
		// Their licence (CC BY-NC-ND) does not let a database be made of them.
		return out, "licence forbids use", nil
	}
	var s specific
	s.read(a.EcosystemSpecific)
	s.read(a.DatabaseSpecific)
	if s.informational == "unmaintained" || s.informational == "notice" {
		return out, "informational: " + s.informational, nil
	}
	word := c.out.Severity
	c.out.Severity = scan.Unknown
	c.severity(a.Severity, v)
	out.Severity = firstKnown(c.out.Severity, intake.Severity(s.urgency), intake.Severity(s.severity))
	c.out.Severity = word

	rangesErr := c.ranges(a, &s, &out)
	for _, ver := range a.Versions {
		if ver != "" && len(ver) <= 1000 {
			out.Versions = append(out.Versions, ver)
		}
	}
	if len(out.Ranges)+len(out.Versions) == 0 {
		if rangesErr != nil {
			return out, "", rangesErr
		}
		return out, "no version", nil
	}
	if rangesErr != nil {
		c.stats.Note(c.out.ID, rangesErr.Error())
	}
	return out, "", nil
}

func (c *converter) ranges(a *affected, s *specific, out *vuln.Affected) error {
	var firstErr error
	for i, r := range a.Ranges {
		switch r.Type {
		case "SEMVER", "ECOSYSTEM":
		case "GIT":
			c.stats.Part("git range")
			continue
		default:
			c.stats.Part("range of unknown type")
			continue
		}
		events := make([]vuln.Event, 0, len(r.Events))
		for _, e := range r.Events {
			events = e.split(events)
		}
		list, err := vuln.FromEvents(out.Ecosystem, events)
		if err != nil {
			if firstErr == nil {
				firstErr = fmt.Errorf("ranges[%d]: %w", i, err)
			}
			list = asWritten(events)
		}
		out.Ranges = append(out.Ranges, list...)
	}
	bound(out.Ranges, s.lastKnown)
	if len(a.Ranges) == 0 && len(a.Versions) == 0 {
		list, err := fromText(out.Ecosystem, s)
		if err != nil {
			return err
		}
		out.Ranges = list
	}
	return firstErr
}

// asWritten pairs events in the order of the record. It serves for versions
// that nobody can order: the Builder keeps such ranges, and whoever matches
// says that they could not be compared.
func asWritten(events []vuln.Event) []vuln.Range {
	var list []vuln.Range
	open := false
	for _, e := range events {
		if e.Introduced != "" {
			list = append(list, vuln.Range{Introduced: e.Introduced})
			open = true
		} else if open {
			r := &list[len(list)-1]
			r.Fixed, r.LastAffected, r.Limit = e.Fixed, e.LastAffected, e.Limit
			open = false
		}
	}
	return list
}

// bound closes an open range at the last version that its issuer knows to be
// affected, which GitHub's records keep beside it ("<= 4.2.0").
func bound(list []vuln.Range, lastKnown string) {
	if len(list) != 1 || list[0].Fixed+list[0].LastAffected+list[0].Limit != "" {
		return
	}
	lastKnown = strings.TrimSpace(lastKnown)
	if v, ok := strings.CutPrefix(lastKnown, "<="); ok {
		list[0].LastAffected = strings.TrimSpace(v)
	} else if v, ok := strings.CutPrefix(lastKnown, "<"); ok {
		list[0].Limit = strings.TrimSpace(v)
	}
}

// fromText makes ranges of requirements kept as text.
func fromText(ecosystem string, s *specific) ([]vuln.Range, error) {
	switch {
	case ecosystem == "npm" && s.vulnerable != nil && strings.TrimSpace(*s.vulnerable) != "":
		list, err := ranges.NPM(*s.vulnerable, s.patchedText)
		if err != nil {
			return nil, fmt.Errorf("vulnerable_versions: %w", err)
		}
		return list, nil
	case ecosystem == "RubyGems" && s.isGem:
		list, err := ranges.Gem(s.patched, s.unaffected)
		if err != nil {
			return nil, fmt.Errorf("patched_versions, unaffected_versions: %w", err)
		}
		return list, nil
	}
	return nil, nil
}
