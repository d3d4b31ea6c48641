package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestBrowserOverRealContainers signs in with the printed link in a real
// browser and does what a person does; the container feels it for real.
func TestBrowserOverRealContainers(t *testing.T) {
	ui := "../../ui"
	_, err := os.Stat(filepath.Join(ui, "node_modules/playwright-core"))
	testkit.Require(t, "browser", err == nil, "npm ci in ui")
	_, err = os.Stat("/usr/bin/chromium")
	testkit.Require(t, "browser", err == nil, "Debian's package chromium")
	m := need(t)
	m.policy("web.yaml", strings.Replace(lockdown, "mode: Protect", "mode: Monitor", 1))
	c := m.container("web", nil, "/bin/sleep", "600")
	m.container("other", nil, "/bin/sleep", "600")
	m.state("web", "monitored")
	ran := func() bool { out, _ := m.sh(c, "/opt/echo ran"); return strings.Contains(out, "ran") }
	if !ran() {
		t.Error("in Monitor it is blocked")
	}
	link := regexp.MustCompile(`https://\S+/signin#\S+`).FindString(m.g.Log())
	given, err := json.Marshal(map[string]string{"url": strings.Split(link, "/signin")[0], "link": link, "shots": os.Getenv("GABION_SHOTS")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.ctx, 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "test/real.mjs")
	cmd.Dir = ui
	cmd.Env = append(os.Environ(), "GABION_REAL="+string(given))
	var errs strings.Builder
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var done []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		what := lines.Text()
		done = append(done, what)
		switch what {
		case "promoted":
			m.state("web", "enforced")
		case "deny":
			if ran() {
				t.Error("after one click to Protect it ran")
			}
		case "quarantined":
			if w := m.state("web", "enforced"); !w.Quarantined {
				t.Error("it is not quarantined")
			}
		case "released":
			if w := m.state("web", "enforced"); w.Quarantined {
				t.Error("undo did not release it")
			}
		}
		if _, err := io.WriteString(in, "done\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("after %v: %v\n%s", done, err, errs.String())
	}
	if got := fmt.Sprint(done); got != "[promoted deny quarantined released]" {
		t.Errorf("did %s", got)
	}
}
