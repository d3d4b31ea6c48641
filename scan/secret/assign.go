package secret

import "bytes"

// value is what a name was given.
type value struct {
	start, end int
	quoted     bool
	// suffix is what follows the keyword in the name: "_file" in "password_file".
	suffix []byte
}

const (
	maxSuffix = 40   // bytes of a name behind the keyword
	maxValue  = 4200 // bytes of a value; longer ones are not taken for one
)

// assigned reads the value of the name in which a keyword ends at. It knows
// name=value, name: value, "name": "value", name => value, name := value,
// <name>value</name>, <x name="n" value="v">, name, "value" and (in commands)
// --name value. It looks at no more than a line.
func assigned(text []byte, at int) (value, bool) {
	i := at
	for i < len(text) && i-at <= maxSuffix && isName(text[i]) {
		i++
	}
	if i-at > maxSuffix {
		return value{}, false
	}
	v := value{suffix: text[at:i]}
	nameEnd := i
	for i < len(text) && i-nameEnd < 4 && (text[i] == '"' || text[i] == '\'' || text[i] == '\\' || text[i] == '`' || text[i] == ']') {
		i++
	}
	i = blanks(text, i)
	if i >= len(text) {
		return v, false
	}
	switch c := text[i]; {
	case c == '=' || c == ':':
		i++
		if i < len(text) && (text[i] == '>' || text[i] == '=') {
			if c == '=' && text[i] == '=' {
				return v, false // a comparison
			}
			i++
		}
	case c == '>' && i == nameEnd:
		i++
	case c == ',' && i > nameEnd && argument(text, at):
		i++
	case i > nameEnd && option(text, at) && i == blanks(text, nameEnd):
	case bytes.HasPrefix(text[i:], []byte("value=")):
		i += len("value=")
	default:
		return v, false
	}
	i = blanks(text, i)
	for i < len(text) && text[i] == '\\' {
		i++
	}
	if i >= len(text) {
		return v, false
	}
	v.start = i
	limit := min(len(text), i+maxValue+2)
	if q := text[i]; q == '"' || q == '\'' || q == '`' {
		v.quoted = true
		v.start++
		for v.end = v.start; ; v.end++ {
			if v.end >= limit || text[v.end] == '\n' {
				return v, false
			}
			if text[v.end] == q {
				break
			}
		}
		for v.end > v.start && text[v.end-1] == '\\' {
			v.end--
		}
	} else {
		for v.end = i; v.end < limit && !endsValue(text[v.end]); v.end++ {
		}
	}
	return v, v.end > v.start && v.end-v.start <= maxValue
}

// argument reports whether the name around at is the first argument of a call.
func argument(text []byte, at int) bool {
	i := at
	for i > 0 && at-i < 64 && isName(text[i-1]) {
		i--
	}
	return i >= 2 && (text[i-1] == '"' || text[i-1] == '\'') && text[i-2] == '('
}

// option reports whether the name around at is a command-line option.
func option(text []byte, at int) bool {
	i := at
	for i > 0 && at-i < 64 && isName(text[i-1]) {
		i--
	}
	return bytes.HasPrefix(text[i:], []byte("--"))
}

func blanks(text []byte, i int) int {
	for n := 0; i < len(text) && n < 24 && (text[i] == ' ' || text[i] == '\t'); n++ {
		i++
	}
	return i
}

func isName(c byte) bool { return isWord(c) || c == '-' || c == '.' }

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func endsValue(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', '"', '\'', '`', ',', ';', '<', '>', '|', 0:
		return true
	}
	return false
}

// names reports whether the rest of a name leaves it one of a secret:
// "password", "password2" and "secret_key" are, "password_file" and
// "tokenizer" are not.
func names(suffix []byte) bool {
	s := string(bytes.TrimLeft(lower(suffix), "_-."))
	separated := len(s) < len(suffix)
	switch s {
	case "", "s", "value", "key", "text", "plain", "plaintext", "base64", "string", "token", "hex", "id_secret", "base", "prod", "production", "staging", "dev", "admin", "root", "main", "default", "primary", "secondary":
		return true
	}
	digits := true
	for i := range len(s) {
		digits = digits && s[i] >= '0' && s[i] <= '9'
	}
	if digits {
		return true
	}
	if !separated {
		return false
	}
	// What follows the last separator says what the value is.
	last := s
	if i := bytes.LastIndexAny([]byte(s), "_-."); i >= 0 {
		last = s[i+1:]
	}
	switch last {
	case "file", "files", "path", "dir", "url", "uri", "name", "names", "id", "ids", "type", "ttl", "expiry", "expires", "expiration", "age", "length", "len",
		"size", "min", "max", "field", "header", "env", "var", "variable", "arn", "ref", "version", "algorithm", "alg", "hasher", "policy", "rounds", "cost",
		"endpoint", "host", "issuer", "provider", "method", "mode", "format", "prefix", "suffix", "label", "hint", "class", "service", "store", "manager",
		"enabled", "required", "command", "cmd", "timeout", "interval", "location", "count", "limit", "lifetime", "encryption", "authentication", "source", "validator", "validation", "strength", "reset", "digest", "checksum", "sha256", "fingerprint", "hash":
		return false
	}
	return true
}
