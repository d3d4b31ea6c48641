package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/container"
	"github.com/gabion-dev/gabion/guard/detect"
	"github.com/gabion-dev/gabion/workload"
)

// detecting runs an agent with a detector and one known container.
func detecting(t *testing.T, d Detector) (*Agent, *node) {
	t.Helper()
	n := &node{changes: make(chan container.Change), identify: func(int) (workload.Container, bool, error) { return shop, true, nil }}
	a, err := New(Config{Node: "n1", SaveEvery: time.Hour, Recheck: time.Hour}, Deps{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Record: n.record, Detector: d, Discovery: fakeDiscovery{n},
		NodeAddresses: func() []netip.Addr { return nil }, Alive: n.alive,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	n.changes <- container.Change{Container: shop}
	await(t, "adopted", func() bool { _, err := a.Container(shop.ID); return err == nil })
	return a, n
}

func TestDetectionsBecomeEvents(t *testing.T) {
	pack, err := detect.Default()
	if err != nil {
		t.Fatal(err)
	}
	a, n := detecting(t, detect.New(pack))
	at := time.Now()
	shell := guard.Observation{ContainerID: shop.ID, Kind: event.ProcessExec, Time: at, Path: "/bin/sh", InImage: true,
		Process: event.Process{PID: 77, Exe: "/bin/sh", Args: []string{"sh"}, ParentExe: "nginx"}}
	a.Observed(shell) // ordinary
	shell.Signals = []string{"stdin-socket"}
	a.Observed(shell)
	a.Observed(shell)
	await(t, "two matches", func() bool { l := n.seen(event.Detection); return len(l) == 2 })
	got := n.seen(event.Detection)
	e := got[1]
	if got[0].ID != e.ID || got[0].Count != 1 || e.Count != 2 {
		t.Errorf("ids %s and %s, counts %d and %d; want one id whose count grows", got[0].ID, e.ID, got[0].Count, e.Count)
	}
	if e.Severity != event.Critical || e.Workload != shop.Workload || e.ContainerID != shop.ID || e.Rule == nil || e.Rule.Policy != "Detection/reverse-shell" ||
		e.Path != "/bin/sh" || e.Process.PID != 77 || !strings.Contains(e.Message, "Shell on a network socket in shop/web: /bin/sh") ||
		!strings.Contains(e.Evidence["step1"], "started by nginx") || e.Evidence["remedy"] == "" || len(e.Technique) == 0 {
		t.Errorf("event %+v", e)
	}
}

// The kernel reports a denial again and again while its count grows: that is
// one happening.
func TestADenialIsOneHappening(t *testing.T) {
	pack, err := detect.Default()
	if err != nil {
		t.Fatal(err)
	}
	engine := detect.New(pack)
	a, n := detecting(t, engine)
	d := guard.Denial{ID: "d1", ContainerID: shop.ID, Kind: event.ProcessDrift, Effect: event.Blocked, Path: "/tmp/xmrig", First: time.Now(), Last: time.Now()}
	for d.Count = 1; d.Count <= 50; d.Count++ {
		a.recordDenial(d)
	}
	await(t, "the match", func() bool { return len(n.seen(event.Detection)) > 0 })
	d.ID = "d2"
	d.Path = "/tmp/other"
	a.recordDenial(d)
	await(t, "both looked at", func() bool { return engine.Stats().Happenings == 2 })
	for _, e := range n.seen(event.Detection) {
		if e.Count != 1 || e.Effect != event.Blocked {
			t.Errorf("%s: count %d, effect %s; want 1 and blocked", e.Rule.Policy, e.Count, e.Effect)
		}
	}
}

// slow is a detector that waits until it is let go.
type slow struct {
	gate  chan struct{}
	n     atomic.Int64
	ended atomic.Int64
}

func (s *slow) Handle(detect.Happening) []detect.Match { <-s.gate; s.n.Add(1); return nil }
func (s *slow) Forget(string)                          { s.ended.Add(1) }

func TestASlowDetectorHoldsNobodyUpAndLosesInTheOpen(t *testing.T) {
	s := &slow{gate: make(chan struct{})}
	a, n := detecting(t, s)
	const all = maxTold + 500
	for i := range all {
		a.Observed(guard.Observation{ContainerID: shop.ID, Kind: event.ProcessExec, Time: time.Now(), Path: fmt.Sprintf("/bin/p%d", i), InImage: true})
	}
	close(s.gate)
	await(t, "the rest looked at", func() bool { return s.n.Load()+int64(a.detect.lost.Load()) == all })
	lost := a.detect.lost.Load()
	if lost == 0 || lost > 500 {
		t.Errorf("%d lost of %d with room for %d", lost, all, maxTold)
	}
	await(t, "the loss told", func() bool {
		l := n.seen(event.AgentLoss)
		return len(l) > 0 && l[len(l)-1].Count == lost
	})
	n.changes <- container.Change{Container: shop, Gone: true}
	await(t, "forgotten", func() bool { return s.ended.Load() == 1 })
}
