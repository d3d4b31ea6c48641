// Package profile learns what a workload does: it merges first observations of
// all its containers into one bounded document.
//
// It is pure: observations and times come in, a document goes out; nothing is
// decided here, and turning a profile into policy is the duty of
// policy.Learn. The one idea: an entry is a behaviour that would need one line
// of policy, so what differs by chance only (made-up file names, ephemeral
// ports, the addresses of clients) is generalised before it is kept, and what
// finds no room is counted and never silently dropped.
package profile

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of one profile.
const (
	MaxProcesses = 1024 // entries
	MaxPeers     = 1024 // entries, each way
	MaxImages    = 64
	maxRecent    = 64 // containers remembered by name
)

// Profile is what was learned of one workload so far. It is not safe for
// concurrent use.
type Profile struct {
	ref        workload.Ref
	labels     map[string]string
	images     []v1alpha1.LearnedImage
	containers int
	recent     []string
	first      time.Time
	last       time.Time
	processes  map[processKey]*seen
	egress     peers
	ingress    peers
	truncated  v1alpha1.ProfileTruncated
}

type processKey struct {
	path, applet, parent string
	notInImage           bool
}

// seen is how often and when.
type seen struct {
	count       uint64
	first, last time.Time
}

func (s *seen) add(count uint64, first, last time.Time) {
	s.count += count
	if s.first.IsZero() || !first.IsZero() && first.Before(s.first) {
		s.first = first
	}
	if last.After(s.last) {
		s.last = last
	}
}

// New starts a profile of nothing.
func New(ref workload.Ref) *Profile {
	return &Profile{
		ref: ref, processes: map[processKey]*seen{},
		egress:  peers{entries: map[peerKey]*seen{}},
		ingress: peers{entries: map[peerKey]*seen{}},
	}
}

// Workload is whose profile it is.
func (p *Profile) Workload() workload.Ref { return p.ref }

// Container notes that a container of the workload ran at the moment now.
func (p *Profile) Container(c workload.Container, now time.Time) {
	p.touch(now)
	if p.ref.Kind == "" {
		p.ref.Kind = c.Workload.Kind
	}
	if id := c.Short(); !slices.Contains(p.recent, id) {
		if p.containers == 0 {
			p.labels = maps.Clone(c.Labels)
		} else {
			maps.DeleteFunc(p.labels, func(k, v string) bool { have, ok := c.Labels[k]; return !ok || have != v })
		}
		p.containers++
		p.recent = append(p.recent, id)
		if len(p.recent) > maxRecent {
			p.recent = slices.Delete(p.recent, 0, len(p.recent)-maxRecent)
		}
	}
	image := v1alpha1.LearnedImage{Reference: c.Image, Digest: c.ImageDigest}
	if image != (v1alpha1.LearnedImage{}) && !slices.Contains(p.images, image) {
		p.images = append(p.images, image)
		if len(p.images) > MaxImages {
			p.images = slices.Delete(p.images, 0, 1) // the oldest says least
		}
	}
}

// Observe merges one first observation. Peer is the workload at the other end
// of a network observation; zero when it is none known here.
func (p *Profile) Observe(o guard.Observation, peer workload.Ref) {
	switch o.Kind {
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		p.touch(o.Time)
		p.exec(o)
	case event.NetworkConnect:
		p.touch(o.Time)
		p.truncated.Egress += p.egress.observe(o, peer, o.PeerPort, false)
	case event.NetworkAccept:
		p.touch(o.Time)
		p.truncated.Ingress += p.ingress.observe(o, peer, o.LocalPort, true)
	}
}

func (p *Profile) touch(t time.Time) {
	if t.IsZero() {
		return
	}
	if p.first.IsZero() || t.Before(p.first) {
		p.first = t
	}
	if t.After(p.last) {
		p.last = t
	}
}

func (p *Profile) exec(o guard.Observation) {
	k := processKey{path: o.Path, applet: o.Applet, parent: o.Process.ParentExe, notInImage: !o.InImage}
	if k.notInImage {
		k.path = Generalise(k.path)
	}
	k.parent = Generalise(k.parent)
	s := p.processes[k]
	if s == nil {
		if len(p.processes) >= MaxProcesses || k.path == "" {
			p.truncated.Processes++
			return
		}
		s = &seen{}
		p.processes[k] = s
	}
	s.add(1, o.Time, o.Time)
}

// Snapshot gives the document, sorted so that equal profiles are equal text.
func (p *Profile) Snapshot() v1alpha1.Profile {
	doc := v1alpha1.Profile{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindProfile},
		ObjectMeta: metav1.ObjectMeta{Name: p.ref.Name, Namespace: p.ref.Namespace},
		Spec: v1alpha1.ProfileSpec{
			WorkloadKind: p.ref.Kind, Labels: maps.Clone(p.labels), Images: slices.Clone(p.images),
			Containers: p.containers, RecentContainers: slices.Clone(p.recent),
			FirstSeen: stamp(p.first), LastSeen: stamp(p.last),
			Egress: p.egress.list(), Ingress: p.ingress.list(),
		},
	}
	for k, s := range p.processes {
		doc.Spec.Processes = append(doc.Spec.Processes, v1alpha1.LearnedProcess{
			Path: k.path, Applet: k.applet, Parent: k.parent, NotInImage: k.notInImage,
			Count: s.count, FirstSeen: stamp(s.first), LastSeen: stamp(s.last),
		})
	}
	slices.SortFunc(doc.Spec.Processes, func(a, b v1alpha1.LearnedProcess) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Applet, b.Applet), cmp.Compare(a.Parent, b.Parent),
			order(a.NotInImage, b.NotInImage))
	})
	if p.truncated != (v1alpha1.ProfileTruncated{}) {
		t := p.truncated
		doc.Spec.Truncated = &t
	}
	return doc
}

// FromDocument takes up learning where a snapshot left off.
func FromDocument(doc v1alpha1.Profile) (*Profile, error) {
	spec := &doc.Spec
	if len(spec.Processes) > MaxProcesses || len(spec.Egress) > MaxPeers || len(spec.Ingress) > MaxPeers {
		return nil, fmt.Errorf("load profile %s/%s: it has more entries than a profile may have", doc.Namespace, doc.Name)
	}
	p := New(workload.Ref{Namespace: doc.Namespace, Name: doc.Name, Kind: spec.WorkloadKind})
	p.labels, p.images = maps.Clone(spec.Labels), slices.Clone(spec.Images)
	p.containers, p.recent = spec.Containers, slices.Clone(spec.RecentContainers)
	p.first, p.last = spec.FirstSeen.Time, spec.LastSeen.Time
	for _, e := range spec.Processes {
		k := processKey{e.Path, e.Applet, e.Parent, e.NotInImage}
		if p.processes[k] == nil {
			p.processes[k] = &seen{}
		}
		p.processes[k].add(e.Count, e.FirstSeen.Time, e.LastSeen.Time)
	}
	for _, side := range []struct {
		from []v1alpha1.LearnedPeer
		into *peers
		name string
	}{{spec.Egress, &p.egress, "egress"}, {spec.Ingress, &p.ingress, "ingress"}} {
		for i, e := range side.from {
			if err := side.into.load(e); err != nil {
				return nil, fmt.Errorf("load profile %s/%s: spec.%s[%d]: %w", doc.Namespace, doc.Name, side.name, i, err)
			}
		}
	}
	if spec.Truncated != nil {
		p.truncated = *spec.Truncated
	}
	return p, nil
}

// stamp is a time as documents hold it: UTC, whole seconds.
func stamp(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.Time{Time: t.UTC().Truncate(time.Second)}
}

func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// loopback peers are the workload talking to itself: no policy is needed.
func ignored(a netip.Addr) bool { return !a.IsValid() || a.IsLoopback() || a.IsUnspecified() }
