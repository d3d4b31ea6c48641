package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

// storm does what policy forbids in tight loops: every attempt must fail and
// every one must be counted.
func storm(say func(guests.Row)) error {
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
	box, c, err := contained(ctx, root, filepath.Join(dir, "box"), "storm")
	if err != nil {
		return err
	}
	defer box.stop()
	a, err := startAgent(true)
	if err != nil {
		return err
	}
	_, how, err := a.enforce(ctx, c, document("files"))
	if err != nil {
		return err
	}
	for _, s := range []struct {
		words, what string
		n           int
		dir         string
		section     int // among the coverage
	}{
		{"exec storm, 2,000 forbidden starts", "exec", 2000, "/usr/lib/forbidden", 0},
		{"open storm, 20,000 forbidden openings", "open", 20000, forbiddenDir, 1},
	} {
		if s.section >= len(how) || how[s.section].Mechanism == "none" {
			continue // this kernel lets nobody refuse an opening
		}
		before := a.sink.total()
		_, failed, err := box.order(s.what, s.n, s.dir)
		if err != nil {
			return err
		}
		if err := a.Flush(); err != nil {
			return err
		}
		counted := a.sink.total() - before
		say(guests.Row{Name: s.words + ": prevented", Value: 100 * float64(failed) / float64(s.n), Unit: "%", Better: "higher", Target: 100})
		say(guests.Row{Name: s.words + ": counted", Value: 100 * float64(counted) / float64(s.n), Unit: "%", Better: "higher", Target: 100})
	}
	say(guests.Row{Name: "causes that could not be told apart in the storms", Value: float64(a.sink.lost), Unit: "", Better: "lower"})
	if err := a.end(); err != nil {
		return fmt.Errorf("end agent: %w", err)
	}
	return nil
}
