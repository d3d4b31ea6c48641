package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/gabion-dev/gabion/scan"
)

// acceptManifests are the documents that are asked for; the first schema is
// among them only to be refused with a clear word.
const acceptManifests = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
	"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, " +
	"application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1"

// place is one host that may have the image: a mirror, or the registry itself.
type place struct {
	name  name.Repository
	auth  authn.Authenticator
	base  http.RoundTripper
	mu    sync.Mutex
	ready http.RoundTripper // with credentials; made when first used
}

// repository is an image's places, in the order to ask.
type repository struct {
	o      *Options
	places []*place
	at     *place // that had the manifest
	wait   func(context.Context, time.Duration) error
}

func openRegistry(ctx context.Context, text string, o *Options) (*Image, error) {
	var opts []name.Option
	if o.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(text, opts...)
	if err != nil {
		return nil, failedBy(err, ErrUnsupported, "name an image as \"registry/repository:tag\", or check the path", "read reference %q", text)
	}
	base, err := o.transport()
	if err != nil {
		return nil, err
	}
	repo := &repository{o: o, wait: wait}
	if repo.places, err = places(ref.Context(), base, o); err != nil {
		return nil, err
	}
	connections := idle{base}
	if o.Transport != nil {
		connections.rt = nil // whoever made it goes on using it
	}
	img, err := repo.open(ctx, ref, text)
	if err != nil {
		_ = connections.Close()
		return nil, err
	}
	img.closer = append(img.closer, connections)
	return img, nil
}

// idle closes connections that nobody uses any more; nil has none.
type idle struct{ rt http.RoundTripper }

// Close implements io.Closer.
func (i idle) Close() error {
	if i.rt != nil {
		(&http.Client{Transport: i.rt}).CloseIdleConnections()
	}
	return nil
}

// open finds the image that ref names.
func (r *repository) open(ctx context.Context, ref name.Reference, text string) (*Image, error) {
	raw, err := r.manifest(ctx, ref.Identifier(), r.o.MaxManifest)
	if err != nil {
		return nil, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, failedBy(err, ErrCorrupt, "", "read manifest of %s", text)
	}
	if d, ok := ref.(name.Digest); ok && d.DigestStr() != digest.String() {
		return nil, failed(ErrCorrupt, "do not trust where it comes from", "read manifest of %s: its digest is %s", text, digest)
	}
	res := &resolver{fetch: r.document, o: r.o, name: text}
	m, err := res.resolve(ctx, raw, digest)
	if err != nil {
		return nil, err
	}
	img := &Image{Image: scan.Image{
		Name: text, Kind: scan.Registry, Digest: m.digest.String(), ConfigID: m.manifest.Config.Digest.String(),
	}, repo: r}
	if t, ok := ref.(name.Tag); ok {
		img.Tags = []string{publicName(t)}
	}
	if m.index != (v1.Hash{}) {
		img.Index = m.index.String()
	}
	if err := fill(&img.Image, m.config, layersOf(m.manifest), r.o); err != nil {
		return nil, err
	}
	layers := m.manifest.Layers
	img.open = func(ctx context.Context, i int) (io.ReadCloser, error) { return r.layer(ctx, layers[i]) }
	return img, nil
}

// publicName is a reference in full, with Docker Hub as people and containerd
// know it.
func publicName(r name.Reference) string {
	if rest, ok := strings.CutPrefix(r.Name(), name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return r.Name()
}

// places lists mirrors and the registry itself. Explicit credentials are for
// the registry only.
func places(repo name.Repository, base http.RoundTripper, o *Options) ([]*place, error) {
	host := repo.RegistryStr()
	mirrors := o.Mirrors[host]
	if host == name.DefaultRegistry {
		mirrors = append(mirrors[:len(mirrors):len(mirrors)], o.Mirrors["docker.io"]...)
	}
	var out []*place
	for _, m := range mirrors {
		opts := []name.Option{name.WeakValidation}
		at, plain := strings.CutPrefix(m, "http://")
		if plain || o.PlainHTTP {
			opts = append(opts, name.Insecure)
		}
		at = strings.TrimSuffix(strings.TrimPrefix(at, "https://"), "/")
		r, err := name.NewRepository(at+"/"+repo.RepositoryStr(), opts...)
		if err != nil {
			return nil, failedBy(err, ErrUnsupported, "write a mirror as \"host\" or \"host/prefix\"", "read mirror %q of %s", m, host)
		}
		auth, err := o.configured(r)
		if err != nil {
			return nil, err
		}
		out = append(out, &place{name: r, auth: auth, base: base})
	}
	var auth authn.Authenticator
	switch {
	case o.Anonymous:
		auth = authn.Anonymous
	case o.Token != "":
		auth = &authn.Bearer{Token: o.Token}
	case o.Username != "" || o.Password != "":
		auth = &authn.Basic{Username: o.Username, Password: o.Password}
	default:
		var err error
		if auth, err = o.configured(repo); err != nil {
			return nil, err
		}
	}
	return append(out, &place{name: repo, auth: auth, base: base}), nil
}

// configured finds the credentials of the user's configuration.
func (o *Options) configured(r name.Repository) (authn.Authenticator, error) {
	if o.Anonymous {
		return authn.Anonymous, nil
	}
	auth, err := authn.DefaultKeychain.Resolve(r)
	if err != nil {
		return nil, failedBy(err, ErrUnauthorized, "check the Docker configuration and its credential helper", "find credentials for %s", r.RegistryStr())
	}
	return auth, nil
}

// options are for those who go on with the same repository.
func (p *place) options(o *Options) []remote.Option {
	return []remote.Option{remote.WithTransport(p.base), remote.WithAuth(p.auth), remote.WithUserAgent(o.UserAgent)}
}

// client signs in when first used.
func (p *place) client(ctx context.Context, agent string) (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready == nil {
		rt, err := transport.NewWithContext(ctx, p.name.Registry, p.auth, transport.NewUserAgent(p.base, agent), []string{p.name.Scope(transport.PullScope)})
		if err != nil {
			return nil, err
		}
		p.ready = rt
	}
	return &http.Client{Transport: p.ready}, nil
}

// get asks one place. The body of the answer is the caller's to close.
func (p *place) get(ctx context.Context, agent, path string, head http.Header) (*http.Response, error) {
	client, err := p.client(ctx, agent)
	if err != nil {
		return nil, p.failure(err, path)
	}
	url := fmt.Sprintf("%s://%s/v2/%s/%s", p.name.Scheme(), p.name.RegistryStr(), p.name.RepositoryStr(), path)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, p.failure(err, path)
	}
	for k, v := range head {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, p.failure(err, path)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		_ = resp.Body.Close()
		return nil, p.failure(err, path)
	}
	return resp, nil
}

// failure says what an answer of a registry means.
func (p *place) failure(err error, path string) error {
	kind, do := ErrUnreachable, "check the network, the proxy and the name of the registry"
	var te *transport.Error
	if errors.As(err, &te) {
		switch te.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			kind, do = ErrUnauthorized, "sign in to "+p.name.RegistryStr()+", or check the name: some registries answer so for what does not exist"
		case http.StatusNotFound:
			kind, do = ErrNotFound, "check the name and the tag"
		case http.StatusTooManyRequests:
			do = "the registry limits the rate: sign in, use a mirror, or come back later"
		default:
			do = "the registry has trouble: come back later"
		}
	}
	return failedBy(err, kind, do, "get %s from %s", path, p.name.Name())
}

// each asks the places in turn until one has it.
func (r *repository) each(ctx context.Context, try func(*place) error) error {
	order := r.places
	if r.at != nil {
		order = []*place{r.at}
		for _, p := range r.places {
			if p != r.at {
				order = append(order, p)
			}
		}
	}
	var errs []error
	for _, p := range order {
		err := try(p)
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return errs[0]
	}
	// The registry's own word decides what kind of failure it is.
	own := errs[len(errs)-1]
	if r.at != nil {
		own = errs[0]
	}
	var e *Error
	if errors.As(own, &e) {
		return failedBy(errors.Join(errs...), e.Kind, e.Do, "ask %s and its mirrors", r.places[len(r.places)-1].name.RegistryStr())
	}
	return errors.Join(errs...)
}

// manifest gets what a tag or digest names, and remembers who had it.
func (r *repository) manifest(ctx context.Context, id string, limit int64) ([]byte, error) {
	var raw []byte
	var at *place
	err := r.each(ctx, func(p *place) (err error) {
		at = p
		raw, err = r.small(ctx, p, "manifests/"+id, http.Header{"Accept": {acceptManifests}}, limit)
		return err
	})
	if err == nil && r.at == nil {
		r.at = at
	}
	return raw, err
}

// document is resolver.fetch.
func (r *repository) document(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
	if d.MediaType.IsIndex() || d.MediaType.IsImage() || d.MediaType.IsSchema1() {
		return r.manifest(ctx, d.Digest.String(), limit)
	}
	var raw []byte
	err := r.each(ctx, func(p *place) (err error) {
		raw, err = r.small(ctx, p, "blobs/"+d.Digest.String(), nil, limit)
		return err
	})
	return raw, err
}

func (r *repository) small(ctx context.Context, p *place, path string, head http.Header, limit int64) ([]byte, error) {
	resp, err := p.get(ctx, r.o.UserAgent, path, head)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readSmall(resp.Body, limit, path+" of "+p.name.Name())
}

// readSmall reads a document that must not be longer than limit.
func readSmall(in io.Reader, limit int64, what string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, failedBy(err, ErrUnreachable, "try again", "read %s", what)
	}
	if int64(len(raw)) > limit {
		return nil, failed(ErrTooBig, "raise the limit if the image is right", "read %s: more than %d bytes", what, limit)
	}
	return raw, nil
}
