package kernel

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

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
	idmap, err := readIDMap(c.PID)
	if err != nil {
		return cov, fmt.Errorf("%w: read its users: %w", ErrGone, err)
	}
	if m.compiled, err = compileRules(r, e.h, idmap, proc); err != nil {
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
		} else {
			m.entry.Flags |= FlagScripts
		}
	}
	if err := e.hooks.need(setProcess, c.ID, processHooks(proc)...); err != nil {
		return cov, err
	}
	if slices.ContainsFunc(m.conds, func(v condValue) bool { return v.Callers != 0 }) {
		m.entry.Flags |= FlagCallers
	}
	if len(m.scripts) > 0 {
		m.entry.Flags |= FlagScriptRules
	}
	degraded = append(degraded, m.notes...)
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
		e.describeAgain(m)
		e.observeRunning(m, r)
	}
	return e.coverage(m, degraded), nil
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
		if _, refused := e.hooks.refuses(setProcess, hookExec); e.fan == nil && wanted && !refused {
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
		for i, v := range m.conds {
			if err := maps.execConds.Put(condKey{set, uint32(i + 1)}, v); err != nil {
				return errors.Join(fmt.Errorf("write %d conditions: %w", len(m.conds), err), e.dropSet(set))
			}
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
		return e.dropKeys(old, before.compiled)
	}
	return e.dropSet(old)
}

func (e *Engine) dropKeys(set uint32, rules compiled) error {
	for i := range rules.conds {
		if err := deleteKey(e.l.maps.execConds, condKey{set, uint32(i + 1)}); err != nil {
			return fmt.Errorf("drop earlier conditions: %w", err)
		}
	}
	for key := range rules.set {
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
	if err := deleteWhere(e.l.maps.execConds, func(k condKey) bool { return k.Set == set }); err != nil {
		return fmt.Errorf("drop earlier conditions: %w", err)
	}
	return nil
}

func planTag(p *policy.Plan) uint32 {
	if p == nil {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.ID)) // never fails
	return h.Sum32()
}

func (e *Engine) coverage(m *managed, degraded []string) guard.Coverage {
	cov := guard.Coverage{Section: "process", Mechanism: mechanismKill, Degraded: strings.Join(degraded, "; ")}
	proc := m.process()
	if e.fan != nil && m.layers != nil && proc != nil && proc.DenyDrift {
		cov.Mechanism += " + " + mechanismFanotify
	}
	how, refused := e.hooks.refuses(setProcess, hookExec)
	if refused {
		cov.Mechanism = how.mechanism() + " + " + cov.Mechanism
	}
	switch {
	case proc == nil || proc.Mode == v1alpha1.Learn:
		cov.Guarantee = "every program start is seen; nothing is stopped"
	case proc.Mode == v1alpha1.Monitor:
		cov.Guarantee = "every program start is judged and counted exactly; nothing is stopped"
	case refused:
		cov.Guarantee = "the call that would start a forbidden program fails; what can be judged only afterwards is killed before its first instruction; both are counted exactly"
	default:
		cov.Guarantee = "a forbidden program is killed before its first instruction, and counted exactly"
	}
	if refused && proc != nil && proc.DenyDrift {
		for _, h := range []string{hookMap, hookProtect} {
			if why := e.hooks.of(setProcess, h).why(); why != "" {
				degraded = append(degraded, "libraries that the image does not have can be loaded: "+why)
			}
		}
		cov.Degraded = strings.Join(degraded, "; ")
	}
	for _, n := range m.unmatched {
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
	errs := []error{deleteKey(maps.Containers, cid), e.hooks.drop(containerID), e.dropFiles(cid), e.forgetHardening(cid)}
	delete(e.needs, containerID)
	errs = append(errs, e.Flush())
	if m := e.find(containerID); m != nil {
		if m.cgroup != 0 {
			errs = append(errs, deleteKey(maps.Cgroups, m.cgroup))
		}
		errs = append(errs, e.dropKeys(c.Rules, m.compiled))
	} else {
		errs = append(errs, deleteValues(maps.Cgroups, cid), e.dropSet(c.Rules))
	}
	errs = append(errs,
		deleteValues(maps.Tasks, cid),
		deleteWhere(maps.Counts, func(k CountKey) bool { return k.CID == cid && ours(k.Kind) }),
		deleteWhere(maps.files, func(k fileKey) bool { return k.Dev == c.RootDev && c.Flags&FlagSnapshot == 0 }),
		deleteKey(maps.accounts, cid), deleteKey(maps.Overflow, cid), deleteKey(maps.names, cid))
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
