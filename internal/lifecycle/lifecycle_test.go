package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal records what happened, in order, from many goroutines.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) unit(name string) lifecycle.Unit {
	return lifecycle.Unit{Name: name, Run: func(ctx context.Context, r lifecycle.Reporter) error {
		j.add(name + " starts")
		r.Ready()
		<-ctx.Done()
		j.add(name + " stops")
		return ctx.Err()
	}}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func fast(int) time.Duration { return time.Millisecond }

func state(g *lifecycle.Group, name string) lifecycle.Status {
	for _, s := range g.Health() {
		if s.Name == name {
			return s
		}
	}
	return lifecycle.Status{}
}

func TestStartsInOrderStopsInReverse(t *testing.T) {
	var j journal
	g := lifecycle.New(lifecycle.Config{}, j.unit("bus"), j.unit("store"), j.unit("console"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	until(t, "console ready", func() bool { return state(g, "console").State == lifecycle.Ready })
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("Run: %v", err)
	}
	want := []string{"bus starts", "store starts", "console starts", "console stops", "store stops", "bus stops"}
	if got := j.all(); !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	for _, s := range g.Health() {
		if s.State != lifecycle.Stopped {
			t.Errorf("%s is %s at the end", s.Name, s.State)
		}
	}
}

func TestNextWaitsUntilReady(t *testing.T) {
	var j journal
	gate := make(chan struct{})
	slow := lifecycle.Unit{Name: "slow", Run: func(ctx context.Context, r lifecycle.Reporter) error {
		<-gate
		j.add("slow is ready")
		r.Ready()
		<-ctx.Done()
		return nil
	}}
	g := lifecycle.New(lifecycle.Config{}, slow, j.unit("next"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	until(t, "slow starting", func() bool { return state(g, "slow").State == lifecycle.Starting })
	if s := state(g, "next"); s.State != lifecycle.Waiting {
		t.Errorf("next is %s before slow is ready", s.State)
	}
	close(gate)
	until(t, "next ready", func() bool { return state(g, "next").State == lifecycle.Ready })
	cancel()
	<-done
	if got := j.all(); got[0] != "slow is ready" || got[1] != "next starts" {
		t.Errorf("order %q", got)
	}
}

func TestRequiredFailureEndsGroup(t *testing.T) {
	boom := errors.New("no kernel")
	cases := []struct {
		name string
		run  func(ctx context.Context, r lifecycle.Reporter) error
		want error
	}{
		{"before ready", func(context.Context, lifecycle.Reporter) error { return boom }, boom},
		{"after ready", func(_ context.Context, r lifecycle.Reporter) error { r.Ready(); return boom }, boom},
		{"ends by itself", func(_ context.Context, r lifecycle.Reporter) error { r.Ready(); return nil }, lifecycle.ErrEnded},
		{"never ready", func(ctx context.Context, _ lifecycle.Reporter) error { <-ctx.Done(); return nil }, lifecycle.ErrNotReady},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var j journal
			g := lifecycle.New(lifecycle.Config{}, j.unit("first"),
				lifecycle.Unit{Name: "bad", Run: c.run, StartBound: 50 * time.Millisecond}, j.unit("last"))
			err := g.Run(t.Context())
			if !errors.Is(err, c.want) {
				t.Errorf("Run gave %v, want %v", err, c.want)
			}
			if got := j.all(); !slices.Contains(got, "first stops") {
				t.Errorf("first was not stopped: %q", got)
			}
			if s := state(g, "bad"); s.State != lifecycle.Failed && c.want == boom {
				t.Errorf("bad is %s (%s)", s.State, s.Reason)
			}
		})
	}
}

func TestOptionalUnitIsStartedAgain(t *testing.T) {
	var j journal
	runs := 0 // touched by one run after the other only
	console := lifecycle.Unit{Name: "console", MayFail: true, Run: func(ctx context.Context, r lifecycle.Reporter) error {
		if runs++; runs < 3 {
			return fmt.Errorf("port taken (attempt %d)", runs)
		}
		r.Ready()
		<-ctx.Done()
		return nil
	}}
	g := lifecycle.New(lifecycle.Config{Backoff: fast}, console, j.unit("enforce"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	until(t, "console ready", func() bool { return state(g, "console").State == lifecycle.Ready })
	until(t, "enforce ready", func() bool { return state(g, "enforce").State == lifecycle.Ready })
	if s := state(g, "console"); s.Restarts != 2 || s.Reason != "" {
		t.Errorf("console status %+v, want 2 restarts and no reason", s)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOptionalUnitThatHangsDoesNotHoldTheOthers(t *testing.T) {
	var j journal
	hang := lifecycle.Unit{Name: "hang", MayFail: true, StartBound: 10 * time.Millisecond,
		Run: func(ctx context.Context, _ lifecycle.Reporter) error { <-ctx.Done(); return nil }}
	g := lifecycle.New(lifecycle.Config{}, hang, j.unit("enforce"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	until(t, "enforce ready", func() bool { return state(g, "enforce").State == lifecycle.Ready })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestStuckUnitIsBoundedAndNamed(t *testing.T) {
	var j journal
	release := make(chan struct{})
	defer close(release)
	stuck := lifecycle.Unit{Name: "stuck", StopBound: 20 * time.Millisecond,
		Run: func(_ context.Context, r lifecycle.Reporter) error { r.Ready(); <-release; return nil }}
	g := lifecycle.New(lifecycle.Config{}, j.unit("first"), stuck)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	until(t, "stuck ready", func() bool { return state(g, "stuck").State == lifecycle.Ready })
	cancel()
	if err := <-done; !errors.Is(err, lifecycle.ErrStuck) {
		t.Errorf("Run gave %v, want ErrStuck", err)
	}
	if got := j.all(); !slices.Contains(got, "first stops") {
		t.Errorf("first was not stopped: %q", got)
	}
}

func TestHealthChangesAreReported(t *testing.T) {
	var j journal
	full := make(chan struct{})
	store := lifecycle.Unit{Name: "store", Run: func(ctx context.Context, r lifecycle.Reporter) error {
		r.Ready()
		<-full
		r.Degraded("disk full")
		r.Degraded("disk full") // the same again is no change
		r.Ready()
		<-ctx.Done()
		return nil
	}}
	g := lifecycle.New(lifecycle.Config{OnChange: func(s lifecycle.Status) { j.add(string(s.State) + " " + s.Reason) }}, store)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	close(full)
	until(t, "recovery", func() bool { return len(j.all()) >= 4 })
	cancel()
	<-done
	want := []string{"starting ", "ready ", "degraded disk full", "ready ", "stopped "}
	if got := j.all(); !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
}

func TestBackoffGrowsToABound(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 100; n++ {
		d := lifecycle.Backoff(n)
		if d < last || d > 30*time.Second {
			t.Fatalf("Backoff(%d) = %v after %v", n, d, last)
		}
		last = d
	}
	if lifecycle.Backoff(1) != 500*time.Millisecond || last != 30*time.Second {
		t.Errorf("from %v to %v", lifecycle.Backoff(1), last)
	}
}

func ExampleGroup() {
	ctx, cancel := context.WithCancel(context.Background())
	g := lifecycle.New(lifecycle.Config{},
		lifecycle.Unit{Name: "store", Run: func(ctx context.Context, r lifecycle.Reporter) error {
			r.Ready()
			<-ctx.Done()
			fmt.Println("store stops last")
			return nil
		}},
		lifecycle.Unit{Name: "console", MayFail: true, Run: func(ctx context.Context, r lifecycle.Reporter) error {
			fmt.Println("console starts when the store is ready")
			r.Ready()
			cancel()
			<-ctx.Done()
			return nil
		}},
	)
	fmt.Println(g.Run(ctx))
	// Output:
	// console starts when the store is ready
	// store stops last
	// <nil>
}
