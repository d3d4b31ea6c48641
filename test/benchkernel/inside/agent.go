package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// counts is a guard.Sink that adds up what it is told.
type counts struct {
	mu      sync.Mutex
	denials map[string]guard.Denial
	lost    uint64
}

func (c *counts) Denied(d guard.Denial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denials[d.ID] = d
}
func (c *counts) Observed(guard.Observation) {}
func (c *counts) Started(guard.Start)        {}
func (c *counts) Lost(l guard.Loss) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += l.Causes
}

func (c *counts) total() (n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.denials {
		n += d.Count
	}
	return n
}

// agent is an engine at work, as gabion runs it.
type agent struct {
	*kernel.Engine
	sink *counts
	stop context.CancelFunc
	done chan error
}

// startAgent starts one; without refusal, forbidden programs are killed even
// where calls could fail.
func startAgent(refusal bool) (*agent, error) {
	a := &agent{sink: &counts{denials: map[string]guard.Denial{}}, done: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	var err error
	a.Engine, err = kernel.Open(kernel.Config{PinDir: fmt.Sprintf("/sys/fs/bpf/gabionbench-%d", os.Getpid()), NoRefusal: !refusal}, kernel.Deps{Log: log, Sink: a.sink})
	if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, a.stop = context.WithCancel(context.Background())
	go func() { a.done <- a.Run(ctx) }()
	return a, nil
}

func (a *agent) end() error {
	a.stop()
	return errors.Join(<-a.done, a.Close(false))
}

// section applies one section of a plan.
type section func(context.Context, workload.Container, *policy.Plan) (guard.Coverage, error)

// sections are those that this build's engine has, in the order of the shapes
// of policy that need them.
func (a *agent) sections() []section {
	out := []section{a.Apply, a.ApplyFiles}
	if e, ok := any(a.Engine).(interface {
		ApplyCapabilities(context.Context, workload.Container, *policy.Plan) (guard.Coverage, error)
		ApplyHardening(context.Context, workload.Container, *policy.Plan) (guard.Coverage, error)
	}); ok {
		out = append(out, e.ApplyCapabilities, e.ApplyHardening)
	}
	return out
}

// enforce puts a plan in force and gives the mechanisms.
func (a *agent) enforce(ctx context.Context, c *minicontainer.Container, documents ...string) (took time.Duration, how []guard.Coverage, err error) {
	w := workload.Container{ID: c.ID(), Name: c.Name(), Runtime: "namespaces", PID: c.PID(), Workload: workload.Ref{Namespace: namespace, Name: c.Name()}}
	var p *policy.Plan
	if len(documents) > 0 {
		if p, err = plan(&w, documents...); err != nil {
			return 0, nil, err
		}
	}
	begun := time.Now()
	for _, apply := range a.sections() {
		cov, err := apply(ctx, w, p)
		if err != nil {
			return 0, nil, err
		}
		how = append(how, cov)
	}
	return time.Since(begun), how, nil
}
