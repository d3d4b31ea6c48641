package ranges

import (
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln"
)

// Gem turns RubyGems requirements for good versions (patched, and never
// affected) into the ranges of affected ones: everything that none of them
// names. Each entry may hold several comparators, separated by commas, that
// must all hold. Without any entry, every version is affected.
func Gem(patched, unaffected []string) ([]vuln.Range, error) {
	o := &order{ecosystem: "RubyGems"}
	if len(patched)+len(unaffected) > maxTerms {
		return nil, syntax(strings.Join(patched[:min(3, len(patched))], ", "), "too many requirements")
	}
	var good []interval
	for _, list := range [][]string{patched, unaffected} {
		for _, text := range list {
			set, err := gemAll(o, text)
			if err != nil {
				return nil, err
			}
			good = append(good, set...)
		}
	}
	return o.ranges(o.complement(o.union(good)), gemNext)
}

// gemAll gives the versions that satisfy all comparators of one requirement.
func gemAll(o *order, text string) ([]interval, error) {
	set := []interval{{bottom, top}}
	terms := strings.Split(text, ",")
	if len(terms) > maxTerms {
		return nil, syntax(text, "too many comparators")
	}
	for _, term := range terms {
		term = strings.TrimSpace(term)
		v := strings.TrimSpace(strings.TrimLeft(term, "<>=~!"))
		op := term[:len(term)-len(strings.TrimLeft(term, "<>=~!"))]
		if !gemVersion(v) {
			return nil, syntax(text, "version "+strconv.Quote(v))
		}
		var want []interval
		switch op {
		case "", "=":
			want = []interval{{before(v), after(v)}}
		case "!=":
			want = []interval{{bottom, before(v)}, {after(v), top}}
		case ">":
			want = []interval{{after(v), top}}
		case ">=":
			want = []interval{{before(v), top}}
		case "<":
			want = []interval{{bottom, before(v)}}
		case "<=":
			want = []interval{{bottom, after(v)}}
		case "~>":
			want = []interval{{before(v), before(gemBump(v))}}
		default:
			return nil, syntax(text, "unknown operator "+op)
		}
		var next []interval
		for _, a := range set {
			for _, b := range want {
				if i, ok := o.intersect(a, b); ok {
					next = append(next, i)
				}
			}
		}
		set = next
	}
	return set, nil
}

// gemVersion reports whether v is a version: parts of letters and digits, the
// first beginning with a digit.
func gemVersion(v string) bool {
	if v == "" || len(v) > 100 {
		return false
	}
	for i, part := range strings.FieldsFunc(v, func(r rune) bool { return r == '.' || r == '-' }) {
		if i == 0 && (part[0] < '0' || part[0] > '9') {
			return false
		}
		if strings.ContainsFunc(part, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return false
		}
	}
	return v[0] != '.' && v[0] != '-' && !strings.HasSuffix(v, ".") && !strings.HasSuffix(v, "-") && !strings.Contains(v, "..")
}

// gemBump gives where "~> v" ends: the numbers of v without the last, the new
// last one higher; its pre-releases ("2.4.a", "2.4.rc1") are beyond the end too.
func gemBump(v string) string {
	var n []uint64
	for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == '.' || r == '-' }) {
		x, err := strconv.ParseUint(part, 10, 53)
		if err != nil {
			break
		}
		n = append(n, x)
	}
	if len(n) == 0 { // "1a.2": no number to count up
		n = []uint64{0}
	}
	if len(n) > 1 {
		n = n[:len(n)-1]
	}
	n[len(n)-1]++
	var b strings.Builder
	for _, x := range n {
		b.WriteString(strconv.FormatUint(x, 10) + ".")
	}
	return b.String() + "a"
}

// gemNext is a version after v that is lower than any that people number.
func gemNext(v string) string { return v + ".0.0.0.1" }
