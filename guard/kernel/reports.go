package kernel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// What decided, as it is written in events.
const (
	mechanismKill     = "raw_tp+kill"
	mechanismFanotify = "fanotify"
)

// pollEvery is how often counts are read; a new cause is read at once.
const pollEvery = 200 * time.Millisecond

// reporter remembers what was told of every cause. One mutex orders all calls
// of the Sink.
type reporter struct {
	mu       *sync.Mutex
	told     map[CountKey]*cause
	lost     map[uint32]uint64 // observations
	overflow map[uint32]uint64
	wake     chan struct{}
	keys     []CountKey // room for reading counts
	counts   []Count
}

type cause struct {
	n      uint64
	denial guard.Denial
	blind  bool // described before the container's mounts were known
}

func newReporter() reporter {
	return reporter{
		mu: new(sync.Mutex), told: map[CountKey]*cause{},
		lost: map[uint32]uint64{}, overflow: map[uint32]uint64{},
		wake: make(chan struct{}, 1),
	}
}

func (r *reporter) forget(cid uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.told {
		if k.CID == cid {
			delete(r.told, k)
		}
	}
	delete(r.lost, cid)
	delete(r.overflow, cid)
}

func (r *reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (e *Engine) poll(ctx context.Context) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		if err := e.Flush(); err != nil {
			e.log.Error("read counts of denials; they are read again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-e.report.wake:
		}
	}
}

// Flush reports every cause whose count has grown since it was last reported,
// and every loss.
func (e *Engine) Flush() error {
	r := &e.report
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.eachCount(e.l.maps.Counts, func(key CountKey, n Count) {
		if !ours(key.Kind) {
			return
		}
		c := r.told[key]
		if c == nil {
			id, ok := e.containerID(key.CID)
			if !ok {
				return // forgotten between the two
			}
			c = &cause{denial: e.describe(id, key), blind: e.findCID(key.CID) == nil}
			r.told[key] = c
		}
		if n.N <= c.n {
			return
		}
		c.n = n.N
		c.denial.Count, c.denial.First, c.denial.Last = n.N, e.wall(n.First), e.wall(n.Last)
		if key.Effect == effectSeen {
			e.seenHardening(c.denial)
			return
		}
		e.sink.Denied(c.denial)
	})
	if err != nil {
		return fmt.Errorf("read counts: %w", err)
	}
	if err := e.l.maps.eachAccount(func(cid uint32, a account) {
		e.lose(cid, r.lost, a.Lost[ringObservations], func(l *guard.Loss, n uint64) { l.Observations = n })
	}); err != nil {
		return err
	}
	var cid uint32
	var n uint64
	it := e.l.maps.Overflow.Iterate()
	for it.Next(&cid, &n) {
		e.lose(cid, r.overflow, n, func(l *guard.Loss, n uint64) { l.Causes = n })
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read losses: %w", err)
	}
	return nil
}

// describeAgain tells once more of causes that an earlier agent left and that
// were told of before the container was known here: only now their paths can be
// said as the container says them.
func (e *Engine) describeAgain(m *managed) {
	r := &e.report
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, c := range r.told {
		if key.CID != m.cid || !c.blind {
			continue
		}
		c.blind = false
		d := e.describe(m.c.ID, key)
		if d.Path == c.denial.Path {
			continue
		}
		d.Count, d.First, d.Last = c.denial.Count, c.denial.First, c.denial.Last
		c.denial = d
		e.sink.Denied(d)
	}
}

// eachCount reads all counts, many at a time.
func (r *reporter) eachCount(m *ebpf.Map, fn func(CountKey, Count)) error {
	if r.keys == nil {
		r.keys, r.counts = make([]CountKey, 512), make([]Count, 512)
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, r.keys, r.counts, nil)
		for i := range n {
			fn(r.keys[i], r.counts[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil // that was all
		case errors.Is(err, unix.ENOSPC) && len(r.keys) < int(m.MaxEntries()):
			// A bucket with more entries than there is room for; begin again.
			r.keys, r.counts = make([]CountKey, 2*len(r.keys)), make([]Count, 2*len(r.counts))
			cursor = ebpf.MapBatchCursor{}
		case err != nil:
			return err
		}
	}
}

func (e *Engine) containerID(cid uint32) (string, bool) {
	if m := e.findCID(cid); m != nil {
		return m.c.ID, true
	}
	var name nameValue
	if e.l.maps.names.Lookup(cid, &name) != nil {
		return "", false
	}
	return cString(name.ID[:]), true
}

// wall turns a time of the kernel's monotonic clock into one of ours.
func (e *Engine) wall(at uint64) time.Time {
	return e.now().Add(-time.Duration(monotonic() - at)).UTC()
}

// describe says what is known of a cause besides its count.
func (e *Engine) describe(containerID string, key CountKey) guard.Denial {
	if isHardening(key.Kind) {
		return e.describeHardening(containerID, key)
	}
	d := guard.Denial{
		ID: denialID(e.epoch, key), ContainerID: containerID, Kind: event.ProcessExec,
		Reasons: policy.Reason(key.Reasons), Rule: int(key.Rule), Mechanism: mechanismKill,
	}
	if key.Kind == kindFile {
		e.describeFile(&d, key)
		return d
	}
	for kind, h := range map[uint8]string{kindRefused: hookExec, kindMap: hookMap} {
		if key.Kind != kind {
			continue
		}
		if v, ok := e.hooks.refuses(setProcess, h); ok {
			d.Mechanism = v.mechanism()
		}
	}
	switch {
	case d.Reasons&policy.ReasonFileless != 0:
		d.Kind = event.ProcessFileless
	case d.Reasons&(policy.ReasonDrift|policy.ReasonChanged) != 0:
		d.Kind = event.ProcessDrift
	}
	switch key.Effect {
	case effectBlocked:
		d.Effect = event.Blocked
	case effectWouldBlock:
		d.Effect = event.WouldBlock
	default:
		d.Effect = event.NotBlocked
	}
	var det execDetail
	if e.l.maps.details.Lookup(key, &det) == nil {
		d.Process, d.Path, d.Applet = e.process(key.CID, &det)
		d.Signals = signalWords(det.Signals)
		if key.Kind == kindMap || key.Kind == kindAgent && det.Nameless == mappedDetail {
			d.Process.Exe = cString(det.Applet[:]) // who maps the file
		}
		if key.Kind == kindAgent && det.Nameless == scriptDetail {
			d.Mechanism = mechanismFanotify
		}
	}
	return d
}

// denialID is stable for a cause as long as the maps live.
func denialID(epoch uint64, key CountKey) string {
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, epoch), key.bytes()...))
	return hex.EncodeToString(sum[:12])
}

// process reads what the kernel wrote about a program start.
func (e *Engine) process(cid uint32, d *execDetail) (p event.Process, file, applet string) {
	file = e.pathOf(cid, d)
	if d.HasApplet != 0 {
		applet = cString(d.Applet[:])
	}
	p = event.Process{
		PID: int(d.PID), PPID: int(d.PPID), UID: d.UID, Exe: file,
		ParentExe: cString(d.Parent[:]), Args: splitArgs(d.Args[:min(int(d.ArgsLen), argsBuf)]),
	}
	return p, file, applet
}

func splitArgs(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	parts := strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	for i, s := range parts {
		parts[i] = strings.ToValidUTF8(s, "\uFFFD")
	}
	return parts
}

// joinPath turns components, leaf first and each ended by NUL, into a path.
func joinPath(b []byte, cut bool) string {
	var parts []string
	for len(b) > 0 {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			break
		}
		parts = append(parts, strings.ToValidUTF8(string(b[:i]), "\uFFFD"))
		b = b[i+1:]
	}
	var out strings.Builder
	if cut {
		out.WriteString("/...")
	}
	for i := len(parts) - 1; i >= 0; i-- {
		out.WriteByte('/')
		out.WriteString(parts[i])
	}
	return out.String()
}

// pathOf is the path as the container would write it.
func (e *Engine) pathOf(cid uint32, d *execDetail) string {
	n := min(int(d.PathLen), pathBuf)
	p := joinPath(d.Path[:n], d.TooDeep != 0 || n > pathBuf-256)
	if d.Nameless == scriptDetail {
		return p
	}
	if d.Nameless != 0 && strings.Count(p, "/") == 1 && strings.HasPrefix(p, "/memfd:") {
		return strings.TrimPrefix(p, "/")
	}
	m := e.findCID(cid)
	if m == nil {
		return p
	}
	at := place{dev: d.Dev, path: p, atRoot: d.Dev == m.top.dev}
	known := d.Dev == m.top.dev
	for _, mt := range m.mounts {
		known = known || mt.dev == d.Dev
	}
	mounts := m.mounts
	if !known {
		// Mounted since the policy was applied.
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(m.c.PID) + "/mountinfo"); err == nil {
			mounts = parseMounts(string(text))
		}
	}
	return path.Clean(showPlace(mounts, m.top, at))
}
