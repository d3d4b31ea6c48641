package sign

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	coresignature "github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go"
	notationverifier "github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gabion-dev/gabion/scan"
)

const notationArtifact = "application/vnd.cncf.notary.signature"

// notary checks notation signatures.
type notary struct{ verifier notation.Verifier }

// store is the one trust store there is.
type store map[truststore.Type][]*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (s store) GetCertificates(_ context.Context, kind truststore.Type, name string) ([]*x509.Certificate, error) {
	if name != "gabion" || len(s[kind]) == 0 {
		return nil, fmt.Errorf("trust store %s:%s holds no certificates", kind, name)
	}
	return s[kind], nil
}

func newNotary(n *Notation) (*notary, error) {
	cas, err := certificates(n.CACerts)
	if err != nil {
		return nil, fmt.Errorf("read certificates of notation: %w", err)
	}
	if len(cas) == 0 {
		return nil, errors.New("notation is trusted, but no certificate is given")
	}
	tsas, err := certificates(n.TSACerts)
	if err != nil {
		return nil, fmt.Errorf("read timestamp certificates of notation: %w", err)
	}
	doc := &trustpolicy.Document{}
	if len(n.TrustPolicy) > 0 {
		d := json.NewDecoder(bytes.NewReader(n.TrustPolicy))
		d.DisallowUnknownFields()
		if err := d.Decode(doc); err != nil {
			return nil, fmt.Errorf("read trust policy of notation: %w", err)
		}
	} else {
		doc = ownPolicy(n.Subjects, len(tsas) > 0)
	}
	v, err := notationverifier.New(doc, store{truststore.TypeCA: cas, truststore.TypeTSA: tsas}, nil)
	if err != nil {
		return nil, fmt.Errorf("use trust policy of notation: %w", err)
	}
	return &notary{v}, nil
}

// ownPolicy is strict, but asks nobody whether certificates were revoked.
func ownPolicy(subjects []string, timestamps bool) *trustpolicy.Document {
	p := trustpolicy.TrustPolicy{
		Name: "gabion", RegistryScopes: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{
			VerificationLevel: trustpolicy.LevelStrict.Name,
			Override:          map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip},
		},
		TrustStores:       []string{"ca:gabion"},
		TrustedIdentities: []string{"*"},
	}
	if timestamps {
		p.TrustStores = append(p.TrustStores, "tsa:gabion")
	}
	if len(subjects) > 0 {
		p.TrustedIdentities = nil
		for _, s := range subjects {
			p.TrustedIdentities = append(p.TrustedIdentities, "x509.subject: "+s)
		}
	}
	return &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{p}}
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("there is something that is not PEM")
	}
	return out, nil
}

// notation judges a notation signature that refers to subject.
func (v *verifier) notation(ctx context.Context, subject string, l *Descriptor) (scan.Signature, error) {
	raw, err := v.blob(ctx, l.Digest, maxPayload)
	if err != nil {
		return scan.Signature{}, err
	}
	s := scan.Signature{Kind: "notation"}
	claim(&s, l.MediaType, raw)
	if v.trust.notation == nil {
		s.Why = "it is a notation signature, and no certificate is trusted for those"
		return s, nil
	}
	manifest, err := v.src.Manifest(ctx, subject)
	if err != nil {
		return s, err
	}
	m, err := parseManifest(manifest)
	if err != nil {
		return s, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(subject), Size: int64(len(manifest))}
	if desc.MediaType == "" {
		desc.MediaType = ocispec.MediaTypeImageManifest
	}
	outcome, err := v.trust.notation.verifier.Verify(ctx, desc, raw, notation.VerifierVerifyOptions{
		ArtifactReference: v.src.Name() + "@" + subject, SignatureMediaType: l.MediaType,
	})
	if err != nil {
		s.Why = err.Error()
		if strings.Contains(s.Why, "descriptor mismatch") {
			s.Why = "it is for another image"
		}
		return s, nil
	}
	if outcome.VerificationLevel == trustpolicy.LevelSkip {
		s.Why = "the trust policy says not to verify it"
		return s, nil
	}
	// Levels below strict let failures through; here a signature holds or not.
	for _, r := range outcome.VerificationResults {
		if r.Error != nil {
			s.Why = fmt.Sprintf("%s: %v", r.Type, r.Error)
			return s, nil
		}
	}
	s.Valid = true
	return s, nil
}

// claim fills in who a notation signature says it is of.
func claim(s *scan.Signature, mediaType string, raw []byte) {
	if !slices.Contains(coresignature.RegisteredEnvelopeTypes(), mediaType) {
		return
	}
	env, err := coresignature.ParseEnvelope(mediaType, raw)
	if err != nil {
		return
	}
	content, err := env.Content()
	if err != nil || len(content.SignerInfo.CertificateChain) == 0 {
		return
	}
	s.Identity = content.SignerInfo.CertificateChain[0].Subject.String()
	s.Issuer = content.SignerInfo.CertificateChain[0].Issuer.String()
	s.SignedAt = content.SignerInfo.SignedAttributes.SigningTime.UTC()
}
