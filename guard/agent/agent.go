// Package agent is the node: it joins the containers that discovery finds, the
// plans that policy compiles, and the parts that enforce, and it turns what
// those see into events and profiles.
//
// It loads no kernel program and reads no policy file; both are handed in. The
// one idea: a container has an entry; whatever changes (container, policy,
// neighbours, time) leads to reconcile, which compiles the container's plan
// and applies it when it differs from what is applied. Decisions never wait
// for the agent: it only prepares them.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/container"
	"github.com/gabion-dev/gabion/guard/profile"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// Kernel enforces every section but the network's; guard/kernel.Engine is one.
type Kernel interface {
	// Apply takes the container in and enforces the process section; the other
	// sections come after it. Each takes away what an earlier plan had and this
	// one has not.
	Apply(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error)
	ApplyFiles(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error)
	ApplyCapabilities(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error)
	ApplyHardening(ctx context.Context, c workload.Container, plan *policy.Plan) (guard.Coverage, error)
	Forget(containerID string) error
	Release(pid int) error
	NotAContainer(cgroupID uint64) error
	// Ended lists containers that are known to the kernel programs and have no
	// process any more.
	Ended() []string
	SetQuarantine(containerID string, on bool) error
}

// Firewall enforces the network section; guard/firewall.Firewall is one.
type Firewall interface {
	Apply(ctx context.Context, c workload.Container, plan *policy.Plan, n *facts.Neighbourhood) (guard.Coverage, error)
	Refresh(ctx context.Context, n *facts.Neighbourhood) error
	Forget(containerID string) error
}

// Discovery finds containers; guard/container.Discovery is one.
type Discovery interface {
	Run(ctx context.Context, fn func(container.Change)) error
	Identify(ctx context.Context, pid int, cgroupID uint64) (workload.Container, bool, error)
	// OnStart sets what is asked before a container's first program starts, by
	// runtimes that wait for the answer.
	OnStart(fn func(context.Context, workload.Container) error)
}

// Freezer stops and ends the processes of a container.
type Freezer interface {
	Pause(ctx context.Context, c workload.Container, on bool) error
	Kill(ctx context.Context, c workload.Container) error
}

// Profiles keeps what was learned across restarts. Load returns nil data for
// a workload that nothing was saved of.
type Profiles interface {
	Load(ctx context.Context, ref workload.Ref) (*v1alpha1.Profile, error)
	Save(ctx context.Context, ref workload.Ref, p v1alpha1.Profile) error
}

// Config sizes the agent. The zero value is usable.
type Config struct {
	Node string
	// StartBound is how long the runtime may take to say who a held container
	// is; default 1.5 s.
	StartBound time.Duration
	// HoldBound is how long the kernel part holds a first program before it lets
	// it go on without a policy; default 10 s.
	HoldBound time.Duration
	// SaveEvery is how often changed profiles are saved; default 1 s.
	SaveEvery time.Duration
	// Recheck is how often plans are compiled again because time passes
	// (exceptions expire); default 15 s.
	Recheck time.Duration
}

// Deps are what the agent joins. Kernel and Firewall may be nil on a machine
// that cannot load them: containers are then reported as blind.
type Deps struct {
	Log        *slog.Logger
	Now        func() time.Time
	Kernel     Kernel
	Firewall   Firewall
	Discovery  Discovery
	Freezer    Freezer
	Profiles   Profiles
	Techniques Techniques
	// Detector is told of everything that is seen and refused; nil is none.
	Detector Detector
	// Record takes events; it must not block.
	Record func(event.Event)
	// NodeAddresses lists the node's own addresses.
	NodeAddresses func() []netip.Addr
	// Alive reports whether a process is still there: a container that ended
	// between two looks is not blind, it is gone.
	Alive func(pid int) bool
}

// Techniques names the MITRE ATT&CK techniques of a happening by its kind, its
// reasons (words) and the program's path or applet.
type Techniques func(kind string, reasons []string, program string) []string

// Agent is the node. Make it with New, then Run.
type Agent struct {
	cfg  Config
	deps Deps

	starts  chan guard.Start
	detect  detection
	asked   chan asked
	changed chan struct{} // holds one token after the policies changed

	refresh sync.Mutex // one change of neighbours at a time

	mu         sync.Mutex // guards the fields below
	policies   *policy.Set
	entries    map[string]*entry
	profiles   map[workload.Ref]*learned
	neighbours *facts.Neighbourhood
	lossBy     map[string]guard.Loss
	// early are denials of containers that are not known yet, by their ID.
	early map[string]early
}

type entry struct {
	// applying serialises what is enforced on this container; containers do
	// not wait for each other.
	applying sync.Mutex

	c           workload.Container
	plan        *policy.Plan
	applied     bool
	coverage    []guard.Coverage
	blind       string // why a section in Protect is not enforced; empty when it is
	closed      bool   // paused because of whenBlind: Closed
	quarantined bool
	held        bool
	heldBy      string    // what stopped or delayed its first program: "NRI", "kernel"
	firstExec   time.Time // when the kernel saw its first program; zero when discovery found it later
	enforcedAt  time.Time
}

type learned struct {
	p     *profile.Profile
	dirty bool
	// unnamed workloads are containers that nobody gave a name; nothing will
	// ever come back under it, so what they did is not kept.
	unnamed bool
	idle    time.Time // since when no container of it runs; zero while one does
}

// idleFor is how long the profile of a workload without containers stays in
// memory after it was saved.
const idleFor = time.Hour

// New checks and fills the configuration.
func New(cfg Config, deps Deps) (*Agent, error) {
	if deps.Log == nil || deps.Now == nil || deps.Record == nil || deps.Discovery == nil {
		return nil, errors.New("make agent: Log, Now, Record and Discovery are needed")
	}
	if cfg.StartBound == 0 {
		cfg.StartBound = 1500 * time.Millisecond
	}
	if cfg.HoldBound == 0 {
		cfg.HoldBound = 10 * time.Second
	}
	if cfg.SaveEvery == 0 {
		cfg.SaveEvery = time.Second
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 15 * time.Second
	}
	if deps.NodeAddresses == nil {
		deps.NodeAddresses = nodeAddresses
	}
	if deps.Alive == nil {
		// The root of a process that has ended cannot be read, also while its
		// parent has not taken notice.
		deps.Alive = func(pid int) bool { _, err := os.Readlink(fmt.Sprintf("/proc/%d/root", pid)); return err == nil }
	}
	if deps.Techniques == nil {
		deps.Techniques = func(string, []string, string) []string { return nil }
	}
	return &Agent{
		cfg: cfg, deps: deps,
		starts:     make(chan guard.Start, 4096),
		detect:     newDetection(deps.Detector),
		asked:      make(chan asked),
		changed:    make(chan struct{}, 1),
		early:      map[string]early{},
		entries:    map[string]*entry{},
		profiles:   map[workload.Ref]*learned{},
		neighbours: facts.NewNeighbourhood(nil, deps.NodeAddresses()),
		lossBy:     map[string]guard.Loss{},
	}, nil
}

// startWorkers answer held containers side by side: one slow runtime answer
// must not hold up the next container.
const startWorkers = 16

// Run works until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range startWorkers {
		g.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case s := <-a.starts:
					a.begin(ctx, s)
				case q := <-a.asked:
					a.prepare(ctx, q)
				}
			}
		})
	}
	a.deps.Discovery.OnStart(a.Prepare)
	g.Go(func() error { return a.deps.Discovery.Run(ctx, func(c container.Change) { a.change(ctx, c) }) })
	if a.deps.Detector != nil {
		g.Go(func() error { return a.runDetection(ctx) })
	}
	g.Go(func() error { return a.every(ctx, a.cfg.SaveEvery, a.saveProfiles) })
	g.Go(func() error { return a.recheck(ctx) })
	err := g.Wait()
	// What was learned up to now is kept even when ctx has ended.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	a.saveProfiles(last)
	return err
}

func (a *Agent) every(ctx context.Context, d time.Duration, fn func(context.Context)) error {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			fn(ctx)
		}
	}
}

// recheck compiles plans again when time alone changes them: at the moment the
// next exception expires, and now and then in case the clock was set.
func (a *Agent) recheck(ctx context.Context) error {
	for {
		wait := a.cfg.Recheck
		a.mu.Lock()
		set := a.policies
		a.mu.Unlock()
		if set != nil {
			now := a.deps.Now()
			if at, ok := set.NextExpiry(now); ok {
				wait = max(min(wait, at.Sub(now)), 10*time.Millisecond)
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-a.changed:
			t.Stop() // other policies, another expiry
		case <-t.C:
			a.reconcileAll(ctx)
			a.settle(a.deps.Now().Add(-settleAfter))
			a.forgetEnded()
		}
	}
}

// SetPolicies replaces the desired state and applies what changed.
func (a *Agent) SetPolicies(ctx context.Context, set *policy.Set) {
	a.mu.Lock()
	a.policies = set
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
	a.reconcileAll(ctx)
}

// begin handles the first program of a container nobody has told of.
func (a *Agent) begin(ctx context.Context, s guard.Start) {
	began := a.deps.Now()
	bound, cancel := context.WithTimeout(ctx, a.cfg.StartBound)
	c, ok, err := a.deps.Discovery.Identify(bound, s.PID, s.CgroupID)
	cancel()
	identified := a.deps.Now()
	switch {
	case err != nil:
		a.deps.Log.Warn("identify starting container", "pid", s.PID, "cgroup", s.CgroupID, "err", err)
	case !ok:
		if a.deps.Kernel != nil {
			if err := a.deps.Kernel.NotAContainer(s.CgroupID); err != nil {
				a.deps.Log.Warn("remember cgroup as no container", "cgroup", s.CgroupID, "err", err)
			}
		}
	default:
		a.adopt(ctx, c, s, byKernel)
		a.heldTooLate(c.ID, s)
	}
	switch late := a.deps.Now().Sub(s.Time); {
	case !s.Held || !ok && err == nil:
	case err != nil && a.deps.Alive(s.PID):
		a.uncovered(s, c, "nobody could say which container it is: "+err.Error())
	case err == nil && late > a.cfg.HoldBound:
		a.uncovered(s, c, fmt.Sprintf("its policy was in force after %s, longer than a start is held", late.Round(time.Millisecond)))
	}
	if s.Held && a.deps.Kernel != nil {
		if err := a.deps.Kernel.Release(s.PID); err != nil {
			a.deps.Log.Error("let held container go on", "pid", s.PID, "err", err)
		}
	}
	a.deps.Log.Debug("first program of a cgroup", "pid", s.PID, "container", c.Short(), "held", s.Held,
		"queued", began.Sub(s.Time), "identify", identified.Sub(began), "cover", a.deps.Now().Sub(identified))
}

// uncovered says of a first program that it went on without a policy.
func (a *Agent) uncovered(s guard.Start, c workload.Container, why string) {
	ev := a.about(c, event.AgentHealth, "uncovered start", strconv.Itoa(s.PID), s.Time.String())
	ev.Severity, ev.Effect, ev.Reasons = event.High, event.NotBlocked, []string{"uncovered-start"}
	ev.Process = &event.Process{PID: s.PID}
	name := "a container"
	if !c.Workload.IsZero() {
		name = c.Workload.String()
	}
	ev.Message = fmt.Sprintf("The first program of %s (process %d) went on without a policy: %s", name, s.PID, why)
	a.deps.Record(ev)
}

// heldTooLate notes the hold of a container that the runtime had told of
// before: its start event then says that it was held as well.
func (a *Agent) heldTooLate(id string, s guard.Start) {
	a.mu.Lock()
	e := a.entries[id]
	missed := e != nil && s.Held && !e.held
	if missed {
		e.held, e.heldBy, e.firstExec = true, byKernel, s.Time
	}
	a.mu.Unlock()
	if missed {
		a.recordStart(id)
	}
}

func (a *Agent) change(ctx context.Context, ch container.Change) {
	if ch.Gone {
		a.gone(ctx, ch.Container.ID)
		return
	}
	a.adopt(ctx, ch.Container, guard.Start{}, "")
}

// adopt takes a container in, or takes in what is new about it. s is its start
// when that waits for us, and by what holds it.
func (a *Agent) adopt(ctx context.Context, c workload.Container, s guard.Start, by string) {
	c.Node = a.cfg.Node
	a.mu.Lock()
	e, known := a.entries[c.ID]
	if known && e.c.PID != 0 && c.PID == 0 {
		a.mu.Unlock()
		return // a listing that knows less than we do
	}
	if !known {
		e = &entry{held: s.Held, firstExec: s.Time}
		if s.Held {
			e.heldBy = by
		}
		a.entries[c.ID] = e
	}
	changed := !known || e.c.PID != c.PID || e.c.CgroupID != c.CgroupID || !maps.Equal(e.c.Labels, c.Labels) ||
		!slices.Equal(e.c.Addresses, c.Addresses) || e.c.Workload != c.Workload || e.c.ImageDigest != c.ImageDigest
	e.c = c
	if changed {
		e.applied = false
	}
	a.mu.Unlock()
	if !changed {
		if s.Held {
			// The runtime told of it a moment before its first program was held,
			// and whoever heard that may still be at it: the program must not go
			// on before the plan is in force.
			a.reconcile(ctx, c.ID)
		}
		return
	}
	a.loadProfile(ctx, c)
	// Neighbours first: when this container counts as covered, the others'
	// rules already know its addresses.
	a.refreshNeighbours(ctx)
	a.reconcile(ctx, c.ID)
	if !known {
		a.recordStart(c.ID)
	}
}

func (a *Agent) gone(ctx context.Context, id string) {
	a.mu.Lock()
	e, ok := a.entries[id]
	a.mu.Unlock()
	if !ok {
		return
	}
	// Forgetting reports the last denials, which still need their container.
	e.applying.Lock()
	if a.deps.Kernel != nil {
		if err := a.deps.Kernel.Forget(id); err != nil {
			a.deps.Log.Warn("forget container in kernel", "container", e.c.Short(), "err", err)
		}
	}
	if a.deps.Firewall != nil {
		if err := a.deps.Firewall.Forget(id); err != nil {
			a.deps.Log.Warn("forget container in firewall", "container", e.c.Short(), "err", err)
		}
	}
	a.mu.Lock()
	delete(a.entries, id)
	if l, ok := a.lossBy[id]; ok {
		// Losses of ended containers are kept as one sum.
		sum := a.lossBy[""]
		sum.Observations += l.Observations
		sum.Causes += l.Causes
		a.lossBy[""] = sum
		delete(a.lossBy, id)
	}
	a.mu.Unlock()
	e.applying.Unlock()
	a.endDetection(id)
	a.refreshNeighbours(ctx)
	ev := a.about(e.c, event.ContainerStop, "stop")
	ev.Message = fmt.Sprintf("%s stopped (container %s)", e.c.Workload, e.c.Short())
	a.deps.Record(ev)
}

// forgetEnded drops containers that an earlier agent managed and that ended
// while nobody watched. One that still has a process is kept, also when no
// runtime answers for it now: enforcement is never dropped on a guess.
func (a *Agent) forgetEnded() {
	if a.deps.Kernel == nil {
		return
	}
	for _, id := range a.deps.Kernel.Ended() {
		a.mu.Lock()
		_, known := a.entries[id]
		a.mu.Unlock()
		if known {
			continue
		}
		err := a.deps.Kernel.Forget(id)
		if a.deps.Firewall != nil {
			err = errors.Join(err, a.deps.Firewall.Forget(id))
		}
		if err != nil {
			a.deps.Log.Warn("forget container that ended unseen", "container", id, "err", err)
		}
	}
}

func nodeAddresses() []netip.Addr {
	addrs, err := interfaceAddrs()
	if err != nil {
		return nil
	}
	return addrs
}
