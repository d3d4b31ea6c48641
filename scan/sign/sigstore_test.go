package sign

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/testing/ca"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
)

const slsa = "https://slsa.dev/provenance/v1"

// one verifies and expects exactly one answer and no gap.
func one(t *testing.T, src Source, p Policy) scan.Signature {
	t.Helper()
	sigs, gaps := VerifyFrom(context.Background(), src, p)
	if len(gaps) != 0 {
		t.Fatalf("gaps: %+v", gaps)
	}
	if len(sigs) != 1 {
		t.Fatalf("%d signatures: %+v", len(sigs), sigs)
	}
	return sigs[0]
}

func holds(t *testing.T, s scan.Signature) {
	t.Helper()
	if !s.Valid || s.Why != "" {
		t.Fatalf("not valid: %+v", s)
	}
}

func fails(t *testing.T, s scan.Signature, why string) {
	t.Helper()
	if s.Valid || !strings.Contains(s.Why, why) {
		t.Fatalf("want invalid because %q, got %+v", why, s)
	}
}

func TestSimpleSigningByKey(t *testing.T) {
	other := "sha256:" + strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name  string
		parts func(w *world) part
		trust func(w *world) Policy
		why   string // empty: valid
	}{
		{"valid", func(w *world) part { return w.keySigned(w.key, payloadFor(w.digest.DigestStr())) }, (*world).byKey, ""},
		{"nobody trusted", func(w *world) part { return w.keySigned(w.key, payloadFor(w.digest.DigestStr())) }, func(*world) Policy { return Policy{} }, "no key is trusted"},
		{"another key", func(w *world) part { return w.keySigned(newKey(w.t), payloadFor(w.digest.DigestStr())) }, (*world).byKey, "not made with a trusted key"},
		{"another image", func(w *world) part { return w.keySigned(w.key, payloadFor(other)) }, (*world).byKey, "for another image: \"" + other},
		{"tampered payload", func(w *world) part {
			p := w.keySigned(w.key, payloadFor(other))
			p.body = payloadFor(w.digest.DigestStr())
			return p
		}, (*world).byKey, "what it covers was changed"},
		{"another type", func(w *world) part {
			return w.keySigned(w.key, []byte(strings.Replace(string(payloadFor(w.digest.DigestStr())), "cosign container image", "blob", 1)))
		}, (*world).byKey, "not an image signature"},
		{"no JSON", func(w *world) part { return w.keySigned(w.key, []byte("hello")) }, (*world).byKey, "payload cannot be read"},
		{"no signature", func(w *world) part { return part{simpleSigning, payloadFor(w.digest.DigestStr()), nil} }, (*world).byKey, "missing or not base64"},
		{"no log entry, though demanded", func(w *world) part { return w.keySigned(w.key, payloadFor(w.digest.DigestStr())) }, func(w *world) Policy {
			p := w.byKey()
			p.Log, p.TrustedRoot = true, trustedRoot(w.t, w.fulcio)
			return p
		}, "no trusted transparency log"},
		{"second key fits", func(w *world) part { return w.keySigned(w.key, payloadFor(w.digest.DigestStr())) }, func(w *world) Policy {
			p := w.byKey()
			p.Keys = append([]Key{{"old", publicPEM(w.t, newKey(w.t).Public())}}, p.Keys...)
			return p
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, inProcess(t, false))
			w.push(tagOf(w.digest, ".sig"), "", "", tt.parts(w))
			s := one(t, w.source(), tt.trust(w))
			if s.Kind != "sigstore" {
				t.Errorf("kind %q", s.Kind)
			}
			if tt.why != "" {
				fails(t, s, tt.why)
				return
			}
			holds(t, s)
			if s.KeyID != "release" {
				t.Errorf("key %q", s.KeyID)
			}
		})
	}
}

func TestSimpleSigningByIdentity(t *testing.T) {
	soon := time.Now().Add(5 * time.Minute)
	for _, tt := range []struct {
		name  string
		part  func(w *world) part
		trust func(w *world) Policy
		why   string
	}{
		{"valid", func(w *world) part { return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon) }, (*world).byIdentity, ""},
		{"by pattern", func(w *world) part { return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon) }, func(w *world) Policy {
			p := w.byIdentity()
			p.Identities = []Identity{{IssuerPattern: `https://.*\.example\.test`, SubjectPattern: `.*@example\.test`}}
			return p
		}, ""},
		{"pattern matches whole texts only", func(w *world) part { return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon) }, func(w *world) Policy {
			p := w.byIdentity()
			p.Identities = []Identity{{Issuer: issuer, SubjectPattern: `builder@example`}}
			return p
		}, "not a trusted identity"},
		{"somebody else", func(w *world) part {
			return w.keyless(w.fulcio, "mallory@example.test", payloadFor(w.digest.DigestStr()), soon)
		}, (*world).byIdentity, "mallory@example.test (of " + issuer + ") is not a trusted identity"},
		{"certificate had expired", func(w *world) part {
			return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), time.Now().Add(30*time.Minute))
		}, (*world).byIdentity, "its certificate was valid from"},
		{"certificate was not valid yet", func(w *world) part {
			return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), time.Now().Add(-30*time.Minute))
		}, (*world).byIdentity, "its certificate was valid from"},
		{"another sigstore", func(w *world) part {
			v, err := ca.NewVirtualSigstore()
			w.must(err)
			return w.keyless(v, mail, payloadFor(w.digest.DigestStr()), soon)
		}, (*world).byIdentity, "no trusted transparency log"},
		{"no identity trusted", func(w *world) part { return w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon) }, (*world).byKey, "no identity is trusted"},
		{"tampered payload", func(w *world) part {
			p := w.keyless(w.fulcio, mail, payloadFor("sha256:"+strings.Repeat("0", 64)), soon)
			p.body = payloadFor(w.digest.DigestStr())
			return p
		}, (*world).byIdentity, "does not fit what it covers"},
		{"no log entry", func(w *world) part {
			p := w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon)
			delete(p.notes, noteBundle)
			return p
		}, (*world).byIdentity, "no trusted transparency log"},
		{"garbage for a certificate", func(w *world) part {
			p := w.keyless(w.fulcio, mail, payloadFor(w.digest.DigestStr()), soon)
			p.notes[noteCert] = "x"
			return p
		}, (*world).byIdentity, "not PEM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, inProcess(t, true))
			w.push(tagOf(w.digest, ".sig"), "", "", tt.part(w))
			s := one(t, w.source(), tt.trust(w))
			if tt.why != "" {
				fails(t, s, tt.why)
				return
			}
			holds(t, s)
			if s.Identity != mail || s.Issuer != issuer || s.SignedAt.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestBundles(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		w := newWorld(t, inProcess(t, referrers))
		this, other := w.digest.DigestStr(), "sha256:"+strings.Repeat("cd", 32)
		w.refer(w.attestation(w.fulcio, mail, statementFor(this, slsa)), this)
		w.refer(w.attestation(w.fulcio, mail, statementFor(this, signPredicate)), this)
		w.refer(w.attestation(w.fulcio, mail, statementFor(other, "https://example.test/other")), this)
		bad := w.attestation(w.fulcio, mail, statementFor(other, "https://example.test/tampered"))
		bad.GetDsseEnvelope().Payload = statementFor(this, "https://example.test/tampered")
		w.refer(bad, this)
		w.refer(w.keyAttestation(w.key, statementFor(this, "https://spdx.dev/Document")), this)

		p := w.byIdentity()
		p.Keys = w.byKey().Keys
		p.Require, p.Predicates = 1, []string{slsa, "https://example.test/other"}
		sigs, gaps := VerifyFrom(context.Background(), w.source(), p)
		if len(gaps) != 0 || len(sigs) != 5 {
			t.Fatalf("referrers API %v: %d signatures %+v, gaps %+v", referrers, len(sigs), sigs, gaps)
		}
		got := map[string]scan.Signature{}
		for _, s := range sigs {
			got[s.Kind+" "+s.Predicate] = s
		}
		holds(t, got["attestation "+slsa])
		holds(t, got["sigstore "])
		holds(t, got["attestation https://spdx.dev/Document"])
		fails(t, got["attestation https://example.test/other"], "for another image")
		fails(t, got["attestation https://example.test/tampered"], "no trusted transparency log")

		v := p.Judge(sigs)
		if len(v) != 1 || v[0].Rule != "attestations" || !strings.Contains(v[0].Object, "example.test/other") {
			t.Errorf("violations %+v", v)
		}
	}
}

func TestAttestationUnderTag(t *testing.T) {
	w := newWorld(t, inProcess(t, false))
	env := w.keyAttestation(w.key, statementFor(w.digest.DigestStr(), slsa)).GetDsseEnvelope()
	body := toJSON(t, map[string]any{
		"payloadType": env.PayloadType, "payload": env.Payload,
		"signatures": []any{map[string]any{"keyid": "", "sig": env.Signatures[0].Sig}},
	})
	w.push(tagOf(w.digest, ".att"), "", "", part{dsseEnvelope, body, nil}, part{"text/plain", []byte("ignored"), nil})
	s := one(t, w.source(), w.byKey())
	holds(t, s)
	if s.Kind != "attestation" || s.Predicate != slsa {
		t.Errorf("%+v", s)
	}
}

// TestWrongReferrer: a registry that lists foreign signatures convinces nobody.
func TestWrongReferrer(t *testing.T) {
	w := newWorld(t, inProcess(t, true))
	b := w.attestation(w.fulcio, mail, statementFor(w.digest.DigestStr(), slsa))
	w.refer(b, w.digest.DigestStr())
	list, err := w.source().Referrers(context.Background(), w.digest.DigestStr())
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	liar := lyingSource{w.source(), list}
	s := one(t, liar, w.byIdentity())
	fails(t, s, "does not refer to it")
}

type lyingSource struct {
	Source
	list []Descriptor
}

func (lyingSource) Subjects() []string { return []string{"sha256:" + strings.Repeat("11", 32)} }

func (l lyingSource) Referrers(context.Context, string) ([]Descriptor, error) { return l.list, nil }

// TestRealRegistry does it all with the program most registries run, which does
// not know referrers.
func TestRealRegistry(t *testing.T) {
	w := newWorld(t, testkit.StartRegistry(t, "").Host)
	this := w.digest.DigestStr()
	if sigs, gaps := VerifyFrom(context.Background(), w.source(), w.byKey()); len(sigs)+len(gaps) != 0 {
		t.Fatalf("unsigned: %+v %+v", sigs, gaps)
	}
	w.push(tagOf(w.digest, ".sig"), "", "", w.keySigned(w.key, payloadFor(this)),
		w.keyless(w.fulcio, mail, payloadFor(this), time.Now().Add(5*time.Minute)))
	w.refer(w.attestation(w.fulcio, mail, statementFor(this, slsa)), this)
	w.notarise(newNotaryCA(t), this)

	p := w.byIdentity()
	p.Keys, p.Require, p.Predicates = w.byKey().Keys, 2, []string{slsa}
	sigs, gaps := VerifyFrom(context.Background(), w.source(), p)
	if len(gaps) != 0 || len(sigs) != 4 {
		t.Fatalf("%+v %+v", sigs, gaps)
	}
	for _, s := range sigs {
		if s.Valid == (s.Kind == "notation") {
			t.Errorf("%+v", s)
		}
	}
	if v := p.Judge(sigs); len(v) != 0 {
		t.Error(v)
	}
}
