package matrix

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/guard"
)

func TestPage(t *testing.T) {
	got := string(Page([]Column{
		{Name: "6.12", Release: "6.12.1", LSM: "landlock,bpf", Answer: Answer{
			Features: []guard.Feature{{Name: "one", Works: true}, {Name: "two", Detail: "load:\n refused"}, {Name: "three", Detail: "load: refused"}},
			Backends: []guard.Feature{{Name: "b", Works: true}},
		}, Suites: []Suite{{Package: "guard/kernel", Passed: 3, Failed: 1, Skipped: 2}}},
		{Name: "6.1", Release: "6.1.9", LSM: "landlock", Answer: Answer{
			Features: []guard.Feature{{Name: "one", Detail: "missing"}},
			Backends: []guard.Feature{{Name: "b", Detail: "one: missing"}},
		}},
	}))
	for _, want := range []string{
		"| 6.12 | 6.12.1 | landlock, bpf |\n",
		"| feature | 6.1 | 6.12 |\n|---|---|---|\n",
		"| one | no (1) | works |\n",
		"| two | not tried | no (2) |\n",
		"| three | not tried | no (2) |\n", // the same reason, told once
		"| b | not active (3) | active |\n",
		"1. missing\n2. load: refused\n3. one: missing\n",
		"| `guard/kernel` | - | 3 of 4, 2 skipped |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("page lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(string(Page(nil)), "Why not") {
		t.Error("reasons without refusals")
	}
}
