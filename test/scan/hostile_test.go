package scan_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/report"
	"github.com/gabion-dev/gabion/scan/secret"
)

// blob is a layer as it is stored. Its diff id is zero where it cannot matter:
// a layer that is lost never gets that far.
type blob struct {
	kind   types.MediaType
	data   func(io.Writer) error
	diffID string
}

const noDiffID = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

// layoutOf writes an image of blobs without holding any in memory.
func layoutOf(t testing.TB, blobs ...blob) string {
	t.Helper()
	dir := t.TempDir()
	store := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(store, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(write func(io.Writer) error) (digest string, size int64) {
		f, err := os.Create(filepath.Join(store, "new"))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		w := bufio.NewWriterSize(io.MultiWriter(f, h), 1<<20)
		if err := write(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if size, err = f.Seek(0, io.SeekCurrent); err != nil {
			t.Fatal(err)
		}
		f.Close()
		digest = fmt.Sprintf("%x", h.Sum(nil))
		if err := os.Rename(f.Name(), filepath.Join(store, digest)); err != nil {
			t.Fatal(err)
		}
		return "sha256:" + digest, size
	}
	type descriptor struct {
		MediaType types.MediaType `json:"mediaType"`
		Digest    string          `json:"digest"`
		Size      int64           `json:"size"`
	}
	document := func(kind types.MediaType, v any) descriptor {
		d, n := put(func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
		return descriptor{kind, d, n}
	}
	var layers []descriptor
	var ids []string
	for _, b := range blobs {
		d, n := put(b.data)
		layers = append(layers, descriptor{b.kind, d, n})
		id := b.diffID
		if id == "" && b.kind == types.OCIUncompressedLayer {
			id = d
		} else if id == "" {
			id = noDiffID
		}
		ids = append(ids, id)
	}
	config := document(types.OCIConfigJSON, map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	manifest := document(types.OCIManifestSchema1, map[string]any{"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "config": config, "layers": layers})
	for name, v := range map[string]any{"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"}, "index.json": map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "oci:" + dir
}

// plainLayer is an uncompressed layer of one file whose text is repeated.
func plainLayer(path, text string, size int64) blob {
	return blob{kind: types.OCIUncompressedLayer, data: func(w io.Writer) error { return oneFile(w, path, text, size) }}
}

func oneFile(w io.Writer, path, text string, size int64) error {
	tw := tar.NewWriter(w)
	if err := tw.WriteHeader(&tar.Header{Name: path, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	chunk := strings.Repeat(text, 1+(256<<10)/len(text))
	for left := size; left > 0; {
		n, err := io.WriteString(tw, chunk[:min(int64(len(chunk)), left)])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return tw.Close()
}

func gzipped(write func(io.Writer) error) blob {
	return blob{kind: types.OCILayer, data: func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err
		}
		if err := write(z); err != nil {
			return err
		}
		return z.Close()
	}}
}

// manyEntries is a tar of millions of entries: one packed part, again and again.
func manyEntries(parts, each int) blob {
	return blob{kind: types.OCILayer, data: func(w io.Writer) error {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		tw := tar.NewWriter(z)
		for i := range each {
			sum := sha256.Sum256(fmt.Append(nil, i))
			if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/share/%x/%d", sum[:6], i), Typeflag: tar.TypeReg, Mode: 0o644}); err != nil {
				return err
			}
		}
		if err := tw.Flush(); err != nil { // and no end of the archive
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		for range parts {
			if _, err := w.Write(packed.Bytes()); err != nil {
				return err
			}
		}
		return nil
	}}
}

// outcome is what a scan in a process of its own came to.
type outcome struct {
	Incomplete bool
	Packages   int
	Gaps       []scan.Gap
	Memory     int64 // the most there was at once, in MiB
}

const childVariable = "GABION_TEST_SCAN_THIS"

// TestMain makes this binary the other process of scanApart where it is asked to.
func TestMain(m *testing.M) {
	if ref := os.Getenv(childVariable); ref != "" {
		if err := child(ref); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(ref string) error {
	dir, err := os.MkdirTemp("", "scan-child-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o := engine.Options{Checks: true, Now: now}
	o.Image.Platform, o.Image.TempDir = "linux/amd64", dir
	r, err := engine.Scan(context.Background(), ref, o)
	if err != nil {
		return err
	}
	// Not the rusage that the parent could ask for: it begins with the parent's.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	var most int64
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &most); err != nil {
		return err
	}
	b, err := json.Marshal(outcome{r.Incomplete(), len(r.Packages), r.Gaps, most / 1024})
	if err != nil {
		return err
	}
	fmt.Printf("\noutcome %s\n", b)
	return nil
}

// scanApart scans in another process and measures its memory.
func scanApart(t *testing.T, ref string) (o outcome, cpu time.Duration) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(own)
	cmd.Env = append(os.Environ(), childVariable+"="+ref)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.3000s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "\noutcome ")
	if err := json.NewDecoder(strings.NewReader(rest)).Decode(&o); err != nil {
		t.Fatalf("%v\n%.3000s", err, out)
	}
	return o, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// TestHostileImages: whatever an image is made of, memory is bounded and the
// report says what it lacks.
func TestHostileImages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	deep := zipOf(t, file("x", ""))
	for range 100 {
		deep = zipOf(t, file("lib/in.jar", string(deep)))
	}
	var inner bytes.Buffer
	if err := func() error {
		z := gzip.NewWriter(&inner)
		if _, err := io.CopyN(z, zero{}, 1<<20); err != nil {
			return err
		}
		return z.Close()
	}(); err != nil {
		t.Fatal(err)
	}
	layer := func(entries ...entry) blob {
		return blob{kind: types.OCIUncompressedLayer, data: func(w io.Writer) error { _, err := w.Write(tarOf(t, entries...)); return err }}
	}
	var long strings.Builder
	for i := range 90_000 {
		fmt.Fprintf(&long, "Package: package-%d\nVersion: 1.%d\n\n", i, i)
	}
	var heavy []blob
	for i := range 30 {
		heavy = append(heavy, layer(file(fmt.Sprintf("var/lib/dpkg/status.d/p%d", i), long.String())))
	}
	allowed := manyEntries(20, 100_000)
	allowed.diffID = unpackedDigest(t, allowed)
	same := slices.Repeat([]blob{layer(file("app/node_modules/a/package.json", `{"name":"a","version":"1.0.0"}`))}, 120)
	for _, c := range []struct {
		name     string
		blobs    []blob
		gap      string // of the gaps that are not minor
		packages int
	}{
		{"gzip bomb", []blob{gzipped(func(w io.Writer) error { return oneFile(w, "zeros", "\x00", 2<<30) })}, "to 1", 0},
		{"zstd bomb", []blob{{kind: types.OCILayerZStd, data: func(w io.Writer) error {
			z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
			if err != nil {
				return err
			}
			if err := oneFile(z, "zeros", "\x00", 2<<30); err != nil {
				return err
			}
			return z.Close()
		}}}, "to 1", 0},
		{"jar in a jar that unpacks to gigabytes", []blob{layer(file("app.jar", string(bombJar(t))))}, "not a valid zip file", 0},
		{"a hundred archives in each other", []blob{layer(file("app.jar", string(deep)))}, "more than 8 deep", 0},
		{"ten million entries", []blob{manyEntries(100, 100_000)}, "more than 4000000", 0},
		{"two million entries", []blob{allowed}, "", 0},
		{"the same layer again and again", same, "", 1},
		{"layers that are too much together", heavy, "no honest image", 150_000},
		{"os-release of 100 MB", []blob{plainLayer("etc/os-release", "X=y\n", 100<<20)}, "held in memory", 0},
		{"dpkg's status of 1 GiB", []blob{plainLayer("var/lib/dpkg/status", "Package: a\nVersion: 1\n\n", 1<<30)}, "more than 100000 packages", 1},
		{"apk's database of 256 MiB", []blob{plainLayer("lib/apk/db/installed", "P:a\nR:a\nR:b\n", 256<<20)}, "owns more than", 0},
		{"lock file of 1 GiB", []blob{plainLayer("app/package-lock.json", "[", 1<<30)}, "more than the", 0},
		{"lock file of brackets", []blob{plainLayer("app/package-lock.json", "[", 16<<20)}, "package-lock.json", 0},
		{"lock file of YAML", []blob{plainLayer("app/pnpm-lock.yaml", "- [a, b]\n", 6<<20)}, "pnpm", 0},
		{"rpm's database of nothing", []blob{plainLayer("var/lib/rpm/rpmdb.sqlite", "\x00", 256<<20)}, "no intact rpm database", 0},
		{"jar of nothing", []blob{plainLayer("app.jar", "\x00", 256<<20)}, "zip", 0},
		{"truncated", []blob{{kind: types.OCILayer, data: func(w io.Writer) error { _, err := w.Write(inner.Bytes()[:inner.Len()/2]); return err }}}, "layer 1", 0},
		{"out of the root", []blob{layer(
			file("../../etc/shadow", "x"), file("/absolute", "x"), symlink("up", "../../../.."), file("up/etc/cron.d/x", "x"), hardlink("h", "../../../etc/passwd"),
			symlink("a", "b"), symlink("b", "a"), file("a/b/a/node_modules/x/package.json", `{"name":"x","version":"1.0.0"}`))}, "outside of the root", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, cpu := scanApart(t, layoutOf(t, c.blobs...))
			t.Logf("%d MiB, %v of processor time, %d packages, %d gaps", o.Memory, cpu.Round(10*time.Millisecond), o.Packages, len(o.Gaps))
			if limit := int64(1000); o.Memory > limit {
				t.Errorf("it took %d MiB of memory, more than %d", o.Memory, limit)
			}
			all := ""
			for _, g := range o.Gaps {
				if !g.Minor {
					all += g.Where + ": " + g.What + "\n"
				}
			}
			if c.gap != "" && !strings.Contains(all, c.gap) {
				t.Errorf("no gap says %q:\n%.2000s", c.gap, all)
			}
			if o.Incomplete != (c.gap != "") {
				t.Errorf("incomplete: %v\n%.2000s", o.Incomplete, all)
			}
			if o.Packages > c.packages {
				t.Errorf("%d packages, want %d", o.Packages, c.packages)
			}
		})
	}
}

// unpackedDigest is the diff id of a gzipped blob.
func unpackedDigest(t testing.TB, b blob) string {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(b.data(w)) }()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// bombJar is a jar that holds jars of nothing, which unpack to more than one
// gibibyte together.
func bombJar(t testing.TB) []byte {
	t.Helper()
	one := strings.Repeat("\x00", 64<<20)
	var all []entry
	for i := range 17 {
		all = append(all, file(fmt.Sprintf("lib/%d.jar", i), one))
	}
	return zipOf(t, all...)
}

// TestNamesOfAnyBytes: names that are no text come out as text in every format.
func TestNamesOfAnyBytes(t *testing.T) {
	s, err := secret.New()
	if err != nil {
		t.Fatal(err)
	}
	bad := "app/\xff\xfe\n\x1b[31m\u202e<script>|`/node_modules/x"
	ref := archiveOf(t, imageOf(t, layerOf(t, osRelease("debian", "12", ""), dpkgStatus(software{name: "a\xffb\x1b[1m", version: "1.0|<b>"}),
		file(bad+"/package.json", `{"name":"x\u0000\n<img>","version":"1.0.0\r\nx"}`), file(bad+"/y/package.json", "{"), program(bad+"/run", "\x7fELF\x00"))))
	r := scanRef(t, ref, engine.Options{Tool: "gabion test", Secrets: s, Checks: true, Files: true, Licenses: true})
	if len(r.Packages) < 2 {
		t.Fatalf("packages %q", packages(r))
	}
	for _, f := range report.Formats() {
		var b bytes.Buffer
		if err := report.Write(&b, f.Name, r, report.Options{Template: "{{range .Packages}}{{.Name}}{{end}}"}); err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if f.Name == "template" {
			continue // the user's own business
		}
		if out := b.String(); strings.ContainsRune(out, '\x1b') || strings.ToValidUTF8(out, "") != out {
			t.Errorf("%s writes bytes that are no text", f.Name)
		} else if (f.Name == "html" || f.Name == "markdown") && strings.Contains(out, "<script>|") {
			t.Errorf("%s writes a name as markup", f.Name)
		}
	}
}

// TestHangingRegistry: a blob that stops in the middle ends with the time of
// the layer, and so does the program's waiting.
func TestHangingRegistry(t *testing.T) {
	layer := layerOf(t, file("app/node_modules/a/package.json", `{"name":"a","version":"1.0.0"}`))
	img := imageOf(t, layer)
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	name, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", string(types.DockerManifestSchema2))
			_, _ = w.Write(manifest)
		case strings.HasSuffix(r.URL.Path, name.String()):
			_, _ = w.Write(config)
		case strings.Contains(r.URL.Path, "/blobs/"):
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	defer close(stop)
	var o engine.Options
	o.Image.PlainHTTP = true
	o.Limits.Time = 300 * time.Millisecond
	r := scanRef(t, "registry:"+l.Addr().String()+"/a/b:1", o)
	if !r.Incomplete() || !strings.Contains(gapsOf(r), "time") {
		t.Errorf("gaps:\n%s", gapsOf(r))
	}
}
