package version

import "strings"

// dpkgKey follows deb-version(7) and dpkg's verrevcmp: epoch, then upstream
// version and revision, each an alternation of text and numbers in which a
// tilde sorts before the end and letters before everything else.
func dpkgKey(dst []byte, v string) ([]byte, bool) {
	epoch := "0"
	if e, rest, ok := strings.Cut(v, ":"); ok {
		if !allDigits(e) || len(e) > 10 || rest == "" {
			return dst, false
		}
		epoch, v = e, rest
	}
	revision := ""
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
		if revision == "" {
			return dst, false
		}
	}
	if v == "" {
		return dst, false
	}
	dst = appendNumber(dst, epoch)
	for _, part := range [2]string{v, revision} {
		for first := true; first || part != ""; first = false {
			i := 0
			for ; i < len(part) && !isDigit(part[i]); i++ {
				dst = append(dst, dpkgWeight(part[i]))
			}
			var d string
			d, part = digits(part[i:])
			dst = appendNumber(append(dst, dpkgEnd), d)
		}
		dst = append(dst, dpkgEnd)
	}
	return dst, true
}

const (
	dpkgTilde = 0x01
	dpkgEnd   = 0x02
)

func dpkgWeight(c byte) byte {
	switch {
	case c == '~':
		return dpkgTilde
	case isAlpha(c):
		return c
	}
	return c | 0x80
}

const (
	rpmNoRelease = 0x01
	rpmRelease   = 0x02

	rpmTilde = 0x01
	rpmEnd   = 0x02
	rpmCaret = 0x03
	rpmText  = 0x04
)

// rpmKey follows rpmvercmp on epoch, version and release; a missing epoch is
// zero, a missing release comes before every release. Arch's alpm differs in
// tilde and caret only, which its packages may not use.
func rpmKey(dst []byte, v string) ([]byte, bool) {
	epoch := "0"
	if e, rest, ok := strings.Cut(v, ":"); ok {
		if e == "(none)" {
			e = "0"
		}
		if !allDigits(e) || len(e) > 10 {
			return dst, false
		}
		epoch, v = e, rest
	}
	version, release, released := strings.Cut(v, "-")
	if version == "" || released && release == "" || strings.Contains(release, "-") {
		return dst, false
	}
	dst = rpmPart(appendNumber(dst, epoch), version)
	if !released {
		return append(dst, rpmNoRelease), true
	}
	return rpmPart(append(dst, rpmRelease), release), true
}

func rpmPart(dst []byte, s string) []byte {
	for s != "" {
		switch c := s[0]; {
		case c == '~':
			dst, s = append(dst, rpmTilde), s[1:]
		case c == '^':
			dst, s = append(dst, rpmCaret), s[1:]
		case isDigit(c):
			var d string
			d, s = digits(s)
			dst = appendNumber(dst, d)
		case isAlpha(c):
			var l string
			l, s = letters(s)
			dst = appendText(append(dst, rpmText), l)
		default:
			s = s[1:]
		}
	}
	return append(dst, rpmEnd)
}

// What can follow in an apk version, in its order: a suffix that comes before
// the release itself, the end, then a revision, the number of a suffix, a
// suffix that comes after, a letter, another number. A number after the first
// that starts with a zero is compared as text, and comes before the others.
const (
	apkBefore   = 0x01
	apkEnd      = 0x02
	apkRevision = 0x03
	apkSuffixNo = 0x04
	apkAfter    = 0x05
	apkLetter   = 0x06
	apkZeroLed  = 0x0F
)

// apkSuffixes in their order; the first four come before the release.
var apkSuffixes = [...]string{"alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"}

const apkSuffixesBefore = 4

// apkKey follows apk-tools 3: number{.number}{letter}
// {_suffix{number}}{~hash}{-r#}. The hash has no order and is left out.
func apkKey(dst []byte, v string) ([]byte, bool) {
	d, s := digits(v)
	if d == "" {
		return dst, false
	}
	dst = appendNumber(dst, d)
	for len(s) > 1 && s[0] == '.' && isDigit(s[1]) {
		d, s = digits(s[1:])
		if d[0] != '0' {
			dst = appendNumber(dst, d)
			continue
		}
		dst = appendText(append(dst, apkZeroLed), d[1:])
	}
	if s != "" && 'a' <= s[0] && s[0] <= 'z' {
		dst, s = append(dst, apkLetter, s[0]), s[1:]
		// Not in the grammar, yet packaged: sudo 1.8.28p1.
		if d, s = digits(s); d != "" {
			dst = appendNumber(append(dst, apkSuffixNo), d)
		}
	}
	for s != "" && s[0] == '_' {
		i := apkSuffix(s[1:])
		if i < 0 {
			return dst, false
		}
		tag := byte(apkAfter)
		if i < apkSuffixesBefore {
			tag = apkBefore
		}
		dst = append(dst, tag, byte(i))
		d, s = digits(s[1+len(apkSuffixes[i]):])
		if d != "" {
			dst = appendNumber(append(dst, apkSuffixNo), d)
		}
	}
	if s != "" && s[0] == '~' {
		s = strings.TrimLeft(s[1:], "0123456789abcdef")
	}
	if r, ok := strings.CutPrefix(s, "-r"); ok {
		d, s = digits(r)
		if d == "" {
			return dst, false
		}
		dst = appendNumber(append(dst, apkRevision), d)
	}
	return append(dst, apkEnd), s == ""
}

func apkSuffix(s string) int {
	l, _ := letters(s)
	for i, suffix := range apkSuffixes {
		if l == suffix {
			return i
		}
	}
	return -1
}
