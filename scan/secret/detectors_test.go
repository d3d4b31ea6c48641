package secret

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

func scanner(t testing.TB) *Scanner {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func detectors(t testing.TB) []content.Detector {
	t.Helper()
	c, err := content.LoadSecrets()
	if err != nil {
		t.Fatal(err)
	}
	return c.Detectors
}

// run scans a case as a file, or as an environment variable for detectors of
// the configuration.
func (s *Scanner) runCase(d *content.Detector, text string) []scan.Secret {
	if d.Config {
		return s.Config(scan.Config{Env: []string{text}})
	}
	p := d.CasePath
	if p == "" {
		p = "app/config/settings.conf"
	}
	return s.Scan(p, []byte(text))
}

// TestDetectors runs every detector's own cases, forty times with other
// characters, and makes sure that the report does not tell the secret.
func TestDetectors(t *testing.T) {
	s := scanner(t)
	list := detectors(t)
	if len(list) < 60 {
		t.Fatalf("only %d detectors", len(list))
	}
	for _, d := range list {
		t.Run(d.ID, func(t *testing.T) {
			if len(d.Matches) == 0 || len(d.Benign) == 0 {
				t.Fatal("needs a case that must match and one that must not")
			}
			found := func(text string) []scan.Secret {
				return slices.DeleteFunc(s.runCase(&d, text), func(x scan.Secret) bool { return x.Detector != d.ID })
			}
			rounds := 40
			if strings.HasPrefix(d.Validator, "pem") {
				rounds = 3 // making keys takes long
			}
			missed := 0
			for i := range rounds {
				f := newFiller(t, d.ID+strconv.Itoa(i))
				for _, template := range d.Matches {
					text := f.fill(template)
					got := found(text)
					if len(got) == 0 {
						missed++
						if missed > rounds*len(d.Matches)/40 {
							t.Errorf("missed in %s (%s)", template, text)
						}
						continue
					}
					leakFree(t, got, text)
				}
				for _, template := range d.Benign {
					if text := f.fill(template); len(found(text)) > 0 {
						t.Errorf("found in %s (%s)", template, text)
					}
				}
			}
		})
	}
}

// leakFree makes sure that no more than four characters in a row of what was
// masked are in the JSON.
func leakFree(t *testing.T, got []scan.Secret, text string) {
	t.Helper()
	for _, x := range got {
		x.Where, x.Title = "", "" // paths and titles are the caller's and content's
		raw, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Fingerprint) != 16 || x.State != scan.Open || x.Layer != -1 {
			t.Errorf("fingerprint, state or layer: %s", raw)
		}
		shown := strings.TrimRight(x.Masked, "*")
		if len(shown) > 4 {
			t.Errorf("masked shows %q", x.Masked)
		}
		for i := 0; i+9 <= len(text); i++ {
			part := text[i : i+9]
			if dense.MatchString(part) && strings.ContainsAny(part, "0123456789") && strings.Contains(string(raw), part) {
				t.Errorf("the report tells %q of %q", part, text)
				break
			}
		}
	}
}

var dense = regexp.MustCompile(`^[A-Za-z0-9+/_-]+$`)

func TestDetectorData(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, d := range detectors(t) {
		t.Run(d.ID, func(t *testing.T) {
			if !id.MatchString(d.ID) || seen[d.ID] {
				t.Error("the id has a wrong form or is there twice")
			}
			seen[d.ID] = true
			for what, text := range map[string]string{"title": d.Title, "why": d.Why, "remedy": d.Remedy, "pattern": d.Pattern} {
				if text == "" {
					t.Errorf("no %s", what)
				}
			}
			r, err := newRule(d)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.expr(); err != nil {
				t.Error(err)
			}
			if r.severity == scan.Unknown {
				t.Error("no severity")
			}
			for _, k := range d.Keywords {
				if len(k) < minKeyword {
					t.Errorf("keyword %q is too short", k)
				}
			}
		})
	}
	c, err := content.LoadSecrets()
	if err != nil {
		t.Fatal(err)
	}
	for what, list := range map[string][]content.Place{"skip": c.Places.Skip, "quiet": c.Places.Quiet, "lower": c.Places.Lower, "credentials": c.Places.Credentials} {
		if len(list) == 0 {
			t.Errorf("no places to %s", what)
		}
		for _, p := range list {
			if p.Why == "" || len(p.Paths) == 0 {
				t.Errorf("%s: %v has no reason or no paths", what, p.Paths)
			}
		}
	}
}

// TestOwnFiles: the repository's own knowledge and tests about secrets hold
// nothing that would be found in them.
func TestOwnFiles(t *testing.T) {
	s := scanner(t)
	for _, pattern := range []string{"../../content/secrets/*.yaml", "../../content/*.yaml", "*.go", "../check/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range s.Scan("app/"+filepath.Base(f), data) {
				t.Errorf("%s:%d: %s", f, x.Line, x.Detector)
			}
		}
	}
}
