package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

const maxSwitches = 32

// switchAgent is no switch: what was tried on the agent itself.
const switchAgent = 31

// hardenEntry mirrors struct harden.
type hardenEntry struct {
	Mode     uint8
	CapMode  uint8
	CapRule  uint16
	Deny     uint32
	CapAllow uint64
	Rule     [maxSwitches]uint16
}

// exemptKey mirrors struct exempt_key: a program of a container.
type exemptKey struct {
	CID uint32
	Dev uint32
	Ino uint64
}

// socketName mirrors struct socket_name.
type socketName [32]byte

func nameOfSocket(s string) (n socketName) {
	copy(n[:len(n)-1], s)
	return n
}

func hardenSet() hookSet {
	return hookSet{
		name: setHarden, spec: loadHarden, hooks: hardenHooks(),
		maps: []string{hardenMapHardening, hardenMapExempts, hardenMapSockets, hardenMapOwn},
		scene: func(maps map[string]*ebpf.Map) error {
			return errors.Join(maps[hardenMapHardening].Put(canaryCID, nothing()),
				maps[hardenMapSockets].Put(nameOfSocket(canarySocket), uint32(1)))
		},
	}
}

func hardenSetB() hookSet {
	one := func(name, prog, at string, canary func() error) hook {
		return hook{name: name, canary: canary, variants: []variant{{prog, at}}}
	}
	exec := one(hookExecB, hardenbProgExecB, "raw_tp/sched_process_exec", startedCanary)
	exec.children = true
	return hookSet{
		name: setHardenB, spec: loadHardenb, everywhere: true,
		maps: []string{hardenbMapHardening, hardenbMapExempts},
		scene: func(maps map[string]*ebpf.Map) error {
			return maps[hardenbMapHardening].Put(canaryCID, nothing())
		},
		hooks: []hook{
			exec,
			one(hookDeviceB, hardenbProgDeviceB, "cgroup/dev", nodeCanary),
			one(hookSysctlB, hardenbProgSysctlB, "cgroup/sysctl", sysctlCanary),
			one(hookSocketB, hardenbProgSocketB, "cgroup/sock_create", rawSocketCanary),
		},
	}
}

// nothing is the hardening of a container that may do nothing.
func nothing() hardenEntry {
	return hardenEntry{Mode: modeProtect, CapMode: modeProtect, Deny: 1<<policy.NumSwitches - 1}
}

// ApplyHardening installs or replaces the hardening section of a container's
// plan; a nil plan, or one without the section, forbids nothing. Apply must
// have been called for the container: the error is ErrUnknownContainer
// otherwise, ErrGone when the container has ended. Once it was called for a
// container, the agent is protected from it, where calls can be made to fail.
func (e *Engine) ApplyHardening(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	e.apply.Lock()
	defer e.apply.Unlock()
	cov, err := e.applyHardening(ctx, c, plan)
	if err != nil {
		return cov, fmt.Errorf("apply hardening section to container %s: %w", c.Short(), err)
	}
	return cov, nil
}

func (e *Engine) applyHardening(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	cov := guard.Coverage{Section: "hardening", Mechanism: "none"}
	if err := ctx.Err(); err != nil {
		return cov, err
	}
	cid, ok := e.l.maps.CID(c.ID)
	if !ok {
		return cov, ErrUnknownContainer
	}
	var section *policy.HardeningPlan
	if plan != nil {
		section = plan.Hardening
	}
	maps, err := e.hardenMaps()
	if err != nil {
		return cov, err
	}
	next, may, unmatched, err := compileHardening(c.PID, section)
	if err != nil {
		return cov, err
	}
	if err := e.needHardening(c.ID, section, nil, false); err != nil {
		return cov, err
	}
	// In a moment of both, what either exempts is exempt.
	before, err := exemptOf(maps[hardenMapExempts], cid)
	if err != nil {
		return cov, err
	}
	for o, mask := range may {
		if err := maps[hardenMapExempts].Put(exemptKey{cid, o.dev, o.ino}, mask); err != nil {
			return cov, fmt.Errorf("write %d exempt programs: %w", len(may), err)
		}
	}
	if err := changeHardening(maps, cid, func(h *hardenEntry) { h.Mode, h.Deny, h.Rule = next.Mode, next.Deny, next.Rule }); err != nil {
		return cov, err
	}
	for _, k := range before {
		if _, still := may[fileID{k.Dev, k.Ino}]; !still {
			if err := deleteKey(maps[hardenMapExempts], k); err != nil {
				return cov, fmt.Errorf("drop exempt program: %w", err)
			}
		}
	}
	for _, n := range unmatched {
		if n < len(plan.Rules) {
			cov.Unmatched = append(cov.Unmatched, plan.Rules[n].Field)
		}
	}
	return e.coverHardening(cov, section), nil
}

// ApplyCapabilities installs or replaces the capabilities section of a
// container's plan, as ApplyHardening does with its.
func (e *Engine) ApplyCapabilities(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error) {
	e.apply.Lock()
	defer e.apply.Unlock()
	cov := guard.Coverage{Section: "capabilities", Mechanism: "none"}
	fail := func(err error) (guard.Coverage, error) {
		return cov, fmt.Errorf("apply capabilities section to container %s: %w", c.Short(), err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	cid, ok := e.l.maps.CID(c.ID)
	if !ok {
		return fail(ErrUnknownContainer)
	}
	var section *policy.CapabilitiesPlan
	if plan != nil {
		section = plan.Capabilities
	}
	maps, err := e.hardenMaps()
	if err != nil {
		return fail(err)
	}
	if err := e.needHardening(c.ID, nil, section, true); err != nil {
		return fail(err)
	}
	err = changeHardening(maps, cid, func(h *hardenEntry) {
		h.CapMode, h.CapAllow, h.CapRule = 0, 0, 0
		if section != nil {
			h.CapMode, h.CapAllow, h.CapRule = planMode(section.Mode), section.Allow, uint16(section.Rule) //nolint:gosec // bounded by Apply
		}
	})
	if err != nil {
		return fail(err)
	}
	if section == nil {
		cov.Guarantee = "the policy says nothing of capabilities"
		return cov, nil
	}
	known := e.hooks.of(setHarden, hookCapable)
	v, ok := known.works()
	if !ok {
		cov.Guarantee = "capabilities are not limited"
		cov.Degraded = "nothing can refuse the use of a capability: " + known.why()
		return cov, nil
	}
	cov.Mechanism = v.mechanism()
	switch section.Mode {
	case v1alpha1.Protect:
		cov.Guarantee = "using a capability that the policy does not allow fails, and is counted exactly"
	case v1alpha1.Monitor:
		cov.Guarantee = "using a capability that the policy does not allow is counted exactly; nothing is stopped"
	default:
		cov.Guarantee = "every capability that is used is seen; nothing is stopped"
	}
	return cov, nil
}

// hardenMaps opens the maps, and writes what is the same for all containers.
func (e *Engine) hardenMaps() (map[string]*ebpf.Map, error) {
	maps, err := e.hooks.ownMaps(setHarden)
	if err != nil || e.hardened {
		return maps, err
	}
	names, err := content.RuntimeSockets()
	if err != nil {
		return nil, err
	}
	for _, s := range names {
		if err := maps[hardenMapSockets].Put(nameOfSocket(s.Name), uint32(1)); err != nil {
			return nil, fmt.Errorf("write names of runtimes' sockets: %w", err)
		}
	}
	if err := e.ownObjects(maps[hardenMapOwn]); err != nil {
		return nil, err
	}
	e.hardened = true
	return maps, nil
}

// ownObjects tells the kernel programs which objects no container may take.
func (e *Engine) ownObjects(own *ebpf.Map) error {
	var st unix.Stat_t
	if err := unix.Stat(e.cfg.PinDir, &st); err != nil {
		return fmt.Errorf("find directory of pins: %w", err)
	}
	keys := []ownKey{{ownPinDir, uint32(st.Ino)}} //nolint:gosec // compared as 32 bits
	for _, m := range e.l.maps.fields() {
		info, err := (*m).Info()
		if err != nil {
			return fmt.Errorf("find number of a map: %w", err)
		}
		if id, ok := info.ID(); ok {
			keys = append(keys, ownKey{ownMap, uint32(id)})
		}
	}
	for _, p := range e.l.progs {
		info, err := p.Info()
		if err != nil {
			return fmt.Errorf("find number of a program: %w", err)
		}
		if id, ok := info.ID(); ok {
			keys = append(keys, ownKey{ownProg, uint32(id)})
		}
	}
	for _, k := range keys {
		if err := own.Put(k, uint32(1)); err != nil {
			return fmt.Errorf("name the agent's own objects: %w", err)
		}
	}
	return nil
}

// changeHardening changes the entry of a container.
func changeHardening(maps map[string]*ebpf.Map, cid uint32, change func(*hardenEntry)) error {
	m := maps[hardenMapHardening]
	var h hardenEntry
	if err := m.Lookup(cid, &h); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("read hardening: %w", err)
	}
	change(&h)
	if err := m.Put(cid, h); err != nil {
		return fmt.Errorf("write hardening: %w", err)
	}
	return nil
}

// exemptOf lists the exempt programs of a container.
func exemptOf(m *ebpf.Map, cid uint32) (out []exemptKey, err error) {
	var key exemptKey
	var mask uint32
	it := m.Iterate()
	for it.Next(&key, &mask) {
		if key.CID == cid {
			out = append(out, key)
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("read exempt programs: %w", err)
	}
	return out, nil
}

// forgetHardening drops what a container that is gone had.
func (e *Engine) forgetHardening(cid uint32) error {
	if _, err := os.Stat(filepath.Join(mapDir(e.cfg.PinDir), hardenMapHardening)); errors.Is(err, fs.ErrNotExist) {
		return nil // never used
	}
	maps, err := e.hooks.ownMaps(setHarden)
	if err != nil {
		return err
	}
	return errors.Join(deleteKey(maps[hardenMapHardening], cid),
		deleteWhere(maps[hardenMapExempts], func(k exemptKey) bool { return k.CID == cid }))
}

// hardenNeeds are the hooks that two sections of a container need of backend A.
type hardenNeeds struct {
	hardening *policy.HardeningPlan
	caps      *policy.CapabilitiesPlan
}

// needHardening attaches the hooks of one section of a container, keeping
// those of the other.
func (e *Engine) needHardening(containerID string, p *policy.HardeningPlan, caps *policy.CapabilitiesPlan, isCaps bool) error {
	if e.needs == nil {
		e.needs = map[string]hardenNeeds{}
	}
	n := e.needs[containerID]
	if isCaps {
		n.caps = caps
	} else {
		n.hardening = p
	}
	a := selfHooks()
	var b []string
	if n.caps != nil {
		a = append(a, hookCapable)
	}
	if n.hardening != nil {
		for _, d := range n.hardening.Deny {
			for _, part := range switchParts(d.Switch) {
				if _, ok := e.hooks.refuses(setHarden, part.hook); ok {
					a = append(a, part.hook)
				} else if part.instead != "" {
					b = append(b, part.instead)
				}
			}
		}
	}
	slices.Sort(a)
	slices.Sort(b)
	if err := e.hooks.need(setHarden, containerID, slices.Compact(a)...); err != nil {
		return err
	}
	if err := e.hooks.need(setHardenB, containerID, slices.Compact(b)...); err != nil {
		return err
	}
	e.needs[containerID] = n
	return nil
}

// coverHardening says by what each switch is enforced, and what is not.
func (e *Engine) coverHardening(cov guard.Coverage, p *policy.HardeningPlan) guard.Coverage {
	if p == nil {
		cov.Guarantee = "the policy says nothing of hardening"
		return cov
	}
	var mechanisms, full, partly, none, degraded []string
	for _, d := range p.Deny {
		missing, some := []string(nil), false
		for _, part := range switchParts(d.Switch) {
			if v, ok := e.hooks.refuses(setHarden, part.hook); ok {
				mechanisms, some = append(mechanisms, v.mechanism()), true
				continue
			}
			if part.instead != "" {
				if v, ok := e.hooks.refuses(setHardenB, part.instead); ok {
					mechanisms, some = append(mechanisms, mechanismOf(v)), true
					if part.partly != "" {
						missing = append(missing, part.partly)
					}
					continue
				}
			}
			missing = append(missing, "no refusal of "+part.hook)
		}
		name := d.Switch.String()
		switch {
		case len(missing) == 0:
			full = append(full, name)
		case some:
			partly = append(partly, name)
			degraded = append(degraded, name+" in part: "+strings.Join(missing, ", "))
		default:
			none = append(none, name)
		}
	}
	if len(none) > 0 {
		degraded = append(degraded, "not enforced here (gabion doctor says why): "+strings.Join(none, ", "))
	}
	slices.Sort(mechanisms)
	if m := slices.Compact(mechanisms); len(m) > 0 {
		cov.Mechanism = strings.Join(m, " + ")
	}
	cov.Degraded = strings.Join(degraded, "; ")
	done := len(full) + len(partly)
	switch {
	case len(p.Deny) == 0:
		cov.Guarantee = "the policy forbids nothing"
	case done == 0:
		cov.Guarantee = "nothing of it is stopped or seen"
	case p.Mode == v1alpha1.Protect:
		cov.Guarantee = fmt.Sprintf("what %d of %d switches forbid fails, or its program is killed before its first instruction; all is counted exactly", done, len(p.Deny))
	case p.Mode == v1alpha1.Monitor:
		cov.Guarantee = fmt.Sprintf("what %d of %d switches forbid is counted exactly; nothing is stopped", done, len(p.Deny))
	default:
		cov.Guarantee = fmt.Sprintf("what %d of %d switches are about is seen; nothing is stopped", done, len(p.Deny))
	}
	return cov
}

// mechanismOf names what stands in for backend A.
func mechanismOf(v variant) string {
	if v.mechanism() == "raw_tp" {
		return mechanismKill
	}
	return v.name
}
