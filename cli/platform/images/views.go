package images

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report"
	"github.com/gabion-dev/gabion/workload"
)

// maxListed bounds each list of console.ImageDetail.
const maxListed = 500

// summarise fills a record with what a report says.
func summarise(rec *record, rep *scan.Report) {
	i := &rec.Image
	i.Platform, i.System = rep.Image.Platform, cmp.Or(rep.Release.Name, strings.TrimSpace(rep.Release.ID+" "+rep.Release.Version))
	i.Size, i.Packages, i.Complete, i.Violations = 0, len(rep.Packages), !rep.Incomplete(), len(rep.Violations)
	for _, l := range rep.Image.Layers {
		i.Size += l.Size
	}
	i.Gaps, i.Open, i.Exploited, i.Fixable, i.Used, i.Priority, i.Secrets, i.Checks = 0, console.Severities{}, 0, 0, 0, 0, 0, 0
	for _, g := range rep.Gaps {
		if !g.Minor {
			i.Gaps++
		}
	}
	for k := range rep.Findings {
		f := &rep.Findings[k]
		if !open(f.State) {
			continue
		}
		count(&i.Open, f.Severity)
		i.Priority = max(i.Priority, f.Priority)
		if f.KEV != nil {
			i.Exploited++
		}
		if f.Fix != "" {
			i.Fixable++
		}
		if f.Used != nil && *f.Used {
			i.Used++
		}
	}
	for _, s := range rep.Secrets {
		if open(s.State) {
			i.Secrets++
		}
	}
	rec.Root = false
	for _, c := range rep.Checks {
		if c.Status == "fail" && open(c.State) {
			i.Checks++
		}
	}
	user, _, _ := strings.Cut(rep.Image.Config.User, ":")
	rec.Root = user == "" || user == "0" || user == "root"
	i.Signed, rec.Signers = "", nil
	for _, s := range rep.Signatures {
		if s.Valid {
			i.Signed = "valid"
			rec.Signers = append(rec.Signers, cmp.Or(s.Identity, s.KeyID))
		} else if i.Signed == "" {
			i.Signed = "invalid"
		}
	}
	slices.Sort(rec.Signers)
	rec.Signers = slices.Compact(rec.Signers)
	rec.ConfigID = rep.Image.ConfigID
	i.Database = console.ImageDatabase{Digest: rep.Database.Digest, Data: rep.Database.Data, Advisories: rep.Database.Advisories, Embedded: rep.Database.Embedded}
}

func count(s *console.Severities, of scan.Severity) {
	switch of {
	case scan.Critical:
		s.Critical++
	case scan.High:
		s.High++
	case scan.Medium:
		s.Medium++
	case scan.Low:
		s.Low++
	case scan.Negligible:
		s.Negligible++
	default:
		s.Unknown++
	}
}

// Images implements console.Images.
func (r *Room) Images(context.Context) ([]console.Image, error) {
	l := r.running()
	list := r.all()
	out := make([]console.Image, 0, len(list))
	for _, rec := range list {
		out = append(out, withRunning(rec, l.of(rec)))
	}
	return out, nil
}

func withRunning(rec *record, list []console.ImageContainer) console.Image {
	i := rec.Image
	i.Running, i.Workloads = len(list), []workload.Ref{}
	for _, c := range list {
		i.Workloads = addRef(i.Workloads, c.Workload)
	}
	return i
}

// bounded cuts a list and counts what was left out.
func bounded[T any](list []T, omitted *int) []T {
	if len(list) <= maxListed {
		return list
	}
	*omitted += len(list) - maxListed
	return list[:maxListed]
}

// Image implements console.Images.
func (r *Room) Image(ctx context.Context, digest string) (console.ImageDetail, error) {
	rec, ok := r.record(digest)
	if !ok {
		return console.ImageDetail{}, fmt.Errorf("find image %s: %w", digest, console.ErrNotFound)
	}
	rep, err := r.stored(ctx, digest)
	if err != nil {
		return console.ImageDetail{}, err
	}
	containers := r.running().of(rec)
	d := detail(rep)
	d.Image, d.ConfigID = withRunning(rec, containers), rec.ConfigID
	d.Containers = bounded(append([]console.ImageContainer{}, containers...), &d.Omitted)
	return d, nil
}

// detail makes of a report what the console shows.
func detail(rep *scan.Report) console.ImageDetail {
	d := console.ImageDetail{
		Created: rep.Image.Config.Created, User: rep.Image.Config.User,
		Command: append(slices.Clone(rep.Image.Config.Entrypoint), rep.Image.Config.Cmd...),
		Layers:  layers(rep), Plan: []console.ImageStep{}, SecretList: []console.ImageSecret{}, CheckList: []console.ImageCheck{},
		Signatures: []console.ImageSignature{}, ViolationList: []console.ImageViolation{}, GapList: []console.ImageGap{},
	}
	if d.Command == nil {
		d.Command = []string{}
	}
	if b := rep.Base; b != nil {
		d.Base = &console.ImageBase{Name: cmp.Or(b.Name, b.Digest), Layers: b.Layers, How: b.How}
	}
	for i := range rep.Findings {
		switch f := &rep.Findings[i]; {
		case !open(f.State):
			d.Settled++
		case f.Fix == "":
			d.Unfixed++
		}
	}
	for _, s := range rep.Plan {
		step := console.ImageStep{Do: s.Do, Where: s.Where, Worst: s.Worst.String(), Priority: s.Priority}
		step.Closes = bounded(s.Closes, &d.Omitted)
		d.Plan = append(d.Plan, step)
	}
	for _, s := range rep.Secrets {
		d.SecretList = append(d.SecretList, console.ImageSecret{Title: s.Title, Severity: s.Severity.String(), Where: s.Where, Line: s.Line,
			Masked: s.Masked, Fingerprint: s.Fingerprint, Layer: s.Layer, Deleted: s.Deleted, State: stateOf(s.State), Decision: decision(s.Decision)})
	}
	for _, c := range rep.Checks {
		d.CheckList = append(d.CheckList, console.ImageCheck{ID: c.ID, Title: c.Title, Severity: c.Severity.String(), Status: c.Status,
			Evidence: text(c.Evidence), Remedy: c.Remedy, State: stateOf(c.State), Decision: decision(c.Decision)})
	}
	for _, s := range rep.Signatures {
		d.Signatures = append(d.Signatures, console.ImageSignature{Kind: s.Kind, Valid: s.Valid, Why: s.Why, Identity: cmp.Or(s.Identity, s.KeyID),
			Issuer: s.Issuer, Predicate: s.Predicate, SignedAt: s.SignedAt})
	}
	for _, v := range rep.Violations {
		d.ViolationList = append(d.ViolationList, console.ImageViolation{Rule: strings.TrimPrefix(v.Rule, "--fail-on "), Object: v.Object})
	}
	for _, g := range rep.Gaps {
		d.GapList = append(d.GapList, console.ImageGap{Where: g.Where, What: g.What, Means: g.Means, Do: g.Do, Minor: g.Minor})
	}
	d.Plan, d.Layers = bounded(d.Plan, &d.Omitted), bounded(d.Layers, &d.Omitted)
	d.SecretList, d.CheckList = bounded(d.SecretList, &d.Omitted), bounded(d.CheckList, &d.Omitted)
	d.Signatures, d.GapList = bounded(d.Signatures, &d.Omitted), bounded(d.GapList, &d.Omitted)
	d.ViolationList = bounded(d.ViolationList, &d.Omitted)
	return d
}

// layers says of each what it brought.
func layers(rep *scan.Report) []console.ImageLayer {
	out := make([]console.ImageLayer, len(rep.Image.Layers))
	for i, l := range rep.Image.Layers {
		out[i] = console.ImageLayer{Digest: cmp.Or(l.Digest, l.DiffID), Size: l.Size, Command: l.Command, Base: l.Base}
	}
	in := func(n int) bool { return n >= 0 && n < len(out) }
	for i := range rep.Packages {
		if n := rep.Packages[i].Layer; in(n) {
			out[n].Packages++
		}
	}
	for i := range rep.Findings {
		if f := &rep.Findings[i]; open(f.State) {
			if n := packageOf(rep, f).Layer; in(n) {
				out[n].Findings++
			}
		}
	}
	for _, s := range rep.Secrets {
		if open(s.State) && in(s.Layer) {
			out[s.Layer].Secrets++
		}
	}
	return out
}

// packageOf is the package of a finding; one of no package has no layer either.
func packageOf(rep *scan.Report, f *scan.Finding) scan.Package {
	if f.Package < 0 || f.Package >= len(rep.Packages) {
		return scan.Package{Layer: -1}
	}
	return rep.Packages[f.Package]
}

// ImageFindings implements console.Images.
func (r *Room) ImageFindings(ctx context.Context, digest string) ([]console.ImageFinding, error) {
	rep, err := r.stored(ctx, digest)
	if err != nil {
		return nil, err
	}
	return findings(rep), nil
}

func findings(rep *scan.Report) []console.ImageFinding {
	out := make([]console.ImageFinding, 0, len(rep.Findings))
	for i := range rep.Findings {
		f := &rep.Findings[i]
		p := packageOf(rep, f)
		v := console.ImageFinding{
			ID: f.ID, Aliases: text(f.Aliases), Severity: f.Severity.String(), Score: f.Score, Exploited: f.KEV != nil,
			Summary: f.Summary, URL: f.URL, Published: f.Published,
			Package: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, Path: p.Path, Layer: p.Layer, Base: f.Base, Fix: f.Fix,
			State: stateOf(f.State), Priority: f.Priority, Reasons: text(f.Reasons), Used: f.Used, Exposed: f.Exposed,
		}
		if f.EPSS != nil {
			v.EPSS = f.EPSS.Score
		}
		if !open(f.State) {
			v.Decision = cmp.Or(decision(f.Decision), v.State)
			if f.Decision != nil {
				v.Expires = f.Decision.Expires
			}
		}
		out = append(out, v)
	}
	return out
}

// ImagePackages implements console.Images.
func (r *Room) ImagePackages(ctx context.Context, digest string) ([]console.ImagePackage, error) {
	rep, err := r.stored(ctx, digest)
	if err != nil {
		return nil, err
	}
	return packages(rep), nil
}

func packages(rep *scan.Report) []console.ImagePackage {
	out := make([]console.ImagePackage, len(rep.Packages))
	worst := make([]scan.Severity, len(rep.Packages))
	for i := range rep.Packages {
		p := &rep.Packages[i]
		out[i] = console.ImagePackage{Name: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, PURL: p.PURL, Path: p.Path, Layer: p.Layer, Licenses: text(p.Licenses)}
	}
	for i := range rep.Findings {
		if f := &rep.Findings[i]; open(f.State) && f.Package >= 0 && f.Package < len(out) {
			out[f.Package].Findings++
			worst[f.Package] = max(worst[f.Package], f.Severity)
			out[f.Package].Worst = worst[f.Package].String()
		}
	}
	slices.SortStableFunc(out, func(a, b console.ImagePackage) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.Ecosystem, b.Ecosystem), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Path, b.Path))
	})
	return out
}

// ImageDocument implements console.Images.
func (r *Room) ImageDocument(ctx context.Context, digest, format string) (console.ImageDocument, error) {
	formats := report.Formats()
	i := slices.IndexFunc(formats, func(f report.Format) bool { return f.Name == format })
	if i < 0 || format == "template" {
		return console.ImageDocument{}, fmt.Errorf("format %q: %w", format, console.ErrRefused)
	}
	rep, err := r.stored(ctx, digest)
	if err != nil {
		return console.ImageDocument{}, err
	}
	var out bytes.Buffer
	if err := report.Write(&out, format, rep, report.Options{All: true}); err != nil {
		return console.ImageDocument{}, err
	}
	name := digest
	if rec, ok := r.record(digest); ok {
		name = labelOf(rec)
	}
	return console.ImageDocument{Name: name + formats[i].Extension, ContentType: contentType(formats[i].Extension), Data: out.Bytes()}, nil
}

func contentType(extension string) string {
	switch {
	case strings.HasSuffix(extension, ".json"), extension == ".sarif":
		return "application/json"
	case extension == ".html":
		return "text/html; charset=utf-8"
	case extension == ".xml":
		return "application/xml"
	}
	return "text/plain; charset=utf-8"
}

func stateOf(s scan.State) string { return string(cmp.Or(s, scan.Open)) }

// decision says in one line who settled something and why.
func decision(d *scan.Decision) string {
	if d == nil {
		return ""
	}
	out := d.By
	if d.Owner != "" {
		out += " (" + d.Owner + ")"
	}
	if d.Reason != "" {
		out += ": " + d.Reason
	}
	return out
}

func text(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
