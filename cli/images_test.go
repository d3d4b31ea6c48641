package cli_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/cli"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
)

// TestImages asks a console over a made-up node.
func TestImages(t *testing.T) {
	s, w := consoletest.Start(t, console.Config{}, time.Now)
	t.Setenv("GABION_SOCKET", s.Socket())
	run := func(want int, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := cli.Main(append([]string{"gabion", "images"}, args...), strings.NewReader(""), &out, &errs); got != want {
			t.Fatalf("gabion images %v: exit %d, want %d\n%s%s", args, got, want, out.String(), errs.String())
		}
		return out.String(), errs.String()
	}
	has := func(text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("no %q in\n%s", p, text)
			}
		}
	}
	out, notes := run(0)
	has(out, "PRIORITY", "careless/dashboard:latest (+1)", "INCOMPLETE", "not allowed")
	has(notes, "ScanTarget ops-registry: read catalogue", "1 image runs here and was never scanned")
	if first := strings.Split(out, "\n")[1]; !strings.Contains(first, "dashboard") {
		t.Errorf("the most urgent is not first: %s", first)
	}
	out, _ = run(0, "--kev", "-o", "json")
	var list console.ImageList
	if err := json.Unmarshal([]byte(out), &list); err != nil || list.Total != 1 || list.Items[0].Exploited != 2 {
		t.Errorf("exploited: %+v, %v", list, err)
	}
	if out, _ = run(0, "postgres"); strings.Contains(out, "dashboard") {
		t.Errorf("not filtered:\n%s", out)
	}

	out, _ = run(0, "show", "dashboard")
	has(out, "upgrade Maven", "beyond what ops-registry allows", "CVE-2021-44228", "secret: Private key", "runs in   ops/dashboard", "check failed:")
	out, _ = run(0, "show", consoletest.OrdersDB)
	has(out, "INCOMPLETE", "nothing in this layer was examined")
	_, notes = run(1, "show", "registry.shop")
	has(notes, "2 images have", "name one")
	_, notes = run(1, "show", "nothing-like-it")
	has(notes, "gabion images scan nothing-like-it")

	_, notes = run(0, "scan", "registry.example/app:1")
	has(notes, "will be scanned")
	_, notes = run(1, "scan", "dir:/etc")
	has(notes, "names a file of this machine")
	run(2, "scan")
	run(2, "scan", "x", "--container", "y")

	w.Images.Forget()
	out, notes = run(0)
	has(notes, "no image was scanned yet")
	if out != "" {
		t.Errorf("printed %q", out)
	}
}
