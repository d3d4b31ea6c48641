package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/gabion-dev/gabion/console"
)

// client speaks the console's HTTP API over the running gabion's unix socket.
type client struct {
	http   *http.Client
	socket string
}

func (e *Env) client() *client {
	return &client{socket: e.Socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "unix", e.Socket)
		},
	}}}
}

// get decodes the answer of GET /api/v1/<path> into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, "", out)
}

// do sends one request. body is sent as contentType; a struct goes as JSON
// when contentType is empty. out nil drops the answer; *[]byte takes it raw.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body any, contentType string, out any) error {
	resp, err := c.open(ctx, method, path, query, body, contentType)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return exit(ExitUnreachable, fmt.Errorf("read answer of gabion: %w", err))
	}
	switch v := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*v = data
		return nil
	default:
		if err := json.Unmarshal(data, v); err != nil {
			return exit(ExitFailed, fmt.Errorf("read answer of gabion to %s %s: %w (is it another version?)", method, path, err))
		}
		return nil
	}
}

func (c *client) open(ctx context.Context, method, path string, query url.Values, body any, contentType string) (*http.Response, error) {
	target := "http://localhost/api/v1" + path // parts of path are escaped by the caller
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r, contentType = bytes.NewReader(data), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, exit(ExitUnreachable, c.explain(err))
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, exit(ExitFailed, problemOf(resp))
	}
	return resp, nil
}

func (c *client) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gabion runs here (nothing answers on %s); start it with: sudo gabion up", c.socket)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("not allowed to talk to the gabion on %s; use sudo", c.socket)
	}
	return fmt.Errorf("talk to gabion on %s: %w", c.socket, err)
}

// problemOf reads an application/problem+json answer.
func problemOf(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var p struct {
		Title, Detail string
		Errors        []struct{ Message, Location string }
	}
	if json.Unmarshal(data, &p) != nil || (p.Title == "" && p.Detail == "") {
		return fmt.Errorf("gabion answered %s: %s", resp.Status, bytes.TrimSpace(data))
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	for _, e := range p.Errors {
		text += "\n  " + e.Message
		if e.Location != "" {
			text = text[:len(text)-len(e.Message)] + e.Location + ": " + e.Message
		}
	}
	return errors.New(text)
}

// lines calls fn with each line of a streamed answer until it ends or ctx does.
func (c *client) lines(ctx context.Context, path string, query url.Values, fn func([]byte) error) error {
	resp, err := c.open(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(make([]byte, 64<<10), 16<<20)
	for in.Scan() {
		if err := fn(in.Bytes()); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := in.Err(); err != nil {
		return exit(ExitUnreachable, fmt.Errorf("follow gabion: %w", err))
	}
	return nil
}

// all reads every page of a list.
func all[T any](ctx context.Context, c *client, path string) ([]T, error) {
	out := []T{}
	for {
		var page console.List[T]
		q := url.Values{"limit": {"500"}, "offset": {strconv.Itoa(len(out))}}
		if err := c.get(ctx, path, q, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if len(page.Items) == 0 || len(out) >= page.Total {
			return out, nil
		}
	}
}
