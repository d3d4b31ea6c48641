package bus

import (
	"fmt"
	"strings"
)

// Match reports whether subject is covered by pattern, where "*" stands for one
// token and a final ">" for one or more.
func Match(pattern, subject string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		s, srest, smore := strings.Cut(subject, ".")
		if p == ">" && !pmore {
			return s != ""
		}
		if s == "" || p != "*" && p != s || pmore != smore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, subject = prest, srest
	}
}

// checkSubject refuses what the server would misunderstand: empty tokens,
// spaces, control characters, and wildcards unless they are wanted.
func checkSubject(s string, wildcards bool) error {
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		bad := t == "" || strings.ContainsFunc(t, func(r rune) bool { return r <= ' ' || r == 0x7f })
		if strings.ContainsAny(t, "*>") {
			bad = bad || !wildcards || len(t) != 1 || t == ">" && i != len(tokens)-1
		}
		if bad || len(s) > 512 || tokens[0] == "$JS" || tokens[0] == "$KV" {
			return fmt.Errorf("subject %q: %w", s, ErrInvalid)
		}
	}
	return nil
}

// Token makes one token of a subject out of any text, such as a node's name:
// what may not stand in a token becomes "_".
func Token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(".*>", r) {
			return '_'
		}
		return r
	}, s)
}

func checkName(what, s string) error {
	if s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("%s %q: %w", what, s, ErrInvalid)
	}
	return nil
}

func checkKey(s string) error {
	bad := func(r rune) bool { return !plain(r) && !strings.ContainsRune("=./", r) }
	if s == "" || len(s) > 512 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("key %q: %w", s, ErrInvalid)
	}
	return nil
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}
