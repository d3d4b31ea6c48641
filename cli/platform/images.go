package platform

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/cli/platform/images"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/workload"
)

// imagesPart is the supply chain of this machine: the room, its scanner, and a
// store of its own, so that images do not take the room of events.
type imagesPart struct {
	room    *images.Room
	scanner *images.Real
	store   *store.SQLite
}

func (p *Platform) openImages(ctx context.Context) (part imagesPart, err error) {
	dir := filepath.Join(p.cfg.Data, "images")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return part, err
	}
	if part.store, err = store.Open(ctx, store.Config{Path: filepath.Join(dir, "images.db"), Log: p.log, Now: time.Now}); err != nil {
		return part, err
	}
	if part.scanner, err = images.NewReal(version.Name+" "+version.Version, dir, p.cfg.Database); err != nil {
		return part, err
	}
	cfg := p.cfg.Images
	cfg.Node = p.node
	part.room, err = images.Open(ctx, cfg, images.Deps{
		Store: part.store, Scanner: part.scanner, Record: p.recorder.Record, Log: p.log, Now: time.Now,
		Running: p.containers, Seen: p.seen, Exceptions: p.exceptions, Getenv: os.Getenv, ReadFile: os.ReadFile,
	})
	return part, err
}

func (i imagesPart) close() error {
	var errs []error
	if i.scanner != nil {
		errs = append(errs, i.scanner.Close())
	}
	if i.store != nil {
		errs = append(errs, i.store.Close())
	}
	return errors.Join(errs...)
}

// seen is what the containers of a workload were seen to do.
func (p *Platform) seen(ref workload.Ref) images.Seen {
	prof, ok := p.agent.Profile(ref)
	if !ok {
		return images.Seen{}
	}
	s := images.Seen{ProgramsWatched: p.kernel.engine != nil, PortsWatched: p.kernel.firewall != nil}
	for _, x := range prof.Spec.Processes {
		if !x.NotInImage {
			s.Programs = append(s.Programs, x.Path)
		}
	}
	for _, x := range prof.Spec.Ingress {
		if x.Workload == nil || x.Workload.Namespace != ref.Namespace || x.Workload.Name != ref.Name {
			s.Ports = append(s.Ports, string(x.Port))
		}
	}
	return s
}

// exceptions are those of the policies in force.
func (p *Platform) exceptions() []v1alpha1.Exception {
	var out []v1alpha1.Exception
	for _, d := range p.set().Documents() {
		if e, ok := d.Object.(*v1alpha1.Exception); ok {
			out = append(out, *e)
		}
	}
	return out
}
