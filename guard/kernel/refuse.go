package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hook is one call that can be made to fail, and the programs that can do it,
// the better first.
type hook struct {
	name     string
	variants []variant
	// canary makes the call that must be refused, from a thread that is in a
	// container which may do nothing, and gives what came of it.
	canary func() error
}

// variant is one way into a hook. Its name is the attach point's.
type variant struct{ prog, name string }

func (v variant) mechanism() string {
	mech, _, _ := strings.Cut(v.name, "/")
	return mech
}

// Places in hooks().
const (
	hookExec = iota
	hookMap
	hookProtect
)

func hooks() []hook {
	return []hook{
		hookExec: {name: "execve", canary: execCanary, variants: []variant{
			{lsmProgExecLsm, FeatureLSM}, {lsmProgExecFmod, FeatureFmodRet},
		}},
		hookMap: {name: "mmap", canary: mapCanary, variants: []variant{
			{lsmProgMapLsm, "lsm/mmap_file"}, {lsmProgMapFmod, "fmod_ret/security_mmap_file"},
		}},
		hookProtect: {name: "mprotect", canary: protectCanary, variants: []variant{
			{lsmProgProtectLsm, "lsm/file_mprotect"}, {lsmProgProtectFmod, "fmod_ret/security_file_mprotect"},
		}},
	}
}

// attempt is what came of one variant; err is nil when it refused its canary.
type attempt struct {
	variant
	err error
}

// refusal is what is known of one hook: the variants that were tried, and the
// one that refused its canary.
type refusal struct {
	hook  string
	tried []attempt
}

// works gives the variant that refuses, if there is one.
func (r refusal) works() (variant, bool) {
	for _, a := range r.tried {
		if a.err == nil {
			return a.variant, true
		}
	}
	return variant{}, false
}

// why says why no variant works; "" when one does.
func (r refusal) why() string {
	if _, ok := r.works(); ok {
		return ""
	}
	var out []string
	for _, a := range r.tried {
		out = append(out, a.name+": "+a.err.Error())
	}
	return strings.Join(out, "; ")
}

// tryRefusal loads, attaches and tries the programs that let calls fail, on
// maps of its own: that a program was attached proves nothing, since a kernel
// that does not ask it permits everything. Without all, a hook's first variant
// that works ends the search.
func tryRefusal(all bool) (out []refusal, err error) {
	if out = refusedTypes(); out != nil {
		return out, nil
	}
	l, err := load("")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	node, err := readNode()
	if err != nil {
		return nil, err
	}
	if err := l.begin(node, false); err != nil {
		return nil, err
	}
	if err := l.maps.Containers.Put(canaryCID, Container{Flags: FlagDenyDrift | FlagExecListed | FlagExecPaths, ExecMode: modeProtect}); err != nil {
		return nil, fmt.Errorf("set up canary: %w", err)
	}
	for _, h := range hooks() {
		r := refusal{hook: h.name}
		for _, v := range h.variants {
			err := l.tryVariant(h, v)
			r.tried = append(r.tried, attempt{v, err})
			if err == nil && !all {
				break
			}
		}
		out = append(out, r)
	}
	return out, nil
}

const canaryCID = uint32(1)

// refusedTypes spares the work on kernels that permit none of the types of
// programs that could refuse a call; nil when one is permitted.
func refusedTypes() (out []refusal) {
	try := func(typ ebpf.ProgramType, at ebpf.AttachType, name string) error {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "gabion_probe", Type: typ, AttachType: at, AttachTo: name, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			return err
		}
		return p.Close()
	}
	if !errors.Is(try(ebpf.LSM, ebpf.AttachLSMMac, "bprm_check_security"), unix.EPERM) ||
		!errors.Is(try(ebpf.Tracing, ebpf.AttachModifyReturn, "security_bprm_check"), unix.EPERM) {
		return nil
	}
	for _, h := range hooks() {
		r := refusal{hook: h.name}
		for _, v := range h.variants {
			r.tried = append(r.tried, attempt{v, errType})
		}
		out = append(out, r)
	}
	return out
}

var errType = errors.New("load: operation not permitted (this kernel refuses programs of this type)")

func (l *loaded) tryVariant(h hook, v variant) (err error) {
	if err := l.canary(h); errors.Is(err, unix.EPERM) {
		return errors.New("cannot be tried: the call is refused without it")
	}
	progs, rest, err := l.loadRefusal([]variant{v})
	if errors.Is(err, unix.EPERM) {
		return errType
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(progs, rest)) }()
	ln, err := attachHook(progs[v.prog])
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer func() { err = errors.Join(err, ln.Close()) }()
	if err := l.canary(h); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("attached, but does not refuse: a canary's %s ended with %v", h.name, err)
	}
	return nil
}

func closeAll(progs map[string]*ebpf.Program, maps []*ebpf.Map) error {
	var errs []error
	for _, p := range progs {
		errs = append(errs, p.Close())
	}
	for _, m := range maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// canary makes a hook's call from a thread of the canary's container.
func (l *loaded) canary(h hook) error {
	ended := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine.
		runtime.LockOSThread()
		tid := uint32(unix.Gettid())
		if err := l.maps.Tasks.Put(tid, canaryCID); err != nil {
			ended <- fmt.Errorf("give canary its number: %w", err)
			return
		}
		err := h.canary()
		ended <- errors.Join(err, deleteKey(l.maps.Tasks, tid))
	}()
	return <-ended
}

// loadRefusal loads programs on the maps of l.
func (l *loaded) loadRefusal(which []variant) (progs map[string]*ebpf.Program, rest []*ebpf.Map, err error) {
	spec, err := loadLsm()
	if err != nil {
		return nil, nil, fmt.Errorf("read embedded programs: %w", err)
	}
	wanted := map[string]*ebpf.ProgramSpec{}
	for _, v := range which {
		wanted[v.prog] = spec.Programs[v.prog]
	}
	spec.Programs = wanted
	if err := spec.Variables[lsmVarInstance].Set(l.instance); err != nil {
		return nil, nil, fmt.Errorf("set instance: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, nil, fmt.Errorf("count processors: %w", err)
	}
	spec.Maps[lsmMapSlots].MaxEntries *= uint32(cpus) //nolint:gosec // a number of processors
	opts := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}}
	for name, m := range l.maps.fields() {
		opts.MapReplacements[name] = *m
	}
	opts.Programs.ExtraRelocationTargets = overlayTypes()
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	defer coll.Close()
	progs = map[string]*ebpf.Program{}
	for name := range coll.Programs {
		progs[name] = coll.DetachProgram(name)
	}
	for name := range coll.Maps {
		rest = append(rest, coll.DetachMap(name))
	}
	return progs, rest, nil
}

func attachHook(p *ebpf.Program) (link.Link, error) {
	if p.Type() == ebpf.LSM {
		return link.AttachLSM(link.LSMOptions{Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// addRefusal loads the programs of backend A that this kernel listens to, to
// be attached with the others.
func (l *loaded) addRefusal(log *slog.Logger) error {
	found, err := tryRefusal(false)
	if err != nil {
		return fmt.Errorf("try to let calls fail: %w", err)
	}
	l.refusals = found
	var which []variant
	for _, r := range found {
		if v, ok := r.works(); ok {
			which = append(which, v)
		} else {
			log.Info("this kernel lets no program of ours refuse a call", "call", r.hook, "why", r.why())
		}
	}
	if len(which) == 0 {
		return nil
	}
	progs, rest, err := l.loadRefusal(which)
	if err != nil {
		return err
	}
	l.rest = append(l.rest, rest...)
	for _, v := range which {
		l.progs[v.prog] = progs[v.prog]
		l.attachments = append(l.attachments, attachment{v.prog, v.name, attachHook})
	}
	return nil
}

// refuses gives the variant by which a hook's call is made to fail.
func (l *loaded) refuses(hook int) (variant, bool) {
	if hook >= len(l.refusals) {
		return variant{}, false
	}
	return l.refusals[hook].works()
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
