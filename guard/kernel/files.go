package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// ApplyFiles installs or replaces the files section of a container's plan; a
// nil plan, or one without the section, ends what was in force. The switch is
// one step. Apply must have been called for the container: that is what finds
// its tasks. The error is ErrUnknownContainer when it was not, ErrGone when the
// container has ended, ErrTooManyRules, ErrTooManyPrograms or
// ErrTooManyFileRules when the section is too large; what was in force stays in
// force then.
func (e *Engine) ApplyFiles(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	e.apply.Lock()
	defer e.apply.Unlock()
	cov, err := e.applyFiles(ctx, c, plan)
	if err != nil {
		return cov, fmt.Errorf("apply files section to container %s: %w", c.Short(), err)
	}
	return cov, nil
}

func (e *Engine) applyFiles(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	cov := guard.Coverage{Section: "files", Mechanism: "none"}
	if err := ctx.Err(); err != nil {
		return cov, err
	}
	m := e.find(c.ID)
	if m == nil {
		return cov, ErrUnknownContainer
	}
	if plan == nil || plan.Files == nil {
		cov.Guarantee = "no rule is about files"
		return cov, errors.Join(e.hooks.need(setFiles, c.ID), e.dropFiles(m.cid))
	}
	files := plan.Files
	r, err := openRoot(c.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return cov, fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return cov, err
	}
	defer r.Close()
	set, unmatched, err := compileFiles(r, e.h, files)
	if err != nil {
		return cov, err
	}
	for _, n := range unmatched {
		if n < len(plan.Rules) {
			cov.Unmatched = append(cov.Unmatched, plan.Rules[n].Field)
		}
	}
	needed := neededFileHooks(files)
	if err := e.hooks.need(setFiles, c.ID, needed...); err != nil {
		return cov, err
	}
	if e.coverFiles(&cov, files, set, needed); cov.Mechanism == "none" {
		return cov, errors.Join(e.hooks.need(setFiles, c.ID), e.dropFiles(m.cid))
	}
	entry := filePlan{
		Mode: planMode(files.Mode), Restricts: uint16(set.restricts), Plan: planTag(plan),
		RootDev: r.top.dev, RootIno: r.ino, Suspects: set.suspects, Groups: uint64(set.groups),
	}
	if entry.Mode == modeLearn || m.entry.Flags&FlagObserve != 0 {
		entry.Flags |= filesObserve
	}
	return cov, e.installFiles(m.cid, entry, set)
}

// installFiles writes the rules as a new set, switches the container to it in
// one step, and drops the earlier set.
func (e *Engine) installFiles(cid uint32, entry filePlan, set *fileSet) error {
	maps, err := e.hooks.ownMaps(setFiles)
	if err != nil {
		return err
	}
	if err := e.l.maps.set(func(s *settings) { s.NextSet++; entry.Set = s.NextSet }); err != nil {
		return err
	}
	entries := set.entries(entry.Set)
	for key, r := range entries {
		if err := maps[filesMapFileRules].Put(key, r); err != nil {
			return errors.Join(fmt.Errorf("write %d file rules: %w", len(entries), err), e.dropFileSet(entry.Set))
		}
	}
	var old filePlan
	if err := maps[filesMapFilePlans].Lookup(cid, &old); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return errors.Join(fmt.Errorf("read file plan: %w", err), e.dropFileSet(entry.Set))
	}
	if err := maps[filesMapFilePlans].Put(cid, entry); err != nil {
		return errors.Join(fmt.Errorf("write file plan: %w", err), e.dropFileSet(entry.Set))
	}
	return errors.Join(newGeneration(maps), e.dropFileSet(old.Set))
}

// newGeneration makes every verdict that was kept void. The kernel programs
// count on from what is written here, slower than the clock.
func newGeneration(maps map[string]*ebpf.Map) error {
	state := maps[filesMapFileState]
	var s fileState
	if err := state.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read generation of verdicts: %w", err)
	}
	s.Generation = max(monotonic(), s.Generation+1)
	if err := state.Put(uint32(0), s); err != nil {
		return fmt.Errorf("begin generation of verdicts: %w", err)
	}
	return nil
}

func (e *Engine) dropFileSet(set uint32) error {
	if set == 0 {
		return nil
	}
	maps, err := e.hooks.ownMaps(setFiles)
	if err != nil {
		return err
	}
	if err := deleteWhere(maps[filesMapFileRules], func(k fileRuleKey) bool { return k.Set == set }); err != nil {
		return fmt.Errorf("drop earlier file rules: %w", err)
	}
	return nil
}

// dropFiles ends the files section of a container.
func (e *Engine) dropFiles(cid uint32) error {
	maps, err := e.hooks.ownMaps(setFiles)
	if err != nil {
		return err
	}
	var old filePlan
	err = maps[filesMapFilePlans].Lookup(cid, &old)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read file plan: %w", err)
	}
	return errors.Join(deleteKey(maps[filesMapFilePlans], cid), newGeneration(maps), e.dropFileSet(old.Set))
}

// coverFiles says what the section is worth with the hooks that work here.
func (e *Engine) coverFiles(cov *guard.Coverage, p *policy.FilesPlan, set *fileSet, needed []string) {
	var mechanisms, degraded []string
	failed := map[string]string{}
	for _, name := range needed {
		r := e.hooks.of(setFiles, name)
		v, ok := r.works()
		switch {
		case !ok:
			failed[name] = r.why()
		case name != hookRenamed && !slices.Contains(mechanisms, v.mechanism()):
			mechanisms = append(mechanisms, v.mechanism())
		}
	}
	if len(needed) == 0 {
		cov.Mechanism, cov.Guarantee = "none", "no rule is about files"
		return
	}
	if len(mechanisms) == 0 || failed[hookRenamed] != "" {
		why := failed[hookRenamed]
		for _, name := range needed {
			if why == "" {
				why = failed[name]
			}
		}
		cov.Mechanism = "none"
		cov.Guarantee = "the use of files is neither seen nor stopped"
		cov.Degraded = "this kernel lets no program of ours judge the use of files: " + why
		return
	}
	cov.Mechanism = strings.Join(mechanisms, " + ")
	asked := policy.Access(0)
	for _, r := range p.Rules {
		asked |= r.Access
	}
	for _, a := range accessHooks {
		for _, h := range a.hooks {
			if why := failed[h]; why != "" && a.access&asked != 0 {
				degraded = append(degraded, fmt.Sprintf("%s is not held back from %s (%s)", a.access, h, why))
			}
		}
	}
	for _, h := range []string{hookFcntl, hookMapFile} {
		if why := failed[h]; why != "" && asked&policy.AccessExecute == 0 {
			degraded = append(degraded, fmt.Sprintf("what may only be appended to may be changed by %s (%s)", h, why))
		}
	}
	if set.narrowed {
		degraded = append(degraded, "who uses a file is told by the program's file alone: an allow rule whose programs are narrowed further (arguments, parents, users, scripts) allows nobody")
	}
	switch planMode(p.Mode) {
	case modeLearn:
		cov.Guarantee = "every use of files is seen, by directory, program and kind; nothing is stopped"
	case modeMonitor:
		cov.Guarantee = "every use of files is judged and counted exactly; nothing is stopped"
	default:
		cov.Guarantee = "the call that would use a file in a forbidden way fails, by whatever name, link or mount it is reached; descriptors that a program was started with are not judged again"
	}
	cov.Degraded = strings.Join(degraded, "; ")
}
