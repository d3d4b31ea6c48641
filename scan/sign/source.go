package sign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	digest "github.com/opencontainers/go-digest"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/image"
)

// ErrNone says that there is nothing, as opposed to: it could not be asked.
var ErrNone = errors.New("no such thing")

// maxManifest is what registries promise to take at least.
const maxManifest = 4 << 20

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
	// Manifest and Blob give content by digest, verified; Blob at most max bytes.
	Manifest(ctx context.Context, digest string) ([]byte, error)
	Blob(ctx context.Context, digest string, max int64) ([]byte, error)
}

// Descriptor points at content.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// manifest is what is read of a manifest or an index.
type manifest struct {
	MediaType    string       `json:"mediaType"`
	ArtifactType string       `json:"artifactType"`
	Config       Descriptor   `json:"config"`
	Layers       []Descriptor `json:"layers"`
	Manifests    []Descriptor `json:"manifests"`
	Subject      *Descriptor  `json:"subject"`
}

func parseManifest(raw []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return &m, nil
}

// artifactType is the type of what a manifest wraps; before OCI 1.1 that was
// the media type of the configuration.
func (m *manifest) artifactType() string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

// sourceOf finds where signatures of an opened image are.
func sourceOf(ctx context.Context, img *image.Image) (Source, *scan.Gap) {
	if d, opts, ok := img.Repository(); ok {
		index, err := indexOf(ctx, d, img.Name, opts)
		if err != nil {
			return nil, &scan.Gap{
				Where: img.Name, What: err.Error(), Means: "signatures of its index could not be looked for",
				Do: "scan the image by its digest, or try again",
			}
		}
		return Remote(d, index, opts...), nil
	}
	if img.Kind == scan.OCILayout && img.Digest != "" {
		if dir, ok := layoutDir(img.Name); ok {
			return Layout(dir, img.Digest), nil
		}
	}
	return nil, &scan.Gap{
		Where: "signatures", What: fmt.Sprintf("a %s carries no signatures", img.Kind),
		Means: "nothing is known of who signed it",
		Do:    "scan the image in its registry or as an OCI layout",
	}
}

// indexOf gives the digest of the index that ref names, when the image is in
// it: signing tools sign what the name points at.
func indexOf(ctx context.Context, d name.Digest, ref string, opts []remote.Option) (string, error) {
	ref = strings.TrimPrefix(ref, "registry:")
	if i := strings.LastIndexByte(ref, '@'); i >= 0 {
		ref = d.Context().Name() + ref[i:]
	} else if tag, err := name.NewTag(ref); err == nil {
		ref = d.Context().Name() + ":" + tag.TagStr()
	} else {
		return "", nil
	}
	var parsed name.Reference
	var err error
	if d.Context().Scheme() == "http" {
		parsed, err = name.ParseReference(ref, name.Insecure)
	} else {
		parsed, err = name.ParseReference(ref)
	}
	if err != nil || parsed.Identifier() == d.DigestStr() {
		return "", nil
	}
	got, err := remote.Get(parsed, append(slices.Clone(opts), remote.WithContext(ctx))...)
	if missing(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", ref, err)
	}
	if !got.MediaType.IsIndex() {
		return "", nil // the tag moved since
	}
	m, err := parseManifest(got.Manifest)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(m.Manifests, func(c Descriptor) bool { return c.Digest == d.DigestStr() }) {
		return "", nil
	}
	return got.Digest.String(), nil
}

// Remote is the repository of an image in a registry; index is the digest of
// the index it was chosen from, or empty.
func Remote(d name.Digest, index string, opts ...remote.Option) Source {
	r := &repository{repo: d.Context(), subjects: []string{d.DigestStr()}, opts: opts}
	if index != "" {
		r.subjects = append(r.subjects, index)
	}
	return r
}

type repository struct {
	repo     name.Repository
	subjects []string
	opts     []remote.Option
}

func (r *repository) Name() string       { return r.repo.Name() }
func (r *repository) Subjects() []string { return r.subjects }

func (r *repository) with(ctx context.Context) []remote.Option {
	return append(slices.Clone(r.opts), remote.WithContext(ctx))
}

func (r *repository) Tag(ctx context.Context, tag string) ([]byte, error) {
	d, err := remote.Get(r.repo.Tag(tag), r.with(ctx)...)
	if missing(err) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("get manifest: %w", err)
	}
	return d.Manifest, nil
}

func (r *repository) Referrers(ctx context.Context, subject string) ([]Descriptor, error) {
	index, err := remote.Referrers(r.repo.Digest(subject), r.with(ctx)...)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := index.RawManifest()
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	return m.Manifests, nil
}

func (r *repository) Manifest(ctx context.Context, dig string) ([]byte, error) {
	if _, err := digest.Parse(dig); err != nil {
		return nil, fmt.Errorf("read digest %q: %w", dig, err)
	}
	d, err := remote.Get(r.repo.Digest(dig), r.with(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("get manifest: %w", err)
	}
	return d.Manifest, nil
}

func (r *repository) Blob(ctx context.Context, dig string, limit int64) ([]byte, error) {
	want, err := digest.Parse(dig)
	if err != nil {
		return nil, fmt.Errorf("read digest %q: %w", dig, err)
	}
	layer, err := remote.Layer(r.repo.Digest(dig), r.with(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("get blob: %w", err)
	}
	rc, err := layer.Compressed()
	if err != nil {
		return nil, fmt.Errorf("get blob: %w", err)
	}
	defer rc.Close()
	return readVerified(rc, want, limit)
}

// missing tells "there is none" from every other answer.
func missing(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

func readVerified(r io.Reader, want digest.Digest, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", want, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: more than %d bytes", want, limit)
	}
	if got := want.Algorithm().FromBytes(b); got != want {
		return nil, fmt.Errorf("read %s: the content is %s", want, got)
	}
	return b, nil
}

// layoutDir finds the folder in "oci:DIR:tag", "DIR@digest" and the like.
func layoutDir(ref string) (string, bool) {
	ref = strings.TrimPrefix(ref, "oci:")
	tries := []string{ref}
	if i := strings.LastIndexByte(ref, '@'); i > 0 {
		tries = append(tries, ref[:i])
	}
	if i := strings.LastIndexByte(ref, ':'); i > 0 {
		tries = append(tries, ref[:i])
	}
	for _, dir := range tries {
		if fi, err := os.Stat(path.Join(dir, "index.json")); err == nil && fi.Mode().IsRegular() {
			return dir, true
		}
	}
	return "", false
}

// Layout is an OCI layout on disk that holds an image of this digest.
func Layout(dir, subject string) Source { return &layout{dir: dir, subject: subject} }

type layout struct{ dir, subject string }

func (l *layout) Name() string { return l.dir }

// Subjects adds every index of the layout that holds the image.
func (l *layout) Subjects() []string {
	out := []string{l.subject}
	top, err := l.index()
	if err != nil {
		return out
	}
	for _, d := range top.Manifests {
		if !strings.Contains(d.MediaType, "index") && !strings.Contains(d.MediaType, "manifest.list") || slices.Contains(out, d.Digest) {
			continue
		}
		raw, err := l.Blob(context.Background(), d.Digest, maxManifest)
		if err != nil {
			continue
		}
		m, err := parseManifest(raw)
		if err == nil && slices.ContainsFunc(m.Manifests, func(c Descriptor) bool { return c.Digest == l.subject }) {
			out = append(out, d.Digest)
		}
	}
	return out
}

func (l *layout) open(file string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("read %s: more than %d bytes", file, limit)
	}
	return b, err
}

func (l *layout) index() (*manifest, error) {
	raw, err := l.open("index.json", maxManifest)
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	return parseManifest(raw)
}

// Tag finds a manifest by its name in the layout, or, in layouts that cosign
// saved, by its kind.
func (l *layout) Tag(ctx context.Context, tag string) ([]byte, error) {
	top, err := l.index()
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{".sig": "dev.cosignproject.cosign/sigs", ".att": "dev.cosignproject.cosign/atts"}
	for _, d := range top.Manifests {
		ref := d.Annotations["org.opencontainers.image.ref.name"]
		if ref == tag || strings.HasSuffix(ref, ":"+tag) || ref == "" && d.Annotations["kind"] == kinds[path.Ext(tag)] {
			return l.Manifest(ctx, d.Digest)
		}
	}
	return nil, ErrNone
}

func (l *layout) Referrers(ctx context.Context, subject string) ([]Descriptor, error) {
	top, err := l.index()
	if err != nil {
		return nil, err
	}
	var out []Descriptor
	for i, d := range top.Manifests {
		if i >= 4*maxSignatures {
			return out, fmt.Errorf("the layout lists more than %d manifests", 4*maxSignatures)
		}
		raw, err := l.Manifest(ctx, d.Digest)
		if err != nil {
			return out, err
		}
		m, err := parseManifest(raw)
		if err != nil {
			return out, err
		}
		if m.Subject != nil && m.Subject.Digest == subject {
			d.ArtifactType = m.artifactType()
			out = append(out, d)
		}
	}
	return out, nil
}

func (l *layout) Manifest(ctx context.Context, dig string) ([]byte, error) {
	return l.Blob(ctx, dig, maxManifest)
}

func (l *layout) Blob(_ context.Context, dig string, limit int64) ([]byte, error) {
	want, err := digest.Parse(dig)
	if err != nil {
		return nil, fmt.Errorf("read digest %q: %w", dig, err)
	}
	b, err := l.open(path.Join("blobs", want.Algorithm().String(), want.Encoded()), limit)
	if err != nil {
		return nil, err
	}
	if got := want.Algorithm().FromBytes(b); got != want {
		return nil, fmt.Errorf("read %s: the content is %s", want, got)
	}
	return b, nil
}
