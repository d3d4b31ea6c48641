package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// recorded is a platform that has only events.
type recorded struct {
	powerless
	events []event.Event
}

func (r *recorded) Events(context.Context, time.Time) ([]event.Event, error) {
	return slices.Clone(r.events), nil
}

func TestExplain(t *testing.T) {
	began := time.Unix(1000, 0)
	after := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	dashboard := workload.Ref{Namespace: namespace, Name: "dashboard", Kind: "Container"}
	exec := func(path string, count uint64, first, last time.Time) event.Event {
		return event.Event{ID: path, Kind: event.ProcessExec, Path: path, Count: count, First: first, Last: last,
			Effect: event.Blocked, Workload: dashboard, Mechanism: "raw_tp+kill", Reasons: []string{"not-listed"},
			Rule: &event.RuleRef{Policy: "WorkloadPolicy/demo/dashboard", Field: "spec.process.allow"}}
	}
	with := func(e event.Event, change func(*event.Event)) event.Event { change(&e); return e }
	peer := netip.MustParseAddr("198.51.100.10")
	connect := with(exec("c", 1, after(5), after(5)), func(e *event.Event) {
		e.Kind, e.Path, e.Mechanism = event.NetworkConnect, "", "cgroup/connect"
		e.Peer = &event.Peer{Addr: netip.MustParseAddr("::ffff:198.51.100.10"), Port: 3333}
	})
	st := step{id: "X", where: []string{"dashboard"}}
	tr := &trace{began: began, peers: map[netip.Addr]bool{peer: true}, attempts: []attempt{
		{began, []string{"sh", "fetch"}}, {after(10), []string{inMemory}}, {after(20), []string{"fetch"}},
	}}
	const byList = "raw_tp+kill: not-listed (WorkloadPolicy/demo/dashboard spec.process.allow)"
	for _, tc := range []struct {
		name    string
		before  counts
		events  []event.Event
		by      string // empty: unexplained
		latency int64
	}{
		{"nothing recorded", nil, nil, "", 0},
		{"a new cause", nil, []event.Event{exec("/usr/bin/fetch", 1, after(7), after(7))}, byList, 7},
		{"latency counts from the last attempt before the event", nil, []event.Event{exec("/usr/bin/fetch", 1, after(23), after(23))}, byList, 3},
		{"a cause that did not happen again", counts{"/usr/bin/fetch": 1}, []event.Event{exec("/usr/bin/fetch", 1, after(7), after(7))}, "", 0},
		{"an old cause that happened again", counts{"/usr/bin/fetch": 1}, []event.Event{exec("/usr/bin/fetch", 2, after(-900), after(9))}, byList, 9},
		{"reported late, but from before the step", nil, []event.Event{exec("/usr/bin/fetch", 1, after(-500), after(-500))}, "", 0},
		{"another program", nil, []event.Event{exec("/usr/bin/id", 1, after(7), after(7))}, "", 0},
		{"another workload", nil, []event.Event{with(exec("/usr/bin/fetch", 1, after(7), after(7)), func(e *event.Event) { e.Workload.Name = "shop" })}, "", 0},
		{"another namespace", nil, []event.Event{with(exec("/usr/bin/fetch", 1, after(7), after(7)), func(e *event.Event) { e.Workload.Namespace = "other" })}, "", 0},
		{"not blocked", nil, []event.Event{with(exec("/usr/bin/fetch", 1, after(7), after(7)), func(e *event.Event) { e.Effect = event.NotBlocked })}, "", 0},
		{"a tool by its name in a shared file", nil, []event.Event{with(exec("/usr/bin/tools", 1, after(7), after(7)), func(e *event.Event) {
			e.Process = &event.Process{Exe: "/usr/bin/tools", Args: []string{"fetch", "-o"}}
		})}, byList, 7},
		{"from memory", nil, []event.Event{with(exec("memfd:x", 1, after(7), after(7)), func(e *event.Event) {
			e.Kind, e.Reasons = event.ProcessFileless, []string{"fileless", "not-listed"}
			e.First, e.Last = after(13), after(13)
		})}, "raw_tp+kill: fileless, not-listed (WorkloadPolicy/demo/dashboard spec.process.allow)", 3},
		{"a peer", nil, []event.Event{connect}, "cgroup/connect: not-listed (WorkloadPolicy/demo/dashboard spec.process.allow)", 5},
		{"another peer", nil, []event.Event{with(connect, func(e *event.Event) { e.Peer = &event.Peer{Addr: netip.MustParseAddr("10.88.0.12")} })}, "", 0},
		{"the earliest of two", nil, []event.Event{exec("/usr/bin/fetch", 1, after(9), after(9)), connect}, "cgroup/connect: not-listed (WorkloadPolicy/demo/dashboard spec.process.allow)", 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &observer{platform: &recorded{events: tc.events}, namespace: namespace, since: began}
			e, found, err := o.explain(t.Context(), st, tr, tc.before, 0, event.Blocked)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				if tc.by != "" {
					t.Fatalf("unexplained, want %q", tc.by)
				}
				return
			}
			if got := cause(e); got != tc.by {
				t.Errorf("stopped by %q, want %q", got, tc.by)
			}
			if got := tr.latency(e, tc.before).Milliseconds(); got != tc.latency {
				t.Errorf("latency %d ms, want %d", got, tc.latency)
			}
		})
	}
}

// perfect is a result that passes.
func perfect(all []step) *Result {
	r := &Result{Shares: Shares{Unprotected: 8}, Benign: Benign{Run: 50}}
	for _, st := range all {
		r.Steps = append(r.Steps, StepResult{ID: st.id, Title: st.title, Technique: strings.Join(st.techniques, ", "),
			Unprotected: Succeeded, Protected: Stopped, StoppedBy: "raw_tp+kill: drift", LatencyMS: 3})
	}
	return r
}

func TestJudge(t *testing.T) {
	all := steps()
	row := func(r *Result, id string) *StepResult {
		i := slices.IndexFunc(r.Steps, func(s StepResult) bool { return s.ID == id })
		return &r.Steps[i]
	}
	for _, tc := range []struct {
		name   string
		layers []string
		change func(*Result)
		pass   bool
	}{
		{"everything stopped", nil, func(*Result) {}, true},
		{"a share arrived", nil, func(r *Result) { r.Shares.Protected = 1 }, false},
		{"no share without protection", nil, func(r *Result) { r.Shares.Unprotected = 0 }, false},
		{"a step failed without protection", nil, func(r *Result) { row(r, "A2").Unprotected = Failed }, false},
		{"a step is unexplained", nil, func(r *Result) { row(r, "A6a").Protected = Failed }, false},
		{"an ordinary operation was blocked", nil, func(r *Result) { r.Benign.Blocked = 1 }, false},
		{"too few ordinary operations", nil, func(r *Result) { r.Benign.Run = 49 }, false},
		{"run time does not answer for the front page", []string{Guard}, func(r *Result) { row(r, "A1").Protected = Detected }, true},
		{"the firewall does", []string{Firewall}, func(r *Result) { row(r, "A1").Protected = Detected }, false},
		{"the firewall does not answer for programs", []string{Firewall}, func(r *Result) { row(r, "A6b").Protected = Succeeded }, true},
		{"both answer for mining", []string{Firewall}, func(r *Result) { row(r, "A7c").Protected = Succeeded }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &Options{Layers: tc.layers}
			if err := o.fill(); err != nil {
				t.Fatal(err)
			}
			r := perfect(all)
			tc.change(r)
			r.judge(all, o)
			if r.Pass != tc.pass || (len(r.Problems) == 0) != tc.pass {
				t.Errorf("pass = %v with problems %q, want %v", r.Pass, r.Problems, tc.pass)
			}
		})
	}
}

func TestResultFormats(t *testing.T) {
	r := perfect(steps()[:1])
	r.Pass, r.Layers = true, []string{Guard, Firewall}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"steps":[{"id":"A1","title":"reach the dashboard from outside","technique":"T1133, T1190","unprotected":"succeeded","protected":"stopped","stopped_by":"raw_tp+kill: drift","latency_ms":3}],"shares":{"unprotected":8,"protected":0},"benign":{"run":50,"blocked":0},"pass":true}`
	if string(data) != want {
		t.Errorf("JSON\n got %s\nwant %s", data, want)
	}
	var plain, coloured bytes.Buffer
	r.Table(&plain, false)
	r.Table(&coloured, true)
	for _, w := range []string{"WITHOUT GABION", "raw_tp+kill: drift", "3 ms", "50 of 50", "guard, firewall", "PASS"} {
		if !strings.Contains(plain.String(), w) {
			t.Errorf("table has no %q:\n%s", w, plain.String())
		}
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b") {
		t.Error("colour must be there when asked for and only then")
	}
}

func TestStepsAndOperations(t *testing.T) {
	seen := map[string]bool{}
	for _, st := range steps() {
		if st.id == "" || seen[st.id] || st.title == "" || len(st.techniques) == 0 || st.attempt == "" || st.judged == "" || len(st.layers) == 0 || len(st.where) == 0 || st.try == nil {
			t.Errorf("step %q is incomplete or there twice", st.id)
		}
		seen[st.id] = true
	}
	if n := len(operations()); n != minBenign {
		t.Errorf("%d ordinary operations, want %d", n, minBenign)
	}
}

func TestWithLayers(t *testing.T) {
	const doc = "# learned\nkind: WorkloadPolicy\nmetadata: {name: shop, namespace: demo}\nspec:\n  mode: Protect\n  process: {allow: []}\n  network: {egress: []}\n"
	modes := func(doc []byte) (process, network string) {
		var p struct {
			Spec struct {
				Process, Network struct {
					Mode   string
					Allow  *[]any
					Egress *[]any
				}
			}
		}
		if err := yaml.Unmarshal(doc, &p); err != nil {
			t.Fatal(err)
		}
		if p.Spec.Process.Allow == nil || p.Spec.Network.Egress == nil {
			t.Errorf("an empty list, which denies everything, was lost: %s", doc)
		}
		return p.Spec.Process.Mode, p.Spec.Network.Mode
	}
	for _, tc := range []struct {
		layers           []string
		process, network string
	}{
		{[]string{Guard, Firewall}, "", ""},
		{[]string{Guard}, "Protect", "Monitor"},
		{[]string{Firewall}, "Monitor", "Protect"},
	} {
		id, out, err := withLayers([]byte(doc), &Options{Layers: tc.layers})
		if err != nil || id != "WorkloadPolicy/demo/shop" {
			t.Fatalf("withLayers = %q, %v", id, err)
		}
		if p, n := modes(out); p != tc.process || n != tc.network {
			t.Errorf("layers %v: process %q, network %q; want %q, %q", tc.layers, p, n, tc.process, tc.network)
		}
	}
	for _, bad := range []string{"", "kind: X", "[", "kind: WorkloadPolicy\nmetadata: {name: a}\nspec: {}"} {
		if _, _, err := withLayers([]byte(bad), &Options{Layers: []string{Guard}}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestCleanRuns(t *testing.T) {
	parent := t.TempDir()
	mine, err := makeRunDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(parent, runPrefix+strconv.Itoa(ended.Process.Pid)+"-1")
	other := filepath.Join(parent, runPrefix+"notes")
	for _, d := range []string{dead, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cleanRuns(parent)
	for dir, want := range map[string]bool{mine: true, dead: false, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s there: %v, want %v", dir, err == nil, want)
		}
	}
}
