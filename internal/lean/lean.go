// Package lean gives back memory that only starting needed.
//
// It is not for what must never wait for a page. The one idea: before
// main runs, every package of this large program initialises itself, and that
// maps most of the program's file into memory, though a command then needs a
// part of it. The kernel takes such pages back when somebody asks, and maps
// again, from the page cache, what is used after all.
package lean

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// span is a part of the address space.
type span struct{ from, to uintptr }

// unchanged finds, in the form of /proc/self/smaps, the mappings of a file that
// are not writable and hold nothing but what the file holds. A relocated page
// or one with a breakpoint in it would be lost, so a mapping with a single one
// of them is left alone.
func unchanged(smaps io.Reader, file string) ([]span, error) {
	var out []span
	var current span
	mine := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) >= 5 && !strings.HasSuffix(f[0], ":") {
			mine = len(f) == 6 && f[5] == file && len(f[1]) == 4 && f[1][1] == '-' && f[1][3] == 'p'
			if !mine {
				continue
			}
			from, to, _ := strings.Cut(f[0], "-")
			a, err := strconv.ParseUint(from, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("read memory map: %w", err)
			}
			b, err := strconv.ParseUint(to, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("read memory map: %w", err)
			}
			current = span{uintptr(a), uintptr(b)}
			continue
		}
		// Only a mapping that says so itself holds no page of its own.
		if mine && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0" && current.from < current.to {
			out = append(out, current)
		}
	}
	return out, lines.Err()
}
