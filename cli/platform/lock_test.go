package platform

import (
	"strings"
	"testing"
)

func TestOneGabionPerDataFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := lockData(dir); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a second one got %v, %v", second, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockData(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}
