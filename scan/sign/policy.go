// Package sign says who signed an image: sigstore signatures and bundles,
// notation signatures, and in-toto attestations, judged against keys,
// identities and certificates the user trusts.
//
// It does not sign, and it asks nobody but the registry that holds the image:
// every proof comes with the signature and is checked against trust material
// handed in. The one idea: three answers are kept apart. A signature that does
// not hold is listed as invalid with its reason; an image without signatures
// has an empty list; a registry that could not be asked, or answered more than
// is reasonable, makes a scan.Gap.
package sign

import (
	"fmt"
	"slices"

	"github.com/gabion-dev/gabion/scan"
)

// Policy is what is trusted. The zero value trusts nobody: signatures are then
// listed, none is valid.
type Policy struct {
	Keys       []Key
	Identities []Identity
	// TrustedRoot is sigstore's trusted_root.json: certificate authorities,
	// transparency logs and timestamp authorities. Identities need it; keys use
	// it only with Log.
	TrustedRoot []byte
	// Log demands that signatures by key are in a transparency log of
	// TrustedRoot too. Signatures by identity always are.
	Log bool
	// Notation trusts certificates; nil: notation signatures are listed only.
	Notation *Notation
	// Require is how many valid signatures an image needs; attestations do not
	// count. 0: none.
	Require int
	// Predicates are the types of attestations an image needs, each at least
	// once and valid ("https://slsa.dev/provenance/v1").
	Predicates []string
}

// Key is a public key.
type Key struct {
	Name string // how it is called in results
	PEM  []byte // PKIX "PUBLIC KEY": ECDSA, RSA or Ed25519
}

// Identity is a signer known by a certificate. Of each pair exactly one is
// given; patterns must match the whole text.
type Identity struct {
	Issuer, IssuerPattern   string // "https://token.actions.example"
	Subject, SubjectPattern string // mail address or URI
}

// Notation is what notation signatures are checked against. Without a
// TrustPolicy everything but revocation is enforced, which would need the
// network; one that enforces revocation makes the library ask the authorities.
type Notation struct {
	// CACerts are PEM certificates of trusted authorities.
	CACerts []byte
	// TSACerts are PEM certificates of timestamp authorities; empty: timestamps
	// prove nothing.
	TSACerts []byte
	// Subjects are the trusted identities ("x509.subject: C=DE, O=Example, ..."
	// without the prefix); empty: everything below CACerts.
	Subjects []string
	// TrustPolicy is a trustpolicy.json that replaces Subjects; its trust stores
	// are called "ca:gabion" and "tsa:gabion".
	TrustPolicy []byte
}

// Check reports what is wrong with the policy itself: unreadable keys,
// patterns, certificates.
func (p Policy) Check() error {
	_, err := newTrust(p)
	return err
}

// Judge says what the policy misses in signatures that Verify returned.
func (p Policy) Judge(sigs []scan.Signature) []scan.Violation {
	var out []scan.Violation
	valid, all := 0, 0
	for _, s := range sigs {
		if s.Kind == "attestation" {
			continue
		}
		all++
		if s.Valid {
			valid++
		}
	}
	if valid < p.Require {
		object := fmt.Sprintf("%d valid of %d found, %d needed", valid, all, p.Require)
		if all == 0 {
			object = "the image has no signatures"
		}
		out = append(out, scan.Violation{Rule: "signatures", Object: object})
	}
	for _, want := range p.Predicates {
		if !slices.ContainsFunc(sigs, func(s scan.Signature) bool {
			return s.Kind == "attestation" && s.Valid && s.Predicate == want
		}) {
			out = append(out, scan.Violation{Rule: "attestations", Object: "no valid attestation of type " + want})
		}
	}
	return out
}
