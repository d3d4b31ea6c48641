// Package lifecycle starts the long-running parts of a process in order, stops
// them in reverse, and says how each one is and why.
//
// It knows nothing of what the parts do. The one idea: a Unit is a function
// that runs until its context ends and reports its own health; the Group
// decides from that alone what starts next, what is started again and when the
// whole process must end. A panic in a unit is not caught: a part in an unknown
// state must not go on deciding.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Errors that Run wraps, for errors.Is.
var (
	// ErrNotReady: a required unit did not report ready within its bound.
	ErrNotReady = errors.New("not ready in time")
	// ErrEnded: a required unit returned although nobody asked it to stop.
	ErrEnded = errors.New("ended by itself")
	// ErrStuck: a unit did not return within its bound after being told to stop.
	ErrStuck = errors.New("did not stop in time")
)

// State is where a unit is in its life.
type State string

// States.
const (
	Waiting  State = "waiting"  // an earlier unit is not ready yet
	Starting State = "starting" // runs, has not reported ready
	Ready    State = "ready"
	Degraded State = "degraded" // runs, does less than it should; the reason says what
	Failed   State = "failed"   // returned an error; will be started again if it may fail
	Stopped  State = "stopped"  // returned after being told to stop
)

// Status is the health of one unit.
type Status struct {
	Name   string    `json:"name"`
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // when the state or the reason last changed
	// Restarts counts how often a unit that may fail was started again.
	Restarts int `json:"restarts,omitempty"`
}

// Reporter is how a running unit says how it is. Safe for concurrent use;
// reports of a run that has ended are ignored.
type Reporter interface {
	// Ready says that the unit does all it should. The first call lets the next
	// unit start.
	Ready()
	// Degraded says that the unit runs but does less than it should, and why.
	// It too lets the next unit start.
	Degraded(reason string)
}

// Unit is one long-running part.
type Unit struct {
	Name string
	// Run works until ctx ends and then returns nil or the context's error. It
	// calls r.Ready (or Degraded) once it serves its purpose.
	Run func(ctx context.Context, r Reporter) error
	// MayFail marks a unit that others can do without: when it fails it is
	// started again after a pause, and the group goes on. The failure of any
	// other unit ends the group.
	MayFail bool
	// StartBound is how long the next unit waits for this one to be ready; for
	// a required unit its end is a failure. Default 30 s.
	StartBound time.Duration
	// StopBound is how long Run may take to return when told to. Default 10 s.
	StopBound time.Duration
}

// Config has what a Group needs of its surroundings. Zero fields get defaults.
type Config struct {
	Log *slog.Logger
	Now func() time.Time
	// Backoff gives the pause before restart number n (1, 2, ...) of a unit
	// that keeps failing. Default: 0.5 s doubling up to 30 s.
	Backoff func(n int) time.Duration
	// Calm is how long a unit must have run before a failure counts as the
	// first one again. Default 1 minute.
	Calm time.Duration
	// OnChange, when set, is told of every change, one call at a time. It must
	// return soon and must not call the Group.
	OnChange func(Status)
}

// Group runs units. Make one with New.
type Group struct {
	cfg   Config
	units []*unit

	changes sync.Mutex // keeps OnChange calls in order
	mu      sync.Mutex // guards every unit's status
}

type unit struct {
	Unit
	status Status // guarded by Group.mu
	run    int    // number of the present run, guarded by Group.mu

	up     chan struct{} // closed when the next unit may start
	upOnce sync.Once
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a group of units in the order in which they start.
func New(cfg Config, units ...Unit) *Group {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Backoff == nil {
		cfg.Backoff = Backoff
	}
	if cfg.Calm == 0 {
		cfg.Calm = time.Minute
	}
	g := &Group{cfg: cfg}
	for _, u := range units {
		if u.StartBound == 0 {
			u.StartBound = 30 * time.Second
		}
		if u.StopBound == 0 {
			u.StopBound = 10 * time.Second
		}
		g.units = append(g.units, &unit{
			Unit:   u,
			status: Status{Name: u.Name, State: Waiting, Since: cfg.Now()},
			up:     make(chan struct{}),
			done:   make(chan struct{}),
		})
	}
	return g
}

// Backoff is the default pause before restart number n: 0.5 s doubling up to 30 s.
func Backoff(n int) time.Duration {
	d := 500 * time.Millisecond
	for i := 1; i < n && d < 30*time.Second; i++ {
		d *= 2
	}
	return min(d, 30*time.Second)
}

// Health gives the status of every unit, in starting order.
func (g *Group) Health() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Status, 0, len(g.units))
	for _, u := range g.units {
		out = append(out, u.status)
	}
	return out
}

// Run starts the units in order, waits until ctx ends or a required unit
// fails, then stops them in reverse. It returns nil when ctx ended and all
// units stopped well; else everything that went wrong, joined. A Group runs once.
func (g *Group) Run(ctx context.Context) error {
	// Units must not see ctx end all at once: each is told in its turn.
	base := context.WithoutCancel(ctx)
	failed := make(chan error, len(g.units))

	started, err := g.start(ctx, base, failed)
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	return errors.Join(err, g.stop(started))
}

// start brings the units up one after the other and says how many it started.
func (g *Group) start(ctx, base context.Context, failed chan error) (int, error) {
	for i, u := range g.units {
		uctx, cancel := context.WithCancel(base)
		u.cancel = cancel
		go g.supervise(uctx, u, failed)

		bound := time.NewTimer(u.StartBound)
		select {
		case <-u.up:
		case err := <-failed:
			bound.Stop()
			return i + 1, err
		case <-ctx.Done():
			bound.Stop()
			return i + 1, nil
		case <-bound.C:
			if !u.MayFail {
				return i + 1, fmt.Errorf("start %s: %w (%v)", u.Name, ErrNotReady, u.StartBound)
			}
			g.cfg.Log.Warn("going on without a part that is not ready", "unit", u.Name, "bound", u.StartBound)
		}
		bound.Stop()
	}
	return len(g.units), nil
}

// stop ends the first n units, last first.
func (g *Group) stop(n int) error {
	var errs []error
	for i := n - 1; i >= 0; i-- {
		u := g.units[i]
		u.cancel()
		bound := time.NewTimer(u.StopBound)
		select {
		case <-u.done:
		case <-bound.C:
			err := fmt.Errorf("stop %s: %w (%v)", u.Name, ErrStuck, u.StopBound)
			g.set(u, 0, Failed, err.Error())
			errs = append(errs, err)
		}
		bound.Stop()
	}
	return errors.Join(errs...)
}

// supervise runs one unit, again and again if it may fail, until uctx ends.
func (g *Group) supervise(uctx context.Context, u *unit, failed chan<- error) {
	defer close(u.done)
	for failures := 0; ; {
		run := g.begin(u, failures > 0)
		began := g.cfg.Now()
		err := u.Run(uctx, reporter{g, u, run})
		if uctx.Err() != nil {
			g.end(u, err)
			return
		}
		if err == nil {
			err = ErrEnded
		}
		err = fmt.Errorf("run %s: %w", u.Name, err)
		g.set(u, run, Failed, err.Error())
		if !u.MayFail {
			failed <- err
			<-uctx.Done()
			return
		}
		u.upOnce.Do(func() { close(u.up) }) // others do not wait for what they can do without
		if g.cfg.Now().Sub(began) >= g.cfg.Calm {
			failures = 0
		}
		failures++
		pause := time.NewTimer(g.cfg.Backoff(failures))
		select {
		case <-pause.C:
		case <-uctx.Done():
			pause.Stop()
			g.end(u, nil)
			return
		}
	}
}

func (g *Group) begin(u *unit, again bool) int {
	g.mu.Lock()
	u.run++
	run := u.run
	if again {
		u.status.Restarts++
	}
	g.mu.Unlock()
	g.set(u, run, Starting, "")
	return run
}

// end records that a unit which was told to stop did so.
func (g *Group) end(u *unit, err error) {
	reason := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		reason = err.Error()
	}
	g.set(u, 0, Stopped, reason)
}

// set changes a unit's status unless run is over (0 means whatever the run).
func (g *Group) set(u *unit, run int, s State, reason string) {
	g.changes.Lock()
	defer g.changes.Unlock()
	g.mu.Lock()
	now := u.status
	over := run != 0 && (run != u.run || now.State == Failed && s != Starting || now.State == Stopped)
	if over || now.State == s && now.Reason == reason {
		g.mu.Unlock()
		return
	}
	u.status.State, u.status.Reason, u.status.Since = s, reason, g.cfg.Now()
	now = u.status
	g.mu.Unlock()

	level := slog.LevelInfo
	if s == Failed || s == Degraded {
		level = slog.LevelWarn
	}
	g.cfg.Log.Log(context.Background(), level, "part changed", "unit", now.Name, "state", now.State, "reason", now.Reason)
	if g.cfg.OnChange != nil {
		g.cfg.OnChange(now)
	}
}

type reporter struct {
	g   *Group
	u   *unit
	run int
}

func (r reporter) Ready() { r.report(Ready, "") }

func (r reporter) Degraded(reason string) { r.report(Degraded, reason) }

func (r reporter) report(s State, reason string) {
	r.g.set(r.u, r.run, s, reason)
	r.u.upOnce.Do(func() { close(r.u.up) })
}
