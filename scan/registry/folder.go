package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	digest "github.com/opencontainers/go-digest"

	"github.com/gabion-dev/gabion/scan"
)

// Folder keeps results in files, for those who run without a store:
// ALGORITHM-HEX.report.json.zst, .kept.zst and .names.json for each image. Files
// appear whole or not at all. It implements Results and Inventories.
type Folder struct {
	dir string
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// OpenFolder makes the folder when it is missing. The images' names and
// contents are for the owner's eyes.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open results: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPacked))
	if err != nil {
		return nil, err
	}
	return &Folder{dir, enc, dec}, nil
}

// state is what is known of an image at a glance.
type state struct {
	Complete bool     `json:"complete"`
	Database string   `json:"database,omitempty"`
	Names    []string `json:"names,omitempty"`
}

const (
	reportFile = ".report.json.zst"
	keptFile   = ".kept.zst"
	stateFile  = ".names.json"
)

// path is the file of an image. Digests come from registries: nothing but a
// well-formed one becomes a name.
func (f *Folder) path(dig, suffix string) (string, error) {
	d, err := digest.Parse(dig)
	if err != nil {
		return "", fmt.Errorf("keep image %q: %w", dig, err)
	}
	return filepath.Join(f.dir, d.Algorithm().String()+"-"+d.Encoded()+suffix), nil
}

func (f *Folder) read(dig string) (state, error) {
	var s state
	p, err := f.path(dig, stateFile)
	if err != nil {
		return s, err
	}
	b, err := os.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if json.Unmarshal(b, &s) != nil {
		return state{}, nil // damaged: as if it had not been examined
	}
	return s, nil
}

func (f *Folder) write(dig, suffix string, data []byte) error {
	p, err := f.path(dig, suffix)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(f.dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), p)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("keep image %s: %w", dig, err)
	}
	return nil
}

func (f *Folder) writeState(dig string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return f.write(dig, stateFile, b)
}

// Known implements Results.
func (f *Folder) Known(_ context.Context, dig string) (bool, error) {
	s, err := f.read(dig)
	return s.Complete, err
}

// Put implements Results. The state is written last: what was interrupted is
// not known.
func (f *Folder) Put(_ context.Context, r *scan.Report, k *Kept) error {
	packed, err := k.Pack()
	if err != nil {
		return err
	}
	if err := f.write(r.Image.Digest, keptFile, f.enc.EncodeAll(packed, nil)); err != nil {
		return err
	}
	return f.report(r.Image.Digest, r, func(s *state) { s.Complete = k.complete() })
}

// complete reports whether everything of an image was read. What could not be
// matched does not count: pulling it again would not help.
func (k *Kept) complete() bool {
	return !slices.ContainsFunc(k.Inventory.Gaps, func(g scan.Gap) bool { return !g.Minor })
}

func (f *Folder) report(dig string, r *scan.Report, change func(*state)) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep image %s: %w", dig, err)
	}
	if err := f.write(dig, reportFile, f.enc.EncodeAll(b, nil)); err != nil {
		return err
	}
	s, err := f.read(dig)
	if err != nil {
		return err
	}
	s.Database = r.Database.Digest
	change(&s)
	return f.writeState(dig, s)
}

// Name implements Results.
func (f *Folder) Name(_ context.Context, dig string, names []string) error {
	s, err := f.read(dig)
	if err != nil {
		return err
	}
	if slices.Equal(s.Names, names) {
		return nil
	}
	s.Names = names
	return f.writeState(dig, s)
}

// Rematched implements Inventories.
func (f *Folder) Rematched(_ context.Context, dig string, r *scan.Report) error {
	return f.report(dig, r, func(*state) {})
}

// Each implements Inventories, in the order of digests.
func (f *Folder) Each(ctx context.Context, each func(Stored) error) error {
	digests, err := f.Digests()
	if err != nil {
		return err
	}
	var buf []byte
	for _, dig := range digests {
		if err := ctx.Err(); err != nil {
			return err
		}
		s, err := f.read(dig)
		if err != nil {
			return err
		}
		p, err := f.path(dig, keptFile)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		// What is damaged goes on as what it is, and fails where it is read.
		if out, err := f.dec.DecodeAll(b, buf[:0]); err == nil {
			b, buf = out, out
		}
		if err := each(Stored{Digest: dig, Database: s.Database, Packed: b}); err != nil {
			return err
		}
	}
	return nil
}

// Digests lists the images that are kept, sorted.
func (f *Folder) Digests() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list results: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), keptFile); ok {
			out = append(out, strings.Replace(name, "-", ":", 1))
		}
	}
	return out, nil
}

// Report reads the last report of an image and the names that point at it;
// fs.ErrNotExist when there is none.
func (f *Folder) Report(dig string) (*scan.Report, []string, error) {
	p, err := f.path(dig, reportFile)
	if err != nil {
		return nil, nil, err
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return nil, nil, fmt.Errorf("read report: %w", err)
	}
	if b, err = f.dec.DecodeAll(b, nil); err != nil {
		return nil, nil, fmt.Errorf("read report of %s: %w", dig, err)
	}
	r := new(scan.Report)
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(r); err != nil {
		return nil, nil, fmt.Errorf("read report of %s: %w", dig, err)
	}
	s, err := f.read(dig)
	return r, s.Names, err
}
