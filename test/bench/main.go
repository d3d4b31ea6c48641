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
	"runtime"
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
	only := flag.String("only", "", "measure only these areas (exec, connect, ingest, policy, node), with commas between")
	doc := flag.String("doc", "", "write the table as a page of the documentation to this file")
	flag.Parse()
	if err := run(*out, *binary, *only, *doc); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// areas are the rooms that measure their own paths.
var areas = []struct{ name, pkg, pattern string }{
	{"exec", "./guard/kernel", "^BenchmarkExec$"},
	{"connect", "./guard/firewall", "^BenchmarkConnect$|^BenchmarkBulk$"},
	{"ingest", "./fleet", "^BenchmarkIngest$"},
	{"policy", "./policy", "."},
}

func run(out, binary, only, doc string) error {
	wanted := func(area string) bool { return only == "" || slices.Contains(strings.Split(only, ","), area) }
	abs, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return err
	}
	for _, a := range areas {
		if !wanted(a.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s %s\n", a.pkg, a.pattern)
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", a.pattern, "-benchtime", "1x", "-timeout", "10m", a.pkg)
		cmd.Env = append(os.Environ(), "GABION_BENCH_OUT="+abs)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("measure %s: %w\n%s", a.pkg, err, text)
		}
	}
	switch {
	case !wanted("node"):
	case os.Geteuid() != 0:
		fmt.Fprintln(os.Stderr, "bench: not root: the node's own figures are left out")
	default:
		rows, err := node(binary)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(abs, "node.json"), rows); err != nil {
			return err
		}
	}
	rows, err := gather(abs)
	if err != nil {
		return err
	}
	if doc != "" {
		if err := page(doc, rows); err != nil {
			return err
		}
	}
	return table(abs, rows)
}

// idle is how many containers the node's memory is measured with; the first of
// them start alone.
const idle, alone = 50, 10

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
		if i < alone {
			time.Sleep(200 * time.Millisecond) // these start one at a time, the rest as a burst
		}
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
	var after, burst []float64
	for _, e := range starts {
		if e.Workload.Namespace != "bench" {
			continue
		}
		if e.Evidence["heldBeforeFirstInstruction"] == "true" {
			held++
		}
		ms, err := strconv.ParseFloat(e.Evidence["coveredAfterMs"], 64)
		if err != nil {
			continue
		}
		if n, _ := strconv.Atoi(strings.TrimPrefix(e.Container, "idle-")); n < alone {
			after = append(after, ms)
		} else {
			burst = append(burst, ms)
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
		{Name: "processor use of gabion up with 50 idle containers", Value: busy, Unit: "% of one core", Better: "lower"},
		{Name: "containers enforced before their first instruction", Value: 100 * float64(held) / idle, Unit: "%", Better: "higher", Target: 100},
	}
	for name, list := range map[string][]float64{"container start to enforced, one at a time, median": after, "container start to enforced, 40 at once, median": burst} {
		if len(list) > 0 {
			slices.Sort(list)
			rows = append(rows, Row{Name: name, Value: list[len(list)/2], Unit: "ms", Better: "lower"})
		}
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.Name, b.Name) })
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

// named is a row with the area it belongs to.
type named struct {
	Row
	area string
}

func gather(dir string) ([]named, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []named
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var rows []Row
		if err := json.Unmarshal(data, &rows); err != nil {
			return nil, fmt.Errorf("read %s: %w", f, err)
		}
		for _, r := range rows {
			out = append(out, named{r, strings.TrimSuffix(filepath.Base(f), ".json")})
		}
	}
	return out, nil
}

// words gives the figure, its target and whether it is met, for a table.
func (r Row) words() (value, target, verdict string) {
	value = strings.TrimSpace(fmt.Sprintf("%.4g %s", r.Value, r.Unit))
	if r.Target == 0 {
		return value, "-", ""
	}
	sign := "at most"
	if r.Better == "higher" {
		sign = "at least"
	}
	verdict = "missed"
	if r.OK {
		verdict = "met"
	}
	return value, fmt.Sprintf("%s %g", sign, r.Target), verdict
}

func table(dir string, rows []named) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "AREA\tFIGURE\tVALUE\tTARGET\t")
	missed := 0
	for _, r := range rows {
		value, target, verdict := r.words()
		if verdict == "missed" {
			missed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.area, r.Name, value, target, verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\n%d targets missed; rows are in %s\n", missed, dir)
	return nil
}

// page writes the documentation's page of figures.
func page(file string, rows []named) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Figures\n\nWritten by `make bench` on %s, on a machine with %d cores, Linux %s. Ratios compare two things in one run; 1.00 means that Gabion costs nothing. Timings on a shared machine are noisy: a ratio's second decimal may move by a few from run to run.\n",
		time.Now().UTC().Format("2006-01-02"), runtime.NumCPU(), kernelSeries())
	area := ""
	for _, r := range rows {
		if r.area != area {
			area = r.area
			fmt.Fprintf(&b, "\n## %s\n\n| figure | value | target | |\n|---|---|---|---|\n", area)
		}
		value, target, verdict := r.words()
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Name, value, target, verdict)
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// kernelSeries is the kernel's version without the machine's own suffix.
func kernelSeries() string {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	parts := strings.SplitN(strings.TrimSpace(string(data)), ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}
