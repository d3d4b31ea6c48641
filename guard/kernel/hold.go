package kernel

import (
	"context"
	"errors"
	"fmt"
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
		var cid uint32
		if e.l.maps.Tasks.Lookup(uint32(p.process.PPID), &cid) != nil {
			p.caller = callerOutside
		}
		e.pass(m, p)
	}
}

// pass judges a stopped program, and kills it when it is forbidden.
func (e *Engine) pass(m *managed, p running) {
	reasons, rule := evaluate(e.h, m.compiled, m.entry, p.subject)
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
		case r := <-e.mapped:
			e.judgeMapped(r)
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
	h, ok := e.takeUp(s.PID)
	if !ok {
		return
	}
	defer e.layDown(s.PID)
	m := e.findCID(s.CID)
	if m == nil && !last {
		return
	}
	if h.Mapped != 0 {
		if !last {
			return // its own record says what it mapped
		}
		e.endHeld(m, s, errNotCompared)
	} else if err := e.compareHeld(m, pid, h.Caller); err != nil {
		e.endHeld(m, s, err)
	}
	if err := e.Release(pid); err != nil {
		e.log.Error("release held program", "pid", pid, "err", err)
	}
}

// takeUp reports whether a held process is ours to judge: held still, and not
// being judged.
func (e *Engine) takeUp(pid uint32) (h heldValue, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.judging[pid] || e.l.maps.held.Lookup(pid, &h) != nil || h.Released != 0 {
		return h, false
	}
	e.judging[pid] = true
	return h, true
}

func (e *Engine) layDown(pid uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.judging, pid)
}

func (e *Engine) compareHeld(m *managed, pid int, caller uint64) error {
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
	p.caller = caller
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
