package secret

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"hash/fnv"
	mathrand "math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The cases in content are templates, so that no file of the repository holds
// anything that looks like a credential. They are filled in here, the same way
// every time for the same seed (but for real keys, which are new each time).
type filler struct {
	t   testing.TB
	rng *mathrand.Rand
}

func newFiller(t testing.TB, seed string) *filler {
	h := fnv.New64a()
	h.Write([]byte(seed))
	return &filler{t, mathrand.New(mathrand.NewPCG(h.Sum64(), 1))}
}

var alphabets = map[string]string{
	"hex":    "0123456789abcdef",
	"HEX":    "0123456789ABCDEF",
	"digits": "123456789",
	"alnum":  base62,
	"alpha":  base62[10:],
	"lower":  "abcdefghijklmnopqrstuvwxyz0123456789",
	"upper":  "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
	"b64":    base62 + "+/",
	"url":    base62 + "_-",
	"bech":   "023456789ACDEFGHJKLMNPQRSTUVWXYZ",
	"as":     "A",
}

var hole = regexp.MustCompile(`\{(\+|[a-zA-Z0-9]+(?::[A-Za-z0-9_]+){0,2})\}`)

func (f *filler) fill(template string) string {
	return hole.ReplaceAllStringFunc(template, func(h string) string {
		word, arg, _ := strings.Cut(h[1:len(h)-1], ":")
		if a, ok := alphabets[word]; ok {
			n, err := strconv.Atoi(arg)
			if err != nil {
				f.t.Fatalf("template %s: %v", h, err)
			}
			return f.random(a, n)
		}
		switch word {
		case "+":
			return ""
		case "uuid":
			x := alphabets["hex"]
			return f.random(x, 8) + "-" + f.random(x, 4) + "-4" + f.random(x, 3) + "-a" + f.random(x, 3) + "-" + f.random(x, 12)
		case "crc":
			prefix, n, _ := strings.Cut(arg, ":")
			count, _ := strconv.Atoi(n)
			body := f.random(base62, count)
			return prefix + body + sum62([]byte(body))
		case "basic":
			n, _ := strconv.Atoi(arg)
			return base64.StdEncoding.EncodeToString([]byte("user:" + f.random(base62, n)))
		case "jwt":
			return f.jwt(arg)
		case "pem":
			return f.pem(arg)
		case "pemescaped":
			return strings.ReplaceAll(f.pem(arg), "\n", `\n`)
		case "pembase64":
			return base64.StdEncoding.EncodeToString([]byte(f.pem("EC")))
		case "pgp":
			head := "-----BEGIN PGP " + arg + " KEY BLOCK-----\n"
			body := f.random(alphabets["b64"], 64) + "\n" + f.random(alphabets["b64"], 64) + "\n"
			return head + "\n" + body + "=abcd\n" + strings.Replace(head, "BEGIN", "END", 1)
		}
		return h // a value in braces that is meant
	})
}

// random draws characters so that a secret looks like one: with digits and
// letters among them, and none of the words that placeholders have.
func (f *filler) random(alphabet string, n int) string {
	for {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[f.rng.IntN(len(alphabet))]
		}
		s := string(b)
		mixed := strings.ContainsAny(s, "0123456789") && strings.ContainsAny(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz")
		if (mixed || n < 8 || len(alphabet) == 1 || alphabet == alphabets["digits"] || alphabet == alphabets["alpha"]) && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-") {
			return s
		}
	}
}

func (f *filler) jwt(kind string) string {
	header, claims := map[string]any{"alg": "RS256", "typ": "JWT"}, map[string]any{"sub": f.random(base62, 24), "iat": 1700000000}
	switch kind {
	case "none":
		header["alg"] = "none"
	case "k8s":
		claims["kubernetes.io"] = map[string]any{"namespace": "default", "serviceaccount": map[string]string{"name": "web"}}
	}
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			f.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(header) + "." + part(claims) + "." + f.random(alphabets["url"], 341) + "x"
}

func (f *filler) pem(kind string) string {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	block := &pem.Block{Headers: map[string]string{}}
	must := func(der []byte, err error) []byte {
		if err != nil {
			f.t.Fatal(err)
		}
		return der
	}
	switch kind {
	case "EC":
		block.Type, block.Bytes = "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec))
	case "PKCS8":
		block.Type, block.Bytes = "PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ec))
	case "PUBLIC":
		block.Type, block.Bytes = "PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&ec.PublicKey))
	case "RSA", "RSAENC":
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			f.t.Fatal(err)
		}
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)
		if kind == "RSAENC" {
			block.Headers = map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}
		}
	case "ENCRYPTED": // what matters is the type; nobody decrypts it
		block.Type, block.Bytes = "ENCRYPTED PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ec))
	case "OPENSSH", "OPENSSHENC":
		cipher := "none"
		if kind == "OPENSSHENC" {
			cipher = "aes256-ctr"
		}
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			f.t.Fatal(err)
		}
		body := append([]byte("openssh-key-v1\x00"), binary.BigEndian.AppendUint32(nil, uint32(len(cipher)))...)
		block.Type, block.Bytes = "OPENSSH PRIVATE KEY", append(append(body, cipher...), k...)
	default:
		f.t.Fatalf("no key of kind %q", kind)
	}
	return string(pem.EncodeToMemory(block))
}
