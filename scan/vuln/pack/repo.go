package pack

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// repo is where artifacts are: a registry or a directory in OCI layout.
type repo interface {
	// manifest reads what the reference names.
	manifest(ctx context.Context) ([]byte, error)
	// blob opens a blob, from offset on if the place can; from says where it
	// begins.
	blob(ctx context.Context, d descriptor, offset int64) (r io.ReadCloser, from int64, err error)
	// putBlob stores a blob; open gives its content, once or several times.
	putBlob(ctx context.Context, d descriptor, open func() (io.ReadCloser, error)) error
	// putManifest stores a manifest under the reference.
	putManifest(ctx context.Context, raw []byte) error
}

// openRepo reads "oci:DIR[:TAG|@DIGEST]" or a name in a registry, with or
// without "registry:" before it.
func openRepo(ref string, r Remote) (repo, error) {
	if dir, ok := strings.CutPrefix(ref, "oci:"); ok {
		return openLayout(dir)
	}
	return openRegistry(strings.TrimPrefix(ref, "registry:"), r)
}

// manifest is an OCI image manifest.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Data         []byte            `json:"data,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

func parseManifest(raw []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("read manifest: %w: %w", err, ErrCorrupt)
	}
	if m.ArtifactType != ArtifactType && m.Config.MediaType != ArtifactType {
		return m, fmt.Errorf("read manifest: an artifact of type %.80q, not a database (%s)", m.ArtifactType, ArtifactType)
	}
	if len(m.Layers) > 1000 {
		return m, fmt.Errorf("read manifest: %d layers: %w", len(m.Layers), ErrTooBig)
	}
	for _, d := range append(m.Layers, m.Config) {
		if !isDigest(d.Digest) || d.Size < 0 {
			return m, fmt.Errorf("read manifest: digest %.80q, size %d: %w", d.Digest, d.Size, ErrCorrupt)
		}
	}
	return m, nil
}

// layer finds the first layer of a type.
func (m *manifest) layer(mediaType string) (descriptor, bool) {
	for _, d := range m.Layers {
		if d.MediaType == mediaType {
			return d, true
		}
	}
	return descriptor{}, false
}

// delta finds the delta from a digest.
func (m *manifest) delta(from string) (descriptor, bool) {
	for _, d := range m.Layers {
		if d.MediaType == DeltaType && d.Annotations[AnnotationFrom] == from {
			return d, true
		}
	}
	return descriptor{}, false
}

// small reads a blob into memory and verifies it.
func small(ctx context.Context, r repo, d descriptor, max int64) ([]byte, error) {
	if d.Size > max {
		return nil, fmt.Errorf("blob %s of %d bytes: %w", d.Digest, d.Size, ErrTooBig)
	}
	rc, from, err := r.blob(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(&ctxReader{ctx, rc}, d.Size+1))
	if err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	}
	if got := digest(b); from != 0 || int64(len(b)) != d.Size || got != d.Digest {
		return nil, fmt.Errorf("blob %s has digest %s and %d bytes: %w", d.Digest, got, len(b), ErrCorrupt)
	}
	return b, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hexDigest(sum[:])
}

// hashing reads and digests along.
type hashing struct {
	r io.Reader
	h hash.Hash
	n int64
}

func newHash(r io.Reader) *hashing { return &hashing{r: r, h: sha256.New()} }

func (h *hashing) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.h.Write(p[:n])
	h.n += int64(n)
	return n, err
}

func (h *hashing) digest() string { return hexDigest(h.h.Sum(nil)) }

// Mirror copies an artifact as it is, signature and deltas included, from one
// place to another ("registry/repo:tag", "oci:DIR:tag"), and returns the digest
// of its manifest. It verifies the digests of what it copies, not the signature,
// which stays what it is.
func Mirror(ctx context.Context, from, to string, r Remote) (string, error) {
	src, err := openRepo(from, r)
	if err != nil {
		return "", err
	}
	dst, err := openRepo(to, r)
	if err != nil {
		return "", err
	}
	raw, err := src.manifest(ctx)
	if err != nil {
		return "", fmt.Errorf("mirror database from %s: %w", from, err)
	}
	m, err := parseManifest(raw)
	if err != nil {
		return "", fmt.Errorf("mirror database from %s: %w", from, err)
	}
	seen := map[string]bool{}
	for _, d := range append(m.Layers, m.Config) {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		err := dst.putBlob(ctx, d, func() (io.ReadCloser, error) {
			rc, start, err := src.blob(ctx, d, 0)
			if err == nil && start != 0 {
				err = errors.Join(fmt.Errorf("blob begins at byte %d: %w", start, ErrCorrupt), rc.Close())
			}
			return rc, err
		})
		if err != nil {
			return "", fmt.Errorf("mirror database to %s: blob %s: %w", to, d.Digest, err)
		}
	}
	if err := dst.putManifest(ctx, raw); err != nil {
		return "", fmt.Errorf("mirror database to %s: %w", to, err)
	}
	return digest(raw), nil
}
