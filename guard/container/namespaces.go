package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/workload"
)

// namespaces finds the containers that Gabion made itself, by what it wrote
// down of them in a directory.
type namespaces struct {
	dir  string
	poll time.Duration
}

func newNamespaces(dir string) *namespaces {
	return &namespaces{dir: dir, poll: 250 * time.Millisecond}
}

func (p *namespaces) Name() string  { return "namespaces" }
func (p *namespaces) Where() string { return p.dir }
func (p *namespaces) Close() error  { return nil }

func (p *namespaces) Probe(context.Context) guard.Feature {
	return guard.Feature{Name: p.Name(), Works: true, Detail: "containers written down in " + p.dir}
}

func (p *namespaces) ids() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // made with the first container
	}
	if err != nil {
		return nil, fmt.Errorf("list containers in %s: %w", p.dir, err)
	}
	var list []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok {
			list = append(list, id)
		}
	}
	return list, nil
}

func (p *namespaces) List(context.Context) ([]workload.Container, error) {
	ids, err := p.ids()
	if err != nil {
		return nil, err
	}
	var list []workload.Container
	var errs []error
	for _, id := range ids {
		s, err := minicontainer.ReadState(p.dir, id)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			errs = append(errs, err)
		case s.Alive():
			list = append(list, made(s))
		}
	}
	return list, errors.Join(errs...)
}

func made(s minicontainer.State) workload.Container {
	c := workload.Container{
		ID: s.ID, Name: s.Name, Runtime: "namespaces", Image: s.Image, Labels: maps.Clone(s.Labels),
		PID: s.PID, Args: s.Args,
	}
	describe(&c)
	return c
}

func (p *namespaces) Inspect(_ context.Context, id string) (workload.Container, error) {
	if id != filepath.Base(id) {
		return workload.Container{}, fmt.Errorf("find container %q: %w", id, ErrNotFound)
	}
	s, err := minicontainer.ReadState(p.dir, id)
	if errors.Is(err, fs.ErrNotExist) {
		return workload.Container{}, fmt.Errorf("find container %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return workload.Container{}, err
	}
	c := made(s)
	c.PID = 0 // as every Inspect: the caller knows the process
	return c, nil
}

// Watch compares listings of the directory; a file is read once.
func (p *namespaces) Watch(ctx context.Context, subscribed func(), fn func(Change)) error {
	subscribed()
	known := map[string]minicontainer.State{}
	tick := time.NewTicker(p.poll)
	defer tick.Stop()
	for {
		ids, err := p.ids()
		if err != nil {
			return err
		}
		now := map[string]bool{}
		for _, id := range ids {
			now[id] = true
			if _, ok := known[id]; ok {
				continue
			}
			s, err := minicontainer.ReadState(p.dir, id)
			if err != nil || s.PID == 0 {
				continue // being made or removed at this moment, or foreign: List reports it
			}
			known[id] = s
			if s.Alive() {
				fn(Change{Container: made(s)})
			}
		}
		for id, s := range known {
			if !now[id] && !s.Alive() { // a listing made while files are renamed may miss some
				delete(known, id)
				fn(Change{Container: workload.Container{ID: s.ID}, Gone: true})
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
