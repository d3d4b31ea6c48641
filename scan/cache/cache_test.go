package cache

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan/inventory"
	"github.com/gabion-dev/gabion/scan/walk"
)

// contents makes a layer with one package.
func contents(t testing.TB, version string) *inventory.Contents {
	t.Helper()
	c := inventory.New(inventory.Config{}).Begin()
	text := fmt.Sprintf(`{"name":"lodash","version":%q}`, version)
	e := &walk.Entry{Path: "app/node_modules/lodash/package.json", Mode: 0o644, Size: int64(len(text))}
	if err := c.Visit(e, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return c.Finish(walk.Result{})
}

func version(c *inventory.Contents) string {
	return inventory.Merge([]*inventory.Contents{c}).Packages[0].Version
}

func open(t testing.TB, dir string, most int64) *Cache {
	t.Helper()
	c, err := Open(dir, most)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func put(t testing.TB, c *Cache, diffID, v string) {
	t.Helper()
	if err := c.Put(diffID, "1", contents(t, v)); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := open(t, dir, 0)
	if _, ok := c.Get("sha256:a", "1"); ok {
		t.Error("hit in an empty cache")
	}
	put(t, c, "sha256:a", "1.0.0")
	put(t, c, "../../escape", "2.0.0")
	for _, d := range []*Cache{c, open(t, dir, 0)} { // the second is another process
		if got, ok := d.Get("sha256:a", "1"); !ok || version(got) != "1.0.0" {
			t.Errorf("got %v, %v", got, ok)
		}
		if got, ok := d.Get("../../escape", "1"); !ok || version(got) != "2.0.0" {
			t.Errorf("got %v, %v", got, ok)
		}
		for _, k := range [][2]string{{"sha256:a", "2"}, {"sha256:b", "1"}, {"", ""}, {"sha256:a\x001", ""}} {
			if _, ok := d.Get(k[0], k[1]); ok {
				t.Errorf("%q is a hit", k)
			}
		}
	}
	put(t, c, "sha256:a", "1.0.1")
	if got, ok := c.Get("sha256:a", "1"); !ok || version(got) != "1.0.1" {
		t.Errorf("after replacing: %v, %v", got, ok)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 2 {
		t.Errorf("%d files, %v", len(list), err)
	}
}

func TestEveryDamageIsAMiss(t *testing.T) {
	c := open(t, t.TempDir(), 0)
	put(t, c, "sha256:a", "1.0.0")
	name := c.name("sha256:a", "1")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if _, ok := decode(bad, "sha256:a", "1"); ok {
			t.Errorf("byte %d changed, and still a hit", i)
		}
		if _, ok := decode(good[:i], "sha256:a", "1"); ok {
			t.Errorf("cut off at %d, and still a hit", i)
		}
	}
	if err := os.WriteFile(name, good[:len(good)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("sha256:a", "1"); ok {
		t.Error("hit on a damaged file")
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the damaged file is still there (%v)", err)
	}
	// An entry that was moved to another key.
	put(t, c, "sha256:a", "1.0.0")
	if err := os.Rename(name, c.name("sha256:b", "1")); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("sha256:b", "1"); ok {
		t.Error("hit on the entry of another layer")
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	dir := t.TempDir()
	one, err := encode("sha256:0", "1", contents(t, "1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(one))
	now := time.Now()
	c := open(t, dir, 10*size+size/2)
	c.now = func() time.Time { return now }
	for i := range 10 {
		id := fmt.Sprintf("sha256:%d", i)
		put(t, c, id, "1.0.0")
		old := now.Add(time.Duration(i-100) * time.Hour)
		if err := os.Chtimes(c.name(id, "1"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(dir, "new-unfinished")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, now.Add(-2*staleAfter), now.Add(-2*staleAfter)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("sha256:0", "1"); !ok { // the oldest is used, and young again
		t.Fatal("miss")
	}
	put(t, c, "sha256:x", "1.0.0")
	var kept []string
	for _, id := range []string{"0", "1", "2", "3", "9", "x"} {
		if _, ok := c.Get("sha256:"+id, "1"); ok {
			kept = append(kept, id)
		}
	}
	if s := strings.Join(kept, " "); s != "0 3 9 x" {
		t.Errorf("kept %s", s)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("an unfinished file stays (%v)", err)
	}
	small := open(t, t.TempDir(), 10)
	put(t, small, "sha256:a", "1.0.0")
	if _, ok := small.Get("sha256:a", "1"); ok {
		t.Error("an entry larger than the cache was kept")
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for w := range 4 {
		c := open(t, dir, 20_000)
		group.Go(func() {
			for i := range 60 {
				id := fmt.Sprintf("sha256:%d", (i+w)%20)
				if err := c.Put(id, "1", contents(t, id)); err != nil {
					t.Error(err)
				}
				if got, ok := c.Get(id, "1"); ok && version(got) != id {
					t.Errorf("%s gives %s", id, version(got))
				}
			}
		})
	}
	group.Wait()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "x"), 0); err == nil || !strings.Contains(err.Error(), "open layer cache: ") {
		t.Errorf("error %v", err)
	}
	c := open(t, filepath.Join(t.TempDir(), "gone"), 0)
	if err := os.Remove(c.dir); err != nil {
		t.Fatal(err)
	}
	if err := c.Put("a", "1", contents(t, "1")); err == nil || !strings.Contains(err.Error(), "keep layer in cache: ") {
		t.Errorf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode("sha256:a", "1", contents(f, "1.0.0"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := decode(b, "sha256:a", "1"); ok && !bytes.Equal(b, good) {
			again, err := encode("sha256:a", "1", contents(t, "1.0.0"))
			t.Errorf("another entry is taken (%d bytes, %d, %v)", len(b), len(again), err)
		}
	})
}

func Example() {
	dir, err := os.MkdirTemp("", "gabion-cache-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	layers, err := Open(dir, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	x := inventory.New(inventory.Config{})
	diffID := "sha256:0b1e"
	if _, ok := layers.Get(diffID, x.Version()); !ok {
		c := x.Begin() // and walk.Layer shows it the layer
		if err := layers.Put(diffID, x.Version(), c.Finish(walk.Result{})); err != nil {
			fmt.Println(err)
		}
	}
	_, ok := layers.Get(diffID, x.Version())
	fmt.Println(ok)
	// Output: true
}
