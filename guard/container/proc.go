package container

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/workload"
)

// ErrGone is returned for a process that has ended.
var ErrGone = errors.New("process has ended")

func procErr(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("read process %d: %w", pid, ErrGone)
	}
	return fmt.Errorf("read process %d: %w", pid, err)
}

// CgroupOf gives the path of a process's cgroup below the root of the
// version-2 hierarchy and its id. The id is 0 when the process is in the root
// group, which never belongs to one container.
func CgroupOf(pid int) (path string, id uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", 0, procErr(pid, err)
	}
	path, _ = cgroupPath(b)
	id, err = cgroupID(path)
	return path, id, err
}

// CgroupID is the id alone; see CgroupOf.
func CgroupID(pid int) (uint64, error) {
	_, id, err := CgroupOf(pid)
	return id, err
}

func cgroupID(path string) (uint64, error) {
	if path == "/" {
		return 0, nil
	}
	root, err := cgroup.Root()
	if err != nil {
		return 0, err
	}
	return cgroup.ID(filepath.Join(root, path))
}

// cgroupByID finds the path of a group by its id, for processes that ended
// before anybody could ask them.
func cgroupByID(id uint64) (string, error) {
	root, err := cgroup.Root()
	if err != nil {
		return "", err
	}
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(dir)
	const kernfs = 0xfe // FILEID_KERNFS, include/linux/exportfs.h
	fd, err := unix.OpenByHandleAt(dir, unix.NewFileHandle(kernfs, binary.NativeEndian.AppendUint64(nil, id)), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: %w", id, err)
	}
	defer unix.Close(fd)
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("find cgroup %d: %w", id, err)
	}
	rel, ok := strings.CutPrefix(full, root)
	if !ok {
		return "", fmt.Errorf("find cgroup %d: %s is not below %s", id, full, root)
	}
	return "/" + strings.TrimPrefix(rel, "/"), nil
}

// Addresses lists the addresses of the network namespace of a process, without
// loopback and link-local ones, sorted.
func Addresses(pid int) ([]netip.Addr, error) {
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, procErr(pid, err)
	}
	defer theirs.Close()
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open own network namespace: %w", err)
	}
	defer own.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter network namespace of process %d: %w", pid, err)
	}
	addrs, err := net.InterfaceAddrs()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and ends with this goroutine, so that no
		// other one runs in the container's network.
		return nil, fmt.Errorf("return to own network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, fmt.Errorf("list addresses of process %d: %w", pid, err)
	}
	var list []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := p.Addr().Unmap(); !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			list = append(list, ip)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), nil
}

// namespace is the link that names a namespace of a process: "pid:[4026531836]".
func namespace(pid int, kind string) (string, error) {
	s, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	if err != nil {
		return "", procErr(pid, err)
	}
	return s, nil
}

// hostNamespace is that of this machine's first process or, where that may not
// be looked at, of this process, which guards the machine from outside its
// containers.
func hostNamespace(kind string) (string, error) {
	s, err := namespace(1, kind)
	if !errors.Is(err, fs.ErrPermission) {
		return s, err
	}
	// Of this thread: the process's first one may be in a container's network
	// at the moment (Addresses).
	s, err = os.Readlink("/proc/thread-self/ns/" + kind)
	if err != nil {
		return "", fmt.Errorf("read own namespace: %w", err)
	}
	return s, nil
}

// hostNetwork reports whether pid shares the network of the machine.
func hostNetwork(pid int) (bool, error) {
	its, err := namespace(pid, "net")
	if err != nil {
		return false, err
	}
	host, err := hostNamespace("net")
	if err != nil {
		return false, err
	}
	return its == host, nil
}

// isolated reports whether pid has pid and mount namespaces other than the
// machine's.
func isolated(pid int) (bool, error) {
	for _, kind := range []string{"pid", "mnt"} {
		its, err := namespace(pid, kind)
		if err != nil {
			return false, err
		}
		host, err := hostNamespace(kind)
		if err != nil {
			return false, err
		}
		if its == host {
			return false, nil
		}
	}
	return true, nil
}

// isInit reports whether pid is the first process of a pid namespace other
// than ours, and how many namespaces deep that is.
func isInit(pid int) (bool, int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false, 0
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			f := bytes.Fields(rest)
			return len(f) > 1 && string(f[len(f)-1]) == "1", len(f) - 1
		}
	}
	return false, 0
}

// startTicks is field 22 of /proc/PID/stat, 0 when the process has ended.
func startTicks(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	i := bytes.LastIndexByte(b, ')') // the name before may hold anything
	if i < 0 {
		return 0
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 || len(f[0]) != 1 || f[0][0] == 'Z' || f[0][0] == 'X' {
		return 0
	}
	n, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return n
}

// startTime is when a process started.
func startTime(pid int) (time.Time, error) {
	ticks := startTicks(pid)
	if ticks == 0 {
		return time.Time{}, fmt.Errorf("read process %d: %w", pid, ErrGone)
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return time.Time{}, fmt.Errorf("read boot time: %w", err)
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			boot, err := strconv.ParseInt(strings.TrimSpace(string(rest)), 10, 64)
			if err != nil {
				return time.Time{}, fmt.Errorf("read boot time: %w", err)
			}
			// A tick is 10 ms on every architecture (USER_HZ).
			return time.Unix(boot, 0).Add(time.Duration(ticks) * 10 * time.Millisecond), nil
		}
	}
	return time.Time{}, errors.New("read boot time: /proc/stat has no btime")
}

// arguments is the command line of a process.
func arguments(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}

// firstProcess is the process a container began with, by any process of it:
// in its group the first process of a pid namespace, or else of all; the
// earliest, because a container may hold others.
func firstProcess(pid int, group string) int {
	if first, depth := isInit(pid); (first && depth == 1) || group == "/" {
		return pid
	}
	root, err := cgroup.Root()
	if err != nil {
		return pid
	}
	pids, err := cgroup.PIDs(filepath.Join(root, group))
	if err != nil {
		return pid
	}
	type process struct {
		pid   int
		first bool
		start uint64
	}
	var best process
	for _, p := range append(pids, pid) {
		q := process{pid: p, start: startTicks(p)}
		if q.start == 0 {
			continue
		}
		q.first, _ = isInit(p)
		if best.start == 0 || q.first && !best.first || q.first == best.first && q.start < best.start {
			best = q
		}
	}
	if best.start == 0 {
		return pid
	}
	return best.pid
}

// fill writes what the kernel knows into c, whose PID is set.
func fill(c *workload.Container) error {
	path, id, err := CgroupOf(c.PID)
	if err != nil {
		return err
	}
	c.CgroupPath, c.CgroupID = path, id
	if t, err := startTime(c.PID); err == nil {
		c.StartedAt = t
	} else {
		return err
	}
	if len(c.Args) == 0 {
		c.Args = arguments(c.PID)
	}
	if c.HostNetwork, err = hostNetwork(c.PID); err != nil {
		return err
	}
	if c.HostNetwork {
		c.Addresses = nil
		return nil
	}
	c.Addresses, err = Addresses(c.PID)
	return err
}
