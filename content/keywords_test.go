package content

import (
	"maps"
	"slices"
	"testing"
)

// TestSecretKeywords holds that reading the keywords alone finds exactly those
// that reading everything finds.
func TestSecretKeywords(t *testing.T) {
	got, ok := SecretKeywords()
	if !ok {
		t.Fatal("a list of keywords in content/secrets is not written on one line, plain or in single quotation marks")
	}
	s, err := LoadSecrets()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, d := range s.Detectors {
		for _, k := range d.Keywords {
			want[k] = true
		}
	}
	slices.Sort(got)
	if got, want := slices.Compact(got), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
		t.Errorf("keywords alone: %q\nwith everything: %q", got, want)
	}
}

func TestFlowList(t *testing.T) {
	for text, want := range map[string][]string{
		"[a]":                {"a"},
		"[a, b c ,d]":        {"a", "b c", "d"},
		`['a''b', '"c"', d]`: {"a'b", `"c"`, "d"},
		`['\"auth\"']`:       {`\"auth\"`},
		"['a' , 'b']":        {"a", "b"},
		// refused
		"": nil, "a": nil, "[": nil, "[]": nil, "[a": nil, "['a": nil, "['a' b]": nil, `["a"]`: nil, "[a, ]": nil,
		"[a] # b": nil, "[a #b]": nil, "[*a]": nil, "[a: b]": nil, "[[a]]": nil, "- a": nil,
	} {
		got, ok := flowList(text)
		if !slices.Equal(got, want) || ok != (want != nil) {
			t.Errorf("flowList(%q) = %q, %v; want %q", text, got, ok, want)
		}
	}
}

func TestSecretsDigest(t *testing.T) {
	a, err := SecretsDigest()
	if err != nil {
		t.Fatal(err)
	}
	b, err := SecretsDigest()
	if err != nil || a != b || a == ([32]byte{}) {
		t.Errorf("%x, then %x: %v", a, b, err)
	}
}
