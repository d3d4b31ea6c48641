package scenario

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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

func TestMain(m *testing.M) {
	minicontainer.Init()
	if Main(os.Args) {
		return
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
