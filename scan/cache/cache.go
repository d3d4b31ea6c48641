// Package cache keeps the Contents of layers on disk, so that a layer that was
// looked at once costs nothing in the next image that has it.
//
// It is no store of record: every entry can be made again from its layer, so
// whatever is missing, damaged or of another version is a miss and never an
// error. The one idea: an entry is a file that is written aside and renamed
// into place, with a checksum over all of it, which makes any number of
// processes safe without locks.
package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/scan/inventory"
)

const (
	defaultMax = 1 << 30
	suffix     = ".layer"
	// magic begins every entry; the checksum of all that follows comes next.
	magic = "GBNL1\n"
	// staleAfter is the age at which a file that a writer left unfinished is
	// removed.
	staleAfter = time.Hour
	// usedAfter is how old a file's time may get before a use renews it.
	usedAfter = time.Hour
)

// Cache is a folder of Contents. It is safe for concurrent use, also by several
// processes.
type Cache struct {
	dir string
	max int64
	now func() time.Time

	mu   sync.Mutex
	size int64 // what this process believes the folder holds; -1: unknown
}

// Open makes the folder when it is missing. maxBytes bounds what is kept; the
// least recently used goes first. 0 means 1 GiB.
func Open(dir string, maxBytes int64) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open layer cache: %w; name a folder that can be written", err)
	}
	return &Cache{dir: dir, max: cmp.Or(maxBytes, defaultMax), now: time.Now, size: -1}, nil
}

// name is the file of an entry: a digest, so that no layer can choose a path.
func (c *Cache) name(diffID, version string) string {
	sum := sha256.Sum256([]byte(diffID + "\x00" + version))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:])+suffix)
}

// Get finds the Contents of a layer, as an extractor of that version saw it.
// Whatever is missing, damaged or of another version is a miss.
func (c *Cache) Get(diffID, version string) (*inventory.Contents, bool) {
	name := c.name(diffID, version)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, false
	}
	contents, ok := decode(data, diffID, version)
	if !ok {
		_ = os.Remove(name) // it would be a miss for ever
		return nil, false
	}
	now := c.now()
	if fi, err := os.Stat(name); err == nil && now.Sub(fi.ModTime()) > usedAfter {
		_ = os.Chtimes(name, now, now) // when it fails, the entry only goes earlier
	}
	return contents, true
}

// Put keeps the Contents of a layer.
func (c *Cache) Put(diffID, version string, contents *inventory.Contents) error {
	data, err := encode(diffID, version, contents)
	if err != nil {
		return fmt.Errorf("keep layer in cache: %w", err)
	}
	if int64(len(data)) > c.max {
		return nil // it would push out everything else, itself included
	}
	if err := c.write(c.name(diffID, version), data); err != nil {
		return fmt.Errorf("keep layer in cache: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size >= 0 {
		c.size += int64(len(data))
	}
	if c.size < 0 || c.size > c.max {
		c.size, err = c.trim()
	}
	return err
}

func (c *Cache) write(name string, data []byte) error {
	f, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// trim removes the least recently used entries until nine tenths of the bound
// are left, and what writers left behind. It returns what is left.
func (c *Cache) trim() (int64, error) {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return -1, fmt.Errorf("trim layer cache: %w", err)
	}
	type entry struct {
		name string
		size int64
		used time.Time
	}
	var entries []entry
	var total int64
	for _, e := range list {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process was faster
		} else if err != nil {
			return -1, fmt.Errorf("trim layer cache: %w", err)
		}
		name := filepath.Join(c.dir, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), suffix):
			entries = append(entries, entry{name, fi.Size(), fi.ModTime()})
			total += fi.Size()
		case strings.HasPrefix(e.Name(), "new-") && c.now().Sub(fi.ModTime()) > staleAfter:
			_ = os.Remove(name)
		}
	}
	if total <= c.max {
		return total, nil
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.name, b.name))
	})
	for _, e := range entries {
		if total <= c.max/10*9 {
			break
		}
		if err := os.Remove(e.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return -1, fmt.Errorf("trim layer cache: %w", err)
		}
		total -= e.size
	}
	return total, nil
}

// encode makes the bytes of an entry: magic, checksum, key, contents.
func encode(diffID, version string, contents *inventory.Contents) ([]byte, error) {
	body, err := contents.MarshalBinary()
	if err != nil {
		return nil, err
	}
	key := key(diffID, version)
	out := make([]byte, 0, len(magic)+sha256.Size+len(key)+len(body))
	out = append(out, magic...)
	out = append(out, make([]byte, sha256.Size)...)
	out = append(append(out, key...), body...)
	sum := sha256.Sum256(out[len(magic)+sha256.Size:])
	copy(out[len(magic):], sum[:])
	return out, nil
}

// decode is the reverse; anything that is not what encode made is refused.
func decode(data []byte, diffID, version string) (*inventory.Contents, bool) {
	head := len(magic) + sha256.Size
	if len(data) < head || string(data[:len(magic)]) != magic {
		return nil, false
	}
	body := data[head:]
	if sum := sha256.Sum256(body); string(sum[:]) != string(data[len(magic):head]) {
		return nil, false
	}
	rest, ok := strings.CutPrefix(string(body[:min(len(body), len(diffID)+len(version)+2)]), key(diffID, version))
	if !ok || rest != "" {
		return nil, false
	}
	c := new(inventory.Contents)
	if c.UnmarshalBinary(body[len(diffID)+len(version)+2:]) != nil {
		return nil, false
	}
	return c, true
}

func key(diffID, version string) string { return diffID + "\x00" + version + "\x00" }
