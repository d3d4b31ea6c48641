package respond_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/respond/sink"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is what surrounds an engine in a test.
type world struct {
	t      *testing.T
	mu     sync.Mutex
	now    time.Time
	events []event.Event
	calls  []string
	refuse error // what Containment answers
	doc    []byte
	labels map[string]string
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
}

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) pass(d time.Duration) { w.mu.Lock(); defer w.mu.Unlock(); w.now = w.now.Add(d) }

func (w *world) emit(e event.Event) { w.mu.Lock(); defer w.mu.Unlock(); w.events = append(w.events, e) }

func (w *world) call(s string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, s)
	return w.refuse
}

func (w *world) Quarantine(_ context.Context, id string, on bool) error {
	return w.call(fmt.Sprintf("quarantine %s %v", id, on))
}

func (w *world) Pause(_ context.Context, id string, on bool) error {
	return w.call(fmt.Sprintf("pause %s %v", id, on))
}

func (w *world) Kill(_ context.Context, id string) error { return w.call("kill " + id) }

func (w *world) Load(context.Context) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doc, nil
}

func (w *world) Save(_ context.Context, doc []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doc = doc
	return nil
}

func (w *world) lookup(id string) (workload.Container, bool) {
	return workload.Container{ID: id, Workload: workload.Ref{Namespace: "shop", Name: "web"}, Labels: w.labels}, w.labels != nil
}

// did lists the actions so far: "action outcome".
func (w *world) did() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		if e.Kind == event.ResponseAction {
			out = append(out, e.Evidence["action"]+" "+e.Evidence["outcome"])
		}
	}
	return out
}

func (w *world) called() []string { w.mu.Lock(); defer w.mu.Unlock(); return slices.Clone(w.calls) }

func (w *world) last() event.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[len(w.events)-1]
}

func (w *world) engine(policies ...*v1alpha1.ResponsePolicy) *respond.Engine {
	w.t.Helper()
	e, err := respond.New(respond.Config{Node: "n1"}, respond.Deps{
		Now: w.clock, Containment: w, Emit: w.emit, Lookup: w.lookup, State: w,
		Sinks: func(a v1alpha1.NotifyAction, lost func(string, uint64, error)) (respond.Sink, error) {
			return sink.Open(a, sink.Config{OnLoss: lost, Attempts: 2, Drain: 100 * time.Millisecond, Backoff: func(int) time.Duration { return time.Millisecond }})
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = e.Close() })
	if err := e.SetPolicies(policies); err != nil {
		w.t.Fatal(err)
	}
	return e
}

func policy(name string, spec v1alpha1.ResponsePolicySpec) *v1alpha1.ResponsePolicy {
	return &v1alpha1.ResponsePolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func quarantine(match, d string) v1alpha1.ResponsePolicySpec {
	return v1alpha1.ResponsePolicySpec{Match: match, Mode: v1alpha1.Protect, Actions: []v1alpha1.ResponseAction{{Quarantine: &v1alpha1.QuarantineAction{For: d}}}}
}

func (w *world) drift(id string) event.Event {
	return event.Event{ID: id, Kind: event.ProcessDrift, Count: 1, Severity: event.High, Effect: event.Blocked, Message: "Blocked /tmp/x in shop/web.",
		First: w.clock(), Last: w.clock(), Workload: workload.Ref{Namespace: "shop", Name: "web"}, ContainerID: "c1", Container: "web-1", Technique: []string{"T1105"}}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func TestQuarantineAndUndo(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("cut", quarantine(`event.kind == "process.drift"`, "")))
	e.Handle(t.Context(), w.drift("d1"))
	ev := w.last()
	if got := w.called(); !slices.Equal(got, []string{"quarantine c1 true"}) {
		t.Fatalf("calls %q", got)
	}
	if ev.Evidence["outcome"] != respond.Done || ev.Evidence["undo"] != ev.ID || ev.Evidence["cause"] != "d1" || ev.Actor != "ResponsePolicy/cut" ||
		ev.Rule.Field != "spec.actions[0]" || ev.ContainerID != "c1" || ev.Message != "Quarantined shop/web: Blocked /tmp/x in shop/web." {
		t.Errorf("event %+v", ev)
	}
	if a := e.Active(t.Context()); len(a) != 1 || a[0].Token != ev.ID {
		t.Errorf("active %+v", a)
	}
	e.Handle(t.Context(), w.drift("d2")) // it is cut off already
	undone, err := e.Undo(t.Context(), ev.ID, "alice")
	if err != nil || undone.Actor != "alice" || undone.Evidence["undid"] != ev.ID {
		t.Errorf("Undo: %+v, %v", undone, err)
	}
	if _, err := e.Undo(t.Context(), ev.ID, "alice"); !errors.Is(err, respond.ErrNotActive) {
		t.Errorf("second Undo: %v", err)
	}
	if got := w.called(); !slices.Equal(got, []string{"quarantine c1 true", "quarantine c1 false"}) {
		t.Errorf("calls %q", got)
	}
	if got := w.did(); !slices.Equal(got, []string{"quarantine done", "quarantine undone"}) {
		t.Errorf("did %q", got)
	}
}

func TestMonitorSaysWhatItWouldDo(t *testing.T) {
	w := newWorld(t)
	spec := quarantine(`true`, "15m")
	spec.Mode = ""
	spec.Actions = append(spec.Actions, v1alpha1.ResponseAction{Kill: &v1alpha1.KillAction{}},
		v1alpha1.ResponseAction{Notify: &v1alpha1.NotifyAction{File: &v1alpha1.FileSink{Path: filepath.Join(t.TempDir(), "x")}}})
	e := w.engine(policy("dry", spec))
	e.Handle(t.Context(), w.drift("d1"))
	if got := w.called(); len(got) != 0 {
		t.Errorf("acted in Monitor: %q", got)
	}
	if got := w.did(); !slices.Equal(got, []string{"quarantine would-do", "kill would-do", "notify would-do"}) {
		t.Errorf("did %q", got)
	}
	if m := w.events[0].Message; m != "Would quarantine shop/web for 15m0s: Blocked /tmp/x in shop/web." {
		t.Errorf("message %q", m)
	}
}

func TestReach(t *testing.T) {
	selector := &v1alpha1.Selector{MatchLabels: map[string]string{"app": "web"}}
	cases := []struct {
		name   string
		change func(p *v1alpha1.ResponsePolicy, w *world, ev *event.Event)
		acts   bool
	}{
		{"matches", func(*v1alpha1.ResponsePolicy, *world, *event.Event) {}, true},
		{"expression says no", func(p *v1alpha1.ResponsePolicy, _ *world, _ *event.Event) { p.Spec.Match = "event.count > 5" }, false},
		{"own namespace", func(p *v1alpha1.ResponsePolicy, _ *world, _ *event.Event) { p.Namespace = "shop" }, true},
		{"other namespace", func(p *v1alpha1.ResponsePolicy, _ *world, _ *event.Event) { p.Namespace = "data" }, false},
		{"selected by label", func(p *v1alpha1.ResponsePolicy, w *world, _ *event.Event) {
			p.Spec.Selector, w.labels = selector, map[string]string{"app": "web"}
		}, true},
		{"not selected", func(p *v1alpha1.ResponsePolicy, w *world, _ *event.Event) {
			p.Spec.Selector, w.labels = selector, map[string]string{"app": "db"}
		}, false},
		{"gone, by name", func(p *v1alpha1.ResponsePolicy, _ *world, _ *event.Event) {
			p.Spec.Selector = &v1alpha1.Selector{Workloads: []string{"we*"}}
		}, true},
		{"selector and no container", func(p *v1alpha1.ResponsePolicy, _ *world, ev *event.Event) {
			p.Spec.Selector, ev.ContainerID = &v1alpha1.Selector{}, ""
		}, false},
		{"an action's event", func(_ *v1alpha1.ResponsePolicy, _ *world, ev *event.Event) { ev.Kind = event.ResponseAction }, false},
		{"own health", func(_ *v1alpha1.ResponsePolicy, _ *world, ev *event.Event) { ev.Mechanism = respond.Mechanism }, false},
		{"made by a quarantine", func(_ *v1alpha1.ResponsePolicy, _ *world, ev *event.Event) { ev.Reasons = []string{"quarantine"} }, false},
		{"too old", func(_ *v1alpha1.ResponsePolicy, w *world, _ *event.Event) { w.now = w.now.Add(11 * time.Minute) }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			p, ev := policy("p", quarantine("true", "")), w.drift("d1")
			c.change(p, w, &ev)
			w.engine(p).Handle(t.Context(), ev)
			if acted := len(w.called()) > 0; acted != c.acts {
				t.Errorf("acted %v", acted)
			}
		})
	}
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t)
	spec := v1alpha1.ResponsePolicySpec{Match: "true", Mode: v1alpha1.Protect, RateLimit: &v1alpha1.RateLimit{PerMinute: 2, Burst: 3},
		Actions: []v1alpha1.ResponseAction{{Kill: &v1alpha1.KillAction{}}}}
	e := w.engine(policy("p", spec))
	send := func(id string, count uint64, workload string) {
		ev := w.drift(id)
		ev.Count, ev.Workload.Name = count, workload
		e.Handle(t.Context(), ev)
	}
	n := func() int { return len(w.called()) }
	for i := range 10 {
		send(fmt.Sprint("a", i), 1, "web")
	}
	if n() != 3 {
		t.Fatalf("%d acts, burst is 3", n())
	}
	send("other", 1, "db")
	if n() != 4 {
		t.Errorf("another workload was held back")
	}
	if held := w.last().Evidence["held"]; held != "7" {
		t.Errorf("held back %q, want 7", held)
	}
	send("a0", 1, "web")
	send("a0", 2, "web") // grown, but the limit is touched
	if n() != 4 {
		t.Errorf("a repeat was acted on")
	}
	w.pass(30 * time.Second)
	send("b", 1, "web")
	send("c", 1, "web")
	if n() != 5 {
		t.Errorf("%d acts after half a minute, want one more", n())
	}
	w.pass(2 * time.Minute)
	send("b", 1, "web") // delivered again
	if n() != 5 {
		t.Errorf("a redelivery was acted on")
	}
	send("b", 7, "web") // grown, and the limit is untouched
	if n() != 6 {
		t.Errorf("a grown count was not acted on although the limit allows")
	}
	// The same policies again keep what was used.
	if err := e.SetPolicies([]*v1alpha1.ResponsePolicy{policy("p", spec)}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		send(fmt.Sprint("d", i), 1, "web")
	}
	if n() != 8 {
		t.Errorf("%d acts, setting policies gave a new burst", n())
	}
}

func TestQuarantineEndsByItselfAlsoAfterARestart(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("cut", quarantine("true", "10m")))
	e.Handle(t.Context(), w.drift("d1"))
	_ = e.Close()

	e = w.engine() // the next process
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	until(t, "in force again", func() bool { return len(w.called()) == 2 })
	w.pass(9 * time.Minute)
	if _, err := e.Act(ctx, respond.Pause, workload.Container{ID: "c2", Name: "other"}, "bob", 0); err != nil { // wakes Run
		t.Fatal(err)
	}
	if a := e.Active(ctx); len(a) != 2 {
		t.Errorf("active %+v", a)
	}
	w.pass(2 * time.Minute)
	if _, err := e.Release(ctx, respond.Pause, "c2", "bob"); err != nil {
		t.Fatal(err)
	}
	until(t, "the end", func() bool { return len(e.Active(ctx)) == 0 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got, want := w.called(), []string{"quarantine c1 true", "quarantine c1 true", "pause c2 true", "pause c2 false", "quarantine c1 false"}; !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	if got := w.did(); got[len(got)-1] != "quarantine ended" {
		t.Errorf("did %q", got)
	}
	var left []respond.Active
	if err := json.Unmarshal(w.doc, &left); err != nil || len(left) != 0 {
		t.Errorf("state %s", w.doc)
	}
}

func TestFailedActionIsSaidAndNotInForce(t *testing.T) {
	w := newWorld(t)
	w.refuse = errors.New("no such map")
	e := w.engine(policy("cut", quarantine("true", "")))
	e.Handle(t.Context(), w.drift("d1"))
	ev := w.last()
	if ev.Evidence["outcome"] != respond.Failed || ev.Severity != event.High || !strings.Contains(ev.Message, "no such map") || len(e.Active(t.Context())) != 0 {
		t.Errorf("event %+v, active %v", ev, e.Active(t.Context()))
	}
	none := w.drift("d2")
	none.ContainerID = ""
	e.Handle(t.Context(), none)
	if ev := w.last(); ev.Evidence["outcome"] != respond.Failed {
		t.Errorf("no container: %+v", ev)
	}
	if _, err := e.Act(t.Context(), "explode", workload.Container{ID: "c"}, "bob", 0); err == nil {
		t.Error("an unknown action was taken")
	}
	bare, err := respond.New(respond.Config{}, respond.Deps{Emit: w.emit})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Act(t.Context(), respond.Kill, workload.Container{ID: "c"}, "bob", 0); !errors.Is(err, respond.ErrNotPossible) {
		t.Errorf("without containment: %v", err)
	}
}

func TestUndoThatFailsStaysInForce(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("cut", quarantine("true", "")))
	e.Handle(t.Context(), w.drift("d1"))
	token := w.last().ID
	w.refuse = errors.New("busy")
	if _, err := e.Undo(t.Context(), token, "alice"); err == nil || len(e.Active(t.Context())) != 1 {
		t.Errorf("Undo: %v, active %v", err, e.Active(t.Context()))
	}
	w.refuse = fmt.Errorf("find container: %w", respond.ErrGone)
	if _, err := e.Undo(t.Context(), token, "alice"); err != nil || len(e.Active(t.Context())) != 0 {
		t.Errorf("Undo of a container that is gone: %v, active %v", err, e.Active(t.Context()))
	}
}

func TestStoppedContainerIsForgotten(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("cut", quarantine(`event.kind == "process.drift"`, "")))
	e.Handle(t.Context(), w.drift("d1"))
	stop := w.drift("s")
	stop.Kind = event.ContainerStop
	e.Handle(t.Context(), stop)
	if a := e.Active(t.Context()); len(a) != 0 {
		t.Errorf("active %+v", a)
	}
}

// TestNoLoop feeds everything the engine emits back to it.
func TestNoLoop(t *testing.T) {
	w := newWorld(t)
	spec := quarantine("true", "")
	spec.Actions = append(spec.Actions, v1alpha1.ResponseAction{Kill: &v1alpha1.KillAction{}},
		v1alpha1.ResponseAction{Notify: &v1alpha1.NotifyAction{Webhook: &v1alpha1.WebhookSink{URL: "http://127.0.0.1:1/"}}})
	e := w.engine(policy("all", spec))
	e.Handle(t.Context(), w.drift("d1"))
	stop := w.drift("s")
	stop.Kind = event.ContainerStop // by our kill
	e.Handle(t.Context(), stop)
	until(t, "the lost notification is an event", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.ContainsFunc(w.events, func(e event.Event) bool { return e.Kind == event.AgentLoss && e.Count == 1 })
	})
	w.mu.Lock()
	all := slices.Clone(w.events)
	w.mu.Unlock()
	for _, ev := range all {
		e.Handle(t.Context(), ev)
	}
	if got := w.did(); !slices.Equal(got, []string{"quarantine done", "kill done", "notify queued"}) {
		t.Errorf("did %q", got)
	}
}

func TestWrongPoliciesLeaveTheOldInForce(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("cut", quarantine("true", "")))
	for _, bad := range []v1alpha1.ResponsePolicySpec{quarantine("event.nope", ""), quarantine("true", "soon"),
		{Match: "true", Actions: []v1alpha1.ResponseAction{{Notify: &v1alpha1.NotifyAction{Webhook: &v1alpha1.WebhookSink{URL: "gopher://x"}}}}}} {
		if err := e.SetPolicies([]*v1alpha1.ResponsePolicy{policy("ok", quarantine("true", "")), policy("bad", bad)}); err == nil || !strings.Contains(err.Error(), "ResponsePolicy/bad") {
			t.Errorf("SetPolicies: %v", err)
		}
	}
	e.Handle(t.Context(), w.drift("d1"))
	if ev := w.last(); ev.Actor != "ResponsePolicy/cut" {
		t.Errorf("actor %q", ev.Actor)
	}
}

func TestExpensiveExpressionIsStoppedAndSaid(t *testing.T) {
	w := newWorld(t)
	e := w.engine(policy("slow", quarantine(`event.process.args.all(a, event.process.args.all(b, event.process.args.all(c, a + b + c != "x")))`, "")),
		policy("fine", quarantine("true", "")))
	for i := range 3 {
		ev := w.drift(fmt.Sprint("d", i))
		ev.Process = &event.Process{Args: make([]string, 500)}
		e.Handle(t.Context(), ev)
	}
	faults := 0
	for _, ev := range w.events {
		if ev.Kind == event.AgentHealth && strings.Contains(ev.Message, "ResponsePolicy/slow") {
			faults++
		}
	}
	if faults != 1 || !slices.Equal(w.called(), []string{"quarantine c1 true"}) {
		t.Errorf("%d faults said, calls %q", faults, w.called())
	}
}

// TestNotify goes through a real webhook and a real file.
func TestNotify(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-served }()

	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "alerts.ndjson")
	e := w.engine(policy("page", v1alpha1.ResponsePolicySpec{Match: `event.severityRank >= 3`, Mode: v1alpha1.Protect, Actions: []v1alpha1.ResponseAction{
		{Notify: &v1alpha1.NotifyAction{Webhook: &v1alpha1.WebhookSink{URL: "http://" + l.Addr().String()}}},
		{Notify: &v1alpha1.NotifyAction{File: &v1alpha1.FileSink{Path: file}}},
	}}))
	e.Handle(t.Context(), w.drift("d1"))
	select {
	case body := <-got:
		if !strings.Contains(body, `"id":"d1"`) {
			t.Errorf("body %s", body)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing arrived")
	}
	if err := e.Close(); err != nil { // waits for the file
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), `"id":"d1"`) {
		t.Errorf("file %q, %v", data, err)
	}
	if got := w.did(); !slices.Equal(got, []string{"notify queued", "notify queued"}) {
		t.Errorf("did %q", got)
	}
}

func TestCheckIsAValidator(t *testing.T) {
	if errs := respond.Check(policy("p", quarantine("event.nope", ""))); len(errs) != 1 || errs[0].Field != "spec.match" || !strings.Contains(errs[0].Reason, "nope") {
		t.Errorf("Check: %v", errs)
	}
	if errs := respond.Check(policy("p", quarantine("true", ""))); len(errs) != 0 {
		t.Errorf("Check: %v", errs)
	}
	if errs := respond.Check(&v1alpha1.Profile{}); len(errs) != 0 {
		t.Errorf("Check: %v", errs)
	}
}

func BenchmarkHandle(b *testing.B) {
	w := &world{now: time.Now()}
	e, err := respond.New(respond.Config{}, respond.Deps{Emit: func(event.Event) {}, Now: w.clock})
	if err != nil {
		b.Fatal(err)
	}
	var list []*v1alpha1.ResponsePolicy
	for i := range 10 {
		list = append(list, policy(fmt.Sprint(i), quarantine(`event.kind == "process.fileless" && event.severityRank >= 3 && event.path.startsWith("/x")`, "")))
	}
	if err := e.SetPolicies(list); err != nil {
		b.Fatal(err)
	}
	ev := w.drift("d")
	for b.Loop() {
		e.Handle(b.Context(), ev)
	}
}
