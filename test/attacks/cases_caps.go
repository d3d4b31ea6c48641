package attacks

import (
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

// capabilityCases use a capability that the container has and the policy does
// not grant.
func capabilityCases() []Case {
	use := func(name string, attack, twin func() error) Case {
		return Case{Name: name, Threat: "use a capability that the workload never needed", Technique: "T1548", Policy: "capabilities",
			Attack: attack, Twin: twin, Kind: event.CapabilityUse}
	}
	low := func() error {
		l, err := net.Listen("tcp4", "127.0.0.1:80")
		if err != nil {
			return err
		}
		return l.Close()
	}
	raw := func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	first := use("raw socket by NET_RAW", raw, low)
	first.Core = true
	all := []Case{
		first,
		use("chroot by SYS_CHROOT", func() error { return apart(0, func() error { return unix.Chroot("/usr") }) }, low),
		use("host name by SYS_ADMIN", func() error {
			name, err := os.Hostname()
			if err != nil {
				return err
			}
			return unix.Sethostname([]byte(name))
		}, func() error { _, err := os.Hostname(); return err }),
		use("mount by SYS_ADMIN", func() error { return mounted("tmpfs", "/mnt", "tmpfs", 0) }, low),
		use("device by MKNOD", func() error {
			if err := unix.Mknod(fresh("/data/null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
				return err
			}
			return os.Remove("/data/null")
		}, func() error { return unix.Mkfifo(fresh("/data/pipe"), 0o600) }),
		use("signal another user's process by KILL", func() error {
			cmd := &exec.Cmd{Path: "/bin/sleep", Args: []string{"sleep", "30"}, SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}}
			if err := cmd.Start(); err != nil {
				return err
			}
			err := unix.Kill(cmd.Process.Pid, unix.SIGKILL)
			if err != nil { // then as its own user, so that it does not stay
				_ = run("/bin/su", "-s", "/bin/sh", "nobody", "-c", "kill -9 -1")
			}
			_ = cmd.Wait()
			return err
		}, withChild(func(pid int) error { return unix.Kill(pid, unix.SIGKILL) })),
		use("kernel's log by SYSLOG", func() error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 512))
			return err
		}, low),
		use("interface by NET_ADMIN", func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			r, err := unix.NewIfreq("lo")
			if err != nil {
				return err
			}
			r.SetUint16(unix.IFF_UP)
			return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
		}, func() error { _, err := net.Interfaces(); return err }),
		use("file capabilities by SETFCAP", func() error {
			if err := drop("/usr/bin/capable2", Program()); err != nil {
				return err
			}
			return unix.Setxattr("/usr/bin/capable2", "security.capability", capability(), 0)
		}, low),
		use("raw socket from a user namespace of its own", func() error {
			attr := &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
				UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}},
			}
			return ends(&exec.Cmd{Path: Attacker, Args: []string{Attacker, "raw"}, SysProcAttr: attr})
		}, low),
		use("raw socket by a child", func() error { return run(Attacker, "raw") }, low),
	}
	all[len(all)-1].Starts = 2
	for i := range all {
		if all[i].Name == "kernel's log by SYSLOG" {
			all[i].Denials = Some // old kernels take SYS_ADMIN for it too, and ask for that next
		}
		all[i].lessens(Kill, Passed, noRefusal)
	}
	return all
}
