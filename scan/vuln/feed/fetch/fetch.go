// Package fetch gets files over HTTPS: with resumption of what was broken off,
// without fetching again what has not changed, and within limits.
//
// It does not look into files. The one idea: a file and what its server said of
// it (entity tag, date) lie side by side in a directory; the name of the file
// appears only when it is complete.
package fetch

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of Get, matched with errors.Is.
var (
	ErrInsecure = errors.New("not an https address")
	ErrTooBig   = errors.New("bigger than allowed")
	ErrStatus   = errors.New("server refused")
	ErrStalled  = errors.New("server sent nothing for too long")
	ErrShort    = errors.New("server sent less than it announced")
)

// Options say how files are fetched. Dir is needed.
type Options struct {
	Dir       string            // made when missing
	Transport http.RoundTripper // nil: the default, with the proxies of the environment
	UserAgent string
	MaxBytes  int64         // 0: 16 GiB
	Stall     time.Duration // longest silence; 0: one minute
	Tries     int           // 0: 4
	// Wait pauses between tries; nil: it sleeps, or ends with ctx.
	Wait func(ctx context.Context, d time.Duration) error
	// Insecure also takes http addresses that are not on this machine.
	Insecure bool
	// Progress tells bytes on disk of bytes in all (0: unknown).
	Progress func(done, total int64)
}

// File is what was fetched.
type File struct {
	Path     string
	Size     int64
	Modified time.Time // as the server says; zero: it does not
	Cached   bool      // nothing was transferred: it had not changed
	Resumed  int64     // bytes that were there from an earlier try
}

// meta is what is remembered about a file beside it.
type meta struct {
	URL      string    `json:"url"`
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"modified,omitempty"` // Last-Modified as sent
	Date     time.Time `json:"date,omitzero"`
	Size     int64     `json:"size,omitempty"` // complete size, 0: unknown
}

// Get fetches an address into o.Dir, or finds it there unchanged.
func Get(ctx context.Context, address string, o Options) (File, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return File{}, fmt.Errorf("fetch %q: not an address", address)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && (o.Insecure || local(u.Hostname()))) {
		return File{}, fmt.Errorf("fetch %s: %w", u.Redacted(), ErrInsecure)
	}
	if o.Dir == "" {
		return File{}, fmt.Errorf("fetch %s: no directory given to keep it in", u.Redacted())
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return File{}, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	f := &fetcher{o: o, url: u, base: filepath.Join(o.Dir, key(address))}
	f.o.MaxBytes = cmp.Or(o.MaxBytes, 16<<30)
	f.o.Stall = cmp.Or(o.Stall, time.Minute)
	f.o.Tries = cmp.Or(o.Tries, 4)
	if f.o.Wait == nil {
		f.o.Wait = sleep
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return File{}, fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	}
	defer unlock()
	f.client = &http.Client{Transport: o.Transport, CheckRedirect: f.redirect}
	for try := 1; ; try++ {
		out, err := f.once(ctx)
		if err == nil {
			return out, nil
		}
		err = fmt.Errorf("fetch %s: %w", u.Redacted(), err)
		if try >= f.o.Tries || ctx.Err() != nil || !again(err) {
			return File{}, err
		}
		if err := f.o.Wait(ctx, time.Second<<(try-1)); err != nil {
			return File{}, err
		}
	}
}

// key names a file: readable, and its own for every address.
func key(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:12])
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// redirect keeps an https address from leading to another scheme.
func (f *fetcher) redirect(r *http.Request, via []*http.Request) error {
	if len(via) > 10 {
		return errors.New("more than 10 redirections")
	}
	if r.URL.Scheme != "https" && f.url.Scheme == "https" {
		return fmt.Errorf("redirected to %s: %w", r.URL.Redacted(), ErrInsecure)
	}
	return nil
}

// refusal is an answer other than success.
type refusal int

func (r refusal) Error() string { return fmt.Sprintf("%d %s", int(r), http.StatusText(int(r))) }
func (r refusal) Unwrap() error { return ErrStatus }

// again reports whether another try may help.
func again(err error) bool {
	var r refusal
	if errors.As(err, &r) {
		return r >= 500 || r == http.StatusTooManyRequests || r == http.StatusRequestTimeout
	}
	return !errors.Is(err, ErrTooBig) && !errors.Is(err, ErrInsecure) && !errors.Is(err, os.ErrPermission)
}

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

type fetcher struct {
	o      Options
	url    *url.URL
	base   string // path without suffix
	client *http.Client
}

func (f *fetcher) data() string { return f.base + ".data" }
func (f *fetcher) part() string { return f.base + ".part" }

// lock keeps other processes from fetching the same file meanwhile.
func (f *fetcher) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(f.base+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, file.Close())
		}
		if err := f.o.Wait(ctx, 100*time.Millisecond); err != nil {
			return nil, errors.Join(fmt.Errorf("wait for another process that fetches it: %w", err), file.Close())
		}
	}
}

// once asks for the file: whether it changed, or for the rest of it.
func (f *fetcher) once(ctx context.Context) (File, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.o.Stall, func() { cancel(ErrStalled) })
	defer watch.Stop()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url.String(), nil)
	if err != nil {
		return File{}, err
	}
	if f.o.UserAgent != "" {
		req.Header.Set("User-Agent", f.o.UserAgent)
	}
	req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are of the file itself
	have, resume, offset := f.condition(req)
	resp, err := f.client.Do(req)
	if err != nil {
		return File{}, cause(ctx, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return File{Path: f.data(), Size: have.Size, Modified: have.Date, Cached: true}, nil
	case http.StatusPartialContent:
		if !resume || !continues(resp, offset) {
			_ = os.Remove(f.part())
			return File{}, errors.New("server sent another part than the one asked for")
		}
	case http.StatusRequestedRangeNotSatisfiable:
		_ = os.Remove(f.part())
		return File{}, errors.New("what was there of the file is not a part of it any more")
	case http.StatusOK:
		offset = 0
	default:
		return File{}, refusal(resp.StatusCode)
	}
	m := meta{URL: f.url.Redacted(), ETag: resp.Header.Get("ETag"), Modified: resp.Header.Get("Last-Modified")}
	m.Date, _ = http.ParseTime(m.Modified) // zero when there is none
	if resp.ContentLength >= 0 {
		m.Size = offset + resp.ContentLength
	}
	if m.Size > f.o.MaxBytes {
		return File{}, fmt.Errorf("%d bytes: %w", m.Size, ErrTooBig)
	}
	return f.store(ctx, resp.Body, m, offset, watch)
}

// condition says what is there already: a complete file, or a part.
func (f *fetcher) condition(req *http.Request) (have meta, resume bool, offset int64) {
	if m, err := readMeta(f.part()); err == nil && (strong(m.ETag) != "" || m.Modified != "") {
		if fi, err := os.Stat(f.part()); err == nil && fi.Size() > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-", fi.Size()))
			req.Header.Set("If-Range", cmp.Or(strong(m.ETag), m.Modified))
			return meta{}, true, fi.Size()
		}
	}
	m, err := readMeta(f.data())
	if err != nil {
		return meta{}, false, 0
	}
	if fi, err := os.Stat(f.data()); err != nil || fi.Size() != m.Size {
		return meta{}, false, 0
	}
	if m.ETag != "" {
		req.Header.Set("If-None-Match", m.ETag)
	}
	if m.Modified != "" {
		req.Header.Set("If-Modified-Since", m.Modified)
	}
	return m, false, 0
}

// strong gives an entity tag that may be used with ranges, or "".
func strong(etag string) string {
	if len(etag) > 1 && etag[:2] == "W/" {
		return ""
	}
	return etag
}

func continues(resp *http.Response, offset int64) bool {
	var from int64
	_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from)
	return err == nil && from == offset
}

func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

// store appends to the part and gives it its name when it is complete.
func (f *fetcher) store(ctx context.Context, body io.Reader, m meta, offset int64, watch *time.Timer) (File, error) {
	flags := os.O_CREATE | os.O_WRONLY
	if offset == 0 {
		flags |= os.O_TRUNC
	} else {
		flags |= os.O_APPEND
	}
	if err := writeMeta(f.part(), m); err != nil {
		return File{}, err
	}
	out, err := os.OpenFile(f.part(), flags, 0o644)
	if err != nil {
		return File{}, err
	}
	defer out.Close()
	done := offset
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		watch.Reset(f.o.Stall)
		if done += int64(n); done > f.o.MaxBytes {
			_ = os.Remove(f.part())
			return File{}, fmt.Errorf("more than %d bytes: %w", f.o.MaxBytes, ErrTooBig)
		}
		if _, werr := out.Write(buf[:n]); werr != nil {
			return File{}, werr
		}
		if f.o.Progress != nil && n > 0 {
			f.o.Progress(done, m.Size)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return File{}, cause(ctx, err)
		}
	}
	if m.Size > 0 && done != m.Size {
		return File{}, fmt.Errorf("%d of %d bytes: %w", done, m.Size, ErrShort)
	}
	m.Size = done
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return File{}, err
	}
	// Without its description a file is fetched anew: that is what a crash
	// between these steps leaves.
	if err := os.Remove(f.data() + ".json"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return File{}, err
	}
	if err := os.Rename(f.part(), f.data()); err != nil {
		return File{}, err
	}
	if err := writeMeta(f.data(), m); err != nil {
		return File{}, err
	}
	_ = os.Remove(f.part() + ".json")
	return File{Path: f.data(), Size: done, Modified: m.Date, Resumed: offset}, nil
}

func readMeta(path string) (meta, error) {
	b, err := os.ReadFile(path + ".json")
	if err != nil {
		return meta{}, err
	}
	var m meta
	return m, json.Unmarshal(b, &m)
}

func writeMeta(path string, m meta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	tmp := path + ".json.new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path+".json")
}
