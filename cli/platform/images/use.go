package images

import (
	"slices"
	"time"

	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/workload"
)

// Seen is what the containers of a workload were seen to do.
type Seen struct {
	Programs        []string // absolute paths
	ProgramsWatched bool     // false: Programs means nothing
	Ports           []string // "protocol/port" reached from outside the workload
	PortsWatched    bool
}

// use is a snapshot of who runs and what they did.
type use struct {
	at      time.Time
	running running
	seen    map[workload.Ref]Seen
}

// inUse is the snapshot, made anew when it is old: one look at all images asks
// it once for each.
func (r *Room) inUse() use {
	now := r.d.Now()
	r.mu.Lock()
	u := r.used
	r.mu.Unlock()
	if age := now.Sub(u.at); u.seen != nil && age >= 0 && age < r.cfg.Every/2 {
		return u
	}
	u = use{now, r.running(), map[workload.Ref]Seen{}}
	if r.d.Seen != nil {
		for _, c := range r.d.Running() {
			if _, ok := u.seen[c.Workload]; !ok {
				u.seen[c.Workload] = r.d.Seen(c.Workload)
			}
		}
	}
	r.mu.Lock()
	r.used = u
	r.mu.Unlock()
	return u
}

// seenOf is what the containers of an image were seen to do.
func (r *Room) seenOf(rec *record) Seen {
	u := r.inUse()
	var out Seen
	for _, c := range u.running.of(rec) {
		s := u.seen[c.Workload]
		if s.ProgramsWatched {
			out.Programs, out.ProgramsWatched = append(out.Programs, s.Programs...), true
		}
		if s.PortsWatched {
			out.Ports, out.PortsWatched = append(out.Ports, s.Ports...), true
		}
	}
	slices.Sort(out.Programs)
	slices.Sort(out.Ports)
	out.Programs, out.Ports = slices.Compact(out.Programs), slices.Compact(out.Ports)
	return out
}

// Use tells what images of this machine were seen to do.
func (r *Room) Use() facts.ImageUse { return imageUse{r} }

type imageUse struct{ r *Room }

func (u imageUse) of(digest string) Seen {
	rec, ok := u.r.find(digest)
	if !ok { // not kept yet
		rec = &record{}
		rec.Digest = digest
	}
	return u.r.seenOf(rec)
}

// ExecutedIn implements facts.ImageUse.
func (u imageUse) ExecutedIn(digest string) ([]string, bool) {
	s := u.of(digest)
	return s.Programs, s.ProgramsWatched
}

// ExposedTo implements facts.ImageUse.
func (u imageUse) ExposedTo(digest string) ([]string, bool) {
	s := u.of(digest)
	return s.Ports, s.PortsWatched
}
