package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
)

// memory keeps results for a test.
type memory struct {
	mu      sync.Mutex
	reports map[string]*scan.Report
	names   map[string][]string
	fail    error
}

func newMemory() *memory {
	return &memory{reports: map[string]*scan.Report{}, names: map[string][]string{}}
}

func (m *memory) Known(_ context.Context, d string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.reports[d]
	return r != nil && !r.Incomplete(), m.fail
}

func (m *memory) Put(_ context.Context, r *scan.Report, _ *Kept) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports[r.Image.Digest] = r
	return m.fail
}

func (m *memory) Name(_ context.Context, d string, names []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[d] = names
	return nil
}

// puller is a scanner that fetches every layer it has not seen, as a scan with
// a cache does.
type puller struct {
	mu     sync.Mutex
	cache  map[string]bool
	pulled map[string]int
	scans  int
	hook   func(Job) error
}

func newPuller() *puller { return &puller{cache: map[string]bool{}, pulled: map[string]int{}} }

func (p *puller) Scan(ctx context.Context, j Job) (*scan.Report, *Kept, error) {
	p.mu.Lock()
	p.scans++
	p.mu.Unlock()
	if p.hook != nil {
		if err := p.hook(j); err != nil {
			return nil, nil, err
		}
	}
	ref, err := name.NewDigest(j.Ref, name.Insecure)
	if err != nil {
		return nil, nil, err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithTransport(j.Access.Transport))
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return nil, nil, err
		}
		p.mu.Lock()
		have := p.cache[d.String()]
		p.mu.Unlock()
		if have {
			continue
		}
		rc, err := l.Compressed()
		if err != nil {
			return nil, nil, err
		}
		_, err = io.Copy(io.Discard, rc)
		rc.Close()
		if err != nil {
			return nil, nil, err
		}
		p.mu.Lock()
		p.pulled[d.String()]++
		p.cache[d.String()] = true
		p.mu.Unlock()
	}
	return &scan.Report{Image: scan.Image{Name: j.Ref, Digest: j.Digest}}, &Kept{}, nil
}

func newSweeper(t testing.TB, target Target, d Deps) *Sweeper {
	t.Helper()
	if d.Scan == nil {
		d.Scan = newPuller().Scan
	}
	if d.Results == nil {
		d.Results = newMemory()
	}
	s, err := New(target, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inProcess(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func tag(t testing.TB, ref string) name.Tag {
	return must[name.Tag](t)(name.NewTag(ref, name.Insecure))
}

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	return must[v1.Hash](t)(img.Digest()).String()
}

func push(t testing.TB, ref string, img v1.Image) {
	t.Helper()
	if err := remote.Write(tag(t, ref), img); err != nil {
		t.Fatal(err)
	}
}

// fill puts images on one base into a registry: apps of several tags, of which
// the last is another name of the first.
func fill(t testing.TB, host string, repos, tags int) (images, layers int) {
	t.Helper()
	base := must[v1.Image](t)(random.Image(2000, 3))
	for r := range repos {
		var first v1.Image
		for i := range tags {
			extra := must[v1.Layer](t)(random.Layer(1000, types.DockerLayer))
			img := must[v1.Image](t)(mutate.AppendLayers(base, extra))
			push(t, fmt.Sprintf("%s/team/app%d:%d", host, r, i), img)
			if first == nil {
				first = img
			}
		}
		push(t, fmt.Sprintf("%s/team/app%d:again", host, r), first)
	}
	return repos * tags, 3 + repos*tags
}

// TestSweep: every image and every layer once, however many names and
// workers; a second sweep pulls nothing; with two registries.
func TestSweep(t *testing.T) {
	for _, kind := range []string{"in process", "real"} {
		t.Run(kind, func(t *testing.T) {
			host := ""
			if kind == "real" {
				host = testkit.StartRegistry(t, "").Host
			} else {
				host = inProcess(t)
			}
			images, layers := fill(t, host, 4, 3)
			p, m := newPuller(), newMemory()
			s := newSweeper(t, Target{Registry: host, PlainHTTP: true, Parallel: 6}, Deps{Scan: p.Scan, Results: m})
			sum := must[Summary](t)(s.Sweep(context.Background()))
			if sum.Images != images || sum.Scanned != images || sum.Known != 0 || len(sum.Failed) != 0 || sum.Repositories != 4 || sum.Tags != 16 {
				t.Errorf("%+v", sum)
			}
			if sum.Distinct != layers || sum.Layers != 4*images || len(p.pulled) != layers || sum.Bytes == 0 {
				t.Errorf("%+v, pulled %d layers", sum, len(p.pulled))
			}
			for l, n := range p.pulled {
				if n != 1 {
					t.Errorf("layer %s was pulled %d times", l, n)
				}
			}
			if len(m.reports) != images {
				t.Errorf("%d reports", len(m.reports))
			}
			both := 0
			for _, names := range m.names {
				if len(names) == 2 {
					both++
				}
			}
			if both != 4 {
				t.Errorf("%d images have two names: %v", both, m.names)
			}
			sum = must[Summary](t)(s.Sweep(context.Background()))
			if sum.Known != images || sum.Scanned != 0 || p.scans != images {
				t.Errorf("again: %+v, %d scans", sum, p.scans)
			}
		})
	}
}

// TestOneBadImage: failures, panics and gaps are listed and stop nothing.
func TestOneBadImage(t *testing.T) {
	host := inProcess(t)
	fill(t, host, 1, 5)
	p, m := newPuller(), newMemory()
	scanner := func(ctx context.Context, j Job) (*scan.Report, *Kept, error) {
		switch {
		case strings.HasSuffix(j.Names[0], ":1"):
			return nil, nil, errors.New("no such layer")
		case strings.HasSuffix(j.Names[0], ":2"):
			panic("boom")
		case strings.HasSuffix(j.Names[0], ":3"):
			<-ctx.Done()
			return nil, nil, ctx.Err()
		case strings.HasSuffix(j.Names[0], ":4"):
			return &scan.Report{Image: scan.Image{Digest: j.Digest}, Gaps: []scan.Gap{{Where: "layer 1", What: "lost"}, {Minor: true}, {Where: "x"}}}, &Kept{}, nil
		}
		return p.Scan(ctx, j)
	}
	s := newSweeper(t, Target{Registry: host, PlainHTTP: true, Timeout: 300 * time.Millisecond}, Deps{Scan: scanner, Results: m})
	sum := must[Summary](t)(s.Sweep(context.Background()))
	if sum.Scanned != 2 || len(sum.Failed) != 3 || len(sum.Incomplete) != 1 || sum.Interrupted {
		t.Fatalf("%+v", sum)
	}
	for i, why := range []string{"no such layer", "boom", "not done within 300ms"} {
		if f := sum.Failed[i]; !strings.Contains(f.Err.Error(), why) || !strings.HasSuffix(f.Ref, fmt.Sprint(":", i+1)) {
			t.Errorf("%d: %s: %v", i, f.Ref, f.Err)
		}
	}
	if got := sum.Incomplete[0].Err.Error(); got != "layer 1: lost (and 1 more gaps)" {
		t.Error(got)
	}
}

// TestInterrupted: the next sweep goes on where one was stopped.
func TestInterrupted(t *testing.T) {
	host := inProcess(t)
	images, _ := fill(t, host, 2, 4)
	p, m := newPuller(), newMemory()
	ctx, cancel := context.WithCancel(context.Background())
	p.hook = func(Job) error {
		if p.scans == 4 {
			cancel()
		}
		return ctx.Err()
	}
	s := newSweeper(t, Target{Registry: host, PlainHTTP: true, Parallel: 1}, Deps{Scan: p.Scan, Results: m})
	sum, err := s.Sweep(ctx)
	if err != nil || !sum.Interrupted || sum.Scanned != 3 {
		t.Fatalf("%+v %v", sum, err)
	}
	p.hook = nil
	sum = must[Summary](t)(s.Sweep(context.Background()))
	if sum.Interrupted || sum.Known != 3 || sum.Scanned != images-3 || len(sum.Failed) != 0 {
		t.Errorf("%+v", sum)
	}
}

func TestChoice(t *testing.T) {
	host := inProcess(t)
	plain := must[v1.Image](t)(random.Image(100, 1))
	at := func(hours int) v1.Image {
		img := must[v1.Image](t)(random.Image(100, 1))
		return must[v1.Image](t)(mutate.CreatedAt(img, v1.Time{Time: time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC)}))
	}
	push(t, host+"/a/one:1", plain)
	push(t, host+"/a/one:2", at(5))
	push(t, host+"/a/one:3", at(4))
	push(t, host+"/a/one:4", at(3))
	push(t, host+"/b/two:1", plain)
	arm, amd := must[v1.Image](t)(random.Image(100, 1)), must[v1.Image](t)(random.Image(100, 1))
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}}})
	if err := remote.WriteIndex(tag(t, host+"/b/two:multi"), index); err != nil {
		t.Fatal(err)
	}
	push(t, host+"/b/two:chart", mutate.ConfigMediaType(mutate.MediaType(plain, types.OCIManifestSchema1), "application/vnd.cncf.helm.config.v1+json"))

	for _, tt := range []struct {
		name   string
		target Target
		want   string
		failed int
		other  int
	}{
		{"all", Target{}, "a/one:1 a/one:2 a/one:3 a/one:4 b/two:1 b/two:multi", 0, 1},
		{"repositories", Target{Repositories: []string{"a/one", "c/none"}, Tags: TagFilter{Include: []string{"1"}}}, "a/one:1", 1, 0},
		{"include", Target{Include: []string{"b/**"}, Tags: TagFilter{Exclude: []string{"chart"}}}, "b/two:1 b/two:multi", 0, 0},
		{"exclude", Target{Exclude: []string{"b/*"}, Tags: TagFilter{Newest: 2}}, "a/one:3 a/one:4", 0, 0},
		{"created", Target{Exclude: []string{"b/*"}, Tags: TagFilter{Newest: 2, Order: "Created"}}, "a/one:1 a/one:2 a/one:3", 0, 0},
		{"platforms", Target{Include: []string{"b/**"}, Platforms: []string{"linux/arm64"}, Tags: TagFilter{Include: []string{"multi"}}}, "b/two:multi", 0, 0},
		{"two platforms", Target{Include: []string{"b/**"}, Platforms: []string{"linux/arm64", "linux/amd64"}, Tags: TagFilter{Include: []string{"multi"}}}, "b/two:multi b/two:multi", 0, 0},
		{"no such platform", Target{Include: []string{"b/**"}, Platforms: []string{"linux/s390x"}, Tags: TagFilter{Include: []string{"multi"}}}, "", 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			tt.target.Registry, tt.target.PlainHTTP = host, true
			sum := must[Summary](t)(newSweeper(t, tt.target, Deps{Results: m}).Sweep(context.Background()))
			var names []string
			for n := range maps.Values(m.names) {
				for _, full := range n {
					names = append(names, strings.TrimPrefix(full, host+"/"))
				}
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != tt.want || len(sum.Failed) != tt.failed || sum.Artifacts != tt.other {
				t.Errorf("%s, want %s; %+v", got, tt.want, sum)
			}
		})
	}
	m := newMemory()
	must[Summary](t)(newSweeper(t, Target{Registry: host, PlainHTTP: true, Platforms: []string{"linux/arm64"}, Include: []string{"b/**"}, Tags: TagFilter{Include: []string{"multi"}}}, Deps{Results: m}).Sweep(context.Background()))
	if m.reports[digestOf(t, arm)] == nil || len(m.reports) != 1 {
		t.Errorf("not the arm64 image: %v", m.reports)
	}
}

// TestWholeSweepFails: what concerns everything is an error.
func TestWholeSweepFails(t *testing.T) {
	host := inProcess(t)
	fill(t, host, 1, 1)
	refused := httptest.NewServer(http.NotFoundHandler())
	defer refused.Close()
	m := newMemory()
	m.fail = errors.New("disk full")
	for name, tt := range map[string]struct {
		target Target
		d      Deps
		want   string
	}{
		"no catalogue":   {Target{Registry: strings.TrimPrefix(refused.URL, "http://")}, Deps{}, "name the repositories"},
		"no variable":    {Target{Registry: host, Credentials: Credentials{UserEnv: "U", PasswordEnv: "P"}}, Deps{Getenv: func(string) string { return "" }}, "U or P is not set"},
		"no file":        {Target{Registry: host, Credentials: Credentials{File: "/nowhere"}}, Deps{}, "/nowhere"},
		"two lines":      {Target{Registry: host, Credentials: Credentials{File: "f"}}, Deps{ReadFile: func(string) ([]byte, error) { return []byte("a\nb"), nil }}, "one line"},
		"bad registry":   {Target{Registry: "a b"}, Deps{}, "read registry"},
		"cannot keep":    {Target{Registry: host}, Deps{Results: m}, "disk full"},
		"nobody listens": {Target{Registry: "127.0.0.1:1"}, Deps{Transport: tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })}, "refused"},
	} {
		tt.target.PlainHTTP = true
		if _, err := newSweeper(t, tt.target, tt.d).Sweep(context.Background()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
