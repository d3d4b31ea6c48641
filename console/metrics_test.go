package console_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
)

// Metrics need no sign-in, so they have numbers and name no workload.
func TestMetrics(t *testing.T) {
	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	got := string(browser(t, s).want(200, "GET", "/metrics", nil).body)
	for _, line := range []string{
		`gabion_kernel_records{ring="denials"} 3`,
		`gabion_kernel_records{ring="observations"} 412`,
		`gabion_kernel_records_lost{ring="observations"} 12`,
		`gabion_kernel_records_lost{ring="denials"} 0`,
		`gabion_unit_ok{unit="firewall"} 0`,
		`gabion_unit_ok{unit="bus"} 1`,
		"# TYPE gabion_containers gauge",
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("metrics lack %q:\n%s", line, got)
		}
	}
	if strings.Contains(got, "orders-db") {
		t.Errorf("metrics name a workload:\n%s", got)
	}
}
