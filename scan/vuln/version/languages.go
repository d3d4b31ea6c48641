package version

import "strings"

// The parts of a PEP 440 version that can follow the numbers, in their order.
const (
	pyDevOnly = 0x01 // 1.0.dev1: before every prerelease
	pyAlpha   = 0x03
	pyBeta    = 0x04
	pyRC      = 0x05
	pyNoPre   = 0x06

	pyNoPost, pyPost   = 0x01, 0x02
	pyDev, pyNoDev     = 0x01, 0x02
	pyNoLocal, pyLocal = 0x01, 0x02
	pyLocalEnd         = 0x01
	pyLocalText        = 0x02 // before numbers
)

// pythonKey follows PEP 440, with its normalizations. Versions from before it
// ("2004d") are refused: no order of them is agreed upon.
func pythonKey(dst []byte, v string) ([]byte, bool) {
	v = strings.ToLower(v)
	v = strings.TrimPrefix(v, "v")
	v, local, hasLocal := strings.Cut(v, "+")
	d, s := digits(v)
	epoch := "0"
	if strings.HasPrefix(s, "!") {
		epoch = d
		d, s = digits(s[1:])
	}
	if d == "" {
		return dst, false
	}
	dst = appendNumber(dst, epoch)
	dst, pending := appendPadded(dst, d, 0)
	for len(s) > 1 && s[0] == '.' && isDigit(s[1]) {
		d, s = digits(s[1:])
		dst, pending = appendPadded(dst, d, pending)
	}
	pre, preNo, s := pySegment(s, "alpha", "a", "beta", "b", "preview", "pre", "rc", "c")
	post, postNo, s := pySegment(s, "post", "rev", "r")
	if post == "" && len(s) > 1 && s[0] == '-' && isDigit(s[1]) {
		post = "post"
		postNo, s = digits(s[1:])
	}
	dev, devNo, s := pySegment(s, "dev")
	if s != "" {
		return dst, false
	}
	switch {
	case pre == "" && post == "" && dev != "":
		dst = append(dst, pyDevOnly)
	case pre == "":
		dst = append(dst, pyNoPre)
	case pre[0] == 'a':
		dst = appendNumber(append(dst, pyAlpha), preNo)
	case pre[0] == 'b':
		dst = appendNumber(append(dst, pyBeta), preNo)
	default:
		dst = appendNumber(append(dst, pyRC), preNo)
	}
	if post == "" {
		dst = append(dst, pyNoPost)
	} else {
		dst = appendNumber(append(dst, pyPost), postNo)
	}
	if dev == "" {
		dst = append(dst, pyNoDev)
	} else {
		dst = appendNumber(append(dst, pyDev), devNo)
	}
	if !hasLocal {
		return append(dst, pyNoLocal), true
	}
	return pythonLocal(append(dst, pyLocal), local)
}

// pySegment reads "[-_.]word[-_.][number]" when one of the words is there.
func pySegment(s string, words ...string) (word, number, rest string) {
	t := s
	if t != "" && strings.IndexByte("-_.", t[0]) >= 0 {
		t = t[1:]
	}
	for _, w := range words {
		after, ok := strings.CutPrefix(t, w)
		if !ok || after != "" && isAlpha(after[0]) && !pyContinues(after) {
			continue
		}
		n := after
		if n != "" && strings.IndexByte("-_.", n[0]) >= 0 {
			n = n[1:]
		}
		if d, r := digits(n); d != "" {
			return w, d, r
		}
		return w, "0", after
	}
	return "", "", s
}

// pyContinues allows "1.0rcdev1" and "1.0apost1": the next part without a separator.
func pyContinues(s string) bool {
	l, _ := letters(s)
	return l == "dev" || l == "post" || l == "rev" || l == "r"
}

func pythonLocal(dst []byte, local string) ([]byte, bool) {
	for part := range strings.FieldsFuncSeq(local, func(r rune) bool { return r == '.' || r == '-' || r == '_' }) {
		if allDigits(part) {
			dst = appendNumber(dst, part)
			continue
		}
		for i := range len(part) {
			if !isDigit(part[i]) && !isAlpha(part[i]) {
				return dst, false
			}
		}
		dst = appendText(append(dst, pyLocalText), part)
	}
	return append(dst, pyLocalEnd), true
}

const (
	rubyBelow = 0x01 // zeros, then text
	rubyEnd   = 0x02
	rubyAbove = 0x03 // zeros, then a number that is not zero
)

// rubyKey follows Gem::Version: numbers and words, split where they meet, text
// before numbers, missing segments zero, zeros before the first word and at
// the end left out.
func rubyKey(dst []byte, v string) ([]byte, bool) {
	v = strings.ReplaceAll(v, "-", ".pre.")
	run, words := 0, false
	for v != "" {
		switch c := v[0]; {
		case c == '.':
			v = v[1:]
		case isDigit(c):
			var d string
			d, v = digits(v)
			if isZero(d) {
				run++
				continue
			}
			dst = appendNumber(zeros(append(dst, rubyAbove), run, true), d)
			run = 0
		case isAlpha(c):
			var l string
			l, v = letters(v)
			if !words {
				run, words = 0, true
			}
			dst = appendText(zeros(append(dst, rubyBelow), run, false), l)
			run = 0
		default:
			return dst, false
		}
	}
	return append(dst, rubyEnd), true
}

// What can stand in a place of a Composer version, in PHP's order.
const (
	composerDev   = 0x01
	composerAlpha = 0x02
	composerBeta  = 0x03
	composerRC    = 0x04
	composerEnd   = 0x05 // numbers are above it
	composerPatch = 0xFA // above every number

	composerNumbers = 4
)

// composerKey follows PHP's version_compare after Composer's normalization,
// which writes up to four numbers and fills up with zeros. Branches
// ("dev-main") have no place in the order.
func composerKey(dst []byte, v string) ([]byte, bool) {
	v = strings.ToLower(v)
	v = strings.TrimPrefix(v, "v")
	v, _, _ = strings.Cut(v, "+")
	if v == "" || !isDigit(v[0]) {
		return dst, false
	}
	for n := 0; n < composerNumbers || v != "" && isDigit(v[0]); n++ {
		var d string
		d, v = digits(v)
		dst = appendNumber(dst, d)
		if len(v) > 1 && v[0] == '.' && isDigit(v[1]) {
			v = v[1:]
		}
	}
	for v != "" {
		switch c := v[0]; {
		case isDigit(c):
			var d string
			d, v = digits(v)
			dst = appendNumber(dst, d)
		case isAlpha(c):
			var l string
			l, v = letters(v)
			tag, ok := composerWord(l)
			if !ok {
				return dst, false
			}
			if tag != 0 {
				dst = append(dst, tag)
			}
		case c == '.' || c == '-' || c == '_' || c == '@':
			v = v[1:]
		default:
			return dst, false
		}
	}
	return append(dst, composerEnd), true
}

func composerWord(l string) (tag byte, ok bool) {
	switch l {
	case "dev":
		return composerDev, true
	case "a", "alpha":
		return composerAlpha, true
	case "b", "beta":
		return composerBeta, true
	case "rc":
		return composerRC, true
	case "p", "pl", "patch":
		return composerPatch, true
	case "stable":
		return 0, true
	}
	return 0, false
}

// numbersKey orders dotted or hyphenated numbers: 1.0 comes after 1.
func numbersKey(dst []byte, v string) ([]byte, bool) {
	for {
		d, rest := digits(v)
		if d == "" {
			return dst, false
		}
		dst = appendNumber(dst, d)
		if rest == "" {
			return append(dst, endText), true
		}
		if rest[0] != '.' && rest[0] != '-' {
			return dst, false
		}
		v = rest[1:]
	}
}
