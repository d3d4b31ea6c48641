// Package inventory finds out what a layer holds and, laid over each other,
// what an image holds: packages, programs, users, secrets.
//
// It reads nothing from disk or network itself (scan/walk hands it entries)
// and knows nothing of advisories. The one idea: a layer is looked at once, as
// a stream, and leaves behind a Contents that depends on that layer alone;
// everything that needs two layers (what is hidden, which operating system,
// who owns a file) is decided by Merge, so a Contents can be cached by the
// digest of its layer for as long as Extractor.Version stays the same.
package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// SecretScanner finds credentials in files; scan/secret has one. It is used
// from several goroutines at once.
type SecretScanner interface {
	// Version changes whenever the results may.
	Version() string
	// Wants is asked of every regular file, before anything is read of it.
	Wants(path string, mode uint32, size int64) bool
	// Scan gets the whole content, which is valid during the call only. Layer
	// and Deleted of what it returns are filled by Merge.
	Scan(path string, content []byte) []scan.Secret
}

// Config says what to look for, and what it may cost. The zero value is right
// for most.
type Config struct {
	Secrets SecretScanner // nil: none are looked for
	// MaxBuffer is how much of one file is held in memory; larger files that
	// need to be read out of order go to an unlinked temporary file. 0 means 4
	// MiB, and less than 1 MiB counts as 1 MiB.
	MaxBuffer int64
	// MaxFile is the size of the largest file that extractors are given; a larger
	// one is a Gap. Programs are hashed and classified whatever their size. 0
	// means 2 GiB.
	MaxFile int64
	// TempDir is where temporary files are made; "" means the system's place.
	TempDir string
	// MaxNesting is how deep archives may lie in archives, 0 means 8.
	MaxNesting int
}

// contentsVersion changes with the meaning of a Contents: raise it whenever
// code outside of the plugins changes what a layer leaves behind.
const contentsVersion = 3

// Extractor looks at layers. It is safe for concurrent use.
type Extractor struct {
	config      Config
	version     string
	classifiers *classifiers
	byBase      map[string][]*plugin // by the last element of the path
	byExt       map[string][]*plugin // by extension with its dot
	byDir       map[string][]*plugin
	buffers     sync.Pool // *[]byte
}

// New makes an Extractor.
func New(c Config) *Extractor {
	if c.MaxBuffer == 0 {
		c.MaxBuffer = 4 << 20
	}
	c.MaxBuffer = max(c.MaxBuffer, 1<<20)
	if c.MaxFile == 0 {
		c.MaxFile = 2 << 30
	}
	if c.MaxNesting == 0 {
		c.MaxNesting = 8
	}
	x := &Extractor{config: c, byBase: map[string][]*plugin{}, byExt: map[string][]*plugin{}, byDir: map[string][]*plugin{}, classifiers: loadClassifiers()}
	h := sha256.New()
	fmt.Fprintln(h, contentsVersion, formatVersion, c.MaxFile, c.MaxNesting, c.MaxBuffer, programVersion)
	for _, p := range plugins(x.classifiers) {
		fmt.Fprintln(h, p.name, p.version)
		for _, b := range p.bases {
			x.byBase[b] = append(x.byBase[b], p)
		}
		for _, e := range p.exts {
			x.byExt[e] = append(x.byExt[e], p)
		}
		for _, d := range p.dirs {
			x.byDir[d] = append(x.byDir[d], p)
		}
	}
	h.Write(classifierData)
	if c.Secrets != nil {
		fmt.Fprintln(h, "secrets", c.Secrets.Version())
	}
	x.version = hex.EncodeToString(h.Sum(nil)[:12])
	return x
}

// Version changes whenever the Contents of a layer may come out differently.
// Together with the digest of a layer it is the key of a cached Contents.
func (x *Extractor) Version() string { return x.version }

// Begin starts on one layer.
func (x *Extractor) Begin() *Collector {
	buf, _ := x.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	return &Collector{x: x, buf: *buf, out: &Contents{}}
}

var _ walk.Visitor = (*Collector)(nil)
