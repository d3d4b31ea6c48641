package firewall

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0201C80A:0050 0101C80A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0201C80A:9C41 0101C80A:1388 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0100007F:9C42 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
`

const procTCP6 = `  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000201C80A:0050 0000000000000000FFFF00000101C80A:9C43 01 0
   1: 000000FD000000000000000002000000:1F90 000000FD000000000000000001000000:0035 08 0
`

func TestWhoOpened(t *testing.T) {
	v4, err := parseSockets(strings.NewReader(procTCP))
	must(t, err)
	v6, err := parseSockets(strings.NewReader(procTCP6))
	must(t, err)
	if len(v4) != 4 || len(v6) != 2 {
		t.Fatalf("parsed %d and %d sockets, want 4 and 2", len(v4), len(v6))
	}
	got := map[string]uint8{}
	for k, dir := range openFlows(append(v4, v6...), 7, 6) {
		a := netip.AddrFrom16(k.Raddr)
		if k.Family == 4 {
			a = netip.AddrFrom4([4]byte(k.Raddr[:4]))
		}
		if k.Floor != 7 || k.Proto != 6 {
			t.Errorf("key %+v", k)
		}
		got[netip.AddrPortFrom(a, k.Rport).String()] = dir
	}
	want := map[string]uint8{
		"10.200.1.1:40000": dirIngress, "10.200.1.1:5000": dirEgress, "10.200.1.1:40003": dirIngress,
		"[fd00::1]:53": dirEgress,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: direction %d, want %d (all: %v)", k, got[k], v, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("flows %v, want %v", got, want)
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add(procTCP)
	f.Add(procTCP6)
	f.Fuzz(func(t *testing.T, text string) {
		sockets, err := parseSockets(strings.NewReader(text))
		if err != nil {
			return
		}
		for k := range openFlows(sockets, 1, 6) {
			if k.Family != 4 && k.Family != 6 {
				t.Fatalf("family %d", k.Family)
			}
		}
	})
}

func TestNeighbours(t *testing.T) {
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	n := neighbours(facts.NewNeighbourhood([]workload.Container{
		{Workload: workload.Ref{Namespace: "data", Name: "db"}, Labels: map[string]string{"app": "db"}, Addresses: []netip.Addr{a("10.1.0.1"), a("fd00::1")}},
		{Workload: workload.Ref{Namespace: "data", Name: "cache"}, Labels: map[string]string{"app": "cache"}, Addresses: []netip.Addr{a("10.1.0.2")}},
		{Workload: workload.Ref{Namespace: "shop", Name: "db"}, Addresses: []netip.Addr{a("10.2.0.1")}},
		{Workload: workload.Ref{Namespace: "data", Name: "db"}, HostNetwork: true, Addresses: []netip.Addr{a("192.0.2.1")}},
	}, []netip.Addr{a("192.0.2.1")}))
	for _, tt := range []struct {
		sel  policy.WorkloadSelector
		want int
	}{
		{policy.WorkloadSelector{Namespace: "data", Name: "db"}, 2},
		{policy.WorkloadSelector{Name: "db"}, 3},
		{policy.WorkloadSelector{Name: "c*"}, 1},
		{policy.WorkloadSelector{MatchLabels: map[string]string{"app": "cache"}}, 1},
		{policy.WorkloadSelector{Namespace: "elsewhere"}, 0},
	} {
		if got := n.Addresses(tt.sel); len(got) != tt.want {
			t.Errorf("%+v: %v, want %d addresses", tt.sel, got, tt.want)
		}
	}
	if len(n.NodeAddresses()) != 1 || neighbours(nil) != nil {
		t.Error("node addresses, or a resolver that knows nobody")
	}
}

// State that belongs to other kernel maps is never adopted, and neither are
// maps of another layout.
func TestForeignState(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.apply(c, egress(v1alpha1.Protect))
	b.crash()
	must(t, b.maps.Settings.Update(uint32(0), &netSettings{Layout: 1, Epoch: 42}, ebpf.UpdateAny))
	b.open()
	if len(b.fw.tables) != 0 || len(b.fw.floors) != 0 || b.fw.epoch != 42 {
		t.Errorf("adopted %d tables and %d floors of another epoch", len(b.fw.tables), len(b.fw.floors))
	}
	b.apply(c, egress(v1alpha1.Protect))
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	b.crash()
	pin := filepath.Join(b.pins, "firewall", "net_lost")
	must(t, os.Remove(pin))
	odd, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 16, ValueSize: 16, MaxEntries: 2})
	must(t, err)
	must(t, odd.Pin(pin))
	must(t, odd.Close())
	b.open()
	b.apply(c, egress(v1alpha1.Protect))
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
}

// At the root of all cgroups, where the product attaches: processes that are
// not managed are left alone, the container is not.
func TestAtTheRoot(t *testing.T) {
	b := newBench(t)
	b.open(func(c *Config) { c.CgroupRoot = "" })
	c := b.container()
	b.outside.want("", order{Op: "listen", Net: "tcp", To: ":5000"})
	b.apply(c, egress(v1alpha1.Protect))
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	b.outside.want("", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
	// A process that is moved to another cgroup stays who it is. guard/kernel
	// names all its threads at fork; here the test does.
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(c.pid) + "/task")
	must(t, err)
	for _, th := range threads {
		tid, err := strconv.ParseUint(th.Name(), 10, 32)
		must(t, err)
		must(t, b.maps.Tasks.Update(uint32(tid), uint32(1), ebpf.UpdateAny))
	}
	other := filepath.Join(b.cgroup, "elsewhere")
	must(t, os.Mkdir(other, 0o755))
	must(t, os.WriteFile(filepath.Join(other, "cgroup.procs"), []byte(strconv.Itoa(c.pid)), 0o600))
	c.want("EPERM", order{Op: "dial", Net: "tcp", To: "10.200.1.1:5000"})
}
