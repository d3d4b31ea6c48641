package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A transfer may break this often without having brought resumeProgress bytes
// in between.
const (
	resumeTries    = 5
	resumeProgress = 1 << 20
)

// stallTime is how long a transfer may bring nothing before it counts as broken.
const stallTime = time.Minute

// layer opens a blob whose transfer goes on where it broke.
func (r *repository) layer(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ctx, stop := context.WithCancelCause(ctx)
	b := &resuming{ctx: ctx, stop: stop, size: d.Size, wait: r.wait, stall: stallTime}
	b.open = func(ctx context.Context, off int64) (body io.ReadCloser, err error) {
		err = r.each(ctx, func(p *place) (err error) {
			body, err = r.from(ctx, p, d, off)
			return err
		})
		return body, err
	}
	if err := b.start(); err != nil {
		stop(nil)
		if len(d.URLs) > 0 && errors.Is(err, ErrNotFound) {
			return nil, failedBy(err, ErrUnsupported, "push it to the registry too, then scan again", "open layer %s: a foreign layer, kept at %s", d.Digest, strings.Join(d.URLs[:1], ""))
		}
		return nil, err
	}
	return b, nil
}

// from asks one place for a blob from an offset on.
func (r *repository) from(ctx context.Context, p *place, d v1.Descriptor, off int64) (io.ReadCloser, error) {
	head := http.Header{}
	if off > 0 {
		head.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	resp, err := p.get(ctx, r.o.UserAgent, "blobs/"+d.Digest.String(), head)
	if err != nil {
		return nil, err
	}
	if off == 0 {
		return resp.Body, nil
	}
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", off)) {
			_ = resp.Body.Close()
			return nil, failed(ErrCorrupt, "", "resume blob %s: asked for bytes from %d, got %q", d.Digest, off, resp.Header.Get("Content-Range"))
		}
		return resp.Body, nil
	}
	// It knows no ranges: what is there already passes once more.
	if _, err := io.CopyN(io.Discard, resp.Body, off); err != nil {
		_ = resp.Body.Close()
		return nil, failedBy(err, ErrUnreachable, "try again", "resume blob %s", d.Digest)
	}
	return resp.Body, nil
}

// resuming is the body of a blob over as many transfers as it takes. It is read
// by one goroutine, and may be closed by another to end a read that hangs.
type resuming struct {
	ctx   context.Context
	stop  context.CancelCauseFunc // ends ctx
	mu    sync.Mutex              // held to change and to close body, end and timer
	open  func(ctx context.Context, off int64) (io.ReadCloser, error)
	wait  func(context.Context, time.Duration) error
	stall time.Duration
	body  io.ReadCloser
	end   context.CancelFunc // of this transfer
	timer *time.Timer        // ends it when it stalls
	size  int64
	off   int64
	mark  int64 // off when tries was last set to nothing
	tries int
}

// start begins a transfer at b.off.
func (b *resuming) start() error {
	ctx, end := context.WithCancel(b.ctx)
	body, err := b.open(ctx, b.off)
	if err != nil {
		end()
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body, b.end = body, end
	b.timer = time.AfterFunc(b.stall, end)
	return nil
}

func (b *resuming) Read(p []byte) (int, error) {
	for {
		b.timer.Reset(b.stall)
		n, err := b.body.Read(p)
		b.off += int64(n)
		if b.off-b.mark >= resumeProgress {
			b.mark, b.tries = b.off, 0
		}
		if n > 0 || err == nil {
			return n, nil // the error comes again
		}
		if errors.Is(err, io.EOF) && (b.off >= b.size || b.size == 0) {
			return 0, io.EOF
		}
		if err := b.again(err); err != nil {
			return 0, err
		}
	}
}

func (b *resuming) again(cause error) error {
	_ = b.drop() // of a transfer that is over
	delay := firstDelay
	for {
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		if b.tries++; b.tries > resumeTries {
			if errors.Is(cause, io.EOF) {
				cause = io.ErrUnexpectedEOF
			}
			return failedBy(cause, ErrUnreachable, "check the network, or use a mirror", "read blob: the transfer broke at byte %d of %d and could not be resumed", b.off, b.size)
		}
		if err := b.wait(b.ctx, delay); err != nil {
			return err
		}
		delay *= 2
		if cause = b.start(); cause == nil {
			return nil
		}
	}
}

// drop ends the transfer that is under way.
func (b *resuming) drop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	b.end()
	return b.body.Close()
}

// Close ends the transfer, and no other one begins.
func (b *resuming) Close() error {
	b.stop(fs.ErrClosed)
	return b.drop()
}
