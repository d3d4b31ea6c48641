package profile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
)

// seen is how often, when, and under which images.
type seen struct {
	count       uint64
	first, last time.Time
	images      map[string]bool // by imageKey
}

func (s *seen) add(count uint64, first, last time.Time, images ...string) {
	s.count += count
	if s.first.IsZero() || !first.IsZero() && first.Before(s.first) {
		s.first = first
	}
	if last.After(s.last) {
		s.last = last
	}
	for _, i := range images {
		if s.images == nil {
			s.images = map[string]bool{}
		}
		s.images[i] = true
	}
	if len(s.images) > MaxImages {
		for _, i := range slices.Sorted(maps.Keys(s.images))[MaxImages:] {
			delete(s.images, i)
		}
	}
}

// merge adds what another entry saw.
func (s *seen) merge(o *seen) {
	s.add(o.count, o.first, o.last, slices.Sorted(maps.Keys(o.images))...)
}

// unknownImage stands for containers of which nobody tells the image.
const unknownImage = "-"

// ImageKey is how entries name the image of a container: the first twelve
// digits of its digest, or its reference where the runtime tells no digest.
func ImageKey(c *workload.Container) string { return imageKey(c.Image, c.ImageDigest) }

func imageKey(reference, digest string) string {
	if _, hex, ok := strings.Cut(digest, ":"); ok && len(hex) >= 12 {
		return hex[:12]
	}
	if reference != "" {
		return reference
	}
	return unknownImage
}

// named gives the images of an entry as a document has them: nothing when they
// are all that the profile has.
func (s *seen) named(all []v1alpha1.LearnedImage) []string {
	if len(s.images) > 0 && len(s.images) <= len(all) {
		missing := slices.ContainsFunc(all, func(i v1alpha1.LearnedImage) bool { return !s.images[imageKey(i.Reference, i.Digest)] })
		if !missing {
			return nil
		}
	}
	if len(s.images) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(s.images))
}

// meant is the opposite of named.
func meant(names []string, all []v1alpha1.LearnedImage) []string {
	if len(names) > 0 {
		return names
	}
	out := make([]string, 0, len(all))
	for _, i := range all {
		out = append(out, imageKey(i.Reference, i.Digest))
	}
	return out
}
