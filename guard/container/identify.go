package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/workload"
)

// inspectBound is how long one runtime may take while a process waits.
const inspectBound = 700 * time.Millisecond

// Identify says which container a process belongs to, typically one that was
// stopped before its first instruction, when its runtime still calls the
// container "created". cgroupID may be 0. (_, false, nil) means that it
// certainly is in none. When no runtime answers for it but it clearly lives as
// a container does, it is described by what the kernel knows.
func (d *Discovery) Identify(ctx context.Context, pid int, cgroupID uint64) (workload.Container, bool, error) {
	d.mu.Lock()
	cl, known := d.told[d.groups[cgroupID]]
	d.mu.Unlock()
	if known && cgroupID != 0 && cl.alive() && !cl.guess {
		return cl.c, true, nil
	}
	c, ok, err := d.lookup(ctx, pid)
	if !errors.Is(err, ErrGone) || cgroupID == 0 {
		return c, ok, err
	}
	// The process ended, but others of its container may live.
	group, pathErr := cgroupByID(cgroupID)
	if pathErr != nil || group == "/" {
		return c, false, err
	}
	root, rootErr := cgroup.Root()
	if rootErr != nil {
		return c, false, rootErr
	}
	pids, pidErr := cgroup.PIDs(filepath.Join(root, group))
	if pidErr != nil {
		return c, false, pidErr
	}
	for _, other := range pids {
		c, ok, err = d.lookup(ctx, other)
		if !errors.Is(err, ErrGone) {
			break
		}
	}
	return c, ok, err
}

// lookup identifies a process from scratch.
func (d *Discovery) lookup(ctx context.Context, pid int) (workload.Container, bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return workload.Container{}, false, procErr(pid, err)
	}
	v2, any := cgroupPath(text)
	if any == "/" {
		return workload.Container{}, false, nil
	}
	var failures []error
	for _, cand := range candidates(any) {
		for _, s := range d.order(cand.Runtime) {
			bound, cancel := context.WithTimeout(ctx, inspectBound)
			c, err := s.Inspect(bound, cand.ID)
			cancel()
			switch {
			case err == nil && d.livesElsewhere(c.ID, cand.Path):
				// A group named after a container whose processes are in
				// another one.
				d.log.Warn("a cgroup is named after a container that lives elsewhere", "pid", pid, "cgroup", any, "container", c.Short())
			case err == nil && (cand.Namespace == "" || c.RuntimeNamespace == "" || cand.Namespace == c.RuntimeNamespace):
				group := cand.Path
				if v2 == "/" {
					group = v2
				}
				return d.located(c, firstProcess(pid, group))
			case errors.Is(err, ErrSandbox):
				return workload.Container{}, false, nil
			case err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrAbsent):
				failures = append(failures, err)
			}
		}
	}
	c, ok, err := anonymous(pid, v2)
	if err == nil && !ok && len(failures) > 0 {
		err = fmt.Errorf("identify process %d in cgroup %s: %w", pid, any, errors.Join(failures...))
	}
	if ok && len(failures) > 0 {
		d.log.Warn("container runtime did not answer for a container; known by its cgroup only", "container", c.Short(), "pid", pid, "err", errors.Join(failures...))
	}
	return c, ok, err
}

// livesElsewhere reports whether a container is known to run in a group other
// than the one given and those below it.
func (d *Discovery) livesElsewhere(id, group string) bool {
	d.mu.Lock()
	cl, ok := d.told[id]
	d.mu.Unlock()
	own := cl.c.CgroupPath
	return ok && own != "/" && !strings.HasPrefix(own+"/", group+"/") && cl.alive()
}

// order is the plugins, those of the named runtime first.
func (d *Discovery) order(runtime string) []*source {
	list := slices.Clone(d.sources)
	slices.SortStableFunc(list, func(a, b *source) int {
		return btoi(b.Name() == runtime) - btoi(a.Name() == runtime)
	})
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (d *Discovery) located(c workload.Container, pid int) (workload.Container, bool, error) {
	c.PID = pid
	if err := fill(&c); err != nil {
		return c, false, fmt.Errorf("identify container %s: %w", c.Short(), err)
	}
	return c, true, nil
}

// noneOfHost reports whether no process of the machine's own pid namespace is
// in a group.
func noneOfHost(group string) (bool, error) {
	root, err := cgroup.Root()
	if err != nil {
		return false, err
	}
	pids, err := cgroup.PIDs(filepath.Join(root, group))
	if err != nil {
		return false, err
	}
	host, err := hostNamespace("pid")
	if err != nil {
		return false, err
	}
	for _, p := range pids {
		if ns, err := namespace(p, "pid"); err == nil && ns == host {
			return false, nil
		}
	}
	return true, nil
}

// anonymous describes a process tree that no runtime knows, when it lives as a
// container does: in pid and mount namespaces of its own and a cgroup that it
// shares with nobody outside.
func anonymous(pid int, group string) (workload.Container, bool, error) {
	var none workload.Container
	if group == "/" {
		return none, false, nil
	}
	ok, err := isolated(pid)
	if err != nil || !ok {
		return none, false, err
	}
	// It may be in a group below its container's.
	first := 0
	for ; group != "/"; group = path.Dir(group) {
		alone, err := noneOfHost(group)
		if err != nil || !alone {
			return none, false, err
		}
		first = firstProcess(pid, group)
		if is, _ := isInit(first); !is {
			continue
		}
		if strings.HasSuffix(group, ".service") {
			return none, false, nil // of the machine: one within a container has no init of its own
		}
		break
	}
	if group == "/" {
		return none, false, nil // a tree whose first process is gone
	}
	c := workload.Container{Runtime: "namespaces", PID: first}
	for _, cand := range candidates(group) {
		if isID(cand.ID) {
			c.ID = cand.ID
			break
		}
	}
	if c.ID == "" {
		sum := sha256.Sum256([]byte(group + "\x00" + strconv.Itoa(first) + "\x00" + strconv.FormatUint(startTicks(first), 10)))
		c.ID = hex.EncodeToString(sum[:])
		c.Name = strings.TrimSuffix(path.Base(group), ".scope")
	}
	if err := fill(&c); err != nil {
		return none, false, err
	}
	describe(&c)
	return c, true, nil
}
