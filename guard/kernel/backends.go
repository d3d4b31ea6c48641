package kernel

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/gabion-dev/gabion/guard"
)

// Backends says what each mechanism is worth, in the words of the table in the
// package comment.
func Backends() []guard.Backend {
	return slices.Concat(processBackends(), []guard.Backend{filesBackend()}, hardenBackends())
}

func processBackends() []guard.Backend {
	return []guard.Backend{
		{
			ID: "raw_tp+kill", Section: "process",
			Needs:     []string{FeatureTypes, FeaturePins, FeatureCgroup, FeatureExec},
			Guarantee: "a forbidden program is killed before its first instruction; pinned, so it outlives the agent",
			Stops: []string{"a program that no list names", "a denied class, also through busybox, links, bind mounts and renamed directories",
				"a file written to the container or changed in place, then run", "memfd and deleted files", "files on volumes, tmpfs and /dev/shm"},
			Passes: []string{"ld.so ./file when no list is given", "mapping a dropped library (LD_PRELOAD)", "a script read by a permitted interpreter", "code made in memory by a permitted program"},
		},
		{
			ID: "fanotify", Section: "process",
			Needs:     []string{FeatureFanotify, FeatureOverlay},
			Guarantee: "an exec of a written file waits until it was compared with the image; works while the agent lives",
			Stops:     []string{"\"#!\" scripts written to the container's root", "taking a chmod of an image file for a change"},
			Passes:    []string{"\"#!\" scripts on volumes and tmpfs", "what raw_tp+kill cannot see"},
		},
		{
			ID: "lsm", Section: "process",
			Needs:     []string{FeatureRefuse, FeatureMap, FeatureProtect},
			Guarantee: "the call fails with EPERM; pinned, so it outlives the agent; raw_tp+kill goes on behind it",
			Stops: []string{"all that raw_tp+kill stops, without a kill", "\"#!\" scripts anywhere", "ld.so ./file for files that the image does not have, or that a list or a class forbids",
				"mapping a dropped library (LD_PRELOAD)", "code mapped from memfd"},
			Passes: []string{"a script read from standard input without a list", "code made in memory by a permitted program"},
		},
	}
}

// SwitchOff sets (off) or ends the kill switch of whatever is pinned below
// pinDir, with or without a living agent. While it is set, every kernel
// program lets everything pass. The error wraps fs.ErrNotExist when nothing is
// pinned there.
func SwitchOff(pinDir string, off bool) error {
	s, err := readSettings(pinDir)
	if err != nil {
		return fmt.Errorf("set kill switch: %w", err)
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(pinDir), processMapSettings), nil)
	if err != nil {
		return fmt.Errorf("set kill switch: open pinned settings: %w", err)
	}
	defer m.Close()
	s.Off = 0
	if off {
		s.Off = 1
	}
	if err := m.Put(uint32(0), s); err != nil {
		return fmt.Errorf("set kill switch: %w", err)
	}
	return nil
}
