package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBundleIsFresh compares the digest that the build wrote into dist with
// the sources as they are. The digest is SHA-256 over, for each file in the
// order of names: the name, a newline, the file's SHA-256 in hex, a newline.
func TestBundleIsFresh(t *testing.T) {
	want, err := fs.ReadFile(Dist(), "source.txt")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"index.html", "package.json", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts"}
	for _, dir := range []string{"src", "public"} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, filepath.ToSlash(p))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		one := sha256.Sum256(data)
		sum.Write([]byte(f + "\n" + hex.EncodeToString(one[:]) + "\n"))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != strings.TrimSpace(string(want)) {
		t.Error("dist is older than its source: run npm ci && npm run build in ui, and commit dist")
	}
}

// TestBundleIsSmall keeps the whole UI below 150 KB as it travels.
func TestBundleIsSmall(t *testing.T) {
	var total int
	err := fs.WalkDir(Dist(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(Dist(), p)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if _, err := w.Write(data); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		total += out.Len()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the UI has %d bytes compressed", total)
	if total > 150_000 || total < 10_000 {
		t.Errorf("the UI has %d bytes compressed, want 10,000 to 150,000", total)
	}
}

// TestLockHasNoHosts: which registry packages came from is the business of
// the machine that installs them.
func TestLockHasNoHosts(t *testing.T) {
	data, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(`"resolved"`)) {
		t.Error("package-lock.json names where packages came from: .npmrc was not in force")
	}
}
