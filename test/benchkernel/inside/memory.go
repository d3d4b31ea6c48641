package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

// memory measures what the kernel's maps take, and what a thousand rules add.
func memory(say func(guests.Row)) error {
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
	box, c, err := contained(ctx, root, filepath.Join(dir, "box"), "memory")
	if err != nil {
		return err
	}
	defer box.stop()
	a, err := startAgent(true)
	if err != nil {
		return err
	}
	bare, err := mapBytes()
	if err != nil {
		return err
	}
	say(guests.Row{Name: "maps without policies", Value: float64(bare) / (1 << 20), Unit: "MiB", Better: "lower", Target: 40})
	if _, _, err := a.enforce(ctx, c, document("exec")); err != nil {
		return err
	}
	small, err := mapBytes()
	if err != nil {
		return err
	}
	const more = 1000
	var b strings.Builder
	b.WriteString(document("exec"))
	for i := range more {
		fmt.Fprintf(&b, "      - {path: /srv/programs/p%04d}\n", i)
	}
	if _, _, err := a.enforce(ctx, c, b.String()); err != nil {
		return err
	}
	large, err := mapBytes()
	if err != nil {
		return err
	}
	say(guests.Row{Name: "maps, 1,000 programs more in a policy", Value: float64(large-small) / 1024, Unit: "KiB", Better: "lower", Target: 64})
	return a.end()
}

// mapBytes adds up the memory of the maps that this process holds (the field
// memlock of /proc/self/fdinfo, kernel/bpf/syscall.c).
func mapBytes() (sum int64, err error) {
	list, err := os.ReadDir("/proc/self/fdinfo")
	if err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	for _, e := range list {
		text, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil {
			continue // closed meanwhile
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok {
				fields[key] = strings.TrimSpace(value)
			}
		}
		id, isMap := fields["map_id"]
		if !isMap || seen[id] {
			continue
		}
		seen[id] = true
		n, err := strconv.ParseInt(fields["memlock"], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read memory of map %s: %w", id, err)
		}
		sum += n
	}
	return sum, nil
}
