package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Remote says how to reach registries. The zero value works.
type Remote struct {
	Transport http.RoundTripper   // nil: the default, with the proxies of the environment
	Auth      authn.Authenticator // nil: Keychain
	Keychain  authn.Keychain      // nil: those of Docker and its helpers
	PlainHTTP bool                // also http:// registries other than on this machine
	UserAgent string
}

// registry is one reference in a registry. Reading is done here and not by
// the library, which cannot ask for the rest of a blob.
type registry struct {
	ref    name.Reference
	remote Remote
	client *http.Client // made by the first use
}

func openRegistry(ref string, r Remote) (repo, error) {
	var opts []name.Option
	if r.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	n, err := name.ParseReference(ref, opts...)
	if err != nil {
		return nil, fmt.Errorf("read reference %q: %w", ref, err)
	}
	if r.Transport == nil {
		r.Transport = remote.DefaultTransport
	}
	if r.Keychain == nil {
		r.Keychain = authn.DefaultKeychain
	}
	return &registry{ref: n, remote: r}, nil
}

func (g *registry) connect(ctx context.Context) error {
	if g.client != nil {
		return nil
	}
	repo := g.ref.Context()
	auth := g.remote.Auth
	if auth == nil {
		var err error
		if auth, err = authn.Resolve(ctx, g.remote.Keychain, repo); err != nil {
			return fmt.Errorf("find credentials for %s: %w", repo.RegistryStr(), err)
		}
	}
	base := g.remote.Transport
	if g.remote.UserAgent != "" {
		base = transport.NewUserAgent(base, g.remote.UserAgent)
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, base, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return refused(err)
	}
	g.client = &http.Client{Transport: t}
	return nil
}

// get asks for a path of the repository; the caller judges the status.
func (g *registry) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	if err := g.connect(ctx); err != nil {
		return nil, err
	}
	repo := g.ref.Context()
	url := fmt.Sprintf("%s://%s/v2/%s/%s", repo.Scheme(), repo.RegistryStr(), repo.RepositoryStr(), path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable); err != nil {
		return nil, errors.Join(refused(err), resp.Body.Close())
	}
	return resp, nil
}

// refused adds what kind of refusal an answer is.
func refused(err error) error {
	var t *transport.Error
	if errors.As(err, &t) {
		switch t.StatusCode {
		case http.StatusNotFound:
			return fmt.Errorf("%w: %w", ErrNotFound, err)
		case http.StatusUnauthorized, http.StatusForbidden:
			return fmt.Errorf("%w: %w; log in to the registry or give credentials", ErrDenied, err)
		}
	}
	return err
}

func (g *registry) manifest(ctx context.Context) ([]byte, error) {
	resp, err := g.get(ctx, "manifests/"+g.ref.Identifier(), http.Header{"Accept": {manifestType}})
	if err != nil {
		return nil, fmt.Errorf("fetch manifest of %s: %w", g.ref, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("fetch manifest of %s: %w", g.ref, err)
	}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("fetch manifest of %s: %w", g.ref, ErrTooBig)
	}
	if d, ok := g.ref.(name.Digest); ok && digest(b) != d.DigestStr() {
		return nil, fmt.Errorf("manifest of %s has digest %s: %w", g.ref, digest(b), ErrCorrupt)
	}
	return b, nil
}

func (g *registry) blob(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, int64, error) {
	header := http.Header{}
	if offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := g.get(ctx, "blobs/"+d.Digest, header)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Body, 0, nil
	case http.StatusPartialContent:
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err == nil && from == offset {
			return resp.Body, offset, nil
		}
	}
	// Not the part that was asked for: take all of it.
	_ = resp.Body.Close()
	if offset == 0 {
		return nil, 0, fmt.Errorf("fetch blob %s: registry answered %s", d.Digest, resp.Status)
	}
	return g.blob(ctx, d, 0)
}

// options are those of the library, which does the writing.
func (g *registry) options(ctx context.Context) []remote.Option {
	o := []remote.Option{remote.WithContext(ctx), remote.WithTransport(g.remote.Transport)}
	if g.remote.Auth != nil {
		o = append(o, remote.WithAuth(g.remote.Auth))
	} else {
		o = append(o, remote.WithAuthFromKeychain(g.remote.Keychain))
	}
	if g.remote.UserAgent != "" {
		o = append(o, remote.WithUserAgent(g.remote.UserAgent))
	}
	return o
}

func (g *registry) putBlob(ctx context.Context, d descriptor, open func() (io.ReadCloser, error)) error {
	return refused(remote.WriteLayer(g.ref.Context(), &blobLayer{d, open}, g.options(ctx)...))
}

func (g *registry) putManifest(ctx context.Context, raw []byte) error {
	return refused(remote.Put(g.ref, rawManifest(raw), g.options(ctx)...))
}

type rawManifest []byte

func (r rawManifest) RawManifest() ([]byte, error)        { return bytes.Clone(r), nil }
func (r rawManifest) MediaType() (types.MediaType, error) { return manifestType, nil }

// blobLayer shows the library a blob as a layer; it uploads what Compressed
// gives and nothing else.
type blobLayer struct {
	d    descriptor
	open func() (io.ReadCloser, error)
}

func (l *blobLayer) Digest() (v1.Hash, error)             { return v1.NewHash(l.d.Digest) }
func (l *blobLayer) DiffID() (v1.Hash, error)             { return v1.NewHash(l.d.Digest) }
func (l *blobLayer) Compressed() (io.ReadCloser, error)   { return l.open() }
func (l *blobLayer) Uncompressed() (io.ReadCloser, error) { return l.open() }
func (l *blobLayer) Size() (int64, error)                 { return l.d.Size, nil }
func (l *blobLayer) MediaType() (types.MediaType, error)  { return types.MediaType(l.d.MediaType), nil }
