package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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
	// NoRefusal leaves out backend A: forbidden programs are killed where the
	// call could fail.
	NoRefusal bool
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
	hooks *hookUse
	h     hasher
	epoch uint64
	gap   time.Duration

	apply sync.Mutex // serialises changes of what is enforced
	// guarded by apply: whether what is the same for all containers is written,
	// and what the hardening of each needs
	hardened bool
	needs    map[string]hardenNeeds

	mu      sync.Mutex // guards the maps below
	byID    map[string]*managed
	byCID   map[uint32]*managed
	judging map[uint32]bool // processes that judgeVerified is at work on

	report reporter
	fan    *fanotify // nil without backend C
	fanErr error     // why not
	rings  rings
	verify chan startRecord // programs held to compare their files with the image
	mapped chan mapRecord   // the same for files that they mapped
}

// managed is a container that Apply was called for. It is replaced, never
// changed.
type managed struct {
	cid    uint32
	c      workload.Container
	cgroup uint64 // 0 when the cgroup is not the container's alone
	entry  Container
	compiled
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
		verify: make(chan startRecord, 1024), mapped: make(chan mapRecord, 1024), judging: map[uint32]bool{},
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
	if s, err := readSettings(e.cfg.PinDir); err == nil {
		if s.alive() {
			return fmt.Errorf("%w: process %d holds %s", ErrBusy, s.AgentTGID, e.cfg.PinDir)
		}
		e.gap = s.silence()
	}
	if e.l, err = load(e.cfg.PinDir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if e.hooks != nil {
				err = errors.Join(err, e.hooks.close())
			}
			err = errors.Join(err, e.rings.close(), e.l.close())
		}
	}()
	var off error
	if e.cfg.NoRefusal {
		off = errors.New("switched off")
	}
	e.hooks = newHookUse(e.log, e.cfg.PinDir, e.l.maps, off)
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
	err = e.l.attach(e.log, e.cfg.PinDir, e.hooks)
	if err == nil {
		err = e.hooks.wait(e.l.maps.known())
	}
	if err != nil {
		if e.fan != nil {
			e.fan.close()
		}
		return err
	}
	return nil
}

// Maps are the maps shared with the firewall.
func (e *Engine) Maps() *Maps { return e.l.maps }

// Gap is how long nobody watched before this agent, when the one before it
// ended without saying so (killed, out of memory, or worse); 0 when it did, or
// there was none. What it had installed went on deciding meanwhile.
func (e *Engine) Gap() time.Duration { return e.gap }

// Known lists the identifiers of all containers that are set up in the kernel,
// also by an earlier agent. Those that have ended meanwhile need Forget.
func (e *Engine) Known() []string { return e.l.maps.known() }

// Ended lists those of Known that have no task any more: they ended while no
// agent watched. It is nil when the tasks cannot be read.
func (e *Engine) Ended() []string {
	alive := map[uint32]bool{}
	var tid, cid uint32
	it := e.l.maps.Tasks.Iterate()
	for it.Next(&tid, &cid) {
		alive[cid] = true
	}
	if it.Err() != nil {
		return nil
	}
	return slices.DeleteFunc(e.Known(), func(id string) bool {
		cid, ok := e.l.maps.CID(id)
		return !ok || alive[cid]
	})
}

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
				e.log.Error("give a sign of life to the kernel programs; they hold nothing without it", "err", err)
			}
			e.expireHeld()
		}
	}
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
	errs = append(errs, e.hooks.close(), e.l.close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close kernel engine: %w", err)
	}
	return nil
}
