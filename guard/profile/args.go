package profile

import (
	"slices"
	"strings"
)

// Bounds of what is kept of arguments.
const (
	maxVariants = 4   // lists of arguments of one entry; more become one
	maxArgs     = 16  // arguments of one list; more become "**"
	maxArg      = 128 // bytes of one argument; more become "*"
	maxUsers    = 16
)

// Any text within an argument, and any further arguments.
const (
	anyText = "*"
	anyRest = "**"
)

// GeneraliseArgs gives the patterns that stand for a program's arguments
// (without its own name): what looks made up for one run becomes "*", and so do
// values of options that hold secrets, which must not be written down. Options
// themselves stay as they are.
func GeneraliseArgs(args []string) []string {
	out := make([]string, 0, min(len(args), maxArgs+1))
	secret := false
	for i, a := range args {
		if i == maxArgs || a == anyRest && i == len(args)-1 {
			return append(out, anyRest)
		}
		switch {
		case secret && !strings.HasPrefix(a, "-"):
			out = append(out, anyText)
		default:
			out = append(out, generaliseArg(a))
		}
		secret = strings.HasPrefix(a, "-") && !strings.Contains(a, "=") && holdsSecret(a)
	}
	return out
}

func generaliseArg(a string) string {
	if name, value, ok := strings.Cut(a, "="); ok && strings.HasPrefix(name, "-") {
		if holdsSecret(name) {
			return name + "=" + anyText
		}
		return name + "=" + generaliseArg(value)
	}
	if user, host, ok := strings.Cut(a, "@"); ok && strings.Contains(user, "://") {
		// The user and password of a URL.
		scheme, _, _ := strings.Cut(user, "://")
		a = scheme + "://" + anyText + "@" + host
	}
	if strings.HasPrefix(a, "/") {
		if dir, ok := strings.CutSuffix(Generalise(a), "/**"); ok {
			return dir + "/" + anyText
		}
		a = Generalise(a)
	}
	var b strings.Builder
	for a != "" {
		n := strings.IndexFunc(a, func(r rune) bool { return !wordRune(r) })
		if n < 0 {
			n = len(a)
		}
		if n > 0 && random(a[:n]) {
			b.WriteString(anyText)
		} else {
			for i, part := range strings.Split(a[:n], "-") {
				if i > 0 {
					b.WriteByte('-')
				}
				if random(part) {
					part = anyText
				}
				b.WriteString(part)
			}
		}
		a = a[n:]
		if a != "" {
			b.WriteByte(a[0])
			a = a[1:]
		}
	}
	s := b.String()
	if len(s) > maxArg {
		s = strings.ToValidUTF8(s[:maxArg/2], "") + anyText
	}
	// An argument that is "**" would stand for all that follow.
	for strings.Contains(s, "**") {
		s = strings.ReplaceAll(s, "**", "*")
	}
	return s
}

func wordRune(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-'
}

// random reports that a word is a long number, a run of hexadecimal digits or
// a UUID, or a date: what differs from run to run. A port or a size stays: when
// such differ, they are more than one list of arguments, which are then made
// one.
func random(word string) bool {
	digits, hex := 0, 0
	for _, r := range word {
		switch {
		case r >= '0' && r <= '9':
			digits++
			hex++
		case r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F':
			hex++
		case r == '-':
		default:
			return longest(word) >= 8
		}
	}
	bare := len(word) - strings.Count(word, "-")
	switch {
	case strings.HasPrefix(word, "-"):
		return false // an option: "-4", "-1"
	case digits == bare && digits >= 6: // a long number, or a date as 2026-11-24
		return true
	case hex == bare && hex >= 8 && digits > 0: // a digest, an id, a UUID
		return true
	}
	return false
}

// longest is the longest run of decimal digits.
func longest(word string) int {
	best, run := 0, 0
	for _, r := range word {
		if r >= '0' && r <= '9' {
			run++
		} else {
			run = 0
		}
		best = max(best, run)
	}
	return best
}

func holdsSecret(option string) bool {
	o := strings.ToLower(option)
	return slices.ContainsFunc([]string{"password", "passwd", "passphrase", "secret", "token", "api-key", "apikey", "credential"}, func(w string) bool { return strings.Contains(o, w) })
}

// addArgs keeps more lists of arguments, each that is not within another. Too
// many become one that matches them all. The order of what comes does not matter
// as long as there are not too many.
func addArgs(have [][]string, more ...[]string) [][]string {
	all := append(slices.Clone(have), more...)
	slices.SortFunc(all, slices.Compare)
	all = slices.CompactFunc(all, slices.Equal)
	out := slices.Clone(all)
	out = slices.DeleteFunc(out, func(a []string) bool {
		return slices.ContainsFunc(all, func(o []string) bool { return !slices.Equal(o, a) && argsInclude(o, a) })
	})
	if len(out) <= maxVariants {
		return out
	}
	one := out[0]
	for _, o := range out[1:] {
		one = unify(one, o)
	}
	return [][]string{one}
}

// argsInclude reports whether every list of arguments that b stands for is one
// that a stands for.
func argsInclude(a, b []string) bool {
	for i, p := range a {
		if p == anyRest && i == len(a)-1 {
			return true
		}
		if i >= len(b) || b[i] == anyRest && i == len(b)-1 {
			return false
		}
		if prefix, ok := strings.CutSuffix(p, anyText); p != b[i] && (!ok || strings.Contains(prefix, anyText) || !strings.HasPrefix(b[i], prefix)) {
			return false
		}
	}
	return len(a) == len(b)
}

// unify gives patterns that stand for what either stands for.
func unify(a, b []string) []string {
	var out []string
	for i := 0; ; i++ {
		endA, endB := i >= len(a), i >= len(b)
		if endA && endB {
			return out
		}
		if endA || endB || a[i] == anyRest || b[i] == anyRest {
			return append(out, anyRest)
		}
		if a[i] == b[i] {
			out = append(out, a[i])
		} else {
			out = append(out, between(a[i], b[i]))
		}
	}
}

// between keeps the name of an option, or the directory, that two arguments
// have in common.
func between(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	cut := strings.LastIndexAny(a[:n], "=/:")
	if star := strings.IndexByte(a[:n], '*'); star >= 0 {
		cut = min(cut, star-1)
	}
	return a[:cut+1] + anyText
}
