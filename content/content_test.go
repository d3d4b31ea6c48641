package content

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func library(t *testing.T) *Library {
	t.Helper()
	l, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestClasses(t *testing.T) {
	l := library(t)
	if len(l.Classes()) < 12 {
		t.Fatalf("only %d classes", len(l.Classes()))
	}
	id := regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	for _, c := range l.Classes() {
		t.Run(c.Name, func(t *testing.T) {
			if l.Class(c.Name) == nil {
				t.Error("not found by its name")
			}
			if c.Description == "" || c.Why == "" || len(c.Techniques) == 0 {
				t.Error("description, why or techniques are missing")
			}
			if len(c.Matches) == 0 || len(c.MatchesNot) == 0 {
				t.Error("needs a case that must match and one that must not")
			}
			for _, p := range c.Matches {
				if !c.Has(p) {
					t.Errorf("%s must be of this class", p)
				}
			}
			for _, p := range c.MatchesNot {
				if c.Has(p) {
					t.Errorf("%s must not be of this class", p)
				}
			}
			for _, n := range c.Names {
				if n == "" || strings.ContainsAny(n, "/* ") {
					t.Errorf("%q is not a base name", n)
				}
			}
			if len(slices.Compact(slices.Clone(c.Names))) != len(c.Names) {
				t.Error("a name is there twice")
			}
			for _, x := range c.Techniques {
				if !id.MatchString(x) || l.TechniqueName(x) == "" {
					t.Errorf("technique %s has no name in techniques.yaml", x)
				}
			}
		})
	}
	if l.Class("nonesuch") != nil {
		t.Error("a class that is not there was found")
	}
}

func TestTechniques(t *testing.T) {
	l := library(t)
	for _, m := range []map[string][]string{l.techniques.Kinds, l.techniques.Reasons} {
		for word, ids := range m {
			for _, x := range ids {
				if l.TechniqueName(x) == "" {
					t.Errorf("%s: technique %s has no name", word, x)
				}
			}
		}
	}
	got := l.Techniques("process.exec", []string{"denied", "drift"}, "/tmp/xmrig")
	if want := []string{"T1105", "T1204.003", "T1496"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestSupply reads every file of the supply chain; what is in them is tested
// by the rooms that use it (scan/secret, scan/check, scan/licence).
func TestSupply(t *testing.T) {
	s, err := LoadSecrets()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Detectors) < 60 || !slices.IsSortedFunc(s.Detectors, func(a, b Detector) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("%d detectors, or not sorted", len(s.Detectors))
	}
	checks, err := LoadImageChecks()
	if err != nil {
		t.Fatal(err)
	}
	if len(checks) < 20 || !slices.IsSortedFunc(checks, func(a, b ImageCheck) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("%d checks, or not sorted", len(checks))
	}
	l, err := LoadLicences()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(l.IDs, "MIT") || !slices.Contains(l.Exceptions, "Classpath-exception-2.0") || l.Aliases["expat"] != "MIT" || len(l.Categories) < 5 {
		t.Error("licences are missing")
	}
}
