// Package cgroup does to control groups what containers need: find the
// version-2 hierarchy, make, name, freeze, kill and remove a group.
//
// It sets no limits and knows no container runtime. The one idea: everything
// is done to the whole subtree below a group, and on the version-2 hierarchy,
// which exists on unified machines (/sys/fs/cgroup) and on hybrid ones
// (/sys/fs/cgroup/unified) alike, also when no controller lives there; the
// version-1 freezer is used only where the kernel is too old for
// cgroup.freeze.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoV2 is returned where no version-2 hierarchy is mounted.
var ErrNoV2 = errors.New("find cgroup v2: no cgroup2 file system is mounted; mount one: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified")

// Root is the directory where the version-2 hierarchy is mounted.
func Root() (string, error) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if isV2(dir) {
			return dir, nil
		}
	}
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("find cgroup v2: %w", err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if w := strings.Fields(sc.Text()); len(w) > 2 && w[2] == "cgroup2" && isV2(w[1]) {
			return w[1], nil
		}
	}
	return "", ErrNoV2
}

func isV2(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// ID is the kernel's number for the group at dir (absolute, on the version-2
// mount): the one that bpf_get_current_cgroup_id returns inside it.
func ID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("identify cgroup %s: %w", dir, err)
	}
	return st.Ino, nil
}

// PIDs lists the processes in the group at dir and in all groups below it.
// A group that is gone has none.
func PIDs(dir string) ([]int, error) {
	var pids []int
	err := walk(dir, func(d string) error {
		b, err := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		if gone(err) {
			return nil
		}
		if errors.Is(err, syscall.EOPNOTSUPP) { // a threaded group: its processes are listed at its root
			return nil
		}
		if err != nil {
			return err
		}
		for _, w := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list processes of cgroup %s: %w", dir, err)
	}
	return pids, nil
}

// Kill ends every process in and below the group at dir and returns when none
// is left. It is no error when the group is gone. Frozen processes die too.
func Kill(ctx context.Context, dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	byHand := errors.Is(err, fs.ErrNotExist) // before Linux 5.14, or gone
	if err != nil && !byHand && !gone(err) {
		return fmt.Errorf("kill cgroup %s: %w", dir, err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		pids, err := PIDs(dir)
		if err != nil {
			return fmt.Errorf("kill cgroup %s: %w", dir, err)
		}
		if len(pids) == 0 {
			return nil
		}
		if byHand {
			for _, pid := range pids {
				signal(pid, dir)
			}
			// Where there is only the version-1 freezer a frozen process
			// does not see its signal before it is thawed.
			_ = Freeze(ctx, dir, false)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill cgroup %s: %d processes left: %w", dir, len(pids), ctx.Err())
		case <-time.After(wait):
		}
	}
}

// signal kills pid if it still is in the group when a handle on it is held, so
// that a number used again by the kernel is never hit.
func signal(pid int, dir string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		p := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(p) == 3 && (strings.HasSuffix(dir, p[2]) || strings.Contains(p[2], "/"+filepath.Base(dir))) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			return
		}
	}
}

// Freeze stops (on) or resumes all processes in and below the group at dir and
// returns when the kernel says it is done. A process in an uninterruptible
// wait delays it; the context bounds the delay.
func Freeze(ctx context.Context, dir string, on bool) error {
	word := "0"
	if on {
		word = "1"
	}
	err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(word), 0)
	if errors.Is(err, fs.ErrNotExist) && exists(dir) {
		return freezeV1(ctx, dir, on)
	}
	if err != nil {
		return fmt.Errorf("freeze cgroup %s: %w", dir, err)
	}
	return poll(ctx, func() (bool, error) {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err != nil {
			return false, fmt.Errorf("freeze cgroup %s: %w", dir, err)
		}
		return strings.Contains(string(b), "frozen "+word), nil
	})
}

// freezeV1 does it through the version-1 freezer at the same path.
func freezeV1(ctx context.Context, dir string, on bool) error {
	root, err := Root()
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return fmt.Errorf("freeze cgroup %s: %w", dir, err)
	}
	file := filepath.Join("/sys/fs/cgroup/freezer", rel, "freezer.state")
	word := "THAWED"
	if on {
		word = "FROZEN"
	}
	if err := os.WriteFile(file, []byte(word), 0); err != nil {
		return fmt.Errorf("freeze cgroup %s: %w", dir, err)
	}
	return poll(ctx, func() (bool, error) {
		b, err := os.ReadFile(file)
		if err != nil {
			return false, fmt.Errorf("freeze cgroup %s: %w", dir, err)
		}
		return strings.TrimSpace(string(b)) == word, nil
	})
}

// Frozen reports whether the group at dir was asked to freeze.
func Frozen(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze"))
	return err == nil && strings.TrimSpace(string(b)) == "1"
}

// Remove removes the group at dir and all below it, which must hold no process.
// Removing what is gone is no error.
func Remove(ctx context.Context, dir string) error {
	var dirs []string
	err := walk(dir, func(d string) error { dirs = append(dirs, d); return nil })
	if err != nil {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		// A process that was reaped a moment ago may still count for an instant.
		err := poll(ctx, func() (bool, error) {
			err := unix.Rmdir(dirs[i])
			if errors.Is(err, unix.EBUSY) {
				return false, nil
			}
			if gone(err) {
				err = nil
			}
			return true, err
		})
		if err != nil {
			return fmt.Errorf("remove cgroup %s: %w", dirs[i], err)
		}
	}
	return nil
}

func poll(ctx context.Context, done func() (bool, error)) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// walk calls f for dir and every directory below it, parents first. What
// disappears meanwhile is left out.
func walk(dir string, f func(string) error) error {
	if !exists(dir) {
		return nil
	}
	if err := f(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := walk(filepath.Join(dir, e.Name()), f); err != nil {
				return err
			}
		}
	}
	return nil
}

func exists(dir string) bool {
	_, err := os.Stat(dir)
	return err == nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}
