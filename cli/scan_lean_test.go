package cli

import (
	"runtime/debug"
	"testing"

	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/inventory"
)

// oneLayer remembers the layer "kept".
type oneLayer struct{}

func (oneLayer) Get(diffID, _ string) (*inventory.Contents, bool) {
	return &inventory.Contents{}, diffID == "kept"
}
func (oneLayer) Put(string, string, *inventory.Contents) error { return nil }

// gcPercent reads the setting, which can only be done by changing it.
func gcPercent() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}

func TestLean(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	for _, c := range []struct {
		name   string
		cache  engine.Cache
		layers []string
		want   int
	}{
		{"no cache", nil, nil, readingGC},
		{"all kept", oneLayer{}, []string{"kept", "kept"}, 100},
		{"one to read", oneLayer{}, []string{"kept", "new", "newer"}, readingGC},
	} {
		o := engine.Options{Cache: c.cache}
		restore := beLean(&o)
		for _, l := range c.layers {
			if _, ok := o.Cache.Get(l, ""); ok != (l == "kept") {
				t.Errorf("%s: layer %s is kept: %v", c.name, l, ok)
			}
		}
		if got := gcPercent(); got != c.want {
			t.Errorf("%s: collects at %d, want %d", c.name, got, c.want)
		}
		restore()
		if got := gcPercent(); got != 100 {
			t.Errorf("%s: collects at %d afterwards", c.name, got)
		}
	}
}
