package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/live"
)

// traces is what a re-enactment could leave on the machine.
func traces(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"/sys/fs/bpf/gabion-demo-*", "/sys/fs/cgroup/gabion*/*", "/run/netns/gabion*", "/run/gabion/containers/*.json", filepath.Join(os.TempDir(), "gabion-demo-*")} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if fi, err := os.Stat(f); err == nil && (fi.IsDir() || strings.HasSuffix(f, ".json")) {
				out = append(out, f)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.Contains(f[1], "gabion") {
			out = append(out, "mount "+f[1])
		}
	}
	links, err := exec.Command("ip", "-o", "link").Output()
	if err == nil && strings.Contains(string(links), "gabion") {
		out = append(out, string(links))
	}
	return out
}

// leavesNothing fails the test for every trace that was not there before.
func leavesNothing(t *testing.T, before []string) {
	t.Helper()
	for _, x := range traces(t) {
		if !slices.Contains(before, x) {
			t.Errorf("left behind: %s", x)
		}
	}
}

func TestDemo(t *testing.T) {
	testkit.RequireRoot(t)
	for _, layers := range []string{"guard,firewall", "guard", "firewall"} {
		t.Run(layers, func(t *testing.T) {
			before := traces(t)
			ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
			defer cancel()
			var errs bytes.Buffer
			cmd := exec.CommandContext(ctx, binary, "demo", "-o", "json", "--layers", layers)
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, tail(errs.String(), 3000))
			}
			var r struct {
				Steps []struct {
					ID, Title, Technique, Unprotected, Protected string
					StoppedBy                                    *string `json:"stopped_by"`
					LatencyMS                                    *int64  `json:"latency_ms"`
				} `json:"steps"`
				Shares struct {
					Unprotected int  `json:"unprotected"`
					Protected   *int `json:"protected"`
				} `json:"shares"`
				Benign struct{ Run, Blocked int } `json:"benign"`
				Pass   bool                       `json:"pass"`
			}
			d := json.NewDecoder(bytes.NewReader(out))
			d.DisallowUnknownFields() // exactly the documented fields
			if err := d.Decode(&r); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !r.Pass || r.Shares.Protected == nil || *r.Shares.Protected != 0 || r.Shares.Unprotected == 0 || r.Benign.Run != 50 || r.Benign.Blocked != 0 {
				t.Errorf("the marks do not hold: %s", out)
			}
			if len(r.Steps) == 0 {
				t.Error("no steps")
			}
			for _, s := range r.Steps {
				if s.ID == "" || s.Title == "" || s.Technique == "" || s.Unprotected != "succeeded" || s.StoppedBy == nil || s.LatencyMS == nil {
					t.Errorf("step %+v", s)
				}
				if s.Protected == "stopped" && *s.StoppedBy == "" {
					t.Errorf("%s is stopped by nothing", s.ID)
				}
			}
			leavesNothing(t, before)
		})
	}
}

func TestUpDemo(t *testing.T) {
	testkit.RequireRoot(t)
	before := traces(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cfg := live.Config{Binary: binary, Dir: filepath.Join(t.TempDir(), "gabion"), Pins: fmt.Sprintf("/sys/fs/bpf/gabiontest-e2e-demo-%d", os.Getpid()), Args: []string{"--demo"}}
	up := func() *live.Gabion {
		t.Helper()
		g, err := live.Up(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Stop() })
		return g
	}
	// Killed in the middle, while the containers of the story run.
	g := up()
	if err := live.Await(ctx, "the story's containers run", func() (bool, error) {
		list, err := g.Workloads(ctx)
		return len(list) >= 3, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	g = up()
	if err := live.Await(ctx, "the story is told", func() (bool, error) {
		return strings.Contains(g.Log(), "Ctrl-C ends everything"), nil
	}); err != nil {
		t.Fatalf("%v\n%s", err, tail(g.Log(), 4000))
	}
	if !strings.Contains(g.Log(), "stopped") || strings.Contains(g.Log(), "could not be told") {
		t.Errorf("it said\n%s", tail(g.Log(), 4000))
	}
	if list, err := g.Workloads(ctx); err != nil || len(list) < 3 {
		t.Errorf("the workloads do not stay: %+v %v", list, err)
	}
	if err := g.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Stat(cfg.Pins); !os.IsNotExist(err) {
		t.Errorf("pins are left: %v", err)
	}
	leavesNothing(t, before)
}
