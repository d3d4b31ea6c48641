package firewall

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// openSocket is one line of /proc/PID/net/tcp or udp.
type openSocket struct {
	local, peer netip.AddrPort
	listening   bool
	connected   bool
}

// seed writes the connections that are older than the floor into the flow
// table, with who opened them: a connection to a port that something listens
// on came in, any other went out. They are not judged yet (generation 0), so
// their next packet asks the plan.
func (f *Firewall) seed(fl *floorState, pid int) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	last := uint32(uint64(now.Nano()) >> 30)
	var errs []error
	for proto, names := range map[uint8][]string{unix.IPPROTO_TCP: {"tcp", "tcp6"}, unix.IPPROTO_UDP: {"udp", "udp6"}} {
		var all []openSocket // both families together: a listener on [::] takes IPv4 as well
		for _, name := range names {
			file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, name))
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) { // no IPv6
					errs = append(errs, err)
				}
				continue
			}
			sockets, err := parseSockets(file)
			errs = append(errs, err, file.Close())
			all = append(all, sockets...)
		}
		for k, dir := range openFlows(all, fl.number, proto) {
			v := netFlow{Dir: dir, Last: last}
			if err := f.own.Flows.Update(&k, &v, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
				errs = append(errs, fmt.Errorf("write flow: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// openFlows gives the flow table's keys for connected sockets, and who opened.
func openFlows(sockets []openSocket, floor uint32, proto uint8) map[netFlowKey]uint8 {
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.listening {
			listening[s.local.Port()] = true
		}
	}
	out := map[netFlowKey]uint8{}
	for _, s := range sockets {
		peer, local := s.peer.Addr().Unmap(), s.local.Addr().Unmap()
		if !s.connected || peer.IsLoopback() || peer.IsUnspecified() {
			continue
		}
		k := netFlowKey{Floor: floor, Family: 6, Proto: proto, Lport: s.local.Port(), Rport: s.peer.Port()}
		if peer.Is4() {
			k.Family = 4
		}
		copy(k.Laddr[:], local.AsSlice())
		copy(k.Raddr[:], peer.AsSlice())
		out[k] = dirEgress
		if listening[s.local.Port()] {
			out[k] = dirIngress
		}
	}
	return out
}

// States of a socket in /proc/net; a connected UDP socket is "established".
const (
	stListen = 0x0a
	stClose  = 0x07 // of UDP: bound, not connected
)

// parseSockets reads the table that Linux prints of its sockets
// (net/ipv4/tcp_ipv4.c, get_tcp4_sock). Lines that are none are left out.
func parseSockets(r io.Reader) ([]openSocket, error) {
	var out []openSocket
	s := bufio.NewScanner(r)
	for s.Scan() {
		p := strings.Fields(s.Text())
		if len(p) < 4 {
			continue
		}
		local, ok1 := parseEndpoint(p[1])
		peer, ok2 := parseEndpoint(p[2])
		state, err := strconv.ParseUint(p[3], 16, 8)
		if !ok1 || !ok2 || err != nil {
			continue
		}
		out = append(out, openSocket{
			local: local, peer: peer, listening: state == stListen,
			connected: state != stListen && state != stClose,
		})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read sockets: %w", err)
	}
	return out, nil
}

// parseEndpoint reads "0100007F:1F90": words of the address in the machine's
// byte order (little-endian on every machine we build for), port as a number.
func parseEndpoint(s string) (netip.AddrPort, bool) {
	a, p, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(p, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(a)
	if err != nil || (len(raw) != 4 && len(raw) != 16) {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.LittleEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(port)), true
}
