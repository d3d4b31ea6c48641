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
	MaxFiles     = 2048
	// MaxCapabilities bounds pairs of a capability and a program.
	MaxCapabilities = 256
	MaxImages       = 64
	maxRecent       = 64 // containers remembered by name
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
	processes  map[processKey]*process
	files      map[fileKey]*fileUse
	// capabilities that were used.
	capabilities map[capKey]*seen
	egress       peers
	ingress      peers
	truncated    v1alpha1.ProfileTruncated
}

type processKey struct {
	path, applet, parent string
	notInImage           bool
}

type process struct {
	seen
	args  [][]string
	users []uint32 // sorted
}

// New starts a profile of nothing.
func New(ref workload.Ref) *Profile {
	return &Profile{
		ref: ref, processes: map[processKey]*process{},
		files: map[fileKey]*fileUse{}, capabilities: map[capKey]*seen{},
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
	fresh := !slices.Contains(p.recent, c.Short())
	if fresh {
		if p.containers == 0 {
			p.labels = maps.Clone(c.Labels)
		} else {
			maps.DeleteFunc(p.labels, func(k, v string) bool { have, ok := c.Labels[k]; return !ok || have != v })
		}
		p.containers++
		p.recent = append(p.recent, c.Short())
		if len(p.recent) > maxRecent {
			p.recent = slices.Delete(p.recent, 0, len(p.recent)-maxRecent)
		}
	}
	p.image(&c, now, fresh)
}

// image notes that a container of an image runs.
func (p *Profile) image(c *workload.Container, now time.Time, fresh bool) {
	if c.Image == "" && c.ImageDigest == "" {
		return
	}
	i := slices.IndexFunc(p.images, func(have v1alpha1.LearnedImage) bool {
		return have.Reference == c.Image && have.Digest == c.ImageDigest
	})
	if i < 0 {
		p.images = append(p.images, v1alpha1.LearnedImage{Reference: c.Image, Digest: c.ImageDigest, FirstSeen: stamp(now)})
		p.dropImages()
		i = len(p.images) - 1
		fresh = true
	}
	im := &p.images[i]
	if fresh {
		im.Containers++
	}
	if t := stamp(now); im.LastSeen.Before(&t) {
		im.LastSeen = t
	}
}

// Runs notes that a container noted before still runs, and reports whether that
// is worth writing down: what does nothing new tells of itself in no other way.
func (p *Profile) Runs(c workload.Container, now time.Time) bool {
	for i := range p.images {
		im := &p.images[i]
		if im.Reference == c.Image && im.Digest == c.ImageDigest && now.Sub(im.LastSeen.Time) >= time.Hour {
			im.LastSeen = stamp(now)
			p.touch(now)
			return true
		}
	}
	return false
}

// dropImages forgets the images that were seen last the longest ago.
func (p *Profile) dropImages() {
	for len(p.images) > MaxImages {
		oldest := 0
		for i := range p.images {
			if p.images[i].LastSeen.Before(&p.images[oldest].LastSeen) && i < len(p.images)-1 {
				oldest = i
			}
		}
		p.images = slices.Delete(p.images, oldest, oldest+1)
	}
}

// Observe merges one first observation. Peer is the workload at the other end
// of a network observation; zero when it is none known here. Image is the
// ImageKey of the container.
func (p *Profile) Observe(o guard.Observation, peer workload.Ref, image string) {
	switch o.Kind {
	case event.ProcessExec, event.ProcessDrift, event.ProcessFileless:
		p.touch(o.Time)
		p.exec(o, image)
	case event.NetworkConnect:
		p.touch(o.Time)
		p.truncated.Egress += p.egress.observe(o, peer, image, o.PeerPort, false)
	case event.NetworkAccept:
		p.touch(o.Time)
		p.truncated.Ingress += p.ingress.observe(o, peer, image, o.LocalPort, true)
	case event.FileAccess:
		p.touch(o.Time)
		p.file(o, image)
	case event.CapabilityUse:
		p.touch(o.Time)
		p.capability(o, image)
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

func (p *Profile) exec(o guard.Observation, image string) {
	k := processKey{path: o.Path, applet: o.Applet, parent: o.Process.ParentExe, notInImage: !o.InImage}
	if k.notInImage {
		k.path = Generalise(k.path)
	}
	if slices.Contains(o.Signals, "from-outside") {
		k.parent = "" // whatever the runtime or a person's tool is called
	}
	k.parent = Generalise(k.parent)
	s := p.processes[k]
	if s == nil {
		if len(p.processes) >= MaxProcesses || k.path == "" {
			p.truncated.Processes++
			return
		}
		s = &process{}
		p.processes[k] = s
	}
	s.add(1, o.Time, o.Time, image)
	if n := len(o.Process.Args); n > 0 {
		s.args = addArgs(s.args, GeneraliseArgs(o.Process.Args[1:]))
	}
	s.addUsers([]uint32{o.Process.UID})
}

// addUsers keeps the lowest numbers when there are too many.
func (s *process) addUsers(users []uint32) {
	s.users = append(s.users, users...)
	slices.Sort(s.users)
	s.users = slices.Compact(s.users)
	s.users = s.users[:min(len(s.users), maxUsers)]
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
			Files: p.listFiles(), Capabilities: p.listCapabilities(),
			Egress: p.egress.list(p.images), Ingress: p.ingress.list(p.images),
		},
	}
	for k, s := range p.processes {
		doc.Spec.Processes = append(doc.Spec.Processes, v1alpha1.LearnedProcess{
			Path: k.path, Applet: k.applet, Parent: k.parent, NotInImage: k.notInImage,
			Args: slices.Clone(s.args), Users: slices.Clone(s.users), Images: s.named(p.images),
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
	if len(spec.Processes) > MaxProcesses || len(spec.Egress) > MaxPeers || len(spec.Ingress) > MaxPeers ||
		len(spec.Files) > MaxFiles || len(spec.Capabilities) > MaxCapabilities || len(spec.Images) > MaxImages || len(spec.RecentContainers) > maxRecent {
		return nil, fmt.Errorf("load profile %s/%s: it has more entries than a profile may have", doc.Namespace, doc.Name)
	}
	p := New(workload.Ref{Namespace: doc.Namespace, Name: doc.Name, Kind: spec.WorkloadKind})
	p.labels, p.images = maps.Clone(spec.Labels), slices.Clone(spec.Images)
	for i := range p.images {
		p.images[i].FirstSeen, p.images[i].LastSeen = stamp(p.images[i].FirstSeen.Time), stamp(p.images[i].LastSeen.Time)
	}
	p.containers, p.recent = spec.Containers, slices.Clone(spec.RecentContainers)
	p.first, p.last = spec.FirstSeen.Time, spec.LastSeen.Time
	for _, e := range spec.Processes {
		k := processKey{e.Path, e.Applet, e.Parent, e.NotInImage}
		if p.processes[k] == nil {
			p.processes[k] = &process{}
		}
		s := p.processes[k]
		s.add(e.Count, e.FirstSeen.Time, e.LastSeen.Time, meant(e.Images, p.images)...)
		for _, args := range e.Args {
			s.args = addArgs(s.args, GeneraliseArgs(args))
		}
		s.addUsers(e.Users)
	}
	for _, e := range spec.Files {
		k := fileKey{e.Directory, e.Program}
		if p.files[k] == nil {
			p.files[k] = &fileUse{access: map[v1alpha1.AccessWord]bool{}}
		}
		p.files[k].add(e.Count, e.FirstSeen.Time, e.LastSeen.Time, meant(e.Images, p.images)...)
		for _, w := range e.Access {
			p.files[k].access[w] = true
		}
	}
	for _, e := range spec.Capabilities {
		k := capKey{e.Name, e.Program}
		if p.capabilities[k] == nil {
			p.capabilities[k] = &seen{}
		}
		p.capabilities[k].add(e.Count, e.FirstSeen.Time, e.LastSeen.Time, meant(e.Images, p.images)...)
	}
	for _, side := range []struct {
		from []v1alpha1.LearnedPeer
		into *peers
		name string
	}{{spec.Egress, &p.egress, "egress"}, {spec.Ingress, &p.ingress, "ingress"}} {
		for i, e := range side.from {
			if err := side.into.load(e, p.images); err != nil {
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
