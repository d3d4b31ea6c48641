package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// errNotCompared: the agent that should have compared a file is gone.
var errNotCompared = errors.New("nobody compared what it mapped")

// judgeMapped compares a file with the image that a stopped process mapped
// code from, and lets the process go on or not. The kernel programs refuse the
// next mapping of a file that was found to be another.
func (e *Engine) judgeMapped(rec mapRecord) {
	if _, ok := e.takeUp(rec.PID); !ok {
		return
	}
	defer e.layDown(rec.PID)
	m := e.findCID(rec.CID)
	if m == nil {
		return // not applied yet: judgePending
	}
	name := joinPath(rec.Path[:rec.PathLen], false)
	reasons, err := e.compareMapped(m, name, rec.Key)
	if err != nil {
		e.log.Warn("a mapped file could not be compared with the image and counts as changed", "container", m.c.ID, "path", name, "err", err)
		reasons = policy.ReasonChanged | policy.ReasonUnknown
	}
	if reasons != 0 {
		e.endMapped(m, int(rec.PID), name, reasons)
	}
	if err := e.Release(int(rec.PID)); err != nil {
		e.log.Error("release held program", "pid", rec.PID, "err", err)
	}
}

func (e *Engine) compareMapped(m *managed, name string, state fileKey) (policy.Reason, error) {
	if m.layers == nil {
		return 0, errors.New("its layers cannot be read")
	}
	verdict, key, own, err := m.layers.verify(name, m.top.dev, e.now)
	switch {
	case err != nil:
		return 0, err
	case !own || key != state:
		return 0, fmt.Errorf("%s is another file by now", name)
	}
	e.remember(key, verdict)
	return driftReason(verdict), nil
}

// endMapped deals with a process that mapped code the image does not have.
func (e *Engine) endMapped(m *managed, pid int, name string, reasons policy.Reason) {
	var p running
	if r, err := openRoot(pid); err == nil {
		if p, err = e.inspect(m, r, pid); err != nil {
			p = running{}
		}
		r.Close()
	}
	p.process.PID = pid
	p.place, p.full, p.applet = place{dev: m.top.dev, path: name}, name, ""
	effect := uint8(effectWouldBlock)
	if m.entry.ExecMode == modeProtect {
		effect = effectBlocked
		if unix.Kill(pid, unix.SIGKILL) != nil {
			effect = effectNotBlocked
		}
	}
	e.countAgent(m, effect, reasons, int(m.entry.DriftRule), p, mappedDetail)
}
