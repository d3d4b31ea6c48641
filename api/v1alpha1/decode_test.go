package v1alpha1

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestDecodeScripts reads testdata/*.txtar: every file of an archive but the
// one named "want" is decoded; want has the documents' IDs and every error.
// GABION_UPDATE=1 rewrites want.
func TestDecodeScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, p := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(p), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(p)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			want := -1
			for i, f := range ar.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				docs, errs := Decode(f.Name, f.Data)
				for _, d := range docs {
					fmt.Fprintf(&got, "%s:%d: %s\n", f.Name, d.Line, ID(d.Object))
				}
				for _, e := range errs {
					fmt.Fprintln(&got, e)
				}
			}
			if want < 0 {
				t.Fatal("no file named want")
			}
			if os.Getenv("GABION_UPDATE") != "" {
				ar.Files[want].Data = []byte(got.String())
				if err := os.WriteFile(p, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(ar.Files[want].Data), got.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
