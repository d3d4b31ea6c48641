// Package pack distributes advisory databases: as a signed artifact in a
// registry or an OCI layout, as one file for places without a network, and as
// deltas from an earlier one.
//
// It neither builds nor reads databases beyond their header. The one idea: the
// local database is replaced in one step and only by one that was verified, so
// on any failure the old one goes on being used; what is trusted is a signature
// over digest and date, never the place a file came from.
//
// There is no built-in key: whoever publishes databases makes one (GenerateKey)
// and gives its public half to those who pull, by flag, file or the environment
// variable named KeyEnv.
package pack

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Media types of the artifact.
const (
	ArtifactType  = "application/vnd.gabion.advisories.v1"
	DatabaseType  = "application/vnd.gabion.advisories.v1.database+zstd"
	DeltaType     = "application/vnd.gabion.advisories.v1.delta"
	StatementType = "application/vnd.gabion.advisories.v1.statement+json"

	manifestType = "application/vnd.oci.image.manifest.v1+json"
	emptyType    = "application/vnd.oci.empty.v1+json"
)

// Annotations of the manifest and, the last two, of a delta layer.
const (
	AnnotationDigest = "dev.gabion.advisories.digest"
	AnnotationBuilt  = "dev.gabion.advisories.built"
	AnnotationData   = "dev.gabion.advisories.data"
	AnnotationFormat = "dev.gabion.advisories.format"
	AnnotationFrom   = "dev.gabion.advisories.from"
)

// Bounds of what is read into memory, and the default for databases.
const (
	maxManifest  = 1 << 20
	maxEnvelope  = 64 << 10
	maxDatabase  = 8 << 30
	maxDeltaBase = 1 << 30 // larger databases get no deltas
)

// Errors, matched with errors.Is. The error itself says what to do.
var (
	ErrNoDatabase = errors.New("no database")
	ErrUnsigned   = errors.New("not signed by a known key")
	ErrCorrupt    = errors.New("corrupt")
	ErrOlder      = errors.New("older than the one at hand")
	ErrNotFound   = errors.New("not found")
	ErrDenied     = errors.New("access denied")
	ErrTooBig     = errors.New("too big")
	ErrBusy       = errors.New("in use by another process")
)

// Statement is what is signed about a database.
type Statement struct {
	Format int       `json:"format"` // of this statement: 1
	Digest string    `json:"digest"` // of the file: "sha256:..."
	Size   int64     `json:"size"`
	Built  time.Time `json:"built"`
	Data   time.Time `json:"data"` // newest fact in it
}

// check refuses statements that cannot be true.
func (s *Statement) check() error {
	switch {
	case s.Format != 1:
		return fmt.Errorf("statement of format %d, this gabion reads format 1; a newer gabion may read it: %w", s.Format, ErrCorrupt)
	case !isDigest(s.Digest):
		return fmt.Errorf("statement with digest %.80q: %w", s.Digest, ErrCorrupt)
	case s.Size <= 0:
		return fmt.Errorf("statement with size %d: %w", s.Size, ErrCorrupt)
	}
	return nil
}

// older reports whether s is older than o.
func (s *Statement) older(o *Statement) bool {
	if c := s.Data.Compare(o.Data); c != 0 {
		return c < 0
	}
	return s.Built.Before(o.Built)
}

// isDigest reports whether s is "sha256:" and 64 small hexadecimal digits, and
// so fit to be a file name.
func isDigest(s string) bool {
	h, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(h) == 64 && strings.Trim(h, "0123456789abcdef") == ""
}
