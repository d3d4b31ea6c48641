package firewall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	mechTCX    = "tcx"
	mechClsact = "clsact"

	// maxMembers is how many containers can share a network namespace
	// (MAX_MEMBERS of network.bpf.c).
	maxMembers = 8
	maxFloors  = 2048

	soNetnsCookie = 71 // SO_NETNS_COOKIE

	// Offsets of cb[0] and cb[1] in struct __sk_buff: how a stub tells the
	// program which floor it is and how long the frame's header.
	cbFloor, cbHeader = 48, 52
)

// floorState is the packet floor of one network namespace.
type floorState struct {
	number    uint32
	cookie    uint64
	cids      []uint32
	mechanism string
	attached  map[int]*attachment // by interface index
}

// attachment is one interface's pair of stubs.
type attachment struct {
	links []link.Link // tcx; empty with clsact
}

func (a *attachment) close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// alive reports whether the interface is still the one that was attached to.
func (a *attachment) alive() bool {
	for _, l := range a.links {
		info, err := l.Info()
		if err != nil || info.TCX() == nil || info.TCX().Ifindex == 0 {
			return false
		}
	}
	return true
}

// ensureFloor makes the container's network namespace a floor with the
// container as a member and stubs on all its interfaces. Nil with a reason
// when there is none.
func (f *Firewall) ensureFloor(ctx context.Context, m *managed) (*floorState, string) {
	if m.c.HostNetwork {
		return nil, "the container shares the node's network, which is never filtered"
	}
	if m.c.PID <= 0 {
		return nil, "the container has no process whose network could be entered"
	}
	fl, err := f.joinFloor(ctx, m)
	if errors.Is(err, errHostNetwork) {
		m.c.HostNetwork = true
		return nil, "the container shares the node's network, which is never filtered"
	}
	if err != nil {
		if _, gone := os.Stat(fmt.Sprintf("/proc/%d/ns/net", m.c.PID)); gone == nil {
			f.log.Error("packet floor is not in place", "container", m.c.ID, "err", err)
		}
		return nil, fmt.Sprintf("no packet floor (%v)", err)
	}
	return fl, ""
}

var errHostNetwork = errors.New("the namespace is the node's own")

func (f *Firewall) joinFloor(ctx context.Context, m *managed) (*floorState, error) {
	path := fmt.Sprintf("/proc/%d/ns/net", m.c.PID)
	if same, err := sameFile(path, "/proc/thread-self/ns/net"); err != nil {
		return nil, fmt.Errorf("find network namespace: %w", err)
	} else if same {
		return nil, errHostNetwork
	}
	var fl *floorState
	isNew := false
	err := inNetns(path, func() error {
		cookie, err := netnsCookie()
		if err != nil {
			return err
		}
		if m.floor != nil && m.floor.cookie != cookie {
			if err := f.leaveFloor(ctx, m.floor, m.cid); err != nil {
				f.log.Warn("old packet floor stays", "err", err)
			}
		}
		fl = f.floorOf(cookie)
		if fl == nil {
			if fl, err = f.newFloor(cookie); err != nil {
				return err
			}
			isNew = true
		}
		if !slices.Contains(fl.cids, m.cid) {
			if len(fl.cids) == maxMembers {
				return fmt.Errorf("join packet floor: %d containers share the network namespace already", maxMembers)
			}
			fl.cids = append(fl.cids, m.cid)
			if err := f.writeFloor(fl); err != nil {
				return err
			}
		}
		return f.attachAll(fl)
	})
	if err != nil {
		if isNew {
			err = errors.Join(err, f.dropFloor(ctx, fl))
		}
		return nil, err
	}
	if isNew {
		if err := f.seed(fl, m.c.PID); err != nil {
			f.log.Warn("open connections could not be listed; they are judged by either direction", "container", m.c.ID, "err", err)
		}
	}
	return fl, nil
}

func (f *Firewall) floorOf(cookie uint64) *floorState {
	for _, fl := range f.floors {
		if fl.cookie == cookie {
			return fl
		}
	}
	return nil
}

func (f *Firewall) newFloor(cookie uint64) (*floorState, error) {
	// Number 0 is never used: it is what a packet without a stub would have.
	for n := uint32(1); n < maxFloors; n++ {
		if f.floors[n] == nil {
			fl := &floorState{number: n, cookie: cookie, attached: map[int]*attachment{}, mechanism: mechTCX}
			f.floors[n] = fl
			return fl, nil
		}
	}
	return nil, fmt.Errorf("make packet floor: all %d are in use", maxFloors)
}

// writeFloor publishes the members. The generation grows, so that flows are
// judged again by whoever is behind the floor now; it grows in large steps
// because the programs add the generations of the members, which grow by ones.
func (f *Firewall) writeFloor(fl *floorState) error {
	var v netFloor
	if err := f.own.Floors.Lookup(fl.number, &v); err != nil {
		return fmt.Errorf("read floor %d: %w", fl.number, err)
	}
	v = netFloor{Netns: fl.cookie, Generation: v.Generation + 1<<16, N: uint32(len(fl.cids))}
	copy(v.Cids[:], fl.cids)
	if err := f.own.Floors.Update(fl.number, &v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("write floor %d: %w", fl.number, err)
	}
	return nil
}

// leaveFloor takes a container off its floor; the last one takes the floor down.
func (f *Firewall) leaveFloor(ctx context.Context, fl *floorState, cid uint32) error {
	fl.cids = slices.DeleteFunc(fl.cids, func(c uint32) bool { return c == cid })
	if len(fl.cids) > 0 {
		return f.writeFloor(fl)
	}
	return f.dropFloor(ctx, fl)
}

// dropFloor removes the stubs. With clsact they go with the namespace; until
// then they find an empty floor and pass everything.
func (f *Firewall) dropFloor(_ context.Context, fl *floorState) error {
	var errs []error
	fl.cids = nil
	errs = append(errs, f.writeFloor(fl))
	for index := range fl.attached {
		errs = append(errs, f.detach(fl, index))
	}
	delete(f.floors, fl.number)
	return errors.Join(errs...)
}

func (f *Firewall) detach(fl *floorState, index int) error {
	var errs []error
	at := fl.attached[index]
	delete(fl.attached, index)
	for _, l := range at.links {
		errs = append(errs, detachLink(l))
	}
	return errors.Join(errs...)
}

// attachAll puts stubs on every interface of the current network namespace
// that has none, loopback left out.
func (f *Firewall) attachAll(fl *floorState) error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 {
			continue
		}
		if at := fl.attached[a.Index]; at != nil {
			if at.alive() {
				continue
			}
			_ = f.detach(fl, a.Index) // its interface is gone
		}
		header := uint32(0)
		if a.EncapType == "ether" {
			header = 14
		}
		if err := f.attach(fl, l, header); err != nil {
			return fmt.Errorf("attach to interface %s: %w", a.Name, err)
		}
	}
	return nil
}

func (f *Firewall) attach(fl *floorState, l netlink.Link, header uint32) error {
	at := &attachment{}
	for i, side := range []struct {
		attach ebpf.AttachType
		parent uint32
		name   string
	}{
		{ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS, "out"},
		{ebpf.AttachTCXIngress, netlink.HANDLE_MIN_INGRESS, "in"},
	} {
		stub, err := newStub(f.own.Programs, fl.number, header, i)
		if err != nil {
			return err
		}
		if !f.cfg.NoTCX && fl.mechanism == mechTCX {
			t, err := link.AttachTCX(link.TCXOptions{Interface: l.Attrs().Index, Program: stub, Attach: side.attach, Anchor: link.Head()})
			if err == nil {
				err = t.Pin(f.floorPin(fl, l.Attrs().Index, side.name))
				if err != nil {
					err = errors.Join(err, t.Close())
				}
			}
			if err == nil {
				at.links = append(at.links, t)
				_ = stub.Close()
				continue
			}
			if !errors.Is(err, ebpf.ErrNotSupported) {
				_ = stub.Close()
				return errors.Join(err, at.close())
			}
		}
		fl.mechanism = mechClsact
		err = attachClsact(l, stub, side.parent)
		_ = stub.Close()
		if err != nil {
			return err
		}
	}
	fl.attached[l.Attrs().Index] = at
	return nil
}

func attachClsact(l netlink.Link, stub *ebpf.Program, parent uint32) error {
	q := &netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}
	if err := netlink.QdiscAdd(q); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("add clsact: %w", err)
	}
	err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs:  netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Handle: netlink.MakeHandle(0, 1), Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:           stub.FD(),
		Name:         "gabion",
		DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("add filter: %w", err)
	}
	return nil
}

// newStub makes the few instructions that say which floor this is and go on in
// the shared program. An empty program array lets everything pass.
func newStub(shared *ebpf.Map, number, header uint32, index int) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:    "gabion_floor",
		Type:    ebpf.SchedCLS,
		License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R2, int32(number)),
			asm.StoreMem(asm.R1, cbFloor, asm.R2, asm.Word),
			asm.Mov.Imm(asm.R2, int32(header)),
			asm.StoreMem(asm.R1, cbHeader, asm.R2, asm.Word),
			asm.LoadMapPtr(asm.R2, shared.FD()),
			asm.Mov.Imm(asm.R3, int32(index)),
			asm.FnTailCall.Call(),
			asm.Mov.Imm(asm.R0, -1), // TCX_NEXT, TC_ACT_UNSPEC
			asm.Return(),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load floor stub: %w", err)
	}
	return p, nil
}

func (f *Firewall) floorPin(fl *floorState, index int, side string) string {
	return filepath.Join(f.dir, fmt.Sprintf("floor-%d-%d-%s", fl.number, index, side))
}

// adopt reads rules and floors that an earlier agent left.
func (f *Firewall) adopt() error {
	if err := f.adoptTables(); err != nil {
		return err
	}
	var v netFloor
	for n := uint32(1); n < maxFloors; n++ {
		if err := f.own.Floors.Lookup(n, &v); err != nil {
			return fmt.Errorf("read pinned floors: %w", err)
		}
		if v.N == 0 || v.N > maxMembers {
			continue
		}
		f.floors[n] = &floorState{number: n, cookie: v.Netns, cids: slices.Clone(v.Cids[:v.N]), attached: map[int]*attachment{}, mechanism: mechClsact}
	}
	pins, err := filepath.Glob(filepath.Join(f.dir, "floor-*"))
	if err != nil {
		return fmt.Errorf("read pinned floors: %w", err)
	}
	for _, pin := range pins {
		var n uint32
		var index int
		var side string
		if _, err := fmt.Sscanf(filepath.Base(pin), "floor-%d-%d-%s", &n, &index, &side); err != nil {
			continue
		}
		fl := f.floors[n]
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil || fl == nil {
			if err == nil {
				_ = l.Close()
			}
			_ = os.Remove(pin)
			continue
		}
		if fl.attached[index] == nil {
			fl.attached[index] = &attachment{}
		}
		fl.attached[index].links = append(fl.attached[index].links, l)
		fl.mechanism = mechTCX
	}
	for _, fl := range f.floors {
		for index, at := range fl.attached {
			if len(at.links) != 2 {
				_ = f.detach(fl, index)
			}
		}
	}
	return nil
}

// tend looks after the floors: interfaces that came later get stubs, floors
// whose containers are gone are taken down. It also attaches hooks that a
// quarantine needs.
func (f *Firewall) tend(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pids := map[*floorState]int{}
	for _, m := range f.managed {
		if m.floor != nil {
			pids[m.floor] = m.c.PID
		}
		var e netContainer
		if err := f.maps.Containers.Lookup(m.cid, &e); err == nil {
			if err := f.needHooks(m, e.Flags); err != nil {
				f.log.Error("hook is not in place", "err", err)
			}
		}
	}
	for _, fl := range f.floors {
		if pid, ok := pids[fl]; ok {
			err := inNetns("/proc/"+strconv.Itoa(pid)+"/ns/net", func() error {
				if cookie, err := netnsCookie(); err != nil || cookie != fl.cookie {
					return err // the process is another by now; Forget will come
				}
				return f.attachAll(fl)
			})
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				f.log.Warn("interfaces of a container are not all covered", "pid", pid, "err", err)
			}
			continue
		}
		gone := !slices.ContainsFunc(fl.cids, func(cid uint32) bool {
			var e netContainer
			return !errors.Is(f.maps.Containers.Lookup(cid, &e), ebpf.ErrKeyNotExist)
		})
		if gone {
			if err := f.dropFloor(ctx, fl); err != nil {
				f.log.Warn("packet floor of an ended container stays", "err", err)
			}
		}
	}
}

// inNetns runs fn in a network namespace, on a thread of its own. fn must not
// start goroutines that rely on the namespace.
func inNetns(path string, fn func() error) error {
	return onThread(func() error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open network namespace %s: %w", path, err)
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return fn()
	})
}

// onThread runs fn, which may change the thread's network namespace, on a
// thread that nobody else uses until it is back in its own namespace.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		err = fn()
		// A thread that cannot come back is never unlocked, so it ends with
		// the goroutine. The program's first thread would not end and show
		// the wrong namespace as /proc/self, hence the way back.
		if unix.Setns(back, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		_ = unix.Close(back)
		done <- err
	}()
	return <-done
}

// netnsCookie gives the number of the current network namespace, which is
// never used again while the machine runs.
func netnsCookie() (uint64, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	defer unix.Close(s)
	cookie, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, soNetnsCookie)
	if err != nil {
		return 0, fmt.Errorf("read network namespace cookie: %w", err)
	}
	return cookie, nil
}

func sameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}
