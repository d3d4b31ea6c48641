// Package view holds what every way of printing a report shares: what counts,
// what belongs together, and how text from outside is made harmless.
//
// It prints nothing. The one idea: outputs differ in form only, so whatever
// they must agree on (which findings are open, how a location is written, what
// the result is called) is worked out here, once.
package view

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gabion-dev/gabion/scan"
)

// Counts reports whether a finding, secret or check of this state still counts.
func Counts(s scan.State) bool { return s == scan.Open || s == scan.Unsupported || s == "" }

// Result is the outcome in capitals: "INCOMPLETE" when something could not be
// examined, "FAILED" when a rule is violated, both joined by " and ", or
// "PASSED".
func Result(r *scan.Report) string {
	var words []string
	if len(r.Violations) > 0 {
		words = append(words, "FAILED")
	}
	if r.Incomplete() {
		words = append(words, "INCOMPLETE")
	}
	if len(words) == 0 {
		return "PASSED"
	}
	return strings.Join(words, " and ")
}

// Totals are the numbers of a report that people ask for first.
type Totals struct {
	Open      int // findings that count
	By        map[scan.Severity]int
	Exploited int // of the open ones: in the KEV catalogue
	Fixable   int // of the open ones: a fixed version exists
	Settled   int // findings, secrets and checks that a decision settled
	Secrets   int // open
	Checks    int // failed and open
	Unchecked int // checks that could not be decided
	Denied    int // licences
	Gaps      int // not minor
}

// Total counts.
func Total(r *scan.Report) Totals {
	t := Totals{By: map[scan.Severity]int{}}
	for i := range r.Findings {
		f := &r.Findings[i]
		if !Counts(f.State) {
			t.Settled++
			continue
		}
		t.Open++
		t.By[f.Severity]++
		if f.KEV != nil {
			t.Exploited++
		}
		if f.Fix != "" {
			t.Fixable++
		}
	}
	for i := range r.Secrets {
		if Counts(r.Secrets[i].State) {
			t.Secrets++
		} else {
			t.Settled++
		}
	}
	for i := range r.Checks {
		switch c := &r.Checks[i]; {
		case c.Status == "pass":
		case !Counts(c.State):
			t.Settled++
		case c.Status == "fail":
			t.Checks++
		default:
			t.Unchecked++
		}
	}
	for i := range r.Licenses {
		if r.Licenses[i].Verdict == "denied" {
			t.Denied++
		}
	}
	for i := range r.Gaps {
		if !r.Gaps[i].Minor {
			t.Gaps++
		}
	}
	return t
}

// Reason is why some checks could not be decided.
type Reason struct {
	Why    string
	Checks int
}

// Undecided groups the checks that could not be decided by why, the most
// common reason first: a directory has no configuration, and twenty lines of
// that would hide the rest.
func Undecided(r *scan.Report) []Reason {
	var out []Reason
	for i := range r.Checks {
		c := &r.Checks[i]
		if c.Status == "pass" || c.Status == "fail" || !Counts(c.State) {
			continue
		}
		why := cmp.Or(strings.Join(c.Evidence, ", "), "no reason given")
		at := slices.IndexFunc(out, func(u Reason) bool { return u.Why == why })
		if at < 0 {
			at = len(out)
			out = append(out, Reason{Why: why})
		}
		out[at].Checks++
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return cmp.Compare(b.Checks, a.Checks) })
	return out
}

// Severities lists the counts, worst first: "1 critical, 2 high".
func (t Totals) Severities() string {
	var out []string
	for _, s := range Order() {
		if n := t.By[s]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(out, ", ")
}

// Order is every severity, worst first.
func Order() []scan.Severity {
	return []scan.Severity{scan.Critical, scan.High, scan.Medium, scan.Low, scan.Negligible, scan.Unknown}
}

// Group is the findings of one piece of software in one place: the binary
// packages of one source package are one group, and a vulnerability that is in
// several of them is in it once.
type Group struct {
	Name      string   // of the source package, where there is one
	Packages  []string // the packages, when they are not just Name
	Version   string
	Fix       string // the highest fix named, "" when there is none
	Ecosystem string
	Path      string
	Layer     int
	Base      bool
	Findings  []*scan.Finding
}

// Groups puts findings together in the order of the report (most pressing
// first); keep chooses which.
func Groups(r *scan.Report, keep func(*scan.Finding) bool) []Group {
	var out []Group
	index := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		p := Package(r, f)
		if !keep(f) {
			continue
		}
		name, version := cmp.Or(p.Source, p.Name), cmp.Or(p.SourceVersion, p.Version)
		key := strings.Join([]string{p.Ecosystem, name, version, p.Path, f.Fix, strconv.Itoa(p.Layer)}, "\x00")
		at, ok := index[key]
		if !ok {
			at = len(out)
			index[key] = at
			out = append(out, Group{Name: name, Version: version, Fix: f.Fix, Ecosystem: p.Ecosystem, Path: p.Path, Layer: p.Layer, Base: f.Base})
		}
		g := &out[at]
		if !slices.Contains(g.Packages, p.Name) {
			g.Packages = append(g.Packages, p.Name)
		}
		if !slices.ContainsFunc(g.Findings, func(o *scan.Finding) bool { return o.ID == f.ID && o.State == f.State }) {
			g.Findings = append(g.Findings, f)
		}
	}
	for i := range out {
		g := &out[i]
		slices.Sort(g.Packages)
		if len(g.Packages) == 1 && g.Packages[0] == g.Name {
			g.Packages = nil
		}
	}
	return out
}

// Package is that of a finding; an index out of range gives an empty one that
// says so by its name.
func Package(r *scan.Report, f *scan.Finding) *scan.Package {
	if f.Package < 0 || f.Package >= len(r.Packages) {
		return &scan.Package{Name: "(no package)", Layer: -1}
	}
	return &r.Packages[f.Package]
}

// Layer names a layer for people: its number from 1, "of the base image" where
// that is known, and what made it; "" for -1.
func Layer(r *scan.Report, i int) string {
	if i < 0 || i >= len(r.Image.Layers) {
		return ""
	}
	l := &r.Image.Layers[i]
	s := "layer " + strconv.Itoa(i+1)
	if l.Base {
		s += " of the base image"
	}
	if l.Command != "" {
		s += ": " + Text(l.Command, 60)
	}
	return s
}

// Identity is a hash that stays the same for the same thing in the next scan.
func Identity(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Date is the day of t, or "unknown".
func Date(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.DateOnly)
}

// Stale is when a database is called old.
const Stale = 14 * 24 * time.Hour

// Age is how old data are at now: "10 days old"; "" when either is not known.
func Age(data, now time.Time) string {
	if data.IsZero() || now.IsZero() || now.Before(data) {
		return ""
	}
	switch days := int(now.Sub(data).Hours() / 24); days {
	case 0:
		return "of today"
	case 1:
		return "1 day old"
	default:
		return strconv.Itoa(days) + " days old"
	}
}

// Text makes text from outside fit for one line that people read: control
// characters, direction marks and line breaks become U+FFFD, what build
// systems would take for commands is taken apart, and more than limit
// characters are cut off with "…". A limit of 0 cuts nothing.
func Text(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	s = strings.ReplaceAll(s, "##[", "# #[") // GitHub, Azure: anywhere in a line
	s = splitCommands(s)
	if r := []rune(s); limit > 0 && len(r) > limit {
		s = string(r[:limit-1]) + "…"
	}
	return s
}

// splitCommands takes "::" apart where GitHub could take it for the beginning
// of a command: wherever a line might begin, not in names like Foo::Bar.
func splitCommands(s string) string {
	for from := 0; ; {
		i := strings.Index(s[from:], "::")
		if i < 0 {
			return s
		}
		i += from
		if before, _ := utf8.DecodeLastRuneInString(s[:i]); i == 0 || (!unicode.IsLetter(before) && !unicode.IsDigit(before)) {
			s = s[:i] + ": :" + s[i+2:]
		}
		from = i + 2
	}
}

// Plural is "1 thing" or "2 things".
func Plural(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return Thousands(n) + " " + strings.TrimSuffix(thing, "y") + "ies"
	}
	return Thousands(n) + " " + thing + "s"
}

// Thousands writes a number with commas: "37,020".
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Link is url when it is one that may be followed, else "".
func Link(url string) string {
	if strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://") {
		return url
	}
	return ""
}

// Settled says who decided: "by WHO (owner X, until DATE): reason".
func Settled(state scan.State, d *scan.Decision) string {
	s := strings.ReplaceAll(string(state), "_", " ")
	if d == nil {
		return s
	}
	s += " by " + d.By
	var more []string
	if d.Owner != "" {
		more = append(more, "owner "+d.Owner)
	}
	if !d.Expires.IsZero() {
		more = append(more, "until "+Date(d.Expires))
	}
	if len(more) > 0 {
		s += " (" + strings.Join(more, ", ") + ")"
	}
	return s + ": " + d.Reason
}

// Where is a secret's place: "/app/.env:3".
func Where(s *scan.Secret) string {
	if s.Line > 0 {
		return s.Where + ":" + strconv.Itoa(s.Line)
	}
	return s.Where
}

// Score is the number code hosts sort by: the CVSS base score, or one that
// stands for the severity.
func Score(f *scan.Finding) float64 {
	if f.Score > 0 {
		return f.Score
	}
	return Nominal(f.Severity)
}

// Nominal stands in for a severity where a number is wanted.
func Nominal(s scan.Severity) float64 {
	switch s {
	case scan.Critical:
		return 9.5
	case scan.High:
		return 8
	case scan.Medium:
		return 5.5
	case scan.Low:
		return 2.5
	case scan.Negligible:
		return 0.5
	}
	return 0
}
