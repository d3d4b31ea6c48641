package guests

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/test/vm"
)

var (
	full   = flag.Bool("full", false, "measure under every kernel; otherwise TestOverhead does nothing")
	series = flag.String("guest", "", "measure under this kernel only, such as 6.12")
)

// Gates: a little above the targets, since the same build measured twice
// differs by up to noise.
const (
	execGate = 1.03
	openGate = 1.10
	noise    = 1.04
)

// TestOverhead fails when a start or an opening costs a managed container more
// instructions than the gate, under Debian's kernels. It takes minutes for
// each kernel, so it is part of `make test-kernel`.
func TestOverhead(t *testing.T) {
	testkit.RequireNamed(t, "overhead gate", *full || *series != "", "not asked for (-full, or -guest SERIES); make test-kernel measures")
	testkit.RequireRoot(t)
	_, err := exec.LookPath(vm.Emulator)
	testkit.Require(t, "qemu", err == nil, vm.Emulator+" is not installed (Debian: qemu-system-x86)")
	const root = "../../.."
	dir := t.TempDir()
	program, err := Build(t.Context(), root, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"6.12", "6.1"} {
		if *series != "" && *series != s {
			continue
		}
		t.Run(s, func(t *testing.T) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Minute, fmt.Errorf("took longer than 30 minutes"))
			defer cancel()
			rows, log, err := Guest(ctx, root, dir, program, s, "", "-measure", "cost,storm", "-batches", "9")
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			for _, r := range rows {
				t.Logf("%-120s %8.3f %s", r.Name, r.Value, r.Unit)
			}
			for _, complaint := range judge(rows) {
				t.Error(complaint)
			}
		})
	}
}

// judge says what is beyond the gates.
func judge(rows []Row) (complaints []string) {
	managed := 0
	for _, r := range rows {
		gate := 0.0
		switch {
		case strings.Contains(r.Name, ": noise"):
			gate = noise
		case strings.HasPrefix(r.Name, "exec: managed"):
			gate = execGate
		case strings.HasPrefix(r.Name, "open") && strings.Contains(r.Name, ": managed"):
			gate = openGate
		case strings.Contains(r.Name, "storm") && r.Better == "higher" && r.Value != 100:
			complaints = append(complaints, fmt.Sprintf("%s: %.2f %%, want all", r.Name, r.Value))
		}
		if strings.Contains(r.Name, ": managed") {
			managed++
		}
		if gate > 0 && r.Value > gate {
			complaints = append(complaints, fmt.Sprintf("%s: %.3f, at most %.2f", r.Name, r.Value, gate))
		}
	}
	if managed == 0 {
		complaints = append(complaints, "nothing was measured in a managed container")
	}
	return complaints
}

func TestJudge(t *testing.T) {
	good := Row{Name: "exec: managed container; 40 programs", Value: 1.01}
	for name, c := range map[string]struct {
		rows []Row
		want int
	}{
		"good":           {[]Row{good, {Name: "open, file: managed container; x", Value: 1.09}, {Name: "exec: noise (before to after)", Value: 1.02}}, 0},
		"slow exec":      {[]Row{{Name: "exec: managed container; x", Value: 1.05}}, 1},
		"slow open":      {[]Row{good, {Name: "open, file: managed container; x", Value: 1.2}}, 1},
		"noisy":          {[]Row{good, {Name: "exec: noise (before to after)", Value: 1.2}}, 1},
		"storm got past": {[]Row{good, {Name: "exec storm: counted", Better: "higher", Value: 99.9}}, 1},
		"nothing":        {nil, 1},
	} {
		if got := judge(c.rows); len(got) != c.want {
			t.Errorf("%s: %q, want %d complaints", name, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	rows, log, err := parse("exec: process: lsm ()\n{\"name\":\"a\",\"value\":1.004,\"better\":\"lower\",\"target\":1.005}\n{\"name\":\"b\",\"value\":3,\"better\":\"higher\",\"target\":4}\n")
	if err != nil || len(rows) != 2 || !rows[0].OK || rows[1].OK || log != "exec: process: lsm ()\n" {
		t.Errorf("%+v %q %v", rows, log, err)
	}
	if _, _, err := parse("{broken"); err == nil {
		t.Error("a broken row was read")
	}
	if _, _, err := parse("it failed\n"); err == nil {
		t.Error("no figures, no error")
	}
}
