package lean

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Drop gives back the pages of the program's own file that are mapped now. An
// error means that they stay, and nothing worse.
func Drop() error {
	file, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read memory map: %w", err)
	}
	defer smaps.Close()
	spans, err := unchanged(smaps, file)
	if err != nil {
		return err
	}
	for _, s := range spans {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back pages: %w", errno)
		}
	}
	return nil
}
