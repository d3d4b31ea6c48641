// Package lab is the network that the re-enactment happens in: places (network
// namespaces) around one router, with no way out to the machine or beyond.
//
// It knows nothing of attacks or services. The one idea: every namespace is
// held by a file descriptor of this process and by nothing else, so that when
// the process ends, however it ends, the kernel takes the whole network away.
// There is no interface, route or name in the machine's own namespace at any
// time, and nothing to clean up after a crash.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Net is one router and the places around it.
type Net struct {
	router *Place

	mu     sync.Mutex
	next   int
	places map[*Place]struct{}
}

// Place is one network namespace. Its interface towards the router is eth0;
// the router itself has one interface per place.
type Place struct {
	Name string
	// Addresses are the place's own addresses, first the preferred one.
	Addresses []netip.Addr

	ns   netns.NsHandle
	link string // the router's interface towards it; empty for the router
}

// New makes the router. gateways are its addresses, one of each family that
// places may have; all places see them as their gateway.
func New(gateways ...netip.Addr) (*Net, error) {
	r, err := newPlace("router", gateways)
	if err != nil {
		return nil, err
	}
	err = r.Do(func() error {
		return set("ipv4/ip_forward", "1", "ipv6/conf/all/forwarding", "1", "ipv6/conf/default/forwarding", "1",
			// Who dials an address that nobody has is told so at once, every time.
			"ipv4/icmp_ratelimit", "0", "ipv6/icmp/ratelimit", "0")
	})
	if err != nil {
		r.ns.Close()
		return nil, err
	}
	return &Net{router: r, places: map[*Place]struct{}{}}, nil
}

// Router is the place in the middle; it stands for the node that probes come from.
func (n *Net) Router() *Place { return n.router }

// Attach makes a place with the given addresses and routes them to it. The
// addresses need not share a subnet: every place is reached through the router.
func (n *Net) Attach(name string, addrs ...netip.Addr) (*Place, error) {
	p, err := newPlace(name, addrs)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.next++
	p.link = fmt.Sprintf("gd%d", n.next)
	n.mu.Unlock()
	if err := n.wire(p); err != nil {
		p.ns.Close()
		return nil, fmt.Errorf("attach %s: %w", name, err)
	}
	n.mu.Lock()
	n.places[p] = struct{}{}
	n.mu.Unlock()
	return p, nil
}

// Detach takes the place off the router. The namespace itself lives on as long
// as something runs in it. Detaching twice is no error.
func (n *Net) Detach(p *Place) error {
	n.mu.Lock()
	_, here := n.places[p]
	delete(n.places, p)
	n.mu.Unlock()
	if !here {
		return nil
	}
	h, err := netlink.NewHandleAt(n.router.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("detach %s: %w", p.Name, err)
	}
	defer h.Close()
	l, err := h.LinkByName(p.link)
	if err == nil {
		err = h.LinkDel(l)
	}
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		err = nil
	}
	err = errors.Join(err, p.ns.Close())
	if err != nil {
		return fmt.Errorf("detach %s: %w", p.Name, err)
	}
	return nil
}

// Close detaches every place and lets the router go.
func (n *Net) Close() error {
	n.mu.Lock()
	var all []*Place
	for p := range n.places {
		all = append(all, p)
	}
	n.mu.Unlock()
	var errs []error
	for _, p := range all {
		errs = append(errs, n.Detach(p))
	}
	if n.router.ns.IsOpen() {
		errs = append(errs, n.router.ns.Close())
	}
	return errors.Join(errs...)
}

func newPlace(name string, addrs []netip.Addr) (*Place, error) {
	p := &Place{Name: name, Addresses: addrs, ns: netns.None()}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make network namespace: %w", err)
		}
		ns, err := netns.Get()
		if err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		p.ns = ns
		// Nobody else can have an address in here: use them without asking
		// around first (RFC 4862, 5.4), link-local ones included.
		return set("ipv6/conf/all/accept_dad", "0", "ipv6/conf/default/accept_dad", "0")
	})
	if err != nil {
		return nil, fmt.Errorf("place %s: %w", name, err)
	}
	if err := p.configure("lo", nil); err != nil {
		p.ns.Close()
		return nil, fmt.Errorf("place %s: %w", name, err)
	}
	return p, nil
}

// set sets sysctls of the network namespace of the calling thread, which is
// what /proc/sys/net shows; pairs are names and values.
func set(pairs ...string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		if err := os.WriteFile("/proc/sys/net/"+pairs[i], []byte(pairs[i+1]), 0); err != nil {
			return fmt.Errorf("set up network namespace: %w", err)
		}
	}
	return nil
}

// wire makes the pair of interfaces between the router and p, addresses and
// routes. Each address is a host route on its own, so no subnet is shared and
// no bridge is needed.
func (n *Net) wire(p *Place) error {
	h, err := netlink.NewHandleAt(n.router.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	veth := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: p.link, MTU: 1500},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(p.ns)),
	}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface: %w", err)
	}
	if err := n.router.configure(p.link, n.router.Addresses); err != nil {
		return err
	}
	if err := p.configure("eth0", p.Addresses); err != nil {
		return err
	}
	link, err := h.LinkByName(p.link)
	if err != nil {
		return err
	}
	for _, a := range p.Addresses {
		if err := h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: host(a), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route %s: %w", a, err)
		}
	}
	return p.useGateways(n.router.Addresses)
}

// configure gives the interface addresses and sets it up.
func (p *Place) configure(name string, addrs []netip.Addr) error {
	h, err := netlink.NewHandleAt(p.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	for _, a := range addrs {
		// NODAD: the address works at once; nobody else can have it here.
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: host(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add %s to %s: %w", a, name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func (p *Place) useGateways(gateways []netip.Addr) error {
	h, err := netlink.NewHandleAt(p.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, g := range gateways {
		own := false
		for _, a := range p.Addresses {
			own = own || a.Is4() == g.Is4()
		}
		if !own {
			continue
		}
		index := link.Attrs().Index
		if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Dst: host(g), Scope: netlink.SCOPE_LINK}); err != nil {
			return fmt.Errorf("route to gateway: %w", err)
		}
		all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
		if g.Is6() {
			all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
		}
		if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Dst: all, Gw: g.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
			return fmt.Errorf("route through gateway: %w", err)
		}
	}
	return nil
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// Path names the namespace for other processes of this machine, as long as
// this process lives and the place is attached.
func (p *Place) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(p.ns)) }

// Do runs f on a thread inside the place. Sockets that f makes stay there.
func (p *Place) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(p.ns); err != nil {
			return fmt.Errorf("enter %s: %w", p.Name, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own that ends with it: a thread that has
// changed its namespace must never serve other goroutines.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Dial connects from the place; address must hold a literal address, there is
// no resolver in here. from, when valid, is the local address.
func (p *Place) Dial(ctx context.Context, network, address string, from netip.Addr) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", p.Name, err)
	}
	err = p.Do(func() error {
		d := net.Dialer{}
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the place.
func (p *Place) Listen(network, address string) (l net.Listener, err error) {
	err = p.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}
