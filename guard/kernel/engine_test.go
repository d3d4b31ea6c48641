package kernel

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

func TestSlice(t *testing.T) {
	image := newImage(t)
	b, other := sleeper(t, image), sleeper(t, image)
	e := start(t, Config{})
	if out, code := b.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Fatalf("before: %q %d", out, code)
	}
	cov := e.mustApply(t, b, makePlan(policy.ProcessPlan{Mode: v1alpha1.Protect, Listed: true, Allow: []policy.ExecRule{file("/usr/bin/app"), file("/bin/sh")}}))
	t.Logf("%+v", cov)
	if out, code := b.exec("/usr/bin/app"); code != 0 || out != "app\n" {
		t.Errorf("allowed program: %q %d", out, code)
	}
	if out, code := b.exec("/usr/bin/tool"); code == 0 || strings.Contains(out, "tool") {
		t.Errorf("unlisted program: %q %d", out, code)
	}
	if out, code := other.exec("/usr/bin/tool"); code != 0 || out != "tool\n" {
		t.Errorf("other container: %q %d", out, code)
	}
	e.denied(t, 1, anyDenial)
	for _, d := range e.sink.all() {
		t.Logf("%+v", d)
	}
	for _, o := range e.sink.seen {
		t.Logf("%+v", o)
	}
}
