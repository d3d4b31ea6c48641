package container

import (
	"context"
	"errors"
	"fmt"

	"github.com/gabion-dev/gabion/workload"
)

// OnStart sets what is asked before the first program of a container starts,
// by runtimes that wait for an answer (NRI). fn must return when its context
// ends; its error makes the start fail. Call it before Run.
func (d *Discovery) OnStart(fn func(context.Context, workload.Container) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.starts = fn
}

// starting is asked by a plugin whose runtime waits. c is what that runtime
// says; the plugin that knows most is asked as well, so that who the container
// is does not change a moment later.
func (d *Discovery) starting(ctx context.Context, c workload.Container) (workload.Container, error) {
	d.mu.Lock()
	fn := d.starts
	d.mu.Unlock()
	if c.PID != 0 {
		var err error
		if c, err = d.described(ctx, c); errors.Is(err, ErrSandbox) || errors.Is(err, ErrGone) {
			return workload.Container{}, nil // nobody's program, or the runtime gave up on it
		} else if err != nil {
			d.log.Warn("read facts of starting container", "container", c.Short(), "pid", c.PID, "err", err)
		}
	}
	if fn == nil {
		return c, nil
	}
	// One whose process cannot be found is passed on as well: whoever is asked
	// must say what follows.
	if err := fn(ctx, c); err != nil {
		return c, fmt.Errorf("start container %s: %w", c.Short(), err)
	}
	return c, nil
}

// described adds what the runtime that knows most and the kernel know of a
// container whose PID is set.
func (d *Discovery) described(ctx context.Context, c workload.Container) (workload.Container, error) {
	for _, s := range d.sources {
		if s.Name() == "nri" || s.Name() == "namespaces" || d.healthOf(s) != OK {
			continue
		}
		bound, cancel := context.WithTimeout(ctx, inspectBound)
		better, err := s.Inspect(bound, c.ID)
		cancel()
		if errors.Is(err, ErrSandbox) {
			return c, err
		}
		if err == nil {
			better.PID = c.PID
			c = better
			break
		}
	}
	err := fill(&c)
	return c, err
}
