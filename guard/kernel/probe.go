package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard"
)

// Names of the features that Probe tries.
const (
	FeatureTypes    = "kernel type information (BTF)"
	FeaturePins     = "bpf file system"
	FeatureCgroup   = "cgroup v2"
	FeatureExec     = "raw_tp exec + kill"
	FeatureFanotify = "fanotify exec permission"
	FeatureOverlay  = "overlay layer of a file"
	FeatureLSM      = "lsm/bprm_check_security"
	FeatureFmodRet  = "fmod_ret/security_bprm_check"
	FeatureRefuse   = "refusing execve"
	FeatureMap      = "refusing mmap of code"
	FeatureProtect  = "refusing mprotect to code"
)

// Probe tries, for real, everything that this package builds on, and what
// would let a call fail instead of killing. It leaves nothing behind. pinDir
// is where state would be pinned; empty means DefaultPinDir.
func Probe(ctx context.Context, pinDir string) []guard.Feature {
	if pinDir == "" {
		pinDir = DefaultPinDir
	}
	attempt := func(name, works, remedy string, try func() error) guard.Feature {
		if err := try(); err != nil {
			return guard.Feature{Name: name, Detail: err.Error(), Remedy: remedy}
		}
		return guard.Feature{Name: name, Works: true, Detail: works}
	}
	features := []guard.Feature{
		attempt(FeatureTypes, "the running kernel describes its types", "use a kernel built with CONFIG_DEBUG_INFO_BTF", func() error {
			_, err := btf.LoadKernelSpec()
			return err
		}),
		attempt(FeatureOverlay, "the overlay file system's types are known", "load the overlay module before the agent starts", tryOverlay),
		attempt(FeaturePins, "state can be pinned, and outlives the agent", "mount -t bpf bpf /sys/fs/bpf, or run as root", func() error { return tryPins(pinDir) }),
		attempt(FeatureCgroup, "containers are told apart by their cgroup", "mount the cgroup2 file system", func() error {
			_, err := cgroupMount()
			return err
		}),
		attempt(FeatureExec, "all programs load and attach; a canary was killed before its first instruction", "run as root on Linux 5.17 or later with CONFIG_BPF_SYSCALL", func() error { return tryKill(ctx) }),
		attempt(FeatureFanotify, "the start of a canary was refused", "run as root on a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS", tryFanotify),
	}
	return append(features, refusalFeatures()...)
}

// refusalFeatures says which calls can be made to fail, by which programs.
func refusalFeatures() []guard.Feature {
	const remedy = "boot with bpf in the lsm= list, on a kernel that permits programs of this type"
	feature := func(name, works string, err error) guard.Feature {
		if err != nil {
			return guard.Feature{Name: name, Detail: err.Error(), Remedy: remedy}
		}
		return guard.Feature{Name: name, Works: true, Detail: works}
	}
	var out, calls []guard.Feature
	for _, s := range hookSets() {
		for _, r := range s.tryAll() {
			if s.name == setProcess && r.hook == hookExec {
				for _, a := range r.tried {
					out = append(out, feature(a.name, "a canary's execve failed with EPERM", a.err))
				}
			}
			v, ok := r.works()
			var err error
			if !ok {
				err = errors.New(r.why())
			}
			calls = append(calls, feature("refusing "+r.hook, "a canary's call failed with EPERM ("+v.name+")", err))
		}
	}
	return append(out, calls...)
}

func tryOverlay() error {
	for _, spec := range append(overlayTypes(), kernelTypes()...) {
		var t *btf.Struct
		if spec.TypeByName("ovl_inode", &t) == nil {
			return nil
		}
	}
	return errors.New("no type information of overlayfs: changed files of containers cannot be told from the image's")
}

func kernelTypes() []*btf.Spec {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil
	}
	return []*btf.Spec{spec}
}

func tryPins(pinDir string) error {
	dir := pinDir
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil && st.Type == bpffsMagic {
			return unix.Access(dir, unix.W_OK)
		}
		if err == nil {
			return fmt.Errorf("%s is on no bpf file system yet", pinDir)
		}
		if dir == "/" {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// tryKill loads and attaches everything on maps of its own, gives the number
// of a made-up container that may start nothing to one thread, and starts a
// program from it.
func tryKill(ctx context.Context) (err error) {
	l, err := load("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	node, err := readNode()
	if err != nil {
		return err
	}
	if err := l.begin(node, false); err != nil {
		return err
	}
	const cid = canaryCID
	if err := l.maps.Containers.Put(cid, Container{Flags: FlagExecListed | FlagExecPaths, ExecMode: modeProtect}); err != nil {
		return fmt.Errorf("set up canary: %w", err)
	}
	for _, a := range l.attachments {
		ln, err := a.attach(l.progs[a.prog])
		if err != nil {
			return fmt.Errorf("attach %s: %w", a.name, err)
		}
		l.links[a.prog] = ln
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine, and the number with it.
		runtime.LockOSThread()
		if err := l.maps.Tasks.Put(uint32(unix.Gettid()), cid); err != nil {
			ended <- fmt.Errorf("give canary its number: %w", err)
			return
		}
		ended <- exec.CommandContext(ctx, "/proc/self/exe", "version").Run()
	}()
	err = <-ended
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("the canary was not killed: it ended with %v", err)
}

// tryFanotify refuses the start of a file of its own.
func tryFanotify() error {
	dir, err := os.MkdirTemp("", "gabion-canary")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	canary := filepath.Join(dir, "canary")
	// It is no program: were it not refused, starting it would fail otherwise.
	if err := os.WriteFile(canary, []byte("no program"), 0o700); err != nil { //nolint:gosec // executable on purpose
		return err
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open fanotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "fanotify")
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, canary); err != nil {
		return errors.Join(fmt.Errorf("mark canary: %w", err), f.Close())
	}
	answered := make(chan error, 1)
	go func() {
		buf := make([]byte, 16*fanEventSize)
		n, err := f.Read(buf)
		if err != nil {
			answered <- err
			return
		}
		evs, _ := parseFanEvents(buf[:n])
		for _, ev := range evs {
			_, werr := f.Write(fanAnswer(ev.fd, false))
			err = errors.Join(err, werr, unix.Close(int(ev.fd)))
		}
		answered <- err
	}()
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ended <- tryExec(canary)
	}()
	err = <-ended
	closeErr := f.Close() // ends the reader when no event came
	if answerErr := <-answered; answerErr != nil && !errors.Is(answerErr, fs.ErrClosed) {
		return fmt.Errorf("answer for canary: %w", answerErr)
	}
	if !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("the canary was not refused: %v", err)
	}
	return closeErr
}

// tryExec asks the kernel to execute a file that is no program, from this very
// thread, and gives the refusal. Starting a child would not do: between fork
// and exec the Go runtime cannot stop that thread, so a garbage collection
// would stop the goroutine that has to answer and both would wait for ever.
//
// The caller's goroutine must be locked to its thread, and end with it: while
// a thread that shares its working directory with others executes, none of
// them may start a thread, which the Go runtime does not survive. So this
// thread stops sharing it.
func tryExec(file string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("set a thread apart: %w", err)
	}
	path, err := unix.BytePtrFromString(file)
	if err != nil {
		return err
	}
	argv := [2]*byte{path}
	env := [1]*byte{}
	_, _, errno := unix.Syscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	return errno
}
