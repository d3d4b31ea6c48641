package image

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// front starts a registry whose requests pass through wrap, and pushes an
// image "app:1" into it.
func front(t *testing.T, wrap func(w http.ResponseWriter, r *http.Request, next http.Handler)) (*httptest.Server, v1.Image) {
	t.Helper()
	inner := registry.New(registry.Logger(quiet()))
	plain := httptest.NewServer(inner)
	img := testImage(t, "amd64")
	push(t, host(plain)+"/app:1", img)
	plain.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wrap(w, r, inner) }))
	t.Cleanup(s.Close)
	return s, img
}

func pass(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// fakeCredential is made at run time: it protects nothing.
func fakeCredential(t *testing.T) string { return "of-" + t.Name() }

func TestBasicAuth(t *testing.T) {
	word := fakeCredential(t)
	s, _ := front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if u, p, ok := r.BasicAuth(); !ok || u != "me" || p != word {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	ref := host(s) + "/app:1"
	entries(t, open(t, ref, Options{Username: "me", Password: word}))
	for _, o := range []Options{{}, {Username: "me", Password: "wrong"}} {
		if _, err := Open(context.Background(), ref, o); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "sign in to") {
			t.Errorf("as %q: %v", o.Username, err)
		}
	}
}

// TestDockerConfig: credentials of the Docker configuration are used.
func TestDockerConfig(t *testing.T) {
	word := fakeCredential(t)
	s, _ := front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, p, _ := r.BasicAuth(); p != word {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	file := writeFile(t, "config.json", fmt.Appendf(nil, `{"auths":{%q:{"username":"me","password":%q}}}`, host(s), word))
	t.Setenv("DOCKER_CONFIG", strings.TrimSuffix(file, "/config.json"))
	entries(t, open(t, host(s)+"/app:1", Options{}))
	for _, o := range []Options{{Anonymous: true}, {Anonymous: true, Username: "me", Password: word}} {
		if _, err := Open(context.Background(), host(s)+"/app:1", o); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("anonymous, with credentials at hand: %v", err)
		}
	}
}

// TestTokenAuth: a registry that wants a token from its own token service.
func TestTokenAuth(t *testing.T) {
	word := fakeCredential(t)
	var s *httptest.Server
	s, _ = front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		switch {
		case r.URL.Path == "/token":
			if _, p, _ := r.BasicAuth(); p != word || r.FormValue("scope") != "repository:app:pull" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, `{"token":"t-1"}`)
		case r.Header.Get("Authorization") != "Bearer t-1":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, s.URL))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
	entries(t, open(t, host(s)+"/app:1", Options{Username: "me", Password: word}))
	if _, err := Open(context.Background(), host(s)+"/app:1", Options{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestTLS(t *testing.T) {
	inner := registry.New(registry.Logger(quiet()))
	s := httptest.NewUnstartedServer(inner)
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	t.Cleanup(s.Close)
	ref := host(s) + "/app:1"
	push(t, ref, testImage(t, "amd64"), remote.WithTransport(s.Client().Transport))
	if _, err := Open(context.Background(), ref, Options{}); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown certificate: %v", err)
	}
	entries(t, open(t, ref, Options{SkipTLSVerify: true}))
	ca := writeFile(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	entries(t, open(t, ref, Options{CAFile: ca}))
	for _, o := range []Options{{CAFile: "/nothing.pem"}, {CAFile: writeFile(t, "no.pem", []byte("x"))}, {CertFile: ca}} {
		if _, err := Open(context.Background(), ref, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestMirrors(t *testing.T) {
	var direct, mirrored atomic.Int32
	var sentTo atomic.Value
	origin, img := front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		direct.Add(1)
		next.ServeHTTP(w, r)
	})
	mirror := httptest.NewServer(nil)
	t.Cleanup(mirror.Close)
	inner := registry.New(registry.Logger(quiet()))
	mirror.Config.Handler = inner
	push(t, host(mirror)+"/cache/app:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	gone, err := layers[1].Digest()
	if err != nil {
		t.Fatal(err)
	}
	mirror.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mirrored.Add(1)
		if h := r.Header.Get("Authorization"); h != "" {
			sentTo.Store(h)
		}
		if strings.HasSuffix(r.URL.Path, gone.String()) {
			http.NotFound(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	})
	o := Options{Mirrors: map[string][]string{host(origin): {"http://" + host(mirror) + "/cache"}}, Username: "u", Password: fakeCredential(t)}
	got := open(t, host(origin)+"/app:1", o)
	if direct.Load() != 0 || mirrored.Load() == 0 {
		t.Errorf("the registry was asked %d times, the mirror %d", direct.Load(), mirrored.Load())
	}
	entries(t, got) // one layer is only in the registry
	if direct.Load() == 0 {
		t.Error("the registry was not asked for what the mirror lacks")
	}
	if h := sentTo.Load(); h != nil {
		t.Error("the registry's credentials were sent to a mirror")
	}
	mirror.Close()
	entries(t, open(t, host(origin)+"/app:1", o))
	_, err = Open(context.Background(), host(origin)+"/other:1", o)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "/cache/other") {
		t.Errorf("unknown image: %v", err)
	}
}

// TestResume: a transfer that breaks goes on where it broke, from registries
// that know ranges and from those that do not.
func TestResume(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		var broken atomic.Int32
		var layer string
		var asked atomic.Value
		s, img := front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if layer == "" || !strings.HasSuffix(r.URL.Path, layer) {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			plain := r.Clone(r.Context())
			plain.Header.Del("Range")
			next.ServeHTTP(rec, plain)
			all := rec.Body.Bytes()
			from := 0
			if h := r.Header.Get("Range"); h != "" {
				asked.Store(h)
				if ranges {
					from, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(h, "bytes="), "-"))
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(all)-1, len(all)))
				}
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(all)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			if broken.Add(1) <= 2 {
				_, _ = w.Write(all[from : from+(len(all)-from)/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write(all[from:])
		})
		s.Config.ErrorLog = quiet()
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		d, err := layers[1].Digest()
		if err != nil {
			t.Fatal(err)
		}
		got := open(t, host(s)+"/app:1", Options{})
		got.repo.wait = noWait
		layer = d.String()
		entries(t, got)
		if broken.Load() < 3 || asked.Load() == nil {
			t.Errorf("ranges %v: %d transfers, range %v", ranges, broken.Load(), asked.Load())
		}
	}
}

func noWait(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// TestResumeGivesUp: a transfer that never gets on ends with an error.
func TestResumeGivesUp(t *testing.T) {
	opens := 0
	b := &resuming{ctx: context.Background(), size: 10, wait: noWait, stall: time.Hour, open: func(context.Context, int64) (io.ReadCloser, error) {
		if opens++; opens == 1 {
			return io.NopCloser(strings.NewReader("abc")), nil
		}
		return io.NopCloser(strings.NewReader("")), nil
	}}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(b)
	if string(got) != "abc" || !errors.Is(err, ErrUnreachable) || !errors.Is(err, io.ErrUnexpectedEOF) || opens != 1+resumeTries {
		t.Errorf("%q after %d transfers: %v", got, opens, err)
	}
}

// TestStall: a transfer that brings nothing for too long is broken, and goes on
// in another.
func TestStall(t *testing.T) {
	opens := 0
	b := &resuming{ctx: context.Background(), stop: func(error) {}, size: 6, wait: noWait, stall: 10 * time.Millisecond, open: func(ctx context.Context, off int64) (io.ReadCloser, error) {
		if opens++; opens > 1 {
			return io.NopCloser(strings.NewReader("abcdef"[off:])), nil
		}
		return io.NopCloser(io.MultiReader(strings.NewReader("abc"), silent{ctx})), nil
	}}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(b)
	if err != nil || string(got) != "abcdef" || opens != 2 {
		t.Errorf("%q after %d transfers: %v", got, opens, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestCloseEndsARead: whoever waits for a transfer that brings nothing is let
// go when it is closed, and no other transfer begins.
func TestCloseEndsARead(t *testing.T) {
	ctx, stop := context.WithCancelCause(context.Background())
	opens := 0
	b := &resuming{ctx: ctx, stop: stop, size: 6, wait: noWait, stall: time.Hour, open: func(ctx context.Context, _ int64) (io.ReadCloser, error) {
		opens++
		return io.NopCloser(silent{ctx}), nil
	}}
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := b.Read(make([]byte, 1))
		done <- err
	}()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, fs.ErrClosed) || opens != 1 {
		t.Errorf("%v after %d transfers", err, opens)
	}
}

// silent gives nothing until its transfer is ended.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		answers []int
		after   string
		want    []time.Duration
		status  int
	}{
		"busy":          {answers: []int{429, 503}, want: []time.Duration{firstDelay, 2 * firstDelay}, status: 200},
		"asks to wait":  {answers: []int{429}, after: "7", want: []time.Duration{7 * time.Second}, status: 200},
		"asks too much": {answers: []int{429}, after: "99999", want: []time.Duration{maxDelay}, status: 200},
		"asks by date":  {answers: []int{503}, after: "Tue, 01 Jan 2030 00:00:09 GMT", want: []time.Duration{9 * time.Second}, status: 200},
		"not passing":   {answers: []int{404}, status: 404},
		"never ends":    {answers: []int{500, 500, 500, 500, 500, 500}, want: []time.Duration{firstDelay, 2 * firstDelay, 4 * firstDelay, 8 * firstDelay}, status: 500},
	} {
		var waits []time.Duration
		n := 0
		r := &retrier{
			wait: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil },
			next: roundTripper(func(*http.Request) (*http.Response, error) {
				resp := &http.Response{StatusCode: 200, Header: http.Header{"Retry-After": {c.after}, "Date": {"Tue, 01 Jan 2030 00:00:00 GMT"}}, Body: io.NopCloser(strings.NewReader("x"))}
				if n < len(c.answers) {
					resp.StatusCode = c.answers[n]
				}
				n++
				return resp, nil
			}),
		}
		req := httptest.NewRequest(http.MethodGet, "http://r/v2/", nil)
		resp, err := r.RoundTrip(req)
		if err != nil || resp.StatusCode != c.status || fmt.Sprint(waits) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v %v, waited %v, want %v", name, resp, err, waits, c.want)
		}
	}
}

// TestNobodyThere: a mirror that cannot be reached is passed over at once.
func TestNobodyThere(t *testing.T) {
	for err, want := range map[error]bool{
		&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}: false,
		&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}: true,
		io.ErrUnexpectedEOF: true, errors.New("x509"): false,
	} {
		if got := passing(nil, err); got != want {
			t.Errorf("%v: asks again: %v", err, got)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRetriedRegistry: a registry that is busy at first is asked again, with
// real requests; credentials from elsewhere are not needed.
func TestRetriedRegistry(t *testing.T) {
	var n atomic.Int32
	s, _ := front(t, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if n.Add(1)%2 == 0 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	})
	entries(t, open(t, host(s)+"/app:1", Options{}))
}

// TestHostileRegistry: wrong content, endless documents, artifacts and the
// first schema are refused.
func TestHostileRegistry(t *testing.T) {
	img := testImage(t, "amd64")
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	answer := func(part, body string) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Path, part) {
				_, _ = io.WriteString(w, body)
				return
			}
			next.ServeHTTP(w, r)
		}
	}
	for name, c := range map[string]struct {
		wrap func(http.ResponseWriter, *http.Request, http.Handler)
		kind error
		word string
	}{
		"other configuration": {answer(config.Hex, "{}"), ErrCorrupt, "has digest"},
		"endless manifest":    {answer("/manifests/", strings.Repeat(" ", 20000)), ErrTooBig, "more than 16384 bytes"},
		"first schema":        {answer("/manifests/", `{"schemaVersion":1,"fsLayers":[{"blobSum":"sha256:aa"}]}`), ErrUnsupported, "first schema"},
		"artifact": {answer("/manifests/", `{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","size":2,"digest":"`+config.String()+`"},"layers":[]}`),
			ErrUnsupported, "helm"},
	} {
		s, _ := front(t, c.wrap)
		_, err := Open(context.Background(), host(s)+"/app:1", Options{MaxManifest: 16384})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, _ := front(t, answer("/manifests/", `{"schemaVersion":2}`))
	if _, err := Open(context.Background(), host(s)+"/app@"+config.String(), Options{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another manifest than asked for by digest: %v", err)
	}
}

// TestDeepIndex: indexes in each other end at a limit.
func TestDeepIndex(t *testing.T) {
	docs := map[v1.Hash][]byte{}
	raw := []byte(`{"schemaVersion":2,"manifests":[]}`)
	for range maxIndexDepth + 2 {
		h, n, err := v1.SHA256(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		docs[h] = raw
		raw = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, types.OCIImageIndex, n, h)
	}
	r := &resolver{o: Options{}.filled(), name: "x", fetch: func(_ context.Context, d v1.Descriptor, _ int64) ([]byte, error) { return docs[d.Digest], nil }}
	if _, err := r.resolve(context.Background(), raw, v1.Hash{}); !errors.Is(err, ErrTooBig) {
		t.Errorf("deep index: %v", err)
	}
}

// TestForeignLayer: a layer kept elsewhere is not fetched from there.
func TestForeignLayer(t *testing.T) {
	s, _ := front(t, pass)
	got := open(t, host(s)+"/app:1", Options{})
	_, err := got.repo.layer(context.Background(), v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}, URLs: []string{"http://elsewhere.example/layer"}})
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "elsewhere.example") {
		t.Errorf("foreign layer: %v", err)
	}
}

// TestHubMirror: mirrors of Docker Hub may be written under its public name.
func TestHubMirror(t *testing.T) {
	mirror, _ := front(t, pass)
	o := Options{Mirrors: map[string][]string{"docker.io": {"http://" + host(mirror)}}}
	push(t, host(mirror)+"/library/alpine:3", testImage(t, "amd64"))
	if img := open(t, "alpine:3", o); img.Tags[0] != "docker.io/library/alpine:3" {
		t.Errorf("tags %v", img.Tags)
	}
}
