package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/workload"
)

// rule is one entry of an ignore file or of an exception; exactly one of the
// pointers is set.
type rule struct {
	by, owner, reason string
	expires           time.Time
	// local rules stand in the ignore file of what is scanned: one that does
	// nothing is worth a word, while an exception may be for other images.
	local bool

	vuln    *v1alpha1.VulnerabilityRule
	secret  *v1alpha1.SecretRule
	check   *v1alpha1.CheckRule
	license *v1alpha1.LicenseRule

	used, expired bool
	late          bool   // it would have matched were it not expired
	fixed         string // it would have matched were there not this fix
}

// rulebook finds the rule for a thing. Vulnerabilities are found by name, since
// there are many of both.
type rulebook struct {
	rules []*rule
	byID  map[string][]*rule // by upper-case id; "*" for rules about any
}

func newRulebook(in Inputs, img *scan.Image, now time.Time) *rulebook {
	b := &rulebook{byID: map[string][]*rule{}}
	if in.Ignore != nil {
		for _, r := range in.Ignore.rules {
			b.add(&r, now)
		}
	}
	for i := range in.Exceptions {
		e := &in.Exceptions[i]
		if !e.Spec.Rules.ForImages() || !matchesImage(e.Spec.Images, img) {
			continue
		}
		for _, r := range rulesOf(e) {
			b.add(r, now)
		}
	}
	return b
}

func (b *rulebook) add(r *rule, now time.Time) {
	r.expired = !now.Before(r.expires)
	b.rules = append(b.rules, r)
	if r.vuln != nil {
		id := strings.ToUpper(r.vuln.ID)
		b.byID[id] = append(b.byID[id], r)
	}
}

// rulesOf gives an exception's rules about images.
func rulesOf(e *v1alpha1.Exception) []*rule {
	name := e.Name
	if e.Namespace != "" {
		name = e.Namespace + "/" + name
	}
	base := rule{by: v1alpha1.KindException + "/" + name, owner: e.Spec.Owner, reason: e.Spec.Reason, expires: e.Spec.ExpiresAt.Time}
	with := func(own string) *rule {
		r := base
		if own != "" {
			r.reason = base.reason + ": " + own
		}
		return &r
	}
	var out []*rule
	for i := range e.Spec.Rules.Vulnerabilities {
		v := &e.Spec.Rules.Vulnerabilities[i]
		r := with(v.Reason)
		r.vuln = v
		out = append(out, r)
	}
	for i := range e.Spec.Rules.Secrets {
		v := &e.Spec.Rules.Secrets[i]
		r := with(v.Reason)
		r.secret = v
		out = append(out, r)
	}
	for i := range e.Spec.Rules.Checks {
		v := &e.Spec.Rules.Checks[i]
		r := with(v.Reason)
		r.check = v
		out = append(out, r)
	}
	for i := range e.Spec.Rules.Licenses {
		v := &e.Spec.Rules.Licenses[i]
		r := with(v.Reason)
		r.license = v
		out = append(out, r)
	}
	return out
}

// try notes that a rule matches; it counts unless it is past its date.
func (r *rule) try() *scan.Decision {
	if r.expired {
		r.late = true
		return nil
	}
	r.used = true
	return &scan.Decision{By: r.by, Owner: r.owner, Reason: r.reason, Expires: r.expires}
}

func (b *rulebook) vulnerability(f *scan.Finding, p *scan.Package) *scan.Decision {
	var first *scan.Decision
	seen := map[*rule]bool{}
	for _, id := range append([]string{"*", f.ID}, f.Aliases...) {
		for _, r := range b.byID[strings.ToUpper(id)] {
			if seen[r] || !glob(r.vuln.Package, p.Name) && !(p.Source != "" && glob(r.vuln.Package, p.Source)) || !glob(r.vuln.Path, p.Path) {
				continue
			}
			seen[r] = true
			if r.vuln.UntilFixed && f.Fix != "" {
				r.fixed = f.Fix
				continue
			}
			if d := r.try(); first == nil {
				first = d
			}
		}
	}
	return first
}

func (b *rulebook) secret(s *scan.Secret) *scan.Decision {
	var first *scan.Decision
	for _, r := range b.rules {
		if k := r.secret; k != nil && (k.Detector == "" || k.Detector == s.Detector) && glob(k.Path, s.Where) &&
			(k.Fingerprint == "" || k.Fingerprint == s.Fingerprint) {
			if d := r.try(); first == nil {
				first = d
			}
		}
	}
	return first
}

func (b *rulebook) check(c *scan.Check) *scan.Decision {
	var first *scan.Decision
	for _, r := range b.rules {
		if r.check != nil && strings.EqualFold(r.check.ID, c.ID) {
			if d := r.try(); first == nil {
				first = d
			}
		}
	}
	return first
}

// licenses takes the packages that a rule excepts out of denied licences and
// lists them beside, so that both stay to be seen.
func (b *rulebook) licenses(list []scan.License, pkgs []scan.Package) []scan.License {
	var out []scan.License
	for _, l := range list {
		if l.Verdict != denied {
			out = append(out, l)
			continue
		}
		var left []int
		var decisions []*scan.Decision // in order of the rules
		excepted := map[scan.Decision][]int{}
		for _, i := range l.Packages {
			d := b.license(l.License, i, pkgs)
			if d == nil {
				left = append(left, i)
				continue
			}
			if excepted[*d] == nil {
				decisions = append(decisions, d)
			}
			excepted[*d] = append(excepted[*d], i)
		}
		if len(decisions) == 0 {
			out = append(out, l)
			continue
		}
		if len(left) > 0 {
			l.Packages = left
			out = append(out, l)
		}
		for _, d := range decisions {
			out = append(out, scan.License{License: l.License, Packages: excepted[*d], Verdict: Excepted, Decision: d})
		}
	}
	if list != nil && out == nil {
		return []scan.License{}
	}
	return out
}

func (b *rulebook) license(name string, i int, pkgs []scan.Package) *scan.Decision {
	var first *scan.Decision
	for _, r := range b.rules {
		if r.license != nil && strings.EqualFold(r.license.License, name) &&
			i >= 0 && i < len(pkgs) && glob(r.license.Package, pkgs[i].Name) {
			if d := r.try(); first == nil {
				first = d
			}
		}
	}
	return first
}

// gaps tells of rules that do nothing. Rules about what was not looked for are
// left alone.
func (b *rulebook) gaps(r *scan.Report) []scan.Gap {
	var out []scan.Gap
	for _, u := range b.rules {
		g := scan.Gap{Where: u.by, Minor: true}
		switch {
		case u.expired && (u.late || u.local):
			g.What = u.what() + ": expired on " + u.expires.UTC().Format(time.RFC3339)
			g.Do = "remove it, or have it renewed by " + u.owner
			if u.late {
				g.Means = "what it settled counts again"
			}
		case u.expired, u.used:
			continue
		case u.fixed != "":
			g.What = fmt.Sprintf("%s: counts no more, since it is fixed in %s", u.what(), u.fixed)
			g.Means, g.Do = "what it settled counts again", "upgrade, and remove the rule"
		case !u.local || !u.looked(r):
			continue
		default:
			g.What, g.Do = u.what()+": matches nothing", "remove it, or correct it"
		}
		out = append(out, g)
	}
	return out
}

// looked reports whether the report has looked for what the rule is about.
func (r *rule) looked(report *scan.Report) bool {
	switch {
	case r.vuln != nil:
		return report.Database.Digest != ""
	case r.secret != nil:
		return len(report.Secrets) > 0
	case r.check != nil:
		return len(report.Checks) > 0
	}
	return len(report.Licenses) > 0
}

// what names the rule's object.
func (r *rule) what() string {
	switch {
	case r.vuln != nil:
		return strings.Join(slices.DeleteFunc([]string{r.vuln.ID, r.vuln.Package, r.vuln.Path}, func(s string) bool { return s == "" }), " ")
	case r.secret != nil:
		return "secret " + strings.Join(slices.DeleteFunc([]string{r.secret.Detector, r.secret.Path, r.secret.Fingerprint}, func(s string) bool { return s == "" }), " ")
	case r.check != nil:
		return "check " + r.check.ID
	case r.license.Package != "":
		return "licence " + r.license.License + " of " + r.license.Package
	}
	return "licence " + r.license.License
}

// glob matches a pattern that may be absent, which means any.
func glob(pattern, s string) bool { return pattern == "" || workload.MatchGlob(pattern, s) }

// matchesImage matches patterns of an exception against every name an image
// has. Digests are compared as they are: "*" means names.
func matchesImage(patterns []string, img *scan.Image) bool {
	for _, d := range []string{img.Digest, img.ConfigID} {
		if d != "" && slices.Contains(patterns, d) {
			return true
		}
	}
	for _, n := range append([]string{withoutScheme(img.Name)}, img.Tags...) {
		if n == "" {
			continue
		}
		n = strings.TrimPrefix(n, "index.")
		forms := []string{n}
		if bare := withoutTag(n); img.Digest != "" && bare != n {
			forms = append(forms, bare+"@"+img.Digest)
		}
		for _, f := range forms {
			s := workload.Selector{Images: patterns}
			if len(patterns) > 0 && s.Matches(&workload.Container{Image: f}) {
				return true
			}
		}
	}
	return false
}

// withoutScheme takes "registry:" and the like off a reference.
func withoutScheme(ref string) string {
	for _, s := range []string{"registry:", "docker:", "containerd:", "container:", "dir:", "tar:", "oci:", "sbom:"} {
		if rest, ok := strings.CutPrefix(ref, s); ok {
			return rest
		}
	}
	return ref
}

// withoutTag takes tag and digest off a reference.
func withoutTag(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i]
	}
	return ref
}
