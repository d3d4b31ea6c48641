package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide/vex"
)

// Inputs are everything that decisions are made from; every part may be absent.
type Inputs struct {
	Ignore     *IgnoreFile
	Exceptions []v1alpha1.Exception
	VEX        []vex.Document
	Use        facts.ImageUse
}

// Verdicts of scan.License that matter here; see scan/licence.
const (
	denied   = "denied"
	Excepted = "excepted" // denied, and waived by the Decision beside it
)

// Apply marks what the base image (r.Base) brought, settles findings, secrets,
// checks and licences, and gives every finding its priority with reasons. Rules
// that are past their date or match nothing become Minor gaps. When several
// settle the same finding, the first of VEX documents, ignore file and
// exceptions is named. Hand it a report as the matcher made it, once; it is
// sorted afterwards.
func Apply(r *scan.Report, in Inputs, now time.Time) {
	markBase(r)
	use := lookUp(r.Image, in.Use)
	book := newRulebook(in, &r.Image, now)
	statements := vex.NewIndex(in.VEX, &r.Image, r.Packages)
	unrated := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		p := packageOf(r, f)
		if f.State == "" {
			f.State = scan.Open
		}
		use.mark(f, p)
		said := statements.Find(f)
		settle(&f.State, &f.Decision, said.Decision(), said.State())
		rule := book.vulnerability(f, p)
		settle(&f.State, &f.Decision, rule, scan.Ignored)
		prioritize(f, r.Database.Data, r.Base != nil && r.Base.Layers > 0, use.ports, said.Remark())
		if counts(f.State) && f.Severity == scan.Unknown {
			unrated[f.ID] = true
		}
	}
	for i := range r.Secrets {
		s := &r.Secrets[i]
		if s.State == "" {
			s.State = scan.Open
		}
		settle(&s.State, &s.Decision, book.secret(s), scan.Ignored)
	}
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.State == "" {
			c.State = scan.Open
		}
		if c.Status != "pass" {
			settle(&c.State, &c.Decision, book.check(c), scan.Ignored)
		}
	}
	r.Licenses = book.licenses(r.Licenses, r.Packages)
	r.Gaps = append(r.Gaps, book.gaps(r)...)
	r.Gaps = append(r.Gaps, statements.Gaps()...)
	if len(unrated) > 0 {
		r.Gaps = append(r.Gaps, scan.Gap{
			Where: "severity", What: fmt.Sprintf("nobody has rated %s", several(len(unrated), "vulnerability", "vulnerabilities")),
			Means: "a threshold of severity does not see " + some(unrated),
			Do:    "add the word unknown to --fail-on to fail for them", Minor: true,
		})
	}
	r.Sort()
}

// settle records the first decision about something open.
func settle(state *scan.State, decision **scan.Decision, d *scan.Decision, to scan.State) {
	if d == nil || *decision != nil || to == "" {
		return
	}
	*state, *decision = to, d
}

// counts reports whether a state can fail a scan.
func counts(s scan.State) bool { return s == scan.Open || s == scan.Unsupported || s == "" }

// markBase marks the layers of the base image and what they brought.
func markBase(r *scan.Report) {
	n := 0
	if r.Base != nil {
		n = r.Base.Layers
	}
	r.Image.Layers = slices.Clone(r.Image.Layers)
	for i := range r.Image.Layers {
		r.Image.Layers[i].Base = i < n
	}
	for i := range r.Findings {
		p := packageOf(r, &r.Findings[i])
		r.Findings[i].Base = p.Layer >= 0 && p.Layer < n
	}
}

// packageOf gives a finding's package; one that refers to none gets an empty
// one, which no rule matches by package.
func packageOf(r *scan.Report, f *scan.Finding) *scan.Package {
	if f.Package < 0 || f.Package >= len(r.Packages) {
		return &scan.Package{Layer: -1}
	}
	return &r.Packages[f.Package]
}

func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// some lists at most five of a set, sorted.
func some(set map[string]bool) string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return firstOf(list, 5)
}

// firstOf joins at most n of a list and says how many are left out.
func firstOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}
