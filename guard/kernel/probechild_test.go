package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deed is something a program in a container does about a switch, and what it
// does much like it that is nobody's business.
type deed struct {
	name         string
	bad, benign  func() error
	killsInstead bool // backend B stops it too
}

func openFile(name string, flags int) func() error {
	return func() error {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func newSocket(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func readMemory(pid int) error {
	var b [1]byte
	_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0, Len: 1}}, 0)
	return err
}

func connectTo(name string) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Connect(fd, &unix.SockaddrUnix{Name: name}), unix.Close(fd))
	}
}

func ringOf() error {
	var params [120]byte
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func byHandle(open bool) func() error {
	return func() error {
		h, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, "/proc/self", 0)
		if errors.Is(err, unix.EOPNOTSUPP) {
			h, mount, err = unix.NameToHandleAt(unix.AT_FDCWD, "/dev/shm", 0)
		}
		_ = mount
		if err != nil || !open {
			return err
		}
		root, err := unix.Open("/dev/shm", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(root)
		fd, err := unix.OpenByHandleAt(root, h, unix.O_PATH)
		if err == nil {
			err = unix.Close(fd)
		}
		return err
	}
}

func chmodTo(mode uint32) func() error {
	return func() error {
		const name = "/tmp/to-chmod"
		if err := openFile(name, unix.O_CREAT|unix.O_WRONLY)(); err != nil {
			return err
		}
		return unix.Fchmodat(unix.AT_FDCWD, name, mode, 0)
	}
}

func makeNode(mode uint32, dev int) func() error {
	return func() error {
		const name = "/tmp/node"
		_ = os.Remove(name)
		return unix.Mknod(name, mode|0o600, dev)
	}
}

// deeds are in the order of the switches.
func deeds() []deed {
	self := os.Getpid()
	return []deed{
		{name: "mount", bad: mountCanary, benign: func() error { return unix.Statfs("/", new(unix.Statfs_t)) }},
		{name: "user-namespaces", bad: usernsCanary, benign: func() error { return spawn(nobody, nil) }},
		{name: "namespaces", bad: func() error { return unix.Unshare(unix.CLONE_NEWUTS) }, benign: func() error { return unix.Unshare(unix.CLONE_FS) }},
		{name: "ptrace", bad: func() error { return readMemory(1) }, benign: func() error { return readMemory(self) }},
		{name: "process-read", bad: openFile("/proc/1/environ", unix.O_RDONLY), benign: func() error {
			return errors.Join(openFile("/proc/self/environ", unix.O_RDONLY)(), openFile("/proc/self/maps", unix.O_RDONLY)(), openFile("/proc/1/status", unix.O_RDONLY)())
		}},
		{name: "bpf", bad: bpfCanary},
		{name: "modules", bad: finitCanary},
		{name: "kexec", bad: func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) }},
		{name: "keys", bad: keyCanary},
		{name: "perf", bad: perfCanary},
		{name: "io-uring", bad: ringOf},
		{name: "userfaultfd", bad: anonCanary, benign: func() error {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			return errors.Join(err, unix.Close(fd))
		}},
		{name: "handle-open", bad: byHandle(true), benign: byHandle(false)},
		{name: "devices", bad: makeNode(unix.S_IFBLK, int(unix.Mkdev(7, 200))), benign: makeNode(unix.S_IFIFO, 0), killsInstead: true},
		{name: "raw-sockets", bad: newSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP), benign: newSocket(unix.AF_INET6, unix.SOCK_DGRAM, 0), killsInstead: true},
		{name: "socket-families", bad: newSocket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), benign: newSocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)},
		{name: "runtime-sockets", bad: connectTo("/tmp/docker.sock"), benign: connectTo("/tmp/other.sock")},
		{name: "kernel-interfaces", bad: sysctlCanary, benign: func() error {
			return os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0)
		}, killsInstead: true},
		{name: "setuid-files", bad: chmodTo(0o4755), benign: chmodTo(0o755)},
		{name: "privilege-gain", bad: asNobody(setuidTool), benign: asNobody("/usr/bin/tool"), killsInstead: true},
		{name: "writable-code", bad: codeChangeCanary, benign: func() error { return anonymous(unix.PROT_READ|unix.PROT_WRITE, nil) }},
		{name: "socket-shell", bad: startedCanary, benign: func() error { return spawn("/usr/bin/tool", nil) }, killsInstead: true},
		{name: "foreign-files", bad: foreign, benign: openFile("/etc", unix.O_RDONLY|unix.O_DIRECTORY)},
		{name: "kernel-log", bad: syslogCanary, benign: func() error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
			return err
		}},
		{name: "chroot", bad: chrootCanary, benign: func() error { return unix.Chdir("/") }},
		{name: "SYS_ADMIN", bad: func() error { return unix.Sethostname([]byte("box")) }, benign: func() error { return unix.Uname(new(unix.Utsname)) }},
	}
}

// setuidTool is a program that makes root of whoever starts it.
const setuidTool = "/usr/bin/setuid"

func asNobody(program string) func() error {
	return func() error {
		who := &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}
		return spawnWith(program, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Credential: who}})
	}
}

// foreign opens what a descriptor from outside the container leads to.
func foreign() error {
	fd, err := unix.Openat(3, "outside", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// probeChild does what its arguments name ("+" in front: the benign twin), and
// says of each how it ended.
func probeChild() int {
	for _, arg := range os.Args[1:] {
		name, benign := strings.CutPrefix(arg, "+")
		for _, d := range deeds() {
			if d.name != name {
				continue
			}
			do := d.bad
			if benign {
				do = d.benign
			}
			ended := make(chan error, 1)
			go func() {
				runtime.LockOSThread() // the thread ends with the goroutine
				ended <- do()
			}()
			switch err := <-ended; {
			case err == nil:
				fmt.Println(arg, "done")
			case errors.Is(err, unix.EPERM):
				fmt.Println(arg, "refused")
			default:
				fmt.Println(arg, "failed", err)
			}
		}
	}
	return 0
}

// withProber adds copies of the test binary to an image, and a setuid program.
func withProber(t testing.TB, image string, names ...string) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(image+setuidTool, exitELF(), 0o755), os.Chmod(image+setuidTool, os.ModeSetuid|0o755)); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		in, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(image+name, os.O_CREATE|os.O_WRONLY, 0o755)
		if err == nil {
			_, err = io.Copy(out, in)
			err = errors.Join(err, out.Close())
		}
		if err = errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// probe runs deeds in a box, and gives how each ended.
func (b *box) probe(prober string, deeds ...string) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	outside := b.dir + "/outside"
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	dir, err := os.Open(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	defer dir.Close()
	cmd := runc(append([]string{"exec", "--preserve-fds", strconv.Itoa(1), "--env", modeEnv + "=probe", b.id, prober}, deeds...)...)
	cmd.ExtraFiles = []*os.File{dir}
	text, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("probe: %v: %s", err, text)
	}
	for line := range strings.Lines(string(text)) {
		name, how, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[name] = how
	}
	for _, d := range deeds {
		if out[d] == "" {
			b.t.Fatalf("probe of %s gave nothing: %s", d, text)
		}
	}
	return out
}
