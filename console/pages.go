package console

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// pages serves the built web UI: its files, and index.html for the addresses
// that the UI itself understands.
type pages struct {
	files map[string]file
}

type file struct {
	data []byte
	mime string
}

// newPages reads every file once; the bundle is small and embedded anyway.
func newPages(dist fs.FS) (*pages, error) {
	p := &pages{files: map[string]file{}}
	err := fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		mime := mimeOf(name)
		if mime == "" {
			return fmt.Errorf("read web UI: %s has a type that is not served", name)
		}
		data, err := fs.ReadFile(dist, name)
		p.files["/"+name] = file{data: data, mime: mime}
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, ok := p.files["/index.html"]; !ok {
		return nil, fmt.Errorf("read web UI: index.html is missing")
	}
	return p, nil
}

// mimeOf is a fixed list: the machine's own table of types must not matter.
func mimeOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return ""
}

// ServeHTTP answers with a file, or with index.html for a page of the UI.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p.files[r.URL.Path]
	if !ok && path.Ext(r.URL.Path) == "" || !ok && isPage(r.URL.Path) {
		f, ok = p.files["/index.html"]
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/assets/") {
		// The name has a digest of the content in it.
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", f.mime)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.data))
}

// isPage reports whether path belongs to the UI although it may have a dot in
// it (a workload called web.v2).
func isPage(p string) bool {
	return strings.HasPrefix(p, "/workloads/") || strings.HasPrefix(p, "/policies/")
}
