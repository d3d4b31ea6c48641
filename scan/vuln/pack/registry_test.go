package pack

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestDistribution runs the same story against the registry that most others
// are made of (Debian's package docker-registry).
func TestDistribution(t *testing.T) {
	path, err := exec.LookPath("docker-registry")
	testkit.Require(t, "docker-registry", err == nil, "install docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", filepath.Join(dir, "data"), addr)
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "serve", filepath.Join(dir, "config.yml"))
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	answers := false
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			answers = true
			_ = c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !answers {
		t.Fatal("docker-registry does not answer")
	}
	conform(t, addr+"/team/advisories:v1", tr)
}

// TestCredentials: a registry that wants a password gets the one that was
// given, and a refusal says what to do.
func TestCredentials(t *testing.T) {
	const user = "reader"
	password := fmt.Sprint(time.Now().UnixNano()) // made here, worth nothing
	host, tr := inProcess(t, func(w http.ResponseWriter, r *http.Request, h http.Handler) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
	signer, keys := keyPair(t, 1)
	file := database(t, 10, 0)
	good := Remote{Transport: tr, Auth: &authn.Basic{Username: user, Password: password}, UserAgent: "gabion/test"}
	mustPush(t, file, host+"/db:v1", PushOptions{Remote: good, Signer: signer})
	o := options(tr, keys)
	o.Remote = good
	if _, err := (Place{t.TempDir()}).Update(t.Context(), host+"/db:v1", o); err != nil {
		t.Error(err)
	}
	o.Remote.Auth = authn.Anonymous
	if _, err := (Place{t.TempDir()}).Update(t.Context(), host+"/db:v1", o); !errors.Is(err, ErrDenied) {
		t.Errorf("without credentials: %v", err)
	}
}
