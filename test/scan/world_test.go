// Package scan_test takes the scanner apart from outside: real images of every
// operating system it knows, hostile ones, and the same content wherever it may
// lie, through the public rooms and the whole engine.
//
// It is not for how a room does its work; each has tests of its own. The one
// idea: a report must be right or say what it lacks, and here is where that is
// tried.
package scan_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// entry is one entry of a layer. The zero type is a regular file; link is the
// target of a link.
type entry struct {
	path, text string
	typ        byte
	link       string
	mode       int64
}

func file(path, text string) entry  { return entry{path: path, text: text, mode: 0o644} }
func program(path, s string) entry  { return entry{path: path, text: s, mode: 0o755} }
func symlink(path, to string) entry { return entry{path: path, typ: tar.TypeSymlink, link: to} }
func hardlink(p, to string) entry   { return entry{path: p, typ: tar.TypeLink, link: to, mode: 0o755} }
func folder(path string) entry      { return entry{path: path + "/", typ: tar.TypeDir, mode: 0o755} }

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.path, Typeflag: e.typ, Linkname: e.link, Mode: e.mode, Size: int64(len(e.text))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func layerOf(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	data := tarOf(t, entries...)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// imageOf makes an image of layers, lowest first.
func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config.Cmd = "linux", "amd64", []string{"/bin/busybox", "sleep", "100000"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

const tagName = "docker.io/gabiontest/world:1"

// archiveOf writes an image as docker save does.
func archiveOf(t testing.TB, img v1.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag(tagName)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(path, tag, img); err != nil {
		t.Fatal(err)
	}
	return path
}

func scanRef(t testing.TB, ref string, o engine.Options) *scan.Report {
	t.Helper()
	o.Now, o.Image.Platform, o.Image.TempDir = now, "linux/amd64", t.TempDir()
	r, err := engine.Scan(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("scan %s: %v", ref, err)
	}
	return r
}

// scanEntries scans an image of one layer.
func scanEntries(t testing.TB, db *vuln.DB, entries ...entry) *scan.Report {
	t.Helper()
	return scanRef(t, archiveOf(t, imageOf(t, layerOf(t, entries...))), engine.Options{DB: db})
}

// document is one published document of advisories.
type document struct{ format, text string }

// databaseOf builds a database with the importers and opens it.
func databaseOf(t testing.TB, docs ...document) *vuln.DB {
	t.Helper()
	dir := t.TempDir()
	var in []feed.Input
	for i, d := range docs {
		path := filepath.Join(dir, fmt.Sprintf("%d.json", i))
		if err := os.WriteFile(path, []byte(d.text), 0o600); err != nil {
			t.Fatal(err)
		}
		in = append(in, feed.Input{Name: fmt.Sprintf("%s:%d", d.format, i), Path: path, Format: d.format, Licence: "CC0-1.0", Data: now})
	}
	out := filepath.Join(dir, "db")
	res, err := feed.Build(t.Context(), in, out, feed.Options{Built: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Inputs {
		if r.Stats.Kept == 0 && r.Stats.Withdrawn == 0 {
			t.Fatalf("nothing was imported of %s: %s", r.Input.Name, r.Stats.String())
		}
	}
	db, err := vuln.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// found lists findings as "ID package fix".
func found(r *scan.Report) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, strings.TrimSpace(f.ID+" "+r.Packages[f.Package].Name+" "+f.Fix))
	}
	slices.Sort(out)
	return out
}

// packages lists packages as "ecosystem name version source path".
func packages(r *scan.Report) []string {
	var out []string
	for _, p := range r.Packages {
		out = append(out, strings.Join([]string{p.Ecosystem, p.Name, p.Version, p.Source, p.SourceVersion, p.Path}, "|"))
	}
	return out
}

func gapsOf(r *scan.Report) string {
	var out strings.Builder
	for _, g := range r.Gaps {
		fmt.Fprintf(&out, "%s: %s (minor: %v)\n", g.Where, g.What, g.Minor)
	}
	return out.String()
}
