package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
)

// Thresholds say what a scan fails for. The zero value fails for nothing.
type Thresholds struct {
	// FailOn is the lowest severity that fails; Unknown: severity alone never does.
	FailOn scan.Severity
	// Unknown: findings of unknown severity fail too. Without it Apply names them.
	Unknown bool
	// KEV: findings with known exploitation fail whatever their severity.
	KEV bool
	// MinPriority is the lowest priority that fails; 0: priority never does.
	MinPriority int
	// FixableOnly and NewOnly let only findings count that have a fix, and that
	// the base image did not bring. When the base is not known everything is new.
	FixableOnly, NewOnly bool
	// Secrets, Checks and Licenses fail for secrets, failed checks and denied
	// licences that nothing settles. NewOnly holds for secrets in layers too.
	Secrets, Checks, Licenses bool
	// Unsigned fails when there is no valid signature.
	Unsigned bool
}

// ParseThresholds reads the words of --fail-on, each of which may be a list
// with commas: a severity (that and worse), kev, unknown, priority:N, fixable,
// new, secrets, checks, licenses, unsigned. Of several severities the lowest
// counts. fixable or new without a word that they narrow: every severity.
func ParseThresholds(words ...string) (Thresholds, error) {
	var t Thresholds
	for _, list := range words {
		for w := range strings.SplitSeq(list, ",") {
			if w = strings.ToLower(strings.TrimSpace(w)); w == "" {
				return Thresholds{}, fmt.Errorf("read --fail-on %.80q: an empty word; use %s or priority:N", list, strings.Join(v1alpha1.FailOnWords(), ", "))
			}
			if err := t.set(w); err != nil {
				return Thresholds{}, fmt.Errorf("read --fail-on %.80q: %w", list, err)
			}
		}
	}
	if (t.FixableOnly || t.NewOnly) && t.FailOn == scan.Unknown && !t.Unknown && !t.KEV && t.MinPriority == 0 {
		t.FailOn, t.Unknown = scan.Negligible, true
	}
	return t, nil
}

func (t *Thresholds) set(w string) error {
	if n, ok := strings.CutPrefix(w, v1alpha1.PriorityWord); ok {
		p, err := strconv.Atoi(n)
		if err != nil || p < 1 || p > 100 {
			return fmt.Errorf("%.80q is not a priority from 1 to 100: write priority:70", n)
		}
		if t.MinPriority == 0 || p < t.MinPriority {
			t.MinPriority = p
		}
		return nil
	}
	switch w {
	case "unknown":
		t.Unknown = true
	case "kev":
		t.KEV = true
	case "fixable":
		t.FixableOnly = true
	case "new":
		t.NewOnly = true
	case "secrets":
		t.Secrets = true
	case "checks":
		t.Checks = true
	case "licenses":
		t.Licenses = true
	case "unsigned":
		t.Unsigned = true
	default:
		s, ok := scan.ParseSeverity(w)
		if !ok {
			hint := "use " + strings.Join(v1alpha1.FailOnWords(), ", ") + " or priority:N"
			if near := v1alpha1.Nearest(w, v1alpha1.FailOnWords()); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return fmt.Errorf("%.80q is not a word for it: %s", w, hint)
		}
		if t.FailOn == scan.Unknown || s < t.FailOn {
			t.FailOn = s
		}
	}
	return nil
}

// Judge gives the reasons why a report fails, sorted, each once.
func Judge(r *scan.Report, t Thresholds) []scan.Violation {
	var out []scan.Violation
	add := func(rule, format string, args ...any) {
		out = append(out, scan.Violation{Rule: rule, Object: fmt.Sprintf(format, args...)})
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if rule := t.finding(f); rule != "" {
			p := packageOf(r, f)
			add(rule, "%s in %s %s", f.ID, p.Name, p.Version)
		}
	}
	base := 0
	if r.Base != nil {
		base = r.Base.Layers
	}
	for i := range r.Secrets {
		s := &r.Secrets[i]
		if t.Secrets && counts(s.State) && (!t.NewOnly || s.Layer < 0 || s.Layer >= base) {
			where := s.Where
			if s.Line > 0 {
				where += ":" + strconv.Itoa(s.Line)
			}
			add("secrets", "%s in %s", s.Detector, where)
		}
	}
	for i := range r.Checks {
		c := &r.Checks[i]
		if t.Checks && counts(c.State) && c.Status == "fail" {
			add("checks", "%s %s", c.ID, c.Title)
		}
	}
	for _, l := range r.Licenses {
		if !t.Licenses || l.Verdict != denied {
			continue
		}
		for _, i := range l.Packages {
			if i >= 0 && i < len(r.Packages) {
				add("licence "+l.License, "%s %s", r.Packages[i].Name, r.Packages[i].Version)
			}
		}
	}
	if t.Unsigned && !slices.ContainsFunc(r.Signatures, func(s scan.Signature) bool { return s.Valid }) {
		why := "no signature was found"
		if len(r.Signatures) > 0 {
			why = fmt.Sprintf("none of %s is valid", several(len(r.Signatures), "signature", "signatures"))
		}
		add("unsigned", "%s: %s", r.Image.Name, why)
	}
	slices.SortFunc(out, func(a, b scan.Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Object, b.Object))
	})
	return slices.Compact(out)
}

// finding gives the rule that a finding breaks, "" for none.
func (t *Thresholds) finding(f *scan.Finding) string {
	switch {
	case !counts(f.State), t.FixableOnly && f.Fix == "", t.NewOnly && f.Base:
		return ""
	case t.FailOn > scan.Unknown && f.Severity >= t.FailOn:
		return "--fail-on " + t.FailOn.String()
	case t.KEV && f.KEV != nil:
		return "--fail-on kev"
	case t.Unknown && f.Severity == scan.Unknown:
		return "--fail-on unknown"
	case t.MinPriority > 0 && f.Priority >= t.MinPriority:
		return "--fail-on " + v1alpha1.PriorityWord + strconv.Itoa(t.MinPriority)
	}
	return ""
}
