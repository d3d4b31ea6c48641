package container

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/workload"
)

// Config says where to look. A nil list means the usual places, an empty one
// none.
type Config struct {
	Docker, Podman, Containerd, CRI []string // sockets
	// NRI are the sockets by which a runtime asks before it starts a container.
	NRI []string
	// StateDirs hold what Gabion wrote down of containers it made itself.
	StateDirs []string
	// NoScan leaves out process trees in namespaces of their own that no
	// runtime knows.
	NoScan bool
	// Resync is how often plugins are asked for everything, in case news was
	// missed; default 30 s. Sweep is how often processes are looked at;
	// default 2 s.
	Resync, Sweep time.Duration
}

func (cfg Config) filled() Config {
	def := func(list *[]string, usual ...string) {
		if *list == nil {
			*list = usual
		}
	}
	def(&cfg.Docker, "/run/docker.sock")
	def(&cfg.Podman, "/run/podman/podman.sock")
	def(&cfg.Containerd, "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
	def(&cfg.CRI, "/run/crio/crio.sock", "/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock")
	def(&cfg.NRI, "/run/nri/nri.sock")
	def(&cfg.StateDirs, minicontainer.DefaultStateDir)
	if cfg.Resync <= 0 {
		cfg.Resync = 30 * time.Second
	}
	if cfg.Sweep <= 0 {
		cfg.Sweep = 2 * time.Second
	}
	return cfg
}

// Health is how a plugin is.
type Health string

// Healths of a plugin.
const (
	OK     Health = "ok"
	Absent Health = "absent" // not installed or not running: no fault
	Failed Health = "failed" // there, but does not answer as it should
)

// Status is how the connection to one runtime is.
type Status struct {
	Runtime    string `json:"runtime"`
	Where      string `json:"where"`
	Health     Health `json:"health"`
	Detail     string `json:"detail,omitempty"`
	Containers int    `json:"containers"`
}

// Discovery finds containers through all plugins. Make it with New; Close it
// when Run has returned.
type Discovery struct {
	cfg     Config
	log     *slog.Logger
	sources []*source
	scanner *source // whose claims are those of the scan; ranks last

	// telling keeps changes in order; mu guards what is below and is never
	// held while fn runs, so that Identify does not wait for its receiver.
	telling sync.Mutex
	mu      sync.Mutex
	fn      func(Change)
	starts  func(context.Context, workload.Container) error
	claims  map[string]map[*source]claim
	told    map[string]claim
	groups  map[uint64]string // cgroup id -> id of a told container
	scanned map[int]tree      // by pid; only the sweep uses it
}

// source is a plugin and how it is.
type source struct {
	Plugin // nil for the scan
	rank   int
	resync chan struct{}

	health Health // guarded by Discovery.mu
	detail string
}

// New prepares discovery; nothing is connected before it is used.
func New(cfg Config, log *slog.Logger) (*Discovery, error) {
	if log == nil {
		return nil, errors.New("make discovery: a logger is needed")
	}
	d := &Discovery{
		cfg: cfg.filled(), log: log,
		claims: map[string]map[*source]claim{}, told: map[string]claim{},
		groups: map[uint64]string{}, scanned: map[int]tree{},
	}
	for i, p := range d.cfg.plugins(log) {
		if n, ok := p.(*nri); ok {
			n.hold = d.starting
		}
		d.sources = append(d.sources, &source{Plugin: p, rank: i, resync: make(chan struct{}, 1), health: Absent, detail: "not asked yet"})
	}
	d.scanner = &source{rank: len(d.sources), health: OK}
	return d, nil
}

// Close ends all connections.
func (d *Discovery) Close() error {
	var errs []error
	for _, s := range d.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Probe asks every runtime whether it is there.
func (d *Discovery) Probe(ctx context.Context) []guard.Feature {
	list := make([]guard.Feature, len(d.sources))
	var g sync.WaitGroup
	for i, s := range d.sources {
		g.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			list[i] = s.Probe(ctx)
		})
	}
	g.Wait()
	return list
}

// Status says how each runtime is and how many containers come from it.
func (d *Discovery) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []Status
	for _, s := range d.sources {
		st := Status{Runtime: s.Name(), Where: s.Where(), Health: s.health, Detail: s.detail}
		for _, by := range d.claims {
			if _, ok := by[s]; ok {
				st.Containers++
			}
		}
		list = append(list, st)
	}
	return list
}

// Run reports containers to fn, which is called from one goroutine at a time,
// until ctx ends: first those that run, then what changes. A runtime that
// fails or is not there is tried again for ever.
func (d *Discovery) Run(ctx context.Context, fn func(Change)) error {
	d.mu.Lock()
	if d.fn != nil {
		d.mu.Unlock()
		return errors.New("run discovery: it runs already")
	}
	d.fn = fn
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.fn = nil
		clear(d.claims)
		clear(d.told)
		clear(d.groups)
		clear(d.scanned)
	}()
	var g errgroup.Group
	for _, s := range d.sources {
		g.Go(func() error { d.watch(ctx, s); return nil })
		g.Go(func() error { d.listen(ctx, s); return nil })
	}
	g.Go(func() error { d.sweep(ctx); return nil })
	return g.Wait()
}

// watch keeps one plugin's Watch going.
func (d *Discovery) watch(ctx context.Context, s *source) {
	const first, most = 50 * time.Millisecond, 2 * time.Second
	pause := first
	for ctx.Err() == nil {
		began := time.Now()
		err := s.Watch(ctx, func() {
			d.setHealth(s, OK, "")
			s.again()
		}, func(ch Change) {
			if ch.Gone {
				d.ended(ch.Container.ID)
			} else {
				d.claim(s, ch.Container)
			}
		})
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.Is(err, ErrAbsent):
			d.setHealth(s, Absent, err.Error())
		case err != nil:
			d.setHealth(s, Failed, err.Error())
		}
		if time.Since(began) > most { // it worked; one that fails at once is asked less and less
			pause = first
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, most)
	}
}

// again asks for a listing.
func (s *source) again() {
	select {
	case s.resync <- struct{}{}:
	default:
	}
}

// listen takes in what the plugin lists, once Watch is subscribed and then
// every Resync.
func (d *Discovery) listen(ctx context.Context, s *source) {
	tick := time.NewTicker(d.cfg.Resync)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.resync:
		case <-tick.C:
			if d.healthOf(s) != OK {
				continue
			}
		}
		bound, cancel := context.WithTimeout(ctx, 15*time.Second)
		list, err := s.List(bound)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			d.log.Warn("list containers", "runtime", s.Name(), "where", s.Where(), "err", err)
		}
		// Containers that are missing from the list are not taken away: it
		// may be older than the last event. The sweep sees that they ended.
		for _, c := range list {
			d.claim(s, c)
		}
	}
}

func (d *Discovery) setHealth(s *source, h Health, detail string) {
	d.mu.Lock()
	changed := s.health != h
	s.health, s.detail = h, detail
	d.mu.Unlock()
	if !changed {
		return
	}
	if h == Failed {
		d.log.Warn("container runtime does not answer; trying again", "runtime", s.Name(), "where", s.Where(), "err", detail)
	} else {
		d.log.Info("container runtime", "runtime", s.Name(), "where", s.Where(), "health", h)
	}
	if s.Name() == "docker" { // decides whether containerd's word on its containers counts
		for _, id := range d.ids() {
			d.tell(id)
		}
	}
}

func (d *Discovery) healthOf(s *source) Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.health
}

func (d *Discovery) ids() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]string, 0, len(d.claims))
	for id := range d.claims {
		list = append(list, id)
	}
	return list
}
