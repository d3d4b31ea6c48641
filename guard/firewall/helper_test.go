package firewall

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary is also the process inside a test's container: started with
// this variable it takes orders on its standard input.
const helperEnv = "GABION_FIREWALL_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		runHelper(os.Stdin, os.Stdout)
		return
	}
	if raw := os.Getenv(agentEnv); raw != "" {
		if err := runAgent(raw); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

type order struct {
	Op      string
	Net     string // tcp, udp
	To      string // address and port
	From    string
	N       int
	ID      int
	Mark    string
	Timeout time.Duration
}

type answer struct {
	Err   string // "" or the name of the error: EPERM, timeout, ECONNREFUSED
	N     int
	Bytes []byte
}

type helper struct {
	mu    sync.Mutex
	conns map[int]net.Conn
	got   map[string]*atomic.Int64 // datagrams and connections received, by listener
}

func runHelper(in io.Reader, out io.Writer) {
	h := &helper{conns: map[int]net.Conn{}, got: map[string]*atomic.Int64{}}
	dec, enc := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if err := dec.Decode(&o); err != nil {
			return
		}
		n, err := h.do(o)
		_ = enc.Encode(answer{Err: errorName(err), N: n})
	}
}

func errorName(err error) string {
	var errno syscall.Errno
	var ne net.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

func (h *helper) do(o order) (int, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	switch o.Op {
	case "dial":
		c, err := net.DialTimeout(o.Net, o.To, o.Timeout)
		if err != nil {
			return 0, err
		}
		return 0, c.Close()
	case "dials": // how many of N fail with EPERM
		denied := 0
		for range o.N {
			c, err := net.DialTimeout(o.Net, o.To, o.Timeout)
			if err == nil {
				_ = c.Close()
			} else if errors.Is(err, unix.EPERM) {
				denied++
			}
		}
		return denied, nil
	case "open":
		var d net.Dialer
		if o.From != "" {
			d.LocalAddr, _ = net.ResolveTCPAddr("tcp", o.From)
		}
		d.Timeout = o.Timeout
		if o.Mark == "mptcp" {
			d.SetMultipathTCP(true)
		}
		c, err := d.Dial(o.Net, o.To)
		if err != nil {
			return 0, err
		}
		h.conns[o.ID] = c
		return 0, nil
	case "talk": // one echo over an open connection
		c := h.conns[o.ID]
		_ = c.SetDeadline(time.Now().Add(o.Timeout))
		if _, err := c.Write([]byte("hello")); err != nil {
			return 0, err
		}
		return io.ReadFull(c, make([]byte, 5))
	case "close":
		return 0, h.conns[o.ID].Close()
	case "listen":
		return 0, h.listen(o)
	case "got":
		return int(h.counter(o.Net + o.To).Load()), nil
	case "sendto": // an unconnected socket: the sendmsg hook
		return 0, sendTo(o)
	case "raw":
		return 0, sendRaw(o)
	case "packet":
		return 0, sendPacket(o)
	case "bypass":
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		return 0, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	case "xdp":
		fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		return 0, unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_TX_RING, 64)
	case "socket":
		fd, err := unix.Socket(o.N>>16, o.N>>8&0xff, o.N&0xff)
		if err != nil {
			return 0, err
		}
		return 0, unix.Close(fd)
	case "connects":
		return connects(o)
	case "bulk": // o.N megabytes over an open connection that is echoed or eaten
		c := h.conns[o.ID]
		chunk := make([]byte, 1<<20)
		for range o.N {
			if _, err := c.Write(chunk); err != nil {
				return 0, err
			}
		}
		return 0, nil
	case "sink":
		l, err := net.Listen(o.Net, o.To)
		if err != nil {
			return 0, err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 1<<20))
				}()
			}
		}()
		return 0, nil
	case "cpu": // nanoseconds that this process has used
		var ts unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts)
		return int(ts.Nano()), err
	}
	return 0, fmt.Errorf("unknown order %q", o.Op)
}

// connects makes o.N connections one after the other, with nothing between the
// system calls, and gives the nanoseconds of processor time they took.
func connects(o order) (int, error) {
	to := netip.MustParseAddrPort(o.To)
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before); err != nil {
		return 0, err
	}
	for range o.N {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return 0, err
		}
		if err := unix.Connect(fd, sa); err != nil {
			return 0, err
		}
		// Closed by RST, so that no port stays behind.
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return 0, err
		}
		if err := unix.Close(fd); err != nil {
			return 0, err
		}
	}
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &after); err != nil {
		return 0, err
	}
	return int(after.Nano() - before.Nano()), nil
}

func (h *helper) counter(name string) *atomic.Int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.got[name] == nil {
		h.got[name] = &atomic.Int64{}
	}
	return h.got[name]
}

// listen starts an echo server.
func (h *helper) listen(o order) error {
	n := h.counter(o.Net + o.To)
	if strings.HasPrefix(o.Net, "udp") {
		c, err := net.ListenPacket(o.Net, o.To)
		if err != nil {
			return err
		}
		go func() {
			buf := make([]byte, 65536)
			for {
				k, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				n.Add(1)
				_, _ = c.WriteTo(buf[:k], from)
			}
		}()
		return nil
	}
	l, err := net.Listen(o.Net, o.To)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return nil
}

// sendTo sends o.N (at least one) byte from an unconnected socket and waits
// for the echo.
func sendTo(o order) error {
	c, err := net.ListenPacket(o.Net, ":0")
	if err != nil {
		return err
	}
	defer c.Close()
	to, err := net.ResolveUDPAddr(o.Net, o.To)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(make([]byte, max(o.N, 1)), to); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(o.Timeout))
	_, _, err = c.ReadFrom(make([]byte, 65536))
	return err
}

// udpPacket is an IPv4 packet with a UDP datagram in it.
func udpPacket(from, to netip.AddrPort) []byte {
	b := make([]byte, 20+8+4)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], 12)
	return b
}

// sendRaw sends a datagram past connect and sendmsg, by a raw socket.
func sendRaw(o order) error {
	from, to := netip.MustParseAddrPort(o.From), netip.MustParseAddrPort(o.To)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, udpPacket(from, to), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}

// sendPacket does so by a packet socket; Mark is the peer's link address.
func sendPacket(o order) error {
	from, to := netip.MustParseAddrPort(o.From), netip.MustParseAddrPort(o.To)
	ifc, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(o.Mark)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ethertype := uint16(unix.ETH_P_IP)
	if o.N != 0 {
		ethertype = uint16(o.N)
	}
	frame := append(append([]byte{}, mac...), ifc.HardwareAddr...)
	frame = binary.BigEndian.AppendUint16(frame, ethertype)
	frame = append(frame, udpPacket(from, to)...)
	// What the socket claims to send is ARP: only the frame itself counts.
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: ifc.Index, Halen: 6})
}
