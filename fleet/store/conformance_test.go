package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) {
	childAppender()
	goleak.VerifyTestMain(m)
}

var (
	t0   = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	same = cmp.Options{cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })}
)

func clock() time.Time { return t0.Add(100 * time.Hour) }

func open(t testing.TB, path string) *store.SQLite {
	t.Helper()
	s, err := store.Open(context.Background(), store.Config{Path: path, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func eachStore(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, store.NewMemory(clock)) })
	t.Run("sqlite", func(t *testing.T) { test(t, open(t, filepath.Join(t.TempDir(), "events.db"))) })
}

// sample makes event number i of a varied but fixed sequence.
func sample(i int) event.Event {
	// The first ones, so that a new kind does not change the sequence.
	kinds := event.Kinds()[:14]
	sev := []event.Severity{event.Info, event.Low, event.Medium, event.High, event.Critical}
	eff := []event.Effect{event.Observed, event.WouldBlock, event.Blocked, event.NotBlocked, ""}
	e := event.Event{
		ID: fmt.Sprintf("e%d", i), Kind: kinds[i%len(kinds)], Count: uint64(1 + i%7),
		First: t0.Add(time.Duration(i) * time.Minute), Last: t0.Add(time.Duration(i)*time.Minute + time.Second),
		Severity: sev[i%5], Effect: eff[i/2%5], Message: fmt.Sprintf("Program %d was Blocked", i),
		Node: "n1", Workload: workload.Ref{Namespace: []string{"shop", "data"}[i%2], Name: fmt.Sprintf("w%d", i%3), Kind: "Deployment"},
		ContainerID: fmt.Sprintf("%016d", i%4), Container: fmt.Sprintf("c%d", i%4), Reasons: []string{"not-listed"},
	}
	if i%2 == 0 {
		e.Process = &event.Process{PID: i, Exe: "/usr/bin/Curl", Args: []string{"curl", fmt.Sprintf("http://x/%d", i)}}
		e.Rule = &event.RuleRef{Policy: fmt.Sprintf("WorkloadPolicy/shop/p%d", i%3), Field: "spec.process"}
	} else {
		e.Peer = &event.Peer{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Port: 443, Protocol: "tcp", Workload: workload.Ref{Namespace: "x", Name: "peer"}}
	}
	return e
}

func samples(n int) []event.Event {
	out := make([]event.Event, n)
	for i := range out {
		out[i] = sample(i)
	}
	return out
}

func appendAll(t testing.TB, s store.Store, batch ...event.Event) []event.Event {
	t.Helper()
	out, err := s.Append(context.Background(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ids(p store.Page) []string {
	var out []string
	for _, e := range p.Events {
		out = append(out, e.ID)
	}
	return out
}

func query(t testing.TB, s store.Store, q store.Query) store.Page {
	t.Helper()
	p, err := s.Events(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAppendAndRead(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		in := samples(20)
		out := appendAll(t, s, in...)
		for i := range in {
			in[i].Seq = uint64(i + 1)
			got, err := s.Event(t.Context(), in[i].ID)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(in[i], got, same); d != "" {
				t.Errorf("stored event differs:\n%s", d)
			}
			if d := cmp.Diff(out[i], got, same); d != "" {
				t.Errorf("Append gave another event than is stored:\n%s", d)
			}
		}
		if _, err := s.Event(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Event of nothing: %v", err)
		}
		if _, err := s.Append(t.Context(), []event.Event{{Kind: event.ProcessExec}}); err == nil {
			t.Error("an event without an ID was taken")
		}
		if out, err := s.Append(t.Context(), nil); err != nil || len(out) != 0 {
			t.Errorf("empty batch: %v, %v", out, err)
		}
	})
}

func TestACauseHasOneEvent(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		e := sample(0)
		e.Count = 3
		appendAll(t, s, e, sample(1))
		more := e
		more.Count, more.First, more.Last = 5, e.First.Add(time.Hour), e.Last.Add(2*time.Hour)
		out := appendAll(t, s, more)
		if got := out[0]; got.Count != 5 || !got.First.Equal(e.First) || !got.Last.Equal(more.Last) || got.Seq != 3 {
			t.Errorf("grown record: count %d first %v seq %d", got.Count, got.First, got.Seq)
		}
		less := e
		less.Count = 4
		if got := appendAll(t, s, less)[0]; got.Count != 5 || got.Seq != 3 {
			t.Errorf("a smaller count replaced a larger: count %d seq %d", got.Count, got.Seq)
		}
		if st, _ := s.Stats(t.Context()); st.Events != 2 || st.LastSeq != 3 {
			t.Errorf("stats %+v", st)
		}
		// The same cause twice in one batch.
		a, b := sample(2), sample(2)
		a.Count, b.Count = 1, 2
		out = appendAll(t, s, a, b)
		if out[0].Count != 1 || out[1].Count != 2 || out[1].Seq <= out[0].Seq {
			t.Errorf("twice in one batch: %+v", out)
		}
		if got, _ := s.Event(t.Context(), a.ID); got.Count != 2 {
			t.Errorf("count %d", got.Count)
		}
	})
}

func TestQueries(t *testing.T) {
	after := uint64(17)
	cases := []struct {
		name string
		q    store.Query
		want []string
	}{
		{"newest first", store.Query{Limit: 3}, []string{"e19", "e18", "e17"}},
		{"exact kind", store.Query{Kinds: []event.Kind{event.ProcessExec}}, []string{"e14", "e0"}},
		{"family of kinds", store.Query{Kinds: []event.Kind{"process"}}, []string{"e16", "e15", "e14", "e2", "e1", "e0"}},
		{"no half words", store.Query{Kinds: []event.Kind{"proc"}}, nil},
		{"severity", store.Query{MinSeverity: event.Critical}, []string{"e19", "e14", "e9", "e4"}},
		{"high and above", store.Query{MinSeverity: event.High, Limit: 3}, []string{"e19", "e18", "e14"}},
		{"medium and above", store.Query{MinSeverity: event.Medium, Limit: 2}, []string{"e19", "e18"}},
		{"effect", store.Query{Effects: []event.Effect{event.Blocked}}, []string{"e15", "e14", "e5", "e4"}},
		{"workload", store.Query{Namespace: "shop", Workload: "w0"}, []string{"e18", "e12", "e6", "e0"}},
		{"workload and kind", store.Query{Namespace: "shop", Workload: "w0", Kinds: []event.Kind{"process"}}, []string{"e0"}},
		{"namespace", store.Query{Namespace: "data", Limit: 2}, []string{"e19", "e17"}},
		{"container", store.Query{ContainerID: "0000000000000001", Limit: 2}, []string{"e17", "e13"}},
		{"container's prefix", store.Query{ContainerID: "000000000000", Limit: 2}, []string{"e19", "e18"}},
		{"too short a prefix", store.Query{ContainerID: "00000000"}, nil},
		{"policy", store.Query{Policy: "WorkloadPolicy/shop/p1"}, []string{"e16", "e10", "e4"}},
		{"since and until", store.Query{Since: t0.Add(5 * time.Minute), Until: t0.Add(7 * time.Minute)}, []string{"e6", "e5"}},
		{"until is open", store.Query{Since: t0.Add(5 * time.Minute), Until: t0.Add(5*time.Minute + time.Second)}, nil},
		{"text in message", store.Query{Text: "program 7"}, []string{"e7"}},
		{"text in process", store.Query{Text: "CURL http://x/1", Limit: 2}, []string{"e18", "e16"}},
		{"text in peer", store.Query{Text: "10.0.0.13"}, []string{"e13"}},
		{"text has no wildcards", store.Query{Text: "program%"}, nil},
		{"after", store.Query{AfterSeq: &after}, []string{"e17", "e18", "e19"}},
		{"after, filtered", store.Query{AfterSeq: &after, Namespace: "data"}, []string{"e17", "e19"}},
	}
	eachStore(t, func(t *testing.T, s store.Store) {
		appendAll(t, s, samples(20)...)
		for _, c := range cases {
			if got := ids(query(t, s, c.q)); !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
		}
	})
}

func TestPages(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		appendAll(t, s, samples(50)...)
		zero := uint64(0)
		for _, q := range []store.Query{{Limit: 7}, {Limit: 7, Kinds: []event.Kind{"process", "network"}}, {Limit: 7, AfterSeq: &zero}} {
			all := q
			all.Limit = 1000
			want := ids(query(t, s, all))
			var got []string
			for n := 0; n < 100; n++ {
				p := query(t, s, q)
				got = append(got, ids(p)...)
				if q.Cursor = p.Next; p.Next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("pages %q, whole %q", got, want)
			}
		}
		for _, bad := range []string{"x", "!!", "AAAA", query(t, s, store.Query{Limit: 1, AfterSeq: &zero}).Next} {
			if _, err := s.Events(t.Context(), store.Query{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
				t.Errorf("cursor %q: %v", bad, err)
			}
		}
	})
	t.Run("bound", func(t *testing.T) {
		eachStore(t, func(t *testing.T, s store.Store) {
			appendAll(t, s, samples(1200)...)
			if n := len(query(t, s, store.Query{Limit: 5000}).Events); n != store.MaxPage {
				t.Errorf("page of %d", n)
			}
			if n := len(query(t, s, store.Query{}).Events); n != 100 {
				t.Errorf("default page of %d", n)
			}
		})
	})
}

func TestCounts(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		appendAll(t, s, samples(20)...)
		counts := func(q store.CountQuery) []store.Bucket {
			t.Helper()
			b, err := s.Counts(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		var total uint64
		for _, e := range samples(20) {
			total += e.Count
		}
		if b := counts(store.CountQuery{}); len(b) != 1 || b[0].Count != total || !b[0].Start.Equal(t0.Add(time.Second)) {
			t.Errorf("everything: %+v, want %d", b, total)
		}
		b := counts(store.CountQuery{Step: 10 * time.Minute, By: "severity", Query: store.Query{MinSeverity: event.High}})
		want := []store.Bucket{
			{t0, "critical", 5 + 3}, {t0, "high", 4 + 2},
			{t0.Add(10 * time.Minute), "critical", 1 + 6}, {t0.Add(10 * time.Minute), "high", 7 + 5},
		}
		if d := cmp.Diff(want, b, same); d != "" {
			t.Errorf("by severity:\n%s", d)
		}
		if b := counts(store.CountQuery{Step: time.Nanosecond}); len(b) > store.MaxBuckets {
			t.Errorf("%d buckets", len(b))
		}
		if b := counts(store.CountQuery{Query: store.Query{Text: "nothing like it"}}); len(b) != 0 {
			t.Errorf("of nothing: %+v", b)
		}
		if _, err := s.Counts(t.Context(), store.CountQuery{By: "body; DROP TABLE events"}); err == nil {
			t.Error("an unknown grouping was taken")
		}
	})
}

func TestDocuments(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		ctx := t.Context()
		for _, d := range [][3]string{{"profile", "shop/web", "1"}, {"profile", "shop/db", "2"}, {"user", "shop/web", "3"}, {"profile", "shop/web", "4"}, {"user", "empty", ""}} {
			if err := s.Put(ctx, d[0], d[1], []byte(d[2])); err != nil {
				t.Fatal(err)
			}
		}
		if doc, err := s.Document(ctx, "profile", "shop/web"); err != nil || string(doc) != "4" {
			t.Errorf("Document: %q, %v", doc, err)
		}
		if all, err := s.Documents(ctx, "profile"); err != nil || len(all) != 2 || string(all["shop/db"]) != "2" {
			t.Errorf("Documents: %q, %v", all, err)
		}
		if err := s.Delete(ctx, "profile", "shop/web"); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(ctx, "profile", "shop/web"); err != nil {
			t.Errorf("deleting again: %v", err)
		}
		if _, err := s.Document(ctx, "profile", "shop/web"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Document after Delete: %v", err)
		}
		if doc, err := s.Document(ctx, "user", "empty"); err != nil || len(doc) != 0 {
			t.Errorf("empty document: %q, %v", doc, err)
		}
	})
}

func TestPruneByAge(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		appendAll(t, s, samples(50)...)
		age := clock().Sub(t0.Add(30 * time.Minute))
		n, err := s.Prune(t.Context(), store.Retention{MaxAge: age})
		if err != nil || n != 30 {
			t.Errorf("removed %d, %v; want 30", n, err)
		}
		if p := query(t, s, store.Query{Limit: 1000}); len(p.Events) != 20 || p.Events[19].ID != "e30" {
			t.Errorf("left %q", ids(p))
		}
		if n, err := s.Prune(t.Context(), store.Retention{}); n != 0 || err != nil {
			t.Errorf("no retention removed %d, %v", n, err)
		}
		if e := appendAll(t, s, sample(99))[0]; e.Seq != 51 {
			t.Errorf("seq %d after pruning", e.Seq)
		}
	})
}

func TestPruneByBytes(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Store) {
		appendAll(t, s, samples(5000)...)
		before, _ := s.Stats(t.Context())
		bound := before.Bytes / 4
		n, err := s.Prune(t.Context(), store.Retention{MaxBytes: bound})
		if err != nil || n < 1000 {
			t.Fatalf("removed %d, %v", n, err)
		}
		after, _ := s.Stats(t.Context())
		if after.Bytes > bound || after.Events != 5000-n || after.Events < 200 {
			t.Errorf("%d bytes of %d, bound %d, %d events left after removing %d", after.Bytes, before.Bytes, bound, after.Events, n)
		}
		if _, err := s.Event(t.Context(), "e4999"); err != nil {
			t.Errorf("the newest is gone: %v", err)
		}
	})
}

// TestSameAnswers asks both stores the same random questions.
func TestSameAnswers(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		sq, err := store.Open(context.Background(), store.Config{Path: filepath.Join(dir, fmt.Sprint(n), "e.db"), Now: clock})
		if err != nil {
			rt.Fatal(err)
		}
		defer sq.Close()
		mem := store.NewMemory(clock)
		for range rapid.IntRange(1, 3).Draw(rt, "batches") {
			var batch []event.Event
			for range rapid.IntRange(0, 30).Draw(rt, "size") {
				e := sample(rapid.IntRange(0, 60).Draw(rt, "event"))
				e.Count = rapid.Uint64Range(1, 5).Draw(rt, "count")
				e.Last = e.Last.Add(time.Duration(rapid.IntRange(-5, 5).Draw(rt, "shift")) * time.Minute)
				batch = append(batch, e)
			}
			a, err1 := sq.Append(context.Background(), batch)
			b, err2 := mem.Append(context.Background(), batch)
			if err1 != nil || err2 != nil {
				rt.Fatal(err1, err2)
			}
			if d := cmp.Diff(b, a, same); d != "" {
				rt.Fatalf("Append differs:\n%s", d)
			}
		}
		q := store.Query{
			Kinds:       rapid.SliceOfN(rapid.SampledFrom([]event.Kind{"process", "network", event.ProcessDrift, event.AgentLoss, "x"}), 0, 3).Draw(rt, "kinds"),
			MinSeverity: rapid.SampledFrom([]event.Severity{"", event.Low, event.Medium, event.High, event.Critical}).Draw(rt, "severity"),
			Effects:     rapid.SliceOfN(rapid.SampledFrom([]event.Effect{event.Blocked, event.Observed, ""}), 0, 2).Draw(rt, "effects"),
			Namespace:   rapid.SampledFrom([]string{"", "", "shop", "data"}).Draw(rt, "namespace"),
			Workload:    rapid.SampledFrom([]string{"", "", "w0", "w1"}).Draw(rt, "workload"),
			ContainerID: rapid.SampledFrom([]string{"", "", "0000000000000001", "0000000000000", "0000"}).Draw(rt, "container"),
			Text:        rapid.SampledFrom([]string{"", "", "curl", "1", "10.0.0.1"}).Draw(rt, "text"),
			Limit:       rapid.IntRange(0, 20).Draw(rt, "limit"),
		}
		if rapid.Bool().Draw(rt, "follow") {
			after := rapid.Uint64Range(0, 40).Draw(rt, "after")
			q.AfterSeq = &after
		}
		if rapid.Bool().Draw(rt, "since") {
			q.Since = t0.Add(time.Duration(rapid.IntRange(0, 60).Draw(rt, "minutes")) * time.Minute)
		}
		for _, cq := range []store.CountQuery{{Query: q}, {Query: q, By: "kind", Step: time.Minute}, {Query: q, By: "workload", Step: 7 * time.Minute}, {Query: q, By: "severity"}, {Query: q, By: "effect"}} {
			a, err1 := sq.Counts(context.Background(), cq)
			b, err2 := mem.Counts(context.Background(), cq)
			if err1 != nil || err2 != nil {
				rt.Fatal(err1, err2)
			}
			if d := cmp.Diff(b, a, same); d != "" {
				rt.Fatalf("Counts differ:\n%s", d)
			}
		}
		for {
			a, err1 := sq.Events(context.Background(), q)
			b, err2 := mem.Events(context.Background(), q)
			if err1 != nil || err2 != nil {
				rt.Fatal(err1, err2)
			}
			if d := cmp.Diff(b, a, same); d != "" {
				rt.Fatalf("Events differ (- memory, + sqlite):\n%s", d)
			}
			for _, e := range a.Events {
				if !store.Matches(q, &e) {
					rt.Fatalf("%s does not match", e.ID)
				}
			}
			if q.Cursor = a.Next; a.Next == "" {
				break
			}
		}
	})
}
