package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan/vuln/feed/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server serves content as http.ServeContent does, and can be told to break
// off.
type server struct {
	mu       sync.Mutex
	content  []byte
	etag     string
	date     time.Time
	breakAt  int // bytes after which an answer ends; 0: never
	status   int // answer this instead, so many times
	times    int
	requests []http.Header
	codes    []int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Header.Clone())
	if s.times > 0 {
		s.times--
		w.WriteHeader(s.status)
		return
	}
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	rec := &breaker{ResponseWriter: w, left: s.breakAt}
	if s.breakAt == 0 {
		rec.left = 1 << 30
	}
	s.breakAt = 0
	http.ServeContent(rec, r, "x.json", s.date, bytes.NewReader(s.content))
	s.codes = append(s.codes, rec.code)
	if rec.left <= 0 {
		panic(http.ErrAbortHandler)
	}
}

type breaker struct {
	http.ResponseWriter
	left, code int
}

func (b *breaker) WriteHeader(code int) {
	b.code = code
	b.ResponseWriter.WriteHeader(code)
}

func (b *breaker) Write(p []byte) (int, error) {
	if len(p) > b.left {
		p = p[:b.left]
	}
	b.left -= len(p)
	n, err := b.ResponseWriter.Write(p)
	if b.left <= 0 {
		b.ResponseWriter.(http.Flusher).Flush()
		return n, errors.New("broken off")
	}
	return n, err
}

func start(t *testing.T, s *server) (address string, o fetch.Options) {
	t.Helper()
	if s.date.IsZero() {
		s.date = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	srv := httptest.NewServer(s)
	tr := &http.Transport{}
	t.Cleanup(func() { tr.CloseIdleConnections(); srv.Close() })
	return srv.URL + "/all.zip", fetch.Options{
		Dir: filepath.Join(t.TempDir(), "cache"), Transport: tr, UserAgent: "gabion/test",
		Wait: func(context.Context, time.Duration) error { return nil },
	}
}

func check(t *testing.T, f fetch.File, err error, want []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Path)
	if err != nil || !bytes.Equal(got, want) || f.Size != int64(len(want)) {
		t.Fatalf("%d bytes on disk, %d told, want %d: %v", len(got), f.Size, len(want), err)
	}
}

func TestUnchanged(t *testing.T) {
	s := &server{content: []byte("first"), etag: `"1"`}
	u, o := start(t, s)
	f, err := fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
	if f.Cached || !f.Modified.Equal(s.date) {
		t.Errorf("first: %+v", f)
	}
	f, err = fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
	if !f.Cached || s.codes[1] != http.StatusNotModified || s.requests[1].Get("User-Agent") != "gabion/test" {
		t.Errorf("second: %+v, server answered %v", f, s.codes)
	}
	s.content, s.etag, s.date = []byte("second"), `"2"`, s.date.Add(time.Hour)
	f, err = fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
	if f.Cached {
		t.Error("a changed file was taken from the cache")
	}
	// A file that somebody shortened is fetched anew.
	if err := os.Truncate(f.Path, 2); err != nil {
		t.Fatal(err)
	}
	f, err = fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
}

func TestResume(t *testing.T) {
	s := &server{content: bytes.Repeat([]byte("0123456789"), 100_000), etag: `"1"`, breakAt: 400_000}
	u, o := start(t, s)
	var last int64
	o.Progress = func(done, total int64) {
		if total != int64(len(s.content)) {
			t.Errorf("total is %d", total)
		}
		last = done
	}
	f, err := fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
	if f.Resumed == 0 || s.codes[1] != http.StatusPartialContent || last != int64(len(s.content)) {
		t.Errorf("resumed %d, server answered %v, progress %d", f.Resumed, s.codes, last)
	}
	if left, _ := filepath.Glob(filepath.Join(o.Dir, "*.part*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestResumeChanged: a part of the old file is not continued with the new one.
func TestResumeChanged(t *testing.T) {
	s := &server{content: bytes.Repeat([]byte("a"), 1_000_000), etag: `"1"`, breakAt: 400_000}
	u, o := start(t, s)
	o.Tries = 1
	if _, err := fetch.Get(context.Background(), u, o); err == nil {
		t.Fatal("a broken answer was taken for a file")
	}
	s.content, s.etag, s.date = bytes.Repeat([]byte("b"), 1_000_000), `"2"`, s.date.Add(time.Hour)
	f, err := fetch.Get(context.Background(), u, o)
	check(t, f, err, s.content)
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status, times, requests int
		ok                      bool
	}{{503, 2, 3, true}, {429, 1, 2, true}, {404, 1, 1, false}, {403, 1, 1, false}, {500, 9, 4, false}} {
		s := &server{content: []byte("x"), status: c.status, times: c.times}
		u, o := start(t, s)
		_, err := fetch.Get(context.Background(), u, o)
		if (err == nil) != c.ok || len(s.requests) != c.requests || (err != nil && !errors.Is(err, fetch.ErrStatus)) {
			t.Errorf("%d: %d requests, %v", c.status, len(s.requests), err)
		}
	}
}

func TestLimits(t *testing.T) {
	s := &server{content: bytes.Repeat([]byte("x"), 10_000)}
	u, o := start(t, s)
	o.MaxBytes = 5000
	if _, err := fetch.Get(context.Background(), u, o); !errors.Is(err, fetch.ErrTooBig) || len(s.requests) != 1 {
		t.Errorf("announced size: %v after %d requests", err, len(s.requests))
	}
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	if _, err := fetch.Get(context.Background(), endless.URL, o); !errors.Is(err, fetch.ErrTooBig) {
		t.Errorf("no announced size: %v", err)
	}
}

func TestStall(t *testing.T) {
	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "begin")
		w.(http.Flusher).Flush()
		<-stop
	}))
	defer silent.Close()
	defer close(stop)
	o := fetch.Options{Dir: t.TempDir(), Stall: 50 * time.Millisecond, Tries: 2, Wait: func(context.Context, time.Duration) error { return nil }}
	if _, err := fetch.Get(context.Background(), silent.URL, o); !errors.Is(err, fetch.ErrStalled) {
		t.Errorf("silence: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	tr := roundTrip(func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Location": {"http://example.org/plain"}}
		return &http.Response{StatusCode: 302, Header: h, Body: http.NoBody, Request: r}, nil
	})
	o := fetch.Options{Dir: t.TempDir(), Transport: tr}
	for _, u := range []string{"http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "https://example.org/leads-to-http"} {
		if _, err := fetch.Get(context.Background(), u, o); !errors.Is(err, fetch.ErrInsecure) && !strings.Contains(fmt.Sprint(err), "not an address") {
			t.Errorf("%s: %v", u, err)
		}
	}
	if _, err := fetch.Get(context.Background(), "https://user:very-private@example.org/x", fetch.Options{}); err == nil || strings.Contains(err.Error(), "very-private") {
		t.Errorf("password in the error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := fetch.Get(ctx, "https://example.org/x", fetch.Options{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTogether: several processes that want the same file fetch it once each
// after the other, and never mix.
func TestTogether(t *testing.T) {
	s := &server{content: bytes.Repeat([]byte("0123456789"), 50_000), etag: `"1"`}
	u, o := start(t, s)
	o.Wait = nil
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f, err := fetch.Get(context.Background(), u, o)
			if err != nil || f.Size != int64(len(s.content)) {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
	wg.Wait()
	full := 0
	for _, c := range s.codes {
		if c == http.StatusOK || c == 0 {
			full++
		}
	}
	if full != 1 {
		t.Errorf("fetched %d times: %v", full, s.codes)
	}
}
