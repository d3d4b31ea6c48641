package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/registry"
)

// Kinds of documents: the summary is small and read at the start, the others
// are compressed and read when somebody asks.
const (
	kindSummary = "image"
	kindKept    = "image-content"     // registry.Kept, packed
	kindReport  = "image-report"      // scan.Report, JSON
	kindFiles   = "image-executables" // path -> digest, JSON
)

// maxDocument bounds one document once it is unpacked.
const maxDocument = 256 << 20

// packer compresses documents.
type packer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newPacker() (packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return packer{}, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxDocument))
	return packer{enc, dec}, err
}

func (r *Room) putPacked(ctx context.Context, kind, digest string, data []byte) (int64, error) {
	packed := r.pack.enc.EncodeAll(data, nil)
	return int64(len(packed)), r.d.Store.Put(ctx, kind, digest, packed)
}

func (r *Room) packed(ctx context.Context, kind, digest string) ([]byte, error) {
	packed, err := r.d.Store.Document(ctx, kind, digest)
	if err != nil {
		return nil, err
	}
	data, err := r.pack.dec.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("unpack what is kept of image %s: %w", digest, err)
	}
	return data, nil
}

// found is a registry.Results for one target.
type found struct {
	r      *Room
	target string
}

// Known implements registry.Results. What another version of the scanner read
// is read again: it may find more.
func (f found) Known(_ context.Context, digest string) (bool, error) {
	rec, ok := f.r.record(digest)
	return ok && rec.Read && rec.Reader == f.r.d.Scanner.Version(), nil
}

// Put implements registry.Results.
func (f found) Put(ctx context.Context, rep *scan.Report, k *registry.Kept) error {
	return f.r.put(ctx, f.target, rep.Image.Tags, rep, k)
}

// Name implements registry.Results.
func (f found) Name(ctx context.Context, digest string, names []string) error {
	return f.r.name(ctx, f.target, digest, names)
}

// keyOf names an image: some of this machine have no manifest.
func keyOf(img scan.Image) (string, error) {
	key := cmp.Or(img.Digest, img.ConfigID)
	if key == "" {
		return "", fmt.Errorf("keep image %s: it has neither a digest nor an identifier", img.Name)
	}
	return key, nil
}

// put keeps what was read and what was judged. The summary comes last: what was
// interrupted is not known.
func (r *Room) put(ctx context.Context, target string, names []string, rep *scan.Report, k *registry.Kept) error {
	digest, err := keyOf(rep.Image)
	if err != nil {
		return err
	}
	content, err := k.Pack()
	if err != nil {
		return err
	}
	files := make(map[string]string, len(k.Inventory.Files))
	for _, f := range k.Inventory.Files {
		files[f.Path] = f.Digest
	}
	listed, err := json.Marshal(files)
	if err != nil {
		return err
	}
	r.keep.Lock()
	defer r.keep.Unlock()
	var bytes int64
	for _, d := range []struct {
		kind string
		data []byte
	}{{kindKept, content}, {kindFiles, listed}} {
		n, err := r.putPacked(ctx, d.kind, digest, d.data)
		if err != nil {
			return fmt.Errorf("keep image %s: %w", digest, err)
		}
		bytes += n
	}
	now := r.d.Now().UTC()
	old, _ := r.record(digest)
	next := &record{ByTarget: map[string][]string{}}
	if old != nil {
		next.ByTarget = cloneNames(old.ByTarget)
	}
	next.ByTarget[target] = slices.Clone(names)
	next.ScannedAt, next.SeenAt, next.Bytes = now, now, bytes
	next.Read, next.Reader = readWhole(k), r.d.Scanner.Version()
	return r.judged(ctx, digest, rep, old, next)
}

// readWhole reports whether all of an image was read. What could not be matched
// does not count: reading again would not help.
func readWhole(k *registry.Kept) bool {
	return !slices.ContainsFunc(k.Inventory.Gaps, func(g scan.Gap) bool { return !g.Minor && !g.Judging })
}

// judged keeps a report and the summary of it, and tells what is new. r.keep is
// held.
func (r *Room) judged(ctx context.Context, digest string, rep *scan.Report, old, next *record) error {
	var before *scan.Report
	if old != nil {
		// One that cannot be read has nothing to be compared with.
		before, _ = r.stored(ctx, digest)
	}
	text, err := json.Marshal(rep)
	if err != nil {
		return fmt.Errorf("keep report of image %s: %w", digest, err)
	}
	n, err := r.putPacked(ctx, kindReport, digest, text)
	if err != nil {
		return fmt.Errorf("keep report of image %s: %w", digest, err)
	}
	next.Bytes += n
	summarise(next, rep)
	next.Digest, next.MatchedAt = digest, r.d.Now().UTC()
	next.Basis = r.basis(next)
	if err := r.save(ctx, next); err != nil {
		return err
	}
	r.tell(before, rep, next)
	return nil
}

// save keeps a summary.
func (r *Room) save(ctx context.Context, rec *record) error {
	rec.Names, rec.Targets = rec.names(), targetsOf(rec.ByTarget)
	text, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := r.d.Store.Put(ctx, kindSummary, rec.Digest, text); err != nil {
		return fmt.Errorf("keep image %s: %w", rec.Digest, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records[rec.Digest] = rec
	r.recent = slices.DeleteFunc(r.recent, func(c cached) bool { return c.digest == rec.Digest })
	r.files = slices.DeleteFunc(r.files, func(c cachedFiles) bool { return c.digest == rec.Digest })
	return nil
}

// name records which names of a target point at an image, and that it is there.
func (r *Room) name(ctx context.Context, target, digest string, names []string) error {
	r.keep.Lock()
	defer r.keep.Unlock()
	old, ok := r.record(digest)
	if !ok {
		return nil // dropped in between; the next sweep finds it anew
	}
	now := r.d.Now().UTC()
	had, known := old.ByTarget[target]
	if known && slices.Equal(had, names) && now.Sub(old.SeenAt) < time.Hour {
		return nil
	}
	next := *old
	next.ByTarget = cloneNames(old.ByTarget)
	next.ByTarget[target] = slices.Clone(names)
	next.SeenAt = now
	if !known {
		next.Basis = "" // another target may judge it otherwise
	}
	return r.save(ctx, &next)
}

func cloneNames(m map[string][]string) map[string][]string {
	out := make(map[string][]string, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	return out
}

// rematch judges again what rests on something that changed.
func (r *Room) rematch(ctx context.Context) (registry.RematchSummary, error) {
	return registry.Rematch(ctx, r, matcher{r}, 1)
}

// matcher makes reports of what is kept.
type matcher struct{ r *Room }

// Database is the word for "judged by all that is known now"; see Each.
func (m matcher) Database() string { return "current" }

// Match implements registry.Matcher.
func (m matcher) Match(k *registry.Kept) (*scan.Report, error) {
	digest, err := keyOf(k.Image)
	if err != nil {
		return nil, err
	}
	var targets []string
	if rec, ok := m.r.record(digest); ok {
		targets = targetsOf(rec.ByTarget)
	}
	return m.r.assemble(k, targets)
}

// Each implements registry.Inventories. An image whose judgement stands is
// handed over as current and unread.
func (r *Room) Each(ctx context.Context, each func(registry.Stored) error) error {
	for _, rec := range r.all() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := registry.Stored{Digest: rec.Digest, Database: "current"}
		if rec.Basis == "" || rec.Basis != r.basis(rec) {
			s.Database = ""
			var err error
			if s.Packed, err = r.packed(ctx, kindKept, rec.Digest); err != nil && ctx.Err() == nil {
				r.d.Log.Warn("what is kept of an image cannot be read", "image", rec.Digest, "err", err)
				s.Packed = nil // fails where it is read, and is then scanned again
			}
		}
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

// Rematched implements registry.Inventories.
func (r *Room) Rematched(ctx context.Context, digest string, rep *scan.Report) error {
	r.keep.Lock()
	defer r.keep.Unlock()
	old, ok := r.record(digest)
	if !ok {
		return nil
	}
	next := *old
	next.Bytes = r.sizeOf(ctx, digest)
	return r.judged(ctx, digest, rep, old, &next)
}

// sizeOf is what is kept of an image besides its report.
func (r *Room) sizeOf(ctx context.Context, digest string) int64 {
	var n int64
	for _, kind := range []string{kindKept, kindFiles} {
		if d, err := r.d.Store.Document(ctx, kind, digest); err == nil {
			n += int64(len(d))
		}
	}
	return n
}

// stored is the last report of an image.
func (r *Room) stored(ctx context.Context, digest string) (*scan.Report, error) {
	rec, ok := r.record(digest)
	if !ok {
		return nil, fmt.Errorf("find image %s: %w", digest, console.ErrNotFound)
	}
	r.mu.Lock()
	for _, c := range r.recent {
		if c.digest == digest && c.basis == rec.Basis {
			r.mu.Unlock()
			return c.rep, nil
		}
	}
	r.mu.Unlock()
	text, err := r.packed(ctx, kindReport, digest)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("find report of image %s: %w", digest, console.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	rep := new(scan.Report)
	if err := json.Unmarshal(text, rep); err != nil {
		return nil, fmt.Errorf("read report of image %s: %w", digest, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent = append(r.recent, cached{digest, rec.Basis, rep})
	if len(r.recent) > maxRecent {
		r.recent = slices.Delete(r.recent, 0, 1)
	}
	return rep, nil
}

// maxRecent is how many reports stay unpacked: paging through one asks often.
const maxRecent = 4

type cached struct {
	digest, basis string
	rep           *scan.Report // never changed
}

// evict drops what was not seen for longest, until the bounds hold. What runs
// here stays as long as anything else is left.
func (r *Room) evict(ctx context.Context) error {
	list := r.all()
	var bytes int64
	for _, rec := range list {
		bytes += rec.Bytes
	}
	if len(list) <= r.cfg.MaxImages && bytes <= r.cfg.MaxBytes {
		return nil
	}
	running := r.running()
	slices.SortStableFunc(list, func(a, b *record) int {
		return cmp.Or(cmp.Compare(min(len(running.of(a)), 1), min(len(running.of(b)), 1)), a.SeenAt.Compare(b.SeenAt))
	})
	left := len(list)
	for _, rec := range list {
		if left <= r.cfg.MaxImages && bytes <= r.cfg.MaxBytes {
			break
		}
		if err := r.drop(ctx, rec.Digest); err != nil {
			return err
		}
		left--
		bytes -= rec.Bytes
		r.d.Log.Info("image forgotten to make room", "image", rec.Digest, "names", rec.Names, "seen", rec.SeenAt)
	}
	return nil
}

// drop forgets an image. The summary goes first: the rest is then unreachable
// and overwritten if the image comes back.
func (r *Room) drop(ctx context.Context, digest string) error {
	r.keep.Lock()
	defer r.keep.Unlock()
	for _, kind := range []string{kindSummary, kindReport, kindKept, kindFiles} {
		if err := r.d.Store.Delete(ctx, kind, digest); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("forget image %s: %w", digest, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.records, digest)
	return nil
}
