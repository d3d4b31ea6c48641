package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/cache"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/inventory"
	"github.com/gabion-dev/gabion/scan/sbom"
	"github.com/gabion-dev/gabion/scan/secret"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/walk"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// file is one entry of a layer; a path that ends in "/" is a directory.
type file struct {
	path, content string
	mode          int64
}

const (
	osRelease = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
	dpkgBase  = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.9-1\n\n" +
		"Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nSource: openssl\nVersion: 3.0.9-1\n\n"
	dpkgMore = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.88.1-10+deb12u4\n\n"
)

func baseLayer() []file {
	return []file{
		{"etc/os-release", osRelease, 0o644}, {"var/lib/dpkg/status", dpkgBase, 0o644},
		{"etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/false\n", 0o644},
		{"usr/bin/openssl", "\x7fELF" + strings.Repeat("x", 100), 0o755},
	}
}

func ownLayers(t testing.TB) [][]file {
	return [][]file{
		{
			{"var/lib/dpkg/status", dpkgBase + dpkgMore, 0o644},
			{"app/node_modules/lodash/package.json", `{"name":"lodash","version":"4.17.20","license":"MIT"}`, 0o644},
			{"app/node_modules/gone/package.json", `{"name":"gone","version":"1.0.0"}`, 0o644},
			{"app/deploy.key", privateKey(t), 0o600},
		},
		{
			{"app/node_modules/.wh.gone", "", 0o644}, {"app/.wh.deploy.key", "", 0o644},
		},
	}
}

// privateKey makes a key that guards nothing.
func privateKey(t testing.TB) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func packLayer(t testing.TB, files []file) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.path, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func packImage(t testing.TB, layers ...[]file) v1.Image {
	t.Helper()
	img := empty.Image
	for i, files := range layers {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{Layer: packLayer(t, files), History: v1.History{CreatedBy: fmt.Sprintf("COPY part%d /", i)}})
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config.User = "linux", runtime.GOARCH, "app"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

func ownImage(t testing.TB) v1.Image {
	return packImage(t, append([][]file{baseLayer()}, ownLayers(t)...)...)
}

func archive(t testing.TB, img v1.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("shop/web:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	return path
}

// database knows one fault in openssl and one in lodash.
func database(t testing.TB) *vuln.DB {
	t.Helper()
	b := vuln.NewBuilder(vuln.Options{})
	b.Source(scan.Source{Name: "test", Licence: "CC0-1.0", Data: now})
	for _, r := range []vuln.Record{
		{ID: "DSA-1-1", Upstream: []string{"CVE-2023-5363"}, Source: "test", Modified: now, Severity: scan.High,
			Affected: []vuln.Affected{{Ecosystem: "Debian:12", Name: "openssl", Ranges: []vuln.Range{{Fixed: "3.0.11-1~deb12u2"}}}}},
		{ID: "GHSA-35jh-r3h4-6jhm", Aliases: []string{"CVE-2021-23337"}, Source: "test", Modified: now, Severity: scan.High,
			Affected: []vuln.Affected{{Ecosystem: "npm", Name: "lodash", Ranges: []vuln.Range{{Fixed: "4.17.21"}}}}},
	} {
		if err := b.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	data, _, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	db, err := vuln.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func options(t testing.TB) engine.Options {
	t.Helper()
	s, err := secret.New()
	if err != nil {
		t.Fatal(err)
	}
	return engine.Options{Tool: "gabion test", DB: database(t), Secrets: s, Checks: true, Licenses: true, Files: true, Now: now}
}

func mustScan(t testing.TB, ref string, o engine.Options) *scan.Report {
	t.Helper()
	r, err := engine.Scan(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("scan %s: %v", ref, err)
	}
	return r
}

// what gives the packages and findings as lines, without where they came from.
func what(r *scan.Report) []string {
	var out []string
	for _, p := range r.Packages {
		out = append(out, fmt.Sprint(p.Ecosystem, " ", p.Name, " ", p.Version, " ", p.Source, " ", p.Path))
	}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprint(f.ID, " ", r.Packages[f.Package].Name, " ", f.Fix, " ", f.State))
	}
	return out
}

func TestSameEverywhere(t *testing.T) {
	layers := append([][]file{baseLayer()}, ownLayers(t)...)
	img := packImage(t, layers...)
	o := options(t)
	tarFile := archive(t, img)
	want := mustScan(t, tarFile, o)
	wantWhat := what(want)
	for _, line := range []string{
		"Debian:12 libssl3 3.0.9-1 openssl /var/lib/dpkg/status", "npm lodash 4.17.20  /app/node_modules/lodash/package.json",
		"CVE-2023-5363 libssl3 3.0.11-1~deb12u2 open", "CVE-2021-23337 lodash 4.17.21 open",
	} {
		if !slices.Contains(wantWhat, line) {
			t.Errorf("%q is missing of\n%s", line, strings.Join(wantWhat, "\n"))
		}
	}

	dir := filepath.Join(t.TempDir(), "layout")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/shop/web:1"
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, layer := range layers {
		unpack(t, root, layer)
	}
	bills := map[string]string{}
	for _, f := range []sbom.Format{sbom.CycloneDX, sbom.SPDX, sbom.SPDXTag} {
		var buf bytes.Buffer
		if err := sbom.Write(&buf, f, want); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), string(f))
		if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		bills[string(f)] = "sbom:" + path
	}
	sources := map[string]string{"layout": "oci:" + dir, "registry": ref, "directory": "dir:" + root}
	for k, v := range bills {
		sources[k] = v
	}
	for kind, ref := range sources {
		t.Run(kind, func(t *testing.T) {
			if diff := cmp.Diff(wantWhat, what(mustScan(t, ref, o))); diff != "" {
				t.Errorf("other than from the archive (-archive +%s):\n%s", kind, diff)
			}
		})
	}
}

// unpack lays a layer over a directory as a runtime would.
func unpack(t testing.TB, root string, layer []file) {
	t.Helper()
	for _, f := range layer {
		dir, base := filepath.Split(filepath.Join(root, f.path))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if gone, ok := strings.CutPrefix(base, ".wh."); ok {
			err = os.RemoveAll(filepath.Join(dir, gone))
		} else {
			err = os.WriteFile(filepath.Join(dir, base), []byte(f.content), os.FileMode(f.mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoBroughtIt(t *testing.T) {
	o := options(t)
	base := archive(t, packImage(t, baseLayer()))
	o.Base = base
	o.Thresholds = decide.Thresholds{FailOn: scan.High, NewOnly: true}
	r := mustScan(t, archive(t, ownImage(t)), o)
	layers := map[string]int{}
	for _, p := range r.Packages {
		layers[p.Name] = p.Layer
	}
	if want := map[string]int{"openssl": 0, "libssl3": 0, "curl": 1, "lodash": 1}; !cmp.Equal(want, layers) {
		t.Errorf("layers %v, want %v", layers, want)
	}
	for _, f := range r.Findings {
		if own := r.Packages[f.Package].Name == "lodash"; f.Base == own {
			t.Errorf("%s in %s: base image %v", f.ID, r.Packages[f.Package].Name, f.Base)
		}
	}
	if len(r.Violations) != 1 || !strings.Contains(r.Violations[0].Object, "lodash") {
		t.Errorf("violations %v, want lodash alone", r.Violations)
	}
	o.Base = archive(t, packImage(t, []file{{"other", "x", 0o644}}))
	if r := mustScan(t, archive(t, ownImage(t)), o); !r.Incomplete() {
		t.Error("a base image that is none leaves the report complete")
	}
}

func TestDeletedSecret(t *testing.T) {
	layers := ownLayers(t)
	deletedKey := layers[0][3].content
	r := mustScan(t, archive(t, packImage(t, append([][]file{baseLayer()}, layers...)...)), options(t))
	if len(r.Secrets) != 1 || !r.Secrets[0].Deleted || r.Secrets[0].Layer != 1 || r.Secrets[0].Where != "/app/deploy.key" {
		t.Fatalf("secrets %+v, want the deleted key of layer 1", r.Secrets)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(deletedKey, "\n") {
		if len(line) > 20 && bytes.Contains(text, []byte(line)) {
			t.Error("the report holds the secret itself")
		}
	}
}

func TestSameBytes(t *testing.T) {
	path := archive(t, ownImage(t))
	var first []byte
	for i := range 4 {
		o := options(t)
		o.Jobs = 1 + i%3
		text, err := json.Marshal(mustScan(t, path, o))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		} else if !bytes.Equal(first, text) {
			t.Fatalf("run %d gives other bytes", i)
		}
	}
}

func TestBrokenLayers(t *testing.T) {
	good, err := os.ReadFile(archive(t, ownImage(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func(b []byte, at, size int) []byte{
		"flipped bit": func(b []byte, at, size int) []byte { b[at+size/2] ^= 4; return b },
		"zeroed end": func(b []byte, at, size int) []byte {
			clear(b[at+size-size/3 : at+size])
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			at, size := findLayer(t, good)
			path := filepath.Join(t.TempDir(), "broken.tar")
			if err := os.WriteFile(path, breakIt(bytes.Clone(good), at, size), 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := engine.Scan(t.Context(), path, options(t))
			if err != nil {
				return // could not run is an honest answer too
			}
			if !r.Incomplete() {
				t.Fatalf("a broken layer left the report complete, with %d packages", len(r.Packages))
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "cut.tar")
		if err := os.WriteFile(path, good[:len(good)*2/3], 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := engine.Scan(t.Context(), path, options(t)); err == nil && !r.Incomplete() {
			t.Error("an archive that was cut off gives a complete report")
		}
	})
}

// findLayer gives where the first compressed layer lies in an archive.
func findLayer(t testing.TB, b []byte) (at, size int) {
	t.Helper()
	r := bytes.NewReader(b)
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatal("no layer in the archive")
		}
		if strings.HasSuffix(h.Name, ".tar.gz") {
			return len(b) - r.Len(), int(h.Size)
		}
	}
}

func TestUnknownSystemIsAGap(t *testing.T) {
	img := packImage(t, []file{
		{"etc/os-release", "ID=plan9\nVERSION_ID=4\n", 0o644}, {"var/lib/dpkg/status", dpkgBase, 0o644},
	})
	r := mustScan(t, archive(t, img), options(t))
	if !r.Incomplete() || len(r.Packages) != 2 || len(r.Findings) != 0 {
		t.Errorf("incomplete %v, %d packages, %d findings; want a gap and an inventory", r.Incomplete(), len(r.Packages), len(r.Findings))
	}
}

func TestExceptionEndsAtItsMoment(t *testing.T) {
	o := options(t)
	path := archive(t, ownImage(t))
	o.Thresholds = decide.Thresholds{FailOn: scan.High}
	o.Decisions.Exceptions = []v1alpha1.Exception{{
		ObjectMeta: metav1.ObjectMeta{Name: "lodash"},
		Spec: v1alpha1.ExceptionSpec{
			Images: []string{"**"}, Owner: "shop", Reason: "not reached", ExpiresAt: metav1.NewTime(now.Add(time.Second)),
			Rules: v1alpha1.ExceptionRules{Vulnerabilities: []v1alpha1.VulnerabilityRule{{ID: "GHSA-35jh-r3h4-6jhm"}}},
		},
	}}
	for at, want := range map[time.Duration]scan.State{0: scan.Ignored, time.Second: scan.Open, 2 * time.Second: scan.Open} {
		o.Now = now.Add(at)
		r := mustScan(t, path, o)
		i := slices.IndexFunc(r.Findings, func(f scan.Finding) bool { return f.ID == "CVE-2021-23337" })
		if i < 0 || r.Findings[i].State != want {
			t.Errorf("%v after: %+v, want %s", at, r.Findings, want)
		}
	}
}

// counting is a cache in memory that counts.
type counting struct {
	mu         sync.Mutex
	kept       map[string]*inventory.Contents
	hits, puts int
}

func (c *counting) Get(diffID, version string) (*inventory.Contents, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.kept[diffID+version]
	if ok {
		c.hits++
	}
	return k, ok
}

func (c *counting) Put(diffID, version string, k *inventory.Contents) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[diffID+version] = k
	c.puts++
	return nil
}

func TestLayersAreReadOnce(t *testing.T) {
	o := options(t)
	c := &counting{kept: map[string]*inventory.Contents{}}
	o.Cache = c
	layers := append([][]file{baseLayer()}, ownLayers(t)...)
	first := mustScan(t, archive(t, packImage(t, layers...)), o)
	second := mustScan(t, archive(t, packImage(t, append(layers, []file{{"new/package.json", "{}", 0o644}})...)), o)
	if c.puts != 4 || c.hits != 3 {
		t.Errorf("%d layers read and %d known, want 4 and 3", c.puts, c.hits)
	}
	if !cmp.Equal(what(first), what(second)) {
		t.Error("a layer without packages changed the packages")
	}
	disk, err := cache.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	o.Cache = disk
	for range 2 { // written, then read back
		if got := mustScan(t, archive(t, ownImage(t)), o); !cmp.Equal(what(first), what(got)) {
			t.Error("the cache on disk changes the report")
		}
	}
}

func TestBounds(t *testing.T) {
	path := archive(t, ownImage(t))
	t.Run("size", func(t *testing.T) {
		o := options(t)
		o.Limits = walk.DefaultLimits()
		o.Limits.Bytes = 2000
		if r := mustScan(t, path, o); !r.Incomplete() {
			t.Error("a layer beyond the limit leaves the report complete")
		}
	})
	t.Run("time", func(t *testing.T) {
		o := options(t)
		o.Timeout = time.Nanosecond
		r, err := engine.Scan(t.Context(), path, o)
		if err == nil && !r.Incomplete() {
			t.Error("no time, and yet complete")
		}
	})
	t.Run("ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := engine.Scan(ctx, path, options(t))
		if err == nil && !r.Incomplete() {
			t.Error("ended before it began, and yet complete")
		}
	})
}

func TestNothingThere(t *testing.T) {
	_, err := engine.Scan(t.Context(), "./no/such.tar", options(t))
	if !errors.Is(err, image.ErrNotFound) {
		t.Errorf("%v, want not found", err)
	}
}

func ExampleScan() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	lock := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(lock, []byte("flask==2.0.0\n"), 0o600); err != nil {
		panic(err)
	}
	r, err := engine.Scan(context.Background(), "dir:"+dir, engine.Options{Tool: "example"})
	if err != nil {
		panic(err)
	}
	for _, p := range r.Packages {
		fmt.Println(p.Ecosystem, p.Name, p.Version)
	}
	// Output: PyPI flask 2.0.0
}

func TestConfigurationIsRedacted(t *testing.T) {
	img := packImage(t, baseLayer())
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	random := make([]byte, 20)
	_, _ = rand.Read(random)
	password := fmt.Sprintf("Kd%x", random)
	cfg.Config.Env = []string{"DB_PASSWORD=" + password}
	cfg.History = append(cfg.History, v1.History{CreatedBy: "ENV DB_PASSWORD=" + password, EmptyLayer: true})
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	r := mustScan(t, archive(t, img), options(t))
	if len(r.Secrets) == 0 {
		t.Fatal("the password in the environment was not found")
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(password)) {
		t.Error("the report tells the password")
	}
	o := options(t)
	o.Secrets = nil
	for _, c := range mustScan(t, archive(t, img), o).Checks {
		if strings.HasPrefix(c.ID, "IMG-SECRET") && c.Status == "pass" {
			t.Errorf("%s passes though nobody looked for secrets", c.ID)
		}
	}
}
