package registry

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const (
	harborPush = `{"type":"PUSH_ARTIFACT","occur_at":1700000000,"operator":"robot","event_data":{"resources":[
		{"digest":"sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4","tag":"v2","resource_url":"elsewhere.test/team/app:v2"}],
		"repository":{"name":"app","namespace":"team","repo_full_name":"team/app","repo_type":"private"}}}`
	distributionPush = `{"events":[
		{"id":"1","action":"push","target":{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4","repository":"team/app","tag":"v2","url":"http://elsewhere.test/"}},
		{"id":"2","action":"push","target":{"mediaType":"application/octet-stream","digest":"sha256:00","repository":"team/app"}},
		{"id":"3","action":"pull","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:00","repository":"team/app","tag":"v2"}},
		{"id":"4","action":"push","target":{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:01","repository":"team/app"}}]}`
)

func TestParsePushes(t *testing.T) {
	const digest = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4"
	for _, tt := range []struct {
		name, body string
		want       []Pushed
		bad        bool
	}{
		{"Harbor", harborPush, []Pushed{{"team/app", "v2", digest}}, false},
		{"distribution", distributionPush, []Pushed{{"team/app", "v2", digest}, {"team/app", "", "sha256:01"}}, false},
		{"Harbor, without a tag", strings.Replace(harborPush, `"tag":"v2"`, `"tag":"`+digest+`"`, 1), []Pushed{{"team/app", "", digest}}, false},
		{"Harbor, something else", `{"type":"DELETE_ARTIFACT","event_data":{"resources":[{"tag":"v2"}],"repository":{"repo_full_name":"a"}}}`, nil, false},
		{"no events", `{"events":[]}`, nil, false},
		{"neither", `{"x":1}`, nil, true},
		{"no JSON", `x`, nil, true},
		{"wrong shape", `{"events":{}}`, nil, true},
	} {
		got, err := parsePushes([]byte(tt.body))
		if !slices.Equal(got, tt.want) || (err != nil) != tt.bad {
			t.Errorf("%s: %+v %v", tt.name, got, err)
		}
	}
}

func TestHook(t *testing.T) {
	secret := strings.Repeat("s3", 10)
	var got []Pushed
	full := false
	h, err := NewHook(secret, func(p Pushed) (bool, error) {
		if full {
			return true, ErrBusy
		}
		if p.Tag == "" {
			return false, nil
		}
		got = append(got, p)
		return true, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, auth, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.Header.Set("Authorization", auth)
		h.ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		method, auth, body string
		status             int
	}{
		{"GET", secret, "", http.StatusMethodNotAllowed},
		{"POST", "", harborPush, http.StatusUnauthorized},
		{"POST", "Bearer ", harborPush, http.StatusUnauthorized},
		{"POST", secret + "x", harborPush, http.StatusUnauthorized},
		{"POST", secret, "nonsense", http.StatusBadRequest},
		{"POST", secret, strings.Repeat(" ", maxHookBody+1), http.StatusRequestEntityTooLarge},
		{"POST", secret, harborPush, http.StatusAccepted},
		{"POST", "Bearer " + secret, distributionPush, http.StatusAccepted},
	} {
		if w := send(tt.method, tt.auth, tt.body); w.Code != tt.status {
			t.Errorf("%s %q %.20q: %d, want %d", tt.method, tt.auth, tt.body, w.Code, tt.status)
		}
	}
	if len(got) != 2 {
		t.Errorf("handed on: %+v", got)
	}
	if w := send("POST", secret, distributionPush); w.Body.String() != "{\"taken\":1,\"passed\":1}\n" {
		t.Errorf("answer %q", w.Body)
	}
	full = true
	if w := send("POST", secret, harborPush); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("full: %d %v", w.Code, w.Header())
	}
	if _, err := NewHook("short", nil, nil); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestPushChoosesAndDedupes(t *testing.T) {
	s := newSweeper(t, Target{Registry: "r.test", Include: []string{"team/**"}, Tags: TagFilter{Exclude: []string{"*-dev"}}}, Deps{})
	for _, tt := range []struct {
		p    Pushed
		want bool
		bad  bool
	}{
		{Pushed{Repository: "team/app", Tag: "1"}, true, false},
		{Pushed{Repository: "team/app", Tag: "1"}, true, false},
		{Pushed{Repository: "other/app", Tag: "1"}, false, false},
		{Pushed{Repository: "team/app", Tag: "1-dev"}, false, false},
		{Pushed{Repository: "team/app", Tag: "sha256-" + strings.Repeat("0", 64) + ".sig"}, false, false},
		{Pushed{Repository: "team/app", Digest: "sha256:" + strings.Repeat("0", 64)}, true, false},
		{Pushed{Repository: "team/../x", Tag: "1"}, false, true},
		{Pushed{Repository: "team/app", Digest: "sha256:00"}, false, true},
		{Pushed{Repository: "team/app", Tag: "1", Digest: "sha256:00"}, false, true},
		{Pushed{Repository: "team/app"}, false, true},
	} {
		ok, err := s.Push(tt.p)
		if ok != tt.want || (err != nil) != tt.bad {
			t.Errorf("%+v: %v %v", tt.p, ok, err)
		}
	}
	if n := len(s.pushes.order); n != 2 {
		t.Errorf("%d wait", n)
	}
	q := newQueue(1)
	if err := q.put(Pushed{Tag: "a"}); err != nil {
		t.Error(err)
	}
	if err := q.put(Pushed{Tag: "b"}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if p, ok := q.take(); !ok || p.Tag != "a" {
		t.Error(p, ok)
	}
	if _, ok := q.take(); ok {
		t.Error("the queue gave what it does not have")
	}
}

func FuzzHook(f *testing.F) {
	f.Add([]byte(harborPush))
	f.Add([]byte(distributionPush))
	f.Add([]byte(`{"events":[null,{}],"event_data":null}`))
	s := newSweeper(f, Target{Registry: "r.test"}, Deps{})
	f.Fuzz(func(t *testing.T, body []byte) {
		pushes, err := parsePushes(body)
		if err != nil {
			return
		}
		for _, p := range pushes {
			ref, called, err := p.references("r.test")
			if err == nil && (ref.Context().RegistryStr() != "r.test" || called.Context() != ref.Context()) {
				t.Fatalf("%+v leads to %s, called %s", p, ref, called)
			}
			_, _ = s.Push(p)
			s.pushes.take()
		}
	})
}
