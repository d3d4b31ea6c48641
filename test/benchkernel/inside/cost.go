package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

// works are what is measured, with how many make one batch.
var works = []struct {
	words, what string
	n           int
	dir         string
}{
	{"exec", "exec", 24, "/usr/bin"},
	{"open, file that no rule covers", "open", 400, freeDir},
	{"open, file that a rule allows", "open", 400, allowedDir},
}

// figures are nanoseconds for one of each of works.
type figures []float64

// measure gives the mean of the quieter half of batches, once the load has
// become steady: caches fill, and a machine that has just booted is busy.
func (w *worker) measure(root string, batches int) (figures, error) {
	var out figures
	for _, k := range works {
		once := func() (float64, error) {
			ns, failed, err := w.order(k.what, k.n, root+k.dir)
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d of %d times failed: %s", failed, k.n, k.words)
			}
			return ns / float64(k.n), err
		}
		for last, calm, tries := 0.0, 0, 0; calm < 2 && tries < 20; tries++ {
			ns, err := once()
			if err != nil {
				return nil, err
			}
			calm++
			if last == 0 || apart(ns, last) > 1.005 {
				calm = 0
			}
			last = ns
		}
		list := make([]float64, batches)
		for i := range list {
			var err error
			if list[i], err = once(); err != nil {
				return nil, err
			}
		}
		slices.Sort(list)
		half := list[:(batches+1)/2]
		sum := 0.0
		for _, ns := range half {
			sum += ns
		}
		out = append(out, sum/float64(len(half)))
	}
	return out, nil
}

// cost measures the same loads on the host and in a container without an agent,
// beside one, under every shape of policy, and without again.
func cost(say func(guests.Row), batches int, only string, refusal, audit bool) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "gabionbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "image")
	if err := image(root); err != nil {
		return err
	}
	host, err := outside(root)
	if err != nil {
		return err
	}
	defer host.stop()
	box, c, err := contained(ctx, root, filepath.Join(dir, "box"), "box")
	if err != nil {
		return err
	}
	defer box.stop()

	both := func() (h, b figures, err error) {
		if h, err = host.measure(root, batches); err == nil {
			b, err = box.measure("", batches)
		}
		return h, b, err
	}
	if _, _, err := both(); err != nil { // the machine is young
		return err
	}
	hostBefore, boxBefore, err := both()
	if err != nil {
		return fmt.Errorf("without an agent: %w", err)
	}
	a, err := startAgent(refusal)
	if err != nil {
		return err
	}
	type state struct {
		words     string
		host, box figures
	}
	var states []state
	h, b, err := both()
	if err != nil {
		return fmt.Errorf("beside an idle agent: %w", err)
	}
	states = append(states, state{"agent without policies", h, b})
	for _, s := range shapes {
		if s.sections > len(a.sections()) || only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
			continue
		}
		var documents []string
		if s.name != "learn" {
			documents = []string{document(s.name)}
		}
		took, how, err := a.enforce(ctx, c, documents...)
		if err != nil {
			return err
		}
		for _, cov := range how {
			fmt.Fprintf(os.Stderr, "%s: %s: %s (%s)\n", s.name, cov.Section, cov.Mechanism, cov.Degraded)
		}
		if h, b, err = both(); err != nil {
			return fmt.Errorf("under %s: %w", s.words, err)
		}
		states = append(states, state{s.words, h, b})
		say(guests.Row{Name: "apply a policy: " + s.words, Value: float64(took.Microseconds()) / 1000, Unit: "ms", Better: "lower"})
	}
	if err := a.end(); err != nil {
		return err
	}
	hostAfter, boxAfter, err := both()
	if err != nil {
		return fmt.Errorf("without the agent again: %w", err)
	}
	var audited figures
	if audit {
		if audited, err = auditCost(root, batches); err != nil {
			return err
		}
	}
	for i, k := range works {
		base := func(before, after figures) float64 { return (before[i] + after[i]) / 2 }
		hb, bb := base(hostBefore, hostAfter), base(boxBefore, boxAfter)
		say(guests.Row{Name: k.words + ": without Gabion, in a container", Value: bb / 1000, Unit: "µs", Better: "lower"})
		noise := max(apart(hostBefore[i], hostAfter[i]), apart(boxBefore[i], boxAfter[i]))
		say(guests.Row{Name: k.words + ": noise (before to after)", Value: noise, Unit: "ratio", Better: "lower"})
		if audit {
			words := map[string]string{"exec": "kernel audit logs every start", freeDir: "kernel audit logs it", allowedDir: "kernel audit has a rule for another directory"}
			say(guests.Row{Name: k.words + ": for comparison: " + cmp.Or(words[k.what], words[k.dir]), Value: audited[i] / hb, Unit: "ratio to no agent", Better: "lower"})
		}
		for n, s := range states {
			say(guests.Row{Name: k.words + ": unmanaged process; " + s.words, Value: s.host[i] / hb, Unit: "ratio to no agent", Better: "lower", Target: guests.Target(k.what, false)})
			managed := guests.Row{Name: k.words + ": managed container; " + s.words, Value: s.box[i] / bb, Unit: "ratio to no agent", Better: "lower", Target: guests.Target(k.what, true)}
			if n == 0 { // not managed yet
				managed.Name, managed.Target = k.words+": unmanaged container; "+s.words, guests.Target(k.what, false)
			}
			say(managed)
		}
	}
	return nil
}

func apart(a, b float64) float64 { return max(a/b, b/a) }
