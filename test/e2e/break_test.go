package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestASecondGabionSaysWhatIsInTheWay starts it beside a first and expects it
// to end with a sentence, and the first to go on.
func TestASecondGabionSaysWhatIsInTheWay(t *testing.T) {
	m := need(t)
	listen := ""
	for _, f := range strings.Fields(m.g.Log()) {
		if a, ok := strings.CutPrefix(f, "https://127.0.0.1:"); ok && !strings.Contains(a, "/") {
			listen = "127.0.0.1:" + a
		}
	}
	if listen == "" {
		t.Fatalf("no address in\n%s", m.g.Log())
	}
	own := t.TempDir()
	file := filepath.Join(own, "notes.txt")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := m.cfg.Dir
	for _, tt := range []struct{ name, flag, value, want string }{
		{"same data", "--data", filepath.Join(first, "data"), "another gabion uses it"},
		{"same pins", "--pins", m.cfg.Pins, "another agent is running"},
		{"same socket", "--socket", filepath.Join(first, "sock"), "another process serves this socket"},
		{"same address", "--listen", listen, "--listen"},
		{"a file where the socket goes", "--socket", file, "no socket"},
		{"a file where the data goes", "--data", file, "not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := map[string]string{"--data": filepath.Join(own, "data"), "--pins": m.cfg.Pins + "-2", "--socket": filepath.Join(own, "sock"),
				"--listen": "127.0.0.1:0", "--policies": filepath.Join(own, "policies")}
			args[tt.flag] = tt.value
			line := []string{"up"}
			for k, v := range args {
				line = append(line, k, v)
			}
			var out strings.Builder
			cmd := exec.Command(binary, line...)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(out.String(), tt.want) {
					t.Errorf("it ended with %v and said\n%s", err, out.String())
				}
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Signal(os.Interrupt)
				<-done
				t.Errorf("it stayed up and said\n%s", out.String())
			}
		})
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("a person's file became %q (%v)", text, err)
	}
	if _, err := m.g.Workloads(m.ctx); err != nil {
		t.Errorf("the first does not go on: %v", err)
	}
}
