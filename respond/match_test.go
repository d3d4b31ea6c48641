package respond_test

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/respond"
)

func TestCheckCEL(t *testing.T) {
	good := []string{
		`true`,
		`event.kind == "process.drift" && event.severityRank >= 3`,
		`event.kind.startsWith("process.") && event.effect in ["blocked", "not-blocked"]`,
		`event.process.args.exists(a, a.contains("http://")) || event.peer.port == 3333`,
		`event.peer.addr == "10.0.0.1" && event.peer.workload.name == ""`,
		`"T1496" in event.technique && event.count > 10`,
		`event.path.matches("^/tmp/.*$") && "not-listed" in event.reasons`,
		`event.rule.policy == "WorkloadPolicy/shop/checkout" && event.rule.line > 0`,
		`"key" in event.evidence && event.evidence["key"] == "x"`,
		`event.last - event.first < duration("1m")`,
		`event.message.lowerAscii().contains("curl")`,
	}
	for _, expr := range good {
		if err := respond.CheckCEL(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	bad := map[string]string{
		``:                                "",
		`event.knd == "x"`:                "knd",
		`event.kind == 3`:                 "line 1",
		`event.kind`:                      "not true or false",
		`evnt.kind == "x"`:                "evnt",
		`event.kind == `:                  "line 1",
		`event.path.matches("(")`:         "regexp",
		`event.process.nope == ""`:        "nope",
		strings.Repeat("(", 500) + "true": "",
		strings.Repeat("true && ", 9000) + "true": "",
	}
	for expr, want := range bad {
		if err := respond.CheckCEL(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q gave %v, want something with %q", expr, err, want)
		}
	}
}

func FuzzCheckCEL(f *testing.F) {
	f.Add(`event.kind == "process.drift" && event.severityRank >= 3`)
	f.Add(`event.process.args.exists(a, a.matches("^x+$"))`)
	f.Add(`[1,2].map(x, x*2)`)
	f.Fuzz(func(_ *testing.T, expr string) { _ = respond.CheckCEL(expr) })
}
