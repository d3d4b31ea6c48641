package v1alpha1

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEncode writes every valid document of the scripts and reads it back.
func TestEncode(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/valid.txtar")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range ar.Files {
		docs, _ := Decode(f.Name, f.Data)
		for _, d := range docs {
			n++
			first, err := Encode(d.Object, Comments{"spec": "a comment\nof two lines", "metadata.name": "short"})
			if err != nil {
				t.Fatal(err)
			}
			again, errs := Decode("again.yaml", first)
			if len(errs) > 0 || len(again) != 1 {
				t.Fatalf("%s cannot be read back: %v\n%s", ID(d.Object), errs, first)
			}
			if diff := cmp.Diff(d.Object, again[0].Object); diff != "" {
				t.Errorf("%s (-wrote +read)\n%s", ID(d.Object), diff)
			}
			if !bytes.Contains(first, []byte("# a comment\n# of two lines\nspec:")) || !bytes.Contains(first, []byte(" # short\n")) {
				t.Errorf("comments are missing:\n%s", first)
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d documents", n)
	}
}

func TestEncodeText(t *testing.T) {
	// What looks like another type, or like syntax, is still read back as text.
	for _, s := range []string{"true", "1.0", "null", "~", "2026-11-24", "- x", "# x", "a: b", "x\ny", " x ", "", "\"", "'", "@x", "0x10", "é", "{}", "*a", "&a", "!x", "|"} {
		p := &WorkloadPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: "a"},
			Spec:       WorkloadPolicySpec{Selector: Selector{MatchLabels: map[string]string{"k": s}}},
		}
		raw, err := Encode(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		docs, errs := Decode("a.yaml", raw)
		if len(errs) > 0 {
			t.Errorf("%q: %v\n%s", s, errs[0], raw)
			continue
		}
		if got := docs[0].Object.(*WorkloadPolicy).Spec.Selector.MatchLabels["k"]; got != s {
			t.Errorf("%q is read back as %q", s, got)
		}
	}
}

func TestBounds(t *testing.T) {
	head := "apiVersion: gabion.dev/v1alpha1\nkind: WorkloadPolicy\nmetadata: {name: a}\nspec:\n  selector: {}\n  process:\n    allow:\n"
	rules := func(n int) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			fmt.Fprintf(&b, "    - {path: /opt/p%d}\n", i)
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, text, want string
	}{
		{"file", strings.Repeat("#\n", MaxFileBytes/2+1), "a.yaml: file has 10000002 bytes, more than the limit of 10000000 (split it into several files)"},
		{"document", head + strings.Repeat("    - {path: /x}\n", MaxDocumentBytes/16), "a.yaml:1:1: document has 1114228 bytes, more than the limit of 1048576 (split it into several policies; what they allow adds up)"},
		{"documents", strings.Repeat("---\n", MaxDocuments+1), "a.yaml: file has more than 4096 documents (split it into several files)"},
		{"items", rules(MaxItems + 1), "a.yaml:8:5: spec.process.allow: has 4097 entries, more than the limit of 4096 (split the policy)"},
		{"path", head + "    - {path: /" + strings.Repeat("x/", MaxPathBytes/2) + "}\n", "a.yaml:8:14: spec.process.allow[0].path: path has 4097 bytes, more than the limit of 4096"},
		{"name in path", head + "    - {path: /" + strings.Repeat("x", 256) + "}\n", "a.yaml:8:14: spec.process.allow[0].path: a part of the path has 256 bytes; no file has a name over 255"},
		{"match", "apiVersion: gabion.dev/v1alpha1\nkind: ResponsePolicy\nmetadata: {name: a}\nspec:\n  match: '" + strings.Repeat("x", MaxMatchBytes+1) + "'\n  actions: [{kill: {}}]\n", "a.yaml:5:10: spec.match: has 8193 bytes, more than the limit of 8192"},
		{"arguments", head + "    - {path: /x, args: [" + strings.Repeat("a", 256) + "]}\n", "a.yaml:8:18: spec.process.allow[0].args: have 257 bytes together, more than the limit of 256 (shorten them with \"*\")"},
		{"patterns", head + "    - {path: /x, args: [" + strings.Repeat("a,", 65) + "]}\n", "a.yaml:8:18: spec.process.allow[0].args: has 65 entries, more than the limit of 64"},
		{"users", head + "    - {path: /x, users: [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}\n", "a.yaml:8:18: spec.process.allow[0].users: has 17 entries, more than the limit of 16 (make several rules of it)"},
		{"parents", head + "    - {path: /x, parents: [" + strings.Repeat("/a,", 65) + "]}\n", "a.yaml:8:18: spec.process.allow[0].parents: has 65 entries, more than the limit of 64 (make several rules of it)"},
		{"exemptions", head + "      []\n  hardening:\n    preset: Baseline\n    exempt: [" + strings.Repeat("{switch: mount, by: [/a]},", 65) + "]\n", "a.yaml:11:5: spec.hardening.exempt: has 65 entries, more than the limit of 64 (make several rules of it)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, errs := Decode("a.yaml", []byte(tt.text))
			if len(docs) != 0 || len(errs) != 1 || errs[0].Error() != tt.want {
				t.Errorf("%d documents, errors %v\nwant %s", len(docs), errs, tt.want)
			}
		})
	}
	if docs, errs := Decode("a.yaml", []byte(rules(MaxItems))); len(docs) != 1 || len(errs) > 0 {
		t.Errorf("a policy at the limit is refused: %v", errs)
	}
	var many strings.Builder
	many.WriteString(head)
	for range MaxErrors + 50 {
		many.WriteString("    - {}\n")
	}
	_, errs := Decode("a.yaml", []byte(many.String()))
	if len(errs) != MaxErrors+1 || errs[MaxErrors].Error() != "a.yaml: 50 more errors" {
		t.Errorf("%d errors, the last: %v", len(errs), errs[len(errs)-1])
	}
}

func TestValidator(t *testing.T) {
	docs, errs := Decode("a.yaml", []byte("apiVersion: gabion.dev/v1alpha1\nkind: ResponsePolicy\nmetadata: {name: a}\nspec:\n  match: nonsense(\n  actions: [{kill: {}}]\n"),
		func(o Object) []*Error {
			return []*Error{{Field: "spec.match", Reason: "does not compile", Hint: "see the reference"}}
		})
	if len(docs) != 0 || len(errs) != 1 || errs[0].Error() != "a.yaml:5:10: spec.match: does not compile (see the reference)" {
		t.Errorf("%d documents, errors %v", len(docs), errs)
	}
}

func TestValidate(t *testing.T) {
	e := &Exception{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: ExceptionSpec{
		Selector: &Selector{}, Rules: ExceptionRules{Process: []ProcessRule{{Path: "/x"}}}, Owner: "o", Reason: "r",
	}}
	errs := Validate(e)
	if len(errs) != 1 || errs[0].Field != "spec.expiresAt" {
		t.Errorf("errors %v", errs)
	}
	e.Spec.ExpiresAt = metav1.NewTime(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	if errs := Validate(e); len(errs) > 0 {
		t.Error(errs[0])
	}
}

func TestNearest(t *testing.T) {
	words := []string{"Learn", "Monitor", "Protect"}
	for word, want := range map[string]string{
		"protct": "Protect", "PROTECT": "Protect", "moniotr": "Monitor", "lern": "Learn", "x": "", "enforce": "",
		strings.Repeat("p", 100): "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestID(t *testing.T) {
	for _, tt := range []struct {
		object Object
		want   string
	}{
		{&WorkloadPolicy{TypeMeta: metav1.TypeMeta{Kind: KindWorkloadPolicy}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "WorkloadPolicy/default/a"},
		{&ClusterWorkloadPolicy{TypeMeta: metav1.TypeMeta{Kind: KindClusterWorkloadPolicy}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "ClusterWorkloadPolicy/a"},
		{&Exception{TypeMeta: metav1.TypeMeta{Kind: KindException}, ObjectMeta: metav1.ObjectMeta{Name: "a"}}, "Exception/a"},
		{&Exception{TypeMeta: metav1.TypeMeta{Kind: KindException}, ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "n"}}, "Exception/n/a"},
	} {
		if got := ID(tt.object); got != tt.want {
			t.Errorf("ID = %q, want %q", got, tt.want)
		}
	}
}

// FuzzDecode checks that no bytes make the decoder fail, that every error has
// a reason, and that what is accepted can be written and read back unchanged.
func FuzzDecode(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, p := range paths {
		ar, err := txtar.ParseFile(p)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			f.Add(file.Data)
		}
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, errs := Decode("fuzz.yaml", data)
		for _, e := range errs {
			if e.Reason == "" || e.File != "fuzz.yaml" {
				t.Fatalf("an error says nothing: %+v", e)
			}
			if lines := bytes.Count(data, []byte("\n")) + 2; e.Line > lines {
				t.Fatalf("%v is beyond the %d lines of the file", e, lines)
			}
		}
		for _, d := range docs {
			raw, err := Encode(d.Object, nil)
			if err != nil {
				t.Fatal(err)
			}
			again, errs := Decode("again.yaml", raw)
			if len(errs) > 0 || len(again) != 1 {
				t.Fatalf("cannot be read back: %v\n%s", errs, raw)
			}
			if diff := cmp.Diff(d.Object, again[0].Object); diff != "" {
				t.Fatalf("(-wrote +read)\n%s", diff)
			}
		}
	})
}

func ExampleDecode() {
	_, errs := Decode("checkout.yaml", []byte(`apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: checkout, namespace: shop}
spec:
  selector: {matchLabels: {app: checkout}}
  mode: Enforce
  process:
    alow: [{path: /usr/bin/node}]
`))
	for _, e := range errs {
		fmt.Println(e)
	}
	// Output:
	// checkout.yaml:6:9: spec.mode: "Enforce" is not one of Learn, Monitor, Protect (known here: Learn, Monitor, Protect)
	// checkout.yaml:8:5: spec.process.alow: unknown field (did you mean "allow"?)
}
