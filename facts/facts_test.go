package facts

import (
	"net/netip"
	"testing"

	"github.com/gabion-dev/gabion/workload"
)

func TestLookup(t *testing.T) {
	shop := workload.Ref{Namespace: "shop", Name: "web", Kind: "Container"}
	n := NewNeighbourhood([]workload.Container{
		{Workload: shop, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}},
		{Workload: workload.Ref{Name: "host"}, HostNetwork: true, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}, []netip.Addr{netip.MustParseAddr("192.0.2.1")})
	for addr, want := range map[string]bool{"10.0.0.2": true, "::ffff:10.0.0.2": true, "fd00::2": true, "10.0.0.3": false, "192.0.2.1": false} {
		got, ok := n.Lookup(netip.MustParseAddr(addr))
		if ok != want || (ok && got != shop) {
			t.Errorf("Lookup(%s) = %v, %v; want known %v", addr, got, ok, want)
		}
	}
	if n.SameAddresses(NewNeighbourhood(nil, nil)) || !n.SameAddresses(n) {
		t.Error("SameAddresses cannot tell snapshots apart")
	}
}
