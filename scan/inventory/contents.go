package inventory

import (
	"io"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// Contents is what one layer holds. It is immutable and safe for concurrent
// use.
type Contents struct{}

// Visit implements walk.Visitor.
func (c *Collector) Visit(e *walk.Entry, r io.Reader) error { return nil }

// Finish ends the layer. The Collector must not be used afterwards.
func (c *Collector) Finish(r walk.Result) *Contents { return &Contents{} }

// MarshalBinary implements encoding.BinaryMarshaler.
func (c *Contents) MarshalBinary() ([]byte, error) { return nil, nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Strings of the
// Contents share memory with a copy of data.
func (c *Contents) UnmarshalBinary(data []byte) error { return nil }

// Merge lays layers over each other, lowest first. A nil element is a layer
// that was lost; saying so is up to the caller.
func Merge(layers []*Contents) scan.Inventory { return scan.Inventory{} }
