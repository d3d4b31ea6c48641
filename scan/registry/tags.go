package registry

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// companion tags belong to an image and are none themselves: signatures,
// attestations, SBOMs, lists of referrers.
var companion = regexp.MustCompile(`^sha256-[0-9a-f]{64}(\.[a-z]+)?$`)

// filter leaves the tags that the patterns choose, newest first by name, and
// of those the first few when newest is by name.
func (f TagFilter) filter(tags []string) []string {
	var out []string
	for _, t := range tags {
		if !companion.MatchString(t) && chosen(t, f.Include, f.Exclude) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return compareTags(b, a) })
	out = slices.Compact(out)
	if f.Newest > 0 && f.Order != orderCreated && len(out) > f.Newest {
		out = out[:f.Newest]
	}
	return out
}

const (
	orderVersion = "version"
	orderCreated = "created"
)

// compareTags puts tags into the order people expect: numbers by value, a
// pre-release ("1.2-rc1") before its release, and names that are no versions
// ("latest") above all, since they move.
func compareTags(a, b string) int {
	va, vb := strings.TrimPrefix(a, "v"), strings.TrimPrefix(b, "v")
	if c := cmp.Compare(rank(va), rank(vb)); c != 0 {
		return c
	}
	for va != "" && vb != "" {
		da, db := digits(va), digits(vb)
		if da != "" && db != "" {
			na, nb := strings.TrimLeft(da, "0"), strings.TrimLeft(db, "0")
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), cmp.Compare(na, nb)); c != 0 {
				return c
			}
			va, vb = va[len(da):], vb[len(db):]
			continue
		}
		if va[0] != vb[0] {
			// "1.2-rc1" is older than "1.2.1", whatever the bytes are.
			return cmp.Or(cmp.Compare(weight(va), weight(vb)), cmp.Compare(va[0], vb[0]))
		}
		va, vb = va[1:], vb[1:]
	}
	if c := cmp.Compare(weight(va), weight(vb)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// rank tells versions from other names.
func rank(t string) int {
	if digits(t) == "" {
		return 1
	}
	return 0
}

// weight of what is left of a tag: a pre-release, the end, more.
func weight(rest string) int {
	switch {
	case rest == "":
		return 1
	case strings.HasPrefix(rest, "-"):
		return 0
	}
	return 2
}

func digits(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i]
}
