package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// spaceCases try to leave the policy behind with the container's namespaces
// and groups.
func spaceCases() []Case {
	space := func(name string, trick func(program string) error) Case {
		return Case{Name: name, Threat: "shed the policy in another namespace or group", Technique: "T1611", Policy: "deny",
			Attack: func() error { return trick(denied) }, Twin: func() error { return trick(app) }, Kind: event.ProcessExec}
	}
	core := func(c Case) Case { c.Core = true; return c }
	return []Case{
		core(space("new mount namespace", inSpaces(syscall.CLONE_NEWNS))),
		core(space("new user and mount namespace", inSpaces(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS))),
		space("new pid namespace", inSpaces(syscall.CLONE_NEWPID|syscall.CLONE_NEWNS)),
		space("all namespaces new", inSpaces(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS|syscall.CLONE_NEWPID|syscall.CLONE_NEWNET|syscall.CLONE_NEWUTS|syscall.CLONE_NEWIPC|syscall.CLONE_NEWCGROUP)),
		core(space("container within the container", func(p string) error { return nested(p, true) })),
		space("container within, its root moved to the top", func(p string) error { return nested(p, false) }),
		space("chroot", func(p string) error { return run("/bin/chroot", "/", p) }),
		space("chroot below", func(p string) error { return run("/bin/chroot", "/usr", strings.TrimPrefix(p, "/usr")) }),
		core(space("moved to another cgroup", func(p string) error { return inCgroup(p, false) })),
		space("started in another cgroup", func(p string) error { return inCgroup(p, true) }),
		space("root of the mount namespace detached", func(p string) error {
			return apart(unix.CLONE_NEWNS, func() error {
				fd, err := unix.OpenTree(unix.AT_FDCWD, "/usr/bin", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
				if err != nil {
					return err
				}
				return execveatChild(fd, filepath.Base(p))
			})
		}),
		space("detached tree", func(p string) error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, "/usr/bin", unix.OPEN_TREE_CLONE)
			if err != nil {
				return err
			}
			return execveat(fd, filepath.Base(p), 0)
		}),
		space("namespaces of the first process joined again", func(p string) error {
			return apart(0, func() error {
				fd, err := unix.PidfdOpen(1, 0)
				if err != nil {
					return err
				}
				if err := unix.Setns(fd, unix.CLONE_NEWNS|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC); err != nil {
					return err
				}
				return run(p)
			})
		}),
		space("new session and process group", func(p string) error {
			return ends(&exec.Cmd{Path: p, Args: []string{p}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}})
		}),
		space("child of a process with its own parent gone", func(p string) error {
			return run("/bin/sh", "-c", "(/bin/sh -c '/bin/sleep 0.3; "+p+"' &); /bin/sleep 1.5")
		}),
		space("after two hundred forks", func(p string) error {
			return run("/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do (:); i=$((i+1)); done; "+p)
		}),
		space("twenty generations down", func(p string) error {
			script := p
			return run("/bin/sh", "-c", "f() { if [ $1 -gt 0 ]; then ( f $(($1-1)) ); else "+script+"; fi; }; f 20")
		}),
	}
}

func inSpaces(flags uintptr) func(string) error {
	return func(p string) error {
		attr := &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			attr.UidMappings = []syscall.SysProcIDMap{{Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{Size: 1}}
		}
		return ends(&exec.Cmd{Path: p, Args: []string{p}, SysProcAttr: attr})
	}
}

// nested makes a root of bind mounts and enters it in namespaces of its own.
func nested(p string, pivot bool) error {
	return apart(unix.CLONE_NEWNS|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC, func() error {
		const root = "/mnt"
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount root: %w", err)
		}
		for _, d := range []string{"usr/bin", "old"} {
			if err := os.MkdirAll(root+"/"+d, 0o755); err != nil {
				return err
			}
		}
		if err := unix.Mount("/usr/bin", root+"/usr/bin", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		// Opened before: what the parent needs to start it is not in the new root.
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		if err := os.Chdir(root); err != nil {
			return err
		}
		if pivot {
			if err := unix.PivotRoot(".", "old"); err != nil {
				return fmt.Errorf("pivot_root: %w", err)
			}
			if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount the old root: %w", err)
			}
		} else {
			if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
				return fmt.Errorf("move mount: %w", err)
			}
			if err := unix.Chroot("."); err != nil {
				return err
			}
		}
		if err := unix.Chdir("/"); err != nil {
			return err
		}
		return ends(&exec.Cmd{Path: p, Args: []string{p}, Stdin: null})
	})
}

// inCgroup runs a program in a cgroup that is made beside the container's own;
// with clone, it is born there.
func inCgroup(p string, clone bool) error {
	const root = "/run/cgroup"
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil && err != unix.EBUSY {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	dir := fmt.Sprintf("%s/gabionattacks-%d", root, unix.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.Remove(dir)
	cmd := &exec.Cmd{Path: p, Args: []string{p}}
	if clone {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd())}
		return ends(cmd)
	}
	script := "echo $$ > " + dir + "/cgroup.procs || exit 1; " + p + "; r=$?; echo $$ > " + root + "/cgroup.procs; exit $r"
	return run("/bin/sh", "-c", script)
}

func ptr(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }
