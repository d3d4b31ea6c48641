package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// moody is a bus that refuses when told to.
type moody struct {
	bus.Bus
	refuse atomic.Bool
}

func (m *moody) PublishBatch(ctx context.Context, msgs []bus.Message) error {
	if m.refuse.Load() {
		return fmt.Errorf("publish: %w: the disk is full", bus.ErrFull)
	}
	return m.Bus.PublishBatch(ctx, msgs)
}

// stubborn is a store that refuses when told to.
type stubborn struct {
	store.Store
	refuse atomic.Bool
	prunes atomic.Int64
}

func (s *stubborn) Append(ctx context.Context, b []event.Event) ([]event.Event, error) {
	if s.refuse.Load() {
		return nil, fmt.Errorf("append: %w", store.ErrFull)
	}
	return s.Store.Append(ctx, b)
}

func (s *stubborn) Prune(ctx context.Context, r store.Retention) (int64, error) {
	s.prunes.Add(1)
	return s.Store.Prune(ctx, r)
}

type rig struct {
	*fleet.Recorder
	bus   *moody
	store *stubborn
	mu    sync.Mutex
	said  []string
}

func (r *rig) health() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

func newRig(t *testing.T, cfg fleet.Config, respond func(context.Context, event.Event)) *rig {
	t.Helper()
	r := &rig{bus: &moody{Bus: bus.NewMemory(0)}, store: &stubborn{Store: store.NewMemory(nil)}}
	cfg.Node = "n.1"
	var err error
	r.Recorder, err = fleet.New(cfg, fleet.Deps{Bus: r.bus, Store: r.store, Respond: respond, OnHealth: func(reason string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.said = append(r.said, reason)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs the recorder until the test ends or stop is called.
func run(t *testing.T, r *fleet.Recorder) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func flush(t *testing.T, r *fleet.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func ev(id string, count uint64, sev event.Severity) event.Event {
	return event.Event{ID: id, Kind: event.ProcessExec, Count: count, Severity: sev, Message: id, Last: time.Unix(int64(count), 0)}
}

func stored(t *testing.T, s store.Store, q store.Query) []event.Event {
	t.Helper()
	p, err := s.Events(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p.Events
}

func TestRecordedIsStoredOnceWithItsLastCount(t *testing.T) {
	r := newRig(t, fleet.Config{}, nil)
	run(t, r.Recorder)
	for n := uint64(1); n <= 500; n++ {
		r.Record(ev("a", n, event.High))
		r.Record(ev(fmt.Sprint("b", n%10), n, event.Info))
	}
	flush(t, r.Recorder)
	got := stored(t, r.store, store.Query{})
	if len(got) != 11 {
		t.Fatalf("%d events", len(got))
	}
	a, err := r.store.Event(t.Context(), "a")
	if err != nil || a.Count != 500 || a.Node != "n.1" || !a.First.Equal(time.Unix(1, 0)) {
		t.Errorf("a: %+v, %v", a, err)
	}
	st := r.Stats()
	if st.Recorded != 1000 || st.Published+st.Coalesced != 1000 || st.Dropped != 0 || st.Queued != 0 || st.Degraded != "" {
		t.Errorf("stats %+v", st)
	}
}

func TestRefusalIsSpooledCountedAndSaid(t *testing.T) {
	r := newRig(t, fleet.Config{Queue: 100}, nil)
	run(t, r.Recorder)
	r.bus.refuse.Store(true)
	for i := range 200 { // 75 find room among observations
		r.Record(ev(fmt.Sprint("low", i), 1, event.Info))
	}
	for i := range 10 { // what matters still does
		r.Record(ev(fmt.Sprint("grave", i), 1, event.Critical))
	}
	until(t, "health says so", func() bool { return strings.Contains(r.Stats().Degraded, "disk is full") })
	r.Record(ev("grave0", 9, event.Critical)) // a cause that waits already costs no room
	dropped := r.Stats().Dropped
	if dropped < 100 || dropped > 126 {
		t.Errorf("dropped %d", dropped)
	}
	r.bus.refuse.Store(false)
	until(t, "recovery", func() bool { return r.Stats().Degraded == "" })
	flush(t, r.Recorder)
	if n := len(stored(t, r.store, store.Query{Kinds: []event.Kind{event.ProcessExec}, Limit: 1000})); uint64(n)+dropped != 210 {
		t.Errorf("%d stored and %d dropped of 210", n, dropped)
	}
	if e, err := r.store.Event(t.Context(), "grave0"); err != nil || e.Count != 9 {
		t.Errorf("grave0: count %d, %v", e.Count, err)
	}
	loss := stored(t, r.store, store.Query{Kinds: []event.Kind{event.AgentLoss}})
	if len(loss) != 1 || loss[0].Count != dropped || loss[0].Evidence["dropped.process.exec"] != fmt.Sprint(dropped) {
		t.Errorf("loss events %+v, want one of %d", loss, dropped)
	}
	if h := stored(t, r.store, store.Query{Kinds: []event.Kind{event.AgentHealth}}); len(h) != 1 || !strings.Contains(h[0].Evidence["cause"], "disk is full") {
		t.Errorf("health events %+v", h)
	}
	if said := r.health(); len(said) != 2 || said[0] == "" || said[1] != "" {
		t.Errorf("health said %q", said)
	}
}

func TestRecordDoesNotBlockWithoutRun(t *testing.T) {
	r := newRig(t, fleet.Config{Queue: 10}, nil)
	for i := range 1000 {
		r.Record(ev(fmt.Sprint(i), 1, event.High))
	}
	if st := r.Stats(); st.Queued != 10 || st.Dropped != 990 {
		t.Errorf("stats %+v", st)
	}
}

func TestStoreRefusalKeepsEventsOnTheBusAndPrunes(t *testing.T) {
	r := newRig(t, fleet.Config{Retention: store.Retention{MaxAge: time.Hour * 24 * 365 * 100}}, nil)
	run(t, r.Recorder)
	r.store.refuse.Store(true)
	before := r.store.prunes.Load()
	for i := range 50 {
		r.Record(ev(fmt.Sprint(i), 1, event.High))
	}
	until(t, "health says so", func() bool { return strings.Contains(r.Stats().Degraded, "store takes no more") })
	until(t, "pruning", func() bool { return r.store.prunes.Load() > before })
	r.store.refuse.Store(false)
	until(t, "recovery", func() bool { return r.Stats().Degraded == "" })
	flush(t, r.Recorder)
	if n := len(stored(t, r.store, store.Query{Kinds: []event.Kind{"process"}})); n != 50 {
		t.Errorf("%d stored of 50", n)
	}
}

func TestStopPublishesWhatIsLeft(t *testing.T) {
	r := newRig(t, fleet.Config{Linger: time.Hour}, nil)
	stop := run(t, r.Recorder)
	for i := range 10 {
		r.Record(ev(fmt.Sprint(i), 1, event.High))
	}
	stop()
	if st := r.Stats(); st.Published != 10 || st.Queued != 0 {
		t.Errorf("stats %+v", st)
	}
	run(t, r.Recorder)
	until(t, "the next run stores it", func() bool { return r.Stats().Stored >= 10 })
}

func TestResponderSeesEveryEvent(t *testing.T) {
	var mu sync.Mutex
	var saw []string
	r := newRig(t, fleet.Config{}, func(_ context.Context, e event.Event) {
		mu.Lock()
		defer mu.Unlock()
		saw = append(saw, e.ID)
	})
	run(t, r.Recorder)
	for i := range 100 {
		r.Record(ev(fmt.Sprint(i), 1, event.High))
	}
	flush(t, r.Recorder)
	until(t, "all seen", func() bool { mu.Lock(); defer mu.Unlock(); return len(saw) == 100 })
}

func TestUnreadableMessageDoesNotStopTheRest(t *testing.T) {
	r := newRig(t, fleet.Config{}, nil)
	for _, data := range []string{"{", `{"kind":"process.exec"}`, `[]`} {
		if err := r.bus.Publish(t.Context(), "events.n.process.exec", "x", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, r.Recorder)
	r.Record(ev("good", 1, event.High))
	flush(t, r.Recorder)
	if st := r.Stats(); st.Unreadable != 3 || st.Stored != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestFollow(t *testing.T) {
	r := newRig(t, fleet.Config{}, nil)
	run(t, r.Recorder)
	for i := range 5 {
		r.Record(ev(fmt.Sprint("old", i), 1, event.High))
	}
	flush(t, r.Recorder)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var saw []string
	done := make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, 3, store.Query{MinSeverity: event.High}, func(batch []event.Event) error {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range batch {
				saw = append(saw, fmt.Sprintf("%s:%d", e.ID, e.Count))
			}
			return nil
		})
	}()
	n := func() int { mu.Lock(); defer mu.Unlock(); return len(saw) }
	until(t, "what was there", func() bool { return n() == 2 })
	r.Record(ev("unwanted", 1, event.Low))
	r.Record(ev("new", 1, event.Critical))
	until(t, "a new one", func() bool { return n() == 3 })
	r.Record(ev("new", 7, event.Critical))
	until(t, "its larger count", func() bool { return n() == 4 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow ended with %v", err)
	}
	if want := []string{"old3:1", "old4:1", "new:1", "new:7"}; !slices.Equal(saw, want) {
		t.Errorf("saw %q, want %q", saw, want)
	}
	stop := errors.New("browser went away")
	if err := r.Follow(t.Context(), 0, store.Query{}, func([]event.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Follow gave %v", err)
	}
}

func TestSubject(t *testing.T) {
	for want, e := range map[string]event.Event{
		"events.n_1.process.exec": {Node: "n.1", Kind: event.ProcessExec},
		"events._.odd_kind":       {Kind: "odd kind"},
	} {
		if got := fleet.Subject(e); got != want {
			t.Errorf("Subject gave %q, want %q", got, want)
		}
	}
}

// TestWholeWay goes through the real bus and the real store, twice.
func TestWholeWay(t *testing.T) {
	dir := t.TempDir()
	for round := 1; round <= 2; round++ {
		b, err := bus.Open(t.Context(), bus.Config{Dir: filepath.Join(dir, "bus")})
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "events.db")})
		if err != nil {
			t.Fatal(err)
		}
		r, err := fleet.New(fleet.Config{Node: "n1"}, fleet.Deps{Bus: b, Store: s})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		for i := range 2000 {
			r.Record(ev(fmt.Sprintf("%d-%d", round, i), 1, event.High))
		}
		flush(t, r)
		stop()
		st, err := s.Stats(t.Context())
		if err != nil || st.Events != int64(2000*round) {
			t.Errorf("round %d: %d events, %v", round, st.Events, err)
		}
		if err := errors.Join(b.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}
