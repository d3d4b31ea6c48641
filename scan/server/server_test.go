package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}

var (
	tokenA = strings.Repeat("aA", 10)
	tokenB = strings.Repeat("bB", 10)
)

// fake is a backend under the test's control.
type fake struct {
	mu    sync.Mutex
	calls []Request
	merge func(MergeRequest, [][]byte) (*scan.Report, error)
	scan  func(context.Context, Request, func(Event)) (*scan.Report, error)
}

func (f *fake) Version() string         { return "v1" }
func (f *fake) Database() scan.Database { return scan.Database{Digest: "sha256:db"} }

func (f *fake) Scan(ctx context.Context, r Request, p func(Event)) (*scan.Report, error) {
	f.mu.Lock()
	f.calls = append(f.calls, r)
	f.mu.Unlock()
	if f.scan != nil {
		return f.scan(ctx, r, p)
	}
	return &scan.Report{Image: scan.Image{Name: r.Reference}}, nil
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *fake) Merge(_ context.Context, r MergeRequest, c [][]byte) (*scan.Report, error) {
	if f.merge != nil {
		return f.merge(r, c)
	}
	rep := &scan.Report{Image: r.Image, Gaps: r.Gaps}
	for _, b := range c {
		rep.Packages = append(rep.Packages, scan.Package{Name: string(b)})
	}
	return rep, nil
}

func (f *fake) Check(b []byte) error {
	if bytes.HasPrefix(b, []byte("bad")) {
		return errors.New("not contents")
	}
	return nil
}

// shelf keeps layers in memory.
type shelf struct {
	mu   sync.Mutex
	own  map[string][]byte
	sent map[string][]byte
	fail bool
}

func newShelf() *shelf { return &shelf{own: map[string][]byte{}, sent: map[string][]byte{}} }

func (s *shelf) Get(d, v string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.own[d+v]
	return b, ok
}

func (s *shelf) GetOf(c, d, v string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.sent[c+d+v]
	return b, ok
}

func (s *shelf) PutOf(c, d, v string, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return errors.New("disk full at /secret/place")
	}
	s.sent[c+d+v] = b
	return nil
}

// start serves; the client is that of A.
func start(t testing.TB, f *fake, l *shelf, change func(*Config, *Deps)) (*Server, *Client) {
	t.Helper()
	c := Config{Tokens: map[string]string{"a": tokenA, "b": tokenB}, Registries: []string{"r.test", "*.example.test", "docker.io"}}
	d := Deps{Backend: f, Layers: l}
	if change != nil {
		change(&c, &d)
	}
	s, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		_ = s.Close()
		h.Client().CloseIdleConnections()
		h.Close()
	})
	return s, &Client{URL: h.URL, Token: tokenA, HTTP: h.Client(), Patience: -1}
}

func layer(n int) string { return fmt.Sprintf("sha256:%064x", n) }

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint("no server error: ", err)
}

func TestScan(t *testing.T) {
	f := &fake{scan: func(_ context.Context, r Request, p func(Event)) (*scan.Report, error) {
		p(Event{Progress: "layers", Done: 1, Total: 2})
		if r.Credentials != nil && r.Credentials.Password != "word" {
			return nil, errors.New("wrong password")
		}
		return &scan.Report{Image: scan.Image{Name: r.Reference, Platform: r.Platform}}, nil
	}}
	_, c := start(t, f, newShelf(), nil)
	r, err := c.Scan(context.Background(), Request{Reference: "r.test/app:1", Platform: "linux/arm64", Credentials: &Credentials{Username: "u", Password: "word"},
		Decisions: Decisions{Ignore: []byte("x"), VEX: [][]byte{{1}}, Base: "alpine"}}, nil)
	if err != nil || r.Image.Name != "r.test/app:1" || r.Image.Platform != "linux/arm64" {
		t.Fatalf("%+v %v", r, err)
	}
	if got := f.calls[0].Decisions; string(got.Ignore) != "x" || got.Base != "registry:index.docker.io/library/alpine:latest" {
		t.Errorf("%+v", got)
	}
	if _, err := c.Scan(context.Background(), Request{Reference: "r.test/app:1", Credentials: &Credentials{Password: "other"}}, nil); code(err) != CodeFailed || !strings.Contains(err.Error(), "wrong password") {
		t.Error(err)
	}
	info, err := c.Info(context.Background())
	if err != nil || info.Version != "v1" || info.Database.Digest != "sha256:db" {
		t.Error(info, err)
	}
}

func TestReferences(t *testing.T) {
	s, _ := start(t, &fake{}, newShelf(), nil)
	for ref, want := range map[string]string{
		"r.test/app":                      "r.test/app:latest",
		"registry:r.test/app:1":           "r.test/app:1",
		"x.example.test/a/b@" + layer(1):  "x.example.test/a/b@" + layer(1),
		"alpine":                          "index.docker.io/library/alpine:latest",
		"r.test:5000/app":                 CodeForbidden,
		"evil.test/app":                   CodeForbidden,
		"evil.test/r.test/app":            CodeForbidden,
		"169.254.169.254/latest/meta":     CodeForbidden,
		"localhost:5000/app":              CodeForbidden,
		"dir:/etc":                        CodeInvalid,
		"tar:/x.tar":                      CodeInvalid,
		"docker:alpine":                   "index.docker.io/library/docker:alpine", // a name, never the daemon
		"containerd:alpine":               "index.docker.io/library/containerd:alpine",
		"sbom:/etc/passwd":                CodeInvalid,
		"/etc/passwd":                     CodeInvalid,
		"./x":                             CodeInvalid,
		"r.test/../../x":                  CodeInvalid,
		"r.test/app/../b":                 CodeInvalid,
		"":                                CodeInvalid,
		"http://r.test/app":               CodeInvalid,
		"r.test/app:1 --flag":             CodeInvalid,
		"registry:registry:r.test/app":    CodeInvalid,
		"user:word@r.test/app":            CodeInvalid,
		"r.test/app@sha256:00":            CodeInvalid,
		"r.test\n/app":                    CodeInvalid,
		strings.Repeat("a", 300) + "/app": CodeInvalid,
	} {
		got, e := s.reference(ref)
		if e != nil {
			got = e.Code
		}
		if got != want {
			t.Errorf("%q: %s, want %s", ref, got, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, tt := range []struct {
		host string
		list []string
		want bool
	}{
		{"r.test", nil, false},
		{"r.test", []string{"*"}, true},
		{"index.docker.io", []string{"docker.io"}, true},
		{"index.docker.io", []string{"index.docker.io"}, true},
		{"127.0.0.1:5000", []string{"*"}, false},
		{"127.0.0.1:5000", []string{"127.0.0.1:5000"}, true},
		{"127.0.0.1:5001", []string{"127.0.0.1:5000"}, false},
		{"10.0.0.1", []string{"*"}, false},
		{"[::1]:5000", []string{"*"}, false},
		{"169.254.169.254", []string{"*"}, false},
		{"localhost:5000", []string{"*"}, false},
		{"x.localhost", []string{"*"}, false},
		{"8.8.8.8", []string{"*"}, true},
	} {
		if got := allowed(tt.host, tt.list); got != tt.want {
			t.Errorf("%s %v: %v", tt.host, tt.list, got)
		}
	}
	for address, ok := range map[string]bool{"8.8.8.8:443": true, "127.0.0.1:443": false, "[::1]:443": false, "10.1.2.3:443": false, "[fe80::1]:443": false,
		"169.254.169.254:80": false, "[::ffff:127.0.0.1]:80": false, "0.0.0.0:80": false, "x": false} {
		if err := RefusePrivate("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTokens(t *testing.T) {
	s, c := start(t, &fake{}, newShelf(), nil)
	for _, header := range []string{"", "Bearer ", tokenA, "Bearer " + tokenA + "x", "Bearer " + tokenA[:len(tokenA)-1], "Basic " + tokenA, "bearer " + tokenA} {
		for _, path := range []string{"GET /v1/info", "POST /v1/scan", "POST /v1/merge", "POST /v1/layers/missing", "PUT /v1/layers/" + layer(1)} {
			method, url, _ := strings.Cut(path, " ")
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, url, strings.NewReader("{}"))
			r.Header.Set("Authorization", header)
			s.ServeHTTP(w, r)
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%q %s: %d", header, path, w.Code)
			}
		}
	}
	c.Token = "wrong"
	if _, err := c.Info(context.Background()); code(err) != CodeUnauthorized {
		t.Error(err)
	}
	for _, path := range []string{"/healthz", "/metrics"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK || w.Body.Len() == 0 || strings.Contains(w.Body.String(), "wrong") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestLayers(t *testing.T) {
	ctx := context.Background()
	l := newShelf()
	l.own[layer(1)+"v1"] = []byte("server's")
	_, a := start(t, &fake{}, l, nil)
	b := *a
	b.Token = tokenB
	missing, err := a.Missing(ctx, "v1", []string{layer(1), layer(2), layer(3)})
	if err != nil || !slices.Equal(missing, []string{layer(2), layer(3)}) {
		t.Fatal(missing, err)
	}
	if err := errors.Join(a.Put(ctx, "v1", layer(2), []byte("A's")), a.Put(ctx, "v1", layer(1), []byte("poison"))); err != nil {
		t.Fatal(err)
	}
	req := MergeRequest{Version: "v1", Image: scan.Image{Name: "x", Layers: []scan.Layer{{DiffID: layer(1)}, {DiffID: layer(2)}}}}
	r, err := a.Merge(ctx, req, nil)
	if err != nil || r.Packages[0].Name != "server's" || r.Packages[1].Name != "A's" {
		t.Errorf("%+v %v", r, err)
	}
	// What A says counts for A alone.
	if missing, err := b.Missing(ctx, "v1", []string{layer(1), layer(2)}); err != nil || !slices.Equal(missing, []string{layer(2)}) {
		t.Error(missing, err)
	}
	_, err = b.Merge(ctx, req, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeMissing || !slices.Equal(e.Layers, []string{layer(2)}) {
		t.Error(err)
	}
	// A lost layer is no layer, and its gap is told.
	req.Image.Layers = append(req.Image.Layers, scan.Layer{})
	req.Lost, req.Gaps = []int{2}, []scan.Gap{{Where: "layer 3", What: "corrupt"}}
	if r, err := a.Merge(ctx, req, nil); err != nil || !r.Incomplete() || len(r.Packages) != 3 {
		t.Errorf("%+v %v", r, err)
	}
	for name, err := range map[string]error{
		CodeVersion + " missing": second(a.Missing(ctx, "v0", nil)),
		CodeVersion + " put":     a.Put(ctx, "v0", layer(4), nil),
		CodeVersion + " merge":   second(a.Merge(ctx, MergeRequest{Version: "v0", Image: scan.Image{Layers: []scan.Layer{{DiffID: layer(1)}}}}, nil)),
		CodeInvalid + " digest":  a.Put(ctx, "v1", "sha256:00", nil),
		CodeInvalid + " path":    a.Put(ctx, "v1", "../x", nil),
		CodeInvalid + " bytes":   a.Put(ctx, "v1", layer(4), []byte("bad")),
		CodeInvalid + " none":    second(a.Merge(ctx, MergeRequest{Version: "v1"}, nil)),
		CodeInvalid + " lost":    second(a.Merge(ctx, MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{}}}, Lost: []int{1}}, nil)),
		CodeInvalid + " silent":  second(a.Merge(ctx, MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{}}}, Lost: []int{0}}, nil)),
		CodeInvalid + " id":      second(a.Merge(ctx, MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{DiffID: "x"}}}}, nil)),
		CodeInvalid + " many":    second(a.Missing(ctx, "v1", make([]string, maxLayers+1))),
		CodeForbidden + " base":  second(a.Merge(ctx, MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{DiffID: layer(1)}}}, Decisions: Decisions{Base: "evil.test/x"}}, nil)),
	} {
		if want, _, _ := strings.Cut(name, " "); code(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	l.fail = true
	if err := a.Put(ctx, "v1", layer(5), nil); code(err) != CodeFailed || strings.Contains(err.Error(), "/secret") {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestBounds(t *testing.T) {
	_, c := start(t, &fake{}, newShelf(), func(c *Config, _ *Deps) { c.MaxLayer, c.MaxRequest, c.MaxMerge = 1000, 500, 1500 })
	ctx := context.Background()
	if err := c.Put(ctx, "v1", layer(1), make([]byte, 1001)); code(err) != CodeTooBig {
		t.Error(err)
	}
	if _, err := c.Scan(ctx, Request{Reference: strings.Repeat("a", 600)}, nil); code(err) != CodeTooBig {
		t.Error(err)
	}
	for i := range 2 {
		if err := c.Put(ctx, "v1", layer(i), make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Merge(ctx, MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{DiffID: layer(0)}, {DiffID: layer(1)}}}}, nil); code(err) != CodeTooBig {
		t.Error(err)
	}
	s, _ := start(t, &fake{}, newShelf(), func(c *Config, _ *Deps) { c.Uploads = 1 })
	s.bodies <- struct{}{}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/v1/scan", strings.NewReader("{}"))
	r.Header.Set("Authorization", "Bearer "+tokenA)
	s.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Error(w.Code)
	}
	<-s.bodies
}

// TestCredentialsAreNotLogged looks for them in everything that is written.
func TestCredentialsAreNotLogged(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	word := strings.Repeat("hush", 4)
	h := slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(b)
	}), &slog.HandlerOptions{Level: slog.LevelDebug})
	s, c := start(t, &fake{}, newShelf(), func(_ *Config, d *Deps) { d.Log = slog.New(h) })
	req := Request{Reference: "r.test/app:1", Credentials: &Credentials{Username: word, Password: word, Token: word}}
	if _, err := c.Scan(context.Background(), req, nil); err != nil {
		t.Fatal(err)
	}
	req.Reference = "evil.test/app"
	if _, err := c.Scan(context.Background(), req, nil); err == nil {
		t.Fatal("evil was asked")
	}
	slog.New(h).Info("request", "request", req, "credentials", *req.Credentials)
	fmt.Fprintf(&log, "%v %+v %#v %s", req, req, *req.Credentials, req.Credentials)
	mu.Lock()
	defer mu.Unlock()
	if log.Len() == 0 || strings.Contains(log.String(), word) || strings.Contains(log.String(), tokenA) {
		t.Error("a secret is in the log")
	}
	if len(s.flights.air) != 0 {
		t.Error("a scan is kept")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestBadServers(t *testing.T) {
	ok := Deps{Backend: &fake{}, Layers: newShelf()}
	for name, c := range map[string]Config{
		"no tokens":   {},
		"short token": {Tokens: map[string]string{"a": "x"}},
		"same token":  {Tokens: map[string]string{"a": tokenA, "b": tokenA}},
		"bad glob":    {Tokens: map[string]string{"a": tokenA}, Registries: []string{"["}},
	} {
		if _, err := New(c, ok); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := New(Config{Tokens: map[string]string{"a": tokenA}}, Deps{}); err == nil {
		t.Error("a server without backend was made")
	}
}
