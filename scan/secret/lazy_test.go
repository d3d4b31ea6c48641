package secret

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

// prepared gives the detectors made ready.
func prepared(t testing.TB) *ready {
	t.Helper()
	r, err := scanner(t).ready()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestNothingIsReadBeforeItIsNeeded: a Scanner whose detectors cannot be read
// does what needs none of them, and never passes over what does.
func TestNothingIsReadBeforeItIsNeeded(t *testing.T) {
	s := scanner(t)
	if s.words == nil {
		t.Fatal("the keywords are not known")
	}
	s.ready = func() (*ready, error) { return nil, errors.New("broken tree") }
	harmless := scan.Config{Env: []string{"PATH=/usr/local/bin:/usr/bin"}, Cmd: []string{"node", "server.js"},
		Labels: map[string]string{"org.opencontainers.image.version": "1"}, History: []scan.History{{Command: "COPY base / # buildkit"}}}
	if got := s.Config(harmless); got != nil {
		t.Errorf("the detectors were read: %v", got)
	}
	if img := (scan.Image{Config: harmless}); !reflect.DeepEqual(s.Redact(img), img) {
		t.Error("a harmless configuration was changed")
	}
	if s.Config(scan.Config{}) != nil || s.Version() == "" {
		t.Error("nothing needs detectors")
	}
	suspect := scan.Config{User: "app", Env: []string{"DB_PASSWORD=x"}, History: []scan.History{{Command: "RUN x"}}}
	for what, found := range map[string][]scan.Secret{
		"configuration": s.Config(suspect), "file": s.Scan("/a", nil),
		"long configuration": s.Config(scan.Config{Env: []string{"A=" + strings.Repeat("x", maxQuick)}}),
	} {
		if len(found) != 1 || !strings.Contains(found[0].Title, "broken tree") || found[0].Severity != scan.Critical {
			t.Errorf("%s: %v", what, found)
		}
	}
	if !s.Wants("a.png", 0, 1) {
		t.Error("a file is passed over without the detectors")
	}
	img := scan.Image{Config: suspect, Layers: []scan.Layer{{Command: "RUN x"}}}
	if got := fmt.Sprint(s.Redact(img)); strings.Contains(got, "DB_PASSWORD") || strings.Contains(got, "RUN") || !strings.Contains(got, "app") {
		t.Error(got)
	}
	if img.Layers[0].Command == "" {
		t.Error("the image that was handed in was changed")
	}
}

// TestMentioned holds what Config relies on: without a keyword there is nothing
// to find, with one the detectors are asked.
func TestMentioned(t *testing.T) {
	s, r := scanner(t), prepared(t)
	for _, n := range r.lines {
		if l := &r.rules[n]; l.files.match(configPath, configPath, "") {
			t.Errorf("%s has no keywords and is for the configuration", l.ID)
		}
	}
	for _, d := range r.rules {
		for _, k := range d.Keywords {
			for _, c := range []scan.Config{
				{Env: []string{"A_" + strings.ToUpper(k) + "=x"}}, {Labels: map[string]string{"a": k}}, {Labels: map[string]string{k: "a"}}, {Cmd: []string{"x" + k + "x"}},
				{Entrypoint: strings.Split(k, " ")}, {Healthcheck: []string{k}}, {History: []scan.History{{Command: k}}}, {History: []scan.History{{Comment: k}}},
			} {
				if !s.mentioned(settings(&c)) {
					t.Errorf("%s: %q is passed over in %v", d.ID, k, c)
				}
			}
		}
	}
	if c := (scan.Config{Env: []string{"PATH=/usr/bin"}}); s.mentioned(settings(&c)) || !(&Scanner{}).mentioned(settings(&c)) {
		t.Error("PATH is taken for a secret, or nothing is although no keyword is known")
	}
}
