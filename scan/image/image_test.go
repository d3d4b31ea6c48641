package image

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gabion-dev/gabion/scan"
)

// startRegistry starts a registry in the process.
func startRegistry(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(quiet())))
	t.Cleanup(s.Close)
	return s
}

func push(t testing.TB, ref string, img v1.Image, opts ...remote.Option) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(r, img, opts...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSameEverywhere opens one image from everywhere a file or registry can
// be, and finds the same.
func TestSameEverywhere(t *testing.T) {
	img := testImage(t, "amd64")
	dir := writeLayout(t, img)
	reg := startRegistry(t)
	push(t, host(reg)+"/team/app:1", img)
	tag, err := name.NewTag("example.com/app:1")
	if err != nil {
		t.Fatal(err)
	}
	docker := filepath.Join(t.TempDir(), "docker.tar")
	if err := tarball.WriteToFile(docker, tag, img); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(docker)
	if err != nil {
		t.Fatal(err)
	}
	archive := tarDir(t, dir)
	first := open(t, "oci:"+dir, Options{})
	if got := first.Config; !slices.Equal(got.ExposedPorts, []string{"443/tcp", "80/tcp"}) || got.User != "app" || got.Healthcheck[1] != "true" ||
		got.Labels["l"] != "v" || got.Volumes[0] != "/data" || len(got.History) != 3 || !got.History[1].Empty || got.History[1].Comment != "buildkit" || got.Created.Year() != 2023 {
		t.Errorf("configuration: %+v", got)
	}
	if first.Layers[0].Command != "COPY 0" || first.Layers[1].Command != "COPY 1" || first.Platform != "linux/amd64" {
		t.Errorf("layers: %+v", first.Layers)
	}
	want := entries(t, first)
	if len(want) != 2 || !slices.Contains(want[1], "whiteout etc/os-release 0") {
		t.Fatalf("entries: %v", want)
	}
	for ref, kind := range map[string]scan.Kind{
		dir: scan.OCILayout, archive: scan.OCIArchive, "tar:" + archive: scan.OCIArchive,
		docker: scan.DockerArchive, "tar:" + docker + ":example.com/app:1": scan.DockerArchive,
		writeFile(t, "docker.tar.gz", gzipOf(t, raw)):         scan.DockerArchive,
		host(reg) + "/team/app:1":                             scan.Registry,
		"registry:" + host(reg) + "/team/app@" + first.Digest: scan.Registry,
	} {
		got := open(t, ref, Options{})
		if got.Kind != kind || got.ConfigID != first.ConfigID || !same(got.Image, first.Image) {
			t.Errorf("%s: kind %s, config %s, layers %+v", ref, got.Kind, got.ConfigID, got.Layers)
		}
		if kind != scan.DockerArchive && got.Digest != first.Digest {
			t.Errorf("%s: digest %s, not %s", ref, got.Digest, first.Digest)
		}
		if diff := cmp.Diff(first.Config, got.Config); diff != "" {
			t.Errorf("%s: configuration: %s", ref, diff)
		}
		if diff := cmp.Diff(want, entries(t, got)); diff != "" {
			t.Errorf("%s: entries: %s", ref, diff)
		}
		if d, opts, ok := got.Repository(); ok != (kind == scan.Registry) || ok && (d.DigestStr() != first.Digest || len(opts) == 0) {
			t.Errorf("%s: repository %v %v", ref, d, ok)
		}
	}
}

func TestDirectoryAndSBOM(t *testing.T) {
	dir := t.TempDir()
	sbom := writeFile(t, "bom.json", []byte("{\n \"bomFormat\": \"CycloneDX\"}"))
	for ref, want := range map[string]Image{
		dir:            {Image: scan.Image{Name: dir, Kind: scan.Directory}, Root: dir},
		"dir:" + dir:   {Image: scan.Image{Name: dir, Kind: scan.Directory}, Root: dir},
		sbom:           {Image: scan.Image{Name: sbom, Kind: scan.SBOM}, Root: sbom},
		"sbom:" + sbom: {Image: scan.Image{Name: sbom, Kind: scan.SBOM}, Root: sbom},
	} {
		got := open(t, ref, Options{})
		if got.Kind != want.Kind || got.Root != want.Root || got.Name != want.Name || len(got.Layers) != 0 {
			t.Errorf("%s: %+v", ref, got.Image)
		}
		if _, err := got.Blob(context.Background(), 0); err == nil {
			t.Errorf("%s: has a layer", ref)
		}
	}
}

func TestPlatforms(t *testing.T) {
	dir := writeLayout(t, index(t, "amd64", "arm64"))
	reg := startRegistry(t)
	ref, err := name.ParseReference(host(reg) + "/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index(t, "amd64", "arm64")); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{dir, host(reg) + "/multi:1"} {
		for _, p := range []string{"linux/amd64", "linux/arm64", "linux/arm64/v8"} {
			img := open(t, from, Options{Platform: p})
			if !strings.HasPrefix(p, img.Platform) || img.Index == "" || img.Index == img.Digest {
				t.Errorf("%s for %s: is for %s, index %q", from, p, img.Platform, img.Index)
			}
		}
		_, err := Open(context.Background(), from, Options{Platform: "linux/s390x"})
		if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/amd64, linux/arm64") {
			t.Errorf("%s: %v", from, err)
		}
	}
	// An image that exists for one platform needs no choice, unless one is asked for.
	single := writeLayout(t, testImage(t, "riscv64"))
	if img := open(t, single, Options{}); img.Platform != "linux/riscv64" {
		t.Errorf("platform %s", img.Platform)
	}
	if _, err := Open(context.Background(), single, Options{Platform: "linux/amd64"}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/riscv64") {
		t.Errorf("asked for another platform: %v", err)
	}
	if _, err := Open(context.Background(), single, Options{Platform: "amd64"}); !errors.Is(err, ErrPlatform) {
		t.Errorf("half a platform: %v", err)
	}
}

func TestSeveralImages(t *testing.T) {
	dir := writeLayout(t, testImage(t, "amd64"), layout.WithAnnotations(map[string]string{refName: "one"}))
	p, err := layout.FromPath(dir)
	if err == nil {
		err = p.AppendImage(testImage(t, "arm64"), layout.WithAnnotations(map[string]string{refName: "example.com/b:two"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), dir, Options{}); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "example.com/b:two, one") {
		t.Errorf("no tag: %v", err)
	}
	if img := open(t, "oci:"+dir+":two", Options{}); img.Platform != "linux/arm64" || !slices.Equal(img.Tags, []string{"example.com/b:two"}) {
		t.Errorf("tag two: %s %v", img.Platform, img.Tags)
	}
	one := open(t, dir+":one", Options{})
	if img := open(t, "oci:"+dir+"@"+one.Digest, Options{}); img.Digest != one.Digest {
		t.Errorf("by digest: %s", img.Digest)
	}
	if _, err := Open(context.Background(), "oci:"+dir+":three", Options{}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "example.com/b:two") {
		t.Errorf("unknown tag: %v", err)
	}

	a, b := name.MustParseReference("example.com/a:1").(name.Tag), name.MustParseReference("example.com/b:1").(name.Tag)
	file := filepath.Join(t.TempDir(), "two.tar")
	if err := tarball.MultiWriteToFile(file, map[name.Tag]v1.Image{a: testImage(t, "amd64"), b: testImage(t, "arm64")}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), file, Options{}); !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), "example.com/a:1") {
		t.Errorf("archive without tag: %v", err)
	}
	if _, err := Open(context.Background(), "tar:"+file+":example.com/b:1", Options{Platform: "linux/amd64"}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "for linux/arm64 only") {
		t.Errorf("archive, another platform: %v", err)
	}
	if img := open(t, "tar:"+file+":example.com/b:1", Options{Platform: "linux/arm64"}); img.Platform != "linux/arm64" {
		t.Errorf("archive: %s", img.Platform)
	}
	if _, err := Open(context.Background(), "tar:"+file+":c", Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("archive, unknown tag: %v", err)
	}
}

// TestRefused: what is no image, or a hostile one, is refused with a kind and a
// word on what it is.
func TestRefused(t *testing.T) {
	layoutWith := func(path, content string) string {
		dir := writeLayout(t, testImage(t, "amd64"))
		if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	img := testImage(t, "amd64")
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	broken := layoutWith(blobPath(config), "{}")
	linked := writeLayout(t, img)
	if err := os.Remove(filepath.Join(linked, blobPath(config))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(linked, blobPath(config))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ref  string
		o    Options
		kind error
		word string
	}{
		{ref: "./nothing/here", kind: ErrNotFound, word: "check the path"},
		{ref: "tar:/nothing/here.tar", kind: ErrNotFound},
		{ref: "dir:/nothing", kind: ErrNotFound},
		{ref: "UPPER/case:1", kind: ErrUnsupported, word: "registry/repository:tag"},
		{ref: "a\x00b", kind: ErrUnsupported},
		{ref: "", kind: ErrUnsupported},
		{ref: "/dev/null", kind: ErrUnsupported, word: "neither"},
		{ref: writeFile(t, "other.tar", tarOf(t, map[string]string{"x": "y"})), kind: ErrUnsupported, word: "holds no image"},
		{ref: writeFile(t, "old.tar", tarOf(t, map[string]string{"repositories": "{}"})), kind: ErrUnsupported, word: "first format"},
		{ref: writeFile(t, "cut.tar", tarOf(t, map[string]string{"manifest.json": strings.Repeat("x", 2000)})[:1200]), kind: ErrCorrupt},
		{ref: writeFile(t, "bad.tar.gz", gzipOf(t, tarOf(t, map[string]string{"manifest.json": "[]"}))[:40]), kind: ErrCorrupt},
		{ref: writeFile(t, "none.tar", tarOf(t, map[string]string{"manifest.json": "[]"})), kind: ErrNotFound},
		{ref: writeFile(t, "miss.tar", tarOf(t, map[string]string{"manifest.json": `[{"Config":"../../etc/passwd","Layers":["x"]}]`})), kind: ErrNotFound, word: "etc/passwd in archive"},
		{ref: layoutWith("index.json", `{"schemaVersion":1,"fsLayers":[]}`), kind: ErrUnsupported, word: "first schema"},
		{ref: layoutWith("index.json", `{"schemaVersion":2}`), kind: ErrUnsupported, word: "neither an image nor an index"},
		{ref: layoutWith("index.json", `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha512:aa"}]}`), kind: ErrCorrupt},
		{ref: layoutWith("index.json", `not json`), kind: ErrCorrupt},
		{ref: broken, kind: ErrCorrupt, word: "has digest"},
		{ref: linked, kind: ErrUnreachable, word: "escapes"},
		{ref: writeLayout(t, img), o: Options{MaxLayers: 1}, kind: ErrTooBig, word: "2 layers"},
		{ref: writeLayout(t, img), o: Options{MaxHistory: 2}, kind: ErrTooBig, word: "3 steps"},
		{ref: writeLayout(t, img), o: Options{MaxConfig: 100}, kind: ErrTooBig},
		{ref: writeLayout(t, img), o: Options{MaxManifest: 100}, kind: ErrTooBig},
		{ref: "containerd:alpine", o: Options{ContainerdSocket: "/nothing.sock"}, kind: ErrUnreachable, word: "/nothing.sock"},
		{ref: "docker:24", o: Options{DockerSocket: "/nothing.sock"}, kind: ErrUnreachable, word: "write docker.io/library/docker:24"},
		{ref: "docker:alpine", o: Options{DockerSocket: "/nothing.sock"}, kind: ErrUnreachable, word: "/nothing.sock"},
		{ref: "container:abc", o: Options{DockerSocket: "/nothing.sock", ContainerdSocket: "/nothing.sock"}, kind: ErrUnreachable},
	} {
		img, err := Open(context.Background(), c.ref, c.o)
		if err == nil {
			_ = img.Close()
		}
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%q: %v; want %v and %q", c.ref, err, c.kind, c.word)
		}
		if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %T is not an *Error", c.ref, err)
		}
	}
}

// TestOpenReadsNoLayer: a layout whose layers are missing opens all the same,
// and the loss is told when one is wanted.
func TestOpenReadsNoLayer(t *testing.T) {
	img := testImage(t, "amd64")
	dir := writeLayout(t, img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, blobPath(d))); err != nil {
		t.Fatal(err)
	}
	got := open(t, dir, Options{})
	if _, err := got.Blob(context.Background(), 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing layer: %v", err)
	}
	b, err := got.Blob(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, b); err != nil || n != got.Layers[1].Size {
		t.Errorf("layer 1: %d bytes, %v", n, err)
	}
	_ = b.Close()
	if _, err := got.Blob(context.Background(), 2); err == nil {
		t.Error("there is a third layer")
	}
}

// TestSpoolBounded: an archive that unpacks to too much is refused, and leaves
// nothing behind.
func TestSpoolBounded(t *testing.T) {
	tmp := t.TempDir()
	big := gzipOf(t, tarOf(t, map[string]string{"manifest.json": strings.Repeat(" ", 1<<20)}))
	_, err := Open(context.Background(), writeFile(t, "big.tar.gz", big), Options{TempDir: tmp, MaxSpool: 100_000})
	if !errors.Is(err, ErrTooBig) {
		t.Errorf("beyond the limit: %v", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestOldDockerSave: layers that come twice are links in old archives.
func TestOldDockerSave(t *testing.T) {
	layer := tarOf(t, map[string]string{"etc/x": "y"})
	h, _, err := v1.SHA256(strings.NewReader(string(layer)))
	if err != nil {
		t.Fatal(err)
	}
	a := &archiveWriter{}
	a.file(t, "aa/layer.tar", layer)
	a.link(t, "bb/layer.tar", "../aa/layer.tar")
	a.link(t, "loop/layer.tar", "../loop/layer.tar")
	a.file(t, "c.json", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+h.String()+`","`+h.String()+`"]}}`))
	a.file(t, "manifest.json", []byte(`[{"Config":"c.json","RepoTags":null,"Layers":["aa/layer.tar","bb/layer.tar"]}]`))
	img := open(t, writeFile(t, "old.tar", a.bytes(t)), Options{})
	if got := entries(t, img); len(got) != 2 || !slices.Equal(got[0], got[1]) {
		t.Errorf("entries: %v", got)
	}
	if img.Layers[0].Digest != h.String() || img.Layers[0].Command != "" {
		t.Errorf("layer: %+v", img.Layers[0])
	}
	a.file(t, "manifest.json", []byte(`[{"Config":"c.json","Layers":["loop/layer.tar"]}]`))
	if _, err := Open(context.Background(), writeFile(t, "loop.tar", a.bytes(t)), Options{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("links in a circle: %v", err)
	}
}
