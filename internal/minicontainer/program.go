package minicontainer

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is one system call of the stretch between fork and the program.
type step struct {
	nr       uintptr
	args     [6]uintptr
	min      uintptr // a result below this counts as a failure
	optional bool    // a failure does not end the stretch
}

// program is a list of system calls for a forked process, which cannot run
// ordinary Go code: it has one thread of a runtime that needs many.
type program struct {
	steps []step
	names []string
	keep  []any // what steps point to
}

// do adds a system call that must succeed; name appears in errors.
func (p *program) do(name string, nr uintptr, args ...uintptr) *step {
	s := step{nr: nr}
	copy(s.args[:], args)
	p.steps = append(p.steps, s)
	p.names = append(p.names, name)
	return &p.steps[len(p.steps)-1]
}

// try adds a system call that may fail.
func (p *program) try(name string, nr uintptr, args ...uintptr) {
	p.do(name, nr, args...).optional = true
}

// str gives the address of a NUL-terminated copy of s. A NUL within ends it.
func (p *program) str(s string) uintptr {
	b := append([]byte(s), 0)
	p.keep = append(p.keep, &b[0])
	return uintptr(unsafe.Pointer(&b[0]))
}

// vec gives the address of a NULL-terminated array of strings.
func (p *program) vec(list []string) uintptr {
	v := make([]uintptr, len(list)+1)
	for i, s := range list {
		v[i] = p.str(s)
	}
	p.keep = append(p.keep, &v[0])
	return uintptr(unsafe.Pointer(&v[0]))
}

// mem gives the address of a value, which stays alive with the program.
func mem[T any](p *program, v *T) uintptr {
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(v))
}

// mount adds a mount; an empty string stands for no argument.
func (p *program) mount(optional bool, source, target, fstype string, flags uintptr, data string) {
	ptr := func(s string) uintptr {
		if s == "" {
			return 0
		}
		return p.str(s)
	}
	p.do("mount "+target, unix.SYS_MOUNT, ptr(source), ptr(target), ptr(fstype), flags, ptr(data)).optional = optional
}

// failure is what the forked process reports before it gives up: the index of
// the step and the error number.
type failure [2]uint32

const failureSize = int(unsafe.Sizeof(failure{}))

func (p *program) failed(f failure) error {
	name := "unknown step"
	if int(f[0]) < len(p.names) {
		name = p.names[f[0]]
	}
	return fmt.Errorf("%s: %w", name, syscall.Errno(f[1]))
}

// fork runs the program in a new process that is a child of this process's
// parent, and returns its pid as this process sees it. The caller must have
// locked its thread. Failures are reported on descriptor fd.
func (p *program) fork(fd int) (int, error) {
	// No signal handler of the Go runtime may run in the child, and no
	// preemption may come between: block all signals of this thread.
	all, old := ^uint64(0), uint64(0)
	if _, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0); e != 0 {
		return 0, fmt.Errorf("block signals: %w", e)
	}
	report := new(failure)
	pid, e := rawFork(p.steps, uintptr(fd), report)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	runtime.KeepAlive(p)
	runtime.KeepAlive(report)
	if e != 0 {
		return 0, fmt.Errorf("fork: %w", e)
	}
	return int(pid), nil
}

// rawFork is the only code that runs in the child. It must not grow the stack,
// allocate, or call anything but raw system calls.
//
//go:noinline
//go:norace
//go:nosplit
func rawFork(steps []step, fd uintptr, report *failure) (uintptr, syscall.Errno) {
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 || pid != 0 {
		return pid, e
	}
	for i := 0; i < len(steps); i++ {
		s := &steps[i]
		r, _, e := syscall.RawSyscall6(s.nr, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		if e == 0 && r < s.min {
			e = syscall.EPIPE
		}
		if e == 0 || s.optional {
			continue
		}
		report[0], report[1] = uint32(i), uint32(e)
		syscall.RawSyscall6(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(report)), unsafe.Sizeof(*report), 0, 0, 0)
		break
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 127, 0, 0, 0, 0, 0)
	}
}
