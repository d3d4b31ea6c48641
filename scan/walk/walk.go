// Package walk reads one layer of an image, or one directory, in a single
// streaming pass and shows every entry to a Visitor.
//
// It never writes to disk, never follows a link and keeps no list of what it
// saw; what entries mean is the visitors' business. The one idea: everything a
// hostile layer may do ends in one of two ways, an error (the layer is lost and
// the caller says so) or a scan.Gap in the Result (one entry is lost, the rest
// counts), and in neither way does memory grow with the input.
package walk

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Type says what an Entry is.
type Type uint8

// Types of entries.
const (
	Regular Type = iota
	Directory
	Symlink
	Hardlink // to a file seen earlier in the same layer
	Device   // character or block device, FIFO, socket
	Whiteout // the path is removed from the layers below
	Opaque   // everything below the path is removed from the layers below
)

var typeNames = [...]string{"regular", "directory", "symlink", "hardlink", "device", "whiteout", "opaque"}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// Entry is one entry of a layer. A path may come more than once in a layer; the
// last one counts, as it does for those who unpack it.
type Entry struct {
	Path   string // clean, relative, slashes: "usr/bin/x"; "." is the root
	Type   Type
	Mode   uint32 // permission bits with setuid 04000, setgid 02000, sticky 01000
	UID    int
	GID    int
	Size   int64  // of the content, Regular only
	Target string // Symlink: as stored, may point anywhere; Hardlink: a clean path as in Path
}

// Visitor is shown every entry in the order of the layer.
type Visitor interface {
	// Visit handles one entry. e is valid during the call only. r is the content
	// of a Regular entry and nil for every other type; it need not be read to the
	// end. Reading the content of a file beyond Limits.FileBytes returns
	// ErrFileTooBig; the walk has a Gap for it already. An error ends the walk
	// and is returned by it.
	Visit(e *Entry, r io.Reader) error
}

// VisitorFunc is a function as a Visitor.
type VisitorFunc func(e *Entry, r io.Reader) error

// Visit implements Visitor.
func (f VisitorFunc) Visit(e *Entry, r io.Reader) error { return f(e, r) }

// Limits bound what a layer may cost. Zero fields take their default.
type Limits struct {
	Bytes     int64         // unpacked, of the whole layer; beyond: ErrTooBig
	Ratio     int           // unpacked to packed, once RatioFrom bytes are unpacked; beyond: ErrBomb
	RatioFrom int64         // bytes unpacked before Ratio counts
	Entries   int           // beyond: ErrTooMany
	FileBytes int64         // one file; beyond: its content is not shown, a Gap
	PathBytes int           // one path or link target; beyond: entry left out, a Gap
	Depth     int           // components of a path; beyond: entry left out, a Gap
	Window    int64         // memory zstd may ask for; beyond: error
	Gaps      int           // Gaps kept one by one; the rest is counted in a last one
	Time      time.Duration // for the whole layer; beyond: ErrTimeout
}

// DefaultLimits are generous for honest images: the largest public ones stay
// below a third of each.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 64 << 30, Ratio: 250, RatioFrom: 256 << 20, Entries: 4_000_000, FileBytes: 16 << 30,
		PathBytes: 4096, Depth: 256, Window: 128 << 20, Gaps: 100, Time: 15 * time.Minute,
	}
}

// filled puts defaults where nothing is set.
func (l Limits) filled() Limits {
	d := DefaultLimits()
	return Limits{
		Bytes: cmp.Or(l.Bytes, d.Bytes), Ratio: cmp.Or(l.Ratio, d.Ratio), RatioFrom: cmp.Or(l.RatioFrom, d.RatioFrom),
		Entries: cmp.Or(l.Entries, d.Entries), FileBytes: cmp.Or(l.FileBytes, d.FileBytes),
		PathBytes: cmp.Or(l.PathBytes, d.PathBytes), Depth: cmp.Or(l.Depth, d.Depth), Window: cmp.Or(l.Window, d.Window),
		Gaps: cmp.Or(l.Gaps, d.Gaps), Time: cmp.Or(l.Time, d.Time),
	}
}

// Want is what the manifest and the configuration promise of a layer. Empty
// fields are not verified.
type Want struct {
	Digest    string // of the blob, "sha256:..."
	DiffID    string // of the uncompressed tar
	Size      int64  // of the blob
	MediaType string
}

// Key is a short text that differs for limits under which a layer may come out
// differently. A walk that ran out of time gives no result, so time is not in it.
func (l Limits) Key() string {
	l = l.filled()
	l.Time = 0
	sum := sha256.Sum256(fmt.Append(nil, l))
	return hex.EncodeToString(sum[:6])
}

// Result is what a walk can tell of a layer as a whole.
type Result struct {
	Digest  string // of the blob; empty for a directory
	DiffID  string // of the uncompressed tar; empty for a directory
	Size    int64  // of the blob
	Bytes   int64  // unpacked
	Entries int
	Gaps    []scan.Gap
}
