package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/internal/testkit"
)

var (
	gw4, gw6 = netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("fd88:88::1")
	a4, a6   = netip.MustParseAddr("10.88.0.11"), netip.MustParseAddr("fd88:88::11")
	b4, b6   = netip.MustParseAddr("203.0.113.66"), netip.MustParseAddr("2001:db8:66::66")
)

func interfaces(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range all {
		out = append(out, i.Name)
	}
	return out
}

func TestPlacesReachEachOtherAndNothingElse(t *testing.T) {
	testkit.RequireRoot(t)
	defer goleak.VerifyNone(t)
	n, err := New(gw4, gw6)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	a, err := n.Attach("a", a4, a6)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.Attach("b", b4, b6)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := a.Listen("tcp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String())
			c.Close()
		}
	}()
	for _, tc := range []struct {
		from *Place
		src  netip.Addr
		to   string
		want string
	}{
		{b, netip.Addr{}, "10.88.0.11:8080", "203.0.113.66"},
		{b, b6, "[fd88:88::11]:8080", "2001:db8:66::66"},
		{n.Router(), netip.Addr{}, "10.88.0.11:8080", "10.88.0.1"},
		{a, netip.Addr{}, "127.0.0.1:8080", "127.0.0.1"},
	} {
		c, err := tc.from.Dial(ctx, "tcp", tc.to, tc.src)
		if err != nil {
			t.Fatalf("%s to %s: %v", tc.from.Name, tc.to, err)
		}
		got, _ := io.ReadAll(c)
		c.Close()
		if string(got) != tc.want {
			t.Errorf("%s to %s arrived from %q, want %s", tc.from.Name, tc.to, got, tc.want)
		}
	}
	// No way out: the router knows its places and nothing more.
	for _, out := range []string{"192.0.2.1:80", "1.1.1.1:443", "10.88.0.200:80"} {
		start := time.Now()
		if c, err := b.Dial(ctx, "tcp", out, netip.Addr{}); err == nil {
			c.Close()
			t.Errorf("%s is reachable from inside", out)
		}
		t.Logf("%s refused after %s", out, time.Since(start))
	}
	if _, err := b.Dial(ctx, "tcp", "shop:80", netip.Addr{}); err == nil {
		t.Error("a name was accepted")
	}
	if err := n.Detach(a); err != nil {
		t.Fatal(err)
	}
	if err := n.Detach(a); err != nil {
		t.Errorf("second Detach: %v", err)
	}
	if c, err := b.Dial(ctx, "tcp", "10.88.0.11:8080", netip.Addr{}); err == nil {
		c.Close()
		t.Error("a detached place is still reachable")
	}
	l.Close()
	<-served
}

// TestNothingOnTheHost: building and leaving the lab changes nothing in the
// machine's own namespace.
func TestNothingOnTheHost(t *testing.T) {
	testkit.RequireRoot(t)
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(gw4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Attach("a", a4); err != nil {
		t.Fatal(err)
	}
	for _, name := range interfaces(t) {
		if name == "gd1" {
			t.Error("the router's interface is in the machine's namespace")
		}
	}
	if after, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(after) != string(forward) {
		t.Errorf("the machine's ip_forward changed from %q to %q", forward, after)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
