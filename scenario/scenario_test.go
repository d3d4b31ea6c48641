package scenario

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

// crashing, when set to a directory, makes the test binary run the story with
// its data there, to be killed in the middle by TestCrash.
const crashing = "GABION_TEST_CRASHING_RUN"

func TestMain(m *testing.M) {
	minicontainer.Init()
	if Main(os.Args) {
		return
	}
	if dir := os.Getenv(crashing); dir != "" {
		_, err := Run(context.Background(), Options{Dir: filepath.Join(dir, "runs"), StateDir: filepath.Join(dir, "state"), Out: os.Stdout}, &powerless{})
		fmt.Println("ended", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// powerless is a platform that protects nothing and records nothing.
type powerless struct {
	mu      sync.Mutex
	applied [][]byte
	present []string
	awaited map[string]int
}

func (p *powerless) Apply(_ context.Context, docs []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = append(p.applied, bytes.Clone(docs))
	for part := range strings.SplitSeq(string(docs), "---\n") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		id, _, err := withLayers([]byte(part), &Options{})
		if err != nil {
			return err
		}
		p.present = append(p.present, id)
	}
	return nil
}

func (p *powerless) Remove(_ context.Context, ids ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		i := slices.Index(p.present, id)
		if i < 0 {
			return fmt.Errorf("remove policy %s: not present", id)
		}
		p.present = slices.Delete(p.present, i, i+1)
	}
	return nil
}

func (p *powerless) AwaitCovered(_ context.Context, _, mode string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awaited == nil {
		p.awaited = map[string]int{}
	}
	p.awaited[mode]++
	return nil
}

func (p *powerless) Events(context.Context, time.Time) ([]event.Event, error) { return nil, nil }

func (p *powerless) LearnPolicy(_ context.Context, ref workload.Ref, mode v1alpha1.Mode) ([]byte, error) {
	return fmt.Appendf(nil, "apiVersion: gabion.dev/v1alpha1\nkind: WorkloadPolicy\nmetadata: {name: %s, namespace: %s}\nspec:\n  mode: %s\n  selector: {workloads: [%[1]s]}\n  process: {allow: []}\n  network: {egress: []}\n", ref.Name, ref.Namespace, mode), nil
}

// needLab skips unless this test may make containers out of itself.
func needLab(t *testing.T) {
	t.Helper()
	testkit.RequireRoot(t)
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	static := !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	testkit.Require(t, "static", static, "the test binary must be static: CGO_ENABLED=0")
}

// TestHonest runs the whole story on a platform that protects nothing: every
// step must succeed in both phases, shares must arrive, every ordinary
// operation must work, and the run must fail.
func TestHonest(t *testing.T) {
	needLab(t)
	defer goleak.VerifyNone(t)
	p := &powerless{}
	var out bytes.Buffer
	dir := t.TempDir()
	res, err := Run(t.Context(), Options{Dir: dir, StateDir: t.TempDir(), Out: &out}, p)
	t.Logf("\n%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	res.Table(&table, false)
	t.Logf("\n%s", table.String())
	for _, s := range res.Steps {
		if s.Unprotected != Succeeded || s.Protected != Succeeded || s.StoppedBy != "" {
			t.Errorf("%s: %q without and %q with a platform that protects nothing (%q); want success", s.ID, s.Unprotected, s.Protected, s.StoppedBy)
		}
	}
	if res.Shares.Unprotected == 0 || res.Shares.Protected == 0 {
		t.Errorf("shares %+v, want some in both phases", res.Shares)
	}
	if res.Benign != (Benign{Run: 50}) {
		t.Errorf("benign %+v, want 50 of 50", res.Benign)
	}
	if res.Pass {
		t.Error("the run passed although nothing was protected")
	}
	if len(p.present) != 0 {
		t.Errorf("policies left: %v", p.present)
	}
	if p.awaited["Monitor"] != 5 || p.awaited["Learn"] != 7 || p.awaited["Protect"] != 7 {
		t.Errorf("awaited %v, want 5 in Monitor, 5+2 in Learn, 5+2 in Protect", p.awaited)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left in the directory: %v", left)
	}
	var shape map[string]any
	data, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"steps", "shares", "benign", "pass"} {
		if _, ok := shape[key]; !ok {
			t.Errorf("JSON has no %q: %s", key, data)
		}
	}
	if len(shape) != 4 {
		t.Errorf("JSON has other keys than documented: %s", data)
	}
}

func TestUnknownLayer(t *testing.T) {
	if _, err := Run(t.Context(), Options{Layers: []string{"moat"}}, &powerless{}); !errors.Is(err, ErrLayer) {
		t.Errorf("Run = %v, want ErrLayer", err)
	}
}

// witness is a platform that stops nothing and sees everything.
type witness struct {
	powerless
	seen uint64
}

func (w *witness) Events(context.Context, time.Time) ([]event.Event, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	now := time.Now()
	return []event.Event{{
		ID: "seen", Kind: event.NetworkSocket, Count: w.seen, First: now, Last: now, Effect: event.WouldBlock,
		Workload: workload.Ref{Namespace: namespace, Name: "dashboard", Kind: "Container"}, Mechanism: "test",
	}}, nil
}

// TestRunAndStay: the story is told, the workloads stay until the context
// ends, and then nothing is left. With only one layer in Protect the other's
// sections are in Monitor.
func TestRunAndStay(t *testing.T) {
	needLab(t)
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &witness{}
	var out bytes.Buffer
	dir, state := t.TempDir(), t.TempDir()
	var res *Result
	err := RunAndStay(ctx, Options{Dir: dir, StateDir: state, Out: &out, Layers: []string{Guard}, OnResult: func(r *Result) {
		res = r
		if left, err := minicontainer.States(state); err != nil || len(left) != 5 {
			t.Errorf("%d containers stay, %v; want the five", len(left), err)
		}
		cancel()
	}}, p)
	if err != nil {
		t.Fatal(err)
	}
	if res == nil || res.Pass {
		t.Fatalf("result %+v; want one that fails", res)
	}
	for _, s := range res.Steps {
		if s.Protected != Detected {
			t.Errorf("%s: %q, want it detected", s.ID, s.Protected)
		}
	}
	if !strings.Contains(out.String(), "WITHOUT GABION") {
		t.Errorf("no table was printed: %s", out.String())
	}
	last := string(p.applied[len(p.applied)-1])
	if !strings.Contains(last, "mode: Monitor") || !strings.Contains(last, "name: shop") {
		t.Errorf("applied %s; want network sections in Monitor", last)
	}
	for _, d := range []string{dir, state} {
		if left, _ := os.ReadDir(d); len(left) != 0 {
			t.Errorf("left in %s: %v", d, left)
		}
	}
}

// TestCrash: a run that is killed in the middle leaves containers behind; the
// next run takes them away, while it spares those of living runs.
func TestCrash(t *testing.T) {
	needLab(t)
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), crashing+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	t.Cleanup(func() { _ = minicontainer.Clean(state) })
	deadline := time.Now().Add(30 * time.Second)
	for {
		if left, _ := minicontainer.States(state); len(left) >= 5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the run did not start its containers")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-waited
	orphans, err := minicontainer.States(state)
	if err != nil || len(orphans) == 0 {
		t.Fatalf("%d containers survived the kill, %v; the test needs some", len(orphans), err)
	}
	s, err := newStory(t.Context(), Options{Dir: filepath.Join(dir, "runs"), StateDir: state}, &powerless{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orphans {
		if o.Alive() {
			t.Errorf("container %s of the killed run is alive", o.Name)
		}
	}
	if err := s.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{state, filepath.Join(dir, "runs")} {
		if left, _ := os.ReadDir(d); len(left) != 0 {
			t.Errorf("left in %s: %v", d, left)
		}
	}
}
