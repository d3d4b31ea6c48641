package container

import (
	"context"
	"os"
	"strconv"
	"strings"
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
	for id := range d.claims {
		if d.dropDead(id) {
			dead = append(dead, id)
		}
	}
	d.mu.Unlock()
	for _, id := range dead {
		d.tell(id)
	}
}

// tree is a process tree that the scan came across.
type tree struct {
	start  uint64 // of its first process
	judged bool
}

// scan looks up the first processes of pid namespaces that nobody claims. One
// is looked up when it is met the second time: what a runtime is just making
// is for the runtime to tell, and is not what it will be.
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
	seen := map[int]tree{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || ctx.Err() != nil {
			continue
		}
		if ns, err := namespace(pid, "pid"); err != nil || ns == host {
			continue
		}
		if first, _ := isInit(pid); !first {
			continue
		}
		start := startTicks(pid)
		if start == 0 || d.claimed(pid, start) {
			continue
		}
		now := tree{start: start}
		if before := d.scanned[pid]; before.start == start {
			now.judged = before.judged || !unborn(pid) && d.judge(ctx, pid)
		}
		seen[pid] = now
	}
	d.scanned = seen
	return nil
}

// unborn reports whether a process has not executed the program of its
// container yet but still is what made the container: runc, or this program.
func unborn(pid int) bool {
	if args := arguments(pid); len(args) == 2 && args[1] == "init" && strings.HasSuffix(args[0], "runc") {
		return true
	}
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	its, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && os.SameFile(own, its)
}

// judge finds out what a process tree is and reports whether that is settled.
func (d *Discovery) judge(ctx context.Context, pid int) bool {
	c, ok, err := d.lookup(ctx, pid)
	switch {
	case err != nil:
		return false // it ended, or a runtime does not answer: asked again
	case ok && c.Runtime == "namespaces" && !d.written(ctx, c.ID):
		d.claim(d.scanner, c)
	case ok:
		// Its runtime has it and was not heard of it.
		for _, s := range d.sources {
			if s.Name() == c.Runtime {
				s.again()
			}
		}
	}
	return true
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
func (d *Discovery) written(ctx context.Context, id string) bool {
	for _, s := range d.sources {
		if s.Name() == "namespaces" {
			if _, err := s.Inspect(ctx, id); err == nil {
				return true
			}
		}
	}
	return false
}
