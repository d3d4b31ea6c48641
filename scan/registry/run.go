package registry

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Run sweeps at once and then by the schedule until ctx ends; in between it
// examines what Push hands it. Without a schedule it sweeps once.
func (s *Sweeper) Run(ctx context.Context) error {
	for {
		sum, err := s.Sweep(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// The next time may go better; what is wrong is said each time.
			s.d.Log.Error("registry could not be swept", "target", s.t.Name, "registry", s.t.Registry, "error", err)
			if s.d.Trouble != nil {
				s.d.Trouble(err)
			}
		} else {
			s.d.Log.Info("registry swept", "target", s.t.Name, "registry", s.t.Registry, "images", sum.Images,
				"scanned", sum.Scanned, "known", sum.Known, "failed", len(sum.Failed), "incomplete", len(sum.Incomplete))
			if s.d.Done != nil {
				s.d.Done(sum)
			}
		}
		if err := s.until(ctx); err != nil {
			return err
		}
	}
}

// until examines pushes until the next sweep is due.
func (s *Sweeper) until(ctx context.Context) error {
	var next time.Time
	if s.schedule != nil {
		if next = s.schedule.Next(s.d.Now().UTC()); next.IsZero() {
			s.d.Log.Warn("the schedule never comes round", "target", s.t.Name, "schedule", s.t.Schedule)
		}
	}
	for {
		// Looking at the clock every minute survives machines that sleep.
		wait := time.Minute
		if !next.IsZero() {
			left := next.Sub(s.d.Now())
			if left <= 0 {
				return nil
			}
			wait = min(wait, left)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-s.pushes.ready:
			timer.Stop()
			s.pushed(ctx)
		case <-timer.C:
		}
	}
}

// pushed examines everything that is in the queue.
func (s *Sweeper) pushed(ctx context.Context) {
	in, err := s.session()
	if err != nil {
		s.d.Log.Error("pushed images could not be examined", "target", s.t.Name, "error", err)
		return
	}
	for ctx.Err() == nil {
		p, ok := s.pushes.take()
		if !ok {
			return
		}
		if err := in.pushed(ctx, p); err != nil && ctx.Err() == nil {
			s.d.Log.Error("pushed image could not be examined", "target", s.t.Name, "repository", p.Repository, "tag", p.Tag, "digest", p.Digest, "error", err)
		}
	}
}

// pushed examines one image that was pushed. One that is not there yet is looked
// for again: the notice may come before the image is complete.
func (s *session) pushed(ctx context.Context, p Pushed) error {
	ref, called, err := p.references(s.t.Registry, s.nameOptions()...)
	if err != nil {
		return err
	}
	for pause := time.Second; ; pause *= 2 {
		var sum Summary
		inv := &inventory{images: map[string]*found{}, sum: &sum}
		if err := s.collect(ctx, ref, called, inv); err != nil {
			return err
		}
		if len(sum.Failed) > 0 && absent(sum.Failed[0].Err) && pause <= 8*time.Second {
			if err := s.d.Sleep(ctx, pause); err != nil {
				return err
			}
			continue
		}
		if err := s.examine(ctx, inv); err != nil {
			return err
		}
		if len(sum.Failed) > 0 {
			return sum.Failed[0].Err
		}
		return nil
	}
}

func absent(err error) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}
