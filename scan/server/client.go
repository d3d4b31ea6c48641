package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Client asks a server.
type Client struct {
	URL   string // "https://scan.example.test"
	Token string
	HTTP  *http.Client // nil: http.DefaultClient
	// PlainHTTP allows sending the token unprotected to other machines.
	PlainHTTP bool
	// Patience is how often a busy server is asked again; 0: 5 times.
	Patience int
	// Sleep waits in between; nil: on the real clock.
	Sleep func(context.Context, time.Duration) error
}

const (
	maxAnswer = 1 << 30
	maxPause  = time.Minute
)

// Info asks what the server works with.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var out Info
	return out, c.ask(ctx, http.MethodGet, "/v1/info", nil, &out)
}

// Scan asks for the scan of a registry's image. progress is told what happens
// meanwhile; nil: nobody. Errors of the server are of type *Error.
func (c *Client) Scan(ctx context.Context, r Request, progress func(Event)) (*scan.Report, error) {
	return c.report(ctx, "/v1/scan", r, progress)
}

// Missing tells which layers (diff ids) the server does not know.
func (c *Client) Missing(ctx context.Context, version string, diffIDs []string) ([]string, error) {
	var out MissingAnswer
	err := c.ask(ctx, http.MethodPost, "/v1/layers/missing", MissingRequest{version, diffIDs}, &out)
	return out.Missing, err
}

// Put sends the contents of one layer, as inventory.Contents writes them.
func (c *Client) Put(ctx context.Context, version, diffID string, contents []byte) error {
	return c.ask(ctx, http.MethodPut, "/v1/layers/"+url.PathEscape(diffID)+"?version="+url.QueryEscape(version), contents, nil)
}

// Merge asks for the report of layers the server knows. An *Error with
// CodeMissing names those it does not know any more.
func (c *Client) Merge(ctx context.Context, r MergeRequest, progress func(Event)) (*scan.Report, error) {
	return c.report(ctx, "/v1/merge", r, progress)
}

// ask sends one request and reads one JSON answer.
func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	body, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read answer of %s: %w", c.URL, err)
	}
	return nil
}

// report sends one request and reads events until the last.
func (c *Client) report(ctx context.Context, path string, in any, progress func(Event)) (*scan.Report, error) {
	body, err := c.do(ctx, http.MethodPost, path, in)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for d := json.NewDecoder(io.LimitReader(body, maxAnswer)); ; {
		var e Event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, fmt.Errorf("the connection to %s ended before the report came; try again", c.URL)
		case err != nil:
			return nil, fmt.Errorf("read answer of %s: %w", c.URL, err)
		case e.Error != nil:
			return nil, e.Error
		case e.Report != nil:
			return e.Report, nil
		case progress != nil && e != (Event{}):
			progress(e)
		}
	}
}

// do sends a request, again while the server is busy.
func (c *Client) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	u, err := url.Parse(strings.TrimSuffix(c.URL, "/") + path)
	if err != nil {
		return nil, fmt.Errorf("read server address %q: %w", c.URL, err)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !c.PlainHTTP && !loopback(u.Hostname())) {
		return nil, fmt.Errorf("ask %s: the token would travel unprotected; use https, or allow plain HTTP on purpose", c.URL)
	}
	raw, isRaw := in.([]byte)
	if in != nil && !isRaw {
		if raw, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	patience := c.Patience
	if patience == 0 {
		patience = 5
	}
	for try := 0; ; try++ {
		req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", c.URL, err)
		}
		req.Header.Set("Authorization", "Bearer "+c.Token)
		if !isRaw {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := h.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", c.URL, err)
		}
		if resp.StatusCode/100 == 2 {
			return resp.Body, nil
		}
		refusal := readRefusal(c.URL, resp)
		if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusTooManyRequests || try >= patience {
			return nil, refusal
		}
		if err := c.pause(ctx, resp.Header.Get("Retry-After")); err != nil {
			return nil, errors.Join(err, refusal)
		}
	}
}

func (c *Client) pause(ctx context.Context, after string) error {
	d := 5 * time.Second
	if s, err := strconv.Atoi(after); err == nil && s >= 0 {
		d = min(time.Duration(min(s, 3600))*time.Second, maxPause)
	}
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readRefusal reads the server's error; what is in front of it may answer too.
func readRefusal(from string, resp *http.Response) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	e := &Error{status: resp.StatusCode}
	if err != nil || json.Unmarshal(b, e) != nil || e.Code == "" {
		return fmt.Errorf("ask %s: it answered %s", from, resp.Status)
	}
	return e
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
