// Package ranges turns version requirements that some advisories keep as text
// (npm's "<1.2.3 || >=2.0.0 <2.0.4", RubyGems' "~> 2.3.1") into intervals.
//
// It does not order versions (see version). The one idea: a requirement is a
// set of intervals between cuts, and a cut lies just before or just after a
// version; union, intersection and complement are then the same few lines for
// every ecosystem.
package ranges

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// ErrSyntax is what a text gets that is no requirement, matched with errors.Is.
var ErrSyntax = errors.New("not a version requirement")

// maxTerms bounds the alternatives and comparators of one text.
const maxTerms = 256

// cut is a point in the order of versions. end is -1 below all versions, +1
// above all, 0 at version: before it, or after it when after is set.
type cut struct {
	end     int
	version string
	after   bool
	fix     bool // as an upper bound: version is known not to be affected
}

// interval holds what lies between two cuts.
type interval struct{ lo, hi cut }

var (
	bottom = cut{end: -1}
	top    = cut{end: +1}
)

func before(v string) cut { return cut{version: v} }
func after(v string) cut  { return cut{version: v, after: true} }

// order compares cuts in one ecosystem and remembers the first failure, so
// that it can be used for sorting.
type order struct {
	ecosystem string
	err       error
}

func (o *order) compare(a, b cut) int {
	if a.end != b.end {
		return a.end - b.end
	}
	if a.end != 0 {
		return 0
	}
	c, err := version.Compare(o.ecosystem, a.version, b.version)
	if err != nil && o.err == nil {
		o.err = err
	}
	switch {
	case c != 0 || a.after == b.after:
		return c
	case a.after:
		return 1
	}
	return -1
}

// intersect gives what is in both intervals; false when that is nothing.
func (o *order) intersect(a, b interval) (interval, bool) {
	r := interval{a.lo, a.hi}
	if o.compare(b.lo, r.lo) > 0 {
		r.lo = b.lo
	}
	if o.compare(b.hi, r.hi) < 0 {
		r.hi = b.hi
	}
	return r, o.compare(r.lo, r.hi) < 0
}

// union sorts intervals and joins those that touch.
func (o *order) union(set []interval) []interval {
	set = slices.Clone(set)
	slices.SortFunc(set, func(a, b interval) int {
		if c := o.compare(a.lo, b.lo); c != 0 {
			return c
		}
		return o.compare(a.hi, b.hi)
	})
	var out []interval
	for _, i := range set {
		if n := len(out); n > 0 && o.compare(i.lo, out[n-1].hi) <= 0 {
			if o.compare(i.hi, out[n-1].hi) > 0 {
				out[n-1].hi = i.hi
			}
			continue
		}
		out = append(out, i)
	}
	return out
}

// complement gives what a joined set leaves out. Its upper bounds are where
// the set begins: versions known to be good when the set is one of good ones.
func (o *order) complement(set []interval) []interval {
	var out []interval
	lo := bottom
	for _, i := range set {
		if o.compare(lo, i.lo) < 0 {
			hi := i.lo
			hi.fix = true
			out = append(out, interval{lo, hi})
		}
		lo = i.hi
	}
	if o.compare(lo, top) < 0 {
		out = append(out, interval{lo, top})
	}
	return out
}

// subtract takes the good versions away from the bad ones.
func (o *order) subtract(bad, good []interval) []interval {
	var out []interval
	for _, b := range o.union(bad) {
		for _, g := range o.complement(o.union(good)) {
			if i, ok := o.intersect(b, g); ok {
				out = append(out, i)
			}
		}
	}
	return out
}

// ranges writes intervals the way advisories do. next gives the lowest version
// after another.
func (o *order) ranges(set []interval, next func(string) string) ([]vuln.Range, error) {
	out := make([]vuln.Range, 0, len(set))
	for _, i := range set {
		var r vuln.Range
		switch {
		case i.lo.end != 0:
		case i.lo.after:
			r.Introduced = next(i.lo.version)
		default:
			r.Introduced = i.lo.version
		}
		switch {
		case i.hi.end != 0:
		case i.hi.after:
			r.LastAffected = i.hi.version
		case i.hi.fix:
			r.Fixed = i.hi.version
		default:
			r.Limit = i.hi.version
		}
		out = append(out, r)
	}
	if o.err != nil {
		return nil, fmt.Errorf("order versions of a requirement: %w", o.err)
	}
	return out, nil
}

func syntax(text, why string) error {
	if len(text) > 80 {
		text = text[:80] + "..."
	}
	return fmt.Errorf("parse requirement %q: %s: %w", text, why, ErrSyntax)
}
