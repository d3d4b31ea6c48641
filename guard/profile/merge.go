package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// Merge makes one profile of two of the same workload, as two nodes or two
// agents saw it. It is pure and does not care about the order of the two.
// Where the bounds leave no room, what was seen least often is left out and
// counted in Truncated.
//
// Containers that both remember by name are counted once.
func Merge(a, b v1alpha1.Profile) (v1alpha1.Profile, error) {
	if a.Name != b.Name || a.Namespace != b.Namespace {
		return v1alpha1.Profile{}, fmt.Errorf("merge profiles: %s/%s and %s/%s are not of one workload", a.Namespace, a.Name, b.Namespace, b.Name)
	}
	p, err := FromDocument(a)
	if err != nil {
		return v1alpha1.Profile{}, err
	}
	q, err := FromDocument(b)
	if err != nil {
		return v1alpha1.Profile{}, err
	}
	p.merge(q)
	return p.Snapshot(), nil
}

func (p *Profile) merge(q *Profile) {
	p.ref.Kind = max(p.ref.Kind, q.ref.Kind)
	switch {
	case p.containers == 0 && q.containers > 0:
		p.labels = q.labels
	case p.containers > 0 && q.containers == 0:
	default:
		maps.DeleteFunc(p.labels, func(k, v string) bool { have, ok := q.labels[k]; return !ok || have != v })
	}
	both := 0
	for _, id := range q.recent {
		if slices.Contains(p.recent, id) {
			both++
		}
	}
	p.containers = max(p.containers+q.containers-both, p.containers, q.containers)
	p.recent = append(slices.Clone(p.recent), q.recent...)
	slices.Sort(p.recent)
	p.recent = slices.Compact(p.recent)
	if len(p.recent) > maxRecent {
		p.recent = p.recent[:maxRecent]
	}
	p.mergeImages(q.images, both)
	p.touch(q.first)
	p.touch(q.last)
	for k, o := range q.processes {
		s := p.processes[k]
		if s == nil {
			s = &process{}
			p.processes[k] = s
		}
		s.merge(&o.seen)
		s.args = addArgs(s.args, o.args...)
		s.addUsers(o.users)
	}
	for k, o := range q.files {
		s := p.files[k]
		if s == nil {
			s = &fileUse{access: map[v1alpha1.AccessWord]bool{}}
			p.files[k] = s
		}
		s.merge(&o.seen)
		maps.Copy(s.access, o.access)
	}
	for k, o := range q.capabilities {
		if p.capabilities[k] == nil {
			p.capabilities[k] = &seen{}
		}
		p.capabilities[k].merge(o)
	}
	p.egress.union(&q.egress)
	p.ingress.union(&q.ingress)
	t, u := &p.truncated, &q.truncated
	t.Processes += u.Processes
	t.Egress += u.Egress
	t.Ingress += u.Ingress
	t.Files += u.Files
	t.Capabilities += u.Capabilities
	t.Processes += fit(p.processes, MaxProcesses, func(k processKey) string { return fmt.Sprintf("%q %q %q %t", k.path, k.applet, k.parent, k.notInImage) }, func(s *process) uint64 { return s.count })
	t.Files += fit(p.files, MaxFiles, func(k fileKey) string { return fmt.Sprintf("%q %q", k.dir, k.program) }, func(s *fileUse) uint64 { return s.count })
	t.Capabilities += fit(p.capabilities, MaxCapabilities, func(k capKey) string { return fmt.Sprintf("%q %q", k.name, k.program) }, func(s *seen) uint64 { return s.count })
	t.Egress += fit(p.egress.entries, MaxPeers, peerText, func(s *seen) uint64 { return s.count })
	t.Ingress += fit(p.ingress.entries, MaxPeers, peerText, func(s *seen) uint64 { return s.count })
}

func peerText(k peerKey) string {
	return fmt.Sprintf("%q %q %s %s", k.namespace, k.name, k.prefix, k.port)
}

func (p *peers) union(q *peers) {
	for k, o := range q.entries {
		if p.entries[k] == nil {
			p.entries[k] = &seen{}
		}
		p.entries[k].merge(o)
	}
}

// mergeImages joins what is known of images. Both is how many containers the
// two profiles share; of which image they are is not known, so an image counts
// at least as many as either profile says, and at most their sum.
func (p *Profile) mergeImages(more []v1alpha1.LearnedImage, both int) {
	for _, o := range more {
		i := slices.IndexFunc(p.images, func(h v1alpha1.LearnedImage) bool { return h.Reference == o.Reference && h.Digest == o.Digest })
		if i < 0 {
			p.images = append(p.images, o)
			continue
		}
		im := &p.images[i]
		im.Containers = max(im.Containers+o.Containers-both, im.Containers, o.Containers)
		if im.FirstSeen.IsZero() || !o.FirstSeen.IsZero() && o.FirstSeen.Before(&im.FirstSeen) {
			im.FirstSeen = o.FirstSeen
		}
		if im.LastSeen.Before(&o.LastSeen) {
			im.LastSeen = o.LastSeen
		}
	}
	slices.SortFunc(p.images, func(a, b v1alpha1.LearnedImage) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen.Time), cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.Digest, b.Digest))
	})
	if len(p.images) > MaxImages {
		p.images = p.images[:MaxImages]
	}
}

// fit leaves out the entries seen least often, those of equal count by name,
// until there are no more than most, and gives how many observations they were.
func fit[K comparable, V any](entries map[K]V, most int, name func(K) string, count func(V) uint64) (lost uint64) {
	if len(entries) <= most {
		return 0
	}
	keys := slices.Collect(maps.Keys(entries))
	slices.SortFunc(keys, func(a, b K) int {
		return cmp.Or(cmp.Compare(count(entries[b]), count(entries[a])), cmp.Compare(name(a), name(b)))
	})
	for _, k := range keys[most:] {
		lost += max(count(entries[k]), 1)
		delete(entries, k)
	}
	return lost
}
