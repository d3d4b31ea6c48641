package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// Config sizes the engine. The zero value is usable.
type Config struct {
	// PinDir is a directory of a bpf file system; default DefaultPinDir.
	PinDir string
	// Hold stops the first program of a container that nobody told of yet,
	// until Release, NotAContainer or HoldBound (default 2 s).
	Hold      bool
	HoldBound time.Duration
	// NoFanotify leaves out backend C: scripts are then not compared with the
	// image.
	NoFanotify bool
	// FanotifyBound is how long one comparison may take before backend C gives
	// up, so that no program waits for a responder that hangs; default 5 s.
	FanotifyBound time.Duration
	Node          string
}

// Deps are handed in. Log and Sink are needed; Now defaults to time.Now.
type Deps struct {
	Log  *slog.Logger
	Sink guard.Sink
	Now  func() time.Time
}

// Engine enforces the process sections of plans on this node. Make it with
// Open; its methods may be called from many goroutines.
type Engine struct {
	cfg  Config
	log  *slog.Logger
	sink guard.Sink
	now  func() time.Time

	l     *loaded
	h     hasher
	epoch uint64

	apply sync.Mutex // serialises changes of what is enforced

	mu      sync.Mutex // guards the maps below
	byID    map[string]*managed
	byCID   map[uint32]*managed
	judging map[uint32]bool // processes that judgeVerified is at work on

	report reporter
	fan    *fanotify // nil without backend C
	fanErr error     // why not
	rings  rings
	verify chan startRecord // programs held to compare their files with the image
}

// managed is a container that Apply was called for. It is replaced, never
// changed.
type managed struct {
	cid    uint32
	c      workload.Container
	cgroup uint64 // 0 when the cgroup is not the container's alone
	entry  Container
	set    ruleSet
	plan   *policy.Plan
	mounts []mount
	top    mount
	prefix string
	layers *layers // nil when the root is no overlay, or its layers cannot be read
}

func (m *managed) process() *policy.ProcessPlan {
	if m.plan == nil {
		return nil
	}
	return m.plan.Process
}

// Open loads the programs, or adopts what an earlier agent pinned. The error
// is ErrBusy while another agent lives, and ErrLayout when the pinned state is
// of another version (Remove it and open again).
func Open(cfg Config, deps Deps) (*Engine, error) {
	if deps.Log == nil || deps.Sink == nil {
		return nil, errors.New("open kernel engine: Log and Sink are needed")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if cfg.PinDir == "" {
		cfg.PinDir = DefaultPinDir
	}
	if cfg.HoldBound == 0 {
		cfg.HoldBound = 2 * time.Second
	}
	if cfg.FanotifyBound == 0 {
		cfg.FanotifyBound = 5 * time.Second
	}
	e := &Engine{
		cfg: cfg, log: deps.Log, sink: deps.Sink, now: deps.Now,
		byID: map[string]*managed{}, byCID: map[uint32]*managed{},
		verify: make(chan startRecord, 1024), judging: map[uint32]bool{},
	}
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("open kernel engine: %w", err)
	}
	return e, nil
}

func (e *Engine) open() (err error) {
	node, err := readNode()
	if err != nil {
		return err
	}
	if err := ensureBPFFS(e.cfg.PinDir); err != nil {
		return err
	}
	if s, err := readSettings(e.cfg.PinDir); err == nil && s.alive() {
		return fmt.Errorf("%w: process %d holds %s", ErrBusy, s.AgentTGID, e.cfg.PinDir)
	}
	if e.l, err = load(e.cfg.PinDir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.rings.close(), e.l.close())
		}
	}()
	if err := e.l.begin(node, e.cfg.Hold); err != nil {
		return err
	}
	if err := e.l.maps.readNames(); err != nil {
		return fmt.Errorf("read pinned names: %w", err)
	}
	s, err := e.l.maps.settings()
	if err != nil {
		return err
	}
	e.h, e.epoch = hasher{s.HashKey[0], s.HashKey[1]}, s.Epoch
	e.report = newReporter()
	if err := e.rings.open(e.l.maps); err != nil {
		return err
	}
	if !e.cfg.NoFanotify {
		if e.fan, e.fanErr = openFanotify(e); e.fanErr != nil {
			e.log.Warn("fanotify does not work here; scripts are not compared with the image", "err", e.fanErr)
		}
	} else {
		e.fanErr = errors.New("switched off")
	}
	if err := e.l.attach(e.log, e.cfg.PinDir); err != nil {
		if e.fan != nil {
			e.fan.close()
		}
		return err
	}
	return nil
}

// Maps are the maps shared with the firewall.
func (e *Engine) Maps() *Maps { return e.l.maps }

// Known lists the identifiers of all containers that are set up in the kernel,
// also by an earlier agent. Those that have ended meanwhile need Forget.
func (e *Engine) Known() []string { return e.l.maps.known() }

// Run reads what the kernel reports, gives signs of life and answers fanotify
// until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.heartbeat(ctx) })
	g.Go(func() error { return e.poll(ctx) })
	g.Go(func() error { return e.readDenials(ctx) })
	g.Go(func() error { return e.readObservations(ctx) })
	if e.fan != nil {
		g.Go(func() error { return e.fan.run(ctx) })
	}
	for range verifiers {
		g.Go(func() error { return e.verifyHeld(ctx) })
	}
	g.Go(func() error {
		<-ctx.Done()
		return e.rings.close()
	})
	err := g.Wait()
	// Nobody answers for held programs any more.
	err = errors.Join(err, e.l.maps.set(func(s *settings) { s.Hold, s.Heartbeat = 0, 0 }), e.settleHeld())
	return errors.Join(err, e.Flush())
}

func (e *Engine) heartbeat(ctx context.Context) error {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := e.l.maps.set(func(s *settings) { s.Heartbeat = monotonic() }); err != nil {
				return err
			}
			e.expireHeld()
		}
	}
}

func planMode(m v1alpha1.Mode) uint8 {
	switch m {
	case v1alpha1.Monitor:
		return modeMonitor
	case v1alpha1.Protect:
		return modeProtect
	}
	return modeLearn
}

// Apply installs or replaces the process section of a container's plan; a nil
// plan, or one without the section, only observes. The switch from the earlier
// section to this one is one step. Programs that were held before the
// container was known are judged now; call Release afterwards. The error is
// ErrGone when the container has ended, ErrTooManyRules when the plan is too
// large; what was in force stays in force then.
func (e *Engine) Apply(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	e.apply.Lock()
	defer e.apply.Unlock()
	cov, err := e.applyLocked(ctx, c, plan)
	if err != nil {
		return cov, fmt.Errorf("apply process section to container %s: %w", c.Short(), err)
	}
	return cov, nil
}

func (e *Engine) applyLocked(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	cov := guard.Coverage{Section: "process", Mechanism: "none"}
	if err := ctx.Err(); err != nil {
		return cov, err
	}
	if c.PID <= 0 {
		return cov, fmt.Errorf("%w: it has no process", ErrGone)
	}
	r, err := openRoot(c.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return cov, fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return cov, err
	}
	defer r.Close()
	m := &managed{c: c, plan: plan, mounts: r.mounts, top: r.top, prefix: r.prefix}
	proc := m.process()
	var unmatched []int
	if m.set, unmatched, err = compileRules(r, e.h, proc); err != nil {
		return cov, err
	}
	before := e.find(c.ID)
	_, known := e.l.maps.CID(c.ID)
	if m.cid, err = e.l.maps.number(c.ID); err != nil {
		return cov, err
	}
	m.entry = Container{Flags: FlagObserve, RootDev: r.top.dev, RootIno: r.ino, Plan: planTag(plan)}
	degraded := e.prepareDrift(m, r, proc)
	if proc != nil {
		m.entry.ExecMode = planMode(proc.Mode)
		m.entry.ListRule, m.entry.DriftRule = uint16(proc.ListRule), uint16(proc.DriftRule)
		if proc.Listed {
			m.entry.Flags |= FlagExecListed
		}
		if proc.Listed || len(proc.Deny) > 0 {
			m.entry.Flags |= FlagExecPaths
		}
	}
	if !known {
		// Device numbers are used again: verdicts of an earlier file system
		// under this one's number mean nothing.
		if err := deleteWhere(e.l.maps.files, func(k fileKey) bool { return k.Dev == r.top.dev && m.entry.Flags&FlagSnapshot == 0 }); err != nil {
			return cov, fmt.Errorf("drop verdicts of an earlier file system: %w", err)
		}
	}
	if e.fan != nil && m.layers != nil {
		if err := e.fan.mark(c.PID); err != nil {
			degraded = append(degraded, fmt.Sprintf("fanotify cannot watch this container (%v): scripts are not compared with the image", err))
		}
	}
	if err := e.install(m, before); err != nil {
		return cov, err
	}
	cgroupNote, err := e.claim(m, r)
	if err != nil {
		return cov, err
	}
	if cgroupNote != "" {
		degraded = append(degraded, cgroupNote)
	}
	e.mu.Lock()
	e.byID[c.ID], e.byCID[m.cid] = m, m
	e.mu.Unlock()
	e.judgeHeld(m, r)
	e.judgePending(m)
	if before == nil {
		e.observeRunning(m, r)
	}
	return e.coverage(m, degraded, unmatched), nil
}

// prepareDrift finds out how the container's files can be compared with the
// image's, and says what is missing.
func (e *Engine) prepareDrift(m *managed, r *rootfs, proc *policy.ProcessPlan) (degraded []string) {
	wanted := proc != nil && proc.DenyDrift
	if wanted {
		m.entry.Flags |= FlagDenyDrift
	}
	if r.top.fstype == "overlay" {
		l, err := parseLayers(r.top.super)
		if err == nil {
			err = l.reachable()
		}
		if err != nil {
			if wanted {
				degraded = append(degraded, fmt.Sprintf("image layers cannot be read (%v): files that the container wrote count as changed", err))
			}
			return degraded
		}
		m.layers = &l
		if wanted {
			m.entry.Flags |= FlagVerify
		}
		if e.fan == nil && wanted {
			degraded = append(degraded, fmt.Sprintf("no fanotify (%v): scripts are not compared with the image", e.fanErr))
		}
		return degraded
	}
	if !wanted {
		return nil
	}
	n, err := e.snapshot(m, r)
	if err != nil {
		m.entry.Flags &^= FlagDenyDrift
		return []string{fmt.Sprintf("drift is not enforced: the root is %s, not an overlay, and listing its programs failed: %v", r.top.fstype, err)}
	}
	m.entry.Flags |= FlagSnapshot
	return []string{fmt.Sprintf("the root is %s, not an overlay: drift is judged against the %d programs found when the policy was applied, by change time, and scripts are not checked", r.top.fstype, n)}
}

// install writes the rules as a new set, switches the container's entry to it
// in one step, and drops the earlier set.
func (e *Engine) install(m *managed, before *managed) error {
	maps := e.l.maps
	var set uint32
	if len(m.set) > 0 {
		if err := maps.set(func(s *settings) { s.NextSet++; set = s.NextSet }); err != nil {
			return err
		}
		for key, v := range m.set {
			key.Set = set
			if err := maps.execRules.Put(key, v); err != nil {
				return errors.Join(fmt.Errorf("write %d rules: %w", len(m.set), err), e.dropSet(set))
			}
		}
	}
	m.entry.Rules = set
	var old uint32
	err := maps.Update(m.cid, func(c *Container) {
		old = c.Rules
		c.Flags = c.Flags&^flagsExec | m.entry.Flags&flagsExec
		c.ExecMode, c.ListRule, c.DriftRule = m.entry.ExecMode, m.entry.ListRule, m.entry.DriftRule
		c.RootDev, c.RootIno = m.entry.RootDev, m.entry.RootIno
		c.Plan, c.Rules = m.entry.Plan, set
		m.entry = *c
	})
	if err != nil {
		return errors.Join(err, e.dropSet(set))
	}
	if before != nil && before.entry.Rules == old {
		return e.dropKeys(old, before.set)
	}
	return e.dropSet(old)
}

func (e *Engine) dropKeys(set uint32, keys ruleSet) error {
	for key := range keys {
		key.Set = set
		if err := e.l.maps.execRules.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("drop earlier rules: %w", err)
		}
	}
	return nil
}

func (e *Engine) dropSet(set uint32) error {
	if set == 0 {
		return nil
	}
	if err := deleteWhere(e.l.maps.execRules, func(k ruleKey) bool { return k.Set == set }); err != nil {
		return fmt.Errorf("drop earlier rules: %w", err)
	}
	return nil
}

// claim ties the container's cgroup and its present tasks to its number. A
// cgroup that others share is not claimed: the host must never be enforced.
func (e *Engine) claim(m *managed, r *rootfs) (note string, err error) {
	id, dir, err := cgroupOf(m.c.PID)
	if err != nil {
		return "", err
	}
	if m.c.CgroupID != 0 && m.c.CgroupID != id {
		// The first process moved on; what the runtime made is what counts.
		id, dir = m.c.CgroupID, ""
	}
	if shared, err := sharedCgroup(id); err != nil {
		return "", err
	} else if shared {
		note = "its cgroup is not its own: programs that the runtime starts in it later are covered only when their parent is"
		return note, e.seed(m, r, "")
	}
	m.cgroup = id
	if err := e.l.maps.Cgroups.Put(id, m.cid); err != nil {
		return "", fmt.Errorf("claim cgroup %d: %w", id, err)
	}
	return "", e.seed(m, r, dir)
}

// seed gives the container's number to the threads that run already: those in
// dir (a cgroup) and below, or of its pid namespace when dir is empty. Only
// tasks that stand on the container's root are its own.
func (e *Engine) seed(m *managed, r *rootfs, dir string) error {
	known := map[int]bool{}
	for range 8 { // until no new one appears; what is forked later inherits
		pids, err := processesOf(m.c.PID, dir)
		if err != nil {
			return err
		}
		fresh := 0
		for _, pid := range pids {
			if known[pid] || !r.isRootOf(pid) {
				continue
			}
			known[pid] = true
			fresh++
			threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
			if err != nil {
				continue // ended meanwhile
			}
			for _, t := range threads {
				tid, err := strconv.ParseUint(t.Name(), 10, 32)
				if err != nil {
					continue
				}
				if err := e.l.maps.Tasks.Put(uint32(tid), m.cid); err != nil {
					return fmt.Errorf("claim task %d: %w", tid, err)
				}
			}
		}
		if fresh == 0 {
			return nil
		}
	}
	return nil
}

// isRootOf reports whether a process stands on this root.
func (r *rootfs) isRootOf(pid int) bool {
	var a, b unix.Stat_t
	return unix.Stat(filepath.Join("/proc", strconv.Itoa(pid), "root"), &a) == nil &&
		unix.Fstat(int(r.dir.Fd()), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// processesOf lists the processes of a cgroup and those below it, or of the
// pid namespace of pid.
func processesOf(pid int, dir string) ([]int, error) {
	var out []int
	if dir == "" {
		want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGone, err)
		}
		if host, err := os.Readlink("/proc/1/ns/pid"); err != nil || host == want {
			return []int{pid}, nil
		}
		procs, err := os.ReadDir("/proc")
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		for _, p := range procs {
			n, err := strconv.Atoi(p.Name())
			if err != nil {
				continue
			}
			if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n)); err == nil && got == want {
				out = append(out, n)
			}
		}
		return out, nil
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // a cgroup that is gone has no processes
		}
		text, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil //nolint:nilerr
		}
		for _, w := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(w); err == nil {
				out = append(out, n)
			}
		}
		return nil
	})
	return out, err
}

// cgroupOf gives the id and the directory of a process's cgroup (v2).
func cgroupOf(pid int) (id uint64, dir string, err error) {
	mountPoint, err := cgroupMount()
	if err != nil {
		return 0, "", err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", ErrGone, err)
	}
	for line := range strings.Lines(string(text)) {
		if p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			dir = filepath.Join(mountPoint, p)
			var st unix.Stat_t
			if err := unix.Stat(dir, &st); err != nil {
				return 0, "", fmt.Errorf("find cgroup %s: %w", p, err)
			}
			return st.Ino, dir, nil
		}
	}
	return 0, "", fmt.Errorf("process %d is in no cgroup of version 2", pid)
}

// sharedCgroup reports whether a cgroup is the root, the node's first
// process's, or the agent's own.
func sharedCgroup(id uint64) (bool, error) {
	root, err := cgroupMount()
	if err != nil {
		return false, err
	}
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return false, fmt.Errorf("find root cgroup: %w", err)
	}
	if id == 0 || id == st.Ino {
		return true, nil
	}
	for _, pid := range []int{1, os.Getpid()} {
		if other, _, err := cgroupOf(pid); err == nil && other == id {
			return true, nil
		}
	}
	return false, nil
}

func planTag(p *policy.Plan) uint32 {
	if p == nil {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.ID)) // never fails
	return h.Sum32()
}

func (e *Engine) find(containerID string) *managed {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byID[containerID]
}

func (e *Engine) findCID(cid uint32) *managed {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.byCID[cid]
}

func (e *Engine) coverage(m *managed, degraded []string, unmatched []int) guard.Coverage {
	cov := guard.Coverage{Section: "process", Mechanism: mechanismKill, Degraded: strings.Join(degraded, "; ")}
	proc := m.process()
	if e.fan != nil && m.layers != nil && proc != nil && proc.DenyDrift {
		cov.Mechanism += " + " + mechanismFanotify
	}
	switch {
	case proc == nil || proc.Mode == v1alpha1.Learn:
		cov.Guarantee = "every program start is seen; nothing is stopped"
	case proc.Mode == v1alpha1.Monitor:
		cov.Guarantee = "every program start is judged and counted exactly; nothing is stopped"
	default:
		cov.Guarantee = "a forbidden program is killed before its first instruction, and counted exactly"
	}
	for _, n := range unmatched {
		if m.plan != nil && n < len(m.plan.Rules) {
			cov.Unmatched = append(cov.Unmatched, m.plan.Rules[n].Field)
		}
	}
	return cov
}

// Forget ends the enforcement of a container that is gone, after reporting its
// last counts. A container that is not known is no error.
func (e *Engine) Forget(containerID string) error {
	e.apply.Lock()
	defer e.apply.Unlock()
	maps := e.l.maps
	cid, ok := maps.CID(containerID)
	if !ok {
		return nil
	}
	var c Container
	if err := maps.Containers.Lookup(cid, &c); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget container %q: %w", containerID, err)
	}
	errs := []error{deleteKey(maps.Containers, cid)}
	errs = append(errs, e.Flush())
	if m := e.find(containerID); m != nil {
		if m.cgroup != 0 {
			errs = append(errs, deleteKey(maps.Cgroups, m.cgroup))
		}
		errs = append(errs, e.dropKeys(c.Rules, m.set))
	} else {
		errs = append(errs, deleteValues(maps.Cgroups, cid), e.dropSet(c.Rules))
	}
	errs = append(errs,
		deleteValues(maps.Tasks, cid),
		deleteWhere(maps.Counts, func(k CountKey) bool { return k.CID == cid && (k.Kind == kindExec || k.Kind == kindAgent) }),
		deleteWhere(maps.files, func(k fileKey) bool { return k.Dev == c.RootDev && c.Flags&FlagSnapshot == 0 }),
		deleteKey(maps.lost, cid), deleteKey(maps.Overflow, cid), deleteKey(maps.names, cid))
	e.report.forget(cid)
	e.mu.Lock()
	delete(e.byID, containerID)
	delete(e.byCID, cid)
	e.mu.Unlock()
	maps.cids.Delete(containerID)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forget container %q: %w", containerID, err)
	}
	return nil
}

func deleteKey(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// deleteValues removes the entries that hold cid. The key type is the map's own.
func deleteValues(m *ebpf.Map, cid uint32) error {
	key := make([]byte, m.KeySize())
	var value uint32
	var gone [][]byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		if value == cid {
			gone = append(gone, append([]byte(nil), key...))
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, k := range gone {
		if err := deleteKey(m, k); err != nil {
			return err
		}
	}
	return nil
}

// SetQuarantine sets or clears the mark by which the firewall programs cut all
// network of a container.
func (e *Engine) SetQuarantine(containerID string, on bool) error {
	cid, ok := e.l.maps.CID(containerID)
	if !ok {
		return fmt.Errorf("quarantine container %q: %w", containerID, ErrUnknownContainer)
	}
	return e.l.maps.Update(cid, func(c *Container) {
		c.Flags &^= FlagQuarantine
		if on {
			c.Flags |= FlagQuarantine
		}
		c.Generation++
	})
}

// Off is the kill switch: while on, the kernel programs decide nothing and let
// everything pass.
func (e *Engine) Off(on bool) error {
	return e.l.maps.set(func(s *settings) {
		s.Off = 0
		if on {
			s.Off = 1
		}
	})
}

// Close lets go of the kernel. With keep, enforcement stays in place for the
// next agent to adopt; without, everything is detached and unpinned. Run must
// have returned.
func (e *Engine) Close(keep bool) error {
	var errs []error
	if e.fan != nil {
		errs = append(errs, e.fan.close())
	}
	errs = append(errs, e.rings.close())
	if keep {
		// Nobody is there to be waited for; the next agent need not wait either.
		errs = append(errs, e.l.maps.set(func(s *settings) { s.AgentTGID, s.Hold = 0, 0 }))
	} else {
		errs = append(errs, Remove(e.cfg.PinDir))
	}
	errs = append(errs, e.l.close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close kernel engine: %w", err)
	}
	return nil
}
