package profile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/workload"
)

// When peers are generalised.
const (
	manyClients  = 16    // unknown clients of one port: anyone of that family
	manyAddrs    = 8     // servers with one port in one /24 or /64: that network
	manyPorts    = 8     // ephemeral ports of one peer: all ephemeral ports
	ephemeralLow = 32768 // Linux's default range begins here
)

// peers are the entries of one direction.
type peers struct{ entries map[peerKey]*seen }

// peerKey is one entry: a workload, or a prefix (an address is a full one).
type peerKey struct {
	namespace, name string
	prefix          netip.Prefix
	port            v1alpha1.Port
}

// observe merges one observation and returns how many found no room.
func (p *peers) observe(o guard.Observation, ref workload.Ref, image string, port uint16, inbound bool) uint64 {
	addr := o.Peer.Unmap()
	if ignored(addr) {
		return 0
	}
	name, hasPorts := protocolName(o.Protocol)
	if name == "" {
		return 1 // the language has no word for it
	}
	k := peerKey{port: v1alpha1.Port(name)}
	if hasPorts {
		k.port = v1alpha1.Port(fmt.Sprintf("%s/%d", name, port))
	}
	if ref.IsZero() {
		k.prefix = netip.PrefixFrom(addr.WithZone(""), addr.BitLen())
	} else {
		k.namespace, k.name = ref.Namespace, ref.Name
	}
	k = p.known(k)
	s := p.entries[k]
	if s == nil {
		if len(p.entries) >= MaxPeers {
			return 1
		}
		s = &seen{}
		p.entries[k] = s
	}
	s.add(1, o.Time, o.Time, image)
	if hasPorts && port >= ephemeralLow {
		p.mergePorts(k, name)
	}
	if k.name == "" {
		p.mergeAddresses(k, inbound)
	}
	return 0
}

// known gives the wider entry that has k in it already, or k.
func (p *peers) known(k peerKey) peerKey {
	if p.entries[k] != nil {
		return k
	}
	wide := []peerKey{k}
	if protocol, port, ok := cutPort(k.port); ok && port >= ephemeralLow {
		w := k
		w.port = ephemeral(protocol)
		wide = append(wide, w)
	}
	for _, w := range wide {
		if p.entries[w] != nil {
			return w
		}
		if w.name != "" {
			continue
		}
		for _, bits := range []int{network(w.prefix.Addr()), 0} {
			n := w
			n.prefix = netip.PrefixFrom(w.prefix.Addr(), bits).Masked()
			if p.entries[n] != nil {
				return n
			}
		}
	}
	return k
}

func (p *peers) mergePorts(k peerKey, protocol string) {
	var same []peerKey
	for e := range p.entries {
		proto, port, ok := cutPort(e.port)
		if ok && proto == protocol && port >= ephemeralLow && e.name == k.name && e.namespace == k.namespace && e.prefix == k.prefix {
			same = append(same, e)
		}
	}
	if len(same) >= manyPorts {
		k.port = ephemeral(protocol)
		p.merge(k, same)
	}
}

// mergeAddresses widens entries of one port: clients to everyone, servers to
// the network that many of them share.
func (p *peers) mergeAddresses(k peerKey, inbound bool) {
	bits, many := network(k.prefix.Addr()), manyAddrs
	if inbound {
		bits, many = 0, manyClients
	}
	wide := k
	wide.prefix = netip.PrefixFrom(k.prefix.Addr(), bits).Masked()
	var same []peerKey
	for e := range p.entries {
		if e.name == "" && e.port == k.port && e.prefix.Bits() > bits && wide.prefix.Contains(e.prefix.Addr()) {
			same = append(same, e)
		}
	}
	if len(same) >= many {
		p.merge(wide, same)
	}
}

func (p *peers) merge(into peerKey, from []peerKey) {
	sum := p.entries[into]
	if sum == nil {
		sum = &seen{}
	}
	for _, k := range from {
		sum.merge(p.entries[k])
		delete(p.entries, k)
	}
	p.entries[into] = sum
}

// network is the length of the prefix that one operator's servers share.
func network(a netip.Addr) int {
	if a.Is4() {
		return 24
	}
	return 64
}

func ephemeral(protocol string) v1alpha1.Port {
	return v1alpha1.Port(fmt.Sprintf("%s/%d-65535", protocol, ephemeralLow))
}

// cutPort gives the protocol and number of a single port.
func cutPort(p v1alpha1.Port) (string, uint16, bool) {
	r, err := p.Ranges()
	if err != nil || len(r) != 1 || r[0].Lo != r[0].Hi {
		return "", 0, false
	}
	name, _ := protocolName(r[0].Protocol)
	return name, r[0].Lo, true
}

// protocolName gives the language's word for an IP protocol, "" if it has none.
func protocolName(n uint8) (name string, hasPorts bool) {
	switch n {
	case 6:
		return "tcp", true
	case 17:
		return "udp", true
	case 1, 58:
		return "icmp", false
	case 132:
		return "sctp", false
	}
	return "", false
}

func (p *peers) list(images []v1alpha1.LearnedImage) []v1alpha1.LearnedPeer {
	var out []v1alpha1.LearnedPeer
	for k, s := range p.entries {
		e := v1alpha1.LearnedPeer{Port: k.port, Images: s.named(images), Count: s.count, FirstSeen: stamp(s.first), LastSeen: stamp(s.last)}
		switch {
		case k.name != "":
			e.Workload = &v1alpha1.WorkloadPeer{Namespace: k.namespace, Name: k.name}
		case k.prefix.IsSingleIP():
			e.Address = k.prefix.Addr().String()
		default:
			e.Address = k.prefix.String()
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b v1alpha1.LearnedPeer) int {
		return cmp.Or(cmp.Compare(peerName(a), peerName(b)), cmp.Compare(a.Port, b.Port))
	})
	return out
}

func peerName(p v1alpha1.LearnedPeer) string {
	if p.Workload != nil {
		return "w/" + p.Workload.Namespace + "/" + p.Workload.Name
	}
	return p.Address
}

func (p *peers) load(e v1alpha1.LearnedPeer, images []v1alpha1.LearnedImage) error {
	k := peerKey{port: e.Port}
	if _, err := e.Port.Ranges(); err != nil {
		return err
	}
	if e.Workload != nil {
		k.namespace, k.name = e.Workload.Namespace, e.Workload.Name
	} else {
		prefix, err := v1alpha1.ParseCIDR(e.Address)
		if err != nil {
			return err
		}
		k.prefix = prefix
	}
	if p.entries[k] == nil {
		p.entries[k] = &seen{}
	}
	p.entries[k].add(e.Count, e.FirstSeen.Time, e.LastSeen.Time, meant(e.Images, images)...)
	return nil
}
