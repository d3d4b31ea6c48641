package sign

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/gabion-dev/gabion/scan"
)

// Media types and annotations of what cosign stores under tags (its
// specification of signatures). All of it is brought into the form of a bundle
// of version 0.1, so that there is one way to judge.
const (
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope  = "application/vnd.dsse.envelope.v1+json"
	bundleV01     = "application/vnd.dev.sigstore.bundle+json;version=0.1"

	noteSignature = "dev.cosignproject.cosign/signature"
	noteCert      = "dev.sigstore.cosign/certificate"
	noteBundle    = "dev.sigstore.cosign/bundle"
	noteTimestamp = "dev.sigstore.cosign/rfc3161timestamp"
)

// simple judges one signature over a "simple signing" payload, which names the
// digest it is for.
func (v *verifier) simple(ctx context.Context, l *Descriptor) (scan.Signature, error) {
	payload, err := v.blob(ctx, l.Digest, maxPayload)
	if err != nil {
		return scan.Signature{}, err
	}
	s := scan.Signature{Kind: "sigstore"}
	b, err := simpleBundle(payload, l.Annotations)
	if err != nil {
		s.Why = err.Error()
		return s, nil
	}
	v.trust.judge(&s, b, wrongPayload(payload, v.src.Subjects()), artifactOf(payload))
	return s, nil
}

func simpleBundle(payload []byte, notes map[string]string) (*protobundle.Bundle, error) {
	b, err := annotated(notes)
	if err != nil {
		return nil, err
	}
	sig, err := base64.StdEncoding.DecodeString(notes[noteSignature])
	if err != nil || len(sig) == 0 {
		return nil, errors.New("its signature is missing or not base64")
	}
	sum := sha256.Sum256(payload)
	b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
		Signature:     sig,
	}}
	return b, nil
}

// wrongPayload says why a simple signing payload is not about one of the
// digests, or nothing.
func wrongPayload(payload []byte, subjects []string) string {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Sprintf("its payload cannot be read: %v", err)
	}
	if p.Critical.Type != "cosign container image signature" && p.Critical.Type != "atomic container signature" {
		return fmt.Sprintf("its payload is of type %q, not an image signature", p.Critical.Type)
	}
	if !slices.Contains(subjects, p.Critical.Image.Digest) {
		return fmt.Sprintf("it is for another image: %q", p.Critical.Image.Digest)
	}
	return ""
}

// legacyAttestation judges a DSSE envelope that lies under a tag.
func (v *verifier) legacyAttestation(ctx context.Context, l *Descriptor) (scan.Signature, error) {
	raw, err := v.blob(ctx, l.Digest, maxBundle)
	if err != nil {
		return scan.Signature{}, err
	}
	s := scan.Signature{Kind: "attestation"}
	b, err := envelopeBundle(raw, l.Annotations)
	if err != nil {
		s.Why = err.Error()
		return s, nil
	}
	v.attested(&s, b)
	return s, nil
}

func envelopeBundle(raw []byte, notes map[string]string) (*protobundle.Bundle, error) {
	b, err := annotated(notes)
	if err != nil {
		return nil, err
	}
	var env struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &env); err != nil {
		return nil, fmt.Errorf("its envelope cannot be read: %w", err)
	}
	out := &protodsse.Envelope{PayloadType: env.PayloadType, Payload: env.Payload}
	for _, s := range env.Signatures {
		out.Signatures = append(out.Signatures, &protodsse.Signature{Keyid: s.KeyID, Sig: s.Sig})
	}
	b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: out}
	return b, nil
}

// annotated makes a bundle, without its content, of what cosign writes into
// annotations: certificate, entry of the log, timestamp.
func annotated(notes map[string]string) (*protobundle.Bundle, error) {
	m := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}}
	if text := notes[noteCert]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("its certificate is not PEM")
		}
		m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
		}}
	}
	if text := notes[noteBundle]; text != "" {
		entry, err := logEntry([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("its log entry cannot be read: %w", err)
		}
		m.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := notes[noteTimestamp]; text != "" {
		var ts struct {
			SignedRFC3161Timestamp []byte
		}
		if err := json.Unmarshal([]byte(text), &ts); err != nil {
			return nil, fmt.Errorf("its timestamp cannot be read: %w", err)
		}
		m.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: ts.SignedRFC3161Timestamp}},
		}
	}
	return &protobundle.Bundle{MediaType: bundleV01, VerificationMaterial: m}, nil
}

// logEntry reads cosign's "bundle" annotation: an entry of the transparency log
// with the log's promise to include it.
func logEntry(text []byte) (*protorekor.TransparencyLogEntry, error) {
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("log id: %w", err)
	}
	var kind struct{ Kind, APIVersion string }
	if err := json.Unmarshal(b.Payload.Body, &kind); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          b.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    b.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: b.Payload.Body,
	}, nil
}
