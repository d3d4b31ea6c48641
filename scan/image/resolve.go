package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/scan"
)

// Bounds of what an index may lead to.
const (
	maxIndexDepth = 4
	maxManifests  = 1024
	listPlatforms = 40 // in an error
)

// annotations that name an image in an index.
const (
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"
	referenceType  = "vnd.docker.reference.type" // buildkit: an attestation, not an image
)

// resolver finds the one image that is meant below an index, a manifest or the
// index.json of a layout. fetch gets a document by descriptor; its digest is
// verified here.
type resolver struct {
	fetch func(ctx context.Context, d v1.Descriptor, max int64) ([]byte, error)
	o     *Options
	name  string // for errors
	seen  int
}

// resolved is one image: its manifest's digest and what it says.
type resolved struct {
	digest   v1.Hash
	index    v1.Hash // that it was chosen from; zero when there was none
	manifest *v1.Manifest
	config   *v1.ConfigFile
}

// document is the union of what registries call a manifest, to tell by content
// which one it is.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []v1.Descriptor `json:"manifests"`
	Config        *v1.Descriptor  `json:"config"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// found is a manifest that may be the one.
type found struct {
	desc     v1.Descriptor
	index    v1.Hash
	platform *v1.Platform // nil: only its configuration tells
	raw      []byte       // nil: not fetched yet
}

// resolve starts from a document. inIndex is its digest when it is an index
// that has one (that of a layout has none).
func (r *resolver) resolve(ctx context.Context, raw []byte, digest v1.Hash) (*resolved, error) {
	var all []found
	if err := r.collect(ctx, raw, digest, v1.Hash{}, nil, 0, &all); err != nil {
		return nil, err
	}
	return r.choose(ctx, all)
}

// collect gathers the images below a document.
func (r *resolver) collect(ctx context.Context, raw []byte, digest, parent v1.Hash, p *v1.Platform, depth int, all *[]found) error {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return failedBy(err, ErrCorrupt, "", "read manifest of %s", r.name)
	}
	switch {
	case d.Config == nil && (d.SchemaVersion == 1 || d.FSLayers != nil):
		return failed(ErrUnsupported, "it is of the first schema, which registries have given up; push the image again with a current tool", "read manifest of %s", r.name)
	case d.Config != nil:
		*all = append(*all, found{desc: v1.Descriptor{Digest: digest}, index: parent, platform: p, raw: raw})
		return nil
	case d.Manifests == nil:
		return failed(ErrUnsupported, "", "read manifest of %s: neither an image nor an index (media type %q)", r.name, d.MediaType)
	case depth >= maxIndexDepth:
		return failed(ErrTooBig, "", "read index of %s: more than %d indexes in each other", r.name, maxIndexDepth)
	}
	for _, m := range d.Manifests {
		if r.seen++; r.seen > maxManifests {
			return failed(ErrTooBig, "", "read index of %s: more than %d manifests", r.name, maxManifests)
		}
		if m.Annotations[referenceType] != "" {
			continue
		}
		if !m.MediaType.IsIndex() {
			*all = append(*all, found{desc: m, index: digest, platform: m.Platform})
			continue
		}
		child, err := r.get(ctx, m, r.o.MaxManifest)
		if errors.Is(err, ErrNotFound) && len(d.Manifests) > 1 {
			continue // a store that holds a part of the index
		}
		if err != nil {
			return err
		}
		if err := r.collect(ctx, child, m.Digest, digest, m.Platform, depth+1, all); err != nil {
			return err
		}
	}
	return nil
}

// choose picks the image of the wanted platform.
func (r *resolver) choose(ctx context.Context, all []found) (*resolved, error) {
	explicit := r.o.Platform != ""
	want, err := parsePlatform(r.o.platform())
	if err != nil {
		return nil, err
	}
	var have []string
	var last error
	for _, f := range all {
		if f.platform != nil && f.platform.OS != "" && !suits(*f.platform, want) && (explicit || len(all) > 1) {
			have = append(have, platformText(f.platform.OS, f.platform.Architecture, f.platform.Variant))
			continue
		}
		img, err := r.load(ctx, f)
		if err != nil {
			if len(all) == 1 {
				return nil, err
			}
			last = err // an artifact, or a part that is not here
			continue
		}
		p := v1.Platform{OS: img.config.OS, Architecture: img.config.Architecture, Variant: img.config.Variant}
		if suits(p, want) || len(all) == 1 && !explicit || f.platform != nil && suits(*f.platform, want) {
			return img, nil
		}
		have = append(have, platformText(p.OS, p.Architecture, p.Variant))
	}
	if len(have) == 0 && last != nil {
		return nil, last
	}
	slices.Sort(have)
	have = slices.Compact(have)
	if len(have) > listPlatforms {
		have = append(have[:listPlatforms], "...")
	}
	do := "it holds no image"
	if len(have) > 0 {
		do = "choose one of " + strings.Join(have, ", ")
	}
	return nil, failed(ErrPlatform, do, "open %s for %s", r.name, r.o.platform())
}

// load reads manifest and configuration.
func (r *resolver) load(ctx context.Context, f found) (*resolved, error) {
	raw, err := f.raw, error(nil)
	if raw == nil {
		if raw, err = r.get(ctx, f.desc, r.o.MaxManifest); err != nil {
			return nil, err
		}
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, failedBy(err, ErrCorrupt, "", "read manifest of %s", r.name)
	}
	if len(m.Layers) > r.o.MaxLayers {
		return nil, failed(ErrTooBig, "raise the limit if the image is right", "read manifest of %s: %d layers, more than %d", r.name, len(m.Layers), r.o.MaxLayers)
	}
	for _, l := range m.Layers {
		if err := checkDigest(l.Digest); err != nil {
			return nil, failedBy(err, ErrUnsupported, "", "read manifest of %s", r.name)
		}
	}
	if t := string(m.Config.MediaType); !m.Config.MediaType.IsConfig() && t != "" && t != "application/octet-stream" {
		return nil, failed(ErrUnsupported, "", "open %s: an artifact of type %s and not an image", r.name, t)
	}
	c, _, err := r.config(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	return &resolved{digest: f.desc.Digest, index: f.index, manifest: m, config: c}, nil
}

func (r *resolver) config(ctx context.Context, d v1.Descriptor) (*v1.ConfigFile, []byte, error) {
	raw, err := r.get(ctx, d, r.o.MaxConfig)
	if err != nil {
		return nil, nil, err
	}
	c, err := parseConfig(raw, r.name)
	return c, raw, err
}

func parseConfig(raw []byte, name string) (*v1.ConfigFile, error) {
	c, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, failedBy(err, ErrCorrupt, "", "read configuration of %s", name)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := checkDigest(d); err != nil {
			return nil, failedBy(err, ErrUnsupported, "", "read configuration of %s", name)
		}
	}
	return c, nil
}

// get fetches a document and makes sure that it is the one.
func (r *resolver) get(ctx context.Context, d v1.Descriptor, limit int64) ([]byte, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, failedBy(err, ErrUnsupported, "", "read %s", r.name)
	}
	if d.Size > limit {
		return nil, failed(ErrTooBig, "raise the limit if the image is right", "read %s of %s: %d bytes, more than %d", d.Digest, r.name, d.Size, limit)
	}
	raw, err := r.fetch(ctx, d, limit)
	if err != nil {
		return nil, err
	}
	if h, _, err := v1.SHA256(bytes.NewReader(raw)); err != nil || h != d.Digest {
		return nil, failed(ErrCorrupt, "do not trust where it comes from", "read %s of %s: the content has digest %s", d.Digest, r.name, h)
	}
	return raw, nil
}

// tagged keeps those descriptors of a layout's index that a tag or digest
// names. Without one, an index that holds images of several names is refused.
func tagged(index []byte, tag, name, how string) ([]byte, error) {
	var d v1.IndexManifest
	if err := json.Unmarshal(index, &d); err != nil {
		return nil, failedBy(err, ErrCorrupt, "", "read index.json of %s", name)
	}
	var names []string
	var kept []v1.Descriptor
	for _, m := range d.Manifests {
		own := []string{m.Annotations[refName], m.Annotations[containerdName], m.Digest.String()}
		if tag != "" && slices.ContainsFunc(own, func(n string) bool { return n == tag || strings.HasSuffix(n, ":"+tag) }) {
			kept = append(kept, m)
		}
		names = append(names, firstOf(own...))
	}
	if tag == "" {
		if distinct := slices.Compact(slices.Sorted(slices.Values(named(d.Manifests)))); len(distinct) > 1 {
			return nil, failed(ErrAmbiguous, fmt.Sprintf(how, distinct[0]), "open %s: it holds %d images: %s", name, len(distinct), strings.Join(distinct[:min(len(distinct), listPlatforms)], ", "))
		}
		return index, nil
	}
	if len(kept) == 0 {
		return nil, failed(ErrNotFound, "it holds "+strings.Join(names[:min(len(names), listPlatforms)], ", "), "open %s of %s", tag, name)
	}
	d.Manifests = kept
	return json.Marshal(&d)
}

// named lists the names that descriptors carry.
func named(ds []v1.Descriptor) []string {
	var out []string
	for _, m := range ds {
		if n := firstOf(m.Annotations[containerdName], m.Annotations[refName]); n != "" {
			out = append(out, n)
		}
	}
	return out
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// layersOf are the layers of a manifest as scan has them.
func layersOf(m *v1.Manifest) []scan.Layer {
	out := make([]scan.Layer, len(m.Layers))
	for i, l := range m.Layers {
		out[i] = scan.Layer{Digest: l.Digest.String(), Size: l.Size, MediaType: string(l.MediaType)}
	}
	return out
}

// tagsIn lists the full names that an index.json gives the chosen image.
func tagsIn(index []byte, r *resolved) []string {
	var d v1.IndexManifest
	if json.Unmarshal(index, &d) != nil {
		return nil // it was read before
	}
	var tags []string
	for _, m := range d.Manifests {
		if m.Digest == r.digest || m.Digest == r.index {
			tags = append(tags, named([]v1.Descriptor{m})...)
		}
	}
	tags = slices.DeleteFunc(tags, func(t string) bool { return !strings.Contains(t, ":") })
	slices.Sort(tags)
	return slices.Compact(tags)
}
