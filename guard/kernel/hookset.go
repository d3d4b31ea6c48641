package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hookSet is one object of programs that let calls fail (backend A). A hook is
// tried once, when it is first asked for, and attached while some container's
// plan needs it.
type hookSet struct {
	// name is part of the names of pins.
	name string
	spec func() (*ebpf.CollectionSpec, error)
	// maps are those of the object, besides the ones shared by all (Maps), that
	// outlive the agent. The others belong to one load.
	maps  []string
	hooks []hook
	// scene writes what makes the canary's container one that may do nothing,
	// besides its entry in the map of containers, which entry gives.
	entry Container
	// everywhere: there are kernels that permit the set's programs, and none that
	// let a call fail.
	everywhere bool
	scene      func(maps map[string]*ebpf.Map) error
}

// hook is one call that can be made to fail, and the programs that can do it,
// the better first.
type hook struct {
	// name is for people: "refusing NAME" is what doctor says of it. It is
	// unique in its set.
	name     string
	variants []variant
	// canary makes the call that must be refused, from a thread that is in a
	// container which may do nothing, and gives what came of it. It must do no
	// harm when it is not refused.
	canary func() error
	// effect is used in place of canary where the trial's maps are needed: by a
	// canary, or to see that programs which refuse nothing did what they are for
	// (EPERM then).
	effect func(maps map[string]*ebpf.Map) error
	// children: processes that the canary's thread starts are in the container.
	children bool
	// counted: the caller is not told that the call was refused; that it was
	// counted tells.
	counted bool
}

// variant is one way into a hook: a program of the set's object, and the name
// of its attach point.
type variant struct{ prog, name string }

func (v variant) mechanism() string {
	mech, _, _ := strings.Cut(v.name, "/")
	return mech
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

// allFailed is a refusal whose every variant failed for the same cause.
func allFailed(h hook, err error) refusal {
	r := refusal{hook: h.name}
	for _, v := range h.variants {
		r.tried = append(r.tried, attempt{v, err})
	}
	return r
}

func (s *hookSet) hook(name string) (hook, bool) {
	for _, h := range s.hooks {
		if h.name == name {
			return h, true
		}
	}
	return hook{}, false
}

// find gives the hook and the variant that a program belongs to.
func (s *hookSet) find(prog string) (string, variant, bool) {
	for _, h := range s.hooks {
		for _, v := range h.variants {
			if v.prog == prog {
				return h.name, v, true
			}
		}
	}
	return "", variant{}, false
}

// typesRefused reports whether the kernel permits none of the types of
// programs that could refuse a call, which spares the work of trying.
func typesRefused() bool {
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
	return errors.Is(try(ebpf.LSM, ebpf.AttachLSMMac, "bprm_check_security"), unix.EPERM) &&
		errors.Is(try(ebpf.Tracing, ebpf.AttachModifyReturn, "security_bprm_check"), unix.EPERM)
}

var errType = errors.New("load: operation not permitted (this kernel refuses programs of this type)")

// programs loads programs of the set's object. Maps that are given by name are
// used, the others are made anew, and given back for later loads.
func (s *hookSet) programs(which []variant, maps map[string]*ebpf.Map, instance uint32) (progs map[string]*ebpf.Program, fresh map[string]*ebpf.Map, err error) {
	spec, err := s.spec()
	if err != nil {
		return nil, nil, fmt.Errorf("read embedded programs: %w", err)
	}
	wanted := map[string]*ebpf.ProgramSpec{}
	for _, v := range which {
		p := spec.Programs[v.prog]
		if p == nil {
			return nil, nil, fmt.Errorf("read embedded programs: there is no %s", v.prog)
		}
		wanted[v.prog] = p
	}
	spec.Programs = wanted
	if v := spec.Variables["instance"]; v != nil {
		if err := v.Set(instance); err != nil {
			return nil, nil, fmt.Errorf("set instance: %w", err)
		}
	}
	if err := sizeSlots(spec); err != nil {
		return nil, nil, err
	}
	opts := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}}
	for name := range spec.Maps {
		// Constants are each load's own: they hold its instance.
		if m := maps[name]; m != nil && !strings.HasPrefix(name, ".") {
			opts.MapReplacements[name] = m
		}
	}
	opts.Programs.ExtraRelocationTargets = overlayTypes()
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if errors.Is(err, unix.EPERM) {
		return nil, nil, errType
	}
	if err != nil {
		return nil, nil, fmt.Errorf("load: %w", err)
	}
	defer coll.Close()
	progs, fresh = map[string]*ebpf.Program{}, map[string]*ebpf.Map{}
	for name := range coll.Programs {
		progs[name] = coll.DetachProgram(name)
	}
	for name := range coll.Maps {
		if opts.MapReplacements[name] == nil && !strings.HasPrefix(name, ".") {
			fresh[name] = coll.DetachMap(name)
		}
	}
	return progs, fresh, nil
}

// sizeSlots gives every processor its slots (bpf/slots.h).
func sizeSlots(spec *ebpf.CollectionSpec) error {
	m := spec.Maps["slots"]
	if m == nil {
		return nil
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count processors: %w", err)
	}
	m.MaxEntries *= uint32(cpus) //nolint:gosec // a number of processors
	return nil
}

func attachHook(p *ebpf.Program, v variant) (link.Link, error) {
	cgroup := func(at ebpf.AttachType) (link.Link, error) {
		root, err := cgroupMount()
		if err != nil {
			return nil, err
		}
		return link.AttachCgroup(link.CgroupOptions{Path: root, Attach: at, Program: p})
	}
	switch p.Type() {
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p})
	case ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: strings.TrimPrefix(v.name, "raw_tp/"), Program: p})
	case ebpf.CGroupDevice:
		return cgroup(ebpf.AttachCGroupDevice)
	case ebpf.CGroupSysctl:
		return cgroup(ebpf.AttachCGroupSysctl)
	case ebpf.CGroupSock:
		return cgroup(ebpf.AttachCGroupInetSockCreate)
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// trial is a set on maps of its own, with one container that may do nothing.
type trial struct {
	set  *hookSet
	maps map[string]*ebpf.Map
}

const canaryCID = uint32(1)

func (s *hookSet) newTrial() (t *trial, err error) {
	_, maps, err := s.programs(nil, nil, 1)
	if err != nil {
		return nil, err
	}
	t = &trial{set: s, maps: maps}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	node, err := readNode()
	if err != nil {
		return nil, err
	}
	on := settings{Layout: Layout, Instance: 1}
	on.set(node, false)
	on.Heartbeat = 0 // nobody waits for a canary
	if err := maps[lsmMapSettings].Put(uint32(0), on); err != nil {
		return nil, fmt.Errorf("set up canary: %w", err)
	}
	entry := s.entry
	if entry.ExecMode == 0 {
		entry.ExecMode = modeProtect
	}
	if err := maps[lsmMapContainers].Put(canaryCID, entry); err != nil {
		return nil, fmt.Errorf("set up canary: %w", err)
	}
	if s.scene != nil {
		if err := s.scene(maps); err != nil {
			return nil, fmt.Errorf("set up canary: %w", err)
		}
	}
	return t, nil
}

func (t *trial) close() error {
	var errs []error
	for _, m := range t.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// try loads, attaches and tries the programs of a hook: that a program was
// attached proves nothing, since a kernel that does not ask it permits
// everything. Without all, the first variant that works ends the search.
func (t *trial) try(h hook, all bool) refusal {
	r := refusal{hook: h.name}
	for _, v := range h.variants {
		err := t.tryVariant(h, v)
		r.tried = append(r.tried, attempt{v, err})
		if err == nil && !all {
			break
		}
	}
	return r
}

// permitted reports whether a hook's call succeeds as it should before a
// program is tried. Kernels take down the link of the variant before it in
// their own time (a work queue), so a refusal is asked about again for a while.
func (t *trial) permitted(h hook) bool {
	for range 50 {
		if !errors.Is(t.canary(h), unix.EPERM) {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

func (t *trial) tryVariant(h hook, v variant) (err error) {
	if !t.permitted(h) {
		return errors.New("cannot be tried: the call is refused without it")
	}
	progs, fresh, err := t.set.programs([]variant{v}, t.maps, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(progs, fresh)) }()
	ln, err := attachHook(progs[v.prog], v)
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer func() { err = errors.Join(err, ln.Close()) }()
	if err := t.canary(h); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("attached, but does not refuse: a canary's %s ended with %v", h.name, err)
	}
	return nil
}

func closeAll(progs map[string]*ebpf.Program, maps map[string]*ebpf.Map) error {
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
func (t *trial) canary(h hook) (err error) {
	if h.children {
		stop, err := t.inherit()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if h.counted {
		if err := deleteWhere(t.maps[lsmMapCounts], func(CountKey) bool { return true }); err != nil {
			return err
		}
	}
	ended := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine.
		runtime.LockOSThread()
		tid, tasks := uint32(unix.Gettid()), t.maps[lsmMapTasks]
		if err := tasks.Put(tid, canaryCID); err != nil {
			ended <- fmt.Errorf("give canary its number: %w", err)
			return
		}
		var err error
		if h.effect != nil {
			err = h.effect(t.maps)
		} else {
			err = h.canary()
		}
		ended <- errors.Join(err, deleteKey(tasks, tid))
	}()
	err = <-ended
	if h.counted {
		var key CountKey
		var n Count
		if t.maps[lsmMapCounts].Iterate().Next(&key, &n) {
			return unix.EPERM
		}
	}
	return err
}

// inherit has children of the canary's threads be in its container.
func (t *trial) inherit() (stop func() error, err error) {
	fork := hookSet{spec: loadProcess}
	v := variant{processProgGabionFork, "raw_tp/sched_process_fork"}
	progs, fresh, err := fork.programs([]variant{v}, t.maps, 1)
	if err != nil {
		return nil, err
	}
	ln, err := attachHook(progs[v.prog], v)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach %s: %w", v.name, err), closeAll(progs, fresh))
	}
	return func() error { return errors.Join(ln.Close(), closeAll(progs, fresh)) }, nil
}

// tryAll tries every variant of every hook of a set, leaving nothing behind.
func (s *hookSet) tryAll() []refusal {
	out := make([]refusal, len(s.hooks))
	fail := func(err error) []refusal {
		for i, h := range s.hooks {
			out[i] = allFailed(h, err)
		}
		return out
	}
	if !s.everywhere && typesRefused() {
		return fail(errType)
	}
	t, err := s.newTrial()
	if err != nil {
		return fail(err)
	}
	for i, h := range s.hooks {
		out[i] = t.try(h, true)
	}
	if err := t.close(); err != nil {
		return fail(err)
	}
	return out
}
