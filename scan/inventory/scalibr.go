package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/osv"
	"github.com/google/osv-scalibr/extractor/filesystem/simplefileapi"
	"github.com/google/osv-scalibr/log"
)

// maxLockFile bounds the files that the library reads whole, at many times their
// size in memory; the largest honest ones have a third of it.
const maxLockFile = 16 << 20

// maxYAML bounds those in YAML, whose nodes take some sixty times the text.
const maxYAML = 6 << 20

var inYAML = map[string]bool{"pnpm-lock.yaml": true, "stack.yaml.lock": true, "pubspec.lock": true, "Podfile.lock": true}

// quiet keeps the library from writing to standard error: what matters of it
// comes back as an error and becomes a Gap.
var quiet = sync.OnceFunc(func() { log.SetLogger(silence{}) })

type silence struct{}

func (silence) Errorf(string, ...any) {}
func (silence) Error(...any)          {}
func (silence) Warnf(string, ...any)  {}
func (silence) Warn(...any)           {}
func (silence) Infof(string, ...any)  {}
func (silence) Info(...any)           {}
func (silence) Debugf(string, ...any) {}
func (silence) Debug(...any)          {}

// scalibr makes a plugin of an extractor of osv-scalibr. Names are chosen by
// bases and exts first; the extractor then is asked itself.
func scalibr(make func(*cpb.PluginConfig) (filesystem.Extractor, error), bases, exts []string) *plugin {
	quiet()
	x, err := make(&cpb.PluginConfig{})
	if err != nil {
		panic(fmt.Sprintf("extractor with default configuration: %v", err))
	}
	return &plugin{
		name: strings.ReplaceAll(x.Name(), "/", "-"), version: 1 + x.Version(), bases: bases, exts: exts,
		wants: func(p string) bool {
			return !insidePackage(p) && x.FileRequired(simplefileapi.New(p, info{path.Base(p), 0}))
		},
		extract: func(f *file, out *result) error {
			most := int64(maxLockFile)
			if inYAML[path.Base(f.path)] {
				most = maxYAML
			}
			if f.size > most {
				return fmt.Errorf("file has %d bytes, more than the %d that are read", f.size, most)
			}
			if f.size == 0 {
				return nil
			}
			i := info{path.Base(f.path), f.size}
			inv, err := x.Extract(context.Background(), &filesystem.ScanInput{FS: oneFile{f}, Path: f.path, Info: i, Reader: f.reader()})
			for _, p := range inv.Packages {
				// The go line of go.mod asks for a version, it does not tell what built it.
				if q := convert(p); q.Name != "" && (p.PURLType != "golang" || p.Name != "stdlib") {
					out.packages = append(out.packages, q)
				}
			}
			return err
		},
	}
}

// convert makes our package of the library's.
func convert(p *extractor.Package) (out found) {
	if p.PURLType == "lua" {
		p.PURLType = "luarocks" // as the specification of package URLs has it
	}
	if p.PURLType == "golang" && p.Version != "" {
		out.Package = goModule(p.Name, "v"+strings.TrimPrefix(p.Version, "v"))
	} else {
		out.Package = language(p.PURLType, p.Name, p.Version)
	}
	out.Licenses = p.Licenses
	if g, ok := p.Metadata.(osv.DepGroups); ok {
		out.Dev = slices.ContainsFunc(g.DepGroups(), func(s string) bool {
			return s == "dev" || s == "development" || s == "test"
		})
	}
	return out
}

// insidePackage reports whether a lock file came with an installed package: it
// says what its makers built it with, not what is here.
func insidePackage(p string) bool {
	for _, dir := range []string{"node_modules/", "site-packages/", "dist-packages/", "gems/", "pkg/mod/", ".cargo/registry/", "vendor/", docDir} {
		if strings.HasPrefix(p, dir) || strings.Contains(p, "/"+dir) {
			return true
		}
	}
	return false
}

// info is the little that extractors ask of a file's metadata.
type info struct {
	name string
	size int64
}

func (i info) Name() string     { return i.name }
func (i info) Size() int64      { return i.size }
func (info) Mode() fs.FileMode  { return 0o644 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }

// oneFile is a file system that holds the file at hand and nothing else: a
// stream has no neighbours.
type oneFile struct{ f *file }

func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.f.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return opened{o.f.reader(), info{path.Base(name), o.f.size}}, nil
}

func (o oneFile) Stat(name string) (fs.FileInfo, error) {
	if name != o.f.path {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return info{path.Base(name), o.f.size}, nil
}

func (o oneFile) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.ErrUnsupported}
}

type opened struct {
	*io.SectionReader
	info
}

func (o opened) Stat() (fs.FileInfo, error) { return o.info, nil }
func (opened) Close() error                 { return nil }
