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
	// MiB.
	MaxBuffer int64
	// TempDir is where such files are made; "" means the system's place.
	TempDir string
	// MaxNesting is how deep archives may lie in archives, 0 means 8.
	MaxNesting int
}

// Extractor looks at layers. It is safe for concurrent use.
type Extractor struct {
	config Config
}

// New makes an Extractor.
func New(c Config) *Extractor { return &Extractor{config: c} }

// Version changes whenever the Contents of a layer may come out differently.
// Together with the digest of a layer it is the key of a cached Contents.
func (x *Extractor) Version() string { return "1" }

// Begin starts on one layer.
func (x *Extractor) Begin() *Collector { return &Collector{x: x} }

// Collector takes in the entries of one layer. It is not safe for concurrent
// use; several Collectors are.
type Collector struct {
	x *Extractor
}

var _ walk.Visitor = (*Collector)(nil)
