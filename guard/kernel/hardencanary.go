package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// The canaries of the hooks of hardening: calls that do no harm when they are
// not refused, from a thread that ends with them.

func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return noError(errno)
}

func bytePtr(s string) (uintptr, *byte) {
	p := append([]byte(s), 0)
	return uintptr(unsafe.Pointer(&p[0])), &p[0]
}

// capableCanary: the capability is asked for before the unknown flag is seen.
func capableCanary() error {
	fd, err := unix.Fsopen("tmpfs", 0x80)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// mountCanary names no type of file system.
func mountCanary() error {
	at, keep := bytePtr("/")
	err := call(unix.SYS_MOUNT, at, at)
	runtime.KeepAlive(keep)
	return err
}

// umountCanary: the root of a process cannot expire.
func umountCanary() error { return unix.Unmount("/", unix.MNT_EXPIRE) }

func pivotCanary() error { return unix.PivotRoot("/", "/") }

// moveCanary moves what is no mount.
func moveCanary() error {
	return unix.MoveMount(unix.AT_FDCWD, "/proc/self/task", unix.AT_FDCWD, "/proc/self/task", 0)
}

// nobody is a program that does not exist.
const nobody = "/proc/self/gabion-canary"

func spawn(file string, attr *syscall.SysProcAttr) error {
	return spawnWith(file, &syscall.ProcAttr{Env: []string{}, Sys: attr})
}

// spawnWith starts a program and waits for its end; EPERM stands for a kill.
func spawnWith(file string, attr *syscall.ProcAttr) error {
	pid, err := syscall.ForkExec(file, []string{file}, attr)
	if err != nil {
		return err
	}
	var status syscall.WaitStatus
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return unix.EPERM
	}
	return err
}

func usernsCanary() error {
	return spawn(nobody, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER})
}

func tracemeCanary() error { return spawn(nobody, &syscall.SysProcAttr{Ptrace: true}) }

func perfCanary() error {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Bits: unix.PerfBitDisabled}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func chrootCanary() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Chroot("/")
}

// moduleCanary asks for a family of sockets that no kernel has any more
// (DECnet), for which the kernel looks for a module.
func moduleCanary() error {
	fd, err := unix.Socket(12, unix.SOCK_STREAM, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// finitCanary offers a file that is no module.
func finitCanary() error {
	fd, err := memFile()
	if err != nil {
		return err
	}
	return errors.Join(unix.FinitModule(fd, "", 0), unix.Close(fd))
}

func initCanary() error { return unix.InitModule(make([]byte, pageSize), "") }

// syslogCanary reads nothing of the log.
func syslogCanary() error {
	_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, nil)
	return err
}

// keyCanary adds a key to the thread's own ring, which ends with it.
func keyCanary() error {
	_, err := unix.AddKey("user", "gabion-canary", []byte("x"), unix.KEY_SPEC_THREAD_KEYRING)
	return err
}

// ptraceCanary reads a byte of the first process's memory where none is.
func ptraceCanary() error {
	var b [1]byte
	_, err := unix.ProcessVMReadv(1, []unix.Iovec{{Base: &b[0], Len: 1}}, []unix.RemoteIovec{{Base: 0, Len: 1}}, 0)
	return err
}

// killCanary sends the agent a signal that the Go runtime expects at any time.
func killCanary() error { return unix.Kill(unix.Getpid(), unix.SIGURG) }

// bpfCanary asks for what there is not.
func bpfCanary() error {
	var attr [16]byte
	err := call(unix.SYS_BPF, 9999, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	runtime.KeepAlive(&attr)
	return err
}

// ownKey mirrors struct own_key.
type ownKey struct{ Kind, ID uint32 }

const (
	ownMap    = 1
	ownProg   = 2
	ownPinDir = 3
)

func mapCanaryOn(maps map[string]*ebpf.Map) error {
	info, err := maps[hardenMapSockets].Info()
	if err != nil {
		return err
	}
	id, ok := info.ID()
	if !ok {
		return errors.New("maps have no numbers here")
	}
	if err := maps[hardenMapOwn].Put(ownKey{ownMap, uint32(id)}, uint32(1)); err != nil {
		return err
	}
	m, err := ebpf.NewMapFromID(id)
	if err == nil {
		err = m.Close()
	}
	return err
}

func progCanaryOn(maps map[string]*ebpf.Map) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "gabion_canary", Type: ebpf.SocketFilter, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return err
	}
	id, ok := info.ID()
	if !ok {
		return errors.New("programs have no numbers here")
	}
	if err := maps[hardenMapOwn].Put(ownKey{ownProg, uint32(id)}, uint32(1)); err != nil {
		return err
	}
	again, err := ebpf.NewProgramFromID(id)
	if err == nil {
		err = again.Close()
	}
	return err
}

// onDetached hands the root of a file system of its own to fn.
func onDetached(fstype string, fn func(dir int) error) error {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	return errors.Join(fn(dir), unix.Close(dir))
}

func onPin(maps map[string]*ebpf.Map, fn func(dir int) error) error {
	return onDetached("bpf", func(dir int) error {
		var st unix.Stat_t
		if err := unix.Fstat(dir, &st); err != nil {
			return err
		}
		if err := maps[hardenMapOwn].Put(ownKey{ownPinDir, uint32(st.Ino)}, uint32(1)); err != nil { //nolint:gosec // compared as 32 bits
			return err
		}
		if err := unix.Symlinkat("x", dir, "a"); err != nil {
			return fmt.Errorf("make canary: %w", err)
		}
		return fn(dir)
	})
}

func unpinCanaryOn(maps map[string]*ebpf.Map) error {
	return onPin(maps, func(dir int) error { return unix.Unlinkat(dir, "a", 0) })
}

func repinCanaryOn(maps map[string]*ebpf.Map) error {
	return onPin(maps, func(dir int) error { return unix.Renameat(dir, "a", dir, "b") })
}

// anonCanary makes a userfaultfd or, where there is none, an io_uring.
func anonCanary() error {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1, 0, 0)
	if errno == unix.ENOSYS || errno == unix.EINVAL {
		var params [120]byte
		fd, _, errno = unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])), 0)
		runtime.KeepAlive(&params)
	}
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

func rawSocketCanary() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// canarySocket is what the trial's map of runtimes' sockets has.
const canarySocket = "gabion-canary.sock"

// unixCanary speaks to a socket of the agent's own with that name.
func unixCanary(datagram bool) func() error {
	return func() error {
		kind := unix.SOCK_STREAM
		if datagram {
			kind = unix.SOCK_DGRAM
		}
		server, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(server)
		at := &unix.SockaddrUnix{Name: fmt.Sprintf("@%d-%d/%s", unix.Getpid(), unix.Gettid(), canarySocket)}
		if err := unix.Bind(server, at); err != nil {
			return fmt.Errorf("make canary: %w", err)
		}
		client, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(client)
		if datagram {
			return unix.Sendto(client, []byte("x"), 0, at)
		}
		if err := unix.Listen(server, 1); err != nil {
			return fmt.Errorf("make canary: %w", err)
		}
		return unix.Connect(client, at)
	}
}

// secretCanary opens the first process's environment.
func secretCanary() error {
	fd, err := unix.Open("/proc/1/environ", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func nodeCanary() error {
	return onDetached("tmpfs", func(dir int) error {
		return unix.Mknodat(dir, "null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	})
}

func onMemFile(fn func(fd int) error) error {
	fd, err := memFile()
	if err != nil {
		return err
	}
	return errors.Join(fn(fd), unix.Close(fd))
}

func setuidCanary() error {
	return onMemFile(func(fd int) error { return unix.Fchmod(fd, 0o4700) })
}

// xattrCanary gives a file capabilities of which there are none.
func xattrCanary() error {
	none := make([]byte, 20)
	none[3] = 2 // VFS_CAP_REVISION_2
	return onMemFile(func(fd int) error { return unix.Fsetxattr(fd, "security.capability", none, 0) })
}

// startCanary starts what is no program, with sockets for its input and
// output, in a table of files of its own.
func startCanary() error {
	fd, err := memFile()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return fmt.Errorf("set a thread apart: %w", err)
	}
	if err := errors.Join(unix.Dup3(sock, 0, unix.O_CLOEXEC), unix.Dup3(sock, 1, unix.O_CLOEXEC)); err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	return tryExec(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// gainCanary has another user start a program of root's with the setuid bit,
// which ends at once.
func gainCanary() error {
	for _, dir := range []string{os.TempDir(), "/run", "/var/lib"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Flags&(unix.ST_NOSUID|unix.ST_NOEXEC|unix.ST_RDONLY) != 0 {
			continue
		}
		return gainIn(dir)
	}
	return errors.New("make canary: no directory to write to permits setuid programs")
}

func gainIn(base string) (err error) {
	dir, err := os.MkdirTemp(base, "gabion-canary")
	if err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "canary")
	if err := os.WriteFile(name, exitELF(), 0o600); err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	// Of this directory others may look up the name alone.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(name, os.ModeSetuid|0o711)); err != nil { //nolint:gosec // removed at once
		return fmt.Errorf("make canary: %w", err)
	}
	return spawn(name, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}})
}

func codeMapCanary() error {
	return anonymous(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, nil)
}

func codeChangeCanary() error {
	return anonymous(unix.PROT_READ|unix.PROT_WRITE, func(at uintptr) error {
		return call(unix.SYS_MPROTECT, at, pageSize, unix.PROT_READ|unix.PROT_EXEC)
	})
}

// anonymous maps memory of no file, and hands it to then.
func anonymous(prot uintptr, then func(uintptr) error) error {
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, pageSize, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		return errno
	}
	var err error
	if then != nil {
		err = then(at)
	}
	return errors.Join(err, call(unix.SYS_MUNMAP, at, pageSize))
}

// startedCanary starts a program on network sockets, which is killed.
func startedCanary() error {
	dir, err := os.MkdirTemp("", "gabion-canary")
	if err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "canary")
	if err := os.WriteFile(name, exitELF(), 0o700); err != nil { //nolint:gosec // executable on purpose
		return fmt.Errorf("make canary: %w", err)
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	s := uintptr(sock) //nolint:gosec // a descriptor
	return spawnWith(name, &syscall.ProcAttr{Env: []string{}, Files: []uintptr{s, s}})
}

// sysctlCanary writes what it has read.
func sysctlCanary() error {
	const name = "/proc/sys/kernel/hostname"
	was, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("make canary: %w", err)
	}
	return os.WriteFile(name, was, 0)
}
