package content

import (
	"strings"
	"testing"
)

func TestRuntimeSockets(t *testing.T) {
	all, err := RuntimeSockets()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range all {
		// Longer names fit no address of a unix socket (108 bytes).
		if s.Name == "" || s.Of == "" || len(s.Name) > 100 || strings.Contains(s.Name, "/") || seen[s.Name] {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
	}
	for _, name := range []string{"docker.sock", "containerd.sock", "crio.sock", "kubelet.sock"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}
