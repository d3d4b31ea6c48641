package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
)

// privileged is a sleeper with every capability, and sockets of the node's in
// /tmp.
func privileged(t testing.TB, image string) *box {
	t.Helper()
	b := newBox(t, image, "/bin/sleep", "1000")
	name := filepath.Join(b.dir, "config.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	var all []string
	for n, c := range policy.Capabilities() {
		// The machine may have given some away for good.
		if held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil || held == 0 {
			continue
		}
		all = append(all, "CAP_"+c)
	}
	caps := spec.Process.Capabilities
	caps.Bounding, caps.Effective, caps.Permitted = all, all, all
	if raw, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run()
	for _, s := range []string{"docker.sock", "other.sock"} {
		l, err := net.Listen("unix", "/proc/"+itoa(b.c.PID)+"/root/tmp/"+s)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	return b
}

// hardened is a plan whose rule numbers are those of the switches plus 100.
func hardened(mode v1alpha1.Mode, switches ...policy.Switch) *policy.Plan {
	p := makePlan(policy.ProcessPlan{Mode: v1alpha1.Learn})
	p.Hardening = &policy.HardeningPlan{Mode: mode}
	for _, s := range switches {
		p.Hardening.Deny = append(p.Hardening.Deny, policy.HardeningRule{Switch: s, Rule: 100 + int(s)})
	}
	return p
}

func (r *live) mustHarden(t testing.TB, b *box, plan *policy.Plan) guard.Coverage {
	t.Helper()
	r.mustApply(t, b, plan)
	cov, err := r.ApplyHardening(context.Background(), b.c, plan)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ApplyCapabilities(context.Background(), b.c, plan); err != nil {
		t.Fatal(err)
	}
	return cov
}

// stops reports whether this kernel lets a deed be stopped.
func (r *live) stops(d deed) bool {
	_, a := r.hooks.refuses(setHarden, hookBPF)
	return a || d.killsInstead
}

const prober, jit = "/usr/bin/prober", "/usr/bin/jit"

// allSwitches but those without which the test's own program does not start.
func allSwitches() (out []policy.Switch) { return policy.PresetSwitches(v1alpha1.Restricted) }

func deedNames() (bad, benign []string) {
	for _, d := range deeds() {
		if d.name == "SYS_ADMIN" {
			continue
		}
		bad = append(bad, d.name)
		if d.benign != nil {
			benign = append(benign, "+"+d.name)
		}
	}
	return bad, benign
}

func operation(name string) func(guard.Denial) bool {
	return func(d guard.Denial) bool { return d.Operation == name }
}

// Every switch stops what it names in Protect and nothing else, tells of it in
// Monitor, sees it in Learn, and concerns nobody else.
func TestHardening(t *testing.T) {
	image := withProber(t, newImage(t), prober)
	b, other := privileged(t, image), privileged(t, image)
	bad, benign := deedNames()
	free := other.probe(prober, append(slices.Clone(bad), benign...)...)
	e := start(t, Config{})
	cov := e.mustHarden(t, b, hardened(v1alpha1.Protect, allSwitches()...))
	got := b.probe(prober, append(slices.Clone(bad), benign...)...)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, d := range deeds() {
		if d.name == "SYS_ADMIN" {
			continue
		}
		stops := e.stops(d)
		if free[d.name] == "refused" {
			t.Errorf("%s: refused without Gabion", d.name)
		}
		if (got[d.name] == "refused") != stops {
			t.Errorf("%s: %s, without Gabion %s; to be stopped: %v", d.name, got[d.name], free[d.name], stops)
		}
		if d.benign != nil && got["+"+d.name] != free["+"+d.name] {
			t.Errorf("benign twin of %s: %s, without Gabion %s", d.name, got["+"+d.name], free["+"+d.name])
		}
		if named := strings.Contains(cov.Degraded, d.name); named && stops && !d.killsInstead {
			t.Errorf("%s is stopped, coverage says: %s", d.name, cov.Degraded)
		} else if !named && !stops {
			t.Errorf("%s is not stopped, coverage does not say so: %s", d.name, cov.Degraded)
		}
		if !stops {
			continue
		}
		if n := e.sink.total(operation(d.name)); n == 0 {
			t.Errorf("%s: nobody was told", d.name)
		}
	}
	for _, den := range e.sink.all() {
		s, ok := policy.SwitchNamed(den.Operation)
		if !ok || den.Kind != event.Hardening || den.Effect != event.Blocked || den.Rule != 100+int(s) || den.ContainerID != b.id || den.Mechanism == "none" {
			t.Errorf("denial: %+v", den)
		}
		if den.Process.Exe != prober && den.Process.Exe != setuidTool && !strings.Contains(den.Process.Exe, "canary") {
			t.Errorf("who did it: %+v", den)
		}
	}

	// The other container is not concerned, nor is this one once switched off.
	e.mustApply(t, other, nil)
	if now := other.probe(prober, bad...); now["chroot"] != free["chroot"] || now["mount"] != free["mount"] {
		t.Errorf("other container: %v", now)
	}
	if err := e.Off(true); err != nil {
		t.Fatal(err)
	}
	for name, how := range b.probe(prober, bad...) {
		if how != free[name] && how == "refused" {
			t.Errorf("with the kill switch: %s %s", name, how)
		}
	}
	if err := e.Off(false); err != nil {
		t.Fatal(err)
	}

	// Monitor and Learn stop nothing.
	before := e.sink.total(anyDenial)
	e.mustHarden(t, b, hardened(v1alpha1.Monitor, allSwitches()...))
	for name, how := range b.probe(prober, bad...) {
		if how == "refused" {
			t.Errorf("in Monitor: %s %s", name, how)
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, den := range e.sink.all() {
		if den.Effect == event.WouldBlock {
			told[den.Operation] = true
		}
	}
	for _, d := range deeds() {
		if d.name != "SYS_ADMIN" && e.stops(d) && !told[d.name] {
			t.Errorf("in Monitor nobody was told of %s", d.name)
		}
	}
	if e.sink.total(anyDenial) == before {
		t.Error("nothing was told in Monitor")
	}
	before = e.sink.total(anyDenial)
	e.mustHarden(t, b, hardened(v1alpha1.Learn, allSwitches()...))
	b.probe(prober, bad...)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	if now := e.sink.total(anyDenial); now != before {
		t.Errorf("%d denials in Learn", now-before)
	}
	e.sink.mu.Lock()
	defer e.sink.mu.Unlock()
	if !slices.ContainsFunc(e.sink.seen, func(o guard.Observation) bool {
		return o.Kind == event.Hardening && o.Operation == "raw-sockets" && o.Process.Exe == prober && o.Count > 0
	}) {
		t.Error("Learn saw no raw socket")
	}
}

// A program may be exempt from one switch, and is then from no other.
func TestHardeningExempt(t *testing.T) {
	image := withProber(t, newImage(t), prober, jit)
	b := privileged(t, image)
	e := start(t, Config{})
	plan := hardened(v1alpha1.Protect, policy.SwitchRawSockets, policy.SwitchDevices)
	plan.Hardening.Deny[0].Exempt = []policy.ExecRule{file(jit), {Rule: 7, Match: policy.MatchFile, Path: "/no/such"}}
	cov := e.mustHarden(t, b, plan)
	if !slices.Equal(cov.Unmatched, []string{"114"}) {
		t.Errorf("unmatched: %v", cov.Unmatched)
	}
	if got := b.probe(jit, "raw-sockets", "devices"); got["raw-sockets"] != "done" || got["devices"] != "refused" {
		t.Errorf("exempt: %v", got)
	}
	if got := b.probe(prober, "raw-sockets"); got["raw-sockets"] != "refused" {
		t.Errorf("not exempt: %v", got)
	}
	for prog, name := range map[string]string{jit: "exempt", prober: "other"} {
		for _, s := range []policy.Switch{policy.SwitchRawSockets, policy.SwitchDevices, policy.SwitchKernelLog} {
			d := plan.Hardening.Decide(s, policy.Exec{Path: prog})
			if how := b.probe(prog, s.String())[s.String()]; (how == "refused") != (d.Deny && e.stops(deeds()[s])) {
				t.Errorf("%s program, %s: %s, Decide says %+v", name, s, how, d)
			}
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	before := e.sink.total(anyDenial)
	// The exemption goes with the plan.
	e.mustHarden(t, b, hardened(v1alpha1.Protect, policy.SwitchRawSockets))
	if got := b.probe(jit, "raw-sockets"); got["raw-sockets"] != "refused" {
		t.Errorf("no longer exempt: %v", got)
	}
	e.denied(t, before+1, anyDenial)
	if err := e.Forget(b.id); err != nil {
		t.Fatal(err)
	}
	maps, err := e.hardenMaps()
	if err != nil {
		t.Fatal(err)
	}
	var key uint32
	var entry hardenEntry
	if maps[hardenMapHardening].Iterate().Next(&key, &entry) {
		t.Error("Forget left an entry")
	}
}

func TestHardeningUnknown(t *testing.T) {
	testkit.RequireRoot(t)
	e := start(t, Config{})
	b := &box{id: "nobody"}
	if _, err := e.ApplyHardening(context.Background(), b.c, nil); !errors.Is(err, ErrUnknownContainer) {
		t.Errorf("%v", err)
	}
	if _, err := e.ApplyCapabilities(context.Background(), b.c, nil); !errors.Is(err, ErrUnknownContainer) {
		t.Errorf("%v", err)
	}
}

func TestCapabilitiesSection(t *testing.T) {
	requireRefusal(t)
	b := privileged(t, withProber(t, newImage(t), prober))
	e := start(t, Config{})
	for _, tt := range []struct {
		mode  v1alpha1.Mode
		allow uint64
		ends  string
	}{
		{v1alpha1.Protect, (1<<64 - 1) &^ (1 << 21), "refused"},
		{v1alpha1.Protect, 1<<64 - 1, "done"},
		{v1alpha1.Monitor, 0, "done"},
		{v1alpha1.Learn, 0, "done"},
	} {
		before := e.sink.total(operation("SYS_ADMIN"))
		plan := makePlan(policy.ProcessPlan{Mode: v1alpha1.Learn})
		plan.Capabilities = &policy.CapabilitiesPlan{Mode: tt.mode, Allow: tt.allow, Rule: 50}
		e.mustHarden(t, b, plan)
		if got := b.probe(prober, "SYS_ADMIN", "+SYS_ADMIN"); got["SYS_ADMIN"] != tt.ends || got["+SYS_ADMIN"] != "done" {
			t.Errorf("%s %x: %v", tt.mode, tt.allow, got)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		if tt.mode != v1alpha1.Learn && tt.allow != 1<<64-1 {
			want = 1
		}
		if got := e.sink.total(operation("SYS_ADMIN")) - before; got != want {
			t.Errorf("%s %x: %d denials, want %d: %+v", tt.mode, tt.allow, got, want, e.sink.all())
		}
	}
	e.sink.mu.Lock()
	defer e.sink.mu.Unlock()
	if !slices.ContainsFunc(e.sink.seen, func(o guard.Observation) bool {
		return o.Kind == event.CapabilityUse && o.Operation == "SYS_ADMIN" && o.Process.Exe == prober
	}) {
		t.Errorf("Learn saw no use: %+v", e.sink.seen)
	}
}

// Whatever the policy, a managed program can do nothing to the agent.
func TestSelfProtection(t *testing.T) {
	requireRefusal(t)
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	e.mustHarden(t, b, nil)
	cid, _ := e.Maps().CID(b.id)
	inside := func(fn func() error) error {
		ended := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			tid := uint32(unix.Gettid())
			if err := e.Maps().Tasks.Put(tid, cid); err != nil {
				ended <- err
				return
			}
			ended <- fn()
		}()
		return <-ended
	}
	for name, fn := range map[string]func() error{
		"signal": killCanary,
		"unpin":  func() error { return os.Remove(filepath.Join(mapDir(e.cfg.PinDir), "settings")) },
		"rename": func() error {
			return os.Rename(filepath.Join(mapDir(e.cfg.PinDir), "settings"), filepath.Join(mapDir(e.cfg.PinDir), "x"))
		},
	} {
		if err := inside(fn); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := inside(func() error { return unix.Kill(unix.Getppid(), 0) }); err != nil {
		t.Errorf("others are not protected: %v", err)
	}
	if err := killCanary(); err != nil {
		t.Errorf("a signal from outside: %v", err)
	}
	e.denied(t, 3, operation("agent"))
}
