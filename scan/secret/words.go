package secret

import (
	"bytes"
)

// words tells what stands where a secret will be from a secret.
type words struct {
	long, short []string        // parts; short ones count in generic findings only
	whole       map[string]bool // all of it
}

// longWord is the length from which a word does not turn up in random
// characters by chance.
const longWord = 7

func newWords(parts, whole []string) *words {
	w := &words{whole: map[string]bool{}}
	for _, p := range parts {
		if len(p) >= longWord {
			w.long = append(w.long, p)
		} else {
			w.short = append(w.short, p)
		}
	}
	for _, p := range whole {
		w.whole[p] = true
	}
	return w
}

// placeholder reports whether a value only holds the place of a secret.
func (w *words) placeholder(value []byte, generic bool) bool {
	if len(value) == 0 {
		return true
	}
	v := lower(value)
	if w.whole[string(v)] || run(v) >= min(len(v), 8) || variable(v) {
		return true
	}
	for _, p := range w.long {
		if bytes.Contains(v, []byte(p)) {
			return true
		}
	}
	if !generic {
		return false
	}
	for _, p := range w.short {
		if bytes.Contains(v, []byte(p)) {
			return true
		}
	}
	return reference(v)
}

// variable reports whether a value is the name of a variable: "$NAME",
// "${NAME}", "$(command)", "{{ name }}".
func variable(v []byte) bool {
	if i := bytes.IndexByte(v, '$'); i >= 0 && i+1 < len(v) {
		if n := v[i+1]; n == '{' || n == '(' || i == 0 && (n == '_' || n >= 'a' && n <= 'z') {
			return true
		}
	}
	return bytes.Contains(v, []byte("{{")) || bytes.Contains(v, []byte("}}"))
}

// reference reports whether a value says where the secret is to be had:
// "%NAME%", "<name>", "@file", "env:NAME", a path.
func reference(v []byte) bool {
	switch v[0] {
	case '{', '<', '@', '(', '[', '&':
		return true
	case '/':
		return !bytes.ContainsAny(v, "+=") // base64 may begin so
	case '.':
		return len(v) > 1 && (v[1] == '/' || v[1] == '.')
	case '%':
		return len(v) > 1 && (v[1] == 's' || v[1] == 'v' || v[len(v)-1] == '%')
	}
	return bytes.Contains(v, []byte("env:")) ||
		bytes.Contains(v, []byte("env.")) || bytes.Contains(v, []byte("arn:")) || bytes.Contains(v, []byte("://"))
}

// run is the length of the longest run of one byte.
func run(v []byte) int {
	longest, n := 0, 0
	for i := range v {
		if i > 0 && v[i] == v[i-1] {
			n++
		} else {
			n = 1
		}
		longest = max(longest, n)
	}
	return longest
}
