package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const runPrefix = "gabion-demo-"

// makeRunDir makes the directory of one run below parent. Its name holds the
// process's number, so that a later run can tell whether its owner still lives.
func makeRunDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", runPrefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("make directory of the run: %w", err)
	}
	// Containers' own users must be able to pass through.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", fmt.Errorf("make directory of the run: %w", err)
	}
	return dir, nil
}

// cleanRuns removes directories of runs whose process is gone. A number that
// belongs to another process by now only delays it to the next time.
func cleanRuns(parent string) {
	left, err := filepath.Glob(filepath.Join(parent, runPrefix+"*"))
	if err != nil {
		return // the pattern is ours; a parent with meta characters is never cleaned
	}
	for _, dir := range left {
		var pid int
		if _, err := fmt.Sscanf(strings.TrimPrefix(filepath.Base(dir), runPrefix), "%d-", &pid); err != nil || pid <= 1 {
			continue
		}
		if unix.Kill(pid, 0) == unix.ESRCH {
			_ = os.RemoveAll(dir) // tried again by the next run
		}
	}
}
