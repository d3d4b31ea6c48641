package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/scan"
)

// Sweeper examines a target.
type Sweeper struct {
	t         Target
	d         Deps
	schedule  *Schedule
	platforms []v1.Platform
	net       *polite
	pushes    *queue
}

// New makes a Sweeper, or says what is wrong with the target.
func New(t Target, d Deps) (*Sweeper, error) {
	if d.Scan == nil || d.Results == nil {
		return nil, errors.New("make sweeper: Scan and Results are needed")
	}
	t.Parallel = cmp.Or(max(t.Parallel, 0), 2)
	t.Timeout = cmp.Or(max(t.Timeout, 0), 10*time.Minute)
	if len(t.Platforms) == 0 {
		t.Platforms = []string{"linux/amd64"}
	}
	d.fill()
	s := &Sweeper{t: t, d: d, pushes: newQueue(maxPushes)}
	for _, g := range [][]string{t.Include, t.Exclude, t.Tags.Include, t.Tags.Exclude} {
		if err := globs(g).check(); err != nil {
			return nil, fmt.Errorf("read target %s: %w", t.Name, err)
		}
	}
	switch s.t.Tags.Order = strings.ToLower(cmp.Or(t.Tags.Order, orderVersion)); s.t.Tags.Order {
	case orderVersion, orderCreated:
	default:
		return nil, fmt.Errorf("read target %s: order of tags %q is neither version nor created", t.Name, t.Tags.Order)
	}
	if t.Schedule != "" {
		sched, err := ParseSchedule(t.Schedule)
		if err != nil {
			return nil, fmt.Errorf("read target %s: %w", t.Name, err)
		}
		s.schedule = &sched
	}
	for _, p := range t.Platforms {
		parsed, err := v1.ParsePlatform(p)
		if err != nil || parsed.OS == "" || parsed.Architecture == "" {
			return nil, fmt.Errorf("read target %s: platform %q is not like linux/amd64", t.Name, p)
		}
		s.platforms = append(s.platforms, *parsed)
	}
	base := d.Transport
	if base == nil {
		var err error
		if base, err = network(t, d.ReadFile); err != nil {
			return nil, fmt.Errorf("read target %s: %w", t.Name, err)
		}
	}
	s.net = &polite{base: base, now: d.Now, sleep: d.Sleep, hold: map[string]time.Time{}, rate: float64(t.BytesPerSecond)}
	return s, nil
}

// fill sets what was left out.
func (d *Deps) fill() {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Sleep == nil {
		d.Sleep = sleep
	}
	if d.Getenv == nil {
		d.Getenv = os.Getenv
	}
	if d.ReadFile == nil {
		d.ReadFile = os.ReadFile
	}
}

// Sweep examines everything once. The error is for what stops the whole: no
// credentials, no catalogue, results that cannot be kept. An image that fails
// is in the summary, and so is that ctx ended.
func (s *Sweeper) Sweep(ctx context.Context) (sum Summary, err error) {
	sum.Started = s.d.Now()
	before := s.net.bytes.Load()
	defer func() {
		sum.Ended, sum.Bytes = s.d.Now(), s.net.bytes.Load()-before
		order := func(a, b Failure) int { return cmp.Compare(a.Ref, b.Ref) }
		slices.SortStableFunc(sum.Failed, order)
		slices.SortStableFunc(sum.Incomplete, order)
		if ctx.Err() != nil {
			sum.Interrupted, err = true, nil
		}
	}()
	in, err := s.session()
	if err != nil {
		return sum, err
	}
	repos, err := in.repositories(ctx)
	if err != nil {
		return sum, err
	}
	inv := &inventory{images: map[string]*found{}, sum: &sum}
	if err := in.list(ctx, repos, inv); err != nil {
		return sum, err
	}
	return sum, in.examine(ctx, inv)
}

// list resolves every chosen tag of every repository.
func (s *session) list(ctx context.Context, repos []string, inv *inventory) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4 * s.t.Parallel)
	for _, r := range repos {
		if gctx.Err() != nil {
			break
		}
		repo, err := repository(s.host.Name(), r, s.nameOptions()...)
		if err != nil {
			inv.fail(s.host.Name()+"/"+r, err)
			continue
		}
		tags, err := s.tags(gctx, repo)
		if err != nil {
			if gctx.Err() == nil {
				inv.fail(repo.Name(), fmt.Errorf("list tags: %w", err))
			}
			continue
		}
		inv.mu.Lock()
		inv.sum.Repositories++
		inv.sum.Tags += len(tags)
		inv.mu.Unlock()
		for _, tag := range tags {
			g.Go(func() error { return s.collect(gctx, repo.Tag(tag), repo.Tag(tag), inv) })
		}
	}
	return g.Wait()
}

func (s *session) nameOptions() []name.Option {
	if s.t.PlainHTTP {
		return []name.Option{name.Insecure}
	}
	return nil
}

// collect resolves one reference, that of an image called so. Its error ends
// the sweep.
func (s *session) collect(ctx context.Context, ref, called name.Reference, inv *inventory) error {
	images, err := s.resolve(ctx, ref)
	var fatal *resultsError
	switch {
	case err == nil:
		return inv.add(called, images)
	case errors.As(err, &fatal):
		return fmt.Errorf("ask for results: %w", fatal)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errArtifact):
		inv.mu.Lock()
		inv.sum.Artifacts++
		inv.mu.Unlock()
	default:
		inv.fail(called.Name(), err)
	}
	return nil
}

// examine scans what is not known and records all names.
func (s *session) examine(ctx context.Context, inv *inventory) error {
	sum := inv.sum
	sum.Images = len(inv.images)
	p := newPicker()
	for _, digest := range slices.Sorted(maps.Keys(inv.images)) {
		f := inv.images[digest]
		slices.Sort(f.Names)
		f.Names = slices.Compact(f.Names)
		if f.Ref == "" { // known
			sum.Known++
			if err := s.d.Results.Name(ctx, digest, f.Names); err != nil {
				return fmt.Errorf("keep names: %w", err)
			}
			continue
		}
		p.pending = append(p.pending, f)
	}
	slices.SortFunc(p.pending, func(a, b *found) int { return cmp.Compare(a.Names[0], b.Names[0]) })

	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, p.wake)
	defer stop()
	var mu sync.Mutex
	distinct := map[string]bool{}
	for range s.t.Parallel {
		g.Go(func() error {
			for {
				f := p.next(gctx)
				if f == nil {
					return gctx.Err()
				}
				r, k, err := s.one(gctx, f)
				p.done(f, err == nil && k.complete())
				var fatal *resultsError
				if errors.As(err, &fatal) {
					return fmt.Errorf("keep results: %w", fatal)
				}
				if gctx.Err() != nil && err != nil {
					return gctx.Err()
				}
				mu.Lock()
				if err != nil {
					sum.Failed = append(sum.Failed, Failure{f.Names[0], err})
				} else {
					sum.Scanned++
					sum.Layers += len(f.layers)
					for _, l := range f.layers {
						distinct[l] = true
					}
					if r.Incomplete() {
						sum.Incomplete = append(sum.Incomplete, Failure{f.Names[0], incomplete(r)})
					}
				}
				mu.Unlock()
			}
		})
	}
	err := g.Wait()
	sum.Distinct = len(distinct)
	return err
}

// incomplete tells the first gap that matters, and how many there are.
func incomplete(r *scan.Report) error {
	n, first := 0, ""
	for _, g := range r.Gaps {
		if g.Minor {
			continue
		}
		if n++; n == 1 {
			first = g.Where + ": " + g.What
		}
	}
	if n == 1 {
		return errors.New(first)
	}
	return fmt.Errorf("%s (and %d more gaps)", first, n-1)
}

// one scans an image and keeps what was found. Whatever goes wrong in it, a
// panic too, is its own failure.
func (s *session) one(ctx context.Context, f *found) (r *scan.Report, k *Kept, err error) {
	ictx, cancel := context.WithTimeout(ctx, s.t.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			r, k, err = nil, nil, fmt.Errorf("the scanner broke on it: %v", p)
			s.d.Log.Error("image broke the scanner", "image", f.Ref, "panic", p)
		}
	}()
	r, k, err = s.d.Scan(ictx, f.Job)
	if err == nil && (r == nil || k == nil) {
		err = errors.New("the scan gave no report")
	}
	if err != nil {
		if ictx.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("not done within %s: %w", s.t.Timeout, err)
		}
		return nil, nil, err
	}
	if err := s.d.Results.Put(ctx, r, k); err != nil {
		return nil, nil, &resultsError{err}
	}
	if err := s.d.Results.Name(ctx, f.Digest, f.Names); err != nil {
		return nil, nil, &resultsError{err}
	}
	return r, k, nil
}
