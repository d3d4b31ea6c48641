package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
)

const (
	loader  = "/lib64/ld-linux-x86-64.so.2"
	program = "/usr/bin/linked" // a program that the loader links
	quiet   = "/usr/bin/quiet"  // another, which says nothing
	library = "/usr/lib/image.so"
)

// loads runs the dynamic program with an environment; the effect comes from
// the library.
func loads(env ...string) error {
	return ends(&exec.Cmd{Path: quiet, Args: []string{quiet}, Env: env})
}

func libraryCases() []Case {
	const seen = "no program is started: a kernel that can refuse no call sees nothing of it"
	lib := func(name string, kind event.Kind, attack, twin func() error) Case {
		return Case{Name: name, Threat: "run code that is not the image's inside a program that is", Technique: "T1574.006", Policy: "drift",
			Attack: attack, Twin: twin, Kind: kind, Less: map[Backend]Less{Kill: {Verdict: Passed, Why: seen}}}
	}
	put := func(to string) func() error { return func() error { return drop(to, Library()) } }
	list := []Case{
		lib("dropped program through the loader", event.ProcessDrift,
			first(func() error { return cp(program, "/data/d") }, of(loader, "/data/d")), of(loader, program)),
		lib("dropped program in the root through the loader", event.ProcessDrift,
			first(func() error { return cp(program, "/tmp/throughloader") }, of(loader, "/tmp/throughloader")), of(loader, program)),
		lib("LD_PRELOAD of a dropped library", event.ProcessDrift,
			first(put("/data/p.so"), func() error { return loads("LD_PRELOAD=/data/p.so") }), func() error { return loads("LD_PRELOAD=" + library) }),
		lib("LD_AUDIT of a dropped library", event.ProcessDrift,
			first(put("/data/a.so"), func() error { return loads("LD_AUDIT=/data/a.so") }), func() error { return loads("LD_PRELOAD=" + library) }),
		lib("ld.so.preload", event.ProcessDrift, func() error {
			defer os.Remove("/etc/ld.so.preload")
			if err := drop("/tmp/p.so", Library()); err != nil {
				return err
			}
			if err := os.WriteFile("/etc/ld.so.preload", []byte("/tmp/p.so\n"), 0o644); err != nil {
				return err
			}
			return loads()
		}, func() error {
			defer os.Remove("/etc/ld.so.preload")
			if err := os.WriteFile("/etc/ld.so.preload", []byte(library+"\n"), 0o644); err != nil {
				return err
			}
			return loads()
		}),
		lib("dropped file mapped as code", event.ProcessDrift, func() error {
			if err := drop("/data/m", returning()); err != nil {
				return err
			}
			return mapped("/data/m", false)
		}, func() error { return mapped("/usr/lib/code", false) }),
		lib("dropped file mapped, then made code", event.ProcessDrift, func() error {
			if err := drop("/data/m2", returning()); err != nil {
				return err
			}
			return mapped("/data/m2", true)
		}, func() error { return mapped("/usr/lib/code", true) }),
		lib("memfd mapped as code", event.ProcessFileless, func() error {
			fd, err := memfd(returning(), 0)
			if err != nil {
				return err
			}
			return mapFD(fd, false)
		}, func() error { return mapped("/usr/lib/code", false) }),
		lib("memfd mapped, then made code", event.ProcessFileless, func() error {
			fd, err := memfd(returning(), 0)
			if err != nil {
				return err
			}
			return mapFD(fd, true)
		}, func() error { return mapped("/usr/lib/code", true) }),
	}
	for i := range list[:3] {
		list[i].Core = true
	}
	return list
}

// mapped calls a file as a function.
func mapped(path string, later bool) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return mapFD(fd, later)
}

func mapFD(fd int, later bool) error {
	prot := uintptr(unix.PROT_READ | unix.PROT_EXEC)
	if later {
		prot = unix.PROT_READ
	}
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, 4096, prot, unix.MAP_PRIVATE, uintptr(fd), 0)
	if errno != 0 {
		return fmt.Errorf("mmap: %w", errno)
	}
	if later {
		if _, _, errno := unix.Syscall(unix.SYS_MPROTECT, at, 4096, unix.PROT_READ|unix.PROT_EXEC); errno != 0 {
			return fmt.Errorf("mprotect: %w", errno)
		}
	}
	call(at)
	return nil
}

// call jumps to code that keeps to what Go expects of a function without
// arguments: it leaves the stack and the reserved registers alone.
func call(at uintptr) {
	code := &at
	fn := *(*func())(unsafe.Pointer(&code))
	fn()
}
