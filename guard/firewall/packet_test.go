package firewall

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// These tests hand packets to the floor's programs themselves (BPF_PROG_RUN),
// with no interface in between.

const (
	verdictNext = 0xffffffff // TCX_NEXT
	verdictDrop = 2
)

// floorBench is a firewall with one container, number 1, on floor 1.
type floorBench struct{ *bench }

func newFloorBench(t testing.TB) *floorBench {
	b := newBench(t)
	b.open()
	must(t, b.maps.Containers.Update(uint32(1), &netContainer{}, 0))
	must(t, b.fw.own.Floors.Update(uint32(1), &netFloor{Netns: 1, Generation: 1, N: 1, Cids: [8]uint32{1}}, 0))
	b.ids["one"] = 1
	return &floorBench{bench: b}
}

// put installs a plan without an interface to attach to.
func (b *floorBench) put(t testing.TB, p *policy.NetworkPlan, peers policy.Peers) {
	var old leftovers
	_, err := b.fw.put(&managed{cid: 1, plan: &policy.Plan{Network: p}}, peers, &old)
	must(t, err)
	must(t, b.fw.settle(old))
}

func (b *floorBench) run(t testing.TB, ingress bool, frame []byte) uint32 {
	p := b.fw.programs.FloorOut
	if ingress {
		p = b.fw.programs.FloorIn
	}
	skb := make([]byte, 192)
	binary.LittleEndian.PutUint32(skb[cbFloor:], 1)
	binary.LittleEndian.PutUint32(skb[cbHeader:], 14)
	v, err := p.Run(&ebpf.RunOptions{Data: frame, Context: skb})
	if errors.Is(err, unix.EINVAL) {
		t.Skip("this kernel does not run programs on a packet so short")
	}
	must(t, err)
	if v != verdictNext && v != verdictDrop {
		t.Fatalf("the floor returned %d: neither pass nor drop", v)
	}
	return v
}

// frame makes a packet of a connection's first kind: a SYN, a datagram, an echo.
func frame(c policy.Conn, other uint16, local4, local6 netip.Addr) []byte {
	var l4 []byte
	ports := func() []byte {
		src, dst := other, c.Port
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	}
	switch c.Protocol {
	case unix.IPPROTO_TCP:
		l4 = append(ports(), 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0)
	case unix.IPPROTO_UDP:
		l4 = append(ports(), 0, 8, 0, 0)
	case unix.IPPROTO_ICMP:
		l4 = []byte{8, 0, 0, 0, byte(other >> 8), byte(other), 0, 1}
	default:
		l4 = append(ports(), make([]byte, 12)...)
	}
	return ipPacket(c, l4, local4, local6)
}

func ipPacket(c policy.Conn, l4 []byte, local4, local6 netip.Addr) []byte {
	peer := c.Peer.Unmap()
	src, dst := local4, peer
	if peer.Is6() {
		src = local6
	}
	if c.Ingress {
		src, dst = dst, src
	}
	eth := make([]byte, 12, 128)
	if peer.Is4() {
		b := append(eth, 0x08, 0x00, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+len(l4)))
		b = append(b, 0, 1, 0, 0, 64, c.Protocol, 0, 0)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		return append(b, l4...)
	}
	b := append(eth, 0x86, 0xdd, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(l4)))
	b = append(b, c.Protocol, 64)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, l4...)
}

var (
	localV4 = netip.MustParseAddr("172.16.0.2")
	localV6 = netip.MustParseAddr("fd99::2")
)

// What the kernel does with a packet is what Decide says of its connection.
func TestFloorMeansTheRules(t *testing.T) {
	b := newFloorBench(t)
	peers := &fakePeers{addrs: []netip.Addr{netip.MustParseAddr("10.1.2.4"), netip.MustParseAddr("fd00:2::1")}, node: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	other := uint16(1000)
	rapid.Check(t, func(rt *rapid.T) {
		p := anyPlan(rt)
		b.put(t, p, peers)
		for range 20 {
			other++ // a flow of its own
			c := anyConn(rt)
			want := p.Decide(c, peers)
			if c.Protocol == unix.IPPROTO_ICMP {
				c.Port = 0
				want = p.Decide(c, peers)
			}
			got := b.run(t, c.Ingress, frame(c, other, localV4, localV6))
			if (got == verdictDrop) != want.Deny {
				rt.Fatalf("%+v: the kernel says %d, Decide says %+v", c, got, want)
			}
			// An answer passes when the question did.
			answer := c
			answer.Ingress, answer.Port = !c.Ingress, other
			if c.Protocol == unix.IPPROTO_TCP && !want.Deny {
				f := frame(answer, c.Port, localV4, localV6)
				f[len(f)-7] = 0x12 // SYN and ACK
				if b.run(t, answer.Ingress, f) == verdictDrop {
					rt.Fatalf("%+v: the answer is dropped", c)
				}
			}
		}
	})
}

func TestPackets(t *testing.T) {
	b := newFloorBench(t)
	p := egress(v1alpha1.Protect, rule(1, []string{"10.0.0.0/8", "fd00::/8"}, udp(53, 53), tcp(80, 80)))
	p.IngressListed = true
	b.put(t, p, nil)
	conn := func(peer string, proto uint8, port uint16) policy.Conn {
		return policy.Conn{Peer: netip.MustParseAddr(peer), Protocol: proto, Port: port}
	}
	udp6 := func() []byte { return frame(conn("fd00::1", 17, 53), 999, localV6, localV6) }
	chain := func(n int) []byte {
		f := udp6()
		l4 := append([]byte{}, f[54:]...)
		f[20] = unix.IPPROTO_DSTOPTS
		f = f[:54]
		for i := range n {
			next := byte(unix.IPPROTO_DSTOPTS)
			if i == n-1 {
				next = unix.IPPROTO_UDP
			}
			f = append(f, next, 0, 1, 4, 0, 0, 0, 0)
		}
		return append(f, l4...)
	}
	frag4 := func(port uint16, id byte, offset uint16, more bool) []byte {
		f := frame(conn("10.0.0.9", 17, port), 998, localV4, localV6)
		f[19] = id
		if more {
			offset |= 0x2000
		}
		binary.BigEndian.PutUint16(f[20:], offset)
		return f
	}
	neighbour := func(dst string, hop byte) []byte {
		f := ipPacket(conn(dst, unix.IPPROTO_ICMPV6, 0), []byte{135, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, localV4, localV6)
		f[21] = hop
		return f
	}
	fromLinkLocal := func(f []byte) []byte {
		copy(f[22:38], netip.MustParseAddr("fe80::2").AsSlice())
		return f
	}
	ethertype := func(v uint16) []byte {
		f := udp6()
		binary.BigEndian.PutUint16(f[12:], v)
		return f
	}
	igmp := ipPacket(conn("224.0.0.22", 2, 0), make([]byte, 8), localV4, localV6)
	igmp[22] = 1
	tests := []struct {
		name    string
		ingress bool
		frame   []byte
		drop    bool
	}{
		{"udp6", false, udp6(), false},
		{"8 extension headers", false, chain(8), false},
		{"9 extension headers", false, chain(9), true},
		{"later fragment alone", false, frag4(53, 7, 100, false), true},
		{"first fragment", false, frag4(53, 8, 0, true), false},
		{"its later fragment", false, frag4(0, 8, 100, false), false},
		{"first fragment, denied", false, frag4(54, 9, 0, true), true},
		{"its later fragment", false, frag4(0, 9, 100, false), true},
		{"neighbour solicitation, multicast", false, neighbour("ff02::1:ff00:1", 255), false},
		{"neighbour solicitation, same network", false, neighbour("fd99::1", 255), false},
		{"neighbour solicitation to far away", false, neighbour("2001:db8::1", 255), true},
		{"neighbour asked from a link-local address", false, fromLinkLocal(neighbour("2001:db8::1", 255)), false},
		{"the same, but routed", false, fromLinkLocal(neighbour("2001:db8::1", 64)), true},
		{"neighbour solicitation that was routed", false, neighbour("fd99::1", 64), true},
		{"arp", false, ethertype(0x0806), false},
		{"unknown ethertype out", false, ethertype(0x88cc), true},
		{"unknown ethertype in", true, ethertype(0x88cc), false},
		{"vlan tag in the frame", false, ethertype(0x8100), true},
		{"igmp", false, igmp, false},
		{"truncated udp", false, udp6()[:56], true},
		{"wrong version", false, append(append([]byte{}, udp6()[:14]...), append([]byte{0x50}, udp6()[15:]...)...), true},
		{"icmp", false, frame(conn("10.0.0.9", 1, 0), 5, localV4, localV6), true},
		{"gre", false, ipPacket(conn("10.0.0.9", 47, 0), make([]byte, 8), localV4, localV6), true},
	}
	for _, tt := range tests {
		if got := b.run(t, tt.ingress, tt.frame); (got == verdictDrop) != tt.drop {
			t.Errorf("%s: %d, want drop %v", tt.name, got, tt.drop)
		}
	}
	// A ping from outside that is answered opens no way out.
	ping := &policy.NetworkPlan{Mode: v1alpha1.Protect, EgressListed: true, IngressListed: true,
		Ingress: []policy.PeerRule{rule(1, []string{"10.0.0.0/8"}, policy.PortRange{Protocol: 1, Hi: 65535})}}
	b.put(t, ping, nil)
	question := conn("10.0.0.9", 1, 0)
	question.Ingress = true
	in := frame(question, 77, localV4, localV6)
	out := frame(conn("10.0.0.9", 1, 0), 77, localV4, localV6)
	answer := append([]byte{}, out...)
	answer[34] = 0
	if b.run(t, true, in) == verdictDrop || b.run(t, false, answer) == verdictDrop || b.run(t, false, out) != verdictDrop {
		t.Error("ping from outside: want question and answer to pass, and no question back")
	}
	b.put(t, p, nil)

	// An ICMP error passes when it is about a flow that passes.
	b.run(t, false, frame(conn("10.0.0.9", 17, 53), 4444, localV4, localV6))
	unreachable := func(port uint16) []byte {
		inner := frame(conn("10.0.0.9", 17, port), 4444, localV4, localV6)[14:]
		c := conn("10.77.0.1", 1, 0)
		c.Ingress = true
		return ipPacket(c, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, inner...), localV4, localV6)
	}
	if b.run(t, true, unreachable(53)) == verdictDrop {
		t.Error("an ICMP error about an allowed flow is dropped")
	}
	if b.run(t, true, unreachable(54)) != verdictDrop {
		t.Error("an ICMP error about no flow passes")
	}
	// A connection that is tried again by retransmission is one attempt.
	syn := frame(conn("10.0.0.9", 6, 81), 5555, localV4, localV6)
	for range 5 {
		b.run(t, false, syn)
	}
	syn[41]++ // another sequence number: another attempt with the same ports
	b.run(t, false, syn)
	b.fw.remember(&managed{cid: 1, c: workload.Container{ID: "one"}})
	b.fw.Flush()
	for _, d := range b.sink.all("one") {
		if d.Protocol == 6 && d.PeerPort == 81 && d.Count != 2 {
			t.Errorf("retransmitted SYN: counted %d times, want 2", d.Count)
		}
	}
}

func FuzzFloor(f *testing.F) {
	b := newFloorBench(f)
	p := egress(v1alpha1.Protect)
	p.IngressListed = true
	b.put(f, p, nil)
	f.Add(true, frame(policy.Conn{Peer: localV4, Protocol: 6, Port: 80}, 1, localV4, localV6))
	f.Add(false, frame(policy.Conn{Peer: localV6, Protocol: 17, Port: 80}, 1, localV4, localV6))
	f.Fuzz(func(t *testing.T, ingress bool, data []byte) {
		if len(data) < 14 || len(data) > 1500 {
			return
		}
		got := b.run(t, ingress, data)
		// Nothing is listed, so nothing but what stays on the link may leave.
		ethertype := binary.BigEndian.Uint16(data[12:])
		if !ingress && got != verdictDrop && ethertype != 0x0806 && !staysOnLink(data) {
			t.Fatalf("passes although nothing is listed: % x", data)
		}
	})
}

// staysOnLink says of a frame what the floor lets pass unlisted: IGMP with a
// TTL of one to a group; neighbour discovery and MLD over IPv6.
func staysOnLink(d []byte) bool {
	switch {
	case binary.BigEndian.Uint16(d[12:]) == 0x0800 && len(d) >= 34:
		return d[23] == unix.IPPROTO_IGMP && d[22] == 1 && d[30]>>4 == 14
	case binary.BigEndian.Uint16(d[12:]) == 0x86dd && len(d) >= 55:
		onLink := d[38] == 0xff || d[38] == 0xfe && d[39]&0xc0 == 0x80 || string(d[22:30]) == string(d[38:46])
		return (d[21] == 255 || d[21] == 1) && onLink
	}
	return false
}

// BenchmarkFloor is the cost of one packet of an established, allowed flow.
func BenchmarkFloor(tb *testing.B) {
	b := newFloorBench(tb)
	p := egress(v1alpha1.Protect, rule(1, []string{"10.0.0.0/8"}, tcp(80, 80)))
	p.IngressListed = true
	b.put(tb, p, nil)
	syn := frame(policy.Conn{Peer: netip.MustParseAddr("10.1.1.1"), Protocol: 6, Port: 80}, 5000, localV4, localV6)
	data := append([]byte{}, syn...)
	data[47] = 0x10
	for name, f := range map[string][]byte{"established": data, "syn": syn} {
		tb.Run(name, func(tb *testing.B) {
			stub, err := newStub(b.fw.own.Programs, 1, 14, 0)
			must(tb, err)
			defer stub.Close()
			if b.run(tb, false, syn) == verdictDrop {
				tb.Fatal("dropped")
			}
			tb.ResetTimer()
			_, err = stub.Run(&ebpf.RunOptions{Data: f, Repeat: uint32(tb.N)})
			must(tb, err)
		})
	}
}
