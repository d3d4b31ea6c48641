package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
)

// fillStore appends n events of many causes, a thousand at a time.
func fillStore(b *testing.B, s store.Store, n int) {
	b.Helper()
	for i := 0; i < n; i += 1000 {
		batch := make([]event.Event, 1000)
		for j := range batch {
			e := sample(i + j)
			e.Workload.Name = fmt.Sprintf("w%d", (i+j)%200)
			e.First, e.Last = t0.Add(time.Duration(i+j)*time.Second), t0.Add(time.Duration(i+j)*time.Second)
			if e.Kind == event.ResponseAction && i+j > 1000 {
				e.Kind = event.ProcessExec // keep one kind rare
			}
			batch[j] = e
		}
		if _, err := s.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "e.db"))
	n := 0
	for b.Loop() {
		batch := make([]event.Event, 1000)
		for j := range batch {
			batch[j] = sample(n + j)
		}
		n += 1000
		appendAll(b, s, batch...)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkQueryMillion asks the console's questions of 1,000,000 events.
func BenchmarkQueryMillion(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "e.db"))
	fillStore(b, s, 1_000_000)
	last := t0.Add(1_000_000 * time.Second)
	after := uint64(999_000)
	for name, q := range map[string]store.Query{
		"newest":        {},
		"rare-kind":     {Kinds: []event.Kind{event.ResponseAction}},
		"family":        {Kinds: []event.Kind{"process", "network"}},
		"workload":      {Namespace: "shop", Workload: "w10"},
		"severity":      {MinSeverity: event.High},
		"old-window":    {Since: t0.Add(time.Hour), Until: t0.Add(2 * time.Hour)},
		"follow":        {AfterSeq: &after},
		"text-recent":   {Text: "program 9999"},
		"text-none":     {Text: "no such text", Since: last.Add(-100_000 * time.Second)},
		"effect-policy": {Effects: []event.Effect{event.Blocked}, Policy: "WorkloadPolicy/shop/p1"},
		"container":     {ContainerID: "0000000000000001"},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				query(b, s, q)
			}
		})
	}
	for name, q := range map[string]store.CountQuery{
		"count-day-by-kind":    {Query: store.Query{Since: last.Add(-24 * time.Hour)}, By: "kind", Step: time.Hour},
		"count-all-by-effect":  {By: "effect", Step: 24 * time.Hour},
		"count-kind-over-time": {Query: store.Query{Kinds: []event.Kind{"process"}}, Step: 24 * time.Hour},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Counts(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	st, err := s.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d events in %d MiB", st.Events, st.Bytes>>20)
}
