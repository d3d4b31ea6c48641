package version

import "strings"

type semverStyle uint8

const (
	semverPlain    semverStyle = iota
	semverBuild                // build metadata counts, as in Dart
	semverFold                 // prereleases without case, as in NuGet
	semverUpstream             // letters that mean a later patch, as in OpenSSL
)

const (
	semverPre     = 0x03 // a prerelease follows
	semverRelease = 0x05 // this is the release
	semverPatch   = 0x07 // after it: a letter, an "update"

	idEnd     = 0x02
	idText    = 0xFA // after every number
	noBuild   = 0x01
	withBuild = 0x02
)

// semverKey follows semver.org 2.0.0 and takes what people write: a leading v,
// fewer or more than three numbers (missing ones are zero), a prerelease
// without its hyphen.
func semverKey(dst []byte, v string, style semverStyle) ([]byte, bool) {
	v = strings.TrimLeft(v, "=")
	if len(v) > 1 && v[0]|0x20 == 'v' {
		v = v[1:]
	}
	v, build, _ := strings.Cut(v, "+")
	if v == "" || !isDigit(v[0]) {
		return dst, false
	}
	pending, rest := 0, v
	for {
		var d string
		d, rest = digits(rest)
		dst, pending = appendPadded(dst, d, pending)
		if len(rest) < 2 || !isDigit(rest[1]) {
			break
		}
		if rest[0] != '.' && (style != semverUpstream || rest[0] != '_' && rest[0] != 'u') {
			break
		}
		rest = rest[1:]
	}
	if style == semverUpstream && rest != "" && isAlpha(rest[0]) && (len(rest) == 1 || rest[1] == '-') {
		// OpenSSL's 1.1.1w comes after 1.1.1, unlike 3.12.0rc1 before 3.12.0.
		for range pending {
			dst = append(dst, smallNumber)
		}
		dst, rest = append(dst, semverPatch, rest[0]|0x20), rest[1:]
	}
	pre := strings.Trim(rest, "-._")
	if pre == "" {
		dst = append(dst, semverRelease)
	} else {
		dst = append(dst, semverPre)
		if style == semverFold {
			pre = strings.ToLower(pre)
		}
		dst = identifiers(dst, pre)
	}
	if style == semverBuild {
		if build == "" {
			return append(dst, noBuild), true
		}
		dst = identifiers(append(dst, withBuild), build)
	}
	return dst, true
}

// appendPadded appends a number of a row in which missing numbers are zero:
// zeros are held back until something else follows them.
func appendPadded(dst []byte, d string, pending int) ([]byte, int) {
	if isZero(d) {
		return dst, pending + 1
	}
	for range pending {
		dst = append(dst, smallNumber)
	}
	return appendNumber(dst, d), 0
}

// identifiers appends dotted identifiers: numbers by value and before text, a
// shorter row before a longer one.
func identifiers(dst []byte, s string) []byte {
	for id := range strings.SplitSeq(s, ".") {
		if allDigits(id) {
			dst = appendNumber(dst, id)
		} else {
			dst = appendText(append(dst, idText), id)
		}
	}
	return append(dst, idEnd)
}

// goKey reads module versions and pseudo-versions, which are SemVer, and the
// toolchain's ("go1.22.3", "1.22rc1"), as the vulnerability database of Go
// writes them: 1.22.0-rc.1.
func goKey(dst []byte, v string) ([]byte, bool) {
	v = strings.TrimPrefix(v, "go")
	rest := strings.TrimLeft(v, "0123456789.")
	for _, pre := range [...]string{"rc", "beta"} {
		if n, ok := strings.CutPrefix(rest, pre); ok && allDigits(n) {
			v = v[:len(v)-len(rest)] + "-" + pre + "." + n
		}
	}
	return semverKey(dst, v, semverPlain)
}
