package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/scan"
)

// Stored is one image as it is kept.
type Stored struct {
	Digest string // of the manifest
	// Database is the digest of that which it was matched against last.
	Database string
	Packed   []byte // see Kept.Pack; valid during the call only
}

// Inventories are the images that are kept.
type Inventories interface {
	// Each hands over all of them, one at a time, and ends with the first error
	// of f.
	Each(ctx context.Context, f func(Stored) error) error
	// Rematched keeps a new report of an image. It is called from several
	// goroutines.
	Rematched(ctx context.Context, digest string, r *scan.Report) error
}

// Matcher makes reports of what is kept. It is called from several goroutines.
type Matcher interface {
	Database() string // its digest
	Match(k *Kept) (*scan.Report, error)
}

// RematchSummary is what Rematch did.
type RematchSummary struct {
	Images, Current, Matched int // seen; already of this database; matched now
	Failed                   []Failure
}

// Rematch matches everything that is kept against the matcher's database,
// without a registry, with so many workers (at least one). What was matched
// against it already is passed over, so an interrupted run goes on where it
// stopped. An image that cannot be read is a failure in the summary.
func Rematch(ctx context.Context, inv Inventories, m Matcher, workers int) (RematchSummary, error) {
	var sum RematchSummary
	var mu sync.Mutex
	database := m.Database()
	work := make(chan Stored)
	g, gctx := errgroup.WithContext(ctx)
	for range max(workers, 1) {
		g.Go(func() error {
			for s := range work {
				err := rematchOne(gctx, inv, m, s)
				var fatal *resultsError
				if errors.As(err, &fatal) {
					return fmt.Errorf("keep report of %s: %w", s.Digest, fatal)
				}
				mu.Lock()
				if err != nil {
					sum.Failed = append(sum.Failed, Failure{s.Digest, err})
				} else {
					sum.Matched++
				}
				mu.Unlock()
			}
			return nil
		})
	}
	err := inv.Each(gctx, func(s Stored) error {
		sum.Images++
		if s.Database == database {
			sum.Current++
			return nil
		}
		s.Packed = slices.Clone(s.Packed)
		select {
		case work <- s:
			return nil
		case <-gctx.Done():
			return gctx.Err()
		}
	})
	close(work)
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	slices.SortFunc(sum.Failed, func(a, b Failure) int { return strings.Compare(a.Ref, b.Ref) })
	return sum, err
}

func rematchOne(ctx context.Context, inv Inventories, m Matcher, s Stored) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the matcher broke on it: %v", p)
		}
	}()
	k, err := Unpack(s.Packed)
	if err != nil {
		return err
	}
	r, err := m.Match(k)
	if err != nil {
		return err
	}
	if err := inv.Rematched(ctx, s.Digest, r); err != nil {
		return &resultsError{err}
	}
	return nil
}
