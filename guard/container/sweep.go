package container

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"
)

// sweep looks at the processes of this machine from time to time: containers
// whose first process ended are reported gone, also when their runtime is not
// there to tell, and process trees that no runtime knows are found.
func (d *Discovery) sweep(ctx context.Context) {
	tick := time.NewTicker(d.cfg.Sweep)
	defer tick.Stop()
	for {
		d.bury()
		if !d.cfg.NoScan {
			if err := d.scan(ctx); err != nil && ctx.Err() == nil {
				d.log.Warn("look for containers without runtime", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// bury drops the claims on containers that ended.
func (d *Discovery) bury() {
	var dead []string
	d.mu.Lock()
	for id, by := range d.claims {
		for s, cl := range by {
			if !cl.alive() {
				delete(by, s)
				dead = append(dead, id)
			}
		}
		if len(by) == 0 {
			delete(d.claims, id)
		}
	}
	d.mu.Unlock()
	for _, id := range dead {
		d.tell(id)
	}
}

// scan looks up the first processes of pid namespaces that nobody claims.
func (d *Discovery) scan(ctx context.Context) error {
	host, err := hostNamespace("pid")
	if err != nil {
		return err
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	seen := map[int]uint64{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || ctx.Err() != nil {
			continue
		}
		ns, err := namespace(pid, "pid")
		if err != nil || ns == host {
			continue
		}
		if first, _ := isInit(pid); !first {
			continue
		}
		start := startTicks(pid)
		if start == 0 {
			continue
		}
		if d.scanned[pid] == start { // only this goroutine uses it
			seen[pid] = start
			continue
		}
		if d.claimed(pid, start) {
			continue
		}
		c, ok, err := d.lookup(ctx, pid)
		switch {
		case errors.Is(err, ErrGone):
			continue
		case err != nil:
			continue // a runtime does not answer; asked again next time
		case ok && c.Runtime == "namespaces" && !d.written(c.ID):
			d.claim(d.scanner, c)
		case ok:
			// Its runtime has it; what it will say is better.
			for _, s := range d.sources {
				if s.Name() == c.Runtime {
					s.again()
				}
			}
		}
		seen[pid] = start
	}
	d.scanned = seen
	return nil
}

// claimed reports whether a container with this first process is known.
func (d *Discovery) claimed(pid int, start uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, by := range d.claims {
		for s, cl := range by {
			if s != d.scanner && cl.c.PID == pid && cl.start == start {
				return true
			}
		}
	}
	return false
}

// written reports whether a plugin has the container, which it will tell.
func (d *Discovery) written(id string) bool {
	for _, s := range d.sources {
		if s.Name() == "namespaces" {
			if _, err := s.Inspect(context.Background(), id); err == nil {
				return true
			}
		}
	}
	return false
}
