package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/container"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a fake of everything the agent joins; calls are kept in order.
type node struct {
	mu       sync.Mutex
	calls    []string
	events   []event.Event
	changes  chan container.Change
	identify func(pid int) (workload.Container, bool, error)
	applyErr error
	mech     string
	ended    []string
	dead     atomic.Bool
	applying func() // called within Apply of the kernel
}

func (n *node) alive(int) bool { return !n.dead.Load() }

func (n *node) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
}

func (n *node) said() []string { n.mu.Lock(); defer n.mu.Unlock(); return slices.Clone(n.calls) }

func (n *node) record(e event.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

func (n *node) seen(kind event.Kind) []event.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []event.Event
	for _, e := range n.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

type fakeProfiles struct{ *node }

func (f fakeProfiles) Load(_ context.Context, ref workload.Ref) (*v1alpha1.Profile, error) {
	f.say("load %s", ref)
	return nil, nil
}

func (f fakeProfiles) Save(_ context.Context, ref workload.Ref, _ v1alpha1.Profile) error {
	f.say("save %s", ref)
	return nil
}

type fakeKernel struct{ *node }

func (f fakeKernel) Apply(_ context.Context, c workload.Container, p *policy.Plan) (guard.Coverage, error) {
	if f.applying != nil {
		f.applying()
	}
	f.say("kernel apply %s %v", c.ID, p != nil)
	return guard.Coverage{Section: "process", Mechanism: f.mech, Degraded: "told so"}, f.applyErr
}
func (f fakeKernel) ApplyFiles(_ context.Context, c workload.Container, p *policy.Plan) (guard.Coverage, error) {
	return f.section("files", c, p != nil && p.Files != nil), nil
}
func (f fakeKernel) ApplyCapabilities(_ context.Context, c workload.Container, p *policy.Plan) (guard.Coverage, error) {
	return f.section("capabilities", c, p != nil && p.Capabilities != nil), nil
}
func (f fakeKernel) ApplyHardening(_ context.Context, c workload.Container, p *policy.Plan) (guard.Coverage, error) {
	return f.section("hardening", c, p != nil && p.Hardening != nil), nil
}
func (f fakeKernel) section(name string, c workload.Container, wanted bool) guard.Coverage {
	if wanted {
		f.say("kernel apply %s to %s", name, c.ID)
	}
	return guard.Coverage{Section: name, Mechanism: f.mech, Degraded: "told so"}
}
func (f fakeKernel) Forget(id string) error        { f.say("kernel forget %s", id); return nil }
func (f fakeKernel) Release(pid int) error         { f.say("release %d", pid); return nil }
func (f fakeKernel) NotAContainer(cg uint64) error { f.say("not a container %d", cg); return nil }
func (f fakeKernel) Ended() []string               { return f.ended }
func (f fakeKernel) SetQuarantine(id string, on bool) error {
	f.say("quarantine %s %v", id, on)
	return nil
}

type fakeFirewall struct{ *node }

func (f fakeFirewall) Apply(_ context.Context, c workload.Container, p *policy.Plan, _ *facts.Neighbourhood) (guard.Coverage, error) {
	f.say("firewall apply %s %v", c.ID, p != nil)
	return guard.Coverage{Section: "network", Mechanism: "cgroup/connect + tcx"}, nil
}
func (f fakeFirewall) Refresh(context.Context, *facts.Neighbourhood) error {
	f.say("firewall refresh")
	return nil
}
func (f fakeFirewall) Forget(id string) error { f.say("firewall forget %s", id); return nil }

type fakeDiscovery struct{ *node }

func (f fakeDiscovery) Run(ctx context.Context, fn func(container.Change)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-f.changes:
			fn(c)
		}
	}
}
func (f fakeDiscovery) OnStart(func(context.Context, workload.Container) error) { f.say("on start") }

func (f fakeDiscovery) Identify(_ context.Context, pid int, _ uint64) (workload.Container, bool, error) {
	f.say("identify %d", pid)
	return f.identify(pid)
}

type fakeFreezer struct{ *node }

func (f fakeFreezer) Pause(_ context.Context, c workload.Container, on bool) error {
	f.say("pause %s %v", c.ID, on)
	return nil
}
func (f fakeFreezer) Kill(_ context.Context, c workload.Container) error {
	f.say("kill %s", c.ID)
	return nil
}

var shop = workload.Container{ID: "0123456789abcdef", Name: "web", PID: 42, CgroupID: 7, Image: "shop:1",
	Workload: workload.Ref{Namespace: "shop", Name: "web", Kind: "Container"}, Labels: map[string]string{"app": "web"},
	Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}

// start runs an agent on a fake node until the test ends.
func start(t *testing.T) (*Agent, *node) {
	t.Helper()
	n := &node{changes: make(chan container.Change), mech: "raw_tp+kill",
		identify: func(int) (workload.Container, bool, error) { return shop, true, nil }}
	a, err := New(Config{Node: "n1", SaveEvery: time.Hour, Recheck: time.Hour}, Deps{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Record: n.record,
		Kernel: fakeKernel{n}, Firewall: fakeFirewall{n}, Discovery: fakeDiscovery{n}, Freezer: fakeFreezer{n}, Profiles: fakeProfiles{n},
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
	return a, n
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func load(t *testing.T, yaml string) *policy.Set {
	t.Helper()
	set, problems := policy.Load([]policy.File{{Name: "p.yaml", Data: []byte(yaml)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

const protectWeb = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Protect
  process: {drift: Deny, allow: [{path: /bin/web}]}
`

func TestHeldContainerGoesOnOnlyUnderItsPlan(t *testing.T) {
	a, n := start(t)
	a.SetPolicies(context.Background(), load(t, protectWeb))
	a.Started(guard.Start{PID: 42, CgroupID: 7, Held: true, Time: time.Now()})
	await(t, "release", func() bool { return slices.Contains(n.said(), "release 42") })
	got := n.said()
	if apply, release := slices.Index(got, "kernel apply "+shop.ID+" true"), slices.Index(got, "release 42"); apply < 0 || apply > release {
		t.Errorf("released before the plan was applied: %v", got)
	}
	st, err := a.Container(shop.ID[:12])
	if err != nil || st.State != Enforced || !st.Held {
		t.Errorf("status %+v, %v; want enforced and held", st, err)
	}
	await(t, "start event", func() bool { return len(n.seen(event.ContainerStart)) == 1 })
	if ev := n.seen(event.ContainerStart)[0]; ev.Evidence["heldBeforeFirstInstruction"] != "true" || ev.Workload != shop.Workload {
		t.Errorf("start event %+v", ev)
	}
}

// The runtime's word of a created container and the hold of its first program
// come a moment apart, from two sides.
func TestAHeldProgramWaitsForWhoeverAppliesItsPlan(t *testing.T) {
	a, n := start(t)
	a.SetPolicies(context.Background(), load(t, protectWeb))
	entered, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.applying = func() { once.Do(func() { close(entered); <-goOn }) }
	go func() { n.changes <- container.Change{Container: shop} }()
	<-entered
	a.Started(guard.Start{PID: 42, CgroupID: 7, Held: true, Time: time.Now()})
	await(t, "identified", func() bool { return slices.Contains(n.said(), "identify 42") })
	time.Sleep(20 * time.Millisecond) // what must not happen gets its chance
	if slices.Contains(n.said(), "release 42") {
		t.Error("released while its plan was being applied")
	}
	close(goOn)
	await(t, "release", func() bool { return slices.Contains(n.said(), "release 42") })
	got := n.said()
	if apply, release := slices.Index(got, "kernel apply "+shop.ID+" true"), slices.Index(got, "release 42"); apply < 0 || apply > release {
		t.Errorf("released before the plan was applied: %v", got)
	}
}

func TestWhatIsNoContainerIsRememberedAndReleased(t *testing.T) {
	a, n := start(t)
	n.identify = func(int) (workload.Container, bool, error) { return workload.Container{}, false, nil }
	a.Started(guard.Start{PID: 9, CgroupID: 99, Held: true})
	await(t, "release", func() bool { return slices.Contains(n.said(), "release 9") })
	if !slices.Contains(n.said(), "not a container 99") {
		t.Errorf("calls %v", n.said())
	}
}

func TestARuntimeThatFailsHoldsNobody(t *testing.T) {
	a, n := start(t)
	n.identify = func(int) (workload.Container, bool, error) {
		return workload.Container{}, false, errors.New("socket gone")
	}
	a.Started(guard.Start{PID: 9, CgroupID: 99, Held: true})
	await(t, "release", func() bool { return slices.Contains(n.said(), "release 9") })
	if slices.Contains(n.said(), "not a container 99") {
		t.Error("an error was taken for the certainty that it is no container")
	}
	got := n.seen(event.AgentHealth)
	if len(got) != 1 || got[0].Effect != event.NotBlocked || !strings.Contains(got[0].Message, "socket gone") {
		t.Errorf("a start without policy was not said: %+v", got)
	}
}

func TestAStartThatOutlastedItsHoldIsSaid(t *testing.T) {
	a, n := start(t)
	a.Started(guard.Start{PID: 42, CgroupID: 7, Held: true, Time: time.Now().Add(-time.Minute)})
	await(t, "release", func() bool { return slices.Contains(n.said(), "release 42") })
	got := n.seen(event.AgentHealth)
	if len(got) != 1 || got[0].Workload != shop.Workload || !strings.Contains(got[0].Message, "longer than a start is held") {
		t.Errorf("events %+v", got)
	}
}

func TestPolicyChangeAppliesOnceAndOnlyWhatChanged(t *testing.T) {
	a, n := start(t)
	n.changes <- container.Change{Container: shop}
	await(t, "first apply", func() bool { return slices.Contains(n.said(), "kernel apply "+shop.ID+" false") })
	a.SetPolicies(context.Background(), load(t, protectWeb))
	count := func() int {
		k := 0
		for _, c := range n.said() {
			if c == "kernel apply "+shop.ID+" true" {
				k++
			}
		}
		return k
	}
	if count() != 1 {
		t.Fatalf("applied %d times, want 1: %v", count(), n.said())
	}
	a.SetPolicies(context.Background(), load(t, protectWeb+"---\n"+strings.ReplaceAll(strings.ReplaceAll(protectWeb, "namespace: shop", "namespace: other"), "name: web", "name: else")))
	if count() != 1 {
		t.Errorf("a policy of another namespace led to a new application: %v", n.said())
	}
	if got := len(n.seen(event.PolicyChange)); got != 1 {
		t.Errorf("%d policy change events, want 1", got)
	}
	n.changes <- container.Change{Container: shop, Gone: true}
	await(t, "forgotten", func() bool {
		return slices.Contains(n.said(), "kernel forget "+shop.ID) && slices.Contains(n.said(), "firewall forget "+shop.ID)
	})
}

func TestBlindIsSaidAndClosedPauses(t *testing.T) {
	a, n := start(t)
	n.applyErr = errors.New("no such map")
	a.SetPolicies(context.Background(), load(t, strings.Replace(protectWeb, "mode: Protect", "mode: Protect\n  whenBlind: Closed", 1)))
	n.changes <- container.Change{Container: shop}
	await(t, "pause", func() bool { return slices.Contains(n.said(), "pause "+shop.ID+" true") })
	await(t, "event", func() bool { return len(n.seen(event.AgentHealth)) == 1 })
	ev := n.seen(event.AgentHealth)[0]
	if ev.Effect != event.NotBlocked || !strings.Contains(ev.Message, "no such map") || !strings.Contains(ev.Message, "paused") {
		t.Errorf("event %+v", ev)
	}
	if st, _ := a.Container(shop.ID); st.State != Blind || !strings.Contains(st.Blind, "no such map") || !st.Paused {
		t.Errorf("status %+v", st)
	}
	// When it can be enforced again, it goes on.
	n.applyErr = nil
	a.SetPolicies(context.Background(), load(t, strings.Replace(protectWeb, "mode: Protect", "mode: Protect\n  whenBlind: Open", 1)))
	await(t, "resume", func() bool { return slices.Contains(n.said(), "pause "+shop.ID+" false") })
}

func TestAContainerThatEndedIsNotBlind(t *testing.T) {
	a, n := start(t)
	n.applyErr = errors.New("container is gone")
	n.dead.Store(true)
	a.SetPolicies(context.Background(), load(t, protectWeb))
	n.changes <- container.Change{Container: shop}
	await(t, "start event", func() bool { return len(n.seen(event.ContainerStart)) == 1 })
	if got := n.seen(event.AgentHealth); len(got) != 0 {
		t.Errorf("a container that is gone was called blind: %+v", got)
	}
}

func TestContainersThatEndedUnseenAreForgotten(t *testing.T) {
	a, n := start(t)
	n.changes <- container.Change{Container: shop}
	await(t, "adopted", func() bool { st, err := a.Container(shop.ID); return err == nil && st.Applied })
	n.ended = []string{"fedcba9876543210", shop.ID}
	a.forgetEnded()
	got := n.said()
	if !slices.Contains(got, "kernel forget fedcba9876543210") || !slices.Contains(got, "firewall forget fedcba9876543210") {
		t.Errorf("not forgotten: %v", got)
	}
	if slices.Contains(got, "kernel forget "+shop.ID) {
		t.Error("a container that discovery knows was forgotten")
	}
}

func TestProfilesAreKeptForWhatHasAName(t *testing.T) {
	a, n := start(t)
	nameless := shop
	nameless.ID, nameless.Workload.Name = "aaaaaaaaaaaabbbb", "aaaaaaaaaaaa"
	n.changes <- container.Change{Container: shop}
	n.changes <- container.Change{Container: nameless}
	await(t, "both adopted", func() bool { _, err := a.Container(nameless.ID); return err == nil && len(a.Learned()) == 2 })
	a.saveProfiles(context.Background())
	got := n.said()
	if !slices.Contains(got, "load shop/web") || !slices.Contains(got, "save shop/web") {
		t.Errorf("the named workload's profile was not kept: %v", got)
	}
	if slices.Contains(got, "load shop/aaaaaaaaaaaa") || slices.Contains(got, "save shop/aaaaaaaaaaaa") {
		t.Errorf("a profile was kept under a name that never comes back: %v", got)
	}
	// An hour after the last container of a workload, memory lets go of it.
	n.changes <- container.Change{Container: nameless, Gone: true}
	await(t, "gone", func() bool { _, err := a.Container(nameless.ID); return err != nil })
	a.saveProfiles(context.Background())
	a.mu.Lock()
	a.profiles[nameless.Workload].idle = time.Now().Add(-2 * idleFor)
	a.mu.Unlock()
	a.saveProfiles(context.Background())
	if left := a.Learned(); len(left) != 1 || left[0] != shop.Workload {
		t.Errorf("learned %v, want the running workload only", left)
	}
}

func TestDenialBecomesAnEventAPersonCanRead(t *testing.T) {
	a, n := start(t)
	a.SetPolicies(context.Background(), load(t, protectWeb))
	// A count from before the container was known waits for it.
	a.Denied(guard.Denial{ID: "old", ContainerID: shop.ID, Kind: event.ProcessExec, Effect: event.Blocked, Reasons: policy.ReasonNotListed, Rule: 1, Count: 7, Path: "/old"})
	if got := n.seen(event.ProcessExec); len(got) != 0 {
		t.Errorf("recorded without its container: %+v", got)
	}
	n.changes <- container.Change{Container: shop}
	await(t, "the early count", func() bool { return len(n.seen(event.ProcessExec)) == 1 })
	if ev := n.seen(event.ProcessExec)[0]; ev.Workload != shop.Workload || ev.Rule == nil || ev.Count != 7 {
		t.Errorf("early event %+v", ev)
	}
	await(t, "applied", func() bool { st, err := a.Container(shop.ID); return err == nil && st.Applied })
	st, _ := a.Container(shop.ID)
	now := time.Now()
	a.Denied(guard.Denial{ID: "cause", ContainerID: shop.ID, Kind: event.ProcessDrift, Effect: event.Blocked, Reasons: policy.ReasonDrift | policy.ReasonNotListed,
		Rule: st.Plan.Process.DriftRule, Count: 1000, First: now, Last: now, Path: "/tmp/x\x1b[2J", Mechanism: "raw_tp+kill"})
	ev := n.seen(event.ProcessDrift)[0]
	if ev.ID != "cause" || ev.Count != 1000 || ev.Severity != event.Critical || ev.Mode != "Protect" || ev.Verdict != event.Deny {
		t.Errorf("event %+v", ev)
	}
	if !slices.Equal(ev.Reasons, []string{"not-listed", "drift"}) {
		t.Errorf("reasons %v", ev.Reasons)
	}
	if ev.Rule == nil || ev.Rule.File != "p.yaml" || ev.Rule.Field != "spec.process.drift" || ev.Rule.Line != 7 {
		t.Errorf("rule %+v", ev.Rule)
	}
	a.Denied(guard.Denial{ID: "net", ContainerID: shop.ID, Kind: event.NetworkConnect, Effect: event.WouldBlock, Reasons: policy.ReasonNotListed,
		Count: 1, Peer: shop.Addresses[0], PeerPort: 443, Protocol: 6})
	if ev := n.seen(event.NetworkConnect)[0]; ev.Message != "Would have blocked a connection of shop/web to shop/web tcp/443: no rule allows it" {
		t.Errorf("message %q", ev.Message)
	}
}

func TestObservationsAreLearnedAndLossesCounted(t *testing.T) {
	a, n := start(t)
	n.changes <- container.Change{Container: shop}
	await(t, "adopted", func() bool { _, err := a.Container(shop.ID); return err == nil })
	a.Observed(guard.Observation{ContainerID: shop.ID, Kind: event.ProcessExec, Time: time.Now(), Path: "/bin/web", InImage: true})
	p, ok := a.Profile(shop.Workload)
	if !ok || len(p.Spec.Processes) != 1 || p.Spec.Processes[0].Path != "/bin/web" {
		t.Errorf("profile %+v, %v", p.Spec, ok)
	}
	a.Lost(guard.Loss{ContainerID: shop.ID, Observations: 3})
	a.Lost(guard.Loss{ContainerID: shop.ID, Observations: 2, Causes: 1})
	if l := a.Losses(); len(l) != 1 || l[0].Observations != 5 || l[0].Causes != 1 {
		t.Errorf("losses %+v", l)
	}
	if err := a.Quarantine(context.Background(), shop.ID, true); err != nil || !slices.Contains(n.said(), "quarantine "+shop.ID+" true") {
		t.Errorf("quarantine: %v, %v", err, n.said())
	}
	if err := a.Kill(context.Background(), "nothing"); !errors.Is(err, ErrNoContainer) {
		t.Errorf("kill of an unknown container: %v", err)
	}
}
