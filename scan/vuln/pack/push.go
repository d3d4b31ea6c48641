package pack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// PushOptions say how a database is published.
type PushOptions struct {
	Remote Remote
	Signer ed25519.PrivateKey // nil: not signed
	// Previous are files of databases from which deltas are made.
	Previous []string
}

// Pushed is what was published.
type Pushed struct {
	Statement Statement
	Manifest  string // digest
	KeyID     string // empty: not signed
	Size      int64  // bytes of the compressed database
	// Deltas are the bytes of each delta, in the order of Previous; 0 means that
	// none was made, since it would not have been smaller than half of the
	// database.
	Deltas []int64
}

// Push publishes a database file under a reference ("registry/repo:tag",
// "oci:DIR:tag"). Equal files and keys give an equal artifact.
func Push(ctx context.Context, file, ref string, o PushOptions) (Pushed, error) {
	out, err := push(ctx, file, ref, o)
	if err != nil {
		return out, fmt.Errorf("push database to %s: %w", ref, err)
	}
	return out, nil
}

func push(ctx context.Context, file, ref string, o PushOptions) (out Pushed, err error) {
	r, err := openRepo(ref, o.Remote)
	if err != nil {
		return out, err
	}
	s, err := statementOf(ctx, file)
	if err != nil {
		return out, err
	}
	env, err := seal(s, o.Signer)
	if err != nil {
		return out, err
	}
	out.Statement = s
	if o.Signer != nil {
		out.KeyID = KeyID(o.Signer.Public().(ed25519.PublicKey))
	}
	packed, size, err := pack(ctx, file, s.Digest)
	if err != nil {
		return out, err
	}
	defer os.Remove(packed)
	out.Size = size
	packedDigest, _, err := digestOf(ctx, packed)
	if err != nil {
		return out, err
	}
	up := &uploader{ctx: ctx, repo: r}
	m := manifest{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: ArtifactType,
		Config: up.bytes(emptyType, []byte("{}"), nil),
		Layers: []descriptor{
			up.bytes(StatementType, env, nil),
			up.blob(descriptor{MediaType: DatabaseType, Digest: packedDigest, Size: size}, func() (io.ReadCloser, error) { return os.Open(packed) }),
		},
		Annotations: map[string]string{
			AnnotationDigest: s.Digest, AnnotationFormat: strconv.Itoa(s.Format),
			AnnotationBuilt: s.Built.Format(time.RFC3339), AnnotationData: s.Data.Format(time.RFC3339),
			"org.opencontainers.image.created": s.Built.Format(time.RFC3339),
		},
	}
	for _, prev := range o.Previous {
		d, n, err := up.delta(prev, file, s, size)
		if err != nil {
			return out, err
		}
		out.Deltas = append(out.Deltas, n)
		if n > 0 {
			m.Layers = append(m.Layers, d)
		}
	}
	if up.err != nil {
		return out, up.err
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return out, err
	}
	out.Manifest = digest(raw)
	return out, r.putManifest(ctx, raw)
}

// uploader keeps the first error, so that a manifest can be written in one
// piece.
type uploader struct {
	ctx  context.Context
	repo repo
	err  error
}

func (u *uploader) blob(d descriptor, open func() (io.ReadCloser, error)) descriptor {
	if u.err == nil {
		u.err = u.repo.putBlob(u.ctx, d, open)
	}
	return d
}

func (u *uploader) bytes(mediaType string, b []byte, annotations map[string]string) descriptor {
	return u.blob(descriptor{MediaType: mediaType, Digest: digest(b), Size: int64(len(b)), Annotations: annotations},
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
}

// delta makes and tries a delta from an earlier database.
func (u *uploader) delta(prev, file string, s Statement, full int64) (descriptor, int64, error) {
	ps, err := statementOf(u.ctx, prev)
	if err != nil {
		return descriptor{}, 0, fmt.Errorf("make delta: %w", err)
	}
	if ps.Digest == s.Digest || ps.Size > maxDeltaBase || s.Size > maxDeltaBase {
		return descriptor{}, 0, nil
	}
	before, err := os.ReadFile(prev)
	if err != nil {
		return descriptor{}, 0, fmt.Errorf("make delta: %w", err)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		return descriptor{}, 0, fmt.Errorf("make delta: %w", err)
	}
	b, err := makeDelta(before, after)
	if err != nil {
		return descriptor{}, 0, err
	}
	h := newHash(nil)
	if err := applyDelta(bytes.NewReader(before), int64(len(before)), b, s.Size, h.h); err != nil || h.digest() != s.Digest {
		return descriptor{}, 0, fmt.Errorf("make delta from %s: it does not give the new database: %v", prev, err)
	}
	if int64(len(b)) > full/2 {
		return descriptor{}, 0, nil
	}
	return u.bytes(DeltaType, b, map[string]string{AnnotationFrom: ps.Digest}), int64(len(b)), u.err
}
