package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrNothingLearned is the error of Learn for a profile without observations.
var ErrNothingLearned = errors.New("nothing was observed yet")

// LearnOptions say how a policy is made from a profile.
type LearnOptions struct {
	// Mode of the policy; default Monitor.
	Mode v1alpha1.Mode
	// Node are the node's own addresses: peers there become the entity Node.
	Node []netip.Addr
	// NoProcess and NoNetwork leave out a section, because this node could not
	// observe it: an empty list would forbid everything.
	NoProcess, NoNetwork bool
}

// Learned is a policy made from a profile.
type Learned struct {
	Policy *v1alpha1.WorkloadPolicy
	// YAML is the policy with comments for whoever reviews it.
	YAML []byte
	// Notes are what was seen and is not allowed by the policy, and why.
	Notes []string
}

// Learn makes the smallest policy that allows what the profile has: programs
// of the image by path, peers by workload rather than address, drift denied,
// and classes of tools denied that were not seen in use. What a policy should
// not allow in passing (programs that the image does not have) is left out and
// noted.
func Learn(p *v1alpha1.Profile, opts LearnOptions) (*Learned, error) {
	if len(p.Spec.Processes)+len(p.Spec.Egress)+len(p.Spec.Ingress) == 0 {
		return nil, fmt.Errorf("learn policy for %s/%s: %w", p.Namespace, p.Name, ErrNothingLearned)
	}
	library, err := content.Load()
	if err != nil {
		return nil, err
	}
	mode := opts.Mode
	if mode == "" {
		mode = v1alpha1.Monitor
	}
	l := &learner{library: library, profile: p, opts: &opts, comments: v1alpha1.Comments{}}
	out := &v1alpha1.WorkloadPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindWorkloadPolicy},
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
		Spec: v1alpha1.WorkloadPolicySpec{
			Selector: v1alpha1.Selector{Workloads: []string{p.Name}},
			Mode:     mode,
		},
	}
	if !opts.NoProcess {
		out.Spec.Process = l.process()
	}
	if !opts.NoNetwork {
		out.Spec.Network = l.network()
	}
	l.head()
	yaml, err := v1alpha1.Encode(out, l.comments)
	if err != nil {
		return nil, err
	}
	return &Learned{Policy: out, YAML: yaml, Notes: l.notes}, nil
}

type learner struct {
	library  *content.Library
	profile  *v1alpha1.Profile
	opts     *LearnOptions
	comments v1alpha1.Comments
	notes    []string
}

func (l *learner) note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

func (l *learner) head() {
	s := &l.profile.Spec
	lines := []string{
		fmt.Sprintf("Learned from %s between %s and %s.", plural(s.Containers, "container"),
			s.FirstSeen.UTC().Format("2006-01-02 15:04"), s.LastSeen.UTC().Format("2006-01-02 15:04 UTC")),
	}
	if s.Truncated != nil {
		l.note("The profile reached its bound and is not complete: %d programs and %d connections are missing from it.",
			s.Truncated.Processes, s.Truncated.Egress+s.Truncated.Ingress)
	}
	for _, n := range l.notes {
		lines = append(lines, "Not allowed here: "+n)
	}
	l.comments[""] = strings.Join(lines, "\n")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// program is what the entries of one program add up to.
type program struct {
	path    string
	count   uint64
	parents []string
}

func (l *learner) process() *v1alpha1.ProcessSpec {
	programs := map[string]*program{}
	var used []string // for classes
	for i := range l.profile.Spec.Processes {
		e := &l.profile.Spec.Processes[i]
		used = append(used, e.Path, e.Applet)
		if e.NotInImage {
			by := ""
			if e.Parent != "" {
				by = ", started by " + e.Parent
			}
			l.note("%s, which the image does not have, ran %s%s.", e.Path, plural(int(e.Count), "time"), by)
			continue
		}
		name := e.Path
		if e.Applet != "" {
			// A rule speaks of an applet by the name of its link.
			name = path.Join(path.Dir(e.Path), e.Applet)
		}
		if _, _, err := v1alpha1.ParsePath(name); err != nil {
			l.note("%q: %v.", name, err)
			continue
		}
		p := programs[name]
		if p == nil {
			p = &program{path: name}
			programs[name] = p
		}
		p.count += e.Count
		if parent := path.Base(e.Parent); e.Parent != "" && !slices.Contains(p.parents, parent) {
			p.parents = append(p.parents, parent)
		}
	}
	spec := &v1alpha1.ProcessSpec{Drift: v1alpha1.Deny, Allow: []v1alpha1.ProcessRule{}}
	names := make([]string, 0, len(programs))
	for n := range programs {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		p := programs[n]
		spec.Allow = append(spec.Allow, v1alpha1.ProcessRule{Path: n})
		c := "seen " + times(p.count)
		if len(p.parents) > 0 {
			slices.Sort(p.parents)
			c += ", started by " + some(p.parents)
		}
		l.comments[at("spec.process.allow", i)] = c
	}
	for _, class := range []string{
		"shell", "package-manager", "network-tool", "download-tool", "compiler", "user-management",
		"cluster-client", "dynamic-loader", "debugger", "mount-tool", "miner",
	} {
		c := l.library.Class(class)
		if c != nil && !slices.ContainsFunc(used, c.Has) {
			spec.Deny = append(spec.Deny, v1alpha1.ProcessRule{Class: class})
		}
	}
	return spec
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func some(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}

// side is one peer of one direction with all ports it was seen with.
type side struct {
	peer  v1alpha1.Peer
	words string
	ports []v1alpha1.Port
	count uint64
}

func (l *learner) network() *v1alpha1.NetworkSpec {
	spec := &v1alpha1.NetworkSpec{Ingress: []v1alpha1.IngressRule{}, Egress: []v1alpha1.EgressRule{}}
	for i, g := range l.grouped(l.profile.Spec.Ingress) {
		spec.Ingress = append(spec.Ingress, v1alpha1.IngressRule{From: g.peers, Ports: g.ports})
		l.comments[at("spec.network.ingress", i)] = "seen " + times(g.count)
	}
	for i, g := range l.grouped(l.profile.Spec.Egress) {
		spec.Egress = append(spec.Egress, v1alpha1.EgressRule{To: g.peers, Ports: g.ports})
		l.comments[at("spec.network.egress", i)] = "seen " + times(g.count) + g.warning
	}
	return spec
}

// group is one rule: peers that were seen with the same ports.
type group struct {
	peers   []v1alpha1.Peer
	ports   []v1alpha1.Port
	count   uint64
	warning string
}

func (l *learner) grouped(learned []v1alpha1.LearnedPeer) []group {
	sides := map[string]*side{}
	for i := range learned {
		e := &learned[i]
		peer, words := l.peer(e)
		s := sides[words]
		if s == nil {
			s = &side{peer: peer, words: words}
			sides[words] = s
		}
		s.count += e.Count
		if !slices.Contains(s.ports, e.Port) {
			s.ports = append(s.ports, e.Port)
		}
	}
	ordered := make([]*side, 0, len(sides))
	for _, s := range sides {
		slices.Sort(s.ports)
		ordered = append(ordered, s)
	}
	slices.SortFunc(ordered, func(a, b *side) int { return cmp.Compare(a.words, b.words) })
	var out []group
	for _, s := range ordered {
		i := slices.IndexFunc(out, func(g group) bool { return slices.Equal(g.ports, s.ports) })
		if i < 0 {
			out = append(out, group{ports: s.ports})
			i = len(out) - 1
		}
		out[i].peers = append(out[i].peers, s.peer)
		out[i].count += s.count
		if s.peer.Entity == v1alpha1.EntityMetadata {
			out[i].warning = "; the metadata service hands out credentials: keep it only if it is needed"
		}
	}
	return out
}

// peer names the other end as lastingly as possible: by workload, by entity,
// and only then by address.
func (l *learner) peer(e *v1alpha1.LearnedPeer) (v1alpha1.Peer, string) {
	if w := e.Workload; w != nil {
		peer := v1alpha1.WorkloadPeer{Name: w.Name, MatchLabels: w.MatchLabels}
		if w.Namespace != l.profile.Namespace {
			peer.Namespace = w.Namespace
		}
		return v1alpha1.Peer{Workload: &peer}, "1 " + w.Namespace + "/" + w.Name
	}
	if prefix, err := v1alpha1.ParseCIDR(e.Address); err == nil {
		switch {
		case prefix.Bits() == 0:
			return v1alpha1.Peer{CIDR: prefix.String()}, "3 " + prefix.String()
		case slices.Contains(metadata(), prefix):
			return v1alpha1.Peer{Entity: v1alpha1.EntityMetadata}, "2 metadata"
		case prefix.IsSingleIP() && slices.Contains(l.opts.Node, prefix.Addr()):
			return v1alpha1.Peer{Entity: v1alpha1.EntityNode}, "2 node"
		}
	}
	return v1alpha1.Peer{CIDR: e.Address}, "3 " + e.Address
}
