package sign

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/gabion-dev/gabion/scan"
)

const (
	inTotoPayload = "application/vnd.in-toto+json"
	// signPredicate marks a statement that says nothing but "signed".
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

func isBundle(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.dev.sigstore.bundle")
}

// bundle judges a sigstore bundle that refers to subject.
func (v *verifier) bundle(ctx context.Context, subject string, l *Descriptor) (scan.Signature, error) {
	raw, err := v.blob(ctx, l.Digest, maxBundle)
	if err != nil {
		return scan.Signature{}, err
	}
	s := scan.Signature{Kind: "sigstore"}
	b := new(protobundle.Bundle)
	if err := protojson.Unmarshal(raw, b); err != nil {
		s.Why = fmt.Sprintf("its bundle cannot be read: %v", err)
		return s, nil
	}
	if b.GetDsseEnvelope() != nil {
		s.Kind = "attestation"
		v.attested(&s, b)
		return s, nil
	}
	// A signature over the bytes of the manifest itself.
	manifest, err := v.src.Manifest(ctx, subject)
	if err != nil {
		return s, err
	}
	v.trust.judge(&s, b, "", artifactOf(manifest))
	return s, nil
}

// attested judges a bundle whose content is an envelope with a statement.
func (v *verifier) attested(s *scan.Signature, b *protobundle.Bundle) {
	st, err := parseStatement(b.GetDsseEnvelope().GetPayloadType(), b.GetDsseEnvelope().GetPayload())
	if err != nil {
		v.trust.judge(s, b, err.Error(), nil)
		return
	}
	s.Predicate = st.PredicateType
	if s.Predicate == signPredicate {
		s.Kind, s.Predicate = "sigstore", ""
	}
	algorithm, sum, ok := st.about(v.src.Subjects())
	why := ""
	if !ok {
		why = "it is for another image: " + st.first()
	}
	v.trust.judge(s, b, why, func() verify.ArtifactPolicyOption { return verify.WithArtifactDigest(algorithm, sum) })
}

// artifactOf checks a signature against content.
func artifactOf(content []byte) func() verify.ArtifactPolicyOption {
	return func() verify.ArtifactPolicyOption { return verify.WithArtifact(io.Reader(bytes.NewReader(content))) }
}

// statement is an in-toto statement, as far as it is read.
type statement struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

func parseStatement(payloadType string, payload []byte) (*statement, error) {
	if payloadType != inTotoPayload {
		return nil, fmt.Errorf("its payload is %q, not an in-toto statement", payloadType)
	}
	var st statement
	if err := json.Unmarshal(payload, &st); err != nil {
		return nil, fmt.Errorf("its statement cannot be read: %w", err)
	}
	if !strings.HasPrefix(st.Type, "https://in-toto.io/Statement/v") {
		return nil, fmt.Errorf("its statement is of type %q", st.Type)
	}
	return &st, nil
}

// about finds the digest of subjects ("sha256:...") that the statement is about.
func (st *statement) about(subjects []string) (algorithm string, sum []byte, ok bool) {
	for _, s := range st.Subject {
		for algorithm, text := range s.Digest {
			if slices.Contains(subjects, algorithm+":"+text) {
				sum, err := hex.DecodeString(text)
				return algorithm, sum, err == nil
			}
		}
	}
	return "", nil, false
}

func (st *statement) first() string {
	if len(st.Subject) == 0 {
		return "it names none"
	}
	return fmt.Sprintf("%q", "sha256:"+st.Subject[0].Digest["sha256"])
}

// judge fills in who a signature claims to be of and whether that holds. why is
// what is already wrong with it; artifact makes what the signature is compared
// with, anew for every try.
func (t *trust) judge(s *scan.Signature, pb *protobundle.Bundle, why string, artifact func() verify.ArtifactPolicyOption) {
	b, err := bundle.NewBundle(pb)
	if err != nil {
		s.Why = fmt.Sprintf("its bundle cannot be read: %v", err)
		return
	}
	content, err := b.VerificationContent()
	if err != nil {
		s.Why = fmt.Sprintf("its bundle cannot be read: %v", err)
		return
	}
	cert := content.Certificate()
	if cert != nil {
		if sum, err := certificate.SummarizeCertificate(cert); err == nil {
			s.Identity, s.Issuer = sum.SubjectAlternativeName, sum.Issuer
		} else {
			s.Identity = cert.Subject.String()
		}
	}
	if why != "" {
		s.Why = why
		return
	}
	var res *verify.VerificationResult
	if cert != nil {
		res, err = t.byIdentity(b, artifact)
	} else {
		res, s.KeyID, err = t.byKey(b, artifact)
	}
	if err != nil {
		s.Why = t.reason(err, b, s)
		return
	}
	s.Valid = true
	for _, ts := range res.VerifiedTimestamps {
		if at := ts.Timestamp.UTC(); s.SignedAt.IsZero() || at.Before(s.SignedAt) {
			s.SignedAt = at
		}
	}
}

var (
	errNoIdentity = errors.New("it is signed by certificate, and no identity is trusted")
	errNoKey      = errors.New("it is signed by key, and no key is trusted")
	errOtherKey   = errors.New("it was not made with a trusted key, or what it covers was changed")
)

// byIdentity checks a signature by certificate. What the trusted root knows, a
// transparency log, timestamp authorities, a log of certificates, is demanded.
func (t *trust) byIdentity(b *bundle.Bundle, artifact func() verify.ArtifactPolicyOption) (*verify.VerificationResult, error) {
	if len(t.identities) == 0 {
		return nil, errNoIdentity
	}
	var opts []verify.VerifierOption
	if len(t.root.RekorLogs()) > 0 {
		opts = append(opts, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	} else {
		opts = append(opts, verify.WithSignedTimestamps(1))
	}
	if len(t.root.CTLogs()) > 0 {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	v, err := verify.NewVerifier(t.root, append(opts, verify.WithoutStatementPredicate())...)
	if err != nil {
		return nil, err
	}
	policy := make([]verify.PolicyOption, 0, len(t.identities))
	for _, id := range t.identities {
		policy = append(policy, verify.WithCertificateIdentity(id))
	}
	return v.Verify(b, verify.NewPolicy(artifact(), policy...))
}

// byKey tries the trusted keys; the name of the one that fits comes back.
func (t *trust) byKey(b *bundle.Bundle, artifact func() verify.ArtifactPolicyOption) (*verify.VerificationResult, string, error) {
	if len(t.keys) == 0 {
		return nil, "", errNoKey
	}
	opts := []verify.VerifierOption{verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate()}
	if t.log {
		opts = []verify.VerifierOption{verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1), verify.WithoutStatementPredicate()}
	}
	last := errOtherKey
	for _, k := range t.keys {
		v, err := verify.NewVerifier(k.material, opts...)
		if err != nil {
			return nil, "", err
		}
		res, err := v.Verify(b, verify.NewPolicy(artifact(), verify.WithKey()))
		if err == nil {
			return res, k.name, nil
		}
		if strings.Contains(err.Error(), "log inclusion") || strings.Contains(err.Error(), "verify timestamps") {
			last = err
		}
	}
	return nil, "", last
}

// reason tells people what the library found; its own words follow.
func (t *trust) reason(err error, b *bundle.Bundle, s *scan.Signature) string {
	var nobody *verify.ErrNoMatchingCertificateIdentity
	text := err.Error()
	switch {
	case errors.Is(err, errNoIdentity), errors.Is(err, errNoKey), errors.Is(err, errOtherKey):
		return text
	case errors.As(err, &nobody):
		return fmt.Sprintf("%s (of %s) is not a trusted identity", s.Identity, s.Issuer)
	case strings.Contains(text, "does not match artifact"), strings.Contains(text, "verify signature"):
		return "it does not fit what it covers, which was changed or is of another key: " + text
	case strings.Contains(text, "leaf certificate"), strings.Contains(text, "outside certificate validity"):
		content, cerr := b.VerificationContent()
		entries, eerr := b.TlogEntries()
		if cerr == nil && eerr == nil {
			cert := content.Certificate()
			for _, e := range entries {
				if at := e.IntegratedTime().UTC(); at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
					const layout = "2006-01-02 15:04:05"
					return fmt.Sprintf("it was made at %s UTC, its certificate was valid from %s to %s",
						at.Format(layout), cert.NotBefore.UTC().Format(layout), cert.NotAfter.UTC().Format(layout))
				}
			}
		}
		return "its certificate is not from a trusted authority, or was not valid when it was made: " + text
	case strings.Contains(text, "log inclusion"):
		return "no trusted transparency log vouches for it: " + text
	case strings.Contains(text, "verify timestamps"):
		return "no trusted time is known for it: " + text
	case strings.Contains(text, "signed certificate timestamp"):
		return "no trusted log of certificates vouches for its certificate: " + text
	}
	return text
}
