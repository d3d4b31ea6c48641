package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/policy"
)

// fanotify is backend C: it holds the start of a program on a container's root
// until the file was compared with the image. It denies only scripts, which
// the kernel programs do not see; all else goes on to their verdict.
//
// It never opens a file through the watched file system and never starts a
// program, so it cannot wait for itself. When a comparison hangs it gives up
// its descriptor, which lets every waiting program go on to the kernel
// programs' verdict.
type fanotify struct {
	e    *Engine
	file *os.File

	mu      sync.Mutex
	waiting map[int32]time.Time // descriptor of an unanswered event -> since when
	given   bool                // the descriptor was given up
}

// responders answer side by side, so that one large file holds up no other.
const responders = 4

func openFanotify(e *Engine) (*fanotify, error) {
	fd, err := unix.FanotifyInit(
		unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|unix.FAN_UNLIMITED_MARKS,
		unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC|unix.O_NOATIME)
	if err != nil {
		return nil, fmt.Errorf("open fanotify: %w", err)
	}
	return &fanotify{e: e, file: os.NewFile(uintptr(fd), "fanotify"), waiting: map[int32]time.Time{}}, nil
}

// fd is a copy of the descriptor's number that is valid while fn runs.
func (f *fanotify) control(fn func(fd int) error) error {
	raw, err := f.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// mark watches the file system of a process's root.
func (f *fanotify) mark(pid int) error {
	root := "/proc/" + strconv.Itoa(pid) + "/root"
	err := f.control(func(fd int) error {
		return unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, root)
	})
	if err != nil {
		return fmt.Errorf("watch root of process %d: %w", pid, err)
	}
	return nil
}

func (f *fanotify) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.given {
		return nil
	}
	f.given = true
	return f.file.Close()
}

type fanEvent struct {
	fd   int32
	pid  int32
	mask uint64
}

// fanEventSize is that of struct fanotify_event_metadata.
const fanEventSize = 24

// parseFanEvents reads a buffer of events (fanotify(7)); ok is false when it
// is of a version that is not known.
func parseFanEvents(b []byte) (out []fanEvent, ok bool) {
	for len(b) >= fanEventSize {
		size := int(binary.NativeEndian.Uint32(b))
		if size < fanEventSize || size > len(b) || b[4] != unix.FANOTIFY_METADATA_VERSION {
			return out, false
		}
		out = append(out, fanEvent{
			mask: binary.NativeEndian.Uint64(b[8:]),
			fd:   int32(binary.NativeEndian.Uint32(b[16:])),
			pid:  int32(binary.NativeEndian.Uint32(b[20:])),
		})
		b = b[size:]
	}
	return out, true
}

func (f *fanotify) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	events := make(chan fanEvent)
	g.Go(func() error {
		<-ctx.Done()
		return f.close() // ends the reader, and lets waiting programs go on
	})
	g.Go(func() error { return f.watchdog(ctx) })
	for range responders {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case ev := <-events:
					f.answer(ev)
				}
			}
		})
	}
	g.Go(func() error {
		buf := make([]byte, 64*fanEventSize)
		for {
			n, err := f.file.Read(buf)
			if err != nil {
				if ctx.Err() != nil || f.gone() {
					return nil
				}
				return f.giveUp(err)
			}
			evs, ok := parseFanEvents(buf[:n])
			if !ok {
				return f.giveUp(errors.New("events of an unknown version"))
			}
			for _, ev := range evs {
				if ev.fd < 0 {
					continue // queue overflow; unlimited queues have none
				}
				f.mu.Lock()
				f.waiting[ev.fd] = f.e.now()
				f.mu.Unlock()
				select {
				case events <- ev:
				case <-ctx.Done():
					unix.Close(int(ev.fd))
				}
			}
		}
	})
	return g.Wait()
}

// giveUp goes on without backend C: the kernel programs need nobody.
func (f *fanotify) giveUp(why error) error {
	f.e.log.Error("fanotify is given up, scripts are not compared any more", "err", why)
	return f.close()
}

func (f *fanotify) gone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.given
}

// watchdog answers for comparisons that take too long, and gives everything up
// when nothing moves any more.
func (f *fanotify) watchdog(ctx context.Context) error {
	bound := f.e.cfg.FanotifyBound
	t := time.NewTicker(bound / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		oldest, stuck := time.Duration(0), 0
		f.mu.Lock()
		for _, since := range f.waiting {
			if d := f.e.now().Sub(since); d > bound {
				stuck++
				oldest = max(oldest, d)
			}
		}
		f.mu.Unlock()
		if stuck == 0 {
			continue
		}
		f.e.log.Error("comparing files with the image hangs: fanotify is given up, scripts are not compared any more",
			"waiting", stuck, "since", oldest)
		return f.close()
	}
}

// answer decides about one event and lets its program go on or not.
func (f *fanotify) answer(ev fanEvent) {
	file := os.NewFile(uintptr(ev.fd), "event")
	allow, ignore := f.decide(ev, file)
	if ignore {
		f.ignore(file)
	}
	raw := fanAnswer(ev.fd, allow)
	f.mu.Lock()
	delete(f.waiting, ev.fd)
	given := f.given
	f.mu.Unlock()
	if !given {
		if _, err := f.file.Write(raw); err != nil && !errors.Is(err, fs.ErrClosed) && !errors.Is(err, unix.ENOENT) {
			f.e.log.Error("answer fanotify", "err", err)
		}
	}
	file.Close()
}

// fanAnswer is the answer to an event (struct fanotify_response).
func fanAnswer(fd int32, allow bool) []byte {
	word := uint32(unix.FAN_DENY)
	if allow {
		word = unix.FAN_ALLOW
	}
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, uint32(fd)), word)
}

// ignore lets later starts of a file of the image pass until it is written to.
// A chmod makes a copy without the kernel asking again; the kernel programs
// then miss a verdict on the copy and hold the program to have it compared.
func (f *fanotify) ignore(file *os.File) {
	const flags = unix.FAN_MARK_ADD | unix.FAN_MARK_IGNORED_MASK
	err := f.control(func(fd int) error {
		// An evictable mark does not keep the inode in memory (Linux 5.19).
		err := unix.FanotifyMark(fd, flags|unix.FAN_MARK_EVICTABLE, unix.FAN_OPEN_EXEC_PERM, int(file.Fd()), "")
		if errors.Is(err, unix.EINVAL) {
			err = unix.FanotifyMark(fd, flags, unix.FAN_OPEN_EXEC_PERM, int(file.Fd()), "")
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrClosed) {
		f.e.log.Debug("let known file pass", "err", err)
	}
}

// decide compares the file of an event with the image. ignore is true for the
// image's own programs; scripts are looked at every time, because the kernel
// programs do not see them.
func (f *fanotify) decide(ev fanEvent, file *os.File) (allow, ignore bool) {
	m := f.container(int(ev.pid))
	if m == nil || m.layers == nil {
		return true, false
	}
	full := fdPath(file)
	if m.prefix != "" {
		full = strings.TrimPrefix(full, m.prefix)
	}
	verdict, key, own, err := m.layers.verify(full, m.top.dev, f.e.now)
	if err != nil {
		f.e.log.Warn("compare a file with the image; it counts as changed", "container", m.c.ID, "path", full, "err", err)
		verdict = fileChanged
	}
	if own && err == nil {
		f.e.remember(key, verdict)
	}
	var magic [2]byte
	n, rerr := file.ReadAt(magic[:], 0)
	if rerr == nil && n == 2 && string(magic[:]) != "#!" {
		return true, !own && err == nil
	}
	drifted := driftReason(verdict)
	if drifted == 0 || rerr != nil {
		return true, false
	}
	// A script: the kernel programs see its interpreter only.
	proc := m.process()
	if proc == nil || !proc.DenyDrift || m.entry.ExecMode < modeMonitor || exempt(proc.DriftAllow, full) || f.off() {
		return true, false
	}
	p := running{full: full, process: event.Process{PID: int(ev.pid), Exe: full}}
	p.place = place{dev: m.top.dev, path: full}
	procDir := "/proc/" + strconv.Itoa(int(ev.pid))
	p.process.PPID, p.process.UID = parentAndUser(procDir)
	if exe, err := os.Readlink(procDir + "/exe"); err == nil {
		p.process.ParentExe = path.Base(exe)
	}
	if m.entry.ExecMode == modeProtect {
		f.e.countAgent(m, effectBlocked, drifted, proc.DriftRule, p, scriptDetail)
		return false, false
	}
	f.e.countAgent(m, effectWouldBlock, drifted, proc.DriftRule, p, scriptDetail)
	return true, false
}

func (f *fanotify) off() bool {
	s, err := f.e.l.maps.settings()
	return err == nil && s.Off != 0
}

// container finds out who starts the program: by the number that its main
// thread has, or that its cgroup has.
func (f *fanotify) container(pid int) *managed {
	var cid uint32
	if f.e.l.maps.Tasks.Lookup(uint32(pid), &cid) == nil {
		return f.e.findCID(cid)
	}
	id, _, err := cgroupOf(pid)
	if err != nil || f.e.l.maps.Cgroups.Lookup(id, &cid) != nil {
		return nil
	}
	return f.e.findCID(cid)
}

// exempt reports whether an exception takes a file out of drift control.
func exempt(rules []policy.ExecRule, name string) bool {
	for _, r := range rules {
		switch r.Match {
		case policy.MatchFile:
			if r.Path == name {
				return true
			}
		case policy.MatchDir:
			if path.Dir(name) == r.Path {
				return true
			}
		case policy.MatchTree:
			if rest, ok := cutTree(r.Path, name); ok && rest != "" {
				return true
			}
		case policy.MatchNames:
			for _, n := range r.Names {
				if n == path.Base(name) {
					return true
				}
			}
		}
	}
	return false
}
