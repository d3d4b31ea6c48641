package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	mail   = "builder@example.test"
	issuer = "https://issuer.example.test"
)

// inProcess starts a registry in this process.
func inProcess(t testing.TB, referrers bool) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// world is one image in a registry, and those who sign it.
type world struct {
	t        testing.TB
	repo     name.Repository
	digest   name.Digest
	manifest []byte
	key      *ecdsa.PrivateKey
	fulcio   *ca.VirtualSigstore
}

func newWorld(t testing.TB, host string) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	w.repo, err = name.NewRepository(host + "/team/app")
	w.must(err)
	img, err := random.Image(200, 2)
	w.must(err)
	w.must(remote.Write(w.repo.Tag("1"), img))
	h, err := img.Digest()
	w.must(err)
	w.digest = w.repo.Digest(h.String())
	w.manifest, err = img.RawManifest()
	w.must(err)
	w.key = newKey(t)
	w.fulcio, err = ca.NewVirtualSigstore()
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (w *world) source() Source { return Remote(w.digest, "") }

func (w *world) byKey() Policy {
	return Policy{Keys: []Key{{Name: "release", PEM: publicPEM(w.t, w.key.Public())}}}
}

func (w *world) byIdentity() Policy {
	return Policy{TrustedRoot: trustedRoot(w.t, w.fulcio), Identities: []Identity{{Issuer: issuer, Subject: mail}}}
}

// trustedRoot is a sigstore as the file its users hold.
func trustedRoot(t testing.TB, v *ca.VirtualSigstore) []byte {
	t.Helper()
	logs := v.RekorLogs()
	for id, l := range logs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		l.ID = raw
	}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, v.FulcioCertificateAuthorities(), nil, v.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// raw is a manifest as it is pushed.
type raw struct {
	body []byte
	mt   types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.body, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mt, nil }
func (r raw) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(r.body))
	return h, err
}
func (r raw) Size() (int64, error) { return int64(len(r.body)), nil }
func digestOf(b []byte) string     { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
func tagOf(d name.Digest, suffix string) string {
	return strings.Replace(d.DigestStr(), ":", "-", 1) + suffix
}
func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// part is one layer of an artifact.
type part struct {
	mediaType string
	body      []byte
	notes     map[string]string
}

// push stores an artifact, under a tag or, when that is empty, by its digest;
// subject may be empty.
func (w *world) push(tag, artifactType, subject string, parts ...part) {
	w.t.Helper()
	config := []byte("{}")
	w.must(remote.WriteLayer(w.repo, static.NewLayer(config, "application/vnd.oci.empty.v1+json")))
	layers := []any{}
	for _, p := range parts {
		w.must(remote.WriteLayer(w.repo, static.NewLayer(p.body, types.MediaType(p.mediaType))))
		layers = append(layers, map[string]any{"mediaType": p.mediaType, "digest": digestOf(p.body), "size": len(p.body), "annotations": p.notes})
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "layers": layers,
		"config": map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digestOf(config), "size": len(config)},
	}
	if artifactType != "" {
		m["artifactType"] = artifactType
	}
	if subject != "" {
		m["subject"] = map[string]any{"mediaType": types.DockerManifestSchema2, "digest": subject, "size": len(w.manifest)}
	}
	body := toJSON(w.t, m)
	var ref name.Reference = w.repo.Digest(digestOf(body))
	if tag != "" {
		ref = w.repo.Tag(tag)
	}
	w.must(remote.Put(ref, raw{body, types.OCIManifestSchema1}))
}

func payloadFor(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

func statementFor(digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{"a":1}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

func (w *world) signBytes(key *ecdsa.PrivateKey, msg []byte) []byte {
	w.t.Helper()
	sum := sha256.Sum256(msg)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	w.must(err)
	return sig
}

// keySigned is a simple signing layer made with a key.
func (w *world) keySigned(key *ecdsa.PrivateKey, payload []byte) part {
	return part{simpleSigning, payload, map[string]string{noteSignature: b64(w.signBytes(key, payload))}}
}

// keyless is a simple signing layer made with a certificate, entered in the log
// at the given time.
func (w *world) keyless(v *ca.VirtualSigstore, who string, payload []byte, at time.Time) part {
	w.t.Helper()
	e, err := v.SignAtTime(who, issuer, payload, at)
	w.must(err)
	content, err := e.VerificationContent()
	w.must(err)
	sig, err := e.SignatureContent()
	w.must(err)
	entries, err := e.TlogEntries()
	w.must(err)
	tle := entries[0].TransparencyLogEntry()
	entry := tlog.RekorPayload{
		Body: b64(tle.CanonicalizedBody), IntegratedTime: tle.IntegratedTime,
		LogIndex: tle.LogIndex, LogID: hex.EncodeToString(tle.LogId.KeyId),
	}
	promise, err := v.RekorSignPayload(entry)
	w.must(err)
	return part{simpleSigning, payload, map[string]string{
		noteSignature: b64(sig.Signature()),
		noteCert:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: content.Certificate().Raw})),
		noteBundle:    string(toJSON(w.t, map[string]any{"SignedEntryTimestamp": promise, "Payload": entry})),
	}}
}

const bundleV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"

// attestation is a bundle with a statement, made with a certificate and proven
// to be in the log.
func (w *world) attestation(v *ca.VirtualSigstore, who string, statement []byte) *protobundle.Bundle {
	w.t.Helper()
	e, err := v.AttestAtTime(who, issuer, statement, time.Now().Add(5*time.Minute), true)
	w.must(err)
	content, err := e.VerificationContent()
	w.must(err)
	sig, err := e.SignatureContent()
	w.must(err)
	env := sig.EnvelopeContent().RawEnvelope()
	payload, err := env.DecodeB64Payload()
	w.must(err)
	entries, err := e.TlogEntries()
	w.must(err)
	tle := entries[0].TransparencyLogEntry()
	tle.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	promise, err := v.RekorSignPayload(tlog.RekorPayload{
		Body: b64(tle.CanonicalizedBody), IntegratedTime: tle.IntegratedTime,
		LogIndex: tle.LogIndex, LogID: hex.EncodeToString(tle.LogId.KeyId),
	})
	w.must(err)
	tle.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: promise}
	return &protobundle.Bundle{
		MediaType: bundleV03,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{tle},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: env.PayloadType, Payload: payload,
			Signatures: []*protodsse.Signature{{Sig: sig.Signature()}},
		}},
	}
}

// keyAttestation is a bundle with a statement, made with a key.
func (w *world) keyAttestation(key *ecdsa.PrivateKey, statement []byte) *protobundle.Bundle {
	w.t.Helper()
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(inTotoPayload), inTotoPayload, len(statement), statement)
	return &protobundle.Bundle{
		MediaType: bundleV03,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			PayloadType: inTotoPayload, Payload: statement,
			Signatures: []*protodsse.Signature{{Sig: w.signBytes(key, pae)}},
		}},
	}
}

// refer stores a bundle as a referrer of subject.
func (w *world) refer(b *protobundle.Bundle, subject string) {
	w.t.Helper()
	body, err := protojson.Marshal(b)
	w.must(err)
	w.push("", bundleV03, subject, part{mediaType: bundleV03, body: body})
}
