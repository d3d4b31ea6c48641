package scanning

import (
	"context"
	"fmt"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/registry"
)

// Target makes of a ScanTarget what a sweep needs.
func Target(t *v1alpha1.ScanTarget) (registry.Target, error) {
	s := t.Spec
	out := registry.Target{
		Name: t.Name, Registry: s.Registry, Repositories: s.Repositories, Platforms: s.Platforms, Schedule: s.Schedule,
	}
	if s.Catalog != nil {
		out.Include, out.Exclude = s.Catalog.Include, s.Catalog.Exclude
	}
	if s.Tags != nil {
		out.Tags = registry.TagFilter{Include: s.Tags.Include, Exclude: s.Tags.Exclude, Newest: s.Tags.Newest}
		if s.Tags.Order == v1alpha1.TagOrderCreated {
			out.Tags.Order = "created"
		}
	}
	if c := s.Credentials; c != nil {
		out.Credentials = registry.Credentials{UserEnv: c.UsernameEnv, PasswordEnv: c.PasswordEnv, File: c.File, Anonymous: c.Anonymous}
	}
	if c := s.TLS; c != nil {
		out.CAFile, out.SkipTLSVerify, out.PlainHTTP = c.CAFile, c.InsecureSkipVerify, c.PlainHTTP
	}
	if l := s.Limits; l != nil {
		out.Parallel, out.BytesPerSecond = l.Parallel, l.BytesPerSecond
		if l.Timeout != "" {
			d, err := time.ParseDuration(l.Timeout)
			if err != nil {
				return out, fmt.Errorf("ScanTarget %s: timeout: %w", t.Name, err)
			}
			out.Timeout = d
		}
	}
	return out, nil
}

// Thresholds are those of a ScanTarget's failOn; without any, nothing fails.
func Thresholds(t *v1alpha1.ScanTarget) (decide.Thresholds, error) {
	th, err := decide.ParseThresholds(t.Spec.FailOn...)
	if err != nil {
		return th, fmt.Errorf("ScanTarget %s: failOn: %w", t.Name, err)
	}
	return th, nil
}

// Read reads one image of a sweep with the options of a session.
func Read(ctx context.Context, o engine.Options, job registry.Job) (*registry.Kept, error) {
	o.Image.PlainHTTP, o.Image.SkipTLSVerify, o.Image.CAFile = job.Access.PlainHTTP, job.Access.SkipTLSVerify, job.Access.CAFile
	o.Image.Username, o.Image.Password, o.Image.Token = job.Access.Username, job.Access.Password, job.Access.Token
	o.Image.Anonymous = job.Access.Anonymous
	o.Image.Transport, o.Image.Platform = job.Access.Transport, job.Platform
	c, err := engine.Read(ctx, "registry:"+job.Ref, o)
	if err != nil {
		return nil, err
	}
	c.Image.Tags = job.Names
	return &registry.Kept{Image: c.Image, Inventory: c.Inventory, Signatures: c.Signatures, Signed: c.Signed, Base: c.Base}, nil
}

// Job scans one image of a sweep with the options of a session.
func Job(ctx context.Context, o engine.Options, job registry.Job) (*scan.Report, *registry.Kept, error) {
	k, err := Read(ctx, o, job)
	if err != nil {
		return nil, nil, err
	}
	r, err := Matcher{o}.Match(k)
	if err != nil {
		return nil, nil, err
	}
	return r, k, nil
}

// Matcher matches again what is kept of images; it is a registry.Matcher.
type Matcher struct {
	Engine engine.Options
}

// Database is the digest of the database that is matched against.
func (m Matcher) Database() string { return m.Engine.DB.Info().Digest }

// Match makes a report of what is kept.
func (m Matcher) Match(k *registry.Kept) (*scan.Report, error) {
	return engine.Assemble(&engine.Content{Image: k.Image, Inventory: k.Inventory, Signatures: k.Signatures, Signed: k.Signed, Base: k.Base}, m.Engine)
}
