package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// moved is set in the environment once the root is one that pivot_root takes.
const moved = "GUEST_MOVED"

// move carries all files from the initial root, which pivot_root refuses, to a
// tmpfs, makes that the root, and starts again there.
func move() error {
	const to = "/new"
	if err := unix.Mount("tmpfs", to, "tmpfs", 0, "mode=0755,size=90%"); err != nil {
		return fmt.Errorf("mount new root: %w", err)
	}
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "/" {
			return err
		}
		switch {
		case path == to:
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(to+path, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to+path)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		// Removed here, so that it takes memory once.
		return errors.Join(os.WriteFile(to+path, data, fi.Mode().Perm()), os.Remove(path))
	})
	if err != nil {
		return fmt.Errorf("carry files to the new root: %w", err)
	}
	if err := os.Chdir(to); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("make it the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return err
	}
	return unix.Exec("/init", []string{"/init"}, []string{moved + "=1", "PATH=/usr/bin:/bin:/sbin", "HOME=/root"})
}

// mounts are those that a distribution's init makes.
var mounts = []struct {
	kind, dir, options string
	flags              uintptr
}{
	{"proc", "/proc", "", 0},
	{"sysfs", "/sys", "", 0},
	{"devtmpfs", "/dev", "mode=0755", 0},
	{"devpts", "/dev/pts", "ptmxmode=0666", 0},
	{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	{"tmpfs", "/run", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	{"cgroup2", "/sys/fs/cgroup", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	{"bpf", "/sys/fs/bpf", "mode=0700", 0},
	{"securityfs", "/sys/kernel/security", "", 0},
	{"tracefs", "/sys/kernel/tracing", "", 0},
}

// settle mounts what programs expect and lets containers have controllers.
func settle() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := os.Chmod("/tmp", 0o1777|fs.ModeSticky); err != nil {
		return err
	}
	// Propagation is shared on distributions that run systemd.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	have, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("hand down controller %s: %w", c, err)
		}
	}
	return unix.Sethostname([]byte("guest"))
}
