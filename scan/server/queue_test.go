package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
)

// TestShared: equal scans at the same time are one; with other credentials they
// are not.
func TestShared(t *testing.T) {
	release := make(chan struct{})
	f := &fake{scan: func(ctx context.Context, r Request, p func(Event)) (*scan.Report, error) {
		p(Event{Progress: "pulling"})
		select {
		case <-release:
			return &scan.Report{Image: scan.Image{Name: r.Reference}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	s, c := start(t, f, newShelf(), func(c *Config, _ *Deps) { c.Parallel = 4 })
	var wg sync.WaitGroup
	var told sync.Map
	for i := range 6 {
		wg.Go(func() {
			req := Request{Reference: "r.test/app:1"}
			if i == 5 {
				req.Credentials = &Credentials{Token: "x"}
			}
			r, err := c.Scan(context.Background(), req, func(e Event) { told.Store(i, e.Progress) })
			if err != nil || r.Image.Name == "" {
				t.Error(err)
			}
		})
	}
	testkit.Eventually(t, "six clients wait", func() bool { return s.count.scans.Load() == 6 })
	testkit.Eventually(t, "all heard of progress", func() bool {
		n := 0
		told.Range(func(any, any) bool { n++; return true })
		return n == 6
	})
	close(release)
	wg.Wait()
	if f.count() != 2 || s.count.shared.Load() != 4 {
		t.Errorf("%d scans, %d shared", f.count(), s.count.shared.Load())
	}
}

// TestQueue: beyond what may run, clients wait and hear their place; beyond
// what may wait, they are refused.
func TestQueue(t *testing.T) {
	release := make(chan struct{})
	f := &fake{scan: func(ctx context.Context, r Request, _ func(Event)) (*scan.Report, error) {
		select {
		case <-release:
			return &scan.Report{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	s, c := start(t, f, newShelf(), func(c *Config, d *Deps) { c.Parallel, c.Queue, d.Alive = 1, 2, 10*time.Millisecond })
	var wg sync.WaitGroup
	places := make([]chan int, 3)
	for i := range 3 {
		places[i] = make(chan int, 100)
		wg.Go(func() {
			if _, err := c.Scan(context.Background(), Request{Reference: fmt.Sprint("r.test/app:", i)}, func(e Event) { places[i] <- e.Queue }); err != nil {
				t.Error(err)
			}
		})
		testkit.Eventually(t, "it runs or waits", func() bool {
			running, waiting := s.queue.lengths()
			return running+waiting == i+1
		})
	}
	if p := <-places[2]; p != 2 {
		t.Errorf("place %d", p)
	}
	if _, err := c.Scan(context.Background(), Request{Reference: "r.test/app:9"}, nil); code(err) != CodeBusy {
		t.Error(err)
	}
	// A patient client comes through once there is room.
	patient := *c
	patient.Patience = 3
	var once sync.Once
	patient.Sleep = func(context.Context, time.Duration) error {
		once.Do(func() {
			release <- struct{}{} // the first ends, so the third is next
			for p := <-places[2]; p != 1; p = <-places[2] {
				if p != 2 {
					t.Errorf("then place %d", p)
				}
			}
			close(release)
		})
		wg.Wait()
		return nil
	}
	if _, err := patient.Scan(context.Background(), Request{Reference: "r.test/app:9"}, nil); err != nil {
		t.Error(err)
	}
}

// TestLeaving: a scan nobody waits for ends, and a place nobody wants is free.
func TestLeaving(t *testing.T) {
	ended := make(chan error, 1)
	f := &fake{scan: func(ctx context.Context, r Request, _ func(Event)) (*scan.Report, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	s, c := start(t, f, newShelf(), func(c *Config, _ *Deps) { c.Parallel = 1 })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			if _, err := c.Scan(ctx, Request{Reference: fmt.Sprint("r.test/app:", i)}, nil); err == nil {
				t.Error("a scan that was left gave a report")
			}
		})
	}
	testkit.Eventually(t, "one runs, one waits", func() bool { r, w := s.queue.lengths(); return r == 1 && w == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wg.Wait()
	testkit.Eventually(t, "nothing is left", func() bool { r, w := s.queue.lengths(); return r == 0 && w == 0 })
}

func TestFailures(t *testing.T) {
	f := &fake{scan: func(ctx context.Context, r Request, _ func(Event)) (*scan.Report, error) {
		switch {
		case strings.HasSuffix(r.Reference, "panic"):
			panic("boom")
		case strings.HasSuffix(r.Reference, "nothing"):
			return nil, nil
		case strings.HasSuffix(r.Reference, "slow"):
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, &Error{Code: CodeForbidden, Message: "no"}
	}}
	s, c := start(t, f, newShelf(), func(c *Config, _ *Deps) { c.Timeout = 50 * time.Millisecond })
	for tag, want := range map[string]string{"panic": CodeFailed, "nothing": CodeFailed, "slow": CodeTimeout, "own": CodeForbidden} {
		if _, err := c.Scan(context.Background(), Request{Reference: "r.test/app:" + tag}, nil); code(err) != want {
			t.Errorf("%s: %v", tag, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Scan(context.Background(), Request{Reference: "r.test/app:1"}, nil); code(err) != CodeBusy {
		t.Error(err)
	}
}
