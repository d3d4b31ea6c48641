package firewall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// sink keeps what was reported.
type sink struct {
	mu       sync.Mutex
	denials  map[string]guard.Denial
	observed []guard.Observation
	lost     []guard.Loss
}

func (s *sink) Denied(d guard.Denial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denials == nil {
		s.denials = map[string]guard.Denial{}
	}
	if old, ok := s.denials[d.ID]; ok && old.Count >= d.Count {
		panic(fmt.Sprintf("denial reported again without growth: %+v", d))
	}
	s.denials[d.ID] = d
}

func (s *sink) Observed(o guard.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = append(s.observed, o)
}
func (s *sink) Started(guard.Start) {}
func (s *sink) Lost(l guard.Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, l)
}

// all gives the denials of a container, most counted first.
func (s *sink) all(id string) []guard.Denial {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []guard.Denial
	for _, d := range s.denials {
		if d.ContainerID == id {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b guard.Denial) int { return int(b.Count) - int(a.Count) })
	return out
}

// bench is a machine for one test: shared maps, a cgroup and a bpffs of its
// own, and an outside world that containers are connected to.
type bench struct {
	t       testing.TB
	maps    Maps
	pins    string
	cgroup  string // where the hooks are attached
	sink    *sink
	fw      *Firewall
	outside *proc
	ids     map[string]uint32
	n       int
	stop    func()
}

var unique atomic.Int64

func newBench(t testing.TB) *bench {
	t.Helper()
	testkit.RequireRoot(t)
	root, err := cgroupRoot("/proc/mounts")
	testkit.Require(t, "cgroup2", err == nil, fmt.Sprint(err))
	name := fmt.Sprintf("gabiontest-fw-%d-%d", os.Getpid(), unique.Add(1))
	b := &bench{t: t, sink: &sink{}, ids: map[string]uint32{}, cgroup: filepath.Join(root, name), pins: filepath.Join(t.TempDir(), "bpf")}
	must(t, os.Mkdir(b.cgroup, 0o755))
	t.Cleanup(func() { removeCgroup(b.cgroup) })
	must(t, os.Mkdir(b.pins, 0o700))
	must(t, unix.Mount("bpf", b.pins, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(b.pins, unix.MNT_DETACH)) })
	b.maps = sharedMaps(t)
	t.Cleanup(b.close)
	b.outside = b.start("", "")
	return b
}

// sharedMaps makes what guard/kernel would hand over.
func sharedMaps(t testing.TB) Maps {
	t.Helper()
	spec, err := loadNet()
	must(t, err)
	make := func(name string) *ebpf.Map {
		s := spec.Maps[name].Copy()
		m, err := ebpf.NewMap(s)
		must(t, err)
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	m := Maps{Settings: make("settings"), Tasks: make("tasks"), Cgroups: make("cgroups"), Containers: make("containers"), Counts: make("counts"), Overflow: make("overflow")}
	must(t, m.Settings.Update(uint32(0), &netSettings{Layout: 1, Epoch: uint64(time.Now().UnixNano())}, ebpf.UpdateAny))
	return m
}

func removeCgroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	for range 100 {
		if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// open starts the firewall and its Run.
func (b *bench) open(change ...func(*Config)) *Firewall {
	b.t.Helper()
	cfg := Config{PinDir: b.pins, CgroupRoot: b.cgroup}
	for _, c := range change {
		c(&cfg)
	}
	fw, err := Open(cfg, Deps{Sink: b.sink, Maps: b.maps, CID: func(id string) (uint32, bool) { c, ok := b.ids[id]; return c, ok }})
	must(b.t, err)
	b.fw = fw
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fw.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}
	return fw
}

func (b *bench) close() {
	if b.fw == nil {
		return
	}
	b.stop()
	if err := b.fw.Close(false); err != nil {
		b.t.Errorf("Close: %v", err)
	}
	b.fw = nil
}

// crash ends the agent the hard way: nothing is detached.
func (b *bench) crash() {
	b.stop()
	must(b.t, b.fw.Close(true))
	b.fw = nil
}

// floorHere is the kind of floor that this kernel can have at best: tcx, which
// came with Linux 6.6, or clsact.
func floorHere(t testing.TB) string {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
	must(t, err)
	defer prog.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: prog, Attach: ebpf.AttachTCXEgress}) // lo
	if errors.Is(err, ebpf.ErrNotSupported) {
		return "clsact"
	}
	must(t, err)
	must(t, l.Close())
	return "tcx"
}

// proc is a helper process in a network namespace of its own.
type proc struct {
	t    testing.TB
	pid  int
	in   *json.Encoder
	out  *json.Decoder
	id   string
	c    workload.Container
	v4   netip.Addr // its address
	v6   netip.Addr
	gw4  netip.Addr // the outside world's, on the same link
	gw6  netip.Addr
	mac  string // of the outside world's end
	stop func()
}

// start starts a helper. cgroup: name of a cgroup to make below the bench's
// and start it in; empty: it stays outside. netns: a process whose network to
// share; empty: a new one.
func (b *bench) start(cgroup, netns string) *proc {
	b.t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{helperEnv + "=1"}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{} // it ends when its standard input does
	if netns == "" {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if cgroup != "" {
		dir := filepath.Join(b.cgroup, cgroup)
		must(b.t, os.MkdirAll(dir, 0o755))
		fd, err := os.Open(dir)
		must(b.t, err)
		defer fd.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(fd.Fd())
	}
	in, err := cmd.StdinPipe()
	must(b.t, err)
	out, err := cmd.StdoutPipe()
	must(b.t, err)
	start := cmd.Start
	if netns != "" {
		start = func() error { return inNetns(netns, cmd.Start) }
	}
	must(b.t, start())
	p := &proc{t: b.t, pid: cmd.Process.Pid, in: json.NewEncoder(in), out: json.NewDecoder(bufio.NewReader(out))}
	p.stop = sync.OnceFunc(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	b.t.Cleanup(p.stop)
	must(b.t, inNetns(p.netns(), func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	}))
	return p
}

func (p *proc) netns() string { return "/proc/" + strconv.Itoa(p.pid) + "/ns/net" }

// do gives an order and returns the answer.
func (p *proc) do(o order) answer {
	p.t.Helper()
	must(p.t, p.in.Encode(o))
	var a answer
	must(p.t, p.out.Decode(&a))
	return a
}

// want gives an order and checks the error.
func (p *proc) want(err string, o order) {
	p.t.Helper()
	if err == "timeout" {
		o.Timeout = 300 * time.Millisecond
	}
	if a := p.do(o); a.Err != err {
		p.t.Errorf("%s %s %s from %s: got %q, want %q", o.Op, o.Net, o.To, p.id, a.Err, err)
	}
}

// container makes a container: a process in its own network namespace and
// cgroup, linked to the outside world, known to the kernel maps.
func (b *bench) container() *proc {
	b.t.Helper()
	b.n++
	id := fmt.Sprintf("container-%d", b.n)
	p := b.start(id, "")
	b.link(p, b.n)
	b.enrol(p, id, uint32(b.n))
	return p
}

func (b *bench) enrol(p *proc, id string, cid uint32) {
	b.t.Helper()
	var st unix.Stat_t
	must(b.t, unix.Stat(filepath.Join(b.cgroup, id), &st))
	p.id = id
	p.c = workload.Container{ID: id, Name: id, PID: p.pid, CgroupID: st.Ino, CgroupPath: "/" + filepath.Base(b.cgroup) + "/" + id, Workload: workload.Ref{Namespace: "test", Name: id}}
	if p.v4.IsValid() {
		p.c.Addresses = []netip.Addr{p.v4, p.v6}
	}
	must(b.t, b.maps.Containers.Update(cid, &netContainer{Flags: flagObserve}, ebpf.UpdateAny))
	must(b.t, b.maps.Cgroups.Update(st.Ino, cid, ebpf.UpdateAny))
	b.ids[id] = cid
}

// link connects a process's namespace with the outside world: 10.200.N.0/24
// and fd00:N::/64, .1 outside.
func (b *bench) link(p *proc, n int) {
	b.t.Helper()
	p.gw4, p.v4 = netip.AddrFrom4([4]byte{10, 200, byte(n), 1}), netip.AddrFrom4([4]byte{10, 200, byte(n), 2})
	p.gw6 = netip.MustParseAddr(fmt.Sprintf("fd00:%x::1", n))
	p.v6 = netip.MustParseAddr(fmt.Sprintf("fd00:%x::2", n))
	name := fmt.Sprintf("gt%d", n)
	must(b.t, inNetns(b.outside.netns(), func() error {
		if n == 1 {
			for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
				if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0o644); err != nil {
					if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0o644); err != nil {
						return err
					}
				}
			}
		}
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsPid(p.pid)}
		if err := netlink.LinkAdd(v); err != nil {
			return fmt.Errorf("add veth: %w", err)
		}
		mac, err := setUp(name, p.gw4, p.gw6)
		p.mac = mac
		return err
	}))
	must(b.t, inNetns(p.netns(), func() error {
		if _, err := setUp("eth0", p.v4, p.v6); err != nil {
			return err
		}
		for _, r := range []netlink.Route{{Gw: p.gw4.AsSlice()}, {Gw: p.gw6.AsSlice()}} {
			if err := netlink.RouteAdd(&r); err != nil {
				return fmt.Errorf("add route: %w", err)
			}
		}
		return nil
	}))
}

func setUp(name string, v4, v6 netip.Addr) (string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return "", err
	}
	for _, a := range []netlink.Addr{
		{IPNet: &net.IPNet{IP: v4.AsSlice(), Mask: net.CIDRMask(24, 32)}},
		{IPNet: &net.IPNet{IP: v6.AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD},
	} {
		if err := netlink.AddrAdd(l, &a); err != nil {
			return "", fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return l.Attrs().HardwareAddr.String(), netlink.LinkSetUp(l)
}

// address gives the outside world one more address.
func (b *bench) address(prefix string) {
	b.t.Helper()
	must(b.t, inNetns(b.outside.netns(), func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(lo, a)
	}))
}

// apply applies a network section to a container.
func (b *bench) apply(p *proc, n *policy.NetworkPlan) guard.Coverage {
	b.t.Helper()
	plan := &policy.Plan{ID: "sha256:test", Network: n, Rules: make([]event.RuleRef, 16)}
	for i := range plan.Rules {
		plan.Rules[i].Field = fmt.Sprintf("rule[%d]", i)
	}
	cov, err := b.fw.apply(b.t.Context(), p.c, plan, nil)
	must(b.t, err)
	return cov
}

// denials flushes and gives what was denied to a container.
func (b *bench) denials(p *proc) []guard.Denial {
	b.t.Helper()
	b.fw.Flush()
	return b.sink.all(p.id)
}

func (b *bench) total(p *proc) (n uint64) {
	for _, d := range b.denials(p) {
		n += d.Count
	}
	return n
}

func egress(mode v1alpha1.Mode, rules ...policy.PeerRule) *policy.NetworkPlan {
	return &policy.NetworkPlan{Mode: mode, EgressListed: true, EgressListRule: 9, Egress: rules}
}

func rule(n int, prefixes []string, ports ...policy.PortRange) policy.PeerRule {
	r := policy.PeerRule{Rule: n, Ports: ports}
	for _, p := range prefixes {
		r.Prefixes = append(r.Prefixes, netip.MustParsePrefix(p))
	}
	return r
}

func tcp(lo, hi uint16) policy.PortRange { return policy.PortRange{Protocol: 6, Lo: lo, Hi: hi} }
func udp(lo, hi uint16) policy.PortRange { return policy.PortRange{Protocol: 17, Lo: lo, Hi: hi} }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("did not happen: %s", what)
}
