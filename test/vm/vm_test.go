package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/vm/matrix"
)

var (
	onlyGuest = flag.String("guest", "", "run this guest only, such as 6.1 or 6.12-nobpf")
	onlySuite = flag.String("suite", "", "run this suite only, such as guard/kernel")
	onlyTests = flag.String("tests", "", "run the tests only that match, in guests that run any")
	page      = flag.String("page", "", "write what works where to this file")
	full      = flag.Bool("full", false, "run all tests of the suites, not only the core of them")
	counted   = flag.Bool("counted", false, "let the guests' clock count instructions: independent of load, and twice as slow")
	keep      = flag.String("keep", "", "keep consoles and output of guests in this folder")
)

const root = "../.."

// withoutBPF is a boot line's list of security modules that leaves out bpf.
const withoutBPF = "landlock,lockdown,yama,loadpin,safesetid,integrity,apparmor"

// guests are the machines that the suites run in.
var guests = []guest{
	{"6.1", "6.1", "", has, all},
	{"6.12", "6.12", "", has + ",tcx floor", all},
	{"6.1-nobpf", "6.1", withoutBPF, has, []string{"guard/kernel", "test/attacks"}},
	{"6.12-nobpf", "6.12", withoutBPF, has, []string{"guard/kernel", "test/attacks"}},
}

type guest struct {
	name, series, lsm string
	has               string // capabilities: a test that skips for lack of one fails
	suites            []string
}

var all = []string{"internal/cgroup", "internal/minicontainer", "guard/kernel", "guard/firewall", "guard/container", "test/attacks", workloads}

// workloads is the suite that runs the whole product; those of its kinds that
// guests can have need workloadTools of the machine.
const workloads = "test/workloads"

var workloadTools = []string{"bash", "curl", "sqlite3", "tini"}

// without are the tests that need what guests do not have, or measure what
// emulation cannot.
var without = map[string]string{
	"guard/container": "TestContainerd|TestDocker|TestCRI|TestThreeHundred|TestMobyWaitsForDocker|TestHostNetwork",
}

// core are the tests of the suites that run each time, in the guests that boot
// as the distribution means it; loading the programs takes seconds in
// emulation, so all tests take many minutes. -full runs all, everywhere, and
// the suites without an entry.
var core = map[string]string{
	"internal/cgroup":        ".",
	"internal/minicontainer": "TestInside|TestExec",
	"guard/kernel":           "TestCanaries|TestKernelAgreesWithDecide|TestMemfd",
	"test/attacks":           "TestAttacks/core",
	"guard/firewall":         "TestProbe|TestEgress|TestIngress|TestFloorMeansTheRules",
}

// has are the capabilities of every guest.
const has = "refused calls,root,busybox,bpffs,overlay,runc,cgroup2,netns,bridge,network programs,cgroup/connect,cgroup/sendmsg,cgroup/setsockopt,clsact floor"

// TestKernels runs the suites of the rooms that talk to the kernel under
// Debian's kernels. Each of their tests is reported as one of its own.
func TestKernels(t *testing.T) {
	testkit.RequireRoot(t)
	_, err := exec.LookPath(Emulator)
	testkit.Require(t, "qemu", err == nil, Emulator+" is not installed (Debian: qemu-system-x86)")
	_, err = exec.LookPath("apt-get")
	testkit.Require(t, "qemu", err == nil, "the kernels come through apt-get")
	cache, err := filepath.Abs(root + "/.cache/kernels")
	if err != nil {
		t.Fatal(err)
	}
	kernels := map[string]Kernel{}
	for _, g := range guests {
		k, err := Fetch(t.Context(), cache, g.series)
		testkit.Require(t, "qemu", err == nil, fmt.Sprint(err))
		kernels[g.series] = k
	}
	programs := build(t)

	columns := make([]*matrix.Column, len(guests))
	t.Run("guests", func(t *testing.T) {
		for i, g := range guests {
			if *onlyGuest != "" && *onlyGuest != g.name || *onlyGuest == "" && !*full && g.lsm != "" {
				continue
			}
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				c := &matrix.Column{Name: g.name}
				columns[i] = c
				inGuest(t, g, Machine{Kernel: kernels[g.series], LSM: g.lsm, Wall: !*counted}, c, programs)
			})
		}
	})
	if *page != "" && !t.Failed() {
		var done []matrix.Column
		for _, c := range columns {
			if c != nil {
				done = append(done, *c)
			}
		}
		if err := os.WriteFile(*page, matrix.Page(done), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func build(t *testing.T) map[string]string {
	t.Helper()
	var packages []string
	for _, s := range all {
		if *onlySuite == "" || *onlySuite == s {
			packages = append(packages, "./"+s)
		}
	}
	dir := t.TempDir()
	programs, err := Build(t.Context(), root, dir, packages...)
	if err != nil {
		t.Fatal(err)
	}
	if programs["./"+workloads] != "" {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "gabion"), "./cmd/gabion")
		cmd.Dir = root
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build gabion: %v: %s", err, text)
		}
		programs["gabion"] = filepath.Join(dir, "gabion")
	}
	return programs
}

// inGuest boots a machine, lets it probe and run the suites, and reports every
// test that ended there.
func inGuest(t *testing.T, g guest, m Machine, c *matrix.Column, programs map[string]string) {
	dir := t.TempDir()
	if *keep != "" {
		dir = filepath.Join(*keep, c.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Archive, m.Console = filepath.Join(dir, "archive"), filepath.Join(dir, "console")
	files := map[string]string{}
	var more []string
	var order Order
	if *page != "" { // trying every way into every hook takes minutes in emulation
		order.Suites = append(order.Suites, Suite{Name: "probe", Args: []string{"/init", "probe"}, Timeout: 10 * time.Minute})
	}
	probes := len(order.Suites)
	for _, s := range g.suites {
		program, ok := programs["./"+s]
		if !ok || !*full && *onlyTests == "" && core[s] == "" {
			continue
		}
		place := "/test/" + filepath.Base(program)
		files[place] = program
		args := []string{place, "-test.v=test2json", "-test.timeout=15m"}
		if skip := without[s]; skip != "" {
			args = append(args, "-test.skip", skip)
		}
		switch {
		case *onlyTests != "":
			args = append(args, "-test.run", *onlyTests)
		case !*full:
			args = append(args, "-test.run", core[s])
		}
		env := []string{"GABION_REQUIRE=" + g.has}
		if s == workloads {
			files["/test/gabion"] = programs["gabion"]
			env = append(env, "GABION_WORKLOADS_BINARY=/test/gabion")
			more = workloadTools
		}
		order.Suites = append(order.Suites, Suite{Name: s, Args: args, Env: env, Timeout: 16 * time.Minute})
	}
	if err := Pack(t.Context(), m.Archive, m.Kernel, programs["init"], files, order, more...); err != nil {
		t.Fatal(err)
	}
	if *keep == "" {
		defer os.Remove(m.Archive)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 40*time.Minute, fmt.Errorf("took longer than 40 minutes"))
	defer cancel()

	var lines bytes.Buffer // of the suite that runs
	err := Boot(ctx, m, func(msg Message) error {
		switch {
		case msg.Up != nil:
			c.Release, c.LSM = msg.Up.Release, msg.Up.LSM
			t.Logf("%s is up after %s", msg.Up.Release, msg.Up.Uptime.Round(time.Millisecond))
		case msg.Ended != nil:
			defer lines.Reset()
			if *keep != "" {
				name := strings.ReplaceAll(msg.Suite, "/", "-")
				if err := os.WriteFile(filepath.Join(dir, name), lines.Bytes(), 0o644); err != nil {
					return err
				}
			}
			if msg.Suite == "probe" {
				if err := json.Unmarshal(lines.Bytes(), &c.Answer); err != nil {
					t.Errorf("read what the probe said: %v: %s (%s)", err, lines.Bytes(), msg.Ended.How)
				}
				return nil
			}
			t.Run(msg.Suite, func(t *testing.T) { c.Suites = append(c.Suites, report(t, msg.Suite, msg.Ended, lines.Bytes())) })
		default:
			fmt.Fprintln(&lines, msg.Line)
		}
		return nil
	})
	if err != nil {
		t.Errorf("%v\nthe suite that ran said last:\n%s", err, lines.Bytes()[max(0, lines.Len()-4000):])
	}
	if len(c.Suites) != len(order.Suites)-probes {
		t.Errorf("%d of %d suites ended", len(c.Suites), len(order.Suites)-probes)
	}
}

// report turns the output of a suite into tests of our own.
func report(t *testing.T, name string, ended *Ended, output []byte) matrix.Suite {
	s := matrix.Suite{Package: name}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(output)
	converted, err := cmd.Output()
	if err != nil {
		t.Fatalf("read test output: %v", err)
	}
	text := map[string]*strings.Builder{}
	for line := range bytes.Lines(converted) {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("read test output: %v: %s", err, line)
		}
		b := text[e.Test]
		if b == nil {
			b = &strings.Builder{}
			text[e.Test] = b
		}
		b.WriteString(e.Output)
		if e.Test == "" {
			continue
		}
		switch e.Action {
		case "pass":
			s.Passed++
		case "fail":
			s.Failed++
		case "skip":
			s.Skipped++
		default:
			continue
		}
		t.Run(e.Test, func(t *testing.T) {
			switch e.Action {
			case "fail":
				t.Errorf("failed after %.1fs:\n%s", e.Elapsed, b)
			case "skip":
				t.Skip(b.String())
			}
		})
	}
	t.Logf("%s: %d passed, %d failed, %d skipped in %s", ended.How, s.Passed, s.Failed, s.Skipped, ended.Elapsed.Round(time.Millisecond))
	if ended.Code != 0 && s.Failed == 0 {
		t.Errorf("the suite ended with %s:\n%s", ended.How, output[max(0, len(output)-8000):])
	}
	if s.Passed == 0 {
		t.Error("nothing passed")
	}
	return s
}
