package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
)

// Bounds of what one registry may list.
const (
	maxRepositories = 100_000
	maxTags         = 100_000 // of one repository
	maxImages       = 1_000_000
)

// login resolves credentials by reference, each time anew, so that a rotated
// secret is taken up by the next sweep.
func (s *Sweeper) login() (Access, authn.Authenticator, error) {
	c := s.t.Credentials
	a := Access{PlainHTTP: s.t.PlainHTTP, SkipTLSVerify: s.t.SkipTLSVerify, CAFile: s.t.CAFile, Anonymous: c.Anonymous, Transport: s.net}
	switch {
	case c.Anonymous:
		return a, authn.Anonymous, nil
	case c.PasswordEnv != "":
		a.Username, a.Password = s.d.Getenv(c.UserEnv), s.d.Getenv(c.PasswordEnv)
		if a.Password == "" || a.Username == "" {
			return a, nil, fmt.Errorf("find credentials of %s: %s or %s is not set", s.t.Registry, c.UserEnv, c.PasswordEnv)
		}
	case c.File != "":
		b, err := s.d.ReadFile(c.File)
		if err != nil {
			return a, nil, fmt.Errorf("find credentials of %s: %w", s.t.Registry, err)
		}
		line := strings.TrimSpace(string(b))
		if line == "" || strings.ContainsAny(line, "\r\n") {
			return a, nil, fmt.Errorf("find credentials of %s: %s must hold one line, \"user:password\" or a token", s.t.Registry, c.File)
		}
		if user, password, ok := strings.Cut(line, ":"); ok {
			a.Username, a.Password = user, password
		} else {
			a.Token = line
		}
	default:
		return a, nil, nil // the Docker configuration
	}
	return a, authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password, RegistryToken: a.Token}), nil
}

// session is a registry as one sweep sees it.
type session struct {
	*Sweeper
	access Access
	host   name.Registry
	opts   []remote.Option
}

func (s *Sweeper) session() (*session, error) {
	access, auth, err := s.login()
	if err != nil {
		return nil, err
	}
	var o []name.Option
	if s.t.PlainHTTP {
		o = append(o, name.Insecure)
	}
	host, err := name.NewRegistry(s.t.Registry, append(o, name.StrictValidation)...)
	if err != nil {
		return nil, fmt.Errorf("read registry %q: %w", s.t.Registry, err)
	}
	opts := []remote.Option{remote.WithTransport(s.net)}
	if auth != nil {
		opts = append(opts, remote.WithAuth(auth))
	} else {
		opts = append(opts, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	}
	// One puller for the whole sweep: tokens are asked for once.
	p, err := remote.NewPuller(opts...)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", s.t.Registry, err)
	}
	return &session{s, access, host, append(opts, remote.Reuse(p))}, nil
}

func (s *session) with(ctx context.Context) []remote.Option {
	return append(slices.Clone(s.opts), remote.WithContext(ctx))
}

// repositories are those listed in the target, or those of the catalogue.
func (s *session) repositories(ctx context.Context) ([]string, error) {
	all := s.t.Repositories
	if len(all) == 0 {
		p, err := remote.NewPuller(s.with(ctx)...)
		if err != nil {
			return nil, err
		}
		pages, err := p.Catalogger(ctx, s.host)
		if err != nil {
			return nil, catalogError(s.t.Registry, err)
		}
		for pages.HasNext() {
			page, err := pages.Next(ctx)
			if err != nil {
				return nil, catalogError(s.t.Registry, err)
			}
			if all = append(all, page.Repos...); len(all) > maxRepositories {
				return nil, fmt.Errorf("list repositories of %s: more than %d", s.t.Registry, maxRepositories)
			}
		}
	}
	var out []string
	for _, r := range all {
		if chosen(r, s.t.Include, s.t.Exclude) {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func catalogError(host string, err error) error {
	return fmt.Errorf("list repositories of %s: %w; where the catalogue is not served, name the repositories in the target", host, err)
}

// tags lists the chosen tags of a repository.
func (s *session) tags(ctx context.Context, repo name.Repository) ([]string, error) {
	p, err := remote.NewPuller(s.with(ctx)...)
	if err != nil {
		return nil, err
	}
	pages, err := p.Lister(ctx, repo)
	if err != nil {
		return nil, err
	}
	var all []string
	for pages.HasNext() {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Tags...); len(all) > maxTags {
			return nil, fmt.Errorf("more than %d tags", maxTags)
		}
	}
	tags := s.t.Tags.filter(all)
	if s.t.Tags.Order == orderCreated && s.t.Tags.Newest > 0 && len(tags) > s.t.Tags.Newest {
		return s.newest(ctx, repo, tags)
	}
	return tags, nil
}

// newest reads when each image was made. One that does not tell is kept, since
// it may be the newest.
func (s *session) newest(ctx context.Context, repo name.Repository, tags []string) ([]string, error) {
	made := make([]time.Time, len(tags))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * s.t.Parallel)
	for i, tag := range tags {
		g.Go(func() error {
			img, err := remote.Image(repo.Tag(tag), append(s.with(gctx), remote.WithPlatform(s.platforms[0]))...)
			if err != nil {
				return gctx.Err()
			}
			if f, err := img.ConfigFile(); err == nil {
				made[i] = f.Created.Time
			}
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	order := make([]int, len(tags))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if made[a].IsZero() != made[b].IsZero() {
			if made[a].IsZero() {
				return -1
			}
			return 1
		}
		return made[b].Compare(made[a])
	})
	var out []string
	left := s.t.Tags.Newest
	for _, i := range order {
		if made[i].IsZero() {
			out = append(out, tags[i])
		} else if left > 0 {
			left--
			out = append(out, tags[i])
		}
	}
	return out, nil
}

// found is one image of the registry.
type found struct {
	Job
	layers []string
}

// errArtifact says that a manifest is no image.
var errArtifact = errors.New("not an image")

// resolve finds the images behind a tag or digest: one per platform. Those that
// are known come without layers, at the price of one HEAD.
func (s *session) resolve(ctx context.Context, ref name.Reference) (images []*found, err error) {
	opts := s.with(ctx)
	if d, err := remote.Head(ref, opts...); err == nil && d.MediaType.IsImage() {
		known, err := s.d.Results.Known(ctx, d.Digest.String())
		if err != nil {
			return nil, &resultsError{err}
		}
		if known {
			return []*found{{Job: Job{Digest: d.Digest.String()}}}, nil
		}
	}
	d, err := remote.Get(ref, opts...)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		f, err := s.image(ref.Context(), d.Digest.String(), d.Manifest)
		if err != nil {
			return nil, err
		}
		return []*found{f}, nil
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(d.Manifest, &index); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	for _, want := range s.platforms {
		for _, m := range index.Manifests {
			if m.Platform == nil || !m.Platform.Satisfies(want) || !m.MediaType.IsImage() {
				continue
			}
			child := ref.Context().Digest(m.Digest.String())
			known, err := s.d.Results.Known(ctx, m.Digest.String())
			if err != nil {
				return nil, &resultsError{err}
			}
			f := &found{Job: Job{Digest: m.Digest.String()}}
			if !known {
				c, err := remote.Get(child, opts...)
				if err != nil {
					return nil, err
				}
				if f, err = s.image(ref.Context(), m.Digest.String(), c.Manifest); err != nil {
					return nil, err
				}
			}
			f.Platform = want.String()
			images = append(images, f)
			break
		}
	}
	if len(images) == 0 {
		return nil, fmt.Errorf("it is for other platforms than %s", strings.Join(s.t.Platforms, ", "))
	}
	return images, nil
}

// resultsError tells apart what ends a sweep.
type resultsError struct{ error }

func (e *resultsError) Unwrap() error { return e.error }

// image reads the layers out of a manifest.
func (s *session) image(repo name.Repository, digest string, raw []byte) (*found, error) {
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, errArtifact
	}
	f := &found{Job: Job{Ref: repo.Name() + "@" + digest, Digest: digest, Access: s.access}}
	for _, l := range m.Layers {
		f.layers = append(f.layers, l.Digest.String())
	}
	return f, nil
}

// inventory is everything a sweep found, by digest.
type inventory struct {
	mu     sync.Mutex
	images map[string]*found
	sum    *Summary
}

func (inv *inventory) fail(ref string, err error) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.sum.Failed = append(inv.sum.Failed, Failure{ref, err})
}

func (inv *inventory) add(ref name.Reference, images []*found) error {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, f := range images {
		have := inv.images[f.Digest]
		if have == nil {
			if len(inv.images) >= maxImages {
				return fmt.Errorf("list images: more than %d", maxImages)
			}
			inv.images[f.Digest] = f
			have = f
		}
		have.Names = append(have.Names, ref.Name())
	}
	return nil
}
