package sign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/image"
)

// Bounds of what is read for one image. Beyond them the rest is a gap.
const (
	maxSignatures = 256
	maxPayload    = 1 << 20  // of a signature
	maxBundle     = 48 << 20 // of an attestation: SBOMs are big
	maxTotal      = 256 << 20
)

// emptyConfig is the configuration of artifacts that have none.
const emptyConfig = "application/vnd.oci.empty.v1+json"

// Verify lists and judges the signatures and attestations of an image that Open
// found in a registry or an OCI layout. Images from elsewhere carry none, which
// is a gap when the policy asks for some.
func Verify(ctx context.Context, img *image.Image, p Policy) ([]scan.Signature, []scan.Gap) {
	src, gap := sourceOf(ctx, img)
	if gap != nil {
		gap.Minor = p.Require == 0 && len(p.Predicates) == 0
		return nil, []scan.Gap{*gap}
	}
	return VerifyFrom(ctx, src, p)
}

// VerifyFrom is Verify for any source. Signatures are sorted; those that do not
// hold are listed with their reason and with who they claim to be of.
func VerifyFrom(ctx context.Context, src Source, p Policy) ([]scan.Signature, []scan.Gap) {
	t, err := newTrust(p)
	if err != nil {
		return nil, []scan.Gap{{
			Where: "signature policy", What: err.Error(),
			Means: "no signature could be judged", Do: "correct the policy",
		}}
	}
	v := &verifier{src: src, trust: t, seen: map[string]bool{}}
	for _, subject := range src.Subjects() {
		v.tagged(ctx, subject, ".sig")
		v.tagged(ctx, subject, ".att")
		v.referrers(ctx, subject)
	}
	slices.SortFunc(v.sigs, func(a, b scan.Signature) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Predicate, b.Predicate),
			cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.KeyID, b.KeyID),
			a.SignedAt.Compare(b.SignedAt), cmp.Compare(a.Why, b.Why))
	})
	return v.sigs, v.gaps
}

// verifier collects the answers about one image.
type verifier struct {
	src   Source
	trust *trust
	read  int64
	seen  map[string]bool // manifests that were looked at
	full  bool            // a bound was reached, and said
	sigs  []scan.Signature
	gaps  []scan.Gap
}

func (v *verifier) add(s scan.Signature) { v.sigs = append(v.sigs, s) }

// invalid lists a signature that could not even be read as one.
func (v *verifier) invalid(kind, format string, args ...any) {
	v.add(scan.Signature{Kind: kind, Why: fmt.Sprintf(format, args...)})
}

func (v *verifier) gap(where string, err error) {
	v.gaps = append(v.gaps, scan.Gap{
		Where: where, What: err.Error(),
		Means: "signatures may exist that were not looked at",
		Do:    "check that the registry can be reached and read with these credentials",
	})
}

// room reports whether another signature may be looked at.
func (v *verifier) room() bool {
	if len(v.sigs) < maxSignatures && v.read < maxTotal {
		return true
	}
	if !v.full {
		v.full = true
		v.gap(v.src.Name(), fmt.Errorf("more than %d signatures, or %d MB of them: the rest was left out", maxSignatures, maxTotal>>20))
	}
	return false
}

func (v *verifier) blob(ctx context.Context, digest string, limit int64) ([]byte, error) {
	b, err := v.src.Blob(ctx, digest, limit)
	v.read += int64(len(b))
	return b, err
}

// tagged looks at what cosign stores beside an image under a tag made of its
// digest: ".sig" signatures, ".att" attestations.
func (v *verifier) tagged(ctx context.Context, subject, suffix string) {
	tag := strings.Replace(subject, ":", "-", 1) + suffix
	raw, err := v.src.Tag(ctx, tag)
	if errors.Is(err, ErrNone) {
		return
	}
	where := v.src.Name() + ":" + tag
	if err != nil {
		v.gap(where, err)
		return
	}
	m, err := parseManifest(raw)
	if err != nil {
		v.gap(where, err)
		return
	}
	for i := range m.Layers {
		if !v.room() {
			return
		}
		l := &m.Layers[i]
		var s scan.Signature
		switch l.MediaType {
		case simpleSigning:
			s, err = v.simple(ctx, l)
		case dsseEnvelope:
			s, err = v.legacyAttestation(ctx, l)
		default:
			continue
		}
		if err != nil {
			v.gap(where+" "+l.Digest, err)
			continue
		}
		v.add(s)
	}
}

// referrers looks at what refers to an image by its digest: sigstore bundles
// and notation signatures.
func (v *verifier) referrers(ctx context.Context, subject string) {
	where := v.src.Name() + "@" + subject
	list, err := v.src.Referrers(ctx, subject)
	if err != nil {
		v.gap(where, fmt.Errorf("list referrers: %w", err))
		return
	}
	for _, d := range list {
		bundle, notary := isBundle(d.ArtifactType), d.ArtifactType == notationArtifact
		if d.ArtifactType != "" && d.ArtifactType != emptyConfig && !bundle && !notary || v.seen[d.Digest] {
			continue
		}
		if !v.room() {
			return
		}
		v.seen[d.Digest] = true
		raw, err := v.src.Manifest(ctx, d.Digest)
		if err != nil {
			v.gap(v.src.Name()+"@"+d.Digest, err)
			continue
		}
		m, err := parseManifest(raw)
		if err != nil {
			v.gap(v.src.Name()+"@"+d.Digest, err)
			continue
		}
		// Some lists tell no artifact type, or that of the configuration.
		bundle = bundle || isBundle(m.artifactType())
		notary = notary || m.artifactType() == notationArtifact
		if !bundle && !notary {
			continue
		}
		kind := "sigstore"
		if notary {
			kind = "notation"
		}
		if m.Subject == nil || m.Subject.Digest != subject {
			v.invalid(kind, "it is listed as a signature of %s but does not refer to it", subject)
			continue
		}
		if len(m.Layers) != 1 {
			v.invalid(kind, "it has %d parts where one is expected", len(m.Layers))
			continue
		}
		var s scan.Signature
		if notary {
			s, err = v.notation(ctx, subject, &m.Layers[0])
		} else {
			s, err = v.bundle(ctx, subject, &m.Layers[0])
		}
		if err != nil {
			v.gap(v.src.Name()+"@"+d.Digest, err)
			continue
		}
		v.add(s)
	}
}
