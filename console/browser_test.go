package console_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestBrowser runs the tests of ui/test in a real browser against a console
// that this test starts.
func TestBrowser(t *testing.T) {
	_, err := os.Stat("../ui/node_modules/playwright-core")
	testkit.Require(t, "browser", err == nil, "npm ci in ui")
	_, err = exec.LookPath("npm")
	testkit.Require(t, "browser", err == nil, "npm")
	_, err = os.Stat("/usr/bin/chromium")
	testkit.Require(t, "browser", err == nil, "Debian's package chromium")

	s, _ := consoletest.Start(t, console.Config{}, time.Now)
	given, err := json.Marshal(map[string]string{"url": "https://" + s.Addr(), "link": s.SignInLink(), "socket": s.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "test")
	cmd.Dir = "../ui"
	cmd.Env = append(os.Environ(), "GABION_CONSOLE="+string(given))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("npm test: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}
