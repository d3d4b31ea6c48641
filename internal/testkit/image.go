package testkit

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// BusyboxImage is the reference of the image in BusyboxImageTar.
const BusyboxImage = "docker.io/gabiontest/busybox:1"

// BusyboxImageTar writes an archive with a busybox image that both
// "docker load" and "ctr images import" take, and returns its path.
func BusyboxImageTar(t testing.TB) string {
	t.Helper()
	layer := tarDir(t, BusyboxRoot(t))
	config := toJSON(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sleep", "100000"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	name := fmt.Sprintf("%x.json", sha256.Sum256(config))
	manifest := toJSON(t, []map[string]any{{"Config": name, "RepoTags": []string{BusyboxImage}, "Layers": []string{"layer.tar"}}})

	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		data []byte
	}{{name, config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		writeTar(t, w, &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}, f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "busybox.tar")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func toJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeTar(t testing.TB, w *tar.Writer, h *tar.Header, data []byte) {
	t.Helper()
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
}

// tarDir packs a directory with directories, regular files and symbolic links.
func tarDir(t testing.TB, root string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		link, data := "", []byte(nil)
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			link, err = os.Readlink(path)
		case fi.Mode().IsRegular():
			data, err = os.ReadFile(path)
		}
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(fi, link)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(root, path); err != nil {
			return err
		}
		if fi.IsDir() {
			h.Name += "/"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		writeTar(t, w, h, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
