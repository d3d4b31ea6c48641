package attacks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

func TestCasesAreComplete(t *testing.T) {
	cases := Cases()
	if err := Check(cases); err != nil {
		t.Fatal(err)
	}
	for name := range Policies() {
		if !slices.ContainsFunc(cases, func(c Case) bool { return c.Policy == name }) {
			t.Errorf("policy %s has no case", name)
		}
		plan(t, name, &box{})
	}
	// Figures that the project promised.
	if len(cases) < 100 {
		t.Errorf("%d cases, want at least 100", len(cases))
	}
	for _, b := range []Backend{A61, A612} {
		var prevented, possible int
		for _, c := range cases {
			switch less, _ := c.Expected(b); less.Verdict {
			case Prevented:
				prevented++
				possible++
			case Absent:
			default:
				possible++
			}
		}
		if prevented*100 < possible*95 {
			t.Errorf("%s prevents %d of %d, want at least 95%%", b, prevented, possible)
		}
	}
}

// plan compiles a policy for a container.
func plan(t *testing.T, name string, b *box) *policy.Plan {
	t.Helper()
	set, errs := policy.Load([]policy.File{{Name: name + ".yaml", Data: []byte(Policies()[name])}})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	c := b.c
	c.Workload.Namespace = Namespace
	p := set.Compile(&c, time.Now())
	if p == nil {
		t.Fatalf("policy %s selects nothing", name)
	}
	return p
}

// ledger counts what the engine tells of.
type ledger struct {
	mu      sync.Mutex
	denials map[string]guard.Denial
	lost    []guard.Loss
}

func (l *ledger) Denied(d guard.Denial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denials[d.ID] = d
}

func (l *ledger) Observed(guard.Observation) {}

func (l *ledger) Started(guard.Start) {}

func (l *ledger) Lost(x guard.Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, x)
}

func (l *ledger) now() map[string]guard.Denial {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.denials)
}

// since gives the denials that were added to before, each with what was added.
func (l *ledger) since(before map[string]guard.Denial) (added []guard.Denial, n uint64) {
	for id, d := range l.now() {
		d.Count -= before[id].Count
		if d.Count > 0 {
			added = append(added, d)
			n += d.Count
		}
	}
	return added, n
}

// field is where cases are tried: an engine, a container that it guards, and
// one that no policy selects.
type field struct {
	engine        *kernel.Engine
	ledger        *ledger
	guarded, free *box
	backend       Backend
	policy        string
	noise         map[string]uint64 // denials by cause for a start of the attacker
	mechanism     string
}

func newField(t *testing.T) *field {
	t.Helper()
	img := image(t)
	f := &field{ledger: &ledger{denials: map[string]guard.Denial{}}}
	f.free, f.guarded = newBox(t, "free", img), newBox(t, "guarded", img)
	f.engine = openAt(t, f.ledger, kernel.Config{PinDir: pins(t)})
	f.use(t, "drift")
	switch running := release(t); {
	case !strings.Contains(f.mechanism, "lsm") && !strings.Contains(f.mechanism, "fmod_ret"):
		f.backend = Kill
	case strings.HasPrefix(running, "6.1."):
		f.backend = A61
	default:
		f.backend = A612
	}
	t.Logf("kernel %s, %s: judged as %s", release(t), f.mechanism, f.backend)
	return f
}

// openAt runs an engine until the test ends.
func openAt(t *testing.T, sink guard.Sink, cfg kernel.Config) *kernel.Engine {
	t.Helper()
	e, err := kernel.Open(cfg, kernel.Deps{Log: testLog(), Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run engine: %v", err)
		}
		if err := e.Close(false); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return e
}

func release(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// use puts a policy in force in the guarded container.
func (f *field) use(t *testing.T, name string) {
	t.Helper()
	if f.policy == name {
		return
	}
	p := plan(t, name, f.guarded)
	for _, apply := range []func(context.Context, workload.Container, *policy.Plan) (guard.Coverage, error){
		f.engine.Apply, f.engine.ApplyFiles, f.engine.ApplyHardening, f.engine.ApplyCapabilities,
	} {
		cov, err := apply(context.Background(), f.guarded.c, p)
		if err != nil {
			t.Fatalf("apply policy %s: %v", name, err)
		}
		// What B and C cannot do is degraded, and said in the cases.
		if cov.Degraded != "" && f.backend != Kill && f.backend != "" {
			t.Errorf("policy %s: %+v", name, cov)
		}
		if cov.Section == "process" {
			f.mechanism = cov.Mechanism
		}
	}
	f.policy = name
	// The attacker's program asks the kernel what bpf can do before its main
	// begins, since it is a test of a package that loads programs. What policy
	// says of that is no part of any case.
	before := f.before(t)
	f.guarded.do(t, Order{Case: "nothing"})
	f.noise = nil // is measured now
	added, _ := f.since(t, before, 0)
	f.noise = map[string]uint64{}
	for _, d := range added {
		f.noise[d.ID] = d.Count
	}
}

// TestAttacks tries every case. The core of them has a name of its own, to be
// chosen where time is dear.
func TestAttacks(t *testing.T) {
	f := newField(t)
	for _, core := range []bool{true, false} {
		name := "rest"
		if core {
			name = "core"
		}
		t.Run(name, func(t *testing.T) {
			for _, c := range Cases() {
				if c.Core == core {
					t.Run(strings.ReplaceAll(c.Name, "/", "|"), func(t *testing.T) { f.try(t, &c) })
				}
			}
		})
	}
}

func (f *field) try(t *testing.T, c *Case) {
	want, denials := c.Expected(f.backend)
	if free := f.free.do(t, Order{Case: c.Name}); free.Effect != (want.Verdict != Absent) {
		t.Fatalf("without a policy: effect %v, so it proves nothing: %s", free.Effect, free.Said)
	} else if !free.Effect {
		return
	}
	f.use(t, c.Policy)
	before := f.before(t)
	if twin := f.guarded.do(t, Order{Case: c.Name, Twin: true}); !twin.Effect || twin.Killed {
		t.Errorf("the harmless twin was hindered: %s", twin.Said)
	}
	if added, n := f.since(t, before, 1); n != 0 {
		t.Errorf("%d denials of the harmless twin: %s", n, list(added))
	}
	before = f.before(t)
	got := f.guarded.do(t, Order{Case: c.Name})
	added, n := f.since(t, before, max(1, c.Starts))
	verdict := Prevented
	switch {
	case got.Effect && got.Killed:
		verdict = Late
	case got.Effect && n > 0:
		verdict = Detected
	case got.Effect:
		verdict = Passed
	}
	if verdict != want.Verdict {
		t.Errorf("%s, want %s: %s", verdict, want.Verdict, got.Said)
	}
	if n != denials && (denials != Some || n == 0) {
		t.Errorf("%d denials, want %d: %s", n, denials, list(added))
	}
	for _, d := range added {
		if d.Kind != c.Kind {
			t.Errorf("denial of kind %s, want %s: %s", d.Kind, c.Kind, list(added))
		}
	}
}

func (f *field) before(t *testing.T) map[string]guard.Denial {
	t.Helper()
	if err := f.engine.Flush(); err != nil {
		t.Fatal(err)
	}
	return f.ledger.now()
}

// since gives the denials since before, without the noise of some starts.
func (f *field) since(t *testing.T, before map[string]guard.Denial, starts uint64) (added []guard.Denial, n uint64) {
	t.Helper()
	if err := f.engine.Flush(); err != nil {
		t.Fatal(err)
	}
	all, _ := f.ledger.since(before)
	for _, d := range all {
		if d.Count -= min(d.Count, starts*f.noise[d.ID]); d.Count > 0 {
			added, n = append(added, d), n+d.Count
		}
	}
	return added, n
}

func list(denials []guard.Denial) string {
	var b strings.Builder
	for _, d := range denials {
		fmt.Fprintf(&b, "[%d x %s %s %s %s by %s, reasons %#x, %s] ", d.Count, d.Kind, d.Operation, d.Path, d.Applet, d.Process.Exe, d.Reasons, d.Mechanism)
	}
	return b.String()
}
