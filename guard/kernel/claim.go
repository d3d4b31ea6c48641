package kernel

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// claim ties the container's cgroup and its present tasks to its number. A
// cgroup that others share is not claimed: the host must never be enforced.
func (e *Engine) claim(m *managed, r *rootfs) (note string, err error) {
	id, dir, err := cgroupOf(m.c.PID)
	if err != nil {
		return "", err
	}
	if m.c.CgroupID != 0 && m.c.CgroupID != id {
		// The first process moved on; what the runtime made is what counts.
		id, dir = m.c.CgroupID, ""
	}
	if shared, err := sharedCgroup(id); err != nil {
		return "", err
	} else if shared {
		note = "its cgroup is not its own: programs that the runtime starts in it later are covered only when their parent is"
		return note, e.seed(m, r, "")
	}
	m.cgroup = id
	if err := e.l.maps.Cgroups.Put(id, m.cid); err != nil {
		return "", fmt.Errorf("claim cgroup %d: %w", id, err)
	}
	return "", e.seed(m, r, dir)
}

// seed gives the container's number to the threads that run already: those in
// dir (a cgroup) and below, or of its pid namespace when dir is empty. Only
// tasks that stand on the container's root are its own.
func (e *Engine) seed(m *managed, r *rootfs, dir string) error {
	known := map[int]bool{}
	for range 8 { // until no new one appears; what is forked later inherits
		pids, err := processesOf(m.c.PID, dir)
		if err != nil {
			return err
		}
		fresh := 0
		for _, pid := range pids {
			if known[pid] || !r.isRootOf(pid) {
				continue
			}
			known[pid] = true
			fresh++
			threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
			if err != nil {
				continue // ended meanwhile
			}
			for _, t := range threads {
				tid, err := strconv.ParseUint(t.Name(), 10, 32)
				if err != nil {
					continue
				}
				if err := e.l.maps.Tasks.Put(uint32(tid), m.cid); err != nil {
					return fmt.Errorf("claim task %d: %w", tid, err)
				}
			}
			if m.entry.Flags&FlagCallers != 0 {
				if err := e.nameCaller(m, r, pid); err != nil {
					return err
				}
			}
		}
		if fresh == 0 {
			return nil
		}
	}
	return nil
}

// isRootOf reports whether a process stands on this root.
func (r *rootfs) isRootOf(pid int) bool {
	var a, b unix.Stat_t
	return unix.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root"), &a) == nil &&
		unix.Fstat(int(r.dir.Fd()), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// processesOf lists the processes of a cgroup and those below it, or of the
// pid namespace of pid.
func processesOf(pid int, dir string) ([]int, error) {
	var out []int
	if dir == "" {
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGone, err)
		}
		if host, err := os.Readlink("/proc/1/ns/pid"); err != nil || host == want {
			return []int{pid}, nil
		}
		procs, err := os.ReadDir("/proc")
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		for _, p := range procs {
			n, err := strconv.Atoi(p.Name())
			if err != nil {
				continue
			}
			if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n)); err == nil && got == want {
				out = append(out, n)
			}
		}
		return out, nil
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup that is gone has no processes
		}
		text, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr
		}
		for _, w := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(w); err == nil {
				out = append(out, n)
			}
		}
		return nil
	})
	return out, err
}

// cgroupOf gives the id and the directory of a process's cgroup (v2).
func cgroupOf(pid int) (id uint64, dir string, err error) {
	mountPoint, err := cgroupMount()
	if err != nil {
		return 0, "", err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrGone, err)
	}
	for line := range strings.Lines(string(text)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			dir = filepath.Join(mountPoint, p)
			var st unix.Stat_t
			if err := unix.Stat(dir, &st); err != nil {
				return 0, "", fmt.Errorf("find cgroup %s: %w", p, err)
			}
			return st.Ino, dir, nil
		}
	}
	return 0, "", fmt.Errorf("process %d is in no cgroup of version 2", pid)
}

// sharedCgroup reports whether a cgroup is the root, the node's first
// process's, or the agent's own.
func sharedCgroup(id uint64) (bool, error) {
	root, err := cgroupMount()
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return false, fmt.Errorf("find root cgroup: %w", err)
	}
	if id == 0 || id == st.Ino {
		return true, nil
	}
	for _, pid := range []int{1, os.Getpid()} {
		if other, _, err := cgroupOf(pid); err == nil && other == id {
			return true, nil
		}
	}
	return false, nil
}
