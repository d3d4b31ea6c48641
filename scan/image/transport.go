package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Retries of one request, and the longest wait that a registry may ask for.
const (
	attempts   = 5
	firstDelay = 500 * time.Millisecond
	maxDelay   = time.Minute
)

// transport makes the carrier of requests to registries: the options' own, or
// one with their certificates, and retries around it.
func (o *Options) transport() (http.RoundTripper, error) {
	base := o.Transport
	if base == nil {
		config, err := o.tls()
		if err != nil {
			return nil, err
		}
		base = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       config,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       30 * time.Second,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			DisableCompression:    true, // the bytes are the content
		}
	}
	return &retrier{next: base, wait: wait}, nil
}

func (o *Options) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.SkipTLSVerify} // asked for by name
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fileError(err, "read certificates %s", o.CAFile)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, failed(ErrCorrupt, "write it in PEM", "read certificates %s: it holds none", o.CAFile)
		}
		c.RootCAs = pool
	}
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, failedBy(err, ErrUnsupported, "give both a certificate and its key, in PEM", "read client certificate %s", o.CertFile)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// retrier repeats requests that failed for a passing reason, at growing
// intervals or when the registry says (RFC 9110, Retry-After).
type retrier struct {
	next http.RoundTripper
	wait func(context.Context, time.Duration) error
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	delay := firstDelay
	for i := 1; ; i++ {
		resp, err := r.next.RoundTrip(req)
		if i == attempts || !repeatable(req) || req.Context().Err() != nil || !passing(resp, err) {
			return resp, err
		}
		d := delay
		if resp != nil {
			d = retryAfter(resp, delay)
			_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // to use the connection again
			_ = resp.Body.Close()
		}
		if err := r.wait(req.Context(), d); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.Body = body
		}
		delay *= 2
	}
}

// CloseIdleConnections passes on what http.Client asks of its transport.
func (r *retrier) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func repeatable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// passing reports whether a failure may be over soon.
func passing(resp *http.Response, err error) bool {
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return false // nobody is there; a mirror may be
		}
		var ne net.Error
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
			errors.Is(err, syscall.EPIPE) || errors.As(err, &ne) && ne.Timeout()
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return true
	}
	return false
}

// retryAfter is what the registry asks for, within reason.
func retryAfter(resp *http.Response, otherwise time.Duration) time.Duration {
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return min(time.Duration(min(s, 3600))*time.Second, maxDelay)
	}
	if t, err := http.ParseTime(v); err == nil {
		// Relative to the registry's own clock, when it tells: ours may differ.
		if now, err := http.ParseTime(resp.Header.Get("Date")); err == nil && t.After(now) {
			return min(t.Sub(now), maxDelay)
		}
	}
	return otherwise
}

// wait sleeps unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
