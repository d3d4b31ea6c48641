package firewall

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// Kinds and types as the kernel programs number them.
const (
	kindEgress  = 2
	kindIngress = 3
	kindSocket  = 4

	mechHook = 1

	recSeen  = 32
	recCause = 33
)

const (
	pollEvery = 200 * time.Millisecond
	tendEvery = 2 * time.Second
)

// cause is a denial that was reported, with what was last said of it.
type cause struct {
	n      uint64
	denial guard.Denial
	told   bool
}

// Run reports what the programs see until ctx ends: denials with their exact
// counts about five times a second, first-seen behaviour as it comes. It also
// looks after interfaces that appear later. The Sink is called from here and
// from Flush, never by two at once.
func (f *Firewall) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { f.reader.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var rec ringbuf.Record
	nextPoll, nextTend := time.Now(), time.Now().Add(tendEvery)
	for ctx.Err() == nil {
		start := time.Now()
		if !start.Before(nextPoll) {
			f.Flush()
			// A full table costs more to read; then look less often, so that
			// a flood of causes cannot turn the agent into a second flood.
			nextPoll = time.Now().Add(max(pollEvery, 10*time.Since(start)))
		}
		if !start.Before(nextTend) {
			f.tend(ctx)
			nextTend = time.Now().Add(tendEvery)
		}
		f.reader.SetDeadline(nextPoll)
		if ctx.Err() != nil {
			break
		}
		err := f.reader.ReadInto(&rec)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, ringbuf.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read network events: %w", err)
		}
		if f.handle(rec.RawSample) {
			nextPoll = time.Now()
		}
	}
	f.Flush()
	return nil
}

// handle takes one record and reports whether it is about a new denial.
func (f *Firewall) handle(raw []byte) bool {
	var r netRecord
	if len(raw) < int(unsafe.Sizeof(r)) {
		return false
	}
	r = *(*netRecord)(unsafe.Pointer(unsafe.SliceData(bytes.Clone(raw[:unsafe.Sizeof(r)]))))
	switch r.Type {
	case recCause:
		return true
	case recSeen:
		f.reporting.Lock()
		defer f.reporting.Unlock()
		who, ok := f.ids[r.Cid]
		if !ok {
			return false
		}
		o := guard.Observation{
			ContainerID: who.id, Kind: event.NetworkConnect, Time: f.wall(r.D.Time), Process: process(&r.D),
			Peer: address(&r.D), PeerPort: r.D.PeerPort, LocalPort: r.D.LocalPort, Protocol: r.D.Proto,
		}
		if r.D.Dir == dirIngress {
			o.Kind = event.NetworkAccept
		}
		f.sink.Observed(o)
	}
	return false
}

// named is what reports call a container and its floor.
type named struct{ id, floor string }

// remember says whose number a container's is, so that reports can name it.
func (f *Firewall) remember(m *managed) {
	who := named{id: m.c.ID, floor: mechTCX}
	if m.floor != nil {
		who.floor = m.floor.mechanism
	}
	f.reporting.Lock()
	defer f.reporting.Unlock()
	f.ids[m.cid] = who
}

// Flush reports every denial whose count has grown since it was last reported.
func (f *Firewall) Flush() {
	f.reporting.Lock()
	defer f.reporting.Unlock()
	if err := f.poll(); err != nil {
		f.log.Error("denials could not be read; they are counted and come later", "err", err)
	}
}

func (f *Firewall) poll() error {
	keys := make([]netCountKey, 256)
	counts := make([]netCount, 256)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := f.maps.Counts.BatchLookup(&cursor, keys, counts, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("read counts: %w", err)
		}
		for i := range n {
			if k := keys[i].Kind; k == kindEgress || k == kindIngress || k == kindSocket {
				f.count(keys[i], counts[i])
			}
		}
		if err != nil {
			break
		}
	}
	return f.losses()
}

// count reports one cause if it grew. Causes of containers that this agent has
// not been told of yet wait.
func (f *Firewall) count(k netCountKey, c netCount) {
	known := f.causes[k]
	if known != nil && known.n == c.N {
		return
	}
	who, ok := f.ids[k.Cid]
	if !ok {
		return
	}
	if known == nil {
		known = &cause{denial: f.denial(k, who.id)}
		known.denial.First = f.wall(c.First)
		f.causes[k] = known
	}
	if !known.told {
		// The program counts first and writes what it was a moment later.
		var d netDetail
		if err := f.own.Details.Lookup(&k, &d); err == nil {
			describe(&known.denial, k, &d, who.floor)
			known.told = true
		}
	}
	known.n = c.N
	known.denial.Count, known.denial.Last = c.N, f.wall(c.Last)
	d := known.denial
	// Rule numbers mean something only with the plan they were counted under.
	var e netContainer
	if err := f.maps.Containers.Lookup(k.Cid, &e); err == nil && e.Plan != k.Plan {
		d.Rule = 0
	}
	f.sink.Denied(d)
}

func (f *Firewall) denial(k netCountKey, id string) guard.Denial {
	d := guard.Denial{
		ID: causeID(f.epoch, k), ContainerID: id, Effect: event.Blocked,
		Reasons: policy.Reason(k.Reasons), Rule: int(k.Rule),
	}
	if k.Effect == 2 {
		d.Effect = event.WouldBlock
	}
	switch k.Kind {
	case kindEgress:
		d.Kind = event.NetworkConnect
	case kindIngress:
		d.Kind = event.NetworkAccept
	default:
		d.Kind = event.NetworkSocket
	}
	return d
}

// causeID is the same for a cause as long as the kernel maps live.
func causeID(epoch uint64, k netCountKey) string {
	b := binary.LittleEndian.AppendUint64(nil, epoch)
	b = binary.LittleEndian.AppendUint32(b, k.Cid)
	b = append(b, k.Kind, k.Effect)
	b = binary.LittleEndian.AppendUint16(b, k.Rule)
	b = binary.LittleEndian.AppendUint32(b, k.Reasons)
	b = binary.LittleEndian.AppendUint32(b, k.Plan)
	b = binary.LittleEndian.AppendUint64(b, k.Object)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}

// describe adds what the first happening of a cause was.
func describe(g *guard.Denial, k netCountKey, d *netDetail, floor string) {
	g.Process = process(d)
	g.Protocol = d.Proto
	switch {
	case d.Mech == mechHook && k.Kind == kindSocket:
		g.Mechanism = "cgroup/socket"
		g.Path = familyName(d.PeerPort)
		return
	case d.Mech == mechHook:
		g.Mechanism = "cgroup/connect"
	default:
		g.Mechanism = floor
	}
	if d.Family == 0 {
		// A frame that is neither IPv4 nor IPv6: the port is its type.
		g.Kind = event.NetworkSocket
		g.Path = fmt.Sprintf("ethertype 0x%04x", d.PeerPort)
		return
	}
	g.Peer, g.PeerPort, g.LocalPort = address(d), d.PeerPort, d.LocalPort
}

func familyName(family uint16) string {
	switch family {
	case unix.AF_PACKET:
		return "AF_PACKET"
	case unix.AF_XDP:
		return "AF_XDP"
	case unix.AF_INET:
		return "AF_INET (raw or unusual protocol)"
	case unix.AF_INET6:
		return "AF_INET6 (raw or unusual protocol)"
	}
	return fmt.Sprintf("address family %d", family)
}

func address(d *netDetail) netip.Addr {
	if d.Family == 4 {
		return netip.AddrFrom4([4]byte(d.Peer[:4]))
	}
	return netip.AddrFrom16(d.Peer)
}

// process names who did it. The kernel gives the program's base name; the full
// path is asked of /proc and taken when it fits, for the process may be gone.
func process(d *netDetail) event.Process {
	p := event.Process{PID: int(d.Pid), PPID: int(d.Ppid), UID: d.Uid, Exe: text(d.Exe[:])}
	if p.PID == 0 {
		return p
	}
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID)); err == nil && path.Base(exe) == p.Exe {
		p.Exe = exe
	}
	if p.Exe == "" {
		p.Exe = text(d.Comm[:])
	}
	return p
}

func text(b []int8) string {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}

// wall turns the kernel's monotonic nanoseconds into a time.
func (f *Firewall) wall(ktime uint64) time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return f.now()
	}
	return f.now().Add(time.Duration(int64(ktime) - ts.Nano())).UTC()
}

// losses reports observations that found no room.
func (f *Firewall) losses() error {
	var cid uint32
	var n uint64
	it := f.own.Lost.Iterate()
	for it.Next(&cid, &n) {
		who, ok := f.ids[cid]
		if !ok || n <= f.lost[cid] {
			continue
		}
		f.sink.Lost(guard.Loss{ContainerID: who.id, Observations: n - f.lost[cid]})
		f.lost[cid] = n
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read losses: %w", err)
	}
	return nil
}

// forgetCounts removes what was counted of a container that has ended.
func (f *Firewall) forgetCounts(cid uint32) error {
	f.reporting.Lock()
	defer f.reporting.Unlock()
	var errs []error
	for k := range f.causes {
		if k.Cid != cid {
			continue
		}
		delete(f.causes, k)
		for _, m := range []*ebpf.Map{f.maps.Counts, f.own.Details} {
			if err := m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				errs = append(errs, fmt.Errorf("forget count: %w", err))
			}
		}
	}
	delete(f.ids, cid)
	delete(f.lost, cid)
	_ = f.own.Lost.Delete(cid)
	return errors.Join(errs...)
}
