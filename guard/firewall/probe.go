package firewall

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard"
)

// Probe loads the real programs with maps of their own and lets each block a
// canary: a connection of this very thread, a packet on an interface pair in a
// throw-away network namespace. Nothing else on the machine is judged, and
// nothing is left behind.
func Probe(ctx context.Context) []guard.Feature {
	p := &probe{}
	defer p.close()
	out := []guard.Feature{feature("network programs", "all programs of the network floor loaded", "a kernel of 5.17 or later with BTF (/sys/kernel/btf/vmlinux), and CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON", p.load())}
	if !out[0].Works {
		return out
	}
	steps := []struct {
		name, detail, remedy string
		do                   func() error
	}{
		{"cgroup/connect", "a canary connection failed with EPERM", "mount a cgroup-v2 hierarchy (hybrid is enough)", p.connect},
		{"cgroup/sendmsg", "a canary datagram failed with EPERM", "mount a cgroup-v2 hierarchy (hybrid is enough)", p.sendmsg},
		{"cgroup/setsockopt", "PACKET_QDISC_BYPASS was refused to a canary", "a kernel of 5.3 or later", p.setsockopt},
		{"tcx floor", "a canary packet was dropped on its interface", "a kernel of 6.6 or later; the clsact floor is used until then", func() error { return p.floor(true) }},
		{"clsact floor", "a canary packet was dropped on its interface", "build the kernel with NET_CLS_BPF and NET_SCH_INGRESS", func() error { return p.floor(false) }},
	}
	for _, s := range steps {
		if ctx.Err() != nil {
			return out
		}
		out = append(out, feature(s.name, s.detail, s.remedy, s.do()))
	}
	return append(out, vsock())
}

func feature(name, detail, remedy string, err error) guard.Feature {
	if err != nil {
		return guard.Feature{Name: name, Detail: err.Error(), Remedy: remedy}
	}
	return guard.Feature{Name: name, Works: true, Detail: detail}
}

// vsock says the truth about the one family that reaches out of a container
// past hooks and floor.
func vsock() guard.Feature {
	f := guard.Feature{Name: "vsock guard"}
	s, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Works, f.Detail = true, "this kernel has no AF_VSOCK sockets"
		return f
	}
	_ = unix.Close(s)
	f.Detail = "AF_VSOCK sockets reach the hypervisor past every cgroup hook and interface"
	f.Remedy = "a seccomp profile without AF_VSOCK (runtimes' defaults have none), or a kernel with the BPF LSM"
	return f
}

type probe struct {
	maps     Maps
	all      []*ebpf.Map
	programs programs
	own      ownMaps
}

// The canary is container 1 on floor 1; nothing is listed for it.
const canary = 1

func (p *probe) load() error {
	spec, err := loadNet()
	if err != nil {
		return err
	}
	for name, to := range map[string]**ebpf.Map{
		"settings": &p.maps.Settings, "tasks": &p.maps.Tasks, "cgroups": &p.maps.Cgroups,
		"containers": &p.maps.Containers, "counts": &p.maps.Counts, "overflow": &p.maps.Overflow,
	} {
		if *to, err = ebpf.NewMap(spec.Maps[name]); err != nil {
			return fmt.Errorf("make map %s: %w", name, err)
		}
		p.all = append(p.all, *to)
	}
	shared, err := replacements(spec, p.maps)
	if err != nil {
		return err
	}
	var objects struct {
		programs
		ownMaps
	}
	if err := spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		return err
	}
	p.programs, p.own = objects.programs, objects.ownMaps
	return errors.Join(
		p.maps.Settings.Update(uint32(0), &netSettings{Epoch: 1}, ebpf.UpdateAny),
		p.maps.Containers.Update(uint32(canary), &netContainer{Flags: flagEgressListed, NetMode: 3}, ebpf.UpdateAny),
		p.own.Floors.Update(uint32(1), &netFloor{Generation: 1, N: 1, Cids: [maxMembers]uint32{canary}}, ebpf.UpdateAny),
		p.own.Programs.Update(uint32(0), p.programs.FloorOut, ebpf.UpdateAny),
		p.own.Programs.Update(uint32(1), p.programs.FloorIn, ebpf.UpdateAny),
	)
}

func (p *probe) close() {
	closeAll(&p.programs, &p.own)
	for _, m := range p.all {
		_ = m.Close()
	}
}

// hooked attaches a hook and runs fn on a thread that the hook takes for the
// canary's.
func (p *probe) hooked(prog *ebpf.Program, attach ebpf.AttachType, fn func() error) error {
	root, err := cgroupRoot("/proc/mounts")
	if err != nil {
		return err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: root, Attach: attach, Program: prog})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer l.Close()
	return onThread(func() error {
		tid := uint32(unix.Gettid())
		if err := p.maps.Tasks.Update(tid, uint32(canary), ebpf.UpdateAny); err != nil {
			return fmt.Errorf("name the canary: %w", err)
		}
		defer func() { _ = p.maps.Tasks.Delete(tid) }()
		return fn()
	})
}

// refused turns EPERM into success.
func refused(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return nil
	case err == nil:
		return errors.New("loaded and attached, but the canary was let through")
	}
	return fmt.Errorf("the canary failed otherwise: %w", err)
}

// somewhere is an address for documentation (RFC 5737): nothing is there.
var somewhere = unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 9}}

func withSocket(family, kind int, fn func(fd int) error) error {
	s, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	defer unix.Close(s)
	return fn(s)
}

func (p *probe) connect() error {
	return p.hooked(p.programs.Connect4, ebpf.AttachCGroupInet4Connect, func() error {
		return withSocket(unix.AF_INET, unix.SOCK_DGRAM, func(s int) error {
			to := somewhere
			return refused(unix.Connect(s, &to))
		})
	})
}

func (p *probe) sendmsg() error {
	return p.hooked(p.programs.Sendmsg4, ebpf.AttachCGroupUDP4Sendmsg, func() error {
		return withSocket(unix.AF_INET, unix.SOCK_DGRAM, func(s int) error {
			to := somewhere
			return refused(unix.Sendto(s, nil, 0, &to))
		})
	})
}

func (p *probe) setsockopt() error {
	return p.hooked(p.programs.Setsockopt, ebpf.AttachCGroupSetsockopt, func() error {
		return withSocket(unix.AF_PACKET, unix.SOCK_RAW, func(s int) error {
			return refused(unix.SetsockoptInt(s, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1))
		})
	})
}

// floor sends a datagram over an interface pair in a namespace of its own and
// looks whether the floor dropped it.
func (p *probe) floor(tcx bool) error {
	before, err := p.dropped()
	if err != nil {
		return err
	}
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "canary0"}, PeerName: "canary1"}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("make an interface pair: %w", err)
		}
		defer func() { _ = netlink.LinkDel(v) }()
		far, err := netlink.LinkByName("canary1")
		if err != nil {
			return err
		}
		near, err := netlink.LinkByName("canary0")
		if err != nil {
			return err
		}
		to := somewhere
		err = errors.Join(
			netlink.AddrAdd(near, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}),
			netlink.LinkSetUp(near), netlink.LinkSetUp(far),
			netlink.NeighSet(&netlink.Neigh{LinkIndex: near.Attrs().Index, State: netlink.NUD_PERMANENT, IP: to.Addr[:], HardwareAddr: far.Attrs().HardwareAddr}),
		)
		if err != nil {
			return fmt.Errorf("set up the interface pair: %w", err)
		}
		stub, err := newStub(p.own.Programs, 1, 14, 0)
		if err != nil {
			return err
		}
		defer stub.Close()
		if tcx {
			l, err := link.AttachTCX(link.TCXOptions{Interface: near.Attrs().Index, Program: stub, Attach: ebpf.AttachTCXEgress})
			if err != nil {
				return fmt.Errorf("attach: %w", err)
			}
			defer l.Close()
		} else if err := attachClsact(near, stub, netlink.HANDLE_MIN_EGRESS); err != nil {
			return err
		}
		return withSocket(unix.AF_INET, unix.SOCK_DGRAM, func(s int) error {
			// The sender of a dropped packet may be told ENOBUFS or nothing.
			if err := unix.Sendto(s, []byte("canary"), 0, &to); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("send the canary: %w", err)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	after, err := p.dropped()
	if err == nil && after != before+1 {
		err = errors.New("loaded and attached, but the canary was let through")
	}
	return err
}

// dropped is how many datagrams the canary's floor has dropped.
func (p *probe) dropped() (uint64, error) {
	var k netCountKey
	var c netCount
	n := uint64(0)
	it := p.maps.Counts.Iterate()
	for it.Next(&k, &c) {
		var d netDetail
		if err := p.own.Details.Lookup(&k, &d); err == nil && d.Mech != mechHook {
			n += c.N
		}
	}
	if err := it.Err(); err != nil {
		return 0, fmt.Errorf("read counts: %w", err)
	}
	return n, nil
}
