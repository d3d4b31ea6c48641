package feed_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed"
	"github.com/gabion-dev/gabion/scan/vuln/feed/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorded are the documents of the importers' own tests, by format.
var recorded = map[string][]string{
	"alpine": {"alpine/testdata/main.json"}, "csaf": {"csaf/testdata/vex.json", "csaf/testdata/suse.json"},
	"debian": {"debian/testdata/tracker.json"}, "epss": {"epss/testdata/epss.csv"}, "kev": {"kev/testdata/kev.json"},
	"osv": {"osv/testdata/records.ndjson"}, "ssvc": {"ssvc/testdata/table.tsv", "ssvc/testdata/vulnrichment.json"},
	"ubuntu": {"ubuntu/testdata/records.json"},
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range files {
			if !yield(k) {
				return
			}
		}
	}) {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func osvRecord(id, ecosystem, name, fixed string) string {
	return fmt.Sprintf(`{"id":%q,"modified":"2026-01-02T00:00:00Z","affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, ecosystem, name, fixed)
}

// TestEveryFormat: each is in the list, is found out by its content, and has
// recorded documents.
func TestEveryFormat(t *testing.T) {
	all := feed.All()
	if !slices.IsSortedFunc(all, func(a, b feed.Format) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("formats are not in the order of their names")
	}
	dirs, err := filepath.Glob("*/testdata")
	if err != nil || len(dirs) < len(all) {
		t.Errorf("%d folders with testdata, %d formats: %v", len(dirs), len(all), err)
	}
	for _, f := range all {
		if len(recorded[f.Name]) == 0 || f.Title == "" {
			t.Errorf("%s has no recorded document or no title", f.Name)
		}
		for _, path := range recorded[f.Name] {
			if got, err := feed.Detect(context.Background(), path); err != nil || got.Name != f.Name {
				t.Errorf("%s is taken for %q: %v", path, got.Name, err)
			}
		}
	}
	if _, ok := feed.ByName("nvd"); ok {
		t.Error("a format out of nowhere")
	}
}

func TestDetect(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(read(t, "epss/testdata/epss.csv"))
	_ = w.Close()
	for name, c := range map[string]struct{ path, want string }{
		"zip of records":   {put(t, "all.zip", zipOf(t, map[string]string{"GO-1.json": osvRecord("GO-1", "Go", "x", "1.0.0")})), "osv"},
		"later in the zip": {put(t, "all.zip", zipOf(t, map[string]string{"a.json": `{"files":[]}`, "b.json": osvRecord("GO-1", "Go", "x", "1.0.0")})), "osv"},
		"gzip":             {put(t, "x", packed.Bytes()), "epss"},
		"withdrawn record": {put(t, "x", []byte(`{"id":"X-1","modified":"2026-01-02T00:00:00Z","withdrawn":"2026-01-02T00:00:00Z"}`)), "osv"},
		"array":            {put(t, "x", []byte("[\n"+osvRecord("X-1", "Go", "x", "1.0.0")+"]")), "osv"},
		"web page":         {put(t, "x", []byte("<html></html>")), ""},
		"nothing":          {put(t, "x", nil), ""},
		"other JSON":       {put(t, "x", []byte(`{"hello":{"world":{}}}`)), ""},
		"missing":          {"/nowhere/x", ""},
	} {
		f, err := feed.Detect(context.Background(), c.path)
		if f.Name != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q, %v", name, f.Name, err)
		}
	}
}

func TestPublic(t *testing.T) {
	list, err := feed.Public()
	if err != nil || len(list) < 20 {
		t.Fatalf("%d sources, %v", len(list), err)
	}
	seen := map[string]bool{}
	formats := map[string]bool{}
	for _, in := range list {
		if !strings.HasPrefix(in.URL, "https://") || in.Name == "" || in.Licence == "" || in.Format == "" || seen[in.URL] {
			t.Errorf("%+v", in)
		}
		if s := strings.ToLower(in.URL + in.Name); strings.Contains(s, "wolfi") || strings.Contains(s, "chainguard") || strings.Contains(s, "gemnasium") {
			t.Errorf("%s may not be used", in.Name)
		}
		seen[in.URL], formats[in.Format] = true, true
	}
	for _, f := range feed.All() {
		if !formats[f.Name] {
			t.Errorf("no public source of format %s", f.Name)
		}
	}
	for _, bad := range []string{"x: y", "- {name: a}", "- {name: a, url: u, format: nvd}", "- {name: a, url: u, licens: x}"} {
		if _, err := feed.ParseSources([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// inputs are all recorded documents.
func inputs() []feed.Input {
	var in []feed.Input
	for _, f := range feed.All() {
		for _, path := range recorded[f.Name] {
			in = append(in, feed.Input{Name: f.Name, Path: path, Licence: "test"})
		}
	}
	return in
}

func TestBuild(t *testing.T) {
	out := filepath.Join(t.TempDir(), "a.db")
	var stages []string
	res, err := feed.Build(context.Background(), inputs(), out, feed.Options{Prose: true, Progress: func(p feed.Progress) {
		if !slices.Contains(stages, p.Stage) {
			stages = append(stages, p.Stage)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(stages, []string{"read", "write"}) || len(res.Inputs) != len(inputs()) || res.Database.Advisories == 0 {
		t.Errorf("stages %v, %d inputs, %+v", stages, len(res.Inputs), res.Database)
	}
	for _, s := range res.Database.Sources {
		switch s.Name {
		case "osv":
			if s.Partial != "4 of 24 records could not be read" || s.Licence != "test" {
				t.Errorf("%+v", s)
			}
		case "csaf":
			if s.Advisories != 2 || s.Partial != "" {
				t.Errorf("%+v", s)
			}
		}
	}
	db, err := vuln.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Verify(); err != nil {
		t.Error(err)
	}
	pkgs := []scan.Package{
		{Ecosystem: "Debian:11", Name: "libssl1.1", Source: "openssl", Version: "1.1.1k-1+deb11u1", SourceVersion: "1.1.1k-1+deb11u1"},
		{Ecosystem: "Alpine:v3.19", Name: "libcrypto3", Source: "openssl", Version: "3.0.7-r2", SourceVersion: "3.0.7-r2"},
		{Ecosystem: "Red Hat:9", Name: "pam", Version: "1.5.1-19.el9"},
		{Ecosystem: "npm", Name: "bassmaster", Version: "1.5.1"},
		{Ecosystem: "npm", Name: "bassmaster", Version: "1.5.2"},
	}
	found, _ := db.Match(scan.Release{}, pkgs)
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%d %s fix=%s %s", f.Package, f.ID, f.Fix, f.State))
	}
	want := []string{
		"0 CVE-2021-0001 fix= open", "0 CVE-2022-0778 fix=1.1.1k-1+deb11u2 open",
		"1 CVE-2022-0001 fix=3.0.10-r0 open", "1 CVE-2022-3602 fix=3.0.9-r1 open",
		"2 CVE-2024-10041 fix=1.5.1-21.el9_5 open", "3 CVE-2014-7205 fix=1.5.2 open",
	}
	if !slices.Equal(got, want) {
		t.Errorf("matched\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestExploited: the catalogue's date to act by survives others who repeat it
// without one, and what they alone know is kept.
func TestExploited(t *testing.T) {
	kev := feed.Input{Path: put(t, "kev.json", []byte(`{"dateReleased":"2026-01-01","vulnerabilities":[{"cveID":"CVE-2026-1001","dateAdded":"2026-01-01","dueDate":"2026-01-22","knownRansomwareCampaignUse":"Known"}]}`))}
	ssvc := feed.Input{Path: put(t, "ssvc.tsv", []byte("#cve\texploitation\tautomatable\ttechnical_impact\tkev\tcvss\nCVE-2026-1001\tactive\tno\ttotal\t2026-01-01\t\nCVE-2026-1002\tactive\tno\ttotal\t2026-01-02\t\n"))}
	osv := feed.Input{Path: put(t, "osv.ndjson", []byte(osvRecord("CVE-2026-1001", "npm", "a", "1.0.0")+"\n"+osvRecord("CVE-2026-1002", "npm", "a", "1.0.0")+"\n"))}
	for _, in := range [][]feed.Input{{kev, ssvc, osv}, {osv, ssvc, kev}} {
		out := filepath.Join(t.TempDir(), "x.db")
		if _, err := feed.Build(context.Background(), in, out, feed.Options{}); err != nil {
			t.Fatal(err)
		}
		db, err := vuln.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		found, _ := db.Match(scan.Release{}, []scan.Package{{Ecosystem: "npm", Name: "a", Version: "0.9.0"}})
		if len(found) != 2 || found[0].KEV == nil || found[0].KEV.Due.Day() != 22 || !found[0].KEV.Ransomware || found[1].KEV == nil || found[1].KEV.Added.Day() != 2 {
			t.Errorf("%+v", found)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSameBytes: neither the number of workers nor the order of inputs changes
// a byte.
func TestSameBytes(t *testing.T) {
	var lines strings.Builder
	for i := range 6000 {
		lines.WriteString(osvRecord(fmt.Sprintf("GHSA-%d", i), "npm", fmt.Sprintf("p%d", i%700), fmt.Sprintf("1.%d.0", i)) + "\n")
	}
	big := feed.Input{Name: "big", Path: put(t, "big.ndjson", []byte(lines.String())), Licence: "test"}
	var first []byte
	for i, jobs := range []int{1, 2, 7} {
		in := append(inputs(), big)
		if i == 2 {
			slices.Reverse(in)
		}
		out := filepath.Join(t.TempDir(), "x.db")
		res, err := feed.Build(context.Background(), in, out, feed.Options{Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res.Inputs {
			if r.Input.Name == "big" && r.Stats.Kept != 6000 {
				t.Errorf("%d jobs: %+v", jobs, r.Stats)
			}
		}
		b := read(t, out)
		if first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Errorf("%d jobs give another database", jobs)
		}
	}
}

// TestLineNumbers: problems are numbered through a stream that was cut into
// pieces, and named by file in an archive.
func TestLineNumbers(t *testing.T) {
	var lines strings.Builder
	for i := range 5000 {
		if i == 4321 {
			lines.WriteString("{\"id\":\n")
		}
		lines.WriteString(osvRecord(fmt.Sprintf("GHSA-%d", i), "npm", "p", "1.0.0") + "\n")
	}
	for _, c := range []struct {
		path, want string
	}{
		{put(t, "x.ndjson", []byte(lines.String())), "record 4322: unexpected end of JSON input"},
		{put(t, "x.zip", zipOf(t, map[string]string{"a.json": osvRecord("GHSA-1", "npm", "p", "1.0.0"), "b.json": `{"id":7}`})), "b.json: record 1 (7): "},
	} {
		res, err := feed.Build(context.Background(), []feed.Input{{Path: c.path}}, filepath.Join(t.TempDir(), "x.db"), feed.Options{Jobs: 3})
		if err != nil {
			t.Fatal(err)
		}
		s := res.Inputs[0].Stats
		if len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0].String(), c.want) {
			t.Errorf("%v, want %s", s.Problems, c.want)
		}
	}
}

func TestBuildFails(t *testing.T) {
	good := feed.Input{Name: "good", Path: "osv/testdata/records.ndjson"}
	cut := read(t, "debian/testdata/tracker.json")
	for name, in := range map[string]feed.Input{
		"missing":        {Name: "bad", Path: "/nowhere/x.json"},
		"cut off":        {Name: "bad", Path: put(t, "x.json", cut[:len(cut)-20])},
		"cut off, known": {Name: "bad", Format: "debian", Path: put(t, "x.json", cut[:len(cut)-20])},
		"not that":       {Name: "bad", Format: "kev", Path: "osv/testdata/records.ndjson"},
		"nothing":        {Name: "bad", Format: "osv", Path: put(t, "x.json", []byte("\n"))},
		"no format":      {Name: "bad", Format: "nvd", Path: "osv/testdata/records.ndjson"},
		"no path":        {Name: "bad"},
		"plain http":     {Name: "bad", URL: "http://example.org/x.json"},
	} {
		out := put(t, "old.db", []byte("the old database"))
		o := feed.Options{Fetch: fetch.Options{Dir: t.TempDir()}}
		if _, err := feed.Build(context.Background(), []feed.Input{good, in}, out, o); err == nil || !strings.Contains(err.Error(), "bad") {
			t.Errorf("%s: %v", name, err)
		}
		if string(read(t, out)) != "the old database" {
			t.Errorf("%s: the old database is gone", name)
		}
		o.KeepGoing = true
		res, err := feed.Build(context.Background(), []feed.Input{good, in}, out, o)
		if err != nil {
			t.Errorf("%s, going on: %v", name, err)
			continue
		}
		i := slices.IndexFunc(res.Database.Sources, func(s scan.Source) bool { return s.Name == "bad" })
		if i < 0 || !strings.Contains(res.Database.Sources[i].Partial, "could not be read to its end") || res.Inputs[1].Error == "" {
			t.Errorf("%s, going on: not told: %+v", name, res.Database.Sources)
		}
	}
	if _, err := feed.Build(context.Background(), nil, filepath.Join(t.TempDir(), "x"), feed.Options{}); err == nil {
		t.Error("a database of nothing")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := feed.Build(ctx, []feed.Input{good}, filepath.Join(t.TempDir(), "x"), feed.Options{KeepGoing: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBuildFromAddress(t *testing.T) {
	content := zipOf(t, map[string]string{"GO-1.json": osvRecord("GO-1", "Go", "example.org/x", "1.2.0")})
	hits := 0
	date := time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		http.ServeContent(w, r, "all.zip", date, bytes.NewReader(content))
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	o := feed.Options{Fetch: fetch.Options{Dir: t.TempDir(), Transport: tr}}
	var first []byte
	for range 2 {
		out := filepath.Join(t.TempDir(), "x.db")
		res, err := feed.Build(context.Background(), []feed.Input{{URL: s.URL + "/Go/all.zip?x=y"}}, out, o)
		if err != nil {
			t.Fatal(err)
		}
		if in := res.Inputs[0].Input; in.Name != "all" || in.Format != "osv" || !in.Data.Equal(date) {
			t.Errorf("%+v", in)
		}
		b := read(t, out)
		if first != nil && !bytes.Equal(first, b) {
			t.Error("the same file gives another database")
		}
		first = b
	}
	if hits != 2 {
		t.Errorf("%d requests", hits)
	}
}

// TestPointer: the latest of dated archives is found, and only beside what
// points to it.
func TestPointer(t *testing.T) {
	text := "data_2026-01-02.zip\n"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/x/latest.txt":
			_, _ = io.WriteString(w, text)
		case "/x/data_2026-01-02.zip":
			_, _ = w.Write(zipOf(t, map[string]string{"a.json": osvRecord("GO-1", "Go", "example.org/x", "1.2.0")}))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	build := func() error {
		_, err := feed.Build(context.Background(), []feed.Input{{URL: s.URL + "/x/latest.txt", Pointer: true}}, filepath.Join(t.TempDir(), "x.db"),
			feed.Options{Fetch: fetch.Options{Dir: t.TempDir(), Transport: tr}})
		return err
	}
	if err := build(); err != nil {
		t.Error(err)
	}
	for _, text = range []string{"", "https://example.org/elsewhere.zip", "%zz", "missing.zip"} {
		if err := build(); err == nil {
			t.Errorf("%q was followed", text)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, list := range recorded {
		for _, path := range list {
			f.Add(read(f, path))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, fmt.Sprintf("in-%d", os.Getpid()))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := feed.Detect(context.Background(), path)
		if (err == nil) != (got.Name != "") {
			t.Errorf("%q, %v", got.Name, err)
		}
	})
}

func ExampleBuild() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	res, err := feed.Build(context.Background(), []feed.Input{
		{Name: "alpine-secdb", Path: "alpine/testdata/main.json", Licence: "facts"},
		{Path: "kev/testdata/kev.json", Licence: "CC0-1.0"},
	}, filepath.Join(dir, "advisories.db"), feed.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, in := range res.Inputs {
		fmt.Println(in.Input.Name, in.Input.Format+":", in.Stats)
	}
	fmt.Println(res.Database.Advisories, "advisories")
	// Output:
	// alpine-secdb alpine: 10 records, 7 kept, 3 bad
	// kev kev: 4 records, 2 kept, 2 bad
	// 7 advisories
}
