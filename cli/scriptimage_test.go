package cli_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"
)

// What scripts need to have something to scan. Nothing here is of the scanner:
// the formats are written as their specifications have them.

// imageConfig is that of every image of scripts: one with little to find fault
// with.
const imageConfig = `{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z",
 "config":{"User":"10001","Env":["PATH=/usr/bin"],"Entrypoint":["/usr/bin/serve"],"Healthcheck":{"Test":["CMD","/usr/bin/serve","-ok"]},
  "Labels":{"org.opencontainers.image.source":"https://git.example/shop","org.opencontainers.image.revision":"0123456789abcdef0123456789abcdef01234567"}}}`

const samples = "testdata/sample/sample.txtar"

// sample writes what most scripts scan.
func sample(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: sample")
	}
	a, err := txtar.ParseFile(samples)
	ts.Check(err)
	ts.Check(txtar.Write(a, ts.MkAbs(".")))
}

// makeImage writes "image NAME.tar LAYER..." as a docker-archive, and
// "image NAME LAYER..." as an OCI layout with the tag 1. A LAYER is a folder, or
// a file, which is then taken for the layer as it is.
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: image NAME[.tar] LAYER...")
	}
	var layers [][]byte
	for _, dir := range args[1:] {
		layers = append(layers, layerOf(ts, ts.MkAbs(dir)))
	}
	if out := ts.MkAbs(args[0]); strings.HasSuffix(out, ".tar") {
		writeArchive(ts, out, layers)
	} else {
		writeLayout(ts, out, layers)
	}
}

func layerOf(ts *testscript.TestScript, path string) []byte {
	if fi, err := os.Stat(path); err == nil && !fi.IsDir() {
		data, err := os.ReadFile(path)
		ts.Check(err)
		return data
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	ts.Check(filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if strings.HasPrefix(rel, "usr/bin/") {
			mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Name: rel, Mode: mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}))
	ts.Check(w.Close())
	return b.Bytes()
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func jsonOf(ts *testscript.TestScript, v any) []byte {
	data, err := json.Marshal(v)
	ts.Check(err)
	return data
}

func configOf(ts *testscript.TestScript, layers [][]byte) []byte {
	var c map[string]any
	ts.Check(json.Unmarshal([]byte(imageConfig), &c))
	ids, history := []string{}, []map[string]string{}
	for n, l := range layers {
		ids = append(ids, digestOf(l))
		history = append(history, map[string]string{"created_by": fmt.Sprintf("COPY layer%d / # buildkit", n+1)})
	}
	c["rootfs"], c["history"] = map[string]any{"type": "layers", "diff_ids": ids}, history
	return jsonOf(ts, c)
}

func writeArchive(ts *testscript.TestScript, out string, layers [][]byte) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, data []byte) {
		ts.Check(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}))
		_, err := w.Write(data)
		ts.Check(err)
	}
	names := []string{}
	for n, l := range layers {
		names = append(names, fmt.Sprintf("%d/layer.tar", n))
		add(names[n], l)
	}
	add("config.json", configOf(ts, layers))
	add("manifest.json", jsonOf(ts, []any{map[string]any{"Config": "config.json", "RepoTags": []string{"shop/web:1"}, "Layers": names}}))
	ts.Check(w.Close())
	ts.Check(os.WriteFile(out, b.Bytes(), 0o644))
}

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

func writeLayout(ts *testscript.TestScript, out string, layers [][]byte) {
	blobs := filepath.Join(out, "blobs", "sha256")
	ts.Check(os.MkdirAll(blobs, 0o755))
	put := func(mediaType string, data []byte) map[string]any {
		d := digestOf(data)
		ts.Check(os.WriteFile(filepath.Join(blobs, strings.TrimPrefix(d, "sha256:")), data, 0o644))
		return map[string]any{"mediaType": mediaType, "digest": d, "size": len(data)}
	}
	refs := []any{}
	for _, l := range layers {
		refs = append(refs, put(typeLayer, l))
	}
	m := put(typeManifest, jsonOf(ts, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": put(typeConfig, configOf(ts, layers)), "layers": refs,
	}))
	m["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "1"}
	ts.Check(os.WriteFile(filepath.Join(out, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	ts.Check(os.WriteFile(filepath.Join(out, "index.json"), jsonOf(ts, map[string]any{"schemaVersion": 2, "manifests": []any{m}}), 0o644))
}

// startRegistry serves "registry LAYOUT..." on loopback until the script ends;
// $REGISTRY is its address. A layout is the repository shop/ and its own name.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: registry LAYOUT...")
	}
	repos := map[string]string{}
	for _, layout := range args {
		repos["shop/"+filepath.Base(layout)] = ts.MkAbs(layout)
	}
	srv := httptest.NewServer(readOnlyRegistry(repos))
	ts.Defer(srv.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(srv.URL, "http://"))
}

// readOnlyRegistry is the part of the distribution API that pulls need.
func readOnlyRegistry(repos map[string]string) http.Handler {
	names := []string{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, mediaType string, data []byte) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", digestOf(data))
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
	}
	list := func(w http.ResponseWriter, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, "application/json", data)
	}
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	for name, dir := range repos {
		names = append(names, name)
		blob := func(digest string) ([]byte, error) {
			return os.ReadFile(filepath.Join(dir, "blobs", "sha256", filepath.Base(strings.TrimPrefix(digest, "sha256:"))))
		}
		mux.HandleFunc("GET /v2/"+name+"/tags/list", func(w http.ResponseWriter, _ *http.Request) {
			list(w, map[string]any{"name": name, "tags": []string{"1"}})
		})
		mux.HandleFunc("GET /v2/"+name+"/manifests/{ref}", func(w http.ResponseWriter, r *http.Request) {
			ref := r.PathValue("ref")
			if ref == "1" {
				var index struct{ Manifests []struct{ Digest string } }
				data, err := os.ReadFile(filepath.Join(dir, "index.json"))
				if err == nil {
					err = json.Unmarshal(data, &index)
				}
				if err != nil || len(index.Manifests) == 0 {
					http.NotFound(w, r)
					return
				}
				ref = index.Manifests[0].Digest
			}
			data, err := blob(ref)
			if err != nil {
				http.NotFound(w, r)
				return
			}
			answer(w, typeManifest, data)
		})
		mux.HandleFunc("GET /v2/"+name+"/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
			data, err := blob(r.PathValue("digest"))
			if err != nil {
				http.NotFound(w, r)
				return
			}
			answer(w, "application/octet-stream", data)
		})
	}
	slices.Sort(names)
	mux.HandleFunc("GET /v2/_catalog", func(w http.ResponseWriter, _ *http.Request) { list(w, map[string]any{"repositories": names}) })
	return mux
}

// freeAddress sets VAR to an address on loopback that nothing listens on.
func freeAddress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// reachBound is how long a program in the background may take to listen.
const reachBound = 20 * time.Second

// reach waits until something listens on ADDRESS.
func reach(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: reach ADDRESS")
	}
	for until := time.Now().Add(reachBound); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", args[0])
		if err == nil {
			ts.Check(c.Close())
			return
		}
		if time.Now().After(until) {
			ts.Fatalf("nothing listens: %v", err)
		}
	}
}
