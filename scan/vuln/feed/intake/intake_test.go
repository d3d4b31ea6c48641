package intake

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
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

	"github.com/klauspost/compress/zstd"

	"github.com/gabion-dev/gabion/scan"
)

func collect(t *testing.T, in string, lim Limits) ([]string, error) {
	t.Helper()
	var got []string
	err := Records(context.Background(), strings.NewReader(in), lim, func(raw json.RawMessage) error {
		got = append(got, string(raw))
		return nil
	})
	return got, err
}

func TestRecords(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 100<<10) + `"}`
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":          {" \n ", nil},
		"lines":            {"{\"a\":1}\n\n {\"a\":2} \r\n{\"a\":3}", []string{`{"a":1}`, `{"a":2}`, `{"a":3}`}},
		"broken line":      {"{\"a\":1}\n{\"a\":\n{\"a\":3}\n", []string{`{"a":1}`, `{"a":`, `{"a":3}`}},
		"one":              {`{"a":1}`, []string{`{"a":1}`}},
		"one over lines":   {"{\n\"a\":1\n}\n", []string{"{\n\"a\":1\n}"}},
		"some over lines":  {"{\n\"a\":1\n}\n{\n\"a\":2\n}", []string{"{\n\"a\":1\n}", "{\n\"a\":2\n}"}},
		"array":            {` [{"a":1}, {"a":2}] `, []string{`{"a":1}`, `{"a":2}`}},
		"empty array":      {`[]`, nil},
		"byte order mark":  {"\xef\xbb\xbf{\"a\":1}", []string{`{"a":1}`}},
		"longer than page": {long + "\n" + long + "\n", []string{long, long}},
	} {
		got, err := collect(t, c.in, Limits{})
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %.200q, %v", name, got, err)
		}
	}
}

func TestRecordsLost(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"array cut off":      {`[{"a":1},{"a":`, io.ErrUnexpectedEOF},
		"array not closed":   {`[{"a":1}`, io.ErrUnexpectedEOF},
		"object cut off":     {"{\n\"a\":", io.ErrUnexpectedEOF},
		"behind the array":   {`[1] [2]`, nil},
		"no JSON":            {"<html>", nil},
		"line too long":      {"{\"a\":1}\n{\"b\":\"" + strings.Repeat("x", 5000) + `"}`, ErrTooBig},
		"first line too big": {`{"b":"` + strings.Repeat("x", 5000) + `"}`, ErrTooBig},
		"element too big":    {`[1,"` + strings.Repeat("x", 300<<10) + `"]`, ErrTooBig},
		"input too big":      {strings.Repeat("{\"a\":1}\n", 200_000), ErrTooBig},
	} {
		_, err := collect(t, c.in, Limits{Value: 4096, Bytes: 1 << 20})
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestRecordsMany: the allowance is per value, not for all of them together.
func TestRecordsMany(t *testing.T) {
	for _, in := range []string{
		strings.Repeat("{\"a\":\"0123456789\"}\n", 20_000),
		"[" + strings.Repeat(`{"a":"0123456789"},`, 20_000) + "{}]",
		strings.Repeat("{\n\"a\":\"0123456789\"}\n", 20_000),
	} {
		got, err := collect(t, in, Limits{Value: 128 << 10})
		if err != nil || len(got) < 20_000 {
			t.Errorf("%.20q: %d records, %v", in, len(got), err)
		}
	}
}

func TestDecoder(t *testing.T) {
	d := NewDecoder(context.Background(), strings.NewReader(`{"skip":{"x":[1,{"y":[]}]},"s":"v","list":[{"n":1},{"n":2}],"bad":7}`), Limits{})
	var got []string
	err := d.Members(func(key string) error {
		switch key {
		case "list":
			return d.Elements(func() error {
				return d.Members(func(key string) error {
					var n int
					err := d.Value(&n)
					got = append(got, fmt.Sprint(key, n))
					return err
				})
			})
		case "bad":
			var s string
			if err := d.Value(&s); !Recoverable(err) {
				t.Errorf("a number into a string: %v", err)
			}
			return nil
		case "s":
			var s string
			err := d.Value(&s)
			got = append(got, s)
			return err
		}
		return d.Skip()
	})
	if err := errors.Join(err, d.End()); err != nil || !slices.Equal(got, []string{"v", "n1", "n2"}) {
		t.Errorf("%q, %v", got, err)
	}
	d = NewDecoder(context.Background(), strings.NewReader(`[1]`), Limits{})
	if err := d.Members(func(string) error { return nil }); err == nil {
		t.Error("an array was taken for an object")
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b)
	_ = w.Close()
	return buf.Bytes()
}

func zst(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

var members = []struct{ name, text string }{
	{"b/two.json", "2"}, {"README.md", "no"}, {"a/one.json", "1"}, {".hidden.json", "no"}, {"c.csv", "3"},
}

func zipped(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, m := range members {
		f, err := w.Create(m.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func tarred(t *testing.T) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "link.json", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func documents(t *testing.T, path string, lim Limits) (string, int, error) {
	t.Helper()
	var got []string
	passed, err := Documents(context.Background(), path, lim, func(name string, r io.Reader) error {
		b, err := io.ReadAll(r)
		got = append(got, name+"="+string(b))
		return err
	})
	return strings.Join(got, " "), passed, err
}

func TestDocuments(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		write(t, p, b)
		return p
	}
	tree := filepath.Join(dir, "tree")
	for _, m := range members {
		write(t, filepath.Join(tree, m.name), []byte(m.text))
	}
	write(t, filepath.Join(tree, ".git/x.json"), []byte("no"))
	write(t, filepath.Join(tree, "d/packed.json.gz"), gz([]byte("4")))
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "link.json")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, want string
		passed     int
	}{
		"plain":     {file("any", []byte("x")), "=x", 0},
		"gzip":      {file("g", gz([]byte("x"))), "=x", 0},
		"zstd":      {file("z", zst(t, []byte("x"))), "=x", 0},
		"empty":     {file("e", nil), "=", 0},
		"zip":       {file("zip", zipped(t)), "b/two.json=2 a/one.json=1 c.csv=3", 2},
		"tar":       {file("tar", tarred(t)), "b/two.json=2 a/one.json=1 c.csv=3", 3},
		"tar.gz":    {file("tar.gz", gz(tarred(t))), "b/two.json=2 a/one.json=1 c.csv=3", 3},
		"tar.zst":   {file("tar.zst", zst(t, tarred(t))), "b/two.json=2 a/one.json=1 c.csv=3", 3},
		"directory": {tree, "a/one.json=1 b/two.json=2 c.csv=3 d/packed.json=4", 4},
	} {
		got, passed, err := documents(t, c.path, Limits{})
		got = strings.ReplaceAll(got, ".json.gz=", ".json=")
		if err != nil || got != c.want || passed != c.passed {
			t.Errorf("%s: %q, %d passed over, %v; want %q, %d", name, got, passed, err, c.want, c.passed)
		}
	}
}

func TestDocumentsLost(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		write(t, p, b)
		return p
	}
	big := bytes.Repeat([]byte{'x'}, 1<<20)
	for name, c := range map[string]struct {
		path string
		lim  Limits
		want error
	}{
		"missing":        {filepath.Join(dir, "nowhere"), Limits{}, os.ErrNotExist},
		"gzip cut off":   {file("cut.gz", gz(big)[:500]), Limits{}, io.ErrUnexpectedEOF},
		"zstd cut off":   {file("cut.zst", zst(t, big)[:20]), Limits{}, io.ErrUnexpectedEOF},
		"tar cut off":    {file("cut.tar", tarred(t)[:600]), Limits{}, nil},
		"zip cut off":    {file("cut.zip", zipped(t)[:100]), Limits{}, nil},
		"gzip bomb":      {file("bomb.gz", gz(big)), Limits{Bytes: 1000}, ErrTooBig},
		"too many files": {file("many.zip", zipped(t)), Limits{Files: 2}, ErrTooBig},
		"too much":       {file("much.zip", zipped(t)), Limits{Bytes: 2}, ErrTooBig},
		"too deep":       {dir + "/deep", Limits{Depth: 2}, ErrTooBig},
	} {
		if name == "too deep" {
			write(t, filepath.Join(dir, "deep/a/b/c/d.json"), []byte("x"))
		}
		if _, _, err := documents(t, c.path, c.lim); err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestIDs(t *testing.T) {
	for in, want := range map[string]string{
		"CVE-2017-8073.patch": "CVE-2017-8073", "CVE_2019-2426": "CVE-2019-2426", "cve-2024-12345": "CVE-2024-12345", "CVE-2017-17434-1": "CVE-2017-17434",
		"CVE": "", "CVE-????-?????": "", "CVE-24-1234": "", "CVE-2024-123": "", "XSA-1": "", "": "", "CVE-2024-1234567890123": "",
	} {
		if got := CVE(in); got != want {
			t.Errorf("CVE(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"GHSA-gwrp-pvrq-jmwv": "GHSA-gwrp-pvrq-jmwv", " XSA-248, ": "XSA-248", "GHSA-jf66-3q76-h5p5,": "GHSA-jf66-3q76-h5p5", "cve-2024-1234": "CVE-2024-1234",
		"ALPINE-CVE": "", "": "", "a b1": "", "ä1": "", "CVE-????-????1": "", strings.Repeat("1", 200): "",
	} {
		if got := ID(in); got != want {
			t.Errorf("ID(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]scan.Severity{"Important": scan.High, "MODERATE": scan.Medium, "medium**": scan.Medium, "unimportant": scan.Negligible, "critical ": scan.Critical, "low": scan.Low, "not yet assigned": scan.Unknown} {
		if got := Severity(in); got != want {
			t.Errorf("Severity(%q) = %v, want %v", in, got, want)
		}
	}
	for in, want := range map[float64]scan.Severity{0: scan.Unknown, 0.1: scan.Low, 3.9: scan.Low, 4: scan.Medium, 7: scan.High, 9: scan.Critical, 10: scan.Critical, 11: scan.Unknown, -1: scan.Unknown} {
		if got := Score(in); got != want {
			t.Errorf("Score(%v) = %v, want %v", in, got, want)
		}
	}
	var v Vectors
	for _, s := range []string{"AV:N/AC:L/Au:N/C:P/I:P/A:P", "CVSS:4.0/AV:N", "CVSS:3.1/AV:L", "CVSS:3.0/AV:N"} {
		if !v.Add(s) {
			t.Errorf("%s was refused", s)
		}
	}
	if v.Add("HIGH") || v.Best() != "CVSS:3.1/AV:L" {
		t.Errorf("best of all versions is %q", v.Best())
	}
}

func TestTime(t *testing.T) {
	day := time.Date(2025, 8, 26, 0, 0, 0, 0, time.UTC)
	for _, in := range []string{"2025-08-26", "2025-08-26T00:00:00Z", "2025-08-26T02:00:00+02:00", "2025-08-26T00:00:00+0000", "2025-08-26T00:00:00", "2025-08-26T00:00:00.000"} {
		if got, err := Time(in); err != nil || !got.Equal(day) {
			t.Errorf("Time(%q) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "0001-01-01T00:00:00Z"} {
		if got, err := Time(in); err != nil || !got.IsZero() {
			t.Errorf("Time(%q) = %v, %v", in, got, err)
		}
	}
	if _, err := Time("next week"); err == nil {
		t.Error("a week is no date")
	}
}

func TestStats(t *testing.T) {
	var all Stats
	for i := range 3 {
		var s Stats
		s.Records = 2
		s.Skip(fmt.Sprint("reason ", i))
		s.Refuse("id\x00", strings.Repeat("ä", 400))
		s.See(time.Unix(int64(i), 0))
		file := ""
		if i == 2 {
			file = "f.json"
		}
		all.Merge(s, file)
	}
	if all.Records != 6 || all.Bad != 3 || len(all.Skipped) != 3 || !all.Newest.Equal(time.Unix(2, 0)) {
		t.Errorf("%+v", all)
	}
	if all.Problems[1].Record != 4 || all.Problems[2].Record != 2 || all.Problems[2].File != "f.json" {
		t.Errorf("positions are wrong: %+v", all.Problems)
	}
	if s := all.Problems[2].String(); !strings.HasPrefix(s, "f.json: record 2 (id ): ää") || len(s) > 350 {
		t.Errorf("problem reads %q", s)
	}
	for i := range 200 {
		all.Skip(fmt.Sprint("made up ", i))
		all.Refuse("x", "y")
	}
	if len(all.Skipped) > maxReasons+1 || len(all.Problems) != MaxProblems || all.Skipped["other"] == 0 {
		t.Errorf("%d reasons, %d problems", len(all.Skipped), len(all.Problems))
	}
}

func FuzzRecords(f *testing.F) {
	for _, s := range []string{"{\"a\":1}\n{\"b\":\n{}", `[{"a":[1,2]},"x"]`, "{\n}", "[[[[", "\xef\xbb\xbf{}", `{"a":1}{"b":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		_ = Records(context.Background(), bytes.NewReader(in), Limits{Value: 1 << 10, Bytes: 1 << 14}, func(raw json.RawMessage) error {
			total += len(raw)
			return nil
		})
		if total > len(in) {
			t.Errorf("%d bytes of records from %d bytes", total, len(in))
		}
	})
}

func FuzzDocuments(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add(gz([]byte("{}")))
	f.Fuzz(func(t *testing.T, in []byte) {
		path := filepath.Join(t.TempDir(), "in")
		write(t, path, in)
		_, _ = Documents(context.Background(), path, Limits{Bytes: 1 << 20, Files: 100}, func(_ string, r io.Reader) error {
			n, err := io.Copy(io.Discard, r)
			if n > 1<<20 {
				t.Errorf("%d bytes passed the limit", n)
			}
			return err
		})
	})
}
