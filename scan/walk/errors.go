package walk

import (
	"errors"
	"fmt"

	"github.com/gabion-dev/gabion/scan"
)

// Errors that lose a layer, matched with errors.Is, and ErrFileTooBig, which
// loses one file's content.
var (
	ErrCorrupt     = errors.New("corrupt")                        // not a tar, truncated, checksum of gzip or zstd wrong
	ErrMismatch    = errors.New("not the content that is wanted") // digest, diff id or size
	ErrUnsupported = errors.New("not supported")                  // encrypted, other packings, not a file system
	ErrBomb        = errors.New("unpacks to suspiciously much")
	ErrTooBig      = errors.New("too big")
	ErrTooMany     = errors.New("too many entries")
	ErrTimeout     = errors.New("takes too long")
	ErrFileTooBig  = errors.New("file too big to read") // what reading its content returns
)

// gaps collects Gaps up to a number and counts the rest.
type gaps struct {
	max   int
	list  []scan.Gap
	more  int
	major bool // one of the uncounted was not minor
}

func (g *gaps) add(gap scan.Gap) {
	if len(g.list) >= g.max {
		g.more++
		g.major = g.major || !gap.Minor
		return
	}
	gap.Where = short(gap.Where)
	g.list = append(g.list, gap)
}

// all returns the Gaps, with one more for those that were only counted.
func (g *gaps) all() []scan.Gap {
	if g.more == 0 {
		return g.list
	}
	return append(g.list, scan.Gap{
		Where: "layer", What: fmt.Sprintf("%d more entries could not be read as they are", g.more),
		Means: "their paths are not listed one by one", Do: "look at the layer: an honest one has none of these", Minor: !g.major,
	})
}

// short keeps a hostile path from filling the report.
func short(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return s[:most] + fmt.Sprintf("... (%d bytes)", len(s))
}
