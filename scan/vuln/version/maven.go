package version

import (
	"slices"
	"strings"
)

// Maven's order (maven.apache.org/pom.html, "Version Order Specification") is
// not an order: 1.foo > 1 > 1-alpha > 1.foo. No key can serve a circle. The
// one below agrees with Maven wherever Maven agrees with itself, and keeps
// every qualifier on its own side of the release: those that come before it
// (alpha ... snapshot) below, sp and unknown words above.
const (
	mavenDotLow   = 0x01 // .alpha
	mavenDashLow  = 0x02 // -alpha
	mavenZerosLow = 0x03 // .0.0.alpha
	mavenEnd      = 0x04
	mavenDashNone = 0x05 // -ga, when something follows
	mavenDotHigh  = 0x06 // .foo
	mavenDashHigh = 0x07 // -foo
	mavenDashNum  = 0x08 // -1; .1 is a bare number

	mavenNone    = 6 // the empty qualifier: ga, final, release
	mavenUnknown = 8
)

// mavenQualifiers in their order; unknown ones follow, as text.
var mavenQualifiers = [...]string{1: "alpha", 2: "beta", 3: "milestone", 4: "rc", 5: "snapshot", 7: "sp"}

type mavenToken struct {
	dash   bool
	number bool
	text   string // digits without leading zeros, or a lower-case qualifier
}

func (t mavenToken) null() bool { return t.text == "" }

func (t mavenToken) low() bool {
	return !t.number && t.rank() <= mavenNone
}

func (t mavenToken) rank() int {
	if t.text == "" {
		return mavenNone
	}
	if i := slices.Index(mavenQualifiers[:], t.text); i > 0 {
		return i
	}
	return mavenUnknown
}

func mavenKey(dst []byte, v string) ([]byte, bool) {
	tokens := mavenTrim(mavenTokens(strings.ToLower(v)))
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.number && t.null() && !t.dash && i > 0 {
			n := i
			for n < len(tokens) && tokens[n].number && tokens[n].null() && !tokens[n].dash {
				n++
			}
			if n < len(tokens) && tokens[n].low() {
				dst = zeros(append(dst, mavenZerosLow), n-i, false)
				i = n - 1
				continue
			}
		}
		dst = mavenAppend(dst, t)
	}
	return append(dst, mavenEnd), true
}

func mavenAppend(dst []byte, t mavenToken) []byte {
	if t.number {
		if t.dash {
			dst = append(dst, mavenDashNum)
		}
		return appendNumber(dst, t.text)
	}
	rank := t.rank()
	switch {
	case rank == mavenNone && t.dash:
		return append(dst, mavenDashNone)
	case rank <= mavenNone && t.dash:
		return append(dst, mavenDashLow, byte(rank))
	case rank <= mavenNone:
		return append(dst, mavenDotLow, byte(rank))
	case t.dash:
		dst = append(dst, mavenDashHigh, byte(rank))
	default:
		dst = append(dst, mavenDotHigh, byte(rank))
	}
	if rank == mavenUnknown {
		dst = appendText(dst, t.text)
	}
	return dst
}

// mavenTokens splits at dots, at hyphens, and where digits and others meet,
// which counts as a hyphen.
func mavenTokens(v string) []mavenToken {
	tokens := make([]mavenToken, 0, 8)
	dash := false
	for {
		end := strings.IndexAny(v, ".-")
		part := v
		if end >= 0 {
			part = v[:end]
		}
		if part == "" {
			tokens = append(tokens, mavenToken{dash: dash, number: true})
		}
		for d := dash; part != ""; d = true {
			n, rest := digits(part)
			if n != "" {
				tokens = append(tokens, mavenToken{dash: d, number: true, text: strings.TrimLeft(n, "0")})
				part = rest
				continue
			}
			i := strings.IndexAny(part, "0123456789")
			if i < 0 {
				i = len(part)
			}
			tokens = append(tokens, mavenToken{dash: d, text: mavenWord(part[:i], i < len(part))})
			part = part[i:]
		}
		if end < 0 {
			return tokens
		}
		dash = v[end] == '-'
		v = v[end+1:]
	}
}

func mavenWord(w string, beforeDigit bool) string {
	switch w {
	case "ga", "final", "release":
		return ""
	case "cr":
		return "rc"
	}
	if beforeDigit {
		switch w {
		case "a":
			return "alpha"
		case "b":
			return "beta"
		case "m":
			return "milestone"
		}
	}
	return w
}

// mavenTrim takes away what means nothing (0, ga, final) at the end and before
// every hyphen.
func mavenTrim(tokens []mavenToken) []mavenToken {
	for i := len(tokens) - 1; i > 0; {
		if tokens[i].null() {
			tokens = slices.Delete(tokens, i, i+1)
			i--
			continue
		}
		for i >= 0 && !tokens[i].dash {
			i--
		}
		i--
	}
	return tokens
}
