package workload

import (
	"strings"
	"testing"
)

func TestSelectorMatches(t *testing.T) {
	c := &Container{
		Name:           "server",
		Workload:       Ref{Namespace: "shop", Name: "checkout"},
		ServiceAccount: "checkout-sa",
		Image:          "docker.io/library/node:22-slim@sha256:00ff",
		Labels:         map[string]string{"app": "checkout", "tier": "web"},
	}
	tests := []struct {
		name string
		sel  Selector
		want bool
	}{
		{"empty matches all", Selector{}, true},
		{"label", Selector{Labels: map[string]string{"app": "checkout"}}, true},
		{"label of another value", Selector{Labels: map[string]string{"app": "cart"}}, false},
		{"label with empty value is not a missing label", Selector{Labels: map[string]string{"none": ""}}, false},
		{"in", Selector{Expressions: []Requirement{{"tier", In, []string{"db", "web"}}}}, true},
		{"in, label missing", Selector{Expressions: []Requirement{{"zone", In, []string{""}}}}, false},
		{"not in", Selector{Expressions: []Requirement{{"tier", NotIn, []string{"web"}}}}, false},
		{"not in, label missing", Selector{Expressions: []Requirement{{"zone", NotIn, []string{"a"}}}}, true},
		{"exists", Selector{Expressions: []Requirement{{"tier", Exists, nil}}}, true},
		{"does not exist", Selector{Expressions: []Requirement{{"tier", DoesNotExist, nil}}}, false},
		{"unknown operator matches nothing", Selector{Expressions: []Requirement{{"tier", "Like", nil}}}, false},
		{"namespace", Selector{Namespaces: []string{"sh*"}}, true},
		{"other namespace", Selector{Namespaces: []string{"data"}}, false},
		{"workload", Selector{Workloads: []string{"cart", "check*"}}, true},
		{"container", Selector{Containers: []string{"sidecar"}}, false},
		{"service account", Selector{ServiceAccounts: []string{"*-sa"}}, true},
		{"image short", Selector{Images: []string{"node"}}, true},
		{"image short with tag", Selector{Images: []string{"node:22-*"}}, true},
		{"image full", Selector{Images: []string{"docker.io/library/node:22-slim"}}, true},
		{"image by digest", Selector{Images: []string{"**@sha256:00ff"}}, true},
		{"star stays in its segment", Selector{Images: []string{"docker.io/*"}}, false},
		{"two stars do not", Selector{Images: []string{"docker.io/**"}}, true},
		{"all parts must match", Selector{Labels: map[string]string{"app": "checkout"}, Containers: []string{"x"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.sel.Matches(c); got != tt.want {
				t.Errorf("Matches = %v, want %v", got, tt.want)
			}
		})
	}
	if (&Selector{Images: []string{"**"}}).Matches(&Container{}) {
		t.Error("a container without an image matches an image pattern")
	}
}

func TestMatchImagePort(t *testing.T) {
	c := &Container{Image: "registry.local:5000/team/app"}
	if !(&Selector{Images: []string{"registry.local:5000/team/app"}}).Matches(c) {
		t.Error("a registry's port was taken for a tag")
	}
	if (&Selector{Images: []string{"registry.local"}}).Matches(c) {
		t.Error("the registry alone matches")
	}
}

func TestSelectorValidate(t *testing.T) {
	s := Selector{
		Labels: map[string]string{"": "x"},
		Expressions: []Requirement{
			{"", In, nil}, {"a", Exists, []string{"v"}}, {"a", "Like", nil},
		},
		Images: []string{""},
	}
	var got []string
	for _, err := range s.Validate() {
		got = append(got, err.Error())
	}
	want := []string{
		"matchLabels: a label has an empty name",
		"matchExpressions[0].key: must name a label",
		"matchExpressions[0].values: operator In needs at least one value",
		"matchExpressions[1].values: operator Exists takes no values",
		`matchExpressions[2].operator: "Like" is not one of In, NotIn, Exists, DoesNotExist`,
		"images[0]: is empty and would match nothing",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("a*b**c", "axb/y/c")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern)*len(s) > 1<<20 {
			return
		}
		MatchGlob(pattern, s)
		if !MatchGlob("**", s) {
			t.Errorf("** does not match %q", s)
		}
		if !strings.Contains(s, "*") && !MatchGlob(s, s) {
			t.Errorf("%q does not match itself", s)
		}
	})
}
