package scanning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/cache"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/decide/vex"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/inventory"
	"github.com/gabion-dev/gabion/scan/server"
)

// Backend does the work of a scan server. It is a server.Backend and a
// server.Layers.
type Backend struct {
	o       engine.Options
	version string
	clients string // folder of the caches of clients
}

// NewBackend makes the backend of a session. Layers that clients examined are
// kept beside the server's own, apart by client.
func NewBackend(o engine.Options, opts Options) (*Backend, error) {
	dir := opts.Cache
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("%w; name a folder with --cache", err)
		}
		dir = filepath.Join(base, "gabion", "layers")
	}
	return &Backend{o: o, version: engine.Version(o), clients: filepath.Join(dir, "clients")}, nil
}

// Version is that of the extractor.
func (b *Backend) Version() string { return b.version }

// Database tells what is matched against.
func (b *Backend) Database() scan.Database {
	if b.o.DB == nil {
		return scan.Database{}
	}
	return b.o.DB.Info()
}

// Scan examines a registry's image.
func (b *Backend) Scan(ctx context.Context, r server.Request, progress func(server.Event)) (*scan.Report, error) {
	o, err := b.options(r.Decisions)
	if err != nil {
		return nil, err
	}
	o.Image.Platform = r.Platform
	if c := r.Credentials; c != nil {
		o.Image.Username, o.Image.Password, o.Image.Token = c.Username, c.Password, c.Token
	}
	o.Progress = func(p engine.Progress) {
		progress(server.Event{Progress: fmt.Sprintf("layers %d of %d", p.Done, p.Layers), Done: p.Bytes, Total: p.Size})
	}
	return engine.Scan(ctx, "registry:"+r.Reference, o)
}

// Merge makes a report of layers' contents.
func (b *Backend) Merge(_ context.Context, r server.MergeRequest, contents [][]byte) (*scan.Report, error) {
	o, err := b.options(r.Decisions)
	if err != nil {
		return nil, err
	}
	layers := make([]*inventory.Contents, len(contents))
	for i, data := range contents {
		if data == nil {
			continue
		}
		layers[i] = new(inventory.Contents)
		if err := layers[i].UnmarshalBinary(data); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	c := engine.Join(r.Image, layers)
	if r.Image.Kind == scan.Directory {
		c.Image.Layers = nil // the one that carried it is none of an image
	}
	c.Inventory.Secrets = append(c.Inventory.Secrets, r.Secrets...)
	c.Inventory.Gaps = append(c.Inventory.Gaps, r.Gaps...)
	return engine.Assemble(c, o)
}

// Check reports whether bytes are contents at all.
func (b *Backend) Check(contents []byte) error {
	return new(inventory.Contents).UnmarshalBinary(contents)
}

// options are the server's, with the client's decisions.
func (b *Backend) options(d server.Decisions) (engine.Options, error) {
	o := b.o
	o.Now, o.Base = time.Now(), d.Base
	o.Decisions = decide.Inputs{Exceptions: b.o.Decisions.Exceptions, VEX: b.o.Decisions.VEX, Use: b.o.Decisions.Use}
	if len(d.Ignore) > 0 {
		f, err := decide.ParseIgnore(d.IgnoreName, d.Ignore)
		if err != nil {
			return o, err
		}
		o.Decisions.Ignore = f
	}
	for i, data := range d.VEX {
		doc, err := vex.Parse(fmt.Sprintf("VEX document %d", i+1), data)
		if err != nil {
			return o, err
		}
		o.Decisions.VEX = append(o.Decisions.VEX[:len(o.Decisions.VEX):len(o.Decisions.VEX)], *doc)
	}
	return o, nil
}

// Get gives what the server itself examined.
func (b *Backend) Get(diffID, version string) ([]byte, bool) {
	if b.o.Cache == nil {
		return nil, false
	}
	return packed(b.o.Cache.Get(diffID, version))
}

// GetOf gives what a client examined.
func (b *Backend) GetOf(client, diffID, version string) ([]byte, bool) {
	c, err := b.cacheOf(client)
	if err != nil {
		return nil, false
	}
	return packed(c.Get(diffID, version))
}

// PutOf keeps what a client examined.
func (b *Backend) PutOf(client, diffID, version string, contents []byte) error {
	c, err := b.cacheOf(client)
	if err != nil {
		return err
	}
	layer := new(inventory.Contents)
	if err := layer.UnmarshalBinary(contents); err != nil {
		return err
	}
	return c.Put(diffID, version, layer)
}

// maxClientCache is how much is kept of what one client examined.
const maxClientCache = 512 << 20

// cacheOf opens a client's own cache. The name of a client chooses no path.
func (b *Backend) cacheOf(client string) (*cache.Cache, error) {
	sum := sha256.Sum256([]byte(client))
	return cache.Open(filepath.Join(b.clients, hex.EncodeToString(sum[:16])), maxClientCache)
}

func packed(c *inventory.Contents, ok bool) ([]byte, bool) {
	if !ok {
		return nil, false
	}
	data, err := c.MarshalBinary()
	return data, err == nil
}
