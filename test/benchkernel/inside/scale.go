package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/test/benchkernel/guests"
	"github.com/gabion-dev/gabion/workload"
)

// How large a node is measured with.
const (
	containers  = 1024
	perWorkload = 4 // policies that select each container
)

// scale puts 4,096 policies in force on 1,024 real containers.
func scale(say func(guests.Row)) (err error) {
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
	if err := os.WriteFile(filepath.Join(root, "pause"), pauseProgram(), 0o755); err != nil {
		return err
	}
	boxes := make([]*minicontainer.Container, containers)
	errs := make([]error, containers)
	parallel(containers, func(i int) {
		boxes[i], errs[i] = minicontainer.Start(ctx, minicontainer.Spec{Name: fmt.Sprintf("node-%04d", i), Lower: []string{root}, Dir: filepath.Join(dir, strconv.Itoa(i)), Args: []string{"/pause"}})
	})
	defer func() {
		gone := make([]error, containers)
		parallel(containers, func(i int) {
			if boxes[i] != nil {
				gone[i] = boxes[i].Stop(ctx)
			}
		})
		err = errors.Join(append(gone, err)...)
	}()
	if err := errors.Join(errs...); err != nil {
		return err
	}

	var files []policy.File
	for i := range containers {
		for n := range perWorkload {
			files = append(files, policy.File{Name: fmt.Sprintf("p-%04d-%d.yaml", i, n), Data: []byte(fmt.Sprintf(`apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: p-%04d-%d, namespace: bench}
spec:
  selector: {workloads: [node-%04d]}
  mode: Protect
  process:
    drift: Deny
    deny: [{class: miner}]
    allow: [{path: /pause}, {path: /usr/bin/app%02d}, {path: /usr/bin/app%02d}, {path: /usr/bin/app%02d}]
`, i, n, i, n, n+10, n+20))})
		}
	}
	set, bad := policy.Load(files)
	if err := errors.Join(bad...); err != nil {
		return err
	}
	a, err := startAgent(true)
	if err != nil {
		return err
	}
	bare, err := mapBytes()
	if err != nil {
		return err
	}
	merged := map[string]bool{}
	var took []float64
	for i, c := range boxes {
		w := workload.Container{ID: c.ID(), Name: c.Name(), Runtime: "namespaces", PID: c.PID(), Workload: workload.Ref{Namespace: namespace, Name: c.Name()}}
		begun := time.Now()
		p := set.Compile(&w, begun)
		var cov guard.Coverage
		for _, apply := range a.sections() {
			if cov, err = apply(ctx, w, p); err != nil {
				return fmt.Errorf("container %d: %w", i, err)
			}
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
		if cov.Section == "process" && cov.Degraded != "" {
			return fmt.Errorf("container %d is covered less than it should: %s", i, cov.Degraded)
		}
		for _, name := range p.Policies {
			merged[name] = true
		}
	}
	full, err := mapBytes()
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	rss, err := residentMiB()
	if err != nil {
		return err
	}
	slices.Sort(took)
	say(guests.Row{Name: "containers in force at once", Value: float64(len(a.Known())), Better: "higher", Target: containers})
	say(guests.Row{Name: "policies in force at once", Value: float64(len(merged)), Better: "higher", Target: containers * perWorkload})
	say(guests.Row{Name: "maps with 1,024 containers and 4,096 policies", Value: float64(full) / (1 << 20), Unit: "MiB", Better: "lower", Target: 40})
	say(guests.Row{Name: "maps, for each container and its policies", Value: float64(full-bare) / containers / 1024, Unit: "KiB", Better: "lower"})
	say(guests.Row{Name: "memory of engine and policies with 1,024 containers and 4,096 policies", Value: rss, Unit: "MiB", Better: "lower"})
	say(guests.Row{Name: "compile and apply the policies of one container among 1,024, median", Value: took[len(took)/2], Unit: "ms", Better: "lower"})
	return a.end()
}

func parallel(n int, do func(int)) {
	free := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i := range n {
		free <- struct{}{}
		wg.Go(func() {
			do(i)
			<-free
		})
	}
	wg.Wait()
}

// residentMiB is the memory of this process that is in use.
func residentMiB() (float64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("read memory of this process: no VmRSS")
}
