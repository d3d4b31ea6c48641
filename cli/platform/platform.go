// Package platform wires every role of Gabion into one process: the node, the
// bus and store, the responder and the console.
//
// It decides nothing; it only introduces rooms to each other that must not
// import each other. The one idea: Open makes every part in the order of what
// needs what, Run starts them as units that report their own health, and a
// part that may be missing (kernel, console, responder) is missing loudly
// while the rest goes on.
package platform

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/cli/platform/images"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/folder"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/guard/agent"
	"github.com/gabion-dev/gabion/guard/container"
	"github.com/gabion-dev/gabion/guard/detect"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/internal/lifecycle"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/respond/sink"
	"github.com/gabion-dev/gabion/workload"
)

// Defaults of the command line.
const (
	DefaultPins     = "/sys/fs/bpf/gabion"
	DefaultData     = "/var/lib/gabion"
	DefaultPolicies = "/etc/gabion/policies"
	DefaultListen   = "127.0.0.1:8443"
)

// Config says where everything is. All paths are made when missing.
type Config struct {
	Policies string // folder of policies
	Data     string // folder of state
	Pins     string // folder of pinned kernel objects
	Socket   string // unix socket of the command line
	Listen   string // TLS address of the console, or "off"
	// Hosts are more names by which browsers may reach the console.
	Hosts []string
	// Retention bounds what the store keeps.
	Retention store.Retention
	// Runtimes are the sockets to ask; zero: the usual places.
	Runtimes container.Config
	// Images bounds what is kept of scanned images.
	Images images.Config
	// Database is the file of advisories; empty: the local one, else the one
	// inside the program.
	Database string
	// NoHold lets starting containers run before their policy is in force.
	NoHold bool
	// Detections are what to look for; nil: those inside the program.
	Detections *detect.Pack
}

// Platform is one whole Gabion. Make it with Open, then Run.
type Platform struct {
	cfg     Config
	log     *slog.Logger
	node    string
	started time.Time

	lock      *os.File // on the data folder
	store     *store.SQLite
	bus       *bus.NATS
	recorder  *fleet.Recorder
	responder *respond.Engine
	kernel    kernelPart
	discovery *container.Discovery
	agent     *agent.Agent
	folder    *folder.Folder
	images    imagesPart
	console   *console.Server
	group     *lifecycle.Group
	library   *content.Library
	probe     probed
	lint      linted

	mu       sync.Mutex
	state    folder.State
	loadedAt map[string]time.Time // policy id -> when this content was loaded
	sources  map[string]string    // policy id -> its text, to tell changes
	reporter lifecycle.Reporter   // of the recorder's unit, once it runs
	edits    sync.Mutex           // one edit of the folder at a time
}

// Open makes every part. Nothing enforces or listens for people before Run.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (p *Platform, err error) {
	p = &Platform{cfg: cfg, log: log, started: time.Now(), loadedAt: map[string]time.Time{}, sources: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start gabion: %w", err), p.Close())
		}
	}()
	if p.node, err = os.Hostname(); err != nil {
		return p, err
	}
	if err = os.MkdirAll(cfg.Data, 0o700); err != nil {
		return p, err
	}
	if p.lock, err = lockData(cfg.Data); err != nil {
		return p, err
	}
	if err = os.MkdirAll(filepath.Dir(cfg.Socket), 0o755); err != nil {
		return p, err
	}
	if p.library, err = content.Load(); err != nil {
		return p, err
	}
	if p.store, err = store.Open(ctx, store.Config{Path: filepath.Join(cfg.Data, "events.db"), Log: log, Now: time.Now}); err != nil {
		return p, err
	}
	if p.bus, err = bus.Open(ctx, bus.Config{Dir: filepath.Join(cfg.Data, "bus"), Log: log}); err != nil {
		return p, err
	}
	if p.recorder, err = fleet.New(fleet.Config{Node: p.node, Retention: cfg.Retention, PruneEvery: time.Minute}, fleet.Deps{
		Log: log, Now: time.Now, Bus: p.bus, Store: p.store, OnHealth: p.recorderHealth,
		Respond: func(ctx context.Context, e event.Event) { p.responder.Handle(ctx, e) },
	}); err != nil {
		return p, err
	}
	for _, r := range p.store.Recovered() {
		p.recorder.Record(fleet.Damaged(r))
	}
	checks := []v1alpha1.Validator{respond.Check}
	if p.folder, err = folder.New(folder.Config{Dir: cfg.Policies, LastGood: filepath.Join(cfg.Data, "last-good"), Checks: checks}); err != nil {
		return p, err
	}
	if err = minicontainer.Clean(""); err != nil {
		log.Warn("clean up after a run that was killed", "err", err)
	}
	if p.discovery, err = container.New(cfg.Runtimes, log); err != nil {
		return p, err
	}
	if cfg.Detections == nil {
		if cfg.Detections, err = Detections(""); err != nil {
			return p, err
		}
	}
	late := &lateSink{}
	p.kernel = openKernel(cfg, p.node, log, late)
	if errors.Is(p.kernel.why, kernel.ErrBusy) {
		// A second guard over the same state would only be blind beside the first.
		return p, fmt.Errorf("%w; stop that one, or give this one --pins of its own", p.kernel.why)
	}
	if p.agent, err = agent.New(agent.Config{Node: p.node, HoldBound: holdBound}, agent.Deps{
		Log: log, Now: time.Now, Kernel: p.kernel.asKernel(), Firewall: p.kernel.asFirewall(), Discovery: p.discovery,
		Freezer: container.Freezer{}, Profiles: profiles{p.store}, Techniques: p.library.Techniques, Record: p.recorder.Record,
		Detector: detect.New(cfg.Detections),
	}); err != nil {
		return p, err
	}
	late.Sink = p.agent
	if p.responder, err = respond.New(respond.Config{Node: p.node}, respond.Deps{
		Log: log, Now: time.Now, Containment: containment{p.agent}, Emit: p.recorder.Record, State: responses{p.store},
		Lookup: func(id string) (workload.Container, bool) {
			st, err := p.agent.Container(id)
			return st.Container, err == nil
		},
		Sinks: func(a v1alpha1.NotifyAction, lost func(string, uint64, error)) (respond.Sink, error) {
			return sink.Open(a, sink.Config{Log: log, OnLoss: lost})
		},
	}); err != nil {
		return p, err
	}
	if p.images, err = p.openImages(ctx); err != nil {
		return p, err
	}
	if p.console, err = console.New(console.Config{Listen: cfg.Listen, Hosts: cfg.Hosts, Socket: cfg.Socket, DataDir: cfg.Data}, console.Deps{
		Platform: p, Images: p.images.room, Store: p.store, Follow: p.recorder.Follow, Log: log, Now: time.Now, Rand: rand.Reader,
		Record: func(_ context.Context, e event.Event) error { p.recorder.Record(e); return nil },
	}); err != nil {
		return p, err
	}
	p.group = lifecycle.New(lifecycle.Config{Log: log, Now: time.Now}, p.units()...)
	return p, nil
}

// SignIn is the link that signs in once, the address and the fingerprint of
// the console's certificate; empty when it does not listen.
func (p *Platform) SignIn() (link, addr, fingerprint string) {
	return p.console.SignInLink(), p.console.Addr(), p.console.Fingerprint()
}

// Run works until ctx ends or a part that everything needs fails.
func (p *Platform) Run(ctx context.Context) error { return p.group.Run(ctx) }

// Close stops what Run left open. Enforcement is taken out of the kernel: an
// end on purpose leaves nothing behind.
func (p *Platform) Close() error {
	var errs []error
	if p.console != nil {
		if err := p.console.Close(); !errors.Is(err, net.ErrClosed) { // Run has closed it already
			errs = append(errs, err)
		}
	}
	if p.responder != nil {
		errs = append(errs, p.responder.Close())
	}
	errs = append(errs, p.kernel.close())
	if p.discovery != nil {
		errs = append(errs, p.discovery.Close())
	}
	errs = append(errs, p.images.close())
	if p.bus != nil {
		errs = append(errs, p.bus.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.lock != nil {
		errs = append(errs, p.lock.Close())
	}
	return errors.Join(errs...)
}

func (p *Platform) units() []lifecycle.Unit {
	simple := func(run func(context.Context) error) func(context.Context, lifecycle.Reporter) error {
		return func(ctx context.Context, r lifecycle.Reporter) error {
			r.Ready()
			return run(ctx)
		}
	}
	return []lifecycle.Unit{
		{Name: "recorder", Run: func(ctx context.Context, r lifecycle.Reporter) error {
			p.mu.Lock()
			p.reporter = r
			p.mu.Unlock()
			r.Ready()
			return p.recorder.Run(ctx)
		}},
		{Name: "responder", MayFail: true, Run: simple(p.responder.Run)},
		{Name: "kernel", Run: func(ctx context.Context, r lifecycle.Reporter) error {
			if gap := p.kernel.gap(); gap > 0 {
				p.recorder.Record(p.unwatched(gap))
			}
			return p.kernel.run(ctx, r)
		}},
		{Name: "firewall", Run: p.kernel.runFirewall},
		{Name: "agent", Run: func(ctx context.Context, r lifecycle.Reporter) error {
			// The policies of the folder are in force before the first container
			// is looked at.
			if st, err := p.folder.Read(); err != nil {
				r.Degraded(err.Error())
			} else {
				p.load(ctx, st)
				r.Ready()
			}
			return p.agent.Run(ctx)
		}},
		{Name: "policies", Run: func(ctx context.Context, r lifecycle.Reporter) error {
			return p.folder.Run(ctx, func(st folder.State) { p.load(ctx, st) }, func(err error) {
				switch st := p.current(); {
				case err != nil:
					r.Degraded(err.Error())
				case len(st.Problems) > 0:
					r.Degraded(fmt.Sprintf("%d faults in the policies folder; the first: %s", len(st.Problems), st.Problems[0]))
				default:
					r.Ready()
				}
			})
		}},
		{Name: "images", MayFail: true, Run: func(ctx context.Context, r lifecycle.Reporter) error { return p.images.room.Run(ctx, r) }},
		{Name: "console", MayFail: true, Run: simple(p.console.Run)},
	}
}

// load takes a new state of the folder into force and records what changed.
func (p *Platform) load(ctx context.Context, st folder.State) {
	now := time.Now()
	p.mu.Lock()
	before, first := p.sources, p.state.Set == nil
	if !first && st.Fingerprint == p.state.Fingerprint {
		p.mu.Unlock()
		return
	}
	p.state = st
	p.sources = map[string]string{}
	for _, d := range st.Set.Documents() {
		id := v1alpha1.ID(d.Object)
		p.sources[id] = string(d.Source)
		if before[id] != string(d.Source) {
			p.loadedAt[id] = now
		}
	}
	after := p.sources
	p.mu.Unlock()

	var responses []*v1alpha1.ResponsePolicy
	var targets []*v1alpha1.ScanTarget
	for _, d := range st.Set.Documents() {
		switch o := d.Object.(type) {
		case *v1alpha1.ResponsePolicy:
			responses = append(responses, o)
		case *v1alpha1.ScanTarget:
			targets = append(targets, o)
		}
	}
	p.images.room.SetTargets(targets)
	if err := p.responder.SetPolicies(responses); err != nil {
		p.log.Error("load response policies", "err", err)
	}
	p.agent.SetPolicies(ctx, st.Set)
	for id, src := range after {
		switch old, had := before[id]; {
		case !had && !first:
			p.recordChange(id, "loaded", event.Info)
		case had && old != src:
			p.recordChange(id, "changed", event.Info)
		}
	}
	for id := range before {
		if _, ok := after[id]; !ok {
			p.recordChange(id, "removed", event.Low)
		}
	}
	for _, problem := range st.Problems {
		ev := p.health("policy-"+problem.Error(), event.Medium, "Refused policy: "+problem.Error())
		ev.Kind = event.PolicyChange
		if len(st.Kept) > 0 {
			ev.Message += "; the last good content stays in force for " + strings.Join(st.Kept, ", ")
		}
		p.recorder.Record(ev)
	}
	p.log.Info("policies loaded", "documents", len(after), "faults", len(st.Problems), "keptLastGood", len(st.Kept))
}

func (p *Platform) recordChange(id, what string, sev event.Severity) {
	ev := p.health("policy-"+id+what+time.Now().String(), sev, "Policy "+id+" was "+what)
	ev.Kind = event.PolicyChange
	ev.Rule = &event.RuleRef{Policy: id}
	p.recorder.Record(ev)
}

func (p *Platform) current() folder.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// set is the policies in force.
func (p *Platform) set() *policy.Set {
	if st := p.current(); st.Set != nil {
		return st.Set
	}
	empty, _ := policy.Load(nil)
	return empty
}

// eventID makes the identifier of a cause.
func eventID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func (p *Platform) health(cause string, sev event.Severity, msg string) event.Event {
	now := time.Now().UTC()
	return event.Event{ID: eventID(p.node, cause), Kind: event.AgentHealth, First: now, Last: now, Count: 1, Severity: sev,
		Node: p.node, Message: msg, Actor: version.Name}
}

// unwatched says that the agent before this one ended without saying so.
func (p *Platform) unwatched(gap time.Duration) event.Event {
	ev := p.health("unwatched-"+time.Now().String(), event.High, fmt.Sprintf(
		"The agent before this one ended without saying so, and nobody watched for %s: what it had put in force stayed in force, "+
			"but containers that started meanwhile had no policy and nothing was learned", gap.Round(100*time.Millisecond)))
	ev.Reasons = []string{"unwatched"}
	return ev
}

// recorderHealth passes on what the recorder says of itself.
func (p *Platform) recorderHealth(reason string) {
	p.mu.Lock()
	r := p.reporter
	p.mu.Unlock()
	switch {
	case r == nil:
	case reason == "":
		r.Ready()
	default:
		r.Degraded(reason)
	}
}
