package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/image"
	"github.com/gabion-dev/gabion/scan/registry"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/pack"
)

// Real is the scanner of this program: scan/engine over a folder of layers and
// the newest database at hand.
type Real struct {
	engine   engine.Options // without a database
	version  string
	database string // file; "": the local one, else the embedded

	mu sync.Mutex
	db *database
}

// database is one that is in use. It is closed when the last user is done with
// it: its memory is mapped.
type database struct {
	*vuln.DB
	from  stamp
	users int
	old   bool
}

// stamp tells whether a file is another one than before.
type stamp struct {
	path string
	size int64
	at   time.Time
}

// scanTimeout bounds what a person asked to scan; ScanTargets say their own.
const scanTimeout = 15 * time.Minute

// NewReal makes a scanner that keeps layers below dir.
func NewReal(tool, dir, databaseFile string) (*Real, error) {
	s, err := scanning.Setup(scanning.Options{Tool: tool, Cache: filepath.Join(dir, "layers"), NoIgnore: true, Skip: []string{"vulnerabilities"}})
	if err != nil {
		return nil, fmt.Errorf("make scanner: %w", err)
	}
	// Never more than half of the processors: the node's work goes first.
	s.Engine.Jobs = max(1, (runtime.GOMAXPROCS(0)+1)/2)
	r := &Real{engine: s.Engine, version: engine.Version(s.Engine), database: databaseFile}
	return r, r.Refresh()
}

// Close gives the database back.
func (s *Real) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	return s.retire(s.db)
}

// retire closes a database now or when its last user is done. s.mu is held.
func (s *Real) retire(db *database) error {
	db.old = true
	if db.users == 0 {
		return db.Close()
	}
	return nil
}

// use takes the database in use; call the function when done with it.
func (s *Real) use() (*database, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	db := s.db
	db.users++
	return db, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if db.users--; db.users == 0 && db.old {
			_ = db.Close() // it was only read
		}
	}
}

// newest is the file to use, empty for the snapshot inside the program.
func (s *Real) newest() (stamp, error) {
	file := s.database
	if file == "" {
		place, err := pack.DefaultPlace(os.Getenv)
		if err != nil {
			return stamp{}, nil
		}
		if file, err = place.Database(); errors.Is(err, pack.ErrNoDatabase) {
			return stamp{}, nil
		} else if err != nil {
			return stamp{}, err
		}
	}
	fi, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) && s.database == "" {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	return stamp{file, fi.Size(), fi.ModTime()}, nil
}

// Refresh implements Scanner.
func (s *Real) Refresh() error {
	now, err := s.newest()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil && s.db.from == now {
		return nil
	}
	open := func() (*vuln.DB, error) {
		if now.path == "" {
			return vuln.Embedded()
		}
		return vuln.Open(now.path)
	}
	db, err := open()
	if err != nil {
		return err
	}
	before := s.db
	s.db = &database{DB: db, from: now}
	if before != nil {
		return s.retire(before)
	}
	return nil
}

// Database implements Scanner.
func (s *Real) Database() scan.Database {
	db, done := s.use()
	defer done()
	return db.Info()
}

// Version implements Scanner.
func (s *Real) Version() string { return s.version }

// Read implements Scanner.
func (s *Real) Read(ctx context.Context, job registry.Job) (*registry.Kept, error) {
	return scanning.Read(ctx, s.engine, job)
}

// Local implements Scanner. Of a container it reads the image, not what the
// container wrote since: that is not the image's.
func (s *Real) Local(ctx context.Context, what console.ImageToScan) (*registry.Kept, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	ref := "container:" + what.Container
	if what.Container == "" {
		ref = what.Reference
		if !strings.HasPrefix(ref, "docker:") && !strings.HasPrefix(ref, "containerd:") && !strings.HasPrefix(ref, "registry:") {
			ref = "registry:" + ref
		}
	}
	img, err := image.Open(ctx, ref, s.engine.Image)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	if n := len(img.Layers); n > 0 && img.Layers[n-1].MediaType == image.UpperMediaType {
		img.Layers = img.Layers[:n-1]
	}
	if img.Kind == scan.Container {
		img.Kind = scan.Daemon
		// That what it wrote cannot be reached is no loss here.
		img.Gaps = slices.DeleteFunc(img.Gaps, func(g scan.Gap) bool { return strings.HasPrefix(g.Where, "container ") })
	}
	layers, _, gaps, err := engine.ReadLayers(ctx, img, s.engine, nil)
	if err != nil {
		return nil, err
	}
	c := engine.Join(img.Image, layers)
	c.Inventory.Gaps = append(append(c.Inventory.Gaps, gaps...), img.Gaps...)
	c.Inventory.Secrets = append(c.Inventory.Secrets, s.engine.Secrets.Config(img.Config)...)
	return &registry.Kept{Image: s.engine.Secrets.Redact(c.Image), Inventory: c.Inventory, Base: decide.FindBase(c.Image, nil)}, nil
}

// Assemble implements Scanner.
func (s *Real) Assemble(k *registry.Kept, d decide.Inputs, now time.Time) (*scan.Report, error) {
	db, done := s.use()
	defer done()
	o := s.engine
	o.DB, o.Decisions, o.Now = db.DB, d, now
	return scanning.Matcher{Engine: o}.Match(k)
}
