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

	hog := filepath.Join(dir, "hog")
	f, err := os.Create(hog)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	_ = f.Close()
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

func TestDamaged(t *testing.T) {
	e := fleet.Damaged(store.Recovered{Path: "/d/e.db", Aside: "/d/e.db.damaged", Cause: "malformed"})
	if e.Kind != event.AgentLoss || e.Severity != event.Critical || e.Message == "" || e.Evidence["aside"] != "/d/e.db.damaged" {
		t.Errorf("event %s", fmt.Sprint(e))
	}
}
