package firewall

import (
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/policy"
)

func TestEgress(t *testing.T) {
	b := newBench(t)
	b.open()
	c := b.container()
	b.address("192.0.2.7/32")
	b.address("2001:db8::7/128")
	for _, l := range []string{":80", ":81", ":8000", ":8005", ":8011"} {
		b.outside.want("", order{Op: "listen", Net: "tcp", To: l})
		b.outside.want("", order{Op: "listen", Net: "udp", To: l})
	}
	cov := b.apply(c, egress(v1alpha1.Protect,
		rule(1, []string{"10.200.0.0/16", "fd00::/16"}, tcp(80, 80), tcp(8000, 8010), udp(8000, 8010)),
		rule(2, []string{"192.0.2.0/24", "2001:db8::/32"}),
		policy.PeerRule{Rule: 3, Deny: true, Prefixes: rule(0, []string{"192.0.2.7/32"}).Prefixes, Ports: []policy.PortRange{tcp(8005, 8005)}},
	))
	if floor := floorHere(t); cov.Mechanism != "cgroup/connect + "+floor || (cov.Degraded != "") != (floor == "clsact") {
		t.Errorf("coverage: %+v", cov)
	}
	in4, in6 := "10.200.1.1:", "[fd00:1::1]:"
	tests := []struct{ net, to, want string }{
		{"tcp", in4 + "80", ""},
		{"tcp", in4 + "81", "EPERM"},
		{"tcp", in4 + "8000", ""},
		{"tcp", in4 + "8005", ""},
		{"tcp", in4 + "8011", "EPERM"},
		{"tcp", in6 + "80", ""},
		{"tcp", in6 + "81", "EPERM"},
		{"tcp", "192.0.2.7:81", ""},
		{"tcp", "192.0.2.7:8005", "EPERM"},
		{"tcp", "[::ffff:192.0.2.7]:8005", "EPERM"},
		{"tcp", "[2001:db8::7]:81", ""},
		{"udp", in4 + "81", "EPERM"},
		{"udp", in4 + "8000", ""},
		{"udp", in6 + "8005", ""},
		{"udp", in6 + "8011", "EPERM"},
	}
	for _, tt := range tests {
		c.want(tt.want, order{Op: "dial", Net: tt.net, To: tt.to})
		if tt.net == "udp" {
			c.want(tt.want, order{Op: "sendto", Net: "udp", To: tt.to})
		}
	}
	// A socket of IPv6 that speaks IPv4.
	c.want("EPERM", order{Op: "sendto", Net: "udp", To: "[::ffff:10.200.1.1]:81"})
	c.want("", order{Op: "listen", Net: "tcp", To: "127.0.0.1:7777"})
	c.want("", order{Op: "dial", Net: "tcp", To: "127.0.0.1:7777"})

	for _, d := range b.denials(c) {
		if d.Effect != event.Blocked || d.Kind != event.NetworkConnect || d.Mechanism != "cgroup/connect" || !d.Peer.IsValid() || d.Process.PID != c.pid {
			t.Errorf("denial: %+v", d)
		}
		wantRule, wantReason := 9, policy.ReasonNotListed
		if d.PeerPort == 8005 {
			wantRule, wantReason = 3, policy.ReasonDenied
		}
		if d.Rule != wantRule || d.Reasons != wantReason {
			t.Errorf("denial of %s:%d: rule %d, reasons %d", d.Peer, d.PeerPort, d.Rule, d.Reasons)
		}
	}
	// The outside world and an unmanaged process are not touched.
	b.outside.want("ECONNREFUSED", order{Op: "dial", Net: "tcp", To: "10.200.1.2:81"})
}
