package firewall

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
)

func TestIngress(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.address("192.0.2.7/32")
	for _, n := range []string{"tcp", "udp"} {
		c.want("", order{Op: "listen", Net: n, To: ":80"})
		c.want("", order{Op: "listen", Net: n, To: ":81"})
	}
	b.apply(c, &policy.NetworkPlan{Mode: v1alpha1.Protect, IngressListed: true, IngressListRule: 8,
		Ingress: []policy.PeerRule{rule(1, []string{"10.200.1.0/24", "fd00:1::/64"}, tcp(80, 80), udp(80, 80))}})

	b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
	b.outside.want("", order{Op: "dial", Net: "tcp", To: "[fd00:1::2]:80"})
	b.outside.want("", order{Op: "sendto", Net: "udp", To: "10.200.1.2:80"})
	b.outside.want("timeout", order{Op: "dial", Net: "tcp", To: "10.200.1.2:81"})
	b.outside.want("timeout", order{Op: "dial", Net: "tcp", To: "[fd00:1::2]:81"})
	b.outside.want("timeout", order{Op: "sendto", Net: "udp", To: "10.200.1.2:81"})
	// Another address of the outside world is not listed.
	b.outside.want("timeout", order{Op: "open", Net: "tcp", To: "10.200.1.2:80", From: "192.0.2.7:0", ID: 1})
	// Egress is not listed, so the container may go anywhere and hear the answers.
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "udp", To: ":5000"})
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	c.want("", order{Op: "sendto", Net: "udp", To: "10.200.1.1:5000"})

	seen, floor := map[string]uint64{}, floorHere(t)
	for _, d := range b.denials(c) {
		if d.Kind != event.NetworkAccept || d.Mechanism != floor || d.Effect != event.Blocked || d.Rule != 8 {
			t.Errorf("denial: %+v", d)
		}
		seen[fmt.Sprintf("%s %d/%d", d.Peer, d.Protocol, d.LocalPort)] += d.Count
	}
	for _, want := range []string{"10.200.1.1 6/81", "fd00:1::1 6/81", "10.200.1.1 17/81", "192.0.2.7 6/80"} {
		if seen[want] != 1 {
			t.Errorf("%s was counted %d times, want 1 attempt; all: %v", want, seen[want], seen)
		}
	}
}

func TestBypass(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "udp4", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "udp4", To: ":5001"})
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5001"})
	b.apply(c, egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, udp(5000, 5000))))
	got := func(port string) int {
		return b.outside.do(order{Op: "got", Net: "udp4", To: port}).N
	}
	from := func(p string) string { return "10.200.1.2:" + p }

	c.want("", order{Op: "raw", From: from("40000"), To: "10.200.1.1:5000"})
	eventually(t, "raw socket to a listed peer passes", func() bool { return got(":5000") == 1 })
	c.want("", order{Op: "packet", From: from("40001"), To: "10.200.1.1:5000", Mark: c.mac})
	eventually(t, "packet socket to a listed peer passes", func() bool { return got(":5000") == 2 })

	// Whatever the floor drops, sendto reports as sent or as ENOBUFS.
	c.do(order{Op: "raw", From: from("40000"), To: "10.200.1.1:5001"})
	c.do(order{Op: "packet", From: from("40001"), To: "10.200.1.1:5001", Mark: c.mac})
	c.do(order{Op: "packet", From: from("40001"), To: "10.200.1.1:5001", Mark: c.mac, N: 0x88cc})
	c.want("EPERM", order{Op: "bypass"})
	c.want("EPERM", order{Op: "xdp"})
	// A process that is not the container's but uses its network.
	intruder := b.start("", c.netns())
	intruder.want("timeout", order{Op: "sendto", Net: "udp4", To: "10.200.1.1:5001"})
	intruder.want("timeout", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
	if a := c.do(order{Op: "open", Net: "tcp", To: "10.200.1.1:5001", Mark: "mptcp", ID: 1, Timeout: 300 * time.Millisecond}); a.Err == "" {
		t.Errorf("MPTCP got past the firewall")
	}
	// Told by a datagram that passes after all the others.
	c.want("", order{Op: "sendto", Net: "udp4", To: "10.200.1.1:5000"})
	if n := got(":5001"); n != 0 {
		t.Errorf("%d datagrams got past the firewall", n)
	}
	kinds := map[string]uint64{}
	for _, d := range b.denials(c) {
		kinds[string(d.Kind)+" "+d.Mechanism+" "+d.Path] += d.Count
	}
	t.Log(kinds)
	floor := floorHere(t)
	for what, n := range map[string]uint64{
		"network.socket cgroup/socket AF_PACKET": 1, "network.socket cgroup/socket AF_XDP": 1,
		"network.socket " + floor + " ethertype 0x88cc": 1,
	} {
		if kinds[what] != n {
			t.Errorf("%s counted %d times, want %d", what, kinds[what], n)
		}
	}
	if n := kinds["network.connect "+floor+" "]; n < 4 {
		t.Errorf("floor counted %d, want at least 4", n)
	}
	// A host process may do as it likes.
	b.outside.want("", order{Op: "bypass"})
}

func TestSocketFamilies(t *testing.T) {
	// What the kernel asks the sock_create hook about, on this kernel: only
	// internet sockets. If this ever changes, the package comment does too.
	b := newBench(t)
	b.open()
	c := b.start("container-9", "")
	b.enrol(c, "container-9", 9)
	c.c.HostNetwork = true
	cov := b.apply(c, egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, udp(5000, 5000))))
	if cov.Mechanism != "cgroup/connect" || cov.Degraded == "" {
		t.Errorf("coverage of a host-network container: %+v", cov)
	}
	socket := func(family, kind, proto int) order {
		return order{Op: "socket", N: family<<16 | kind<<8 | proto}
	}
	for _, o := range []order{
		socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW), socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
		socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
	} {
		c.want("EPERM", o)
	}
	for _, o := range []order{
		socket(unix.AF_INET, unix.SOCK_STREAM, 0), socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), socket(unix.AF_UNIX, unix.SOCK_STREAM, 0),
		socket(unix.AF_NETLINK, unix.SOCK_RAW, 0),
	} {
		c.want("", o)
	}
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.9.9.9:80"})
	// MPTCP, which Go's servers listen with, is judged by the connect hook.
	c.want("EPERM", order{Op: "open", Net: "tcp", To: "10.9.9.9:80", Mark: "mptcp", ID: 1})
	for _, d := range b.denials(c) {
		if d.Kind == event.NetworkSocket && (d.Reasons != policy.ReasonFamily || d.Path == "") {
			t.Errorf("denial: %+v", d)
		}
	}
}

func TestQuarantine(t *testing.T) {
	b := newBench(t)
	fw := b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":80"})
	c.want("", order{Op: "listen", Net: "tcp", To: "127.0.0.1:81"})
	b.apply(c, nil)
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
	c.want("", order{Op: "talk", ID: 1})
	flag := func(on bool) {
		must(t, fw.deps.Update(1, func(e *Container) {
			e.Flags &^= flagQuarantine
			if on {
				e.Flags |= flagQuarantine
			}
			e.Generation++
		}))
	}
	flag(true)
	c.want("timeout", order{Op: "talk", ID: 1})
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	c.want("EPERM", order{Op: "sendto", Net: "udp", To: "10.200.1.1:5000"})
	b.outside.want("timeout", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
	c.want("", order{Op: "dial", Net: "tcp", To: "127.0.0.1:81"})
	for _, d := range b.denials(c) {
		if d.Reasons != policy.ReasonQuarantine || d.Effect != event.Blocked {
			t.Errorf("denial: %+v", d)
		}
	}
	eventually(t, "the hook against queue bypass is attached", func() bool {
		pins, _ := filepath.Glob(filepath.Join(b.pins, "firewall", "setsockopt*"))
		return len(pins) == 1
	})
	c.want("EPERM", order{Op: "bypass"})
	flag(false)
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
}

func TestPlanChangeJudgesOpenConnectionsAgain(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5001"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":80"})
	b.apply(c, nil)
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5001", ID: 2})
	b.outside.want("", order{Op: "open", Net: "tcp", To: "10.200.1.2:80", ID: 3})
	talk := func(first, second, third string) {
		t.Helper()
		c.want(first, order{Op: "talk", ID: 1})
		c.want(second, order{Op: "talk", ID: 2})
		b.outside.want(third, order{Op: "talk", ID: 3})
	}
	talk("", "", "")
	only5000 := egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, tcp(5000, 5000)))
	b.apply(c, only5000)
	talk("", "timeout", "")
	// A third port, and nothing else, is denied: the open one is judged anew.
	b.apply(c, &policy.NetworkPlan{Mode: v1alpha1.Protect, Egress: []policy.PeerRule{{Rule: 2, Deny: true, Ports: []policy.PortRange{tcp(5000, 5000)}}}})
	c.want("timeout", order{Op: "talk", ID: 1})
	b.apply(c, nil)
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
}

// Connections that are older than the floor are judged by who opened them.
func TestOlderConnections(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":50051"}) // in the range of ephemeral ports
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
	b.outside.want("", order{Op: "open", Net: "tcp", To: "10.200.1.2:50051", ID: 2})
	b.apply(c, egress(v1alpha1.Protect))
	c.want("timeout", order{Op: "talk", ID: 1})
	b.outside.want("", order{Op: "talk", ID: 2})
}

func TestModes(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "udp4", To: ":5000"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":80"})
	none := func(mode v1alpha1.Mode) *policy.NetworkPlan {
		return &policy.NetworkPlan{Mode: mode, EgressListed: true, IngressListed: true}
	}
	b.apply(c, none(v1alpha1.Learn))
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	if n := b.total(c); n != 0 {
		t.Errorf("Learn counted %d denials", n)
	}
	b.apply(c, none(v1alpha1.Monitor))
	for range 5 {
		c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
		c.want("", order{Op: "sendto", Net: "udp4", To: "10.200.1.1:5000"})
		b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
	}
	for _, d := range b.denials(c) {
		if d.Effect != event.WouldBlock || d.Count != 5 {
			t.Errorf("Monitor: %+v", d)
		}
	}
	if n := b.total(c); n != 15 {
		t.Errorf("Monitor counted %d, want 15: %+v", n, b.denials(c))
	}
	must(t, b.maps.Settings.Update(uint32(0), &netSettings{Layout: 1, Epoch: b.fw.epoch, Off: 1}, 0))
	b.apply(c, none(v1alpha1.Protect))
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	must(t, b.maps.Settings.Update(uint32(0), &netSettings{Layout: 1, Epoch: b.fw.epoch}, 0))
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
}

func TestObservations(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":80"})
	b.apply(c, nil)
	for range 20 {
		c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
		b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
	}
	eventually(t, "both directions are reported", func() bool {
		b.sink.mu.Lock()
		defer b.sink.mu.Unlock()
		return len(b.sink.observed) >= 2
	})
	b.sink.mu.Lock()
	defer b.sink.mu.Unlock()
	if len(b.sink.observed) != 2 {
		t.Errorf("observed %d times: %+v", len(b.sink.observed), b.sink.observed)
	}
	for _, o := range b.sink.observed {
		switch o.Kind {
		case event.NetworkConnect:
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid))
			if o.PeerPort != 5000 || o.Peer != c.gw4 || o.Process.PID != c.pid || o.Process.Exe != exe {
				t.Errorf("connect: %+v", o)
			}
		case event.NetworkAccept:
			if o.LocalPort != 80 || o.Peer != c.gw4 || o.ContainerID != c.id {
				t.Errorf("accept: %+v", o)
			}
		}
	}
}

// Fragments follow their first one; without clsact and with, the same holds.
func TestFragmentsAndFallback(t *testing.T) {
	for _, clsact := range []bool{false, true} {
		t.Run(map[bool]string{false: "tcx", true: "clsact"}[clsact], func(t *testing.T) {
			b := newBench(t)
			testkit.Require(t, "tcx floor", clsact || floorHere(t) == "tcx", "this kernel has no tcx (Linux 6.6)")
			b.open(func(c *Config) { c.NoTCX = clsact })
			c := b.container()
			for _, n := range []string{"udp4", "udp6"} {
				b.outside.want("", order{Op: "listen", Net: n, To: ":5000"})
				b.outside.want("", order{Op: "listen", Net: n, To: ":5001"})
			}
			p := egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24", "fd00:1::/64"}, udp(5000, 5000)))
			p.IngressListed = true
			cov := b.apply(c, p)
			if clsact != (cov.Degraded != "") {
				t.Errorf("coverage: %+v", cov)
			}
			for _, n := range []string{"udp4", "udp6"} {
				to := map[string]string{"udp4": "10.200.1.1:", "udp6": "[fd00:1::1]:"}[n]
				c.want("", order{Op: "sendto", Net: n, To: to + "5000", N: 8000})
				c.want("EPERM", order{Op: "sendto", Net: n, To: to + "5001", N: 8000})
			}
			intruder := b.start("", c.netns())
			if a := intruder.do(order{Op: "sendto", Net: "udp4", To: "10.200.1.1:5001", N: 8000, Timeout: 300 * time.Millisecond}); a.Err == "" {
				t.Errorf("fragments got past the floor")
			}
			if n := b.outside.do(order{Op: "got", Net: "udp4", To: ":5001"}).N; n != 0 {
				t.Errorf("%d datagrams got past the floor", n)
			}
		})
	}
}

func TestSharedNamespaceAndLateInterface(t *testing.T) {
	b := newBench(t)
	b.open()
	first := b.container()
	second := b.start("container-2", first.netns())
	b.enrol(second, "container-2", 2)
	b.n = 2
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5001"})
	b.apply(first, egress(v1alpha1.Protect, rule(1, []string{"10.200.0.0/16"}, tcp(5000, 5000))))
	b.apply(second, egress(v1alpha1.Protect, rule(2, []string{"10.200.0.0/16"}, tcp(5001, 5001))))
	first.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	first.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
	second.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	second.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
	if len(b.fw.floors) != 1 {
		t.Errorf("%d floors for one namespace", len(b.fw.floors))
	}
	// An interface that comes later is covered as well.
	must(t, inNetns(first.netns(), func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "late0"}, PeerName: "late1"})
	}))
	eventually(t, "stubs on the late interface", func() bool {
		b.fw.mu.Lock()
		defer b.fw.mu.Unlock()
		for _, fl := range b.fw.floors {
			return len(fl.attached) == 3
		}
		return false
	})
	must(t, b.fw.Forget(first.id))
	intruder := b.start("", first.netns())
	intruder.want("timeout", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	must(t, b.fw.Forget(second.id))
	intruder.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	if pins, _ := filepath.Glob(filepath.Join(b.pins, "firewall", "floor-*")); len(pins) != 0 {
		t.Errorf("pins stay: %v", pins)
	}
}

func TestAdoption(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5001"})
	c.want("", order{Op: "listen", Net: "tcp", To: ":80"})
	plan := egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, tcp(5000, 5000)))
	plan.IngressListed = true
	b.apply(c, plan)
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
	const each = 250
	denied := 0
	dials := func() { denied += c.do(order{Op: "dials", Net: "tcp", To: "10.200.1.1:5001", N: each}).N }
	dials()
	generation := func() (g uint32) {
		var e netContainer
		must(t, b.maps.Containers.Lookup(uint32(1), &e))
		return e.Generation
	}
	before := generation()
	for range 2 {
		b.crash()
		dials() // nobody is there, and still
		b.outside.want("timeout", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
		c.want("", order{Op: "talk", ID: 1})
		b.sink = &sink{}
		b.open()
		c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
		denied++
		b.apply(c, plan)
		c.want("", order{Op: "talk", ID: 1})
	}
	dials()
	if g := generation(); g != before {
		t.Errorf("adoption without a change of plan moved the generation from %d to %d", before, g)
	}
	if denied != 4*each+2 {
		t.Errorf("%d of %d connects were refused", denied, 4*each+2)
	}
	found := false
	for _, d := range b.denials(c) {
		if d.PeerPort == 5001 {
			found = true
			if d.Count != 4*each+2 || d.Peer != c.gw4 || d.Process.PID != c.pid {
				t.Errorf("denial after adoption: %+v", d)
			}
		}
	}
	if !found {
		t.Errorf("the denial is not reported: %+v", b.denials(c))
	}
	// A plan change after adoption: what the dead agent installed is gone.
	b.apply(c, egress(v1alpha1.Protect, rule(1, []string{"10.200.1.0/24"}, tcp(5001, 5001))))
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5001"})
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	b.crash()
	must(t, Remove(b.pins))
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.2:80"})
}

func TestRefreshAndManyContainers(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	peers := &fakePeers{}
	plan := &policy.Plan{Network: egress(v1alpha1.Protect, policy.PeerRule{Rule: 1, Workloads: []policy.WorkloadSelector{{Name: "db"}}}), Rules: []event.RuleRef{{}, {Field: "spec.network.egress[0]"}}}
	cov, err := b.fw.apply(t.Context(), c.c, plan, peers)
	must(t, err)
	if len(cov.Unmatched) != 1 || cov.Unmatched[0] != "spec.network.egress[0]" {
		t.Errorf("coverage: %+v", cov)
	}
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	peers.addrs = []netip.Addr{c.gw4}
	must(t, b.fw.refresh(t.Context(), peers))
	c.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	c.want("", order{Op: "open", Net: "tcp", To: "10.200.1.1:5000", ID: 1})
	c.want("", order{Op: "talk", ID: 1})
	// 300 more containers with the same rules: one list is enough for all.
	rules := []policy.PeerRule{{Rule: 1, Workloads: []policy.WorkloadSelector{{Name: "db"}}}}
	for i := range 20 {
		rules = append(rules, rule(2, []string{fmt.Sprintf("10.%d.0.0/16", i)}, tcp(uint16(i), 60000)))
	}
	for i := range uint32(300) {
		id := fmt.Sprintf("many-%d", i)
		b.ids[id] = 1000 + i
		must(t, b.maps.Containers.Update(1000+i, &netContainer{}, 0))
		other := c.c
		other.ID, other.PID, other.CgroupID, other.HostNetwork = id, 0, 0, true
		_, err := b.fw.apply(t.Context(), other, &policy.Plan{Network: egress(v1alpha1.Protect, rules...)}, peers)
		must(t, err)
	}
	if n := len(b.fw.lists); n > 25 {
		t.Errorf("%d lists for 301 containers of two kinds", n)
	}
	start := time.Now()
	peers.addrs = nil
	must(t, b.fw.refresh(t.Context(), peers))
	t.Logf("refresh of 301 containers: %v", time.Since(start))
	c.want("timeout", order{Op: "talk", ID: 1})
	for i := range uint32(300) {
		must(t, b.fw.Forget(fmt.Sprintf("many-%d", i)))
	}
	b.apply(c, nil)
	if len(b.fw.lists) != 0 {
		t.Errorf("%d lists stay", len(b.fw.lists))
	}
	n := 0
	var k netRuleKey
	var v uint64
	for it := b.fw.own.Rules.Iterate(); it.Next(&k, &v); {
		n++
	}
	if n != 0 {
		t.Errorf("%d rules stay", n)
	}
}
