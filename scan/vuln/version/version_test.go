package version

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// lines gives "ecosystem: rest" lines of a file without its comments.
func lines(t *testing.T, file string) [][2]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all [][2]string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		ecosystem, rest, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("%s: no ecosystem in %q", file, line)
		}
		all = append(all, [2]string{ecosystem, rest})
	}
	return all
}

func TestVectors(t *testing.T) {
	seen := map[Scheme]bool{}
	for _, line := range lines(t, "testdata/vectors.txt") {
		ecosystem := line[0]
		seen[SchemeOf(ecosystem)] = true
		// Spaces around < and = keep versions with spaces whole.
		type place struct {
			version string
			rank    int
		}
		var chain []place
		rank := 0
		for lower := range strings.SplitSeq(line[1], " < ") {
			for equal := range strings.SplitSeq(lower, " = ") {
				chain = append(chain, place{equal, rank})
			}
			rank++
		}
		for _, a := range chain {
			for _, b := range chain {
				got, err := Compare(ecosystem, a.version, b.version)
				if err != nil {
					t.Errorf("%s: %v", ecosystem, err)
					continue
				}
				if want := max(-1, min(1, a.rank-b.rank)); got != want {
					t.Errorf("%s: compare %q with %q = %d, want %d", ecosystem, a.version, b.version, got, want)
				}
			}
		}
	}
	for s := None + 1; s <= Upstream; s++ {
		if !seen[s] {
			t.Errorf("no vectors for scheme %d", s)
		}
	}
}

func TestInvalid(t *testing.T) {
	for _, line := range lines(t, "testdata/invalid.txt") {
		key, err := Key(line[0], line[1])
		if err == nil {
			t.Errorf("%s: %q was read as %x", line[0], line[1], key)
			continue
		}
		if want := ErrInvalid; SchemeOf(line[0]) != None && !errors.Is(err, want) {
			t.Errorf("%s: %q: error %v is not %v", line[0], line[1], err, want)
		}
		if SchemeOf(line[0]) == None && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: error %v is not %v", line[0], err, ErrUnknown)
		}
	}
	for s := None; s <= Upstream; s++ {
		for _, v := range []string{"", strings.Repeat("1", MaxLength+1), "1\x00", "1\n2", "1é"} {
			if _, err := s.Append(nil, v); !errors.Is(err, ErrInvalid) {
				t.Errorf("scheme %d reads %.20q: %v", s, v, err)
			}
		}
	}
}

func TestAppendKeepsBufferAndAllocatesNothing(t *testing.T) {
	buffer := append(make([]byte, 0, 4096), "before"...)
	if out, err := Dpkg.Append(buffer, "-"); err == nil || string(out) != "before" {
		t.Errorf("after an error: %q, %v", out, err)
	}
	out, err := Dpkg.Append(buffer, "1:2.3-4")
	key, _ := Key("Debian", "1:2.3-4")
	if err != nil || !bytes.Equal(out, append([]byte("before"), key...)) {
		t.Errorf("appended %x, %v", out, err)
	}
	for _, s := range []Scheme{Dpkg, RPM, APK, SemVer, Go, Python, NuGet, Numbers} {
		if n := testing.AllocsPerRun(100, func() { _, _ = s.Append(buffer[:0], "1.2.30-r4") }); n > 1 {
			// An invalid version may make an error; a valid one nothing.
			if _, err := s.Append(nil, "1.2.30-r4"); err == nil {
				t.Errorf("scheme %d allocates %v times", s, n)
			}
		}
	}
}

// TestNumberEncoding holds that numbers compare by value across all widths.
func TestNumberEncoding(t *testing.T) {
	numbers := []string{"", "1", "9", "10", "207", "208", "255", "256", "65535", "65536", "16777216", "4294967296",
		"999999999999999999", "1000000000000000000", "9999999999999999999999", "10000000000000000000000", strings.Repeat("9", 400)}
	var keys [][]byte
	for _, n := range numbers {
		keys = append(keys, appendNumber(nil, n))
		if padded := appendNumber(nil, "000"+n); !bytes.Equal(padded, keys[len(keys)-1]) {
			t.Errorf("leading zeros change %s", n)
		}
	}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Errorf("keys are not in order: %x", keys)
	}
	for i := 1; i < len(keys); i++ {
		if bytes.Equal(keys[i-1], keys[i]) || bytes.HasPrefix(keys[i], keys[i-1]) {
			t.Errorf("%s and %s: one key is the other's beginning", numbers[i-1], numbers[i])
		}
	}
}

func ExampleCompare() {
	c, err := Compare("Debian:12", "3.0.11-1~deb12u2", "3.0.11-1")
	fmt.Println(c, err)
	// Output: -1 <nil>
}
