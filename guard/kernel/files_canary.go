package kernel

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// scratch is the root of a file system in memory that is mounted nowhere, with
// one file "f" and one directory "d", for canaries to try their calls on.
type scratch int

func (s scratch) path(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", int(s), name) }

func newScratch() (_ scratch, err error) {
	conf, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a file system for canaries: %w", err)
	}
	defer unix.Close(conf)
	if err := unix.FsconfigCreate(conf); err != nil {
		return -1, fmt.Errorf("make a file system for canaries: %w", err)
	}
	fd, err := unix.Fsmount(conf, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a file system for canaries: %w", err)
	}
	s := scratch(fd)
	if err := errors.Join(s.touch("f"), unix.Mkdirat(fd, "d", 0o700)); err != nil {
		return -1, errors.Join(fmt.Errorf("make files for canaries: %w", err), unix.Close(fd))
	}
	return s, nil
}

func (s scratch) touch(name string) error {
	fd, err := unix.Openat(int(s), name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// elsewhere runs fn on another thread: a canary's own may do nothing.
func elsewhere[T any](fn func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread()
		v, err := fn()
		c <- result{v, err}
	}()
	r := <-c
	return r.v, r.err
}

// inScratch makes what a canary works on before it, on a thread of nobody.
func inScratch(canary func(scratch) error) func() error {
	return func() error {
		s, err := elsewhere(newScratch)
		if err != nil {
			return err
		}
		err = canary(s)
		if closeErr := unix.Close(int(s)); err == nil && closeErr != nil {
			return closeErr
		}
		return err
	}
}

// closing closes a descriptor and keeps the errno of what was done with it.
func closing(fd int, err error) error {
	if closeErr := unix.Close(fd); err == nil {
		return closeErr
	}
	return err
}

func openCanary(s scratch) error {
	fd, err := unix.Openat(int(s), "f", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func receiveCanary(s scratch) error {
	fd, err := elsewhere(func() (int, error) { return unix.Openat(int(s), "f", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	pid, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return closing(fd, err)
	}
	got, err := unix.PidfdGetfd(pid, fd, 0)
	if err == nil {
		err = unix.Close(got)
	}
	return closing(fd, closing(pid, err))
}

func unlinkCanary(s scratch) error { return unix.Unlinkat(int(s), "f", 0) }
func rmdirCanary(s scratch) error  { return unix.Unlinkat(int(s), "d", unix.AT_REMOVEDIR) }
func mkdirCanary(s scratch) error  { return unix.Mkdirat(int(s), "e", 0o700) }
func mknodCanary(s scratch) error  { return unix.Mknodat(int(s), "p", unix.S_IFIFO|0o600, 0) }
func symlinkCanary(s scratch) error {
	return unix.Symlinkat("f", int(s), "s")
}
func linkCanary(s scratch) error   { return unix.Linkat(int(s), "f", int(s), "l", 0) }
func renameCanary(s scratch) error { return unix.Renameat(int(s), "f", int(s), "g") }
func truncateCanary(s scratch) error {
	return unix.Truncate(s.path("f"), 0)
}
func chmodCanary(s scratch) error { return unix.Fchmodat(int(s), "f", 0o640, 0) }
func chownCanary(s scratch) error { return unix.Fchownat(int(s), "f", 0, 0, 0) }
func timesCanary(s scratch) error {
	return unix.UtimesNanoAt(int(s), "f", []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0)
}

const canaryAttribute = "trusted.gabion"

func setxattrCanary(s scratch) error {
	return unix.Setxattr(s.path("f"), canaryAttribute, []byte("x"), 0)
}

func removexattrCanary(s scratch) error {
	return cleared(s, canaryAttribute, []byte("x"))
}

// cleared sets an attribute, and removes it as the canary.
func cleared(s scratch, name string, value []byte) error {
	_, err := elsewhere(func() (int, error) { return 0, unix.Setxattr(s.path("f"), name, value, 0) })
	if err != nil {
		return err
	}
	return unix.Removexattr(s.path("f"), name)
}

const accessACL = "system.posix_acl_access"

// anACL is version 2; owner, group, mask and others, and a user of its own
// (linux/posix_acl_xattr.h).
func anACL() []byte {
	acl := []byte{2, 0, 0, 0}
	for _, e := range [][3]uint32{{0x01, 6, 0xffffffff}, {0x02, 4, 1}, {0x04, 4, 0xffffffff}, {0x10, 4, 0xffffffff}, {0x20, 0, 0xffffffff}} {
		acl = append(acl, byte(e[0]), 0, byte(e[1]), 0, byte(e[2]), byte(e[2]>>8), byte(e[2]>>16), byte(e[2]>>24))
	}
	return acl
}

func setACLCanary(s scratch) error { return unix.Setxattr(s.path("f"), accessACL, anACL(), 0) }

func removeACLCanary(s scratch) error { return cleared(s, accessACL, anACL()) }

func ftruncateCanary(s scratch) error {
	return withFile(s, unix.O_WRONLY, func(fd int) error { return unix.Ftruncate(fd, 0) })
}

func fcntlCanary(s scratch) error {
	return withFile(s, unix.O_WRONLY|unix.O_APPEND, func(fd int) error {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
		return err
	})
}

func mapFileCanary(s scratch) error {
	return withFile(s, unix.O_RDONLY, func(fd int) error {
		at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, pageSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE, uintptr(fd), 0)
		if errno != 0 {
			return errno
		}
		_, _, errno = unix.Syscall(unix.SYS_MUNMAP, at, pageSize, 0)
		return noError(errno)
	})
}

// withFile opens the file on a thread that may.
func withFile(s scratch, flags int, fn func(fd int) error) error {
	fd, err := elsewhere(func() (int, error) { return unix.Openat(int(s), "f", flags|unix.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	return closing(fd, fn(fd))
}

// renamedEffect reports with EPERM that the renaming of a directory was seen.
func renamedEffect(maps map[string]*ebpf.Map) error {
	var before, after fileState
	state := maps[filesMapFileState]
	if err := state.Lookup(uint32(0), &before); err != nil {
		return err
	}
	err := inScratch(func(s scratch) error { return unix.Renameat(int(s), "d", int(s), "e") })()
	if err != nil {
		return err
	}
	if err := state.Lookup(uint32(0), &after); err != nil {
		return err
	}
	if after.Generation != before.Generation {
		return unix.EPERM
	}
	return nil
}
