package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzParseRef: a reference is taken apart without losing any of it.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{
		"alpine", "registry:alpine:3", "docker:a/b:c", "container:0123", "dir:/x", "tar:/x/y.tar:a:b", "oci:x@sha256:aa", "sbom:b.json", "/x/y.tar:t", "./x", "a:b:c", ":", "tar:", "oci:/x:/x",
	} {
		f.Add(s, len(s)/2)
	}
	f.Fuzz(func(t *testing.T, ref string, at int) {
		// One path exists: a beginning of what is behind the scheme.
		_, rest, _ := strings.Cut(ref, ":")
		path := rest[:min(max(at, 0), len(rest))]
		r, err := ParseRef(ref, func(p string) bool { return p == path })
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Fatalf("%q: %T", ref, err)
			}
			return
		}
		if r.Name == "" || !strings.Contains(ref, r.Name) || !strings.HasSuffix(ref, r.Tag) {
			t.Fatalf("%q: %+v", ref, r)
		}
		if r.Tag != "" && r.Name != path {
			t.Fatalf("%q: split at %q, which does not exist", ref, r.Name)
		}
	})
}

// FuzzArchive: an archive of any bytes opens or is refused, within its limits.
func FuzzArchive(f *testing.F) {
	layer := tarOf(f, map[string]string{"x": "y"})
	f.Add(tarOf(f, map[string]string{"manifest.json": `[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]`, "c.json": `{"os":"linux","rootfs":{"diff_ids":["sha256:` + strings.Repeat("a", 64) + `"]}}`, "l.tar": string(layer)}))
	f.Add(tarOf(f, map[string]string{"index.json": `{"manifests":[]}`, "oci-layout": "{}"}))
	a := &archiveWriter{}
	a.link(f, "manifest.json", "manifest.json")
	f.Add(a.bytes(f))
	f.Add(gzipOf(f, layer))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		p := filepath.Join(dir, "a.tar")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := Open(context.Background(), "tar:"+p, Options{MaxSpool: 1 << 20, TempDir: dir})
		if err != nil {
			return
		}
		defer img.Close()
		for i := range img.Layers {
			blob, err := img.Blob(context.Background(), i)
			if err != nil {
				t.Fatalf("layer %d of an image that opened: %v", i, err)
			}
			_ = blob.Close()
		}
	})
}

// FuzzManifest: whatever a registry answers, what is accepted holds together.
func FuzzManifest(f *testing.F) {
	hash := "sha256:" + strings.Repeat("a", 64)
	config := `{"os":"linux","architecture":"amd64","history":[{"created_by":"x"}],"rootfs":{"diff_ids":["` + hash + `"]}}`
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+hash+`"},"layers":[{"digest":"`+hash+`"}]}`), []byte(config))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+hash+`"}]}`), []byte(config))
	f.Add([]byte(`{"schemaVersion":1}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, manifest, other []byte) {
		o := Options{MaxLayers: 10, MaxHistory: 10}.filled()
		r := &resolver{o: o, name: "x", fetch: func(context.Context, v1.Descriptor, int64) ([]byte, error) { return other, nil }}
		h, _, err := v1.SHA256(bytes.NewReader(other))
		if err != nil {
			t.Fatal(err)
		}
		// The fuzzer cannot make digests: the one it knows stands for the right one.
		manifest = bytes.ReplaceAll(manifest, []byte(hash), []byte(h.String()))
		got, err := r.resolve(context.Background(), manifest, v1.Hash{})
		if err != nil {
			return
		}
		img := &Image{}
		if err := fill(&img.Image, got.config, layersOf(got.manifest), o); err != nil {
			return
		}
		if len(img.Layers) > 10 || len(img.Config.History) > 10 {
			t.Fatalf("beyond the limits: %+v", img)
		}
		for _, l := range img.Layers {
			if len(l.Digest) != 71 || len(l.DiffID) != 71 {
				t.Fatalf("layer %+v", l)
			}
		}
	})
}

// FuzzSaved: the table of docker save.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(`[{"Config":"a.json","RepoTags":["x:1"],"Layers":["a"]},{"Config":"b.json"}]`), "1")
	f.Add([]byte(`[null]`), "")
	f.Add([]byte(`{}`), "x")
	f.Fuzz(func(t *testing.T, raw []byte, tag string) {
		s, err := parseSaved(raw, tag, "x", "y:%s")
		if err == nil && tag != "" && !strings.HasPrefix(tag, "sha256:") && len(s.RepoTags) == 0 && !strings.HasSuffix("sha256:"+strings.TrimSuffix(filepath.Base(s.Config), ".json"), tag) {
			t.Fatalf("%q found %+v", tag, s)
		}
	})
}
