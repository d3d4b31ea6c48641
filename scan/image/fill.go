package image

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gabion-dev/gabion/scan"
)

// fill puts what manifest and configuration tell into img. layers are those of
// the manifest, lowest first, without their diff ids.
func fill(img *scan.Image, c *v1.ConfigFile, layers []scan.Layer, o *Options) error {
	if len(layers) > o.MaxLayers || len(c.RootFS.DiffIDs) > o.MaxLayers {
		return failed(ErrTooBig, "raise the limit if the image is right", "read image %s: %d layers, more than %d", img.Name, max(len(layers), len(c.RootFS.DiffIDs)), o.MaxLayers)
	}
	if len(c.History) > o.MaxHistory {
		return failed(ErrTooBig, "raise the limit if the image is right", "read image %s: %d steps of history, more than %d", img.Name, len(c.History), o.MaxHistory)
	}
	if len(layers) != len(c.RootFS.DiffIDs) {
		return failed(ErrCorrupt, "build or push the image again", "read image %s: its manifest has %d layers, its configuration %d", img.Name, len(layers), len(c.RootFS.DiffIDs))
	}
	img.Platform = platformText(c.OS, c.Architecture, c.Variant)
	for i := range layers {
		layers[i].DiffID = c.RootFS.DiffIDs[i].String()
	}
	img.Layers = layers
	img.Config = scan.Config{
		Created: c.Created.UTC(), User: c.Config.User, Env: c.Config.Env, Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd,
		WorkingDir: c.Config.WorkingDir, Labels: c.Config.Labels,
		ExposedPorts: sorted(c.Config.ExposedPorts), Volumes: sorted(c.Config.Volumes),
	}
	if c.Config.Healthcheck != nil {
		img.Config.Healthcheck = c.Config.Healthcheck.Test
	}
	for _, h := range c.History {
		img.Config.History = append(img.Config.History, scan.History{
			Created: h.Created.UTC(), Command: h.CreatedBy, Comment: h.Comment, Empty: h.EmptyLayer,
		})
	}
	commands(img)
	return nil
}

// commands tells for each layer which step made it. A history that does not
// have one step per layer tells nothing: a wrong command is worse than none.
func commands(img *scan.Image) {
	var steps []string
	for _, h := range img.Config.History {
		if !h.Empty {
			steps = append(steps, h.Command)
		}
	}
	if len(steps) != len(img.Layers) {
		return
	}
	for i := range img.Layers {
		img.Layers[i].Command = steps[i]
	}
}

func sorted[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

func platformText(os, arch, variant string) string {
	s := os + "/" + arch
	if variant != "" {
		s += "/" + variant
	}
	return strings.Trim(s, "/")
}

// parsePlatform reads "os/arch[/variant]".
func parsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return v1.Platform{}, failed(ErrPlatform, `write it as "linux/arm64" or "linux/arm/v7"`, "read platform %q", s)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// wrongPlatform refuses an image that is for another platform than the one that
// was asked for by name.
func wrongPlatform(img *scan.Image, o *Options, do string) error {
	if o.Platform == "" {
		return nil
	}
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return err
	}
	if have, err := parsePlatform(img.Platform); err != nil || !suits(have, want) {
		return failedBy(err, ErrPlatform, fmt.Sprintf(do, img.Platform), "open %s for %s", img.Name, o.Platform)
	}
	return nil
}

// suits reports whether an image of platform p is what want asks for.
func suits(p, want v1.Platform) bool {
	if p.OS != want.OS || p.Architecture != want.Architecture {
		return false
	}
	return want.Variant == "" || variant(p) == variant(want)
}

// variant gives the variants that go without saying.
func variant(p v1.Platform) string {
	switch {
	case p.Variant != "":
		return p.Variant
	case p.Architecture == "arm64":
		return "v8"
	case p.Architecture == "arm":
		return "v7"
	case p.Architecture == "amd64":
		return "v1"
	}
	return ""
}

func checkDigest(d v1.Hash) error {
	if d.Algorithm != "sha256" || len(d.Hex) != 64 {
		return fmt.Errorf("digest %q is not a sha256: %w", d.String(), ErrUnsupported)
	}
	return nil
}
