package container

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"github.com/gabion-dev/gabion/workload"
)

// Freezer pauses and kills containers by their cgroups, whatever made them.
type Freezer struct{}

// Pause stops all processes of c (on) or lets them go on.
func (Freezer) Pause(ctx context.Context, c workload.Container, on bool) error {
	return Pause(ctx, c, on)
}

// Kill ends all processes of c.
func (Freezer) Kill(ctx context.Context, c workload.Container) error { return Kill(ctx, c) }

// Pause stops all processes of c (on) or lets them go on, and returns when the
// kernel says so. Its runtime is not told and still reports it as running.
func Pause(ctx context.Context, c workload.Container, on bool) error {
	dir, err := ownGroup(c)
	if err != nil {
		return fmt.Errorf("pause container %s: %w", c.Short(), err)
	}
	if err := cgroup.Freeze(ctx, dir, on); err != nil {
		return fmt.Errorf("pause container %s: %w", c.Short(), err)
	}
	return nil
}

// Kill ends all processes of c, paused or not, and returns when none is left.
// Its runtime may start it again if it was told to.
func Kill(ctx context.Context, c workload.Container) error {
	dir, err := ownGroup(c)
	if err != nil {
		return fmt.Errorf("kill container %s: %w", c.Short(), err)
	}
	if err := cgroup.Kill(ctx, dir); err != nil {
		return fmt.Errorf("kill container %s: %w", c.Short(), err)
	}
	return nil
}

// ownGroup is the directory of c's cgroup, made sure to be the one c was found
// in: a path may be used again by another container.
func ownGroup(c workload.Container) (string, error) {
	if c.CgroupPath == "" || c.CgroupPath == "/" || c.CgroupID == 0 {
		return "", fmt.Errorf("it has no cgroup of its own (%q)", c.CgroupPath)
	}
	root, err := cgroup.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, c.CgroupPath)
	id, err := cgroup.ID(dir)
	if err != nil {
		return "", err
	}
	if id != c.CgroupID {
		return "", fmt.Errorf("cgroup %s belongs to another container now", c.CgroupPath)
	}
	for _, own := range candidates(c.CgroupPath) {
		if own.ID == c.ID { // its first process may be in a group below
			return filepath.Join(root, own.Path), nil
		}
	}
	return dir, nil
}
