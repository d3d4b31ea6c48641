package kernel

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// Sets of hooks.
const setProcess = "process"

// Hooks of the set setProcess.
const (
	hookExec    = "execve"
	hookMap     = "mmap of code"
	hookProtect = "mprotect to code"
)

// hookSets lists every set that there is.
func hookSets() []hookSet {
	return []hookSet{processSet(), filesHooks(), hardenSet(), hardenSetB()}
}

func processSet() hookSet {
	return hookSet{
		name: setProcess, spec: loadLsm,
		entry: Container{Flags: FlagDenyDrift | FlagExecListed | FlagExecPaths, ExecMode: modeProtect},
		hooks: []hook{
			{name: hookExec, canary: execCanary, variants: []variant{
				{lsmProgExecLsm, FeatureLSM}, {lsmProgExecFmod, FeatureFmodRet},
			}},
			{name: hookMap, canary: mapCanary, variants: []variant{
				{lsmProgMapLsm, "lsm/mmap_file"}, {lsmProgMapFmod, "fmod_ret/security_mmap_file"},
			}},
			{name: hookProtect, canary: protectCanary, variants: []variant{
				{lsmProgProtectLsm, "lsm/file_mprotect"}, {lsmProgProtectFmod, "fmod_ret/security_file_mprotect"},
			}},
		},
	}
}

// processHooks are the hooks that a process section needs.
func processHooks(p *policy.ProcessPlan) []string {
	switch {
	case p == nil || planMode(p.Mode) == modeLearn:
		return nil
	case p.DenyDrift:
		return []string{hookExec, hookMap, hookProtect}
	case p.Listed || len(p.Deny) > 0:
		return []string{hookExec, hookMap} // what a dynamic loader is asked to run
	}
	return []string{hookExec}
}

// memFile makes a file that no image has, and that is no program.
func memFile() (int, error) {
	fd, err := unix.MemfdCreate("gabion-canary", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("gabion-canary", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, fmt.Errorf("make canary: %w", err)
	}
	if _, err := unix.Write(fd, []byte("\x7fELF, but no program")); err != nil {
		return -1, errors.Join(fmt.Errorf("make canary: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func execCanary() error {
	fd, err := memFile()
	if err != nil {
		return err
	}
	return errors.Join(tryExec(fmt.Sprintf("/proc/self/fd/%d", fd)), unix.Close(fd))
}

func mapCanary() error {
	return mapFile(unix.PROT_READ|unix.PROT_EXEC, nil)
}

func protectCanary() error {
	return mapFile(unix.PROT_READ, func(at uintptr) error {
		_, _, errno := unix.Syscall(unix.SYS_MPROTECT, at, pageSize, unix.PROT_READ|unix.PROT_EXEC)
		return noError(errno)
	})
}

const pageSize = 4096

// mapFile maps a canary, and hands the mapping to then.
func mapFile(prot uintptr, then func(uintptr) error) error {
	fd, err := memFile()
	if err != nil {
		return err
	}
	at, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, pageSize, prot, unix.MAP_PRIVATE, uintptr(fd), 0)
	errs := []error{noError(errno)}
	if errno == 0 {
		if then != nil {
			errs = append(errs, then(at))
		}
		_, _, errno = unix.Syscall(unix.SYS_MUNMAP, at, pageSize, 0)
		errs = append(errs, noError(errno))
	}
	return errors.Join(append(errs, unix.Close(fd))...)
}

func noError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
