package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

func (e *Engine) started(s startRecord) {
	e.report.mu.Lock()
	defer e.report.mu.Unlock()
	e.sink.Started(guard.Start{PID: int(s.PID), CgroupID: s.Cgroup, Held: s.Held != 0, Time: e.wall(s.Time)})
}

// Release lets a held program go on. One that is not held is no error.
func (e *Engine) Release(pid int) error {
	var h heldValue
	err := e.l.maps.held.Lookup(uint32(pid), &h)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && h.Released != 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release process %d: %w", pid, err)
	}
	// The entry stays until the process ends, so that its next program is not
	// held again while nobody knows what it is.
	h.Released = 1
	if err := e.l.maps.held.Update(uint32(pid), h, ebpf.UpdateExist); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("release process %d: %w", pid, err)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("release process %d: %w", pid, err)
	}
	return nil
}

// NotAContainer ends all holds in a cgroup and lets its programs be from now on.
func (e *Engine) NotAContainer(cgroupID uint64) error {
	// A container that was applied meanwhile keeps its number.
	if err := e.l.maps.Cgroups.Update(cgroupID, uint32(cidNone), ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("set cgroup %d apart: %w", cgroupID, err)
	}
	held, err := e.heldIn(cgroupID)
	if err != nil {
		return fmt.Errorf("set cgroup %d apart: %w", cgroupID, err)
	}
	var errs []error
	for _, pid := range held {
		errs = append(errs, e.Release(pid))
	}
	return errors.Join(errs...)
}

// heldIn lists the programs of a cgroup that are stopped.
func (e *Engine) heldIn(cgroupID uint64) ([]int, error) {
	var out []int
	err := e.eachHeld(func(pid uint32, h heldValue) {
		if h.Cgroup == cgroupID && h.Released == 0 && h.CID == 0 {
			out = append(out, int(pid))
		}
	})
	return out, err
}

func (e *Engine) eachHeld(fn func(uint32, heldValue)) error {
	var pid uint32
	var h heldValue
	it := e.l.maps.held.Iterate()
	for it.Next(&pid, &h) {
		fn(pid, h)
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read held programs: %w", err)
	}
	return nil
}

// expireHeld lets go on what was held for longer than the bound, also by an
// earlier agent.
func (e *Engine) expireHeld() {
	now := monotonic()
	err := e.eachHeld(func(pid uint32, h heldValue) {
		if h.Released != 0 || now-h.Time < uint64(e.cfg.HoldBound) {
			return
		}
		if h.CID != 0 {
			e.judgeVerified(startRecord{PID: pid, CID: h.CID, Time: h.Time}, true)
			return
		}
		e.log.Error("a container's first program was held too long and goes on without a policy of its own",
			"pid", pid, "cgroup", h.Cgroup, "held", time.Duration(now-h.Time))
		if err := e.Release(int(pid)); err != nil {
			e.log.Error("release held program", "pid", pid, "err", err)
		}
	})
	if err != nil {
		e.log.Error("look for programs held too long", "err", err)
	}
}

// judgeHeld gives the verdict on programs that were stopped before their
// container's policy was known: the kernel let them be loaded without one.
func (e *Engine) judgeHeld(m *managed, r *rootfs) {
	proc := m.process()
	if proc == nil || m.entry.ExecMode < modeMonitor || m.cgroup == 0 {
		return
	}
	held, err := e.heldIn(m.cgroup)
	if err != nil {
		e.log.Error("look for held programs", "container", m.c.ID, "err", err)
		return
	}
	for _, pid := range held {
		p, err := e.inspect(m, r, pid)
		if err != nil {
			e.log.Warn("look at held program", "container", m.c.ID, "pid", pid, "err", err)
			continue
		}
		e.pass(m, p)
	}
}

// pass judges a stopped program, and kills it when it is forbidden.
func (e *Engine) pass(m *managed, p running) {
	reasons, rule := evaluate(e.h, m.set, m.entry, p.subject)
	if reasons == 0 {
		return
	}
	effect := uint8(effectWouldBlock)
	if m.entry.ExecMode == modeProtect {
		effect = effectBlocked
		if err := unix.Kill(p.process.PID, unix.SIGKILL); err != nil {
			effect = effectNotBlocked
		}
	}
	e.countAgent(m, effect, reasons, rule, p, 0)
}

// verifiers compare held programs with the image side by side.
const verifiers = 2

func (e *Engine) verifyHeld(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-e.verify:
			e.judgeVerified(s, false)
		}
	}
}

// judgeVerified compares the file of a held program with the image, which the
// kernel programs found changed since it was last compared (a chmod is enough),
// and lets the program go on or not. What cannot be compared counts as changed.
// A program of a container that was not applied yet, by an agent that follows
// another, waits for that unless this is its last chance.
func (e *Engine) judgeVerified(s startRecord, last bool) {
	pid := int(s.PID)
	if !e.takeUp(s.PID) {
		return
	}
	defer e.layDown(s.PID)
	m := e.findCID(s.CID)
	if m == nil && !last {
		return
	}
	if err := e.compareHeld(m, pid); err != nil {
		e.endHeld(m, s, err)
	}
	if err := e.Release(pid); err != nil {
		e.log.Error("release held program", "pid", pid, "err", err)
	}
}

// takeUp reports whether a held process is ours to judge: held still, and not
// being judged.
func (e *Engine) takeUp(pid uint32) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	var h heldValue
	if e.judging[pid] || e.l.maps.held.Lookup(pid, &h) != nil || h.Released != 0 {
		return false
	}
	e.judging[pid] = true
	return true
}

func (e *Engine) layDown(pid uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.judging, pid)
}

func (e *Engine) compareHeld(m *managed, pid int) error {
	if m == nil {
		return ErrUnknownContainer
	}
	r, err := openRoot(pid)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := e.inspect(m, r, pid)
	if err != nil {
		return err
	}
	e.pass(m, p)
	return nil
}

// endHeld deals with a held program that could not be compared: it counts as
// changed.
func (e *Engine) endHeld(m *managed, s startRecord, why error) {
	if m == nil {
		m = &managed{cid: s.CID}
		if e.l.maps.Containers.Lookup(s.CID, &m.entry) != nil {
			return // forgotten: nobody's policy
		}
	}
	effect := uint8(effectWouldBlock)
	if m.entry.ExecMode == modeProtect {
		effect = effectBlocked
		if unix.Kill(int(s.PID), unix.SIGKILL) != nil {
			return // it ended by itself, which is why it could not be looked at
		}
	}
	e.log.Warn("a held program could not be compared with the image and counts as changed", "pid", s.PID, "err", why)
	p := running{process: event.Process{PID: int(s.PID)}}
	e.countAgent(m, effect, policy.ReasonChanged|policy.ReasonUnknown, int(m.entry.DriftRule), p, 0)
}

// judgePending compares what was held before this container was applied.
func (e *Engine) judgePending(m *managed) {
	err := e.eachHeld(func(pid uint32, h heldValue) {
		if h.CID == m.cid && h.Released == 0 {
			e.judgeVerified(startRecord{PID: pid, CID: h.CID, Time: h.Time}, true)
		}
	})
	if err != nil {
		e.log.Error("look for held programs", "container", m.c.ID, "err", err)
	}
}

// settleHeld leaves nothing stopped behind when the engine stops: what waits
// for its container goes on, what waits for a comparison is judged.
func (e *Engine) settleHeld() error {
	return e.eachHeld(func(pid uint32, h heldValue) {
		switch {
		case h.Released != 0:
		case h.CID != 0:
			e.judgeVerified(startRecord{PID: pid, CID: h.CID, Time: h.Time}, true)
		default:
			if err := e.Release(int(pid)); err != nil {
				e.log.Error("release held program", "pid", pid, "err", err)
			}
		}
	})
}

// running is a program that runs, seen through /proc.
type running struct {
	subject
	full    string
	process event.Process
}

// inspect looks at a process of the container.
func (e *Engine) inspect(m *managed, r *rootfs, pid int) (running, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	var p running
	fd, err := unix.Open(proc+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, fmt.Errorf("open program of process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), proc+"/exe")
	defer f.Close()
	id, st, err := r.stat(f)
	if err != nil {
		return p, fmt.Errorf("stat program of process %d: %w", pid, err)
	}
	p.full, p.ino = r.seen(fdPath(f)), st.Ino
	for _, mt := range r.mounts {
		if mt.id == id {
			p.place = r.at(mt, p.full)
		}
	}
	if p.path == "" {
		p.path = p.full
	}
	cmdline, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return p, fmt.Errorf("read arguments of process %d: %w", pid, err)
	}
	p.process = event.Process{PID: pid, Exe: p.full, Args: splitArgs(cmdline)}
	p.process.PPID, p.process.UID = parentAndUser(proc)
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(p.process.PPID) + "/exe"); err == nil {
		p.process.ParentExe = path.Base(exe)
	}
	base := path.Base(p.path)
	if m.set[ruleKey{Kind: ruleObject, A: p.ino, B: uint64(p.dev)}].Has&hasMulti != 0 || isMultiName(base) {
		p.applet = appletOf(base, p.process.Args)
	}
	p.drifted = e.driftOf(m, p, st)
	return p, nil
}

// driftOf is what separates a running program's file from the image's.
func (e *Engine) driftOf(m *managed, p running, st unix.Stat_t) policy.Reason {
	switch {
	case st.Nlink == 0:
		return policy.ReasonFileless
	case p.dev != m.top.dev:
		return policy.ReasonDrift
	case m.layers != nil:
		verdict, key, own, err := m.layers.verify(p.path, m.top.dev, e.now)
		if err != nil {
			return policy.ReasonChanged | policy.ReasonUnknown
		}
		if own {
			e.remember(key, verdict)
		}
		return driftReason(verdict)
	}
	return 0
}

func driftReason(verdict uint32) policy.Reason {
	switch verdict {
	case fileChanged:
		return policy.ReasonChanged
	case fileNew:
		return policy.ReasonDrift
	}
	return 0
}

// remember tells the kernel programs what a file's state is worth.
func (e *Engine) remember(key fileKey, verdict uint32) {
	if err := e.l.maps.files.Put(key, verdict); err != nil {
		e.log.Error("remember verdict on a file; it counts as changed", "err", err)
	}
}

func parentAndUser(proc string) (ppid int, uid uint32) {
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "PPid:":
			ppid, _ = strconv.Atoi(f[1])
		case "Uid:":
			n, _ := strconv.ParseUint(f[1], 10, 32)
			uid = uint32(n)
		}
	}
	return ppid, uid
}

// observeRunning reports the programs that ran before the container was known.
func (e *Engine) observeRunning(m *managed, r *rootfs) {
	dir := ""
	if m.cgroup != 0 {
		if id, d, err := cgroupOf(m.c.PID); err == nil && id == m.cgroup {
			dir = d
		}
	}
	pids, err := processesOf(m.c.PID, dir)
	if err != nil {
		return // gone: nothing runs
	}
	for _, pid := range pids {
		if !r.isRootOf(pid) {
			continue
		}
		p, err := e.inspect(m, r, pid)
		if err != nil {
			continue
		}
		e.observed(guard.Observation{
			ContainerID: m.c.ID, Kind: event.ProcessExec, Time: e.now().UTC(), Process: p.process,
			Path: p.full, Applet: p.applet, InImage: p.drifted == 0,
		})
	}
}

// scriptDetail marks details of a cause that fanotify decided.
const scriptDetail = 2

// countAgent counts one more of a cause that the agent itself judged. Only the
// agent writes these keys, so that reading and writing need no atomic step.
func (e *Engine) countAgent(m *managed, effect uint8, reasons policy.Reason, rule int, p running, mark uint8) {
	key := CountKey{
		CID: m.cid, Kind: kindAgent, Effect: effect, Rule: uint16(rule), Reasons: uint32(reasons), Plan: m.entry.Plan,
		Object: e.h.pair(e.h.place(p.place), e.h.name(p.applet)),
	}
	e.report.mu.Lock()
	defer e.report.mu.Unlock()
	var n Count
	now := monotonic()
	if err := e.l.maps.Counts.Lookup(key, &n); err != nil {
		n.First = now
		d := detailOf(p, mark)
		if err := e.l.maps.details.Put(key, d); err != nil {
			e.log.Warn("keep details of a denial", "err", err)
		}
	}
	n.N++
	n.Last = now
	if err := e.l.maps.Counts.Put(key, n); err != nil {
		e.log.Error("count a denial", "container", m.c.ID, "path", p.full, "err", err)
	}
	e.report.poke()
}

// detailOf writes what is known of a program the way the kernel programs do.
func detailOf(p running, mark uint8) execDetail {
	d := execDetail{
		Time: monotonic(), PID: uint32(p.process.PID), PPID: uint32(p.process.PPID), UID: p.process.UID,
		Dev: p.dev, Nameless: mark,
	}
	copy(d.Parent[:len(d.Parent)-1], p.process.ParentExe)
	if p.applet != "" {
		d.HasApplet = 1
		copy(d.Applet[:len(d.Applet)-1], p.applet)
	}
	d.ArgsLen = uint16(copy(d.Args[:], strings.Join(p.process.Args, "\x00")))
	name := p.path
	if mark == scriptDetail {
		name = p.full
	}
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if int(d.PathLen)+len(parts[i])+1 > pathBuf {
			break
		}
		d.PathLen += uint16(copy(d.Path[d.PathLen:], parts[i]+"\x00"))
	}
	return d
}
