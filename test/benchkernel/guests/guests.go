// Package guests has the kernel's figures measured by test/benchkernel/inside:
// in the guests of test/vm, and on this machine.
//
// The one idea: a guest's clock counts instructions, so that a ratio measured
// there does not depend on the machine, and can be a gate.
package guests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/test/vm"
)

// Row is one figure of bench/results.
type Row struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Better string  `json:"better"`
	Target float64 `json:"target"`
	OK     bool    `json:"ok"`
}

// Judge sets OK.
func (r *Row) Judge() {
	r.OK = r.Better == "lower" && r.Value <= r.Target || r.Better == "higher" && r.Value >= r.Target
}

// Target is the most that a start ("exec") or an opening ("open") of a managed
// or an unmanaged process may cost, as a ratio to no agent.
func Target(what string, managed bool) float64 {
	switch {
	case !managed:
		return 1.005
	case what == "exec":
		return 1.01
	}
	return 1.05
}

// Build compiles the measuring program into dir and gives its path.
func Build(ctx context.Context, root, dir string) (string, error) {
	out := filepath.Join(dir, "inside")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", out, "./test/benchkernel/inside")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the measuring program: %w: %s", err, text)
	}
	return out, nil
}

// Guest measures under a kernel of test/vm.
func Guest(ctx context.Context, root, dir, program, series, lsm string, args ...string) (rows []Row, log string, err error) {
	k, err := vm.Fetch(ctx, filepath.Join(root, ".cache/kernels"), series)
	if err != nil {
		return nil, "", err
	}
	built, err := vm.Build(ctx, root, dir)
	if err != nil {
		return nil, "", err
	}
	m := vm.Machine{Kernel: k, LSM: lsm, Archive: filepath.Join(dir, series+".cpio"), Console: filepath.Join(dir, series+".console")}
	defer os.Remove(m.Archive)
	order := vm.Order{Suites: []vm.Suite{{Name: "inside", Args: append([]string{"/test/inside"}, args...), Timeout: 30 * time.Minute}}}
	if err := vm.Pack(ctx, m.Archive, k, built["init"], map[string]string{"/test/inside": program}, order); err != nil {
		return nil, "", err
	}
	var text strings.Builder
	err = vm.Boot(ctx, m, func(msg vm.Message) error {
		switch {
		case msg.Ended != nil && msg.Ended.Code != 0:
			return fmt.Errorf("measuring failed: %s:\n%s", msg.Ended.How, &text)
		case msg.Line != "":
			fmt.Fprintln(&text, msg.Line)
		}
		return nil
	})
	if err != nil {
		return nil, text.String(), err
	}
	rows, log, err = parse(text.String())
	return rows, log, err
}

// Here measures on this machine.
func Here(ctx context.Context, program string, args ...string) (rows []Row, log string, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, "", fmt.Errorf("measure here: %w: %s", err, out)
	}
	return parse(string(out))
}

// parse tells rows from what else was printed.
func parse(text string) (rows []Row, log string, err error) {
	var rest strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "{") {
			rest.WriteString(line)
			continue
		}
		var r Row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, "", fmt.Errorf("read figures: %w: %s", err, line)
		}
		r.Judge()
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, rest.String(), errors.New("measure: no figures came: " + rest.String())
	}
	return rows, rest.String(), nil
}
