package attacks

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the page and the figures")

// The page and the figures are what the cases expect, which the runs are held to.
func TestPage(t *testing.T) {
	figures, err := Figures(Cases())
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{
		"../../docs/reference/evasion.md":  Page(Cases()),
		"../../bench/results/evasion.json": figures,
	} {
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the cases say (%v); go test ./test/attacks -run TestPage -args -update", file, err)
		}
	}
}
