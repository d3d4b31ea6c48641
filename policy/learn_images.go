package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// How well an image must be known before what only its predecessor did is left
// out of a policy, and how long the predecessor must be gone.
const (
	settledContainers = 2
	settledFor        = 24 * time.Hour
)

// present gives the profile without what was seen only under images that are
// not run any more. A new image re-learns what changed: what both did is
// there already, and what only the old one did stays until the new one is known
// well enough.
func (l *learner) present(p *v1alpha1.Profile) *v1alpha1.Profile {
	gone, fresh := l.superseded(p.Spec.Images)
	if len(fresh) > 0 {
		l.remarks = append(l.remarks, fmt.Sprintf("New and not yet known well: %s. What only earlier images did is still allowed.", strings.Join(fresh, ", ")))
	}
	if len(gone) == 0 {
		return p
	}
	out := *p
	left := map[string][]string{}
	stale := func(images []string, what, name string) bool {
		if len(images) == 0 || slices.ContainsFunc(images, func(i string) bool { return !gone[i] }) {
			return false
		}
		left[what] = append(left[what], name)
		return true
	}
	s := &out.Spec
	s.Processes = lacking(s.Processes, func(e *v1alpha1.LearnedProcess) bool { return stale(e.Images, "program", e.Path) })
	s.Files = lacking(s.Files, func(e *v1alpha1.LearnedFile) bool { return stale(e.Images, "directory", e.Directory) })
	s.Capabilities = lacking(s.Capabilities, func(e *v1alpha1.LearnedCapability) bool { return stale(e.Images, "capability", e.Name) })
	s.Egress = lacking(s.Egress, func(e *v1alpha1.LearnedPeer) bool { return stale(e.Images, "destination", peerWords(e)) })
	s.Ingress = lacking(s.Ingress, func(e *v1alpha1.LearnedPeer) bool { return stale(e.Images, "client", peerWords(e)) })
	for _, what := range []string{"program", "directory", "capability", "destination", "client"} {
		if names := left[what]; len(names) > 0 {
			slices.Sort(names)
			l.note("seen only under images that are not run any more: %s %s.", what, some(slices.Compact(names)))
		}
	}
	return &out
}

func lacking[T any](list []T, drop func(*T) bool) []T {
	var out []T
	for i := range list {
		if !drop(&list[i]) {
			out = append(out, list[i])
		}
	}
	return out
}

// superseded gives the images, as entries name them, that a later one of the
// same repository has replaced, and the later ones that are too new to judge
// by. Images of other repositories (of another container of the same pod) are
// left alone.
func (l *learner) superseded(images []v1alpha1.LearnedImage) (gone map[string]bool, fresh []string) {
	gone = map[string]bool{}
	for i := range images {
		old := &images[i]
		if key := imageKey(old); l.opts.Images != nil && slices.Contains(l.opts.Images, key) {
			continue
		}
		for j := range images {
			now := &images[j]
			if i == j || repository(now.Reference) != repository(old.Reference) || imageKey(now) == imageKey(old) ||
				!now.FirstSeen.After(old.FirstSeen.Time) || !now.LastSeen.After(old.LastSeen.Time) {
				continue
			}
			if l.opts.Images != nil && !slices.Contains(l.opts.Images, imageKey(now)) {
				continue
			}
			if now.Containers >= settledContainers && now.LastSeen.Sub(now.FirstSeen.Time) >= settledFor && now.LastSeen.Sub(old.LastSeen.Time) >= settledFor {
				gone[imageKey(old)] = true
			} else if name := imageWords(now); !slices.Contains(fresh, name) {
				fresh = append(fresh, name)
			}
		}
	}
	for i := range images {
		if im := &images[i]; gone[imageKey(im)] {
			fresh = slices.DeleteFunc(fresh, func(s string) bool { return s == imageWords(im) })
		}
	}
	return gone, fresh
}

// imageKey is how entries of a profile name an image; guard/profile writes it.
func imageKey(i *v1alpha1.LearnedImage) string {
	if _, hex, ok := strings.Cut(i.Digest, ":"); ok && len(hex) >= 12 {
		return hex[:12]
	}
	if i.Reference != "" {
		return i.Reference
	}
	return "-"
}

func imageWords(i *v1alpha1.LearnedImage) string {
	if i.Reference == "" || i.Digest == "" {
		return imageKey(i)
	}
	return i.Reference + " (" + imageKey(i) + ")"
}

// repository is a reference without tag and digest.
func repository(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		reference = reference[:i]
	}
	return reference
}
