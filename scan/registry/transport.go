package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of politeness.
const (
	maxTries = 6
	maxHold  = 15 * time.Minute
)

// polite spares a registry: it spreads bytes over time, and when a host says
// that it is asked too much, every request to that host waits as long as it
// asked for.
type polite struct {
	base  http.RoundTripper
	now   func() time.Time
	sleep func(context.Context, time.Duration) error
	bytes atomic.Int64

	mu    sync.Mutex
	hold  map[string]time.Time // until when a host wants rest
	rate  float64              // bytes per second, 0: unbounded
	ready time.Time            // when the next byte may be taken
}

// RoundTrip implements http.RoundTripper.
func (p *polite) RoundTrip(req *http.Request) (*http.Response, error) {
	again := req.Body == nil && (req.Method == http.MethodGet || req.Method == http.MethodHead)
	for try := 1; ; try++ {
		if err := p.wait(req.Context(), req.URL.Host); err != nil {
			return nil, err
		}
		resp, err := p.base.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		rest, asked := p.rest(resp, try)
		if rest > 0 {
			p.mu.Lock()
			if until := p.now().Add(rest); until.After(p.hold[req.URL.Host]) {
				p.hold[req.URL.Host] = until
			}
			p.mu.Unlock()
		}
		if !asked || rest <= 0 || !again || try == maxTries {
			resp.Body = &metered{resp.Body, p, req.Context()}
			return resp, nil
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		resp.Body.Close()
	}
}

// rest is how long a host wants to be left alone; asked says that this answer
// was a refusal because of too many requests. Rests that are too long to wait
// for come back as the refusal they are.
func (p *polite) rest(resp *http.Response, try int) (rest time.Duration, asked bool) {
	after := resp.Header.Get("Retry-After")
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
	case resp.StatusCode == http.StatusServiceUnavailable && after != "":
	default:
		return 0, false
	}
	if s, err := strconv.Atoi(after); err == nil && s >= 0 && s < 1<<31 {
		rest = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		rest = at.Sub(p.now())
	} else {
		rest = time.Second << (try - 1)
	}
	if rest > maxHold {
		return 0, true
	}
	return max(rest, 100*time.Millisecond), true
}

func (p *polite) wait(ctx context.Context, host string) error {
	for {
		p.mu.Lock()
		d := p.hold[host].Sub(p.now())
		p.mu.Unlock()
		if d <= 0 {
			return ctx.Err()
		}
		if err := p.sleep(ctx, d); err != nil {
			return err
		}
	}
}

// take waits until n more bytes may have been read.
func (p *polite) take(ctx context.Context, n int) error {
	p.bytes.Add(int64(n))
	if p.rate <= 0 {
		return nil
	}
	p.mu.Lock()
	now := p.now()
	if p.ready.Before(now) {
		p.ready = now
	}
	d := p.ready.Sub(now)
	p.ready = p.ready.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	p.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return p.sleep(ctx, d)
}

// metered is a body that is read no faster than allowed.
type metered struct {
	io.ReadCloser
	p   *polite
	ctx context.Context
}

func (m *metered) Read(b []byte) (int, error) {
	// Small bites, so that several downloads share evenly.
	if m.p.rate > 0 && len(b) > 32<<10 {
		b = b[:32<<10]
	}
	n, err := m.ReadCloser.Read(b)
	if n > 0 {
		if werr := m.p.take(m.ctx, n); werr != nil {
			return n, werr
		}
	}
	return n, err
}

// network is the transport below politeness.
func network(t Target, readFile func(string) ([]byte, error)) (http.RoundTripper, error) {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the default transport of this process was replaced")
	}
	tr := base.Clone()
	tr.MaxIdleConnsPerHost = 16
	tr.ResponseHeaderTimeout = time.Minute
	tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.SkipTLSVerify}
	if t.CAFile != "" {
		pem, err := readFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s holds none in PEM", t.CAFile)
		}
		tr.TLSClientConfig.RootCAs = pool
	}
	return tr, nil
}

// sleep waits on the real clock.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
