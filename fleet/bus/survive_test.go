package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/internal/testkit"
)

const childDir = "GABION_TEST_BUS_CHILD"

// childPublisher turns this test binary into a publisher that prints the ids
// that were acknowledged until it is killed.
func childPublisher() {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	b, err := bus.Open(context.Background(), bus.Config{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for n := 0; ; n++ {
		batch := make([]bus.Message, 1+n%50)
		for i := range batch {
			batch[i] = bus.Message{Subject: "events.n.k", ID: fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i), Data: []byte(strings.Repeat("x", 300))}
		}
		if err := b.PublishBatch(context.Background(), batch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, m := range batch {
			fmt.Println(m.ID)
		}
	}
}

func TestAcknowledgedSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for kill, n := 100+rand.IntN(2000), 0; lines.Scan(); n++ {
			acked[lines.Text()] = true
			if n == kill {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
	}
	if len(acked) < 400 {
		t.Fatalf("only %d acknowledged", len(acked))
	}
	b, err := bus.Open(t.Context(), bus.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var c collector
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Consume(ctx, "check", "events.>", c.take) }()
	missing := len(acked)
	until(t, "everything acknowledged is there", func() bool {
		here := map[string]bool{}
		for _, id := range c.ids() {
			here[id] = true
		}
		missing = 0
		for id := range acked {
			if !here[id] {
				missing++
			}
		}
		return missing == 0
	})
	cancel()
	<-done
	t.Logf("%d acknowledged over 4 kills, %d stored", len(acked), len(c.ids()))
}

func TestFullDiskIsSaidAndPasses(t *testing.T) {
	testkit.RequireRoot(t)
	for _, guarded := range []bool{true, false} {
		t.Run(fmt.Sprintf("guarded=%v", guarded), func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("gabiontest", dir, "tmpfs", 0, "size=64m"); err != nil {
				testkit.Require(t, "tmpfs", false, err.Error())
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			cfg := bus.Config{Dir: filepath.Join(dir, "bus"), MaxBytes: 512 << 20, Retry: 10 * time.Millisecond}
			if !guarded {
				cfg.MinFree = 1 // the server itself hits the end of the disk
			}
			b, err := bus.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = b.Close() })
			var c collector
			stop := consuming(t, b, "store", "events.>", c.take)
			var mu sync.Mutex
			var keys []string
			watching, unwatch := context.WithCancel(t.Context())
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				_ = b.Watch(watching, "plans", "", func(k string, _ []byte) {
					mu.Lock()
					defer mu.Unlock()
					keys = append(keys, k)
				})
			}()
			put := func(k string) error { return b.Put(t.Context(), "plans", k, []byte("v")) }
			if err := put("before"); err != nil {
				t.Fatal(err)
			}
			publish(t, b, "events.n.k", "before")
			until(t, "the first one", func() bool { return len(c.ids()) == 1 })

			fill(t, filepath.Join(dir, "other"))
			block := make([]byte, 32<<10)
			accepted := 1
			until(t, "refusal", func() bool {
				err := b.Publish(t.Context(), "events.n.k", "full", block)
				if err == nil {
					accepted++
				} else if !errors.Is(err, bus.ErrFull) {
					t.Fatalf("publish on a full disk: %v, want ErrFull", err)
				}
				return err != nil
			})
			if err := os.Remove(filepath.Join(dir, "other")); err != nil {
				t.Fatal(err)
			}
			until(t, "recovery", func() bool { return b.Publish(t.Context(), "events.n.k", "after", block) == nil })
			until(t, "delivery after recovery", func() bool {
				ids := c.ids()
				return ids[len(ids)-1] == "after"
			})
			until(t, "keys again", func() bool { return put("after") == nil })
			until(t, "the watcher sees it", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return slices.Contains(keys, "before") && slices.Contains(keys, "after")
			})
			unwatch()
			<-watched
			stop()
			if n := len(c.ids()); n < accepted+1 {
				t.Errorf("%d delivered of %d accepted", n, accepted+1)
			}
		})
	}
}

// fill writes until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

func TestReopenFindsConsumerPosition(t *testing.T) {
	dir := t.TempDir()
	open := func() *bus.NATS {
		b, err := bus.Open(t.Context(), bus.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	publish(t, b, "events.n.k", "a", "b")
	var c collector
	stop := consuming(t, b, "store", "events.>", c.take)
	until(t, "both", func() bool { return len(c.ids()) == 2 })
	stop()
	publish(t, b, "events.n.k", "c")
	if err := b.Put(t.Context(), "plans", "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open()
	defer b.Close()
	if v, err := b.Get(t.Context(), "plans", "k"); err != nil || string(v) != "v" {
		t.Errorf("Get after reopening: %q, %v", v, err)
	}
	stop = consuming(t, b, "store", "events.>", c.take)
	until(t, "c", func() bool { return len(c.ids()) >= 3 })
	stop()
	if got := strings.Join(c.ids(), " "); got != "a b c" {
		t.Errorf("got %s", got)
	}
}

func BenchmarkPublishBatch(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			x, err := bus.Open(b.Context(), bus.Config{Dir: b.TempDir(), MaxBytes: 16 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			batch := make([]bus.Message, size)
			for i := range batch {
				batch[i] = bus.Message{Subject: "events.n.k", ID: fmt.Sprint(i), Data: []byte(strings.Repeat("x", 600))}
			}
			n := 0
			for b.Loop() {
				if err := x.PublishBatch(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
