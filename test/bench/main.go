// Command bench measures what `make bench` promises and prints one table.
//
// The rooms measure their own paths as Go benchmarks that write rows when
// GABION_BENCH_OUT is set; this program runs them, measures the whole process
// beside real containers (memory, processor time, time from start to
// enforced), and gathers all rows. The one idea: every figure is a ratio taken
// in one run, or a bound; nothing here depends on how fast the machine is.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/test/live"
)

// Row is one figure.
type Row struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

func main() {
	minicontainer.Init()
	out := flag.String("out", "bench/results", "folder for the rows")
	binary := flag.String("gabion", "bin/gabion", "the binary to measure")
	flag.Parse()
	if err := run(*out, *binary); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// areas are the rooms that measure their own paths.
var areas = []struct{ pkg, pattern string }{
	{"./guard/kernel", "^BenchmarkExec$"},
	{"./guard/firewall", "^BenchmarkConnect$|^BenchmarkBulk$"},
	{"./fleet", "^BenchmarkIngest$"},
	{"./policy", "."},
}

func run(out, binary string) error {
	abs, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return err
	}
	for _, a := range areas {
		fmt.Fprintf(os.Stderr, "bench: %s %s\n", a.pkg, a.pattern)
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", a.pattern, "-benchtime", "1x", "-timeout", "10m", a.pkg)
		cmd.Env = append(os.Environ(), "GABION_BENCH_OUT="+abs)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("measure %s: %w\n%s", a.pkg, err, text)
		}
	}
	if os.Geteuid() == 0 {
		rows, err := node(binary)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(abs, "node.json"), rows); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(os.Stderr, "bench: not root: the node's own figures are left out")
	}
	return table(abs)
}

// idle is how many containers the node's memory is measured with.
const idle = 50

// node measures a whole gabion beside idle containers.
func node(binary string) ([]Row, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "gabionbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	root, err := live.BusyboxRoot(filepath.Join(dir, "image"))
	if err != nil {
		return nil, err
	}
	g, err := live.Up(ctx, live.Config{Binary: binary, Dir: filepath.Join(dir, "gabion")})
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	if err := g.Policy("idle.yaml", `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: idle, namespace: bench}
spec:
  selector: {}
  mode: Protect
  process: {drift: Deny, allow: [{path: /bin/sleep}]}
  network: {egress: [{to: [{cidr: 192.0.2.0/24}]}]}
`); err != nil {
		return nil, err
	}
	for i := range idle {
		c, err := minicontainer.Start(ctx, minicontainer.Spec{
			Name: fmt.Sprintf("idle-%d", i), Labels: map[string]string{"gabion.dev/namespace": "bench"},
			Lower: []string{root}, Dir: filepath.Join(dir, strconv.Itoa(i)), Args: []string{"/bin/sleep", "600"},
		})
		if err != nil {
			return nil, err
		}
		defer c.Stop(context.WithoutCancel(ctx))
	}
	if err := live.Await(ctx, "all containers enforced", func() (bool, error) {
		list, err := g.Workloads(ctx)
		n := 0
		for _, w := range list {
			if w.Ref.Namespace == "bench" && w.State == "enforced" {
				n += w.Containers
			}
		}
		return n == idle, err
	}); err != nil {
		return nil, err
	}
	starts, err := g.Events(ctx, "--kind", string(event.ContainerStart), "--limit", "1000")
	if err != nil {
		return nil, err
	}
	held := 0
	var after []float64
	for _, e := range starts {
		if e.Workload.Namespace != "bench" {
			continue
		}
		if e.Evidence["heldBeforeFirstInstruction"] == "true" {
			held++
		}
		if ms, err := strconv.ParseFloat(e.Evidence["coveredAfterMs"], 64); err == nil {
			after = append(after, ms)
		}
	}
	before, err := cpu(g.PID())
	if err != nil {
		return nil, err
	}
	const window = 20 * time.Second
	time.Sleep(window)
	now, err := cpu(g.PID())
	if err != nil {
		return nil, err
	}
	rss, err := residentMiB(g.PID())
	if err != nil {
		return nil, err
	}
	busy := 100 * (now - before).Seconds() / window.Seconds()
	rows := []Row{
		{Name: "memory of gabion up with 50 idle containers", Value: rss, Unit: "MiB", Better: "lower", Target: 80},
		{Name: "processor use of gabion up with 50 idle containers", Value: busy, Unit: "% of one core", Better: "lower", Target: 2},
		{Name: "containers enforced before their first instruction", Value: 100 * float64(held) / idle, Unit: "%", Better: "higher", Target: 100},
	}
	if len(after) > 0 {
		slices.Sort(after)
		rows = append(rows, Row{Name: "container start to enforced, median", Value: after[len(after)/2], Unit: "ms", Better: "lower", Target: 100})
	}
	for i := range rows {
		rows[i].OK = rows[i].Better == "lower" && rows[i].Value <= rows[i].Target || rows[i].Better == "higher" && rows[i].Value >= rows[i].Target
	}
	return rows, nil
}

// cpu is the processor time a process has used.
func cpu(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("read processor time of %d: %v %v", pid, err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

func residentMiB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for _, l := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("no VmRSS for process %d", pid)
}

func write(path string, rows []Row) error {
	data, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func table(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AREA\tFIGURE\tVALUE\tTARGET\t")
	missed := 0
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var rows []Row
		if err := json.Unmarshal(data, &rows); err != nil {
			return fmt.Errorf("read %s: %w", f, err)
		}
		area := strings.TrimSuffix(filepath.Base(f), ".json")
		for _, r := range rows {
			sign, verdict := "<=", "ok"
			if r.Better == "higher" {
				sign = ">="
			}
			if !r.OK {
				verdict = "missed"
				missed++
			}
			target := "-"
			if r.Target != 0 {
				target = fmt.Sprintf("%s %g", sign, r.Target)
			} else {
				verdict = ""
			}
			fmt.Fprintf(w, "%s\t%s\t%.4g %s\t%s\t%s\n", area, r.Name, r.Value, r.Unit, target, verdict)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\n%d targets missed; rows are in %s\n", missed, dir)
	return nil
}
