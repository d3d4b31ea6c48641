package attacks

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func privilegeCases() []Case {
	files := hardening("leave a way back to privileges in a file", "T1548.001")
	gain := hardening("gain privileges by starting a program", "T1548.001")
	plain := func() error {
		if err := drop("/data/plain", Program()); err != nil {
			return err
		}
		return os.Chmod("/data/plain", 0o750)
	}
	bit := func(mode uint32) func() error {
		return func() error {
			if err := drop("/data/bit", Program()); err != nil {
				return err
			}
			return unix.Chmod("/data/bit", mode)
		}
	}
	return []Case{
		files("setuid bit", bit(0o4755), plain),
		files("setgid bit", bit(0o2755), plain),
		files("setuid bit through a descriptor", func() error {
			if err := drop("/data/bit", Program()); err != nil {
				return err
			}
			fd, err := unix.Open("/data/bit", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Fchmod(fd, 0o4755)
		}, plain),
		files("file made with the setuid bit", func() error {
			_ = os.Remove("/data/born")
			fd, err := unix.Open("/data/born", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o4755)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return err
			}
			if st.Mode&unix.S_ISUID == 0 {
				return errors.New("the bit is not there")
			}
			return nil
		}, plain),
		files("file capabilities", func() error {
			if err := drop("/usr/bin/capable", Program()); err != nil {
				return err
			}
			return unix.Setxattr("/usr/bin/capable", "security.capability", capability(), 0)
		}, plain),
		gain("setuid program", func() error { return asNobody("/usr/bin/setuid") }, func() error { return asNobody(app) }),
	}
}

// capability is VFS_CAP_REVISION_2 with NET_RAW permitted and effective.
func capability() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

func codeCases() []Case {
	c := hardening("make code in memory", "T1620")
	const size = 4096
	readable := func() error {
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		copy(b, returning())
		return unix.Mprotect(b, unix.PROT_READ)
	}
	made := func(prot, later int) func() error {
		return func() error {
			b, err := unix.Mmap(-1, 0, size, prot, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			copy(b, returning())
			if later != 0 {
				if err := unix.Mprotect(b, later); err != nil {
					return err
				}
			}
			call(uintptr(unsafe.Pointer(&b[0])))
			return nil
		}
	}
	const rw, rx, rwx = unix.PROT_READ | unix.PROT_WRITE, unix.PROT_READ | unix.PROT_EXEC, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC
	return []Case{
		c("writable memory made code", made(rw, rx), readable),
		c("memory writable and code at once", made(rwx, 0), readable),
		c("memory made writable and code at once", made(rw, rwx), readable),
		c("page of an image library written, then made code", func() error {
			fd, err := unix.Open("/usr/lib/code", unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			b, err := unix.Mmap(fd, 0, size, rw, unix.MAP_PRIVATE)
			if err != nil {
				return err
			}
			copy(b, returning())
			if err := unix.Mprotect(b, rx); err != nil {
				return err
			}
			call(uintptr(unsafe.Pointer(&b[0])))
			return nil
		}, readable),
		c("shared memory with two faces", func() error {
			fd, err := unix.MemfdCreate("faces", 0)
			if err != nil {
				return err
			}
			if err := unix.Ftruncate(fd, size); err != nil {
				return err
			}
			w, err := unix.Mmap(fd, 0, size, rw, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			x, err := unix.Mmap(fd, 0, size, rx, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			copy(w, returning())
			call(uintptr(unsafe.Pointer(&x[0])))
			return nil
		}, readable),
		c("stack made code", func() error {
			var page [3 * size]byte
			at := (uintptr(unsafe.Pointer(&page[0])) + size - 1) &^ (size - 1)
			off := at - uintptr(unsafe.Pointer(&page[0]))
			copy(page[off:], returning())
			if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, at, size, rwx); errno != 0 {
				return errno
			}
			call(at)
			runtime.KeepAlive(&page)
			return nil
		}, readable),
	}
}

func shellCases() []Case {
	c := hardening("shell whose input and output are a connection", "T1059.004")
	pipe := of("/bin/sh", "-c", "echo effect")
	return []Case{
		c("reverse shell", func() error { return socketShell("tcp4", "127.0.0.1:0", true, "/bin/sh") }, pipe),
		c("bind shell", func() error { return socketShell("tcp4", "127.0.0.1:0", false, "/bin/sh") }, pipe),
		c("reverse shell over IPv6", func() error { return socketShell("tcp6", "[::1]:0", true, "/bin/sh") }, pipe),
		c("reverse shell under another name", func() error { return socketShell("tcp4", "127.0.0.1:0", true, symlink("/bin/sh", "/tmp/worker")) }, pipe),
	}
}

// socketShell starts a shell on one end of a connection and tells it at the
// other what to say.
func socketShell(network, addr string, dial bool, shell string) error {
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	defer l.Close()
	near, err := net.Dial(network, l.Addr().String())
	if err != nil {
		return err
	}
	far, err := l.Accept()
	if err != nil {
		return err
	}
	victim, boss := near, far
	if !dial {
		victim, boss = far, near
	}
	defer boss.Close()
	f, err := victim.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	// The descriptor's own blocking mode: a shell expects to wait.
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: shell, Args: []string{"sh"}, Stdin: f, Stdout: f, Stderr: f}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	// From here only the shell holds its end: when it dies, the other end hears.
	if err := errors.Join(f.Close(), victim.Close()); err != nil {
		return err
	}
	if _, err := boss.Write([]byte("echo ef''fect; exit\n")); err != nil {
		return err
	}
	said := make([]byte, 64)
	if err := boss.SetReadDeadline(deadline()); err != nil {
		return err
	}
	n, err := boss.Read(said)
	if hasEffect(said[:n]) {
		return nil
	}
	return fmt.Errorf("the shell said %s: %w", strconv.Quote(string(said[:n])), err)
}

// deadline bounds a wait for a word over a connection.
func deadline() time.Time { return time.Now().Add(10 * time.Second) }
