package pack

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// KeyEnv is the environment variable that may hold public keys (PEM), or the
// path of a file with them.
const KeyEnv = "GABION_DB_KEY"

// Keys are public keys that are trusted.
type Keys []ed25519.PublicKey

// LoadKeys reads the public keys of files and of the environment (KeyEnv).
func LoadKeys(getenv func(string) string, files ...string) (Keys, error) {
	var keys Keys
	if v := strings.TrimSpace(getenv(KeyEnv)); strings.HasPrefix(v, "-----BEGIN") {
		k, err := ParseKeys([]byte(v))
		if err != nil {
			return nil, fmt.Errorf("read $%s: %w", KeyEnv, err)
		}
		keys = append(keys, k...)
	} else if v != "" {
		files = append(files, v)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		k, err := ParseKeys(b)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", f, err)
		}
		keys = append(keys, k...)
	}
	return keys, nil
}

// KeyID names a public key: the first 16 hexadecimal digits of its SHA-256.
func KeyID(k ed25519.PublicKey) string {
	sum := sha256.Sum256(k)
	return hex.EncodeToString(sum[:8])
}

// GenerateKey makes a key pair, in PEM (PKCS #8 and PKIX).
func GenerateKey(random io.Reader) (private, public []byte, err error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed)
	priv, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: priv}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), nil
}

// ParseKeys reads public keys in PEM, one or several.
func ParseKeys(text []byte) (Keys, error) {
	var keys Keys
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("parse public key: PEM block %q; a public key is needed here", block.Type)
		}
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse public key: %w", err)
		}
		ed, ok := k.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("parse public key: %T is not ed25519", k)
		}
		keys = append(keys, ed)
	}
	if len(keys) == 0 {
		return nil, errors.New("parse public key: no PEM block in it")
	}
	return keys, nil
}

// ParseSigner reads a private key in PEM.
func ParseSigner(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("parse private key: no PEM block \"PRIVATE KEY\" in it")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse private key: %w", err)
	}
	ed, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("parse private key: %T is not ed25519", k)
	}
	return ed, nil
}

// envelope carries a statement and its signatures in the form of DSSE
// (https://github.com/secure-systems-lab/dsse): what is signed is the text
// "DSSEv1", the type and the payload with their lengths.
type envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     string      `json:"payload"` // base64 of the statement's JSON
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

func signed(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// seal writes a statement's envelope; without a key it has no signature.
func seal(s Statement, key ed25519.PrivateKey) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sign statement: %w", err)
	}
	e := envelope{PayloadType: StatementType, Payload: base64.StdEncoding.EncodeToString(payload), Signatures: []signature{}}
	if key != nil {
		public, ok := key.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("sign statement: the key has no public half")
		}
		e.Signatures = append(e.Signatures, signature{
			KeyID: KeyID(public),
			Sig:   base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed(StatementType, payload))),
		})
	}
	return json.Marshal(e)
}

// open reads an envelope and verifies it with the keys. With unsigned, it need
// not be signed by one of them; keyID then is empty when it is not.
func open(b []byte, keys Keys, unsigned bool) (s Statement, keyID string, err error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return s, "", fmt.Errorf("read statement: %w: %w", err, ErrCorrupt)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil || e.PayloadType != StatementType {
		return s, "", fmt.Errorf("read statement of type %.80q: %w", e.PayloadType, ErrCorrupt)
	}
	keyID = signer(e, payload, keys)
	if keyID == "" && !unsigned {
		return s, "", fmt.Errorf("verify statement: %s: %w", why(e, keys), ErrUnsigned)
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return s, "", fmt.Errorf("read statement: %w: %w", err, ErrCorrupt)
	}
	return s, keyID, s.check()
}

func signer(e envelope, payload []byte, keys Keys) string {
	text := signed(e.PayloadType, payload)
	for _, s := range e.Signatures {
		raw, err := base64.StdEncoding.DecodeString(s.Sig)
		if err != nil {
			continue
		}
		for _, k := range keys {
			if len(k) == ed25519.PublicKeySize && ed25519.Verify(k, text, raw) {
				return KeyID(k)
			}
		}
	}
	return ""
}

// why says what is wrong with the signatures, and what to do.
func why(e envelope, keys Keys) string {
	switch {
	case len(e.Signatures) == 0:
		return "the database has no signature; take one that has, or allow unsigned ones"
	case len(keys) == 0:
		return "no public key was given (flag, or $" + KeyEnv + ")"
	}
	var ids []string
	for _, s := range e.Signatures[:min(len(e.Signatures), 5)] {
		ids = append(ids, fmt.Sprintf("%.20q", s.KeyID))
	}
	return "signed by " + strings.Join(ids, ", ") + ", which is none of the keys given or does not verify"
}
