package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that compressed data can claim.
const maxWindow = 128 << 20

// Names inside an exported file, in this order.
const (
	envelopeName = "statement.json"
	databaseName = "database.zst"
)

// Export writes the local database with its signature into one file, a tar
// archive, for places without a network.
func (p Place) Export(ctx context.Context, file string) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := p.read()
	if err != nil {
		return err
	}
	packed, _, err := pack(ctx, p.file(c.Statement.Digest), c.Statement.Digest)
	if err != nil {
		return fmt.Errorf("export database: %w", err)
	}
	defer os.Remove(packed)
	if err := export(file, c, packed); err != nil {
		_ = os.Remove(file + ".new")
		return fmt.Errorf("export database: %w", err)
	}
	return nil
}

func export(file string, c current, packed string) error {
	if fi, err := os.Stat(file); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no file; name one", file)
	}
	in, err := os.Open(packed)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(file+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	w := tar.NewWriter(out)
	date := c.Statement.Built.Truncate(time.Second)
	err = w.WriteHeader(&tar.Header{Name: envelopeName, Mode: 0o644, Size: int64(len(c.Envelope)), ModTime: date})
	if err == nil {
		_, err = w.Write(c.Envelope)
	}
	if err == nil {
		err = w.WriteHeader(&tar.Header{Name: databaseName, Mode: 0o644, Size: fi.Size(), ModTime: date})
	}
	if err == nil {
		_, err = io.Copy(w, in)
	}
	if err := errors.Join(err, w.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// pack compresses a database into a file beside it, whose name it returns, and
// checks its digest on the way.
func pack(ctx context.Context, path, digest string) (packed string, size int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out, err := os.CreateTemp("", "gabion-db-*.zst")
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return "", 0, err
	}
	h := newHash(&ctxReader{ctx, in})
	_, err = io.Copy(z, h)
	err = errors.Join(err, z.Close(), out.Close())
	if err == nil && h.digest() != digest {
		err = fmt.Errorf("%s has digest %s, not %s: %w", path, h.digest(), digest, ErrCorrupt)
	}
	if err != nil {
		return "", 0, err
	}
	fi, err := os.Stat(out.Name())
	if err != nil {
		return "", 0, err
	}
	return out.Name(), fi.Size(), nil
}

// Change is what taking a database did.
type Change struct {
	Status
	Updated bool  `json:"updated"`         // false: it was up to date
	Delta   bool  `json:"delta,omitempty"` // by a delta from the old one
	Carried int64 `json:"carried"`         // bytes fetched
	Resumed int64 `json:"resumed"`         // bytes that an earlier try had fetched
	// Fallback says why no delta was used though there was one.
	Fallback string `json:"fallback,omitempty"`
}

// Import takes a database from a file: one that Export wrote, or a bare
// database, which has no signature.
func (p Place) Import(ctx context.Context, file string, o Options) (Change, error) {
	unlock, err := p.lock(ctx)
	if err != nil {
		return Change{}, err
	}
	defer unlock()
	f, err := os.Open(file)
	if err != nil {
		return Change{}, fmt.Errorf("import database: %w", err)
	}
	defer f.Close()
	var ch Change
	if isTar(f) {
		ch, err = p.importTar(ctx, f, file, o)
	} else {
		ch, err = p.importBare(ctx, file, o)
	}
	if err != nil {
		return ch, fmt.Errorf("import database from %s: %w", file, err)
	}
	return ch, nil
}

func isTar(f *os.File) bool {
	var b [5]byte
	n, _ := f.ReadAt(b[:], 257)
	return n == 5 && string(b[:]) == "ustar"
}

func (p Place) importTar(ctx context.Context, f io.Reader, from string, o Options) (Change, error) {
	r := tar.NewReader(f)
	h, err := r.Next()
	if err != nil || h.Name != envelopeName || h.Size > maxEnvelope {
		return Change{}, fmt.Errorf("its first part is not %s: is it an exported database? %w", envelopeName, ErrCorrupt)
	}
	env, err := io.ReadAll(r)
	if err != nil {
		return Change{}, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	c, err := p.accept(env, o)
	if err != nil {
		return Change{}, err
	}
	if same, ch, err := p.same(c, o); same {
		return ch, err
	}
	if h, err = r.Next(); err != nil || h.Name != databaseName {
		return Change{}, fmt.Errorf("its second part is not %s: %w", databaseName, ErrCorrupt)
	}
	c.From = from
	return p.unpack(ctx, r, c)
}

// unpack takes a compressed database and puts it in force.
func (p Place) unpack(ctx context.Context, r io.Reader, c current) (Change, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return Change{}, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	defer z.Close()
	tmp, err := p.verified(ctx, c.Statement, z)
	if err != nil {
		return Change{}, fmt.Errorf("unpack database: %w", err)
	}
	st, err := p.install(tmp, c)
	return Change{Status: st, Updated: true}, err
}

// importBare makes an unsigned statement about a database file.
func (p Place) importBare(ctx context.Context, file string, o Options) (Change, error) {
	s, err := statementOf(ctx, file)
	if err != nil {
		return Change{}, err
	}
	env, err := seal(s, nil)
	if err != nil {
		return Change{}, err
	}
	c, err := p.accept(env, o)
	if err != nil {
		return Change{}, err
	}
	if same, ch, err := p.same(c, o); same {
		return ch, err
	}
	f, err := os.Open(file)
	if err != nil {
		return Change{}, err
	}
	defer f.Close()
	tmp, err := p.verified(ctx, s, f)
	if err != nil {
		return Change{}, err
	}
	c.From = file
	st, err := p.install(tmp, c)
	return Change{Status: st, Updated: true}, err
}

// same reports whether the database at hand is the very one.
func (p Place) same(c current, o Options) (bool, Change, error) {
	old, err := p.read()
	if err != nil || o.Force || old.Statement.Digest != c.Statement.Digest {
		return false, Change{}, nil
	}
	st, err := p.Status(o.now())
	return true, Change{Status: st}, err
}

// statementOf describes a database file.
func statementOf(ctx context.Context, file string) (Statement, error) {
	info, err := describe(file)
	if err != nil {
		return Statement{}, err
	}
	digest, size, err := digestOf(ctx, file)
	if err != nil {
		return Statement{}, err
	}
	return Statement{Format: 1, Digest: digest, Size: size, Built: info.Built.UTC(), Data: info.Data.UTC()}, nil
}
