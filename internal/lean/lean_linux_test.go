package lean

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// residentFile is how much of files this process has mapped and present, in KiB.
func residentFile(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "RssFile:")
	f := strings.Fields(rest)
	if !ok || len(f) == 0 {
		t.Fatal("the kernel does not tell")
	}
	n, err := strconv.Atoi(f[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDrop goes on with code and constants that were given back, and sees that
// they were.
func TestDrop(t *testing.T) {
	before := residentFile(t)
	if err := Drop(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after >= before {
		t.Errorf("%d KiB of the program are mapped, before it were %d", after, before)
	}
	if got := strings.ToUpper("gabion"); got != "GABION" {
		t.Error(got)
	}
}
