package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/fleet/bus"
)

func TestMain(m *testing.M) {
	childPublisher()
	// A server whose disk filled up under it can not stop its file store in
	// order and leaves one flusher (and its clock) behind; see TestFullDisk.
	const srv = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction(srv+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(srv+"/ats.Register.func1"))
}

const maxBytes = 8 << 20

func eachBus(t *testing.T, test func(t *testing.T, b bus.Bus)) {
	t.Run("memory", func(t *testing.T) { test(t, bus.NewMemory(maxBytes)) })
	t.Run("nats", func(t *testing.T) {
		b, err := bus.Open(t.Context(), bus.Config{Dir: t.TempDir(), MaxBytes: maxBytes})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		test(t, b)
	})
}

// collector takes deliveries from another goroutine.
type collector struct {
	mu   sync.Mutex
	msgs []bus.Message
}

func (c *collector) take(_ context.Context, batch []bus.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.msgs = append(c.msgs, batch...)
	return nil
}

func (c *collector) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := []string{}
	for _, m := range c.msgs {
		out = append(out, m.ID)
	}
	return out
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

// consuming runs Consume until the returned function is called.
func consuming(t *testing.T, b bus.Bus, name, subject string, fn func(context.Context, []bus.Message) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, name, subject, fn) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Consume ended with %v", err)
		}
	}
}

func publish(t *testing.T, b bus.Bus, subject string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publish(t.Context(), subject, id, []byte("data of "+id)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConsumerGetsEverythingInOrderFromWhereItStopped(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n1.process-exec", "a", "b")
		var first collector
		stop := consuming(t, b, "store", "events.>", first.take)
		until(t, "a b", func() bool { return len(first.ids()) == 2 })
		publish(t, b, "events.n1.process-exec", "c")
		until(t, "c", func() bool { return len(first.ids()) == 3 })
		stop()
		publish(t, b, "events.n2.network-connect", "d")
		var second, other collector
		stop = consuming(t, b, "store", "events.>", second.take)
		stopOther := consuming(t, b, "respond", "events.*.network-connect", other.take)
		until(t, "d", func() bool { return len(second.ids()) >= 1 && len(other.ids()) >= 1 })
		stop()
		stopOther()
		if got := first.ids(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("first got %q", got)
		}
		if got := second.ids(); !slices.Equal(got, []string{"d"}) {
			t.Errorf("after the restart got %q", got)
		}
		if got := other.ids(); !slices.Equal(got, []string{"d"}) {
			t.Errorf("the other consumer got %q", got)
		}
		m := second.msgs[0]
		if m.Subject != "events.n2.network-connect" || string(m.Data) != "data of d" || m.Seq == 0 {
			t.Errorf("message %+v", m)
		}
	})
}

func TestSameIDIsNotDropped(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n.k", "x", "x", "x")
		var c collector
		stop := consuming(t, b, "store", "events.>", c.take)
		until(t, "three", func() bool { return len(c.ids()) == 3 })
		stop()
	})
}

func TestRefusedBatchComesAgain(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n.k", "a", "b")
		var c collector
		tries := 0
		stop := consuming(t, b, "store", "events.>", func(ctx context.Context, batch []bus.Message) error {
			if tries++; tries < 3 {
				return errors.New("store is away")
			}
			return c.take(ctx, batch)
		})
		until(t, "delivery after two refusals", func() bool { return len(c.ids()) == 2 })
		stop()
		if got := c.ids(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestWhatWasNotAcknowledgedComesAgainAtOnce(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n.k", "a", "b")
		seen := make(chan struct{}, 100)
		stop := consuming(t, b, "store", "events.>", func(context.Context, []bus.Message) error {
			seen <- struct{}{}
			return errors.New("no")
		})
		<-seen
		stop()
		var c collector
		stop = consuming(t, b, "store", "events.>", c.take)
		until(t, "both", func() bool { return len(c.ids()) == 2 })
		stop()
	})
}

func TestBatchKeepsOrderAndArrivesWhole(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		var msgs []bus.Message
		var want []string
		for i := range 3500 {
			id := fmt.Sprint(i)
			want = append(want, id)
			msgs = append(msgs, bus.Message{Subject: fmt.Sprintf("events.n%d.k", i%3), ID: id, Data: []byte(id)})
		}
		if err := b.PublishBatch(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
		var c collector
		stop := consuming(t, b, "store", "events.>", func(ctx context.Context, batch []bus.Message) error {
			if len(batch) > bus.MaxBatch {
				t.Errorf("batch of %d", len(batch))
			}
			return c.take(ctx, batch)
		})
		until(t, "everything", func() bool { return len(c.ids()) >= len(want) })
		stop()
		if !slices.Equal(c.ids(), want) {
			t.Error("order or content differs")
		}
	})
}

func TestFullRefusesAndConsumersMakeRoom(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		block := make([]byte, 64<<10)
		sent := 0
		var err error
		for ; sent < 1000 && err == nil; sent++ {
			err = b.Publish(t.Context(), "events.n.k", fmt.Sprint(sent), block)
		}
		if !errors.Is(err, bus.ErrFull) {
			t.Fatalf("after %d publishes: %v, want ErrFull", sent, err)
		}
		if err := b.PublishBatch(t.Context(), []bus.Message{{Subject: "events.n.k", Data: block}, {Subject: "events.n.k", Data: block}}); !errors.Is(err, bus.ErrFull) {
			t.Errorf("batch: %v, want ErrFull", err)
		}
		var c collector
		stop := consuming(t, b, "store", "events.>", c.take)
		until(t, "all delivered", func() bool { return len(c.ids()) >= sent-1 })
		until(t, "room again", func() bool { return b.Publish(t.Context(), "events.n.k", "last", block) == nil })
		until(t, "the last one", func() bool { return len(c.ids()) >= sent })
		stop()
		if n := len(c.ids()); n != sent {
			t.Errorf("%d delivered, %d accepted", n, sent)
		}
	})
}

func TestNamesAreChecked(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		ctx := t.Context()
		for _, s := range []string{"", "a..b", "a b", ".a", "a.", "a.*", "a.>", "$JS.API.x", "$KV.x.y", "a\nb"} {
			if err := b.Publish(ctx, s, "", nil); !errors.Is(err, bus.ErrInvalid) {
				t.Errorf("Publish to %q: %v", s, err)
			}
		}
		none := func(context.Context, []bus.Message) error { return nil }
		if err := b.Consume(ctx, "a.b", "events.>", none); !errors.Is(err, bus.ErrInvalid) {
			t.Errorf("Consume: %v", err)
		}
		if err := b.Consume(ctx, "ok", "events.>.x", none); !errors.Is(err, bus.ErrInvalid) {
			t.Errorf("Consume: %v", err)
		}
		for _, k := range []string{"", ".a", "a.", "a b", "a..b", "a*"} {
			if err := b.Put(ctx, "plans", k, nil); !errors.Is(err, bus.ErrInvalid) {
				t.Errorf("Put %q: %v", k, err)
			}
		}
		if err := b.Put(ctx, "pl ans", "a", nil); !errors.Is(err, bus.ErrInvalid) {
			t.Errorf("Put: %v", err)
		}
	})
}

func TestOneActiveConsumerPerName(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n.k", "a")
		var c collector
		stop := consuming(t, b, "store", "events.>", c.take)
		until(t, "a", func() bool { return len(c.ids()) == 1 })
		if err := b.Consume(t.Context(), "store", "events.>", c.take); !errors.Is(err, bus.ErrBusy) {
			t.Errorf("second: %v, want ErrBusy", err)
		}
		stop()
	})
}

func TestKeys(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		ctx, cancel := context.WithCancel(t.Context())
		put := func(k, v string) {
			t.Helper()
			if err := b.Put(ctx, "plans", k, []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Get(ctx, "plans", "n1.none"); !errors.Is(err, bus.ErrNoKey) {
			t.Errorf("Get of nothing: %v", err)
		}
		put("n1.shop/web", "1")
		put("n2.shop/web", "2")
		put("n1.old", "3")
		if err := b.DeleteKey(ctx, "plans", "n1.old"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var saw []string
		done := make(chan error, 1)
		go func() {
			done <- b.Watch(ctx, "plans", "n1.", func(k string, data []byte) {
				mu.Lock()
				defer mu.Unlock()
				saw = append(saw, fmt.Sprintf("%s=%s %v", k, data, data == nil))
			})
		}()
		n := func() int { mu.Lock(); defer mu.Unlock(); return len(saw) }
		until(t, "present key", func() bool { return n() == 1 })
		put("n2.other", "x")
		put("n1.shop/web", "")
		until(t, "change", func() bool { return n() == 2 })
		if err := b.DeleteKey(ctx, "plans", "n1.shop/web"); err != nil {
			t.Fatal(err)
		}
		until(t, "deletion", func() bool { return n() == 3 })
		if _, err := b.Get(ctx, "plans", "n1.shop/web"); !errors.Is(err, bus.ErrNoKey) {
			t.Errorf("Get of a deleted key: %v", err)
		}
		if got, err := b.Get(ctx, "plans", "n2.shop/web"); err != nil || string(got) != "2" {
			t.Errorf("Get: %q, %v", got, err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
		want := []string{"n1.shop/web=1 false", "n1.shop/web= false", "n1.shop/web= true"}
		if !slices.Equal(saw, want) {
			t.Errorf("saw %q, want %q", saw, want)
		}
	})
}

func TestCloseEndsEveryone(t *testing.T) {
	eachBus(t, func(t *testing.T, b bus.Bus) {
		publish(t, b, "events.n.k", "a")
		var c collector
		done := make(chan error, 2)
		go func() { done <- b.Consume(context.Background(), "store", "events.>", c.take) }()
		go func() { done <- b.Watch(context.Background(), "plans", "", func(string, []byte) {}) }()
		until(t, "a", func() bool { return len(c.ids()) == 1 })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-done; !errors.Is(err, bus.ErrClosed) {
				t.Errorf("ended with %v, want ErrClosed", err)
			}
		}
		if err := b.Publish(t.Context(), "events.n.k", "b", nil); !errors.Is(err, bus.ErrClosed) {
			t.Errorf("Publish after Close: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestMatch(t *testing.T) {
	cases := []struct {
		pattern, subject string
		want             bool
	}{
		{"events.>", "events.n.k", true},
		{"events.>", "events", false},
		{"events.>", "events.n", true},
		{">", "a", true},
		{"events.*.k", "events.n.k", true},
		{"events.*.k", "events.n.j", false},
		{"events.*", "events.n.k", false},
		{"events.n.k", "events.n", false},
		{"a", "b", false},
	}
	for _, c := range cases {
		if got := bus.Match(c.pattern, c.subject); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.subject, got)
		}
	}
	if got := bus.Token("node.example *"); got != "node_example__" {
		t.Errorf("Token gave %q", got)
	}
}
