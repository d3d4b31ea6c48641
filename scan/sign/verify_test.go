package sign

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gabion-dev/gabion/scan"
)

func TestNoSignaturesIsNotAGap(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		w := newWorld(t, inProcess(t, referrers))
		p := w.byKey()
		p.Require = 1
		sigs, gaps := VerifyFrom(context.Background(), w.source(), p)
		if len(sigs) != 0 || len(gaps) != 0 {
			t.Errorf("%+v %+v", sigs, gaps)
		}
		if v := p.Judge(sigs); len(v) != 1 || v[0].Object != "the image has no signatures" {
			t.Errorf("%+v", v)
		}
	}
}

func TestCouldNotAskIsAGap(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusForbidden, http.StatusUnauthorized} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			w.WriteHeader(status)
		}))
		d, err := name.NewDigest(strings.TrimPrefix(s.URL, "http://") + "/team/app@sha256:" + strings.Repeat("12", 32))
		if err != nil {
			t.Fatal(err)
		}
		sigs, gaps := VerifyFrom(context.Background(), Remote(d, "", remote.WithRetryBackoff(remote.Backoff{Steps: 1})), Policy{})
		s.Close()
		if len(sigs) != 0 || len(gaps) != 3 || gaps[0].Minor || gaps[0].Do == "" {
			t.Errorf("status %d: %+v %+v", status, sigs, gaps)
		}
	}
}

func TestBadPolicyIsAGap(t *testing.T) {
	w := newWorld(t, inProcess(t, true))
	root := trustedRoot(t, w.fulcio)
	for name, p := range map[string]Policy{
		"no PEM":                 {Keys: []Key{{"k", []byte("x")}}},
		"two keys":               {Keys: []Key{{"k", append(w.byKey().Keys[0].PEM, w.byKey().Keys[0].PEM...)}}},
		"broken key":             {Keys: []Key{{"k", []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}}},
		"no root":                {Identities: []Identity{{Issuer: issuer, Subject: mail}}},
		"log without root":       {Log: true},
		"broken root":            {TrustedRoot: []byte("{")},
		"no issuer":              {TrustedRoot: root, Identities: []Identity{{Subject: mail}}},
		"subject twice":          {TrustedRoot: root, Identities: []Identity{{Issuer: issuer, Subject: mail, SubjectPattern: "."}}},
		"broken pattern":         {TrustedRoot: root, Identities: []Identity{{Issuer: issuer, SubjectPattern: "("}}},
		"broken issuer pattern":  {TrustedRoot: root, Identities: []Identity{{IssuerPattern: "(", Subject: mail}}},
		"notation without certs": {Notation: &Notation{}},
		"notation not PEM":       {Notation: &Notation{CACerts: []byte("x")}},
		"notation broken TSA":    {Notation: &Notation{CACerts: newNotaryCA(t).pem(), TSACerts: []byte("x")}},
		"notation broken policy": {Notation: &Notation{CACerts: newNotaryCA(t).pem(), TrustPolicy: []byte(`{"version":"9"}`)}},
		"notation typo":          {Notation: &Notation{CACerts: newNotaryCA(t).pem(), TrustPolicy: []byte(`{"versio":"1.0"}`)}},
	} {
		if p.Check() == nil {
			t.Errorf("%s: Check finds nothing", name)
		}
		sigs, gaps := VerifyFrom(context.Background(), w.source(), p)
		if len(sigs) != 0 || len(gaps) != 1 || gaps[0].Minor {
			t.Errorf("%s: %+v %+v", name, sigs, gaps)
		}
	}
	if err := w.byIdentity().Check(); err != nil {
		t.Error(err)
	}
}

// TestSignatureOfIndex: what signs the list of platforms signs the image that
// was chosen from it.
func TestSignatureOfIndex(t *testing.T) {
	w := newWorld(t, inProcess(t, true))
	img, err := remote.Image(w.digest)
	w.must(err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img})
	w.must(remote.WriteIndex(w.repo.Tag("multi"), index))
	h, err := index.Digest()
	w.must(err)
	list := w.repo.Digest(h.String())
	w.push(tagOf(list, ".sig"), "", "", w.keySigned(w.key, payloadFor(list.DigestStr())))

	for ref, want := range map[string]string{
		w.repo.Name() + ":multi":                             h.String(),
		w.repo.Name() + "@" + h.String():                     h.String(),
		"registry:" + w.repo.Name() + ":multi":               h.String(),
		w.repo.Name() + ":1":                                 "",
		w.repo.Name() + ":absent":                            "",
		w.repo.Name() + "@" + w.digest.DigestStr():           "",
		w.repo.Name() + ":multi@" + h.String():               h.String(),
		w.repo.Name() + "@sha256:" + strings.Repeat("0", 64): "",
	} {
		got, err := indexOf(context.Background(), w.digest, ref, nil)
		if err != nil || got != want {
			t.Errorf("%s: index %q, want %q, error %v", ref, got, want, err)
		}
	}
	if sigs, _ := VerifyFrom(context.Background(), w.source(), w.byKey()); len(sigs) != 0 {
		t.Errorf("found without the index: %+v", sigs)
	}
	holds(t, one(t, Remote(w.digest, h.String()), w.byKey()))
}

func TestLayout(t *testing.T) {
	w := newWorld(t, inProcess(t, false))
	this := w.digest.DigestStr()
	w.push(tagOf(w.digest, ".sig"), "", "", w.keySigned(w.key, payloadFor(this)))
	w.refer(w.attestation(w.fulcio, mail, statementFor(this, slsa)), this)

	dir := t.TempDir()
	p, err := ocilayout.Write(dir, empty.Index)
	w.must(err)
	for _, ref := range []name.Reference{w.digest, w.repo.Tag(tagOf(w.digest, ".sig"))} {
		img, err := remote.Image(ref)
		w.must(err)
		w.must(p.AppendImage(img, ocilayout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref.Identifier()})))
	}
	refs, err := w.source().Referrers(context.Background(), this)
	w.must(err)
	att, err := remote.Image(w.repo.Digest(refs[0].Digest))
	w.must(err)
	w.must(p.AppendImage(att))

	policy := w.byIdentity()
	policy.Keys = w.byKey().Keys
	sigs, gaps := VerifyFrom(context.Background(), Layout(dir, this), policy)
	if len(gaps) != 0 || len(sigs) != 2 {
		t.Fatalf("%+v %+v", sigs, gaps)
	}
	for _, s := range sigs {
		holds(t, s)
	}
	if _, err := Layout(dir, this).Blob(context.Background(), "sha256:../../etc/passwd", 10); err == nil {
		t.Error("a digest that leads out of the layout was taken")
	}
	for ref, ok := range map[string]bool{dir: true, "oci:" + dir + ":1": true, dir + "@" + this: true, dir + "/x": false} {
		if got, found := layoutDir(ref); found != ok || ok && got != dir {
			t.Errorf("%s: %q %v", ref, got, found)
		}
	}
}

// TestBounds: an image with thousands of signatures costs no more than allowed,
// and the rest is not passed over in silence.
func TestBounds(t *testing.T) {
	var parts []string
	for range maxSignatures + 10 {
		parts = append(parts, `{"mediaType":"`+simpleSigning+`","digest":"sha256:`+strings.Repeat("0", 64)+`","size":1}`)
	}
	src := fakeSource{tag: `{"layers":[` + strings.Join(parts, ",") + `]}`}
	sigs, gaps := VerifyFrom(context.Background(), src, Policy{})
	if len(sigs) != maxSignatures || len(gaps) != 1 || !strings.Contains(gaps[0].What, fmt.Sprint(maxSignatures)) {
		t.Errorf("%d signatures, gaps %+v", len(sigs), gaps)
	}
}

type fakeSource struct{ tag string }

func (fakeSource) Name() string       { return "example.test/app" }
func (fakeSource) Subjects() []string { return []string{"sha256:" + strings.Repeat("1", 64)} }
func (f fakeSource) Tag(_ context.Context, tag string) ([]byte, error) {
	if strings.HasSuffix(tag, ".sig") {
		return []byte(f.tag), nil
	}
	return nil, ErrNone
}
func (fakeSource) Referrers(context.Context, string) ([]Descriptor, error) { return nil, nil }
func (fakeSource) Manifest(context.Context, string) ([]byte, error)        { return []byte("{}"), nil }
func (fakeSource) Blob(context.Context, string, int64) ([]byte, error)     { return []byte("{}"), nil }

func TestJudge(t *testing.T) {
	valid, not := scan.Signature{Kind: "sigstore", Valid: true}, scan.Signature{Kind: "notation"}
	att := scan.Signature{Kind: "attestation", Valid: true, Predicate: slsa}
	for i, tt := range []struct {
		p    Policy
		sigs []scan.Signature
		want int
	}{
		{Policy{}, nil, 0},
		{Policy{Require: 1}, []scan.Signature{valid, not}, 0},
		{Policy{Require: 2}, []scan.Signature{valid, not}, 1},
		{Policy{Require: 1}, []scan.Signature{att}, 1},
		{Policy{Predicates: []string{slsa}}, []scan.Signature{att}, 0},
		{Policy{Require: 1, Predicates: []string{slsa}}, nil, 2},
	} {
		if got := tt.p.Judge(tt.sigs); len(got) != tt.want {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// FuzzContent feeds what a hostile registry could answer.
func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"layers":[]}`), "", "", "")
	f.Add(payloadFor("sha256:00"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", `{"Payload":{"body":"e30=","logID":"00"}}`, `{"SignedRFC3161Timestamp":"AAAA"}`)
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AAAA"}]}`), "", `{"Payload":{"body":"eyJraW5kIjoiZHNzZSIsImFwaVZlcnNpb24iOiIwLjAuMSIsInNwZWMiOnt9fQ=="}}`, "")
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":""}]}}`), "", "", "")
	key := Key{"k", publicPEM(f, newKey(f).Public())}
	t, err := newTrust(Policy{Keys: []Key{key}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(tt *testing.T, body []byte, cert, entry, stamp string) {
		v := &verifier{src: blobSource{body: body}, trust: t, seen: map[string]bool{}}
		notes := map[string]string{noteSignature: "AAAA", noteCert: cert, noteBundle: entry, noteTimestamp: stamp}
		l := &Descriptor{Annotations: notes, MediaType: "application/jose+json"}
		for _, judge := range []func() (scan.Signature, error){
			func() (scan.Signature, error) { return v.simple(context.Background(), l) },
			func() (scan.Signature, error) { return v.legacyAttestation(context.Background(), l) },
			func() (scan.Signature, error) { return v.bundle(context.Background(), v.src.Subjects()[0], l) },
			func() (scan.Signature, error) { return v.notation(context.Background(), v.src.Subjects()[0], l) },
		} {
			s, err := judge()
			if s.Valid || err == nil && s.Why == "" {
				tt.Fatalf("%+v %v", s, err)
			}
		}
	})
}

type blobSource struct {
	fakeSource
	body []byte
}

func (b blobSource) Blob(context.Context, string, int64) ([]byte, error) { return b.body, nil }
