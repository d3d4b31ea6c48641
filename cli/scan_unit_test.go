package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/vuln/pack"
)

func TestEnvironmentFillsOnlyWhatNoFlagSaid(t *testing.T) {
	env := func(name string) string { return "env:" + name }
	var o scanning.Options
	o.Environment(env)
	if o.Database != "env:GABION_DB" || o.Cache != "env:GABION_CACHE_DIR" {
		t.Errorf("%q %q", o.Database, o.Cache)
	}
	o = scanning.Options{Database: "a", NoCache: true}
	o.Environment(env)
	if o.Database != "a" || o.Cache != "" {
		t.Errorf("%q %q", o.Database, o.Cache)
	}
	r := scanRemote{url: "http://flag"}
	r.environment(env)
	if r.url != "http://flag" {
		t.Errorf("%q", r.url)
	}
}

func TestUpdateFromSaysWhatIsMissing(t *testing.T) {
	p := pack.Place{Dir: filepath.Join(t.TempDir(), "none")}
	var from string
	err := updateFrom(p, func(string) string { return "" }, &from)
	if err == nil || !strings.Contains(err.Error(), "$"+dbFromEnv) {
		t.Errorf("%v", err)
	}
	if err := updateFrom(p, func(string) string { return "oci:store:1" }, &from); err != nil || from != "oci:store:1" {
		t.Errorf("%q, %v", from, err)
	}
}

func TestWritableLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := writable(filepath.Join(dir, "report.json")); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := writable(dir); err == nil {
		t.Error("a folder is no file to write")
	}
	if err := writable(filepath.Join(dir, "none", "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := writable(os.DevNull); err != nil {
		t.Error(err)
	}
}

func TestDateOf(t *testing.T) {
	if got := dateOf(time.Time{}); got != "-" {
		t.Error(got)
	}
	if got := dateOf(time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)); got != "2026-01-02" {
		t.Error(got)
	}
}

func TestProgressIsTakenAway(t *testing.T) {
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, ""}, // a log
		{100, "\r\x1b[K[############............]  50%  layers 1 of 2, 1 known  1.0 MB of 2.0 MB\r\x1b[K"},
		{20, "\r\x1b[K1/2\r\x1b[K"},
	} {
		var b strings.Builder
		p := newScanProgress(&Env{Err: &term.Printer{W: &b, Width: c.width}})
		p.show(engine.Progress{Layers: 2, Done: 1, Cached: 1, Bytes: 1e6, Size: 2e6})
		p.end()
		p.show(engine.Progress{Layers: 2, Done: 2, Bytes: 2e6, Size: 2e6})
		if b.String() != c.want {
			t.Errorf("width %d: %q", c.width, b.String())
		}
	}
}
