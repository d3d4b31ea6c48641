package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// child is a process of the attacker's that sleeps until stopped.
func child() (pid int, stop func(), err error) {
	cmd := exec.Command("/bin/sleep", "30")
	cmd.Env = []string{"SECRET=hidden"}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	// Start returns while the kernel is still at it; the program has begun when
	// it sleeps under its name.
	for range 1000 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err == nil && strings.Contains(string(b), "(sleep) S ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return cmd.Process.Pid, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
}

// withChild does something to another process.
func withChild(do func(pid int) error) func() error {
	return func() error {
		pid, stop, err := child()
		if err != nil {
			return err
		}
		defer stop()
		return do(pid)
	}
}

// lockedThread does something in one thread.
func lockedThread(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return do()
}

func traceCases() []Case {
	trace := hardening("reach into another process", "T1055.008")
	read := hardening("read another process's memory or environment", "T1003.007")
	signal := withChild(func(pid int) error { return unix.Kill(pid, 0) })
	self := func() error { _, err := os.ReadFile("/proc/self/environ"); return err }
	// The first process is of the same program: a static one, at its own place.
	const text = 0x400000
	buffer := make([]byte, 8)
	return []Case{
		trace("ptrace attach", withChild(func(pid int) error {
			return lockedThread(func() error {
				if err := unix.PtraceAttach(pid); err != nil {
					return err
				}
				_, err := unix.Wait4(pid, nil, unix.WALL, nil)
				return errors.Join(err, unix.PtraceDetach(pid))
			})
		}), signal),
		trace("ptrace seize", withChild(func(pid int) error {
			return lockedThread(func() error { return unix.PtraceSeize(pid) })
		}), signal),
		trace("child that asks to be traced", func() error {
			return lockedThread(func() error {
				cmd := &exec.Cmd{Path: app, Args: []string{app}, SysProcAttr: &syscall.SysProcAttr{Ptrace: true}}
				if err := cmd.Start(); err != nil {
					return err
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				return nil
			})
		}, of(app)),
		trace("write by process_vm_writev", func() error {
			_, err := unix.ProcessVMWritev(1, []unix.Iovec{iovec(buffer)}, []unix.RemoteIovec{{Base: text, Len: 8}}, 0)
			return reached(err, unix.EFAULT) // it is code, and not writable
		}, signal),
		trace("write to /proc/PID/mem", withChild(func(pid int) error {
			f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return f.Close()
		}), signal),
		trace("take a descriptor by pidfd_getfd", withChild(func(pid int) error {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			got, err := unix.PidfdGetfd(fd, 1, 0)
			if err == nil {
				_ = unix.Close(got)
			}
			return err
		}), signal),
		read("read by process_vm_readv", func() error {
			if _, err := unix.ProcessVMReadv(1, []unix.Iovec{iovec(buffer)}, []unix.RemoteIovec{{Base: text, Len: 8}}, 0); err != nil {
				return err
			}
			if string(buffer[:4]) != "\x7fELF" {
				return fmt.Errorf("read %q", buffer)
			}
			return nil
		}, self),
		read("read /proc/PID/environ", withChild(readOf("environ")), self),
		read("read /proc/PID/maps", withChild(readOf("maps")), func() error { _, err := os.ReadFile("/proc/self/maps"); return err }),
		read("open /proc/PID/mem", withChild(func(pid int) error {
			f, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
			if err != nil {
				return err
			}
			return f.Close()
		}), self),
		read("read the environment of the first process", func() error { return readOf("environ")(1) }, self),
	}
}

func readOf(name string) func(pid int) error {
	return func(pid int) error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err == nil && len(b) == 0 {
			err = errors.New("empty")
		}
		return err
	}
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

func kernelCases() []Case {
	c := hardening("load code into the kernel, or use its sharp tools", "T1014")
	filter := func() error { // classic filters are what ordinary programs use
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		code := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &code[0]})
	}
	uname := func() error { var u unix.Utsname; return unix.Uname(&u) }
	return []Case{
		c("make a bpf map", func() error {
			attr := [32]uint32{2, 4, 4, 1} // BPF_MAP_TYPE_ARRAY, key, value, entries
			fd, _, errno := unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), 32)
			if errno != 0 {
				return errno
			}
			return unix.Close(int(fd))
		}, filter),
		c("load a module from memory", func() error {
			return reached(unix.InitModule(make([]byte, 4096), ""), unix.ENOEXEC)
		}, uname),
		c("load a module from a file", func() error {
			fd, err := unix.Open(app, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return reached(unix.FinitModule(fd, "", 0), unix.ENOEXEC, unix.EINVAL)
		}, uname),
		c("load another kernel", func() error {
			_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0, 0, 0)
			return number(errno)
		}, uname),
		c("add a key to a ring", func() error {
			_, err := unix.AddKey("user", "gabionattack", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}, uname),
		c("sample by perf_event_open", func() error {
			fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK, Size: unix.PERF_ATTR_SIZE_VER0}, 0, -1, -1, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}, func() error { var r unix.Rusage; return unix.Getrusage(unix.RUSAGE_SELF, &r) }),
		c("io_uring", func() error {
			var params [120]byte
			fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
			if errno != 0 {
				return errno
			}
			return unix.Close(int(fd))
		}, func() error {
			fd, err := unix.EpollCreate1(0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}),
		c("userfaultfd", func() error {
			fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, 0, 0, 0)
			if errno != 0 {
				return errno
			}
			return unix.Close(int(fd))
		}, func() error {
			fd, err := unix.Eventfd(0, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}),
		c("read the kernel's log", func() error {
			_, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 512))
			return err
		}, func() error { _, err := os.ReadFile("/proc/uptime"); return err }),
		c("open a file by its handle", func() error { return opensByHandle("/data/handled") }, func() error {
			if err := drop("/data/handled", nil); err != nil {
				return err
			}
			_, err := os.ReadFile("/data/handled")
			return err
		}),
	}
}

func number(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func opensByHandle(path string) error {
	if err := drop(path, []byte("x")); err != nil {
		return err
	}
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		return err
	}
	at, err := unix.Open("/data", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd, err := unix.OpenByHandleAt(at, handle, unix.O_RDONLY)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
