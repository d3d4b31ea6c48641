package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// trust is a policy made ready for use.
type trust struct {
	keys       []trustedKey
	identities []verify.CertificateIdentity
	root       root.TrustedMaterial
	log        bool
	notation   *notary // nil: nobody
}

// trustedKey is one way to use a public key.
type trustedKey struct {
	name     string
	material root.TrustedMaterial
}

// keyMaterial answers every question for a key with the one there is, and
// brings the logs and timestamp authorities of a root.
type keyMaterial struct {
	root.TrustedMaterial
	key *root.ExpiringKey
}

func (k keyMaterial) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return k.key, nil
}

func newTrust(p Policy) (*trust, error) {
	t := &trust{log: p.Log, root: &root.BaseTrustedMaterial{}}
	if len(p.TrustedRoot) > 0 {
		r, err := root.NewTrustedRootFromJSON(p.TrustedRoot)
		if err != nil {
			return nil, fmt.Errorf("read trusted root: %w", err)
		}
		t.root = r
	}
	if p.Log && len(t.root.RekorLogs()) == 0 {
		return nil, errors.New("a transparency log is demanded, but the trusted root names none")
	}
	for _, k := range p.Keys {
		if err := t.addKey(k); err != nil {
			return nil, fmt.Errorf("read key %s: %w", k.Name, err)
		}
	}
	for i, id := range p.Identities {
		if len(t.root.FulcioCertificateAuthorities()) == 0 {
			return nil, errors.New("identities are trusted, but the trusted root names no certificate authority")
		}
		ready, err := id.compile()
		if err != nil {
			return nil, fmt.Errorf("read identity %d: %w", i+1, err)
		}
		t.identities = append(t.identities, ready)
	}
	if p.Notation != nil {
		n, err := newNotary(p.Notation)
		if err != nil {
			return nil, err
		}
		t.notation = n
	}
	return t, nil
}

func (t *trust) addKey(k Key) error {
	block, rest := pem.Decode(k.PEM)
	if block == nil || block.Type != "PUBLIC KEY" {
		return errors.New("no PEM block \"PUBLIC KEY\"")
	}
	if extra, _ := pem.Decode(rest); extra != nil {
		return errors.New("more than one key: give each its own entry")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	// Older tools sign with SHA-256 whatever the curve, newer ones with the hash
	// of the curve's strength.
	hashes := []crypto.Hash{crypto.SHA256}
	if ec, ok := pub.(*ecdsa.PublicKey); ok {
		switch ec.Curve {
		case elliptic.P384():
			hashes = append(hashes, crypto.SHA384)
		case elliptic.P521():
			hashes = append(hashes, crypto.SHA512)
		}
	}
	for _, h := range hashes {
		v, err := signature.LoadVerifier(pub, h)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, trustedKey{k.Name, keyMaterial{t.root, root.NewExpiringKey(v, time.Time{}, time.Time{})}})
	}
	return nil
}

func (id Identity) compile() (verify.CertificateIdentity, error) {
	if (id.Issuer == "") == (id.IssuerPattern == "") {
		return verify.CertificateIdentity{}, errors.New("give either the issuer or a pattern of it")
	}
	if (id.Subject == "") == (id.SubjectPattern == "") {
		return verify.CertificateIdentity{}, errors.New("give either the subject or a pattern of it")
	}
	issuer, err := anchored(id.IssuerPattern)
	if err != nil {
		return verify.CertificateIdentity{}, err
	}
	subject, err := anchored(id.SubjectPattern)
	if err != nil {
		return verify.CertificateIdentity{}, err
	}
	return verify.NewShortCertificateIdentity(id.Issuer, issuer, id.Subject, subject)
}

// anchored makes a pattern match whole texts only.
func anchored(pattern string) (string, error) {
	if pattern == "" {
		return "", nil
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return "", err
	}
	return `\A(?:` + pattern + `)\z`, nil
}
