package testkit

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Registry is a registry of the test's own: the program that most of the world
// runs, not one in process.
type Registry struct {
	Host string // "127.0.0.1:port", plain HTTP
	dir  string
	cmd  *exec.Cmd
}

// StartRegistry starts an empty registry on loopback; extra is added to its
// configuration (YAML). It is stopped when the test ends. It needs the
// capability "registry".
func StartRegistry(t testing.TB, extra string) *Registry {
	t.Helper()
	_, err := exec.LookPath("docker-registry")
	Require(t, "registry", err == nil, "docker-registry is not installed (Debian: docker-registry)")
	r := &Registry{dir: shortDir(t)}
	// The port is free now; nobody else is likely to take it before the registry.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Host = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\n  delete:\n    enabled: true\nhttp:\n  addr: %s\n%s",
		filepath.Join(r.dir, "data"), r.Host, extra)
	file := filepath.Join(r.dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	r.cmd = daemon(t, r.dir, "docker-registry", "serve", file)
	t.Cleanup(func() { stopDaemon(t, r.cmd) })
	Eventually(t, "the registry answers", func() bool {
		resp, err := http.Get("http://" + r.Host + "/v2/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	return r
}
