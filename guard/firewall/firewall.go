package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/gabion-dev/gabion/guard"
)

// Config says where the firewall keeps its pinned state.
type Config struct {
	// PinDir is a directory on a bpffs, shared with guard/kernel; the
	// firewall's own pins are in its subdirectory "firewall".
	PinDir string
	// CgroupRoot is the root of the cgroup-v2 hierarchy; empty: found in
	// /proc/mounts.
	CgroupRoot string
	// NoTCX uses classic clsact filters for the floor although tcx may work.
	NoTCX bool
}

// Maps are the kernel maps that guard/kernel owns and the firewall's programs
// share: who a task is, how a container is set up, and the exact counts.
type Maps struct {
	Settings, Tasks, Cgroups, Containers, Counts, Overflow *ebpf.Map
}

// Container is the part of a container's kernel entry that the firewall reads
// and writes. It leaves flags that are not its own as they are.
type Container struct {
	Flags           uint32
	Generation      uint32
	NetMode         uint8
	EgressListRule  uint16
	IngressListRule uint16
}

// Deps are what the firewall needs of others.
type Deps struct {
	Log  *slog.Logger
	Sink guard.Sink
	Now  func() time.Time
	Maps Maps
	// CID gives the number of a container that guard/kernel knows.
	CID func(containerID string) (uint32, bool)
	// Update changes the entry of a container in one step that excludes other
	// writers. Nil: the firewall does so itself, alone.
	Update func(cid uint32, change func(*Container)) error
}

// ErrUnknownContainer is returned for a container that guard/kernel has not
// been told of: there is no entry to write to.
var ErrUnknownContainer = errors.New("container is not known to the kernel programs")

// Firewall enforces the network sections of plans. Make one with Open.
type Firewall struct {
	cfg  Config
	log  *slog.Logger
	sink guard.Sink
	now  func() time.Time
	deps Deps
	maps Maps
	dir  string // of the pins

	programs programs
	own      ownMaps
	hooks    map[string]link.Link
	cgroup   string
	epoch    uint64

	// mu guards what follows: what is installed.
	mu      sync.Mutex
	managed map[string]*managed    // by container ID
	tables  map[uint32]tableState  // by cid
	lists   map[uint64]int         // list -> how many rules point to it
	floors  map[uint32]*floorState // by number

	// reporting guards what follows: what was told.
	reporting sync.Mutex
	reader    *ringbuf.Reader
	causes    map[netCountKey]*cause
	lost      map[uint32]uint64
	ids       map[uint32]named // by cid
}

type programs struct {
	Connect4   *ebpf.Program `ebpf:"net_connect4"`
	Connect6   *ebpf.Program `ebpf:"net_connect6"`
	Sendmsg4   *ebpf.Program `ebpf:"net_sendmsg4"`
	Sendmsg6   *ebpf.Program `ebpf:"net_sendmsg6"`
	SockCreate *ebpf.Program `ebpf:"net_sock_create"`
	Setsockopt *ebpf.Program `ebpf:"net_setsockopt"`
	FloorOut   *ebpf.Program `ebpf:"net_floor_out"`
	FloorIn    *ebpf.Program `ebpf:"net_floor_in"`
}

type ownMaps struct {
	Rules    *ebpf.Map `ebpf:"net_rules"`
	Lists    *ebpf.Map `ebpf:"net_lists"`
	Floors   *ebpf.Map `ebpf:"net_floors"`
	Flows    *ebpf.Map `ebpf:"net_flows"`
	Seen     *ebpf.Map `ebpf:"net_seen"`
	Details  *ebpf.Map `ebpf:"net_details"`
	Lost     *ebpf.Map `ebpf:"net_lost"`
	Events   *ebpf.Map `ebpf:"net_events"`
	Judged   *ebpf.Map `ebpf:"net_judged"`
	Programs *ebpf.Map `ebpf:"net_programs"`
	State    *ebpf.Map `ebpf:"net_state"`
}

// Open loads the programs, or takes over what an earlier agent pinned: its
// rules, flows and floors stay in force and its programs are replaced by ours
// in one step. Nothing is enforced on a container before Apply, or an earlier
// agent's Apply, says so.
func Open(cfg Config, deps Deps) (*Firewall, error) {
	if deps.CID == nil || deps.Sink == nil || deps.Maps.Containers == nil || deps.Maps.Counts == nil || deps.Maps.Settings == nil {
		return nil, errors.New("open firewall: Deps needs Sink, CID and the shared maps")
	}
	if cfg.PinDir == "" {
		return nil, errors.New("open firewall: Config.PinDir is empty")
	}
	f := &Firewall{
		cfg: cfg, log: deps.Log, sink: deps.Sink, now: deps.Now, deps: deps, maps: deps.Maps,
		dir:   filepath.Join(cfg.PinDir, "firewall"),
		hooks: map[string]link.Link{}, managed: map[string]*managed{}, tables: map[uint32]tableState{},
		lists: map[uint64]int{}, floors: map[uint32]*floorState{},
		causes: map[netCountKey]*cause{}, lost: map[uint32]uint64{}, ids: map[uint32]named{},
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.deps.Update == nil {
		f.deps.Update = (&entryWriter{m: f.maps.Containers}).update
	}
	if err := f.open(); err != nil {
		_ = f.closeHandles()
		return nil, fmt.Errorf("open firewall: %w", err)
	}
	return f, nil
}

func (f *Firewall) open() error {
	var s netSettings
	if err := f.maps.Settings.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	f.epoch = s.Epoch
	f.cgroup = f.cfg.CgroupRoot
	if f.cgroup == "" {
		root, err := cgroupRoot("/proc/mounts")
		if err != nil {
			return err
		}
		f.cgroup = root
	}
	if err := f.load(); err != nil {
		return err
	}
	for i, p := range []*ebpf.Program{f.programs.FloorOut, f.programs.FloorIn} {
		if err := f.own.Programs.Update(uint32(i), p, ebpf.UpdateAny); err != nil {
			return fmt.Errorf("put floor program in place: %w", err)
		}
	}
	for _, h := range []string{"connect4", "connect6", "sendmsg4", "sendmsg6"} {
		if err := f.attachHook(h); err != nil {
			return err
		}
	}
	// Hooks that few need stay where an earlier agent needed them.
	for _, pattern := range []string{"sock_create", "setsockopt*"} {
		pins, err := filepath.Glob(filepath.Join(f.dir, pattern))
		if err != nil {
			return fmt.Errorf("read pinned hooks: %w", err)
		}
		for _, pin := range pins {
			f.adoptHook(filepath.Base(pin))
		}
	}
	if err := f.adopt(); err != nil {
		return err
	}
	r, err := ringbuf.NewReader(f.own.Events)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	f.reader = r
	return nil
}

// load loads the object with its maps pinned. State that belongs to other
// shared maps (another epoch) or to another layout is dropped first.
func (f *Firewall) load() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	err := f.loadPinned()
	if errors.Is(err, ebpf.ErrMapIncompatible) && !errors.Is(err, errReplacement) {
		f.log.Warn("pinned network state has another layout and is dropped", "dir", f.dir, "cause", err)
		err = f.reload()
	}
	if err != nil {
		return err
	}
	var epoch uint64
	if err := f.own.State.Lookup(uint32(0), &epoch); err != nil {
		return fmt.Errorf("read pinned state: %w", err)
	}
	if epoch != 0 && epoch != f.epoch {
		f.log.Warn("pinned network state belongs to other kernel maps and is dropped", "dir", f.dir)
		if err := f.reload(); err != nil {
			return err
		}
	}
	if err := f.own.State.Update(uint32(0), f.epoch, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("write pinned state: %w", err)
	}
	return nil
}

func (f *Firewall) reload() error {
	closeAll(&f.programs, &f.own)
	f.programs, f.own = programs{}, ownMaps{}
	if err := Remove(f.cfg.PinDir); err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("make pin directory: %w", err)
	}
	return f.loadPinned()
}

// errReplacement marks shared maps that do not fit the object: both were built
// from different versions of bpf/gabion.h.
var errReplacement = errors.New("shared maps do not fit the network programs")

func (f *Firewall) loadPinned() error {
	spec, err := loadNet()
	if err != nil {
		return err
	}
	shared, err := replacements(spec, f.maps)
	if err != nil {
		return err
	}
	for name, m := range spec.Maps {
		if len(name) > 4 && name[:4] == "net_" {
			m.Pinning = ebpf.PinByName
		}
	}
	var objects struct {
		programs
		ownMaps
	}
	err = spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{
		Maps:            ebpf.MapOptions{PinPath: f.dir},
		MapReplacements: shared,
	})
	if err != nil {
		return fmt.Errorf("load network programs: %w", err)
	}
	f.programs, f.own = objects.programs, objects.ownMaps
	return nil
}

// replacements gives the shared maps by name, and takes their sizes for ours.
func replacements(spec *ebpf.CollectionSpec, m Maps) (map[string]*ebpf.Map, error) {
	out := map[string]*ebpf.Map{}
	for name, have := range map[string]*ebpf.Map{
		"settings": m.Settings, "tasks": m.Tasks, "cgroups": m.Cgroups,
		"containers": m.Containers, "counts": m.Counts, "overflow": m.Overflow,
	} {
		if have == nil {
			return nil, fmt.Errorf("load network programs: shared map %s is missing", name)
		}
		want := spec.Maps[name]
		want.MaxEntries, want.Flags = have.MaxEntries(), have.Flags()
		if err := want.Compatible(have); err != nil {
			return nil, fmt.Errorf("load network programs: %w: map %s: %w", errReplacement, name, err)
		}
		out[name] = have
	}
	return out, nil
}

// Close ends the agent's part. keep leaves rules, hooks and floors in force
// for the next agent; otherwise everything is detached and unpinned.
func (f *Firewall) Close(keep bool) error {
	var errs []error
	if !keep {
		f.mu.Lock()
		for _, fl := range f.floors {
			errs = append(errs, f.dropFloor(context.Background(), fl))
		}
		f.mu.Unlock()
	}
	errs = append(errs, f.closeHandles())
	if !keep {
		errs = append(errs, Remove(f.cfg.PinDir))
	}
	return errors.Join(errs...)
}

func (f *Firewall) closeHandles() error {
	var errs []error
	if f.reader != nil {
		errs = append(errs, f.reader.Close())
	}
	for _, l := range f.hooks {
		errs = append(errs, l.Close())
	}
	for _, fl := range f.floors {
		for _, at := range fl.attached {
			errs = append(errs, at.close())
		}
	}
	closeAll(&f.programs, &f.own)
	return errors.Join(errs...)
}

func closeAll(p *programs, m *ownMaps) {
	for _, c := range []*ebpf.Program{p.Connect4, p.Connect6, p.Sendmsg4, p.Sendmsg6, p.SockCreate, p.Setsockopt, p.FloorOut, p.FloorIn} {
		_ = c.Close() // of nil: does nothing
	}
	for _, c := range []*ebpf.Map{m.Rules, m.Lists, m.Floors, m.Flows, m.Seen, m.Details, m.Lost, m.Events, m.Judged, m.Programs, m.State} {
		_ = c.Close()
	}
}

// entryWriter changes container entries when nobody else does.
type entryWriter struct {
	mu sync.Mutex
	m  *ebpf.Map
}

func (w *entryWriter) update(cid uint32, change func(*Container)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var e netContainer
	if err := w.m.Lookup(cid, &e); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return ErrUnknownContainer
		}
		return fmt.Errorf("read container %d: %w", cid, err)
	}
	c := Container{Flags: e.Flags, Generation: e.Generation, NetMode: e.NetMode, EgressListRule: e.EgressListRule, IngressListRule: e.IngressListRule}
	change(&c)
	e.Flags, e.Generation, e.NetMode = c.Flags, c.Generation, c.NetMode
	e.EgressListRule, e.IngressListRule = c.EgressListRule, c.IngressListRule
	if err := w.m.Update(cid, &e, ebpf.UpdateExist); err != nil {
		return fmt.Errorf("write container %d: %w", cid, err)
	}
	return nil
}
