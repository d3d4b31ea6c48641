package kernel

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
)

// running is a program that runs, seen through /proc.
type running struct {
	subject
	full    string
	process event.Process
}

// inspect looks at a process of the container, and compares its program with
// the image.
func (e *Engine) inspect(m *managed, r *rootfs, pid int) (running, error) {
	p, st, err := e.lookAt(m, r, pid)
	if err != nil {
		return p, err
	}
	p.drifted = e.driftOf(m, p, st)
	return p, nil
}

// lookAt looks at a process of the container. Who started it is not known.
func (e *Engine) lookAt(m *managed, r *rootfs, pid int) (running, unix.Stat_t, error) {
	proc := "/proc/" + strconv.Itoa(pid)
	var p running
	fd, err := unix.Open(proc+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, unix.Stat_t{}, fmt.Errorf("open program of process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), proc+"/exe")
	defer f.Close()
	id, st, err := r.stat(f)
	if err != nil {
		return p, unix.Stat_t{}, fmt.Errorf("stat program of process %d: %w", pid, err)
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
		return p, unix.Stat_t{}, fmt.Errorf("read arguments of process %d: %w", pid, err)
	}
	p.process = event.Process{PID: pid, Exe: p.full, Args: splitArgs(cmdline)}
	p.process.PPID, p.process.UID = parentAndUser(proc)
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(p.process.PPID) + "/exe"); err == nil {
		p.process.ParentExe = path.Base(exe)
	}
	base := path.Base(p.path)
	if m.set[ruleKey{Kind: ruleObject, A: p.ino, B: uint64(p.dev)}].Has&hasMulti != 0 || isMultiName(base) {
		p.applet, p.args = appletOf(base, p.process.Args)
	}
	if p.applet == "" && len(p.process.Args) > 0 {
		p.args = p.process.Args[1:]
	}
	p.uid, p.caller = p.process.UID, callerUnknown
	if len(m.scripts) > 0 {
		p.script, p.shell = m.scriptBits(pid, p.args)
	}
	return p, st, nil
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
		if err != nil || pid == m.c.PID && waits(p) {
			continue
		}
		e.observed(guard.Observation{
			ContainerID: m.c.ID, Kind: event.ProcessExec, Time: e.now().UTC(), Process: p.process,
			Path: p.full, Applet: p.applet, InImage: p.drifted == 0,
		})
	}
}

// waits reports whether a container's first process is still its runtime's own
// program, which waits for the start. Only what would be told as new about a
// container that began before we looked depends on it, no verdict.
func waits(p running) bool {
	if p.drifted == 0 || len(p.process.Args) < 2 {
		return false
	}
	switch filepath.Base(p.process.Args[0]) {
	case "runc":
		return p.process.Args[1] == "init"
	case "crun":
		return true
	}
	return false
}

// Marks of details that the agent writes.
const (
	scriptDetail = 2 // fanotify decided; the path is the container's
	mappedDetail = 3 // the path is that of a file mapped by the process
)

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
	if mark == mappedDetail {
		copy(d.Applet[:len(d.Applet)-1], path.Base(p.process.Exe))
	}
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
