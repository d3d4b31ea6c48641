package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

func hookDir(pinDir string) string { return filepath.Join(pinDir, "hooks") }

// hookUse knows which hooks are attached, and for whom. One mutex serialises
// all that changes it.
type hookUse struct {
	mu     sync.Mutex
	log    *slog.Logger
	pinDir string
	maps   *Maps
	// instance is that of the loads that judge.
	instance uint32
	// off: nothing is tried nor attached.
	off     error
	refused *bool // what typesRefused said
	sets    map[string]*setUse
}

// setUse is what is loaded of one set.
type setUse struct {
	hookSet
	tried    map[string]refusal
	maps     map[string]*ebpf.Map // its own, nil until first used
	loads    map[string]*ebpf.Map // made by its loads, for later ones
	attached map[string]attachedHook
	needs    map[string][]string // container -> hooks
	// inherited are the hooks that an earlier agent attached, which stay until
	// every container of waiting was told of by this one.
	inherited []string
	waiting   map[string]bool
}

type attachedHook struct {
	variant
	prog *ebpf.Program
	link link.Link
	pin  string
}

func newHookUse(log *slog.Logger, pinDir string, maps *Maps, off error) *hookUse {
	u := &hookUse{log: log, pinDir: pinDir, maps: maps, off: off, sets: map[string]*setUse{}}
	for _, s := range hookSets() {
		u.sets[s.name] = &setUse{
			hookSet: s, tried: map[string]refusal{}, attached: map[string]attachedHook{}, needs: map[string][]string{},
			loads: map[string]*ebpf.Map{},
		}
	}
	return u
}

// of gives what is known of a hook, and tries it when it was not tried yet.
func (u *hookUse) of(set, name string) refusal {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.try(set, name)[name]
}

// refuses gives the variant by which a hook's call is made to fail.
func (u *hookUse) refuses(set, name string) (variant, bool) { return u.of(set, name).works() }

// try makes sure that hooks were tried, and gives what is known of the set's.
func (u *hookUse) try(set string, names ...string) map[string]refusal {
	s := u.sets[set]
	if s == nil {
		return nil
	}
	var t *trial
	for _, name := range names {
		h, ok := s.hook(name)
		if _, done := s.tried[name]; done || !ok {
			continue
		}
		cause := u.off
		if s.everywhere {
			cause = nil
		}
		if cause == nil && !s.everywhere && u.typesRefused() {
			cause = errType
		}
		if cause == nil && t == nil {
			if t, cause = s.newTrial(); cause == nil {
				defer t.close() //nolint:errcheck // maps that nobody has written to disk
			}
		}
		if cause != nil {
			s.tried[name] = allFailed(h, cause)
		} else {
			s.tried[name] = t.try(h, false)
		}
		if why := s.tried[name].why(); why != "" && u.off == nil {
			u.log.Info("this kernel lets no program of ours refuse a call", "call", name, "why", why)
		}
	}
	return s.tried
}

func (u *hookUse) typesRefused() bool {
	if u.refused == nil {
		refused := typesRefused()
		u.refused = &refused
	}
	return *u.refused
}

// ownMaps opens the maps of a set that outlive the agent: an earlier agent's
// when there are any.
func (u *hookUse) ownMaps(set string) (map[string]*ebpf.Map, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.openMaps(u.sets[set])
}

func (u *hookUse) openMaps(s *setUse) (_ map[string]*ebpf.Map, err error) {
	if s.maps != nil || len(s.hookSet.maps) == 0 {
		return s.maps, nil
	}
	spec, err := s.spec()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	maps := map[string]*ebpf.Map{}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(nil, maps))
		}
	}()
	for _, name := range s.hookSet.maps {
		m := spec.Maps[name].Copy()
		m.Pinning = ebpf.PinByName
		if maps[name], err = ebpf.NewMapWithOptions(m, ebpf.MapOptions{PinPath: mapDir(u.pinDir)}); err != nil {
			delete(maps, name)
			if errors.Is(err, ebpf.ErrMapIncompatible) {
				err = fmt.Errorf("%w: %w", ErrLayout, err)
			}
			return nil, fmt.Errorf("open map %s: %w", name, err)
		}
	}
	s.maps = maps
	return maps, nil
}

// load loads the programs of variants on the maps that are in force.
func (u *hookUse) load(s *setUse, which []variant, instance uint32) (map[string]*ebpf.Program, error) {
	own, err := u.openMaps(s)
	if err != nil {
		return nil, err
	}
	maps := map[string]*ebpf.Map{}
	for name, m := range u.maps.fields() {
		maps[name] = *m
	}
	for _, more := range []map[string]*ebpf.Map{own, s.loads} {
		for name, m := range more {
			maps[name] = m
		}
	}
	progs, fresh, err := s.programs(which, maps, instance)
	if err != nil {
		return nil, err
	}
	for name, m := range fresh {
		s.loads[name] = m
	}
	return progs, nil
}

// need attaches the hooks that a container's plan needs, as far as they work
// here, and detaches those that nobody needs any more. It replaces what the
// container needed of the set before. What works is said by of.
func (u *hookUse) need(set, containerID string, names ...string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.sets[set]
	if s == nil {
		return fmt.Errorf("attach hooks: there is no set %q", set)
	}
	tried := u.try(set, names...)
	var which []variant
	var hooks []string
	for _, name := range names {
		v, ok := tried[name].works()
		if _, on := s.attached[name]; ok && !on {
			which, hooks = append(which, v), append(hooks, name)
		}
	}
	if len(which) > 0 {
		progs, err := u.load(s, which, u.instance)
		if err != nil {
			return fmt.Errorf("attach hooks of %s: %w", set, err)
		}
		for i, v := range which {
			a, err := u.attach(s, v, progs[v.prog], u.instance)
			if err != nil {
				return err
			}
			s.attached[hooks[i]] = a
		}
	}
	s.needs[containerID] = slices.Clone(names)
	if len(names) == 0 {
		delete(s.needs, containerID)
	}
	s.told(containerID)
	return u.sweep(s)
}

// told notes that this agent knows what a container needs.
func (s *setUse) told(containerID string) {
	if s.waiting == nil {
		return
	}
	if delete(s.waiting, containerID); len(s.waiting) == 0 {
		s.inherited, s.waiting = nil, nil
	}
}

// drop forgets a container in every set.
func (u *hookUse) drop(containerID string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, s := range u.sets {
		delete(s.needs, containerID)
		s.told(containerID)
		errs = append(errs, u.sweep(s))
	}
	return errors.Join(errs...)
}

// sweep detaches what nobody needs.
func (u *hookUse) sweep(s *setUse) error {
	needed := map[string]bool{}
	for _, names := range s.needs {
		for _, n := range names {
			needed[n] = true
		}
	}
	for _, n := range s.inherited {
		needed[n] = true
	}
	var errs []error
	for name, a := range s.attached {
		if needed[name] {
			continue
		}
		delete(s.attached, name)
		if err := os.Remove(a.pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("unpin %s: %w", a.name, err))
		}
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

func (a attachedHook) close() error {
	errs := []error{a.link.Close()}
	if a.prog != nil {
		errs = append(errs, a.prog.Close())
	}
	return errors.Join(errs...)
}

func (u *hookUse) attach(s *setUse, v variant, prog *ebpf.Program, instance uint32) (attachedHook, error) {
	dir := filepath.Join(hookDir(u.pinDir), s.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return attachedHook{}, fmt.Errorf("make directory for pinned links: %w", err)
	}
	ln, err := attachHook(prog, v)
	if err != nil {
		return attachedHook{}, fmt.Errorf("attach %s: %w", v.name, err)
	}
	pin := pinOf(dir, v.prog, instance)
	if err := ln.Pin(pin); err != nil {
		return attachedHook{}, errors.Join(fmt.Errorf("pin link of %s: %w", v.name, err), ln.Close())
	}
	return attachedHook{v, prog, ln, pin}, nil
}

// pinnedHook is a hook that an earlier agent attached.
type pinnedHook struct {
	set, hook string // "" when this version has no such program
	variant
	instance uint32
	pin      string
}

// pinned lists what an earlier agent attached.
func (u *hookUse) pinned() ([]pinnedHook, error) {
	var out []pinnedHook
	sets, err := os.ReadDir(hookDir(u.pinDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list pinned hooks: %w", err)
	}
	for _, d := range sets {
		dir := filepath.Join(hookDir(u.pinDir), d.Name())
		links, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list pinned hooks: %w", err)
		}
		for _, l := range links {
			p := pinnedHook{pin: filepath.Join(dir, l.Name())}
			if i := strings.LastIndexByte(l.Name(), '_'); i > 0 {
				n, err := strconv.ParseUint(l.Name()[i+1:], 10, 32)
				s := u.sets[d.Name()]
				if err == nil && s != nil {
					if name, v, ok := s.find(l.Name()[:i]); ok {
						p.set, p.hook, p.variant, p.instance = d.Name(), name, v, uint32(n)
					}
				}
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// inherit loads what an earlier agent attached anew, for instance, and reports
// whether that is exactly what runs already as the instance before.
func (u *hookUse) inherit(old []pinnedHook, instance uint32) (loaded map[string]map[string]*ebpf.Program, same bool, err error) {
	loaded, same = map[string]map[string]*ebpf.Program{}, true
	bySet := map[string][]variant{}
	for _, p := range old {
		s := u.sets[p.set]
		if s == nil {
			same = false
			continue
		}
		v, ok := u.try(p.set, p.hook)[p.hook].works()
		same = same && ok && v == p.variant && p.instance == instance-1
		if ok && !slices.Contains(bySet[p.set], v) {
			bySet[p.set] = append(bySet[p.set], v)
		}
	}
	for set, which := range bySet {
		if loaded[set], err = u.load(u.sets[set], which, instance); err != nil {
			return loaded, false, err
		}
	}
	for _, p := range old {
		if !same {
			break
		}
		ln, err := link.LoadPinnedLink(p.pin, nil)
		if err != nil {
			return loaded, false, nil //nolint:nilerr // it is replaced
		}
		same = sameProgram(ln, loaded[p.set][p.prog])
		ln.Close()
	}
	return loaded, same, nil
}

// keep adopts the pinned links as they are.
func (u *hookUse) keep(old []pinnedHook, loaded map[string]map[string]*ebpf.Program) error {
	for _, p := range old {
		ln, err := link.LoadPinnedLink(p.pin, nil)
		if err != nil {
			return fmt.Errorf("adopt link of %s: %w", p.name, err)
		}
		u.sets[p.set].attached[p.hook] = attachedHook{p.variant, loaded[p.set][p.prog], ln, p.pin}
	}
	return nil
}

// replace attaches the new programs; the earlier ones stay for the caller to
// remove once the new ones judge.
func (u *hookUse) replace(loaded map[string]map[string]*ebpf.Program, instance uint32) error {
	for set, progs := range loaded {
		s := u.sets[set]
		for prog, p := range progs {
			name, v, _ := s.find(prog)
			a, err := u.attach(s, v, p, instance)
			if err != nil {
				return err
			}
			s.attached[name] = a
		}
	}
	return nil
}

// wait keeps what was inherited until this agent was told of every container
// that is known, for each set.
func (u *hookUse) wait(known []string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, s := range u.sets {
		s.waiting = map[string]bool{}
		for _, id := range known {
			s.waiting[id] = true
		}
		if len(known) > 0 {
			for name := range s.attached {
				s.inherited = append(s.inherited, name)
			}
		}
		errs = append(errs, u.sweep(s))
	}
	return errors.Join(errs...)
}

// close lets go of every descriptor; what is pinned goes on.
func (u *hookUse) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var errs []error
	for _, s := range u.sets {
		for _, a := range s.attached {
			errs = append(errs, a.close())
		}
		errs = append(errs, closeAll(nil, s.maps), closeAll(nil, s.loads))
		s.attached, s.maps = map[string]attachedHook{}, nil
	}
	return errors.Join(errs...)
}

func closeSets(sets map[string]map[string]*ebpf.Program) error {
	var errs []error
	for _, progs := range sets {
		errs = append(errs, closeAll(progs, nil))
	}
	return errors.Join(errs...)
}
