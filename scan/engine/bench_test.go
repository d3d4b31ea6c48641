package engine_test

import (
	"os"
	"testing"

	"github.com/gabion-dev/gabion/scan/engine"
)

// BenchmarkRead reads the image that GABION_BENCH_IMAGE names (an archive that
// test/benchscan/image.sh makes), cold, without a cache.
func BenchmarkRead(b *testing.B) {
	ref := os.Getenv("GABION_BENCH_IMAGE")
	if ref == "" {
		b.Skip("GABION_BENCH_IMAGE names no image")
	}
	for b.Loop() {
		c, err := engine.Read(b.Context(), ref, engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(c.Inventory.Packages)), "packages")
	}
}
