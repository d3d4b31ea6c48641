package fleet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestFullDiskLosesNothingUncounted fills the disk under the real bus and the
// real store: recording goes on, health says why, and afterwards every record
// is either stored or counted.
func TestFullDiskLosesNothingUncounted(t *testing.T) {
	testkit.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("gabiontest", dir, "tmpfs", 0, "size=96m"); err != nil {
		testkit.Require(t, "tmpfs", false, err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b, err := bus.Open(t.Context(), bus.Config{Dir: filepath.Join(dir, "bus"), Retry: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "events.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := fleet.New(fleet.Config{Node: "n1", Queue: 1000}, fleet.Deps{Bus: b, Store: s})
	if err != nil {
		t.Fatal(err)
	}
	run(t, r)
	n := 0
	record := func(count int) {
		for range count {
			r.Record(denial(n, time.Now()))
			n++
		}
	}
	record(500)
	flush(t, r)

	hog := fillDisk(t, dir)
	begun := time.Now()
	record(3000)
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("recording took %v on a full disk", took)
	}
	until(t, "health says so", func() bool { return r.Stats().Degraded != "" })
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	until(t, "recovery", func() bool { return r.Stats().Degraded == "" })
	flush(t, r)
	st := r.Stats()
	var stored uint64
	for q := (store.Query{Kinds: []event.Kind{event.ProcessExec}, Limit: 1000}); ; {
		p, err := s.Events(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		stored += uint64(len(p.Events))
		if q.Cursor = p.Next; p.Next == "" {
			break
		}
	}
	if st.Dropped == 0 || stored+st.Dropped != uint64(n) {
		t.Errorf("%d stored and %d dropped of %d", stored, st.Dropped, n)
	}
	p, err := s.Events(t.Context(), store.Query{Kinds: []event.Kind{event.AgentLoss}})
	if err != nil || len(p.Events) != 1 || p.Events[0].Count != st.Dropped {
		t.Errorf("loss events %+v, %v; dropped %d", p.Events, err, st.Dropped)
	}
	if len(s.Recovered()) != 0 {
		t.Error("a full disk was taken for damage")
	}
}

// fillDisk leaves no byte free and gives the file to remove.
func fillDisk(t *testing.T, dir string) (hog string) {
	t.Helper()
	hog = filepath.Join(dir, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return hog
}

// TestStartOnAFullDisk begins with no room at all, on a fresh folder and on one
// that was used before.
func TestStartOnAFullDisk(t *testing.T) {
	testkit.RequireRoot(t)
	for _, used := range []bool{false, true} {
		t.Run(fmt.Sprintf("used=%v", used), func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("gabiontest", dir, "tmpfs", 0, "size=64m"); err != nil {
				testkit.Require(t, "tmpfs", false, err.Error())
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			start := func() (r *fleet.Recorder, stop func()) {
				b, err := bus.Open(t.Context(), bus.Config{Dir: filepath.Join(dir, "bus"), Retry: 10 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "db", "events.db")})
				if err != nil {
					t.Fatal(err)
				}
				if r, err = fleet.New(fleet.Config{Node: "n1"}, fleet.Deps{Bus: b, Store: s}); err != nil {
					t.Fatal(err)
				}
				end := run(t, r)
				return r, func() {
					end()
					if n := len(s.Recovered()); n != 0 {
						t.Errorf("a full disk was taken for damage %d times", n)
					}
					_, _ = b.Close(), s.Close()
				}
			}
			for _, sub := range []string{"bus", "db"} {
				if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if used {
				r, stop := start()
				r.Record(denial(0, time.Now()))
				flush(t, r)
				stop()
			}
			hog := fillDisk(t, dir)
			r, stop := start()
			r.Record(denial(1, time.Now()))
			until(t, "health says so", func() bool { return r.Stats().Degraded != "" })
			if err := os.Remove(hog); err != nil {
				t.Fatal(err)
			}
			until(t, "recovery", func() bool { return r.Stats().Degraded == "" && r.Stats().Queued == 0 })
			flush(t, r)
			stop()
		})
	}
}

func TestDamaged(t *testing.T) {
	e := fleet.Damaged(store.Recovered{Path: "/d/e.db", Aside: "/d/e.db.damaged", Cause: "malformed"})
	if e.Kind != event.AgentLoss || e.Severity != event.Critical || e.Message == "" || e.Evidence["aside"] != "/d/e.db.damaged" {
		t.Errorf("event %s", fmt.Sprint(e))
	}
}
