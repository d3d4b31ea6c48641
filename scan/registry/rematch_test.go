package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

func dig(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// sample is an image of n packages, much like others.
func sample(image, n int) *Kept {
	k := &Kept{
		Image: scan.Image{Name: "r.test/app:1", Kind: scan.Registry, Digest: dig(image), Platform: "linux/amd64", Layers: []scan.Layer{{Digest: dig(1), Size: 5}},
			Config: scan.Config{Env: []string{"PATH=/bin"}, Labels: map[string]string{"a": "b"}, User: "app"}},
		Signatures: []scan.Signature{{Kind: "sigstore", Valid: true}}, Signed: true, Base: &scan.Base{Layers: 1, How: "label"},
	}
	k.Inventory.Release = scan.Release{ID: "debian", Version: "12", Ecosystem: "Debian:12"}
	k.Inventory.Users = map[string]int{"root": 0, "app": 1000}
	k.Inventory.Gaps = []scan.Gap{{Where: "x", What: "y", Minor: true}}
	k.Inventory.Secrets = []scan.Secret{{Detector: "d", Where: "env X", Layer: -1}}
	for i := range n {
		p := scan.Package{Name: fmt.Sprint("package-", i), Version: fmt.Sprintf("1.%d-%d", i, image%7), Ecosystem: "Debian:12", PURL: fmt.Sprintf("pkg:deb/debian/package-%d@1.%d", i, i),
			Source: fmt.Sprint("source-", i/3), SourceVersion: fmt.Sprint("1.", i), Arch: "amd64", Licenses: []string{"MIT", "GPL-2.0-only"},
			Found: "dpkg", Path: "/var/lib/dpkg/status", Layer: i%3 - 1, Programs: []string{fmt.Sprint("/usr/bin/p", i), fmt.Sprint("/usr/lib/x86_64-linux-gnu/libp", i, ".so.1")}, Dev: i%5 == 0}
		k.Inventory.Packages = append(k.Inventory.Packages, p)
	}
	k.Inventory.Files = []scan.File{
		{Path: "/usr/bin/su", Digest: dig(5), Size: 70000, Mode: 0o4755, Kind: "elf", Layer: 0},
		{Path: "/srv/open", Digest: dig(6), Size: 1, Mode: 0o777, UID: 7, Kind: "script", Layer: -1},
		{Path: "/usr/bin/ls", Digest: dig(7), Size: 1, Mode: 0o755, Kind: "elf"},
	}
	return k
}

func TestPack(t *testing.T) {
	for _, n := range []int{0, 1, 300} {
		k := sample(1, n)
		b, err := k.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := k.Pack(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%d packages: other bytes the second time, %v", n, err)
		}
		got, err := Unpack(b)
		if err != nil {
			t.Fatal(err)
		}
		k.Inventory.Files = k.Inventory.Files[:2] // the third is judged by nobody
		if len(got.Inventory.Packages) == 0 {
			got.Inventory.Packages = nil
		}
		if !reflect.DeepEqual(got, k) {
			t.Errorf("%d packages:\n%+v\n%+v", n, got, k)
		}
		for i := range b[:min(len(b), 3000)] {
			if _, err := Unpack(b[:i]); err == nil {
				t.Fatalf("%d of %d bytes were taken for all", i, len(b))
			}
		}
	}
	empty, err := (&Kept{}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Unpack(empty); err != nil || len(got.Inventory.Packages) != 0 {
		t.Error(got, err)
	}
	if _, err := Unpack([]byte("GBK\x02")); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		b, err := sample(1, n).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(packMagic + "\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := Unpack(b)
		if err != nil {
			return
		}
		c, err := k.Pack()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Unpack(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Inventory.Packages) != len(k.Inventory.Packages) {
			t.Fatal("packages were lost")
		}
	})
}

// matcher finds as many findings as a database says.
type matcher struct {
	database string
	bad      string // digest that breaks it
}

func (m matcher) Database() string { return m.database }

func (m matcher) Match(k *Kept) (*scan.Report, error) {
	if k.Image.Digest == m.bad {
		panic("boom")
	}
	return m.report(k), nil
}

func (m matcher) report(k *Kept) *scan.Report {
	return &scan.Report{Image: k.Image, Database: scan.Database{Digest: m.database}, Packages: k.Inventory.Packages}
}

func TestRematchFolder(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	f, err := OpenFolder(filepath.Join(dir, "results"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		k := sample(i, 10)
		r := matcher{database: "old"}.report(k)
		if i == 4 {
			r.Gaps = []scan.Gap{{Where: "advisories", What: "none for this release"}}
		}
		if i == 3 {
			k.Inventory.Gaps = []scan.Gap{{Where: "layer", What: "lost"}}
		}
		if err := errors.Join(f.Put(ctx, r, k), f.Name(ctx, dig(i), []string{fmt.Sprint("r.test/app:", i)})); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range map[int]bool{0: true, 3: false, 4: true, 99: false} {
		if got, err := f.Known(ctx, dig(i)); got != want || err != nil {
			t.Errorf("known %d: %v %v", i, got, err)
		}
	}
	// One was matched already, one is damaged, one breaks the matcher.
	if err := f.Rematched(ctx, dig(7), matcher{database: "new"}.report(sample(7, 1))); err != nil {
		t.Fatal(err)
	}
	p, err := f.path(dig(8), keptFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{0, 3} {
		db := fmt.Sprint("new", workers)
		if workers == 0 {
			db = "new"
		}
		sum, err := Rematch(ctx, f, matcher{db, dig(9)}, workers)
		if err != nil {
			t.Fatal(err)
		}
		current := 0
		if workers == 0 {
			current = 1
		}
		if sum.Images != 20 || sum.Current != current || sum.Matched != 18-current || len(sum.Failed) != 2 || sum.Failed[0].Ref != dig(8) || !strings.Contains(sum.Failed[1].Err.Error(), "boom") {
			t.Errorf("%+v", sum)
		}
		r, names, err := f.Report(dig(4))
		if err != nil || r.Database.Digest != db || len(r.Packages) != 10 || !slices.Equal(names, []string{"r.test/app:4"}) {
			t.Errorf("%+v %v %v", r, names, err)
		}
	}
	if _, _, err := f.Report(dig(99)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, bad := range []string{"", "../../x", "sha256:..", "sha256:" + strings.Repeat("g", 64)} {
		if _, err := f.Known(ctx, bad); err == nil {
			t.Errorf("digest %q was taken", bad)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "results", ".new-*"))
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

// broken is a store that cannot keep.
type broken struct{ stock }

func (broken) Rematched(context.Context, string, *scan.Report) error { return errors.New("disk full") }

func TestRematchStops(t *testing.T) {
	b := broken{newStock(t, 100, 3)}
	if _, err := Rematch(context.Background(), b, matcher{database: "new"}, 2); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Rematch(ctx, newStock(t, 100, 3), matcher{database: "new"}, 2); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// stock is many images in memory.
type stock struct {
	packed [][]byte
	count  *counter
}

type counter struct {
	mu sync.Mutex
	n  int
}

func newStock(t testing.TB, images, packages int) stock {
	t.Helper()
	s := stock{count: &counter{}}
	for i := range images {
		b, err := sample(i, packages).Pack()
		if err != nil {
			t.Fatal(err)
		}
		s.packed = append(s.packed, b)
	}
	return s
}

func (s stock) Each(ctx context.Context, f func(Stored) error) error {
	for i, b := range s.packed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(Stored{Digest: dig(i), Packed: b}); err != nil {
			return err
		}
	}
	return nil
}

func (s stock) Rematched(context.Context, string, *scan.Report) error {
	s.count.mu.Lock()
	defer s.count.mu.Unlock()
	s.count.n++
	return nil
}

// BenchmarkRematch10000 reads 10,000 stored images of 400 packages each and
// hands them to a matcher that finds nothing: what is left is the cost of this
// package. Per image it must stay far below a millisecond.
func BenchmarkRematch10000(b *testing.B) {
	s := newStock(b, 10_000, 400)
	b.ResetTimer()
	for b.Loop() {
		if sum, err := Rematch(context.Background(), s, matcher{database: "new"}, 1); err != nil || sum.Matched != 10_000 {
			b.Fatal(sum, err)
		}
	}
	b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}

func ExampleKept_Pack() {
	k := &Kept{Image: scan.Image{Name: "r.test/app:1"}}
	k.Inventory.Packages = []scan.Package{{Name: "zlib1g", Version: "1:1.2.13.dfsg-1"}}
	b, _ := k.Pack()
	again, _ := Unpack(b)
	fmt.Println(again.Image.Name, again.Inventory.Packages[0].Name)
	// Output: r.test/app:1 zlib1g
}
