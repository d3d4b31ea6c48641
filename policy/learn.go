package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
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
	// Images are those that run now, as entries of profiles name them. What was
	// seen only under others is left out once the present ones are known well
	// enough. Default: those that the profile saw last.
	Images []string
	// Narrow adds conditions where what was seen is always the same: arguments
	// of probes and clients, who starts a program, as which user. A node tells
	// of a bounded number of command lines by each starter, and of the first
	// user, so look at the result: without it, the same is said in comments.
	Narrow bool
}

// Learned is a policy made from a profile.
type Learned struct {
	Policy *v1alpha1.WorkloadPolicy
	// YAML is the policy with comments for whoever reviews it.
	YAML []byte
	// Notes are what was seen and is not allowed by the policy, and why, and
	// what else a reviewer should know.
	Notes []string
}

// Learn makes the smallest policy that allows what the profile has: programs
// of the image by path, peers by workload rather than address, drift denied,
// and classes of tools denied that were not seen in use. What a policy should
// not allow in passing (programs that the image does not have) is left out and
// noted. Files, capabilities and hardening are spoken of only when the profile
// proves that the node could see their use.
func Learn(p *v1alpha1.Profile, opts LearnOptions) (*Learned, error) {
	if len(p.Spec.Processes)+len(p.Spec.Egress)+len(p.Spec.Ingress)+len(p.Spec.Files)+len(p.Spec.Capabilities) == 0 {
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
	l := &learner{library: library, opts: &opts, comments: v1alpha1.Comments{}}
	l.profile = l.present(p)
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
	out.Spec.Files = l.files()
	out.Spec.Capabilities = l.capabilities()
	out.Spec.Hardening = l.hardening()
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
	remarks  []string // about the whole, in comments only
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
		l.note("The profile reached its bound and is not complete: %d programs, %d connections and %d uses of files and capabilities are missing from it.",
			s.Truncated.Processes, s.Truncated.Egress+s.Truncated.Ingress, s.Truncated.Files+s.Truncated.Capabilities)
	}
	lines = append(lines, l.remarks...)
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
