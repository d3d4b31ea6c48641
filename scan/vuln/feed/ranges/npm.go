package ranges

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln"
)

// NPM turns node-semver requirements into the ranges of affected versions:
// those that vulnerable names without those that patched names (which may be
// empty). Pre-releases are ordered like any other version, so "<1.2.3" holds
// 1.2.3-rc.1: for an advisory that is the careful reading. An upper bound of
// 99.999 or more, which one data set writes for "no fix", is none.
func NPM(vulnerable, patched string) ([]vuln.Range, error) {
	o := &order{ecosystem: "npm"}
	bad, err := npmSet(o, vulnerable)
	if err != nil {
		return nil, err
	}
	var good []interval
	if strings.TrimSpace(patched) != "" {
		if good, err = npmSet(o, patched); err != nil {
			return nil, err
		}
	}
	for i, b := range bad {
		if b.hi.end == 0 && strings.HasPrefix(b.hi.version, "99.999.") {
			bad[i].hi = top
		}
	}
	set := o.subtract(bad, good)
	o.name(set, o.union(good))
	return o.ranges(set, npmNext)
}

// name gives an interval that ends at the last bad version the first good one
// as its end, when nothing bad lies between.
func (o *order) name(set, good []interval) {
	for i := range set {
		if set[i].hi.end != 0 || set[i].hi.fix {
			continue
		}
		for _, g := range good {
			if g.lo.end != 0 || g.lo.after || o.compare(g.lo, set[i].hi) < 0 {
				continue
			}
			if i+1 == len(set) || o.compare(g.lo, set[i+1].lo) <= 0 {
				set[i].hi = g.lo
				set[i].hi.fix = true
			}
			break
		}
	}
}

// npmSet reads alternatives of comparators that must all hold.
func npmSet(o *order, text string) ([]interval, error) {
	alternatives := strings.Split(text, "||")
	if len(alternatives) > maxTerms {
		return nil, syntax(text, "too many alternatives")
	}
	var set []interval
	for _, a := range alternatives {
		i, ok, err := npmAll(o, a)
		if err != nil {
			return nil, err
		}
		if ok {
			set = append(set, i)
		}
	}
	return set, nil
}

func npmAll(o *order, text string) (interval, bool, error) {
	all, holds := interval{bottom, top}, true
	and := func(i interval) {
		var ok bool
		all, ok = o.intersect(all, i)
		holds = holds && ok
	}
	if from, to, ok := strings.Cut(text, " - "); ok {
		for _, c := range []struct{ op, v string }{{">=", from}, {"<=", to}} {
			v, err := parsePartial(strings.TrimSpace(c.v))
			if err != nil {
				return all, false, syntax(text, err.Error())
			}
			and(v.comparator(c.op))
		}
		return all, holds, nil
	}
	rest := strings.Trim(text, " \t,")
	for n := 0; rest != ""; n++ {
		if n == maxTerms {
			return all, false, syntax(text, "too many comparators")
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("<>=~^", r) })
		if end < 0 {
			return all, false, syntax(text, "no version after the operator")
		}
		op := rest[:end]
		rest = strings.TrimLeft(rest[end:], " \t")
		end = strings.IndexAny(rest, " \t,<>=~^")
		if end < 0 {
			end = len(rest)
		}
		v, err := parsePartial(rest[:end])
		if err != nil {
			return all, false, syntax(text, err.Error())
		}
		if op == "~>" {
			op = "~"
		}
		if !slices.Contains([]string{"", "=", "==", ">", ">=", "<", "<=", "~", "^"}, op) {
			return all, false, syntax(text, "unknown operator "+op)
		}
		and(v.comparator(op))
		rest = strings.TrimLeft(rest[end:], " \t,")
	}
	return all, holds, nil
}

// partial is a version of which the last parts may be missing.
type partial struct {
	n     [3]uint64
	known int    // how many of n were given
	pre   string // "-rc.1", with the dash
}

func parsePartial(s string) (partial, error) {
	var p partial
	s = strings.TrimLeft(s, "vV=")
	s, _, _ = strings.Cut(s, "+")
	s, pre, hasPre := strings.Cut(s, "-")
	if hasPre {
		if pre == "" || strings.ContainsFunc(pre, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '.' && r != '-'
		}) {
			return p, fmt.Errorf("pre-release %q", pre)
		}
		p.pre = "-" + pre
	}
	if s == "" {
		return p, fmt.Errorf("no version")
	}
	parts := strings.Split(s, ".")
	if len(parts) > 3 {
		return p, fmt.Errorf("%q has more than three parts", s)
	}
	for i, part := range parts {
		if part == "x" || part == "X" || part == "*" {
			p.pre = ""
			return p, nil
		}
		v, err := strconv.ParseUint(part, 10, 53)
		if err != nil {
			return p, fmt.Errorf("part %q", part)
		}
		p.n[i] = v
		p.known = i + 1
	}
	return p, nil
}

func (p partial) String() string {
	return fmt.Sprintf("%d.%d.%d%s", p.n[0], p.n[1], p.n[2], p.pre)
}

// up gives the lowest version (pre-releases counted) in which part i is one
// higher.
func (p partial) up(i int) string {
	var n [3]uint64
	copy(n[:i+1], p.n[:])
	n[i]++
	return fmt.Sprintf("%d.%d.%d-0", n[0], n[1], n[2])
}

// comparator gives the interval of an operator before a version.
func (p partial) comparator(op string) interval {
	full := p.known == 3
	lo := before(p.String())
	if p.known == 0 { // "*": every version, and nothing is beyond
		if op == "<" || op == ">" {
			return interval{bottom, bottom}
		}
		return interval{bottom, top}
	}
	if p.pre == "" && p.n == [3]uint64{} {
		lo = bottom // pre-releases of the first version too
	}
	switch op {
	case ">=":
		return interval{lo, top}
	case ">":
		if full {
			return interval{after(p.String()), top}
		}
		return interval{before(p.up(p.known - 1)), top}
	case "<":
		hi := before(p.String())
		hi.fix = true
		return interval{bottom, hi}
	case "<=":
		if full {
			return interval{bottom, after(p.String())}
		}
		return interval{bottom, before(p.up(p.known - 1))}
	case "~":
		return interval{lo, before(p.up(min(p.known-1, 1)))}
	case "^":
		i := 0
		for i < p.known-1 && p.n[i] == 0 {
			i++
		}
		return interval{lo, before(p.up(i))}
	}
	if full {
		return interval{before(p.String()), after(p.String())}
	}
	return interval{lo, before(p.up(p.known - 1))}
}

// npmNext is the lowest version after another.
func npmNext(v string) string {
	p, err := parsePartial(v)
	if err != nil || p.pre != "" {
		return v + ".0"
	}
	return p.up(2)
}
