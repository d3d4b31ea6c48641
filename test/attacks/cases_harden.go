package attacks

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// hardening makes the cases of one switch.
func hardening(threat, technique string) func(name string, attack, twin func() error) Case {
	return func(name string, attack, twin func() error) Case {
		return Case{Name: name, Threat: threat, Technique: technique, Policy: "hardening",
			Attack: attack, Twin: twin, Kind: event.Hardening}
	}
}

// reached gives nil when a system call got past its checks: the error that
// only comes behind them counts as success.
func reached(err error, behind ...error) error {
	for _, b := range behind {
		if errors.Is(err, b) {
			return nil
		}
	}
	return err
}

func mountCases() []Case {
	c := hardening("mount, unmount or move file systems", "T1611")
	look := func() error { _, err := os.ReadFile("/proc/self/mountinfo"); return err }
	return []Case{
		c("mount a tmpfs", func() error { return mounted("tmpfs", "/mnt", "tmpfs", 0) }, look),
		c("bind mount", func() error { return mounted("/etc", "/mnt", "", unix.MS_BIND) }, look),
		c("mount proc again", func() error { return mounted("proc", "/mnt", "proc", 0) }, look),
		c("mount cgroups", func() error { return mounted("cgroup2", "/mnt", "cgroup2", 0) }, look),
		c("remount", func() error { return unix.Mount("", "/data", "", unix.MS_REMOUNT, "size=64m") }, look),
		c("change how mounts spread", func() error { return unix.Mount("", "/data", "", unix.MS_SHARED, "") }, look),
		c("unmount", func() error { return unix.Unmount("/spare", unix.MNT_DETACH) }, func() error { var st unix.Statfs_t; return unix.Statfs("/spare", &st) }),
		c("move a mount by the new calls", func() error {
			fd, err := unix.OpenTree(unix.AT_FDCWD, "/etc", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/mnt", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				return err
			}
			return unix.Unmount("/mnt", unix.MNT_DETACH)
		}, look),
		c("make a file system by the new calls", func() error {
			fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(fs)
			if _, _, errno := unix.Syscall6(unix.SYS_FSCONFIG, uintptr(fs), unix.FSCONFIG_CMD_CREATE, 0, 0, 0, 0); errno != 0 {
				return errno
			}
			fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/mnt", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				return err
			}
			return unix.Unmount("/mnt", unix.MNT_DETACH)
		}, look),
	}
}

// mounted mounts and unmounts again.
func mounted(source, target, kind string, flags uintptr) error {
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		return err
	}
	return unix.Unmount(target, unix.MNT_DETACH)
}

func spaceSwitchCases() []Case {
	c := hardening("make or enter namespaces", "T1611")
	fork := of(app)
	unshared := func(flags int) func() error {
		return func() error { return apart(flags, func() error { return nil }) }
	}
	list := []Case{
		c("unshare the user namespace", func() error { return inSpaces(syscall.CLONE_NEWUSER)(app) }, fork),
		c("unshare the mount namespace", unshared(unix.CLONE_NEWNS), fork),
		c("unshare the network namespace", unshared(unix.CLONE_NEWNET), fork),
		c("unshare the host name", unshared(unix.CLONE_NEWUTS), fork),
		c("start in a new pid namespace", func() error { return inSpaces(syscall.CLONE_NEWPID)(app) }, fork),
		c("enter a namespace", func() error {
			return apart(0, func() error {
				fd, err := unix.Open("/proc/1/ns/uts", unix.O_RDONLY, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return unix.Setns(fd, unix.CLONE_NEWUTS)
			})
		}, fork),
		c("chroot at all", func() error { return apart(0, func() error { return unix.Chroot("/usr") }) }, func() error { return os.Chdir("/usr") }),
	}
	return list
}

func deviceCases() []Case {
	c := hardening("reach the node's devices", "T1611")
	made := func(name string, mode uint32, major, minor uint32) error {
		_ = os.Remove(name)
		if err := unix.Mknod(name, mode|0o600, int(unix.Mkdev(major, minor))); err != nil {
			return err
		}
		return os.Remove(name)
	}
	fifo := func() error {
		_ = os.Remove("/data/fifo")
		return unix.Mkfifo("/data/fifo", 0o600)
	}
	return []Case{
		c("make a block device", func() error { return made("/data/disk", unix.S_IFBLK, 7, 0) }, fifo),
		c("make the kernel's memory", func() error { return made("/data/mem", unix.S_IFCHR, 1, 1) }, fifo),
		c("make a device by mknodat", func() error {
			_ = os.Remove("/data/port")
			if err := unix.Mknodat(unix.AT_FDCWD, "/data/port", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 4))); err != nil {
				return err
			}
			return os.Remove("/data/port")
		}, fifo),
	}
}

func socketCases() []Case {
	raw := hardening("forge or read packets", "T1040")
	family := hardening("use a rare socket family", "T1068")
	made := func(family, kind, protocol int) func() error {
		return func() error {
			fd, err := unix.Socket(family, kind, protocol)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}
	}
	udp, local := made(unix.AF_INET, unix.SOCK_DGRAM, 0), made(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	return []Case{
		raw("raw ICMP socket", made(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), udp),
		raw("raw socket of any protocol", made(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW), udp),
		raw("raw IPv6 socket", made(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6), made(unix.AF_INET6, unix.SOCK_DGRAM, 0)),
		raw("packet socket", made(unix.AF_PACKET, unix.SOCK_RAW, 0), udp),
		raw("packet socket, cooked", made(unix.AF_PACKET, unix.SOCK_DGRAM, 0), udp),
		family("AF_ALG", made(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), local),
		family("AF_KEY", made(unix.AF_KEY, unix.SOCK_RAW, 2), local),
		family("netlink to the packet filter", made(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), made(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)),
	}
}

func runtimeCases() []Case {
	c := hardening("speak to the container runtime", "T1611")
	dial := func(path string) func() error {
		return func() error {
			conn, err := net.Dial("unix", path)
			if err != nil {
				return err
			}
			return conn.Close()
		}
	}
	const docker, plain = "/volume/docker.sock", "/volume/plain.sock"
	return []Case{
		c("Docker's socket", dial(docker), dial(plain)),
		c("containerd's socket", dial("/volume/containerd.sock"), dial(plain)),
		c("runtime socket by a symbolic link", func() error { return dial(symlink(docker, "/tmp/s.sock"))() },
			func() error { return dial(symlink(plain, "/tmp/s.sock"))() }),
		c("runtime socket by a hard link", func() error { return dial(hardlink(docker, "/volume/app.sock"))() },
			func() error { return dial(hardlink(plain, "/volume/app.sock"))() }),
		c("runtime socket below /proc/self/root", dial("/proc/self/root"+docker), dial("/proc/self/root"+plain)),
	}
}

func settingsCases() []Case {
	c := hardening("set the kernel up from inside", "T1611")
	own := func() error { return os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0) }
	// What is written is what stands there already: nothing on the node changes.
	same := func(path string) func() error {
		return func() error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, b, 0)
		}
	}
	opened := func(path string) func() error {
		return func() error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}
	}
	return []Case{
		c("core_pattern", same("/proc/sys/kernel/core_pattern"), own),
		c("modprobe's path", opened("/proc/sys/kernel/modprobe"), own),
		c("setting of the container's own network", same("/proc/sys/net/ipv4/ip_forward"), own),
		c("sysrq trigger", opened("/proc/sysrq-trigger"), own),
		c("core_pattern below /proc/self/root", same("/proc/self/root/proc/sys/kernel/core_pattern"), own),
	}
}

// notBuilt is why a kernel cannot be attacked in a way.
const notBuilt = "the kernel is built without it, or the guest has no module for it"

func hardeningCases() []Case {
	var all []Case
	for _, list := range [][]Case{mountCases(), spaceSwitchCases(), traceCases(), kernelCases(), deviceCases(), socketCases(),
		runtimeCases(), settingsCases(), privilegeCases(), codeCases(), shellCases()} {
		all = append(all, list...)
	}
	// What programs at cgroups, and a kill at exec, prevent too.
	seen := map[string]bool{
		"make a block device": true, "make the kernel's memory": true, "make a device by mknodat": true,
		"raw ICMP socket": true, "raw socket of any protocol": true, "raw IPv6 socket": true,
		"setuid program": true, "core_pattern": true, "core_pattern below /proc/self/root": true, "setting of the container's own network": true,
		"reverse shell": true, "bind shell": true, "reverse shell over IPv6": true, "reverse shell under another name": true,
	}
	absent := map[string]string{
		"load a module from memory": notBuilt, "load a module from a file": notBuilt, "load another kernel": notBuilt,
		"AF_ALG": notBuilt, "AF_KEY": notBuilt, "modprobe's path": notBuilt, "sysrq trigger": notBuilt,
	}
	for i := range all {
		switch all[i].Name {
		case "AF_ALG", "AF_KEY", "netlink to the packet filter":
			all[i].lessens(A61, Absent, notBuilt)
			all[i].lessens(A612, Absent, notBuilt)
		}
		switch name := all[i].Name; {
		case absent[name] != "":
			all[i].lessens(Kill, Absent, absent[name])
		case !seen[name]:
			all[i].lessens(Kill, Passed, noRefusal)
		}
	}
	return all
}
