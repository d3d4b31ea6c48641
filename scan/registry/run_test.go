package registry

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan"
)

func TestBadTargets(t *testing.T) {
	ok := Deps{Scan: newPuller().Scan, Results: newMemory()}
	for name, tt := range map[string]Target{
		"glob":     {Include: []string{"["}},
		"tags":     {Tags: TagFilter{Exclude: []string{"["}}},
		"order":    {Tags: TagFilter{Order: "size"}},
		"schedule": {Schedule: "often"},
		"platform": {Platforms: []string{"linux"}},
		"CA":       {CAFile: "/nowhere"},
	} {
		if _, err := New(tt, ok); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := New(Target{}, Deps{}); err == nil {
		t.Error("a sweeper without scanner was made")
	}
}

// TestCredentials: what is referred to is sent, and a registry that wants them
// is swept.
func TestCredentials(t *testing.T) {
	word := strings.Repeat("pw", 4)
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	open := httptest.NewServer(inner)
	defer open.Close()
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != "robot" || p != word {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer closed.Close()
	fill(t, strings.TrimPrefix(open.URL, "http://"), 1, 1)
	host := strings.TrimPrefix(closed.URL, "http://")
	var got Access
	look := func(_ context.Context, j Job) (*scan.Report, *Kept, error) {
		got = j.Access
		return &scan.Report{Image: scan.Image{Digest: j.Digest}}, &Kept{}, nil
	}
	for name, tt := range map[string]struct {
		c  Credentials
		ok bool
	}{
		"environment": {Credentials{UserEnv: "U", PasswordEnv: "P"}, true},
		"file":        {Credentials{File: "f"}, true},
		"anonymous":   {Credentials{Anonymous: true}, false},
	} {
		s := newSweeper(t, Target{Registry: host, PlainHTTP: true, Credentials: tt.c}, Deps{
			Scan: look, Getenv: func(k string) string { return map[string]string{"U": "robot", "P": word}[k] },
			ReadFile: func(string) ([]byte, error) { return []byte("robot:" + word + "\n"), nil },
		})
		sum, err := s.Sweep(context.Background())
		if tt.ok != (err == nil && sum.Scanned == 1) {
			t.Errorf("%s: %+v %v", name, sum, err)
		}
		if tt.ok && (got.Username != "robot" || got.Password != word || got.Transport == nil) {
			t.Errorf("%s: not handed on", name)
		}
	}
	s := newSweeper(t, Target{Registry: host, Credentials: Credentials{File: "f"}}, Deps{ReadFile: func(string) ([]byte, error) { return []byte("token\n"), nil }})
	if a, _, err := s.login(); err != nil || a.Token != "token" || a.Username != "" {
		t.Error(a, err)
	}
}

// TestRun: a sweep at once, pushes in between, the next by the schedule.
func TestRun(t *testing.T) {
	host := inProcess(t)
	fill(t, host, 1, 1)
	p, m := newPuller(), newMemory()
	swept := make(chan Summary)
	ctx, cancel := context.WithCancel(context.Background())
	s := newSweeper(t, Target{Registry: host, PlainHTTP: true, Schedule: "@every 2s"}, Deps{
		Scan: p.Scan, Results: m, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, Done: func(sum Summary) {
			select {
			case swept <- sum:
			case <-ctx.Done():
			}
		},
	})
	end := make(chan error)
	go func() { end <- s.Run(ctx) }()
	if sum := <-swept; sum.Scanned != 1 {
		t.Errorf("%+v", sum)
	}
	img := must[v1.Image](t)(random.Image(100, 1))
	push(t, host+"/team/new:1", img)
	if ok, err := s.Push(Pushed{Repository: "team/new", Tag: "1"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := s.Push(Pushed{Repository: "team/absent", Tag: "1"}); !ok || err != nil {
		t.Fatal(ok, err)
	}
	testkit.Eventually(t, "the pushed image is examined", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.reports[digestOf(t, img)] != nil
	})
	if sum := <-swept; sum.Known != 2 || sum.Scanned != 0 {
		t.Errorf("%+v", sum)
	}
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPickerHoldsBack(t *testing.T) {
	mk := func(layers ...string) *found { return &found{layers: layers} }
	a, b, c := mk("base", "a"), mk("base", "b"), mk("other")
	p := newPicker()
	p.pending = []*found{a, b, c}
	ctx, cancel := context.WithCancel(context.Background())
	if p.next(ctx) != a || p.next(ctx) != c {
		t.Fatal("want a, then c: b shares a layer with a")
	}
	p.done(a, true)
	if p.next(ctx) != b {
		t.Fatal("b is free now")
	}
	if p.next(ctx) != nil {
		t.Fatal("nothing is left")
	}
	d, e := mk("b"), mk("b")
	p.pending = []*found{d, e}
	p.done(b, false) // b was lost: its own layer must be fetched again
	if p.next(ctx) != d {
		t.Fatal("want d")
	}
	cancel()
	if p.next(ctx) != nil {
		t.Fatal("the context ended")
	}
}

// TestPushedTooEarly: the notice of a push may come before the image does.
func TestPushedTooEarly(t *testing.T) {
	host := inProcess(t)
	img := must[v1.Image](t)(random.Image(100, 1))
	m := newMemory()
	slept := 0
	s := newSweeper(t, Target{Registry: host, PlainHTTP: true}, Deps{Results: m, Sleep: func(context.Context, time.Duration) error {
		if slept++; slept == 2 {
			push(t, host+"/team/app:1", img)
		}
		return nil
	}})
	in := must[*session](t)(s.session())
	if err := in.pushed(context.Background(), Pushed{Repository: "team/app", Tag: "1"}); err != nil || m.reports[digestOf(t, img)] == nil || slept != 2 {
		t.Errorf("%v after %d pauses: %v", err, slept, m.reports)
	}
	if got := m.names[digestOf(t, img)]; len(got) != 1 || got[0] != host+"/team/app:1" {
		t.Errorf("names %v", got)
	}
	if err := in.pushed(context.Background(), Pushed{Repository: "team/none", Tag: "1"}); !absent(err) || slept != 6 {
		t.Errorf("%v after %d pauses", err, slept)
	}
}
