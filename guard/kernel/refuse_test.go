package kernel

import (
	"testing"
)

func TestCanaries(t *testing.T) {
	found, err := tryRefusal(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		for _, a := range r.tried {
			t.Logf("%s %s: %v", r.hook, a.name, a.err)
		}
	}
}
