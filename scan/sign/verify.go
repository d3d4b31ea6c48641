package sign

import (
	"context"

	"github.com/gabion-dev/gabion/scan"
)

// Source is where an image's signatures lie: its registry or its layout.
type Source interface {
	// Name is the repository, for messages and trust policies.
	Name() string
	// Subjects are the digests a signature may be for: that of the image's
	// manifest, then that of the index it was chosen from.
	Subjects() []string
	// Tag gives the manifest a tag points at, ErrNone when there is none.
	Tag(ctx context.Context, tag string) ([]byte, error)
	// Referrers lists the manifests that refer to a digest.
	Referrers(ctx context.Context, digest string) ([]Descriptor, error)
	// Manifest and Blob give content by digest, verified, of at most max bytes.
	Manifest(ctx context.Context, digest string) ([]byte, error)
	Blob(ctx context.Context, digest string, max int64) ([]byte, error)
}

// Descriptor is one manifest that refers to another.
type Descriptor struct {
	Digest       string
	MediaType    string
	ArtifactType string
	Size         int64
}

// VerifyFrom lists and judges the signatures and attestations of an image.
func VerifyFrom(ctx context.Context, src Source, p Policy) ([]scan.Signature, []scan.Gap) {
	return nil, nil
}
