package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
)

// key is a private key in PEM form.
type key struct {
	encrypted bool
	body      []byte // decoded
	end       int    // behind the block
}

const maxPEM = 64 << 10

// pemAt reads the private key that begins at a place. It takes keys in one
// line of JSON or shell with \n for line ends, and keys that are indented. A
// header without a key behind it is none.
func pemAt(text []byte, at int) (key, bool) {
	window := text[at:min(len(text), at+maxPEM)]
	footer := bytes.Index(window, []byte("-----END "))
	if footer < 0 {
		return key{}, false
	}
	end := footer + len("-----END ")
	if i := bytes.Index(window[end:], []byte("-----")); i < 0 || i > 40 {
		return key{}, false
	} else {
		end += i + 5
	}
	block := string(window[:end])
	for _, escaped := range []string{`\\r\\n`, `\\n`, `\r\n`, `\n`} {
		block = strings.ReplaceAll(block, escaped, "\n")
	}
	lines := strings.Split(block, "\n")
	for i := range lines {
		// Quotation marks of a program's or a shell's string, and what is behind.
		line := strings.TrimLeft(lines[i], " \t\"'`")
		if cut := strings.IndexAny(line, "\"'`\\"); cut >= 0 {
			line = line[:cut]
		}
		lines[i] = strings.TrimRight(line, " \t\r,")
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "+" }) // between joined strings
	b, _ := pem.Decode([]byte(strings.Join(lines, "\n") + "\n"))
	if b == nil || !strings.HasSuffix(b.Type, "PRIVATE KEY") || len(b.Bytes) < 32 {
		return key{}, false
	}
	k := key{body: b.Bytes, end: at + end}
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
		k.encrypted = true
	case b.Type == "OPENSSH PRIVATE KEY":
		// "openssh-key-v1\0", then the name of the cipher with its length.
		rest, ok := bytes.CutPrefix(b.Bytes, []byte("openssh-key-v1\x00"))
		if !ok {
			return key{}, false
		}
		k.encrypted = !bytes.HasPrefix(rest, []byte("\x00\x00\x00\x04none"))
	case b.Bytes[0] != 0x30: // ASN.1 SEQUENCE
		return key{}, false
	}
	return k, true
}

// pemBase64 takes base64 of a PEM private key, as kubeconfigs hold them.
func pemBase64(c candidate) bool {
	raw, ok := decode64(c.value())
	if !ok {
		return false
	}
	at := bytes.Index(raw, []byte("-----BEGIN "))
	if at < 0 {
		return false
	}
	_, ok = pemAt(raw, at)
	return ok
}

// armored takes an armoured block with something in it.
func armored(c candidate) bool {
	window := c.text[c.end:min(len(c.text), c.end+maxPEM)]
	end := bytes.Index(window, []byte("-----END PGP"))
	if end < 0 {
		return false
	}
	n := 0
	for line := range bytes.Lines(window[:end]) {
		line = bytes.TrimSpace(line)
		if len(line) < 16 || bytes.Contains(line, []byte(": ")) {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(string(bytes.TrimRight(line, "=")))
		if err == nil {
			n += len(raw)
		}
	}
	return n >= 48
}
