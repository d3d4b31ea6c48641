package minicontainer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// build makes the namespaces of a new container and its root, and adds to p
// what only a process inside the new pid namespace can do.
func build(p *program, req *request) error {
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	if req.Netns == "" {
		flags |= unix.CLONE_NEWNET
	}
	if req.Netns != "" && req.Netns != "host" {
		if err := joinNetns(req.Netns); err != nil {
			return err
		}
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if req.Netns == "" {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(req.Hostname)); err != nil {
		return fmt.Errorf("set host name %s: %w", req.Hostname, err)
	}
	if err := enterRoot(req); err != nil {
		return err
	}
	if err := devices(); err != nil {
		return err
	}
	if err := os.MkdirAll("/sys", 0o555); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := os.MkdirAll("/proc", 0o555); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("make pid namespace: %w", err)
	}
	// What /proc shows is decided by who mounts it.
	p.mount(false, "proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	for _, dir := range []string{"/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"} {
		p.mount(true, dir, dir, "", unix.MS_BIND|unix.MS_REC, "")
		p.mount(true, "", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	for _, file := range []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug"} {
		p.mount(true, "/dev/null", file, "", unix.MS_BIND, "")
	}
	return nil
}

func joinNetns(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("join network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("join network namespace %s: %w", path, err)
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// enterRoot makes the overlay the root of this thread's mount namespace, with
// the mounts that were asked for. The host's tree is gone from the namespace
// afterwards, so paths and links resolve inside the container from there on.
func enterRoot(req *request) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	sources := make([]int, len(req.Mounts))
	for i, m := range req.Mounts {
		if !m.bind() {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("mount %s on %s: open source: %w", m.Source, m.Target, err)
		}
		defer unix.Close(fd)
		sources[i] = fd
	}
	merged := filepath.Join(req.Dir, "merged")
	data, err := overlayData(req)
	if err != nil {
		return err
	}
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mount overlay on %s: %w (its upper directory must be on a file system that overlay can write to)", merged, err)
	}
	if err := unix.Chdir(merged); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter root: pivot: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("enter root: leave the host's: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	for i, m := range req.Mounts {
		if err := m.attach(sources[i]); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.Source, m.Target, err)
		}
	}
	return nil
}

func overlayData(req *request) (string, error) {
	quote := strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace
	lower := make([]string, len(req.Lower))
	for i, l := range req.Lower {
		lower[i] = quote(l)
	}
	data := "lowerdir=" + strings.Join(lower, ":") +
		",upperdir=" + quote(filepath.Join(req.Dir, "upper")) + ",workdir=" + quote(filepath.Join(req.Dir, "work"))
	if len(data) >= os.Getpagesize() {
		return "", fmt.Errorf("mount overlay: the paths of %d layers do not fit in %d bytes; use shorter ones", len(lower), os.Getpagesize())
	}
	return data, nil
}

func (m Mount) bind() bool { return m.Type == "bind" || m.Type == "" }

// attach mounts m at its target below the present root, which is made if
// missing. source is a detached tree for a bind mount.
func (m Mount) attach(source int) error {
	var flags uintptr
	var data []string
	for _, o := range m.Options {
		switch o {
		case "ro":
			flags |= unix.MS_RDONLY
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "rw", "bind", "rbind":
		default:
			data = append(data, o)
		}
	}
	target := filepath.Join("/", m.Target)
	if !m.bind() {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		return unix.Mount(m.Source, target, m.Type, flags, strings.Join(data, ","))
	}
	if len(data) > 0 {
		return fmt.Errorf("unknown option %q of a bind mount", data[0])
	}
	var st unix.Stat_t
	if err := unix.Fstat(source, &st); err != nil {
		return err
	}
	if err := mountPoint(target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	if err := unix.MoveMount(source, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if flags == 0 {
		return nil
	}
	return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
}

func mountPoint(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// devices fills /dev with what programs expect.
func devices() error {
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return fmt.Errorf("make /dev: %w", err)
	}
	for _, m := range []struct {
		source, target string
		flags          uintptr
		data           string
	}{
		{"tmpfs", "/dev", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=755,size=65536k"},
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777,size=256m"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("make /dev: %w", err)
		}
		if err := unix.Mount(m.source, m.target, m.source, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	mask := unix.Umask(0)
	defer unix.Umask(mask)
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{
		{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
	} {
		if err := unix.Mknod("/dev/"+d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	for name, to := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}
