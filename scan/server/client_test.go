package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

func TestClientCares(t *testing.T) {
	answer := ""
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	defer h.Close()
	c := &Client{URL: h.URL, Token: tokenA, HTTP: h.Client()}
	for in, want := range map[string]string{
		"":                            "ended before the report came",
		`{"progress":"x"}` + "\n":     "ended before the report came",
		`{"report":{"image":`:         "ended before the report came",
		"<html>":                      "read answer",
		`{"error":{"code":"failed"}}`: "",
		"{}\n{}\n" + `{"error":{}}`:   "",
	} {
		answer = in
		if r, err := c.Scan(context.Background(), Request{}, nil); err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v %v", in, r, err)
		}
	}
	for _, u := range []string{"http://scan.example.test", "ftp://127.0.0.1", "://", ""} {
		if _, err := (&Client{URL: u, Token: tokenA}).Info(context.Background()); err == nil {
			t.Errorf("%s was asked", u)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	if _, err := (&Client{URL: gone.URL, HTTP: gone.Client()}).Info(context.Background()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.pause(ctx, "1"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.pause(context.Background(), "0"); err != nil {
		t.Error(err)
	}
}

func FuzzRequests(f *testing.F) {
	for _, v := range []any{
		Request{Reference: "r.test/app:1", Credentials: &Credentials{Username: "u"}, Decisions: Decisions{VEX: [][]byte{{1}}}},
		MissingRequest{Version: "v1", Layers: []string{layer(1)}},
		MergeRequest{Version: "v1", Image: scan.Image{Layers: []scan.Layer{{DiffID: layer(1)}}}, Lost: []int{0}, Gaps: []scan.Gap{{}}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"reference":"r.test/a"}{}`))
	f.Add([]byte(`{"lost":[-1]}`))
	s, _ := start(f, &fake{}, newShelf(), nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, e := s.parseScan(body); e == nil {
			host, _, _ := strings.Cut(r.Reference, "/")
			if !allowed(host, s.c.Registries) || r.Decisions.Base != "" && !strings.HasPrefix(r.Decisions.Base, "registry:") {
				t.Fatalf("%q leads to %s", body, r.Reference)
			}
		}
		if r, e := parseMissing(body); e == nil && len(r.Layers) > maxLayers {
			t.Fatal("too many layers")
		}
		if r, lost, e := s.parseMerge(body); e == nil {
			for i := range lost {
				if i < 0 || i >= len(r.Image.Layers) {
					t.Fatal("a lost layer that is none")
				}
			}
		}
	})
}

func ExampleClient() {
	s, err := New(Config{Tokens: map[string]string{"ci": tokenA}, Registries: []string{"r.test"}}, Deps{Backend: &fake{}, Layers: newShelf()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	h := httptest.NewServer(s)
	defer h.Close()
	c := &Client{URL: h.URL, Token: tokenA, HTTP: h.Client()}
	r, err := c.Scan(context.Background(), Request{Reference: "r.test/team/app:1"}, nil)
	fmt.Println(r.Image.Name, err)
	// Output: r.test/team/app:1 <nil>
}
