package report

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/report/sample"
)

// sampleDiff is what changed from an image in which little was wrong.
func sampleDiff() decide.Difference {
	old := sample.Clean()
	old.Packages[0].Version = "3.0.10-1"
	old.Image.Digest = "sha256:" + strings.Repeat("9", 64)
	old.Database.Digest = "sha256:" + strings.Repeat("8", 64)
	old.Findings = []scan.Finding{{Advisory: scan.Advisory{ID: "CVE-2020-0009", Severity: scan.High}, Package: 0, State: scan.Open, Priority: 50}}
	old.Image.Config.User = "root"
	return decide.Diff(old, sample.Report())
}

func TestDiffGolden(t *testing.T) {
	for format, file := range map[string]string{"table": "diff.txt", "markdown": "diff.md", "json": "diff.json"} {
		var b bytes.Buffer
		if err := WriteDiff(&b, format, sampleDiff(), Options{Width: 100}); err != nil {
			t.Fatal(err)
		}
		file = "testdata/" + file
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s differs (-golden +got); go test -update writes it anew:\n%s", file, d)
		}
		if !strings.Contains(strings.ToUpper(b.String()), "INCOMPLETE") {
			t.Errorf("%s does not say that a side is incomplete", format)
		}
		for _, c := range b.String() {
			if format != "json" && (unicode.IsControl(c) && c != '\n' || unicode.Is(unicode.Bidi_Control, c)) {
				t.Errorf("%s lets %U through", format, c)
			}
		}
	}
}

func TestDiffOfEqual(t *testing.T) {
	var b bytes.Buffer
	d := decide.Diff(sample.Clean(), sample.Clean())
	if err := WriteDiff(&b, "table", d, Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "New") || strings.Contains(b.String(), "Packages") {
		t.Errorf("equal reports differ:\n%s", b.String())
	}
	b.Reset()
	if err := WriteDiff(&b, "json", d, Options{}); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("%v, valid %v", err, json.Valid(b.Bytes()))
	}
	if err := WriteDiff(&b, "xml", d, Options{}); err == nil {
		t.Error("an unknown format is taken")
	}
	if err := WriteDiff(failing{}, "json", d, Options{}); err == nil {
		t.Error("a failing writer goes unnoticed")
	}
}
