package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/testkit"
)

func TestAFullDiskNeverStopsEnforcement(t *testing.T) {
	m := need(t)
	if err := m.g.Stop(); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(m.cfg.Dir, "data")
	err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=64m")
	testkit.Require(t, "tmpfs", err == nil, fmt.Sprintf("mount a small tmpfs: %v", err))
	m.up()
	t.Cleanup(func() {
		if err := m.g.Stop(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(data, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	m.policy("web.yaml", lockdown)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")

	ballast := filepath.Join(data, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for err == nil {
		_, err = f.Write(block)
	}
	f.Close()
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	out, _ := m.sh(c, `i=0; while [ $i -lt 50 ]; do /opt/echo escaped; [ $? = 137 ] || echo "attempt $i"; i=$((i+1)); done 2>/dev/null; echo end`)
	if strings.TrimSpace(out) != "end" {
		t.Errorf("on a full disk something got through: %q", out)
	}
	// A container that starts now is covered too.
	var printed strings.Builder
	if st := m.container("web", &printed, "/opt/echo", "first").Wait(); st.Signal == 0 || printed.Len() > 0 {
		t.Errorf("a new container on a full disk: %s, printed %q", st, printed.String())
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e := m.event("the count after room was made", func(e event.Event) bool { return e.Path == "/opt/echo" && e.Effect == event.Blocked && e.Count >= 50 })
	if e.Count != 50 {
		t.Errorf("count %d, want exactly 50", e.Count)
	}
}

func TestAnExceptionEndsAtItsMoment(t *testing.T) {
	m := need(t)
	m.policy("web.yaml", lockdown)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.state("web", "enforced")
	until := time.Now().Add(6 * time.Second).UTC().Truncate(time.Second)
	m.policy("exception.yaml", fmt.Sprintf(`apiVersion: gabion.dev/v1alpha1
kind: Exception
metadata: {name: debugging, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules: {process: [{path: /opt/echo}]}
  owner: someone@shop.example
  reason: an afternoon of debugging
  expiresAt: %s
`, until.Format(time.RFC3339)))
	ran := false
	for time.Now().Before(until.Add(-500 * time.Millisecond)) {
		if out, _ := m.sh(c, "/opt/echo ran"); strings.Contains(out, "ran") {
			ran = true
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !ran {
		t.Error("the exception allowed nothing before its end")
	}
	time.Sleep(time.Until(until.Add(500 * time.Millisecond)))
	if out, _ := m.sh(c, "/opt/echo ran"); strings.Contains(out, "ran") {
		t.Error("half a second past its date the exception still holds")
	}
}

func TestStrictestModeAndLearnTogether(t *testing.T) {
	m := need(t)
	c := m.container("web", nil, "/bin/sleep", "600")
	m.policy("web.yaml", lockdown)
	m.policy("learn.yaml", strings.NewReplacer("name: web,", "name: also,", "mode: Protect", "mode: Learn", "/bin/ls}", "/opt/echo}").Replace(lockdown))
	w := m.state("web", "enforced")
	if len(w.Policies) != 2 {
		t.Fatalf("policies %v", w.Policies)
	}
	// Allows add up, the strictest mode wins.
	if out, _ := m.sh(c, "/opt/echo ran; /bin/ls / >/dev/null && echo listed; /bin/id"); !strings.Contains(out, "ran") || !strings.Contains(out, "listed") || strings.Contains(out, "uid=") {
		t.Errorf("got %q", out)
	}
}
