package container

import (
	"errors"
	"reflect"

	"github.com/gabion-dev/gabion/workload"
)

// claim is what one source says of a container.
type claim struct {
	c     workload.Container
	start uint64 // of its first process, in ticks
	guess bool   // made by the scan
}

func (c claim) alive() bool { return c.start != 0 && startTicks(c.c.PID) == c.start }

// claim takes in what a source says of a running container.
func (d *Discovery) claim(s *source, c workload.Container) {
	start := startTicks(c.PID)
	if err := fill(&c); err != nil {
		if !errors.Is(err, ErrGone) && start != 0 && startTicks(c.PID) == start {
			d.log.Warn("read facts of container", "container", c.Short(), "pid", c.PID, "err", err)
		} else {
			return // it has ended
		}
	}
	if start == 0 || startTicks(c.PID) != start {
		return
	}
	d.mu.Lock()
	by := d.claims[c.ID]
	if by == nil {
		by = map[*source]claim{}
		d.claims[c.ID] = by
	}
	by[s] = claim{c: c, start: start, guess: s == d.scanner}
	d.mu.Unlock()
	d.tell(c.ID)
}

// ended takes in that a source says a container has ended. Only its process
// having ended counts: while that lives, this is late news of an earlier run or
// a listing that missed an entry.
func (d *Discovery) ended(id string) {
	d.mu.Lock()
	d.dropDead(id)
	d.mu.Unlock()
	d.tell(id)
}

// dropDead removes the claims on a container whose process ended and reports
// whether there were any. mu is held.
func (d *Discovery) dropDead(id string) bool {
	any := false
	for s, cl := range d.claims[id] {
		if !cl.alive() {
			delete(d.claims[id], s)
			any = true
		}
	}
	if len(d.claims[id]) == 0 {
		delete(d.claims, id)
	}
	return any
}

// best is what is believed of a container. mu is held.
func (d *Discovery) best(id string) (claim, bool) {
	var best claim
	var from *source
	for s, cl := range d.claims[id] {
		if cl.c.RuntimeNamespace == "moby" && d.dockerAnswers() {
			continue // Docker knows its name and labels and will tell
		}
		if from == nil || s.rank < from.rank {
			best, from = cl, s
		}
	}
	return best, from != nil
}

func (d *Discovery) dockerAnswers() bool {
	for _, s := range d.sources {
		if s.health == OK && s.Name() == "docker" {
			return true
		}
	}
	return false
}

// tell reports what changed about a container since it was last told.
func (d *Discovery) tell(id string) {
	d.telling.Lock()
	defer d.telling.Unlock()
	var news []Change
	d.mu.Lock()
	fn := d.fn
	before, known := d.told[id]
	now, ok := d.best(id)
	if known && (!ok || now.c.PID != before.c.PID || now.start != before.start) {
		news = append(news, Change{Container: before.c, Gone: true})
		delete(d.told, id)
		delete(d.groups, before.c.CgroupID)
		known = false
	}
	if ok && (!known || !reflect.DeepEqual(before.c, now.c)) {
		news = append(news, Change{Container: now.c})
		d.told[id] = now
		if now.c.CgroupID != 0 {
			d.groups[now.c.CgroupID] = id
		}
	}
	d.mu.Unlock()
	if fn == nil {
		return
	}
	for _, ch := range news {
		fn(ch)
	}
}
