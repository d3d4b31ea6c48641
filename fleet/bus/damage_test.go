package bus_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/fleet/bus"
)

// TestDamagedFilesDoNotStopTheStart spoils each of the bus's files in turn: it
// must start and work again, whatever is lost.
func TestDamagedFilesDoNotStopTheStart(t *testing.T) {
	fill := func(t *testing.T, dir string) []string {
		b, err := bus.Open(t.Context(), bus.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, "events.n.k", "a", "b", "c")
		if err := b.Put(t.Context(), "plans", "k", []byte("v")); err != nil {
			t.Fatal(err)
		}
		var c collector
		stop := consuming(t, b, "store", "events.>", c.take)
		until(t, "delivery", func() bool { return len(c.ids()) == 3 })
		stop()
		publish(t, b, "events.n.k", "d")
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		var files []string
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				rel, _ := filepath.Rel(dir, p)
				files = append(files, rel)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	files := fill(t, t.TempDir())
	if len(files) < 5 {
		t.Fatalf("files %q", files)
	}
	for _, name := range files {
		for how, data := range map[string][]byte{"empty": {}, "garbage": []byte(strings.Repeat("\xff\x00garbage", 100))} {
			t.Run(fmt.Sprintf("%s %s", strings.ReplaceAll(name, "/", "_"), how), func(t *testing.T) {
				dir := t.TempDir()
				fill(t, dir)
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
				b, err := bus.Open(t.Context(), bus.Config{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				publish(t, b, "events.n.k", "new")
				if err := b.Put(t.Context(), "plans", "k2", []byte("v")); err != nil {
					t.Fatal(err)
				}
				var c collector
				stop := consuming(t, b, "store", "events.>", c.take)
				until(t, "the new one", func() bool { ids := c.ids(); return len(ids) > 0 && ids[len(ids)-1] == "new" })
				stop()
			})
		}
	}
}
