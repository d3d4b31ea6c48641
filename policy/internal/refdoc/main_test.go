package main

import (
	"os"
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

func TestPageIsCurrent(t *testing.T) {
	page, err := generate("../../../api/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../../docs/reference/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != string(committed) {
		t.Error("docs/reference/policy.md is not what the types say: run go generate ./policy")
	}
	for _, k := range v1alpha1.Kinds() {
		if !strings.Contains(string(page), "\n## "+k+"\n") {
			t.Errorf("kind %s is missing", k)
		}
	}
	for line := range strings.SplitSeq(string(page), "\n") {
		if strings.HasPrefix(line, "| `") && strings.HasSuffix(line, "|  |") {
			t.Errorf("a field without a comment: %s", line)
		}
	}
}
