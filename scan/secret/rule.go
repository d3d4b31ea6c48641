package secret

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"sync"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

// rule is a detector made ready.
type rule struct {
	content.Detector
	severity scan.Severity
	// expr compiles the pattern when it is first needed: most runs need few.
	expr  func() (*regexp.Regexp, error)
	valid validator
	files globs
}

const defaultReach = 300

func newRule(d content.Detector) (rule, error) {
	r := rule{Detector: d, files: newGlobs(d.Files)}
	fail := func(why error) (rule, error) { return rule{}, fmt.Errorf("prepare detector %s: %w", d.ID, why) }
	var ok bool
	if r.severity, ok = scan.ParseSeverity(d.Severity); !ok {
		return fail(fmt.Errorf("severity %q", d.Severity))
	}
	if r.valid, ok = validators[d.Validator]; !ok {
		return fail(fmt.Errorf("validator %q", d.Validator))
	}
	if d.Lines == (len(d.Keywords) > 0) {
		return fail(errors.New("it needs either keywords or lines"))
	}
	if d.Lines && len(d.Files) == 0 {
		return fail(errors.New("lines need files"))
	}
	if r.Reach == 0 {
		r.Reach = defaultReach
	}
	pattern := "(?:" + d.Pattern + ")"
	switch {
	case d.Assigned:
		pattern = "^" + pattern + "$"
	case d.Lines:
		pattern = "(?m)" + pattern
	case d.Back == 0:
		pattern = "^" + pattern
	}
	r.expr = sync.OnceValues(func() (*regexp.Regexp, error) { return regexp.Compile(pattern) })
	return r, nil
}

// hit is a secret in a text, by its place.
type hit struct {
	rule       int
	start, end int
}

// at matches the rule where one of its keywords begins. v is the value of the
// name with the keyword, for assigned rules. tried says whether the expression
// had to run.
func (r *rule) at(t *text, keyword int, v *value) (h hit, ok, tried bool) {
	if r.Assigned {
		if r.Generic > 0 && (!names(v.suffix) || t.source && !v.quoted) {
			return hit{}, false, false
		}
		got := t.data[v.start:v.end]
		if len(got) > max(r.Reach, defaultReach) && !r.Config {
			return hit{}, false, false
		}
		h = hit{start: v.start, end: v.end}
		return h, r.matches(got) && r.accept(t, h, keyword), true
	}
	from, to := max(0, keyword-r.Back), min(len(t.data), keyword+r.Reach)
	window := t.data[from:to]
	if r.Contains != "" && !bytes.Contains(window, []byte(r.Contains)) {
		return hit{}, false, false
	}
	expr, err := r.expr()
	if err != nil {
		return hit{}, false, false // a test compiles them all
	}
	m := expr.FindSubmatchIndex(window)
	if m == nil || from+m[0] > keyword || from+m[1] <= keyword {
		return hit{}, false, true
	}
	h = span(m, from)
	return h, r.accept(t, h, from+m[0]), true
}

func (r *rule) matches(got []byte) bool {
	expr, err := r.expr()
	return err == nil && expr.Match(got)
}

// span gives the first group that took part in a match, or all of it.
func span(m []int, from int) hit {
	for g := 2; g+1 < len(m); g += 2 {
		if m[g] >= 0 && m[g+1] > m[g] {
			return hit{start: from + m[g], end: from + m[g+1]}
		}
	}
	return hit{start: from + m[0], end: from + m[1]}
}

// accept applies everything that is not the pattern.
func (r *rule) accept(t *text, h hit, matchStart int) bool {
	got := t.data[h.start:h.end]
	if !r.Inside && !r.Assigned {
		if h.start > 0 && isWord(t.data[h.start-1]) || h.end < len(t.data) && isWord(t.data[h.end]) {
			return false
		}
	}
	if r.Entropy > 0 && entropy(got) < r.Entropy {
		return false
	}
	if !r.Placeholders && t.words.placeholder(got, r.Generic > 0) {
		return false
	}
	return r.valid == nil || r.valid(candidate{text: t.data, start: h.start, end: h.end, match: matchStart, words: t.words})
}

// entropy is Shannon's, in bits per byte.
func entropy(b []byte) float64 {
	var counts [256]int
	for _, c := range b {
		counts[c]++
	}
	e, n := 0.0, float64(len(b))
	for _, c := range counts {
		if c > 0 {
			p := float64(c) / n
			e -= p * math.Log2(p)
		}
	}
	return e
}
