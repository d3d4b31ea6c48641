package policy

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
)

// TestDocumentation reads every policy that the documentation shows: each must
// load, and those that select containers must compile for one and be explained.
func TestDocumentation(t *testing.T) {
	pages := []string{"../README.md"}
	err := filepath.WalkDir("../docs", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".md") {
			pages = append(pages, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	shown, compiled := 0, 0
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range yamlBlocks(string(raw)) {
			if !strings.Contains(block, "apiVersion: "+v1alpha1.APIVersion) {
				continue
			}
			shown++
			set, errs := Load([]File{{Name: page, Data: []byte(block)}})
			for _, err := range errs {
				t.Errorf("block %d: %v", i+1, err)
			}
			for _, d := range set.Documents() {
				spec := v1alpha1.Policy(d.Object)
				if spec == nil {
					continue
				}
				c := &workload.Container{
					Name: "c", Labels: spec.Selector.MatchLabels,
					Workload: workload.Ref{Namespace: v1alpha1.Namespace(d.Object), Name: d.Object.GetName()},
				}
				plan := set.Compile(c, someDay)
				if plan == nil {
					t.Errorf("%s: %s is not compiled for %+v", page, v1alpha1.ID(d.Object), c.Labels)
					continue
				}
				compiled++
				if len(Explain(set, c, someDay).Rules) == 0 {
					t.Errorf("%s: nothing to explain of %s", page, v1alpha1.ID(d.Object))
				}
			}
			if strings.HasSuffix(page, "/evasion.md") {
				continue // policies of test programs, which nobody copies
			}
			for _, f := range Lint(set, nil, someDay) {
				if f.Code == "shadowed" || f.Code == "no-effect" || f.Code == "conflict" || f.Code == "overlap" || f.Code == "says-nothing" {
					t.Errorf("a reader would copy this: %s", f)
				}
			}
		}
	}
	if shown < 8 || compiled < 5 {
		t.Errorf("only %d examples were found, %d of them policies", shown, compiled)
	}
}

// yamlBlocks gives what stands between "```yaml" and "```".
func yamlBlocks(page string) []string {
	var out []string
	for {
		_, after, ok := strings.Cut(page, "```yaml\n")
		if !ok {
			return out
		}
		block, remainder, _ := strings.Cut(after, "```")
		out = append(out, block)
		page = remainder
	}
}

// TestExamples loads docs/examples as one set: no fault, no warning but those
// about kernels, and every test passes.
func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../docs/examples/*.yaml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("examples: %v %v", paths, err)
	}
	var files []File
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: p, Data: raw})
	}
	set, errs := Load(files)
	for _, err := range errs {
		t.Error(err)
	}
	for _, f := range Lint(set, nil, someDay) {
		if f.Code != "needs-lsm" {
			t.Error(f)
		}
	}
	results := RunTests(set, someDay, nil)
	for _, r := range results {
		if !r.Pass {
			t.Errorf("%s:%d: %s: %s", r.File, r.Line, r.Name, r.Why)
		}
	}
	if len(results) < 30 {
		t.Errorf("only %d cases", len(results))
	}
}
