package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"
)

// candidate is a text that matched a pattern.
type candidate struct {
	text       []byte
	start, end int // of the secret
	match      int // where the whole match begins
	words      *words
}

func (c *candidate) value() []byte { return c.text[c.start:c.end] }

// near gives the text around the match, n bytes to each side.
func (c *candidate) near(n int) []byte {
	return c.text[max(0, c.start-n):min(len(c.text), c.end+n)]
}

type validator func(candidate) bool

// validators are the functions that content may name; "" has none.
var validators = map[string]validator{
	"":               nil,
	"armor":          func(c candidate) bool { return armored(c) },
	"azure-sas":      azureSAS,
	"base64":         func(c candidate) bool { _, ok := decode64(c.value()); return ok },
	"basic":          basic,
	"crc":            checksum,
	"docker-auth":    dockerAuth,
	"gcp":            gcp,
	"jwt":            func(c candidate) bool { return jwt(c, false) },
	"jwt-kubernetes": func(c candidate) bool { return jwt(c, true) },
	"password":       password,
	"pem-base64":     pemBase64,
	"pem-encrypted":  func(c candidate) bool { k, ok := pemAt(c.text, c.match); return ok && k.encrypted },
	"pem-plain":      func(c candidate) bool { k, ok := pemAt(c.text, c.match); return ok && !k.encrypted },
	"random":         random,
	"url-password":   urlPassword,
	"word":           word,
}

func azureSAS(c candidate) bool {
	around := c.near(400)
	return bytes.Contains(around, []byte("sv=")) && bytes.Contains(around, []byte("se="))
}

func gcp(c candidate) bool {
	around := c.near(8000)
	return bytes.Contains(around, []byte("client_email")) && bytes.Contains(around, []byte("private_key"))
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum checks the last six characters of tokens with a prefix of four:
// the CRC-32 of the characters between, in base 62. GitHub described it when
// it introduced the form, npm uses the same.
func checksum(c candidate) bool {
	v := c.value()
	if len(v) != 40 {
		return false
	}
	return string(v[34:]) == sum62(v[4:34])
}

func sum62(b []byte) string {
	var out [6]byte
	n := crc32.ChecksumIEEE(b)
	for i := 5; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}

// decode64 decodes standard or URL base64, padded or not.
func decode64(v []byte) ([]byte, bool) {
	v = bytes.TrimRight(v, "=")
	enc := base64.RawStdEncoding
	if bytes.ContainsAny(v, "-_") {
		enc = base64.RawURLEncoding
	}
	out, err := enc.DecodeString(string(v))
	return out, err == nil
}

// jwt decodes header and claims. Tokens without a signature prove nothing.
func jwt(c candidate, kubernetes bool) bool {
	parts := bytes.SplitN(c.value(), []byte{'.'}, 3)
	if len(parts) != 3 {
		return false
	}
	var header struct {
		Alg string `json:"alg"`
	}
	raw, ok := decode64(parts[0])
	if !ok || json.Unmarshal(raw, &header) != nil || header.Alg == "" || header.Alg == "none" {
		return false
	}
	raw, ok = decode64(parts[1])
	if !ok {
		return false
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(raw, &claims) != nil {
		return false
	}
	if !kubernetes {
		return true
	}
	for name := range claims {
		if name == "kubernetes.io" || bytes.HasPrefix([]byte(name), []byte("kubernetes.io/serviceaccount/")) {
			return true
		}
	}
	return false
}

// basic decodes "name:password".
func basic(c candidate) bool {
	raw, ok := decode64(c.value())
	if !ok {
		return false
	}
	name, pass, ok := bytes.Cut(raw, []byte{':'})
	return ok && len(pass) >= 3 && printable(name) && printable(pass) && !c.words.placeholder(pass, true)
}

// dockerAuth takes "name:password" and the tokens that stand in the same file.
func dockerAuth(c candidate) bool {
	if raw, ok := decode64(c.value()); ok && bytes.IndexByte(raw, ':') > 0 {
		return basic(c)
	}
	return len(c.value()) >= 24 && entropy(c.value()) > 3.5
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// classes counts letters, digits and the rest.
func classes(v []byte) (lowers, uppers, digits, others int) {
	for _, c := range v {
		switch {
		case c >= 'a' && c <= 'z':
			lowers++
		case c >= 'A' && c <= 'Z':
			uppers++
		case c >= '0' && c <= '9':
			digits++
		default:
			others++
		}
	}
	return
}

// word takes everything that does not only hold the place of a secret.
func word(c candidate) bool {
	v := c.value()
	if c.words.placeholder(v, true) || bytes.ContainsRune(v, '\n') {
		return false
	}
	_, _, digits, others := classes(v)
	return digits < len(v) || len(v) >= 6 && others == 0 && run(v) < 3
}

// password wants a letter and something that is none: "changeIt1" is one,
// "required" is a word of a schema.
func password(c candidate) bool {
	v := c.value()
	if c.words.placeholder(v, true) {
		return false
	}
	lowers, uppers, digits, others := classes(v)
	if code(v) {
		return false
	}
	return lowers+uppers > 0 && digits > 0 || lowers > 0 && uppers > 2 && len(v) >= 10 && digits+others > 0
}

// random wants what people do not write by hand: digits among letters.
func random(c candidate) bool {
	v := c.value()
	if c.words.placeholder(v, true) || code(v) {
		return false
	}
	lowers, uppers, digits, others := classes(v)
	// One digit is enough where capitals are too many for a name in camel case.
	if digits < 1 || digits < 2 && uppers*4 < lowers || lowers+uppers < 2 || others*3 > len(v) {
		return false
	}
	// Words with a number or two between separators are names.
	plain := 0
	parts := bytes.FieldsFunc(v, func(r rune) bool { return r == '-' || r == '_' || r == '.' || r == '/' })
	for _, p := range parts {
		l, u, d, o := classes(p)
		if o == 0 && (d == 0 && (l == 0 || u <= 1) || l+u == 0) {
			plain += len(p)
		}
	}
	return plain*2 < len(v)
}

// code reports whether a value is an expression of a program, not a text.
func code(v []byte) bool {
	if bytes.ContainsAny(v, "()[]{}") || bytes.HasPrefix(v, []byte("this.")) || bytes.HasPrefix(v, []byte("self.")) {
		return true
	}
	// name.name.name
	parts := bytes.Split(v, []byte{'.'})
	if len(parts) < 2 {
		return false
	}
	for _, p := range parts {
		_, _, digits, others := classes(p)
		if len(p) < 2 || digits > 2 || others > bytes.Count(p, []byte{'_'}) || p[0] >= '0' && p[0] <= '9' {
			return false
		}
	}
	return true
}

// urlPassword takes a password of an address, unless it is the name again.
func urlPassword(c candidate) bool {
	v := c.value()
	if c.words.placeholder(v, true) || len(v) < 3 || bytes.HasPrefix(v, []byte{'%'}) && !bytes.ContainsAny(v, "0123456789") {
		return false
	}
	before := c.text[c.match:max(c.match, c.start-1)]
	name := before[bytes.LastIndexByte(before, '/')+1:]
	if bytes.Equal(name, v) {
		return false
	}
	_, _, digits, _ := classes(v)
	return digits < len(v) || len(v) > 5 // a port is none
}
