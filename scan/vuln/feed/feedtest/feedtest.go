// Package feedtest holds what the tests of importers share: running one over
// recorded documents and comparing all that came of it with a text a person can
// read.
//
// It is for tests only. Set GABION_UPDATE_GOLDEN=1 to write the texts anew.
package feedtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/intake"
)

// Records is an importer of advisories.
type Records = func(context.Context, io.Reader, func(vuln.Record) error) (intake.Stats, error)

// Extras is an importer of facts about CVEs.
type Extras = func(context.Context, io.Reader, func(vuln.Extra) error) (intake.Stats, error)

// Golden imports every file below testdata that matches pattern and compares
// what comes of each with the file of the same name and ".golden".
func Golden(t *testing.T, pattern string, f Records) {
	t.Helper()
	golden(t, pattern, func(r io.Reader, w io.Writer) (intake.Stats, error) {
		return f(context.Background(), r, func(r vuln.Record) error {
			Write(w, r)
			return nil
		})
	})
}

// GoldenExtras is Golden for facts.
func GoldenExtras(t *testing.T, pattern string, f Extras) {
	t.Helper()
	golden(t, pattern, func(r io.Reader, w io.Writer) (intake.Stats, error) {
		return f(context.Background(), r, func(e vuln.Extra) error {
			b, err := json.Marshal(e)
			fmt.Fprintf(w, "%s\n", b)
			return err
		})
	})
}

func golden(t *testing.T, pattern string, run func(io.Reader, io.Writer) (intake.Stats, error)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata/%s: %v", pattern, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".golden") {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			in, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			stats, err := run(bytes.NewReader(in), &got)
			b, jerr := json.MarshalIndent(stats, "", " ")
			if jerr != nil {
				t.Fatal(jerr)
			}
			fmt.Fprintf(&got, "error: %v\n%s\n", err, b)
			Balanced(t, stats)
			if os.Getenv("GABION_UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(name+".golden", got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}

// Balanced checks that every record was accounted for.
func Balanced(t testing.TB, s intake.Stats) {
	t.Helper()
	sum := s.Kept + s.Withdrawn + s.Bad
	for _, n := range s.Skipped {
		sum += n
	}
	if sum != s.Records {
		t.Errorf("%d records, but %d kept + %d withdrawn + %d bad + skipped %v", s.Records, s.Kept, s.Withdrawn, s.Bad, s.Skipped)
	}
}

// Write shows a record as text, one line per package.
func Write(w io.Writer, r vuln.Record) {
	fmt.Fprintf(w, "%s severity=%s", r.ID, r.Severity)
	for _, f := range []struct{ name, value string }{
		{"cvss", r.CVSS}, {"published", date(r.Published)}, {"modified", date(r.Modified)}, {"withdrawn", date(r.Withdrawn)},
		{"aliases", strings.Join(r.Aliases, ",")}, {"upstream", strings.Join(r.Upstream, ",")}, {"summary", r.Summary}, {"url", r.URL},
	} {
		if f.value != "" {
			fmt.Fprintf(w, " %s=%s", f.name, f.value)
		}
	}
	fmt.Fprintln(w)
	for _, a := range r.Affected {
		fmt.Fprintf(w, "  %s | %s | %s", a.Ecosystem, a.Name, status(a.Status))
		for _, g := range a.Ranges {
			fmt.Fprintf(w, " | [%s, %s", g.Introduced, bound(g))
		}
		for _, f := range []struct{ name, value string }{
			{"versions", strings.Join(a.Versions, ",")}, {"module", a.Module}, {"arch", strings.Join(a.Arch, ",")},
			{"by", []string{"", "source", "binary"}[a.By]},
		} {
			if f.value != "" {
				fmt.Fprintf(w, " | %s=%s", f.name, f.value)
			}
		}
		if a.Severity != 0 {
			fmt.Fprintf(w, " | severity=%s", a.Severity)
		}
		fmt.Fprintln(w)
	}
}

func status(s vuln.Status) string {
	return []string{"affected", "unfixed", "wontfix", "notaffected", "investigated"}[s]
}

func bound(r vuln.Range) string {
	switch {
	case r.Fixed != "":
		return r.Fixed + ") fix"
	case r.LastAffected != "":
		return r.LastAffected + "]"
	case r.Limit != "":
		return r.Limit + ") limit"
	}
	return "..."
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Fuzz feeds an importer with anything, beginning with the files below
// testdata: it must not panic, must account for every record it counts, and
// must hand on no record without id or package.
func Fuzz(f *testing.F, run Records) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		stats, err := run(context.Background(), bytes.NewReader(in), func(r vuln.Record) error {
			if r.ID == "" || len(r.Affected) == 0 && r.Withdrawn.IsZero() {
				t.Errorf("record without id or package: %+v", r)
			}
			return nil
		})
		if err == nil {
			Balanced(t, stats)
		}
		if len(stats.Problems) > intake.MaxProblems {
			t.Errorf("%d problems named", len(stats.Problems))
		}
	})
}

// FuzzExtras is Fuzz for facts.
func FuzzExtras(f *testing.F, run Extras) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		stats, err := run(context.Background(), bytes.NewReader(in), func(e vuln.Extra) error {
			if intake.CVE(e.CVE) != e.CVE || e.CVE == "" {
				t.Errorf("facts about %q", e.CVE)
			}
			return nil
		})
		if err == nil {
			Balanced(t, stats)
		}
	})
}

func seed(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, ".golden") || name == "testdata/fuzz" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
}

// Refusing checks that a sink's refusal is counted and does not end the import,
// and that a cancelled context does.
func Refusing(t *testing.T, file string, run Records) {
	t.Helper()
	in, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stats, err := run(context.Background(), bytes.NewReader(in), func(vuln.Record) error { return errors.New("not today") })
	if err != nil {
		t.Errorf("a refusal ended the import: %v", err)
	}
	Balanced(t, stats)
	if stats.Kept != 0 || stats.Bad == 0 || !slices.ContainsFunc(stats.Problems, func(p intake.Problem) bool { return strings.Contains(p.What, "not today") }) {
		t.Errorf("refused records are not told: %+v", stats)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := run(ctx, bytes.NewReader(in), func(vuln.Record) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled import: %v", err)
	}
}
