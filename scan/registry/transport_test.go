package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is time that passes by sleeping only.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func answer(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func newPolite(base http.RoundTripper, rate float64) (*polite, *clock) {
	c := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return &polite{base: base, now: c.Now, sleep: c.Sleep, hold: map[string]time.Time{}, rate: rate}, c
}

func get(t *testing.T, p *polite, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.RoundTrip(req)
}

func TestPoliteness(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []*http.Response
		status  int
		waited  time.Duration
	}{
		{"nothing asked", []*http.Response{answer(200, "")}, 200, 0},
		{"seconds", []*http.Response{answer(429, "", "Retry-After", "7"), answer(200, "")}, 200, 7 * time.Second},
		{"date", []*http.Response{answer(429, "", "Retry-After", "Thu, 01 Jan 2026 00:01:00 GMT"), answer(200, "")}, 200, time.Minute},
		{"date in the past", []*http.Response{answer(429, "", "Retry-After", "Thu, 01 Jan 2025 00:01:00 GMT"), answer(200, "")}, 200, 100 * time.Millisecond},
		{"nothing told: longer each time", []*http.Response{answer(429, ""), answer(429, ""), answer(429, ""), answer(200, "")}, 200, 7 * time.Second},
		{"unavailable with a time", []*http.Response{answer(503, "", "Retry-After", "2"), answer(200, "")}, 200, 2 * time.Second},
		{"unavailable without", []*http.Response{answer(503, "")}, 503, 0},
		{"too long to wait", []*http.Response{answer(429, "", "Retry-After", "86400")}, 429, 0},
		{"garbage", []*http.Response{answer(429, "", "Retry-After", "-5"), answer(200, "")}, 200, time.Second},
		{"again and again", []*http.Response{answer(429, ""), answer(429, ""), answer(429, ""), answer(429, ""), answer(429, ""), answer(429, "")}, 429, 31 * time.Second},
	} {
		n := 0
		p, c := newPolite(tripper(func(*http.Request) (*http.Response, error) {
			n++
			return tt.answers[n-1], nil
		}), 0)
		start := c.now
		resp, err := get(t, p, "http://example.test/v2/")
		if err != nil || resp.StatusCode != tt.status || n != len(tt.answers) || c.now.Sub(start) != tt.waited {
			t.Errorf("%s: %v %v, %d requests, waited %s", tt.name, resp.StatusCode, err, n, c.now.Sub(start))
		}
	}
}

func TestOthersWaitForTheSameHostOnly(t *testing.T) {
	p, c := newPolite(tripper(func(*http.Request) (*http.Response, error) { return answer(200, ""), nil }), 0)
	p.hold["a.test"] = c.now.Add(time.Minute)
	if _, err := get(t, p, "http://b.test/"); err != nil || len(c.slept) != 0 {
		t.Error(err, c.slept)
	}
	if _, err := get(t, p, "http://a.test/"); err != nil || len(c.slept) != 1 || c.slept[0] != time.Minute {
		t.Error(err, c.slept)
	}
}

func TestUploadsAreNotRepeated(t *testing.T) {
	n := 0
	p, _ := newPolite(tripper(func(*http.Request) (*http.Response, error) { n++; return answer(429, ""), nil }), 0)
	req, err := http.NewRequest(http.MethodPost, "http://a.test/", bytes.NewReader([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := p.RoundTrip(req); err != nil || resp.StatusCode != 429 || n != 1 {
		t.Error(resp, err, n)
	}
}

func TestBandwidth(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	p, c := newPolite(tripper(func(*http.Request) (*http.Response, error) { return answer(200, body), nil }), 128<<10)
	start := c.now
	for range 2 {
		resp, err := get(t, p, "http://a.test/")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 1<<20 || err != nil {
			t.Fatal(n, err)
		}
	}
	// Two MiB at an eighth of one per second; the last bite is paid afterwards.
	if d := c.now.Sub(start); d < 15*time.Second || d > 16*time.Second {
		t.Errorf("took %s", d)
	}
	if p.bytes.Load() != 2<<20 {
		t.Errorf("%d bytes counted", p.bytes.Load())
	}
}

func TestWaitingEndsWithContext(t *testing.T) {
	p, c := newPolite(tripper(func(*http.Request) (*http.Response, error) { return answer(200, "abc"), nil }), 1)
	p.hold["a.test"] = c.now.Add(time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := sleep(context.Background(), time.Microsecond); err != nil {
		t.Error(err)
	}
}

func TestNetwork(t *testing.T) {
	read := func(string) ([]byte, error) { return nil, os.ErrNotExist }
	if _, err := network(Target{CAFile: "x"}, read); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := network(Target{CAFile: "x"}, func(string) ([]byte, error) { return []byte("no PEM"), nil }); err == nil {
		t.Error("certificates that are none were taken")
	}
	rt, err := network(Target{SkipTLSVerify: true}, read)
	if err != nil || !rt.(*http.Transport).TLSClientConfig.InsecureSkipVerify {
		t.Error(rt, err)
	}
}
