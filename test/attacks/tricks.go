package attacks

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The tricks that cases of several kinds use.

func overwrite(path string, b []byte) error {
	if err := os.WriteFile(path, b, 0); err != nil {
		return err
	}
	return run(path)
}

func memfd(b []byte, flags int) (int, error) {
	fd, err := unix.MemfdCreate("x", flags)
	if err != nil {
		return -1, err
	}
	_, err = unix.Write(fd, b)
	return fd, err
}

// becomeWritten writes the program into a descriptor and becomes it; the
// descriptor for writing must be gone first.
func becomeWritten(fd int) error {
	if _, err := unix.Write(fd, Program()); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, 0o700); err != nil {
		return err
	}
	read, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	return execveat(read, "", unix.AT_EMPTY_PATH)
}

// becomeFD becomes a program through a descriptor.
func becomeFD(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		return err
	}
	return execveat(fd, "", unix.AT_EMPTY_PATH)
}

func execveat(dir int, path string, flags int) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	name, err := unix.BytePtrFromString("app")
	if err != nil {
		return err
	}
	argv := []*byte{name, nil}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(dir), uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&argv[0])), 0, uintptr(flags), 0)
	runtime.KeepAlive(argv)
	return errno
}

// becomeInThread lets a thread that is not the process's first call execve.
func becomeInThread(path string) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			go func() { runtime.LockOSThread(); failed <- unix.Exec(path, []string{"app"}, nil) }()
			select {}
		}
		failed <- unix.Exec(path, []string{"app"}, nil)
	}()
	return <-failed
}

// apart does something in a thread that has left namespaces behind, and ends
// the thread.
func apart(flags int, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err := unix.Unshare(unix.CLONE_FS | flags); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		if flags&unix.CLONE_NEWNS != 0 {
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				done <- fmt.Errorf("make mounts private: %w", err)
				return
			}
		}
		done <- do()
	}()
	return <-done
}

// attempts starts a program n times; the effect is that one of them ran.
func attempts(n int, path string) error {
	var last error
	ran := false
	for range n {
		if last = run(path); last == nil {
			ran = true
		}
	}
	if ran {
		return nil
	}
	return last
}

// swap starts a name that another thread keeps exchanging between a program of
// the image and a dropped one which says something else.
func swap(dir string, n int) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	good, bad, name := dir+"/good", dir+"/bad", dir+"/name"
	if err := errors.Join(os.Symlink("/bin/true", good), drop(bad, Program()), os.Symlink("/bin/true", name)); err != nil {
		return err
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, bad, unix.RENAME_EXCHANGE)
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	err := errors.New("never the dropped one")
	for range n {
		said, _ := exec.Command(name).CombinedOutput()
		if strings.Contains(string(said), Effect) {
			return nil
		}
	}
	return err
}
