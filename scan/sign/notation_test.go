package sign

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// notaryCA is an authority and a signer with a certificate of it.
type notaryCA struct {
	root, leaf *x509.Certificate
	key        *ecdsa.PrivateKey
}

func newNotaryCA(t testing.TB) *notaryCA {
	return newNotaryCAUntil(t, time.Now().Add(time.Hour))
}

func newNotaryCAUntil(t testing.TB, end time.Time) *notaryCA {
	t.Helper()
	rootKey, key := newKey(t), newKey(t)
	begin := time.Now().Add(-time.Hour)
	make := func(serial int64, cn string, pub *ecdsa.PublicKey, parent *x509.Certificate, ca bool, end time.Time) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), NotBefore: begin, NotAfter: end, BasicConstraintsValid: true,
			Subject: pkix.Name{Country: []string{"DE"}, Province: []string{"BE"}, Organization: []string{"Example"}, CommonName: cn},
			IsCA:    ca, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			c.KeyUsage = x509.KeyUsageCertSign
		} else {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, rootKey)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	n := &notaryCA{key: key}
	n.root = make(1, "root", &rootKey.PublicKey, nil, true, time.Now().Add(2*time.Hour))
	n.leaf = make(2, "signer", &key.PublicKey, n.root, false, end)
	return n
}

func (n *notaryCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.root.Raw})
}

func (n *notaryCA) envelope(t testing.TB, d ocispec.Descriptor, mediaType string, expiry time.Duration) []byte {
	t.Helper()
	s, err := signer.NewGenericSigner(n.key, []*x509.Certificate{n.leaf, n.root})
	if err != nil {
		t.Fatal(err)
	}
	sig, _, err := s.Sign(context.Background(), d, notation.SignerSignOptions{SignatureMediaType: mediaType, ExpiryDuration: expiry})
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (w *world) descriptor(dig string) ocispec.Descriptor {
	m, err := parseManifest(w.manifest)
	w.must(err)
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(dig), Size: int64(len(w.manifest))}
}

// notarise stores a notation signature of dig as a referrer of the image.
func (w *world) notarise(n *notaryCA, dig string) {
	w.t.Helper()
	w.notariseAs(n.envelope(w.t, w.descriptor(dig), "application/jose+json", 0), "application/jose+json")
}

func (w *world) notariseAs(sig []byte, mediaType string) {
	w.t.Helper()
	w.push("", notationArtifact, w.digest.DigestStr(), part{mediaType: mediaType, body: sig})
}

func TestNotation(t *testing.T) {
	n := newNotaryCA(t)
	trusted := Policy{Notation: &Notation{CACerts: n.pem()}}
	for _, tt := range []struct {
		name string
		push func(w *world)
		p    Policy
		why  string
	}{
		{"JWS", func(w *world) { w.notarise(n, w.digest.DigestStr()) }, trusted, ""},
		{"COSE", func(w *world) {
			w.notariseAs(n.envelope(w.t, w.descriptor(w.digest.DigestStr()), "application/cose", 0), "application/cose")
		}, trusted, ""},
		{"subject", func(w *world) { w.notarise(n, w.digest.DigestStr()) },
			Policy{Notation: &Notation{CACerts: n.pem(), Subjects: []string{"C=DE, ST=BE, O=Example, CN=signer"}}}, ""},
		{"another subject", func(w *world) { w.notarise(n, w.digest.DigestStr()) },
			Policy{Notation: &Notation{CACerts: n.pem(), Subjects: []string{"C=DE, ST=BE, O=Example, CN=somebody"}}}, "trusted identities"},
		{"another authority", func(w *world) { w.notarise(newNotaryCA(w.t), w.digest.DigestStr()) }, trusted, "does not contain any trusted certificate"},
		{"another image", func(w *world) { w.notarise(n, "sha256:"+strings.Repeat("ee", 32)) }, trusted, "for another image"},
		{"nobody trusted", func(w *world) { w.notarise(n, w.digest.DigestStr()) }, Policy{}, "no certificate is trusted"},
		{"garbage", func(w *world) { w.notariseAs([]byte("x"), "application/jose+json") }, trusted, "parse"},
		{"unknown envelope", func(w *world) { w.notariseAs([]byte("x"), "text/plain") }, trusted, "text/plain"},
		{"tampered", func(w *world) {
			w.notariseAs(tamper(w.t, n.envelope(w.t, w.descriptor("sha256:"+strings.Repeat("ee", 32)), "application/jose+json", 0)), "application/jose+json")
		}, trusted, "signature is invalid"},
		{"signed to expire", func(w *world) {
			sig := n.envelope(w.t, w.descriptor(w.digest.DigestStr()), "application/jose+json", time.Second)
			time.Sleep(1100 * time.Millisecond) // the library reads the clock of the machine
			w.notariseAs(sig, "application/jose+json")
		}, trusted, "expired"},
		{"own trust policy of another repository", func(w *world) { w.notarise(n, w.digest.DigestStr()) },
			Policy{Notation: &Notation{CACerts: n.pem(), TrustPolicy: []byte(`{"version":"1.0","trustPolicies":[{"name":"x","registryScopes":["example.test/other"],"signatureVerification":{"level":"strict"},"trustStores":["ca:gabion"],"trustedIdentities":["*"]}]}`)}},
			"no applicable trust policy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, inProcess(t, true))
			tt.push(w)
			s := one(t, w.source(), tt.p)
			if s.Kind != "notation" {
				t.Errorf("kind %q", s.Kind)
			}
			if tt.why != "" {
				fails(t, s, tt.why)
				return
			}
			holds(t, s)
			if !strings.Contains(s.Identity, "CN=signer") || s.SignedAt.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	}
}

// tamper changes the payload of a JWS envelope and leaves its signature.
func tamper(t testing.TB, sig []byte) []byte {
	t.Helper()
	var env map[string]any
	if err := json.Unmarshal(sig, &env); err != nil {
		t.Fatal(err)
	}
	text := env["payload"].(string)
	env["payload"] = text[:20] + string(text[20]^1) + text[21:]
	return toJSON(t, env)
}
