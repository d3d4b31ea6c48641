package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/gabion-dev/gabion/event"
)

// Bounds of what is remembered.
const (
	maxContainers = 2048 // per engine
	maxProcesses  = 64   // of a container, for who started whom
	maxBegun      = 8    // sequences begun, per detection and container
	maxObjects    = 16   // objects told apart, per detection and container
	maxAbove      = 8    // programs above a process
	maxKeptArgs   = 128  // bytes of the arguments of a remembered process
	maxShown      = 8    // happenings that a burst's match shows
)

// container is what is remembered of one.
type container struct {
	id     string
	last   time.Time
	procs  map[int]process
	order  []int // pids in procs, oldest first
	begun  map[int][]*begun
	bursts map[int]*window
	seen   map[int]map[string]*tally
}

type process struct {
	ppid    int
	file    string // base name
	program string
	parent  string
	args    []string
}

// begun is a sequence whose steps have not all happened.
type begun struct {
	have  uint // bit per step
	first time.Time
	steps []Happening
	pids  []int
}

// window is the recent happenings of a burst that differ from each other.
type window struct {
	keys  []uint64
	times []time.Time
	shown []Happening // the last ones
}

type tally struct {
	id    string
	count uint64
	first time.Time
}

// container finds or makes what is remembered, and makes room: the container
// that was silent for longest goes first.
func (e *Engine) container(id string, now time.Time) *container {
	c := e.containers[id]
	if c == nil {
		if len(e.containers) >= maxContainers {
			var oldest *container
			for _, x := range e.containers {
				if oldest == nil || x.last.Before(oldest.last) {
					oldest = x
				}
			}
			delete(e.containers, oldest.id)
			e.stats.Forgotten++
		}
		c = &container{id: id, procs: map[int]process{}, begun: map[int][]*begun{}, bursts: map[int]*window{}, seen: map[int]map[string]*tally{}}
		e.containers[id] = c
	}
	if now.After(c.last) {
		c.last = now
	}
	return c
}

// place notes a started program and tells the view what is above it.
func (c *container) place(v *view) {
	h := v.h
	v.parent, v.plines = baseName(h.Parent), h.ParentArgs
	at := h.PPID
	if h.Kind != event.ProcessExec {
		if p, ok := c.procs[h.PID]; ok {
			at = p.ppid
			if len(h.Args) == 0 {
				h.Args = p.args
			}
		}
	}
	if p, ok := c.procs[at]; ok && at > 1 {
		if v.parent == "" || v.parent == p.file {
			v.parent = p.program // which may be an applet of the file
		}
		if len(v.plines) == 0 && p.program == v.parent {
			v.plines = p.args
		}
	}
	for name := v.parent; name != "" && len(v.above) < maxAbove; {
		v.above = append(v.above, name)
		p, ok := c.procs[at]
		if !ok {
			break
		}
		name, at = p.parent, p.ppid
		if name == "" {
			name = c.procs[at].program
		}
	}
	if h.Kind == event.ProcessExec && h.PID > 0 {
		if _, known := c.procs[h.PID]; !known {
			if len(c.order) >= maxProcesses {
				delete(c.procs, c.order[0])
				c.order = c.order[1:]
			}
			c.order = append(c.order, h.PID)
		}
		c.procs[h.PID] = process{ppid: h.PPID, file: baseName(h.Exe), program: h.Program(), parent: v.parent, args: short(h.Args)}
	}
}

// short keeps the first arguments, up to a bound of bytes.
func short(args []string) []string {
	n := 0
	for i, a := range args {
		if n += len(a) + 1; n > maxKeptArgs {
			return append([]string(nil), args[:i]...)
		}
	}
	return args
}

// related reports whether pid is one of pids or descends from one, or the
// other way round, as far as the starts are known.
func (c *container) related(pid, ppid int, pids []int) bool {
	if pid <= 0 {
		return false
	}
	for _, p := range pids {
		if p == pid || p > 1 && p == ppid || c.descends(pid, p) || c.descends(p, pid) {
			return true
		}
	}
	return false
}

func (c *container) descends(pid, from int) bool {
	for range maxAbove {
		p, ok := c.procs[pid]
		if !ok || p.ppid <= 1 {
			return false
		}
		if p.ppid == from {
			return true
		}
		pid = p.ppid
	}
	return false
}

// advance takes step i of a sequence; it gives the happenings when that was
// the last one missing, and how many sequences had to make room.
func (c *container) advance(rule int, r *rule, i int, v *view) (done []Happening, dropped int) {
	h := v.h
	bit := uint(1) << i
	all := uint(1)<<len(r.steps) - 1
	list := c.begun[rule]
	keep := list[:0]
	for _, b := range list {
		if h.Time.Sub(b.first) <= r.within {
			keep = append(keep, b)
		}
	}
	list = keep
	for n, b := range list {
		if b.have&bit != 0 || !r.AnyOrder && b.have != bit-1 || r.process && !c.related(h.PID, h.PPID, b.pids) {
			continue
		}
		b.have |= bit
		b.steps = append(b.steps, *h)
		b.pids = append(b.pids, h.PID)
		if h.Time.Before(b.first) {
			b.first = h.Time
		}
		if b.have == all {
			list = append(list[:n], list[n+1:]...)
			done = b.steps
		}
		c.setBegun(rule, list)
		return done, 0
	}
	if i == 0 || r.AnyOrder {
		if !r.process {
			// The same step again, with nothing but it begun: the later one counts.
			for n, b := range list {
				if b.have == bit {
					list = append(list[:n], list[n+1:]...)
					break
				}
			}
		}
		if len(list) >= maxBegun {
			list = append(list[:0], list[1:]...)
			dropped = 1
		}
		list = append(list, &begun{have: bit, first: h.Time, steps: []Happening{*h}, pids: []int{h.PID}})
	}
	c.setBegun(rule, list)
	return nil, dropped
}

func (c *container) setBegun(rule int, list []*begun) {
	if len(list) == 0 {
		delete(c.begun, rule)
		return
	}
	c.begun[rule] = list
}

// burst notes one more different value; it gives the last happenings when
// there are enough of them within the time, and begins anew.
func (c *container) burst(rule int, r *rule, value string, h *Happening) []Happening {
	w := c.bursts[rule]
	if w == nil {
		w = &window{}
		c.bursts[rule] = w
	}
	key, n := hash(value), 0
	for i, k := range w.keys {
		if k != key && h.Time.Sub(w.times[i]) <= r.within {
			w.keys[n], w.times[n] = k, w.times[i]
			n++
		}
	}
	w.keys, w.times = append(w.keys[:n], key), append(w.times[:n], h.Time)
	if len(w.shown) >= maxShown {
		w.shown = append(w.shown[:0], w.shown[1:]...)
	}
	w.shown = append(w.shown, *h)
	if len(w.keys) < r.Burst.Count {
		return nil
	}
	delete(c.bursts, rule)
	return w.shown
}

// found counts a match of an object. Objects beyond the bound are counted as
// one.
func (c *container) found(rule int, r *rule, steps []Happening, last *Happening) Match {
	objects := c.seen[rule]
	if objects == nil {
		objects = map[string]*tally{}
		c.seen[rule] = objects
	}
	name := object(r, &steps[0])
	t := objects[name]
	if t == nil && len(objects) >= maxObjects {
		name = "others"
		t = objects[name]
	}
	if t == nil {
		// With its moment: what another engine found before this one is another
		// match, whose count does not go on.
		first := steps[0].Time
		t = &tally{first: first, id: matchID(c.id, r.Name, name, strconv.FormatInt(first.UnixNano(), 10))}
		objects[name] = t
	}
	t.count++
	m := Match{
		ID: t.id, Detection: r.Name, Title: r.Title, Severity: r.severity, Techniques: r.Techniques, Remedy: r.Remedy,
		File: r.File, Container: c.id, Object: name, First: t.first, Last: last.Time, Count: t.count, Steps: steps, Effect: event.Observed,
	}
	for i := range steps {
		if steps[i].Effect == event.Blocked {
			m.Effect = event.Blocked
		}
	}
	return m
}

func matchID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
