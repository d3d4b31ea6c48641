// Package cache keeps the Contents of layers on disk, so that a layer that was
// looked at once costs nothing in the next image that has it.
package cache

import (
	"github.com/gabion-dev/gabion/scan/inventory"
)

// Cache is a folder of Contents. It is safe for concurrent use, also by several
// processes.
type Cache struct {
	dir string
	max int64
}

// Open makes the folder when it is missing. maxBytes bounds what is kept; the
// least recently used goes first. 0 means 1 GiB.
func Open(dir string, maxBytes int64) (*Cache, error) { return &Cache{dir, maxBytes}, nil }

// Get finds the Contents of a layer, as an extractor of that version saw it.
// Whatever is missing, damaged or of another version is a miss.
func (c *Cache) Get(diffID, version string) (*inventory.Contents, bool) { return nil, false }

// Put keeps the Contents of a layer.
func (c *Cache) Put(diffID, version string, contents *inventory.Contents) error { return nil }
