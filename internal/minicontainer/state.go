package minicontainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/internal/cgroup"
)

// DefaultStateDir is where containers are written down unless Spec.StateDir
// says otherwise.
const DefaultStateDir = "/run/gabion/containers"

// State is what is written down of a container in StateDir/<id>.json until
// Stop: at first without a PID, then, just before its first program runs, with.
type State struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Image  string            `json:"image,omitempty"`
	Args   []string          `json:"args"`
	// PID is the first process; StartTicks its start in clock ticks since
	// boot, which tells it from a later process with the same number.
	PID        int       `json:"pid"`
	StartTicks uint64    `json:"startTicks"`
	StartedAt  time.Time `json:"startedAt"`
	// Cgroup is the path below the version-2 hierarchy's root.
	Cgroup string `json:"cgroup"`
	Dir    string `json:"dir"`
	// Owner is the process that made the container and will stop it.
	Owner           int    `json:"owner"`
	OwnerStartTicks uint64 `json:"ownerStartTicks"`
}

// Alive reports whether the container's first process still runs.
func (s *State) Alive() bool { return alive(s.PID, s.StartTicks) }

// States reads what is written down in dir ("" is DefaultStateDir). Files that
// cannot be read are left out and reported together as the error.
func States(dir string) ([]State, error) {
	if dir == "" {
		dir = DefaultStateDir
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list containers in %s: %w", dir, err)
	}
	var list []State
	var errs []error
	for _, f := range files {
		s, err := ReadState(dir, strings.TrimSuffix(filepath.Base(f), ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, s)
	}
	return list, errors.Join(errs...)
}

// ReadState reads what is written down of one container in dir.
func ReadState(dir, id string) (State, error) {
	var s State
	file := filepath.Join(dir, id+".json")
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return State{}, fmt.Errorf("read container %s: %w", file, err)
	}
	return s, nil
}

func writeState(dir string, s State) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write down container: %w", err)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write down container: %w", err)
	}
	file := filepath.Join(dir, s.ID+".json")
	if err := os.WriteFile(file+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write down container: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write down container: %w", err)
	}
	return nil
}

// Clean removes what crashed owners left behind: the containers written down
// in dir ("" is DefaultStateDir) whose owner no longer runs are killed, and
// their cgroups and directories removed. Containers of running owners are left
// alone.
func Clean(dir string) error {
	if dir == "" {
		dir = DefaultStateDir
	}
	list, err := States(dir)
	errs := []error{err}
	for _, s := range list {
		if alive(s.Owner, s.OwnerStartTicks) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		errs = append(errs, remove(ctx, dir, s))
		cancel()
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.json.new")); len(left) > 0 {
		for _, f := range left {
			// Cut off while writing; its container never ran.
			if fi, err := os.Stat(f); err == nil && time.Since(fi.ModTime()) > time.Minute {
				errs = append(errs, os.Remove(f))
			}
		}
	}
	return errors.Join(errs...)
}

// remove takes a container off the machine: processes, cgroup, directories,
// state, in this order, so that a cut-off removal can be repeated.
func remove(ctx context.Context, stateDir string, s State) error {
	root, err := cgroup.Root()
	if err != nil {
		return err
	}
	if s.Cgroup == "" || filepath.Clean("/"+s.Cgroup) == "/" || s.Dir == "" {
		return fmt.Errorf("remove container %s: its state names no cgroup or no directory", s.ID)
	}
	dir := filepath.Join(root, s.Cgroup)
	if err := cgroup.Kill(ctx, dir); err != nil {
		return fmt.Errorf("remove container %s: %w", s.ID, err)
	}
	if err := cgroup.Remove(ctx, dir); err != nil {
		return fmt.Errorf("remove container %s: %w", s.ID, err)
	}
	_ = os.Remove(filepath.Dir(dir)) // the parent, when this was its last
	for _, sub := range []string{"upper", "work", "merged"} {
		if err := os.RemoveAll(filepath.Join(s.Dir, sub)); err != nil {
			return fmt.Errorf("remove container %s: %w", s.ID, err)
		}
	}
	_ = os.Remove(s.Dir) // when nothing else is in it
	if err := os.Remove(filepath.Join(stateDir, s.ID+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove container %s: %w", s.ID, err)
	}
	return nil
}

// StartTicks is when a process started, in clock ticks since boot
// (/proc/PID/stat field 22), or 0 when it is gone.
func StartTicks(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses and may hold anything.
	i := strings.LastIndexByte(string(b), ')')
	if i < 0 {
		return 0
	}
	w := strings.Fields(string(b[i+1:]))
	if len(w) < 20 || w[0] == "Z" || w[0] == "X" {
		return 0
	}
	n, err := strconv.ParseUint(w[19], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func alive(pid int, ticks uint64) bool { return pid > 0 && ticks != 0 && StartTicks(pid) == ticks }
