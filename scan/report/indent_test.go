package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/report/sample"
	"github.com/gabion-dev/gabion/scan/report/view"
)

// indented lays out JSON, handed over in pieces of n bytes.
func indented(t testing.TB, compact []byte, n int) string {
	t.Helper()
	var b bytes.Buffer
	d := &indenter{w: &b}
	for len(compact) > 0 {
		n := min(n, len(compact))
		if got, err := d.Write(compact[:n]); got != n || err != nil {
			t.Fatal(got, err)
		}
		compact = compact[n:]
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestJSONIsIndented compares a whole report with what encoding/json makes of
// it, one that takes several pieces too.
func TestJSONIsIndented(t *testing.T) {
	large := *sample.Report()
	for len(large.Packages) < 2000 {
		large.Packages = append(large.Packages, scan.Package{Name: "<a> \"b\" \\ {[,:]} \u2028 é", Version: strings.Repeat("\\", len(large.Packages)%7)})
	}
	for _, r := range []*scan.Report{sample.Report(), &large, {}} {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetIndent("", "  ")
		if err := e.Encode(document{Report: lists(r), Result: view.Result(r), Incomplete: r.Incomplete()}); err != nil {
			t.Fatal(err)
		}
		if got := render(t, "json", r, Options{}); !bytes.Equal(got, want.Bytes()) {
			t.Error("encoding/json writes it in another way")
		}
	}
}

func FuzzIndent(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, `[[],{}]`, `{"a":[1,-2.5e3,true,null],"b":{"c":"\"{}[],:\\"}}`, `"\\"`, `0`, `{"":[{"":{}}]}`, `["\\\"",""]`} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		var compact, want bytes.Buffer
		if json.Compact(&compact, data) != nil {
			t.Skip("no JSON")
		}
		if err := json.Indent(&want, compact.Bytes(), "", "  "); err != nil {
			t.Fatal(err)
		}
		if got := indented(t, compact.Bytes(), 1+n&0xff); got != want.String() {
			t.Errorf("got %s\nwant %s", got, want.String())
		}
	})
}

func TestJSONTellsWritersFaults(t *testing.T) {
	if _, err := (&indenter{w: failing{}}).Write(bytes.Repeat([]byte("1"), pieceSize)); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}
