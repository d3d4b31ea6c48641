package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Containerd is a containerd of the test's own.
type Containerd struct {
	Socket string
	dir    string
	cmd    *exec.Cmd
}

// StartContainerd starts a containerd with directories and socket of its own,
// holding BusyboxImage in the namespaces named ("default" when none is). It is
// stopped, with all its containers, when the test ends. It needs the
// capabilities "root", "containerd" and "busybox".
func StartContainerd(t testing.TB, namespaces ...string) *Containerd {
	t.Helper()
	return startContainerd(t, `disabled_plugins = ["io.containerd.grpc.v1.cri"]`, namespaces)
}

// StartCRI is StartContainerd with the Container Runtime Interface served on
// the same socket. Pods must be on the host's network: there is no CNI.
func StartCRI(t testing.TB) *Containerd {
	t.Helper()
	return startContainerd(t, fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = %q\n  disable_apparmor = true\n  restrict_oom_score_adj = true\n", BusyboxImage), []string{"k8s.io"})
}

func startContainerd(t testing.TB, plugins string, namespaces []string) *Containerd {
	t.Helper()
	RequireRoot(t)
	for _, name := range []string{"containerd", "ctr", "runc"} {
		_, err := exec.LookPath(name)
		Require(t, "containerd", err == nil, name+" is not installed (Debian: containerd, runc)")
	}
	image := BusyboxImageTar(t)
	dir := shortDir(t)
	c := &Containerd{Socket: filepath.Join(dir, "c.sock"), dir: dir}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\n%s\n[grpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), plugins, c.Socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.RemoveAll(t)
		c.Stop(t)
	})
	c.Start(t)
	if len(namespaces) == 0 {
		namespaces = []string{"default"}
	}
	for _, ns := range namespaces {
		c.Ctr(t, "-n", ns, "images", "import", image)
	}
	return c
}

// Start runs the daemon (again).
func (c *Containerd) Start(t testing.TB) {
	t.Helper()
	c.cmd = daemon(t, c.dir, "containerd", "--config", filepath.Join(c.dir, "config.toml"))
	Eventually(t, "containerd answers", func() bool {
		return exec.Command("ctr", "-a", c.Socket, "version").Run() == nil
	})
}

// Stop ends the daemon; containers live on.
func (c *Containerd) Stop(t testing.TB) {
	t.Helper()
	stopDaemon(t, c.cmd)
	c.cmd = nil
}

// Ctr runs containerd's own client and returns what it prints.
func (c *Containerd) Ctr(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.TryCtr(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryCtr is Ctr for what may fail, and for other goroutines.
func (c *Containerd) TryCtr(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"-a", c.Socket}, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// RemoveAll kills and removes all containers of the daemon.
func (c *Containerd) RemoveAll(t testing.TB) {
	if c.cmd == nil {
		c.Start(t)
	}
	namespaces, err := c.TryCtr("namespaces", "list", "-q")
	if err != nil {
		t.Error(err)
	}
	for _, ns := range strings.Fields(namespaces) {
		ids, err := c.TryCtr("-n", ns, "containers", "list", "-q")
		if err != nil {
			t.Error(err)
		}
		for _, id := range strings.Fields(ids) {
			_, _ = c.TryCtr("-n", ns, "tasks", "delete", "--force", id) // there may be none
			if _, err := c.TryCtr("-n", ns, "containers", "delete", id); err != nil {
				t.Error(err)
			}
		}
	}
}

// Dockerd is a Docker daemon of the test's own.
type Dockerd struct {
	Socket string
	// ContainerdSocket is that of the containerd below it.
	ContainerdSocket string
	dir              string
	cmd              *exec.Cmd
	client           *http.Client
}

// StartDockerd starts a Docker daemon with directories and socket of its own,
// without a bridge and without touching the packet filter, holding
// BusyboxImage. It is stopped, with all its containers, when the test ends. It
// needs the capabilities "root", "docker" and "busybox".
func StartDockerd(t testing.TB) *Dockerd {
	t.Helper()
	RequireRoot(t)
	_, err := exec.LookPath("dockerd")
	Require(t, "docker", err == nil, "dockerd is not installed (Debian: docker.io)")
	image := BusyboxImageTar(t)
	dir := shortDir(t)
	d := &Dockerd{
		Socket: filepath.Join(dir, "d.sock"), ContainerdSocket: filepath.Join(dir, "exec/containerd/containerd.sock"), dir: dir,
	}
	d.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.Socket)
	}}}
	t.Cleanup(func() {
		d.RemoveAll(t)
		d.client.CloseIdleConnections()
		d.Stop(t)
	})
	d.Start(t)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := d.Do(http.MethodPost, "/images/load", f); err != nil {
		t.Fatal(err)
	}
	return d
}

// Start runs the daemon (again).
func (d *Dockerd) Start(t testing.TB) {
	t.Helper()
	// An earlier run may have left its number.
	_ = os.Remove(filepath.Join(d.dir, "pid"))
	d.cmd = daemon(t, d.dir, "dockerd", "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"-H", "unix://"+d.Socket, "--pidfile", filepath.Join(d.dir, "pid"), "--iptables=false", "--ip-forward=false", "--bridge=none", "--live-restore")
	Eventually(t, "dockerd answers", func() bool {
		_, err := d.Do(http.MethodGet, "/_ping", nil)
		return err == nil
	})
}

// Stop ends the daemon; containers live on.
func (d *Dockerd) Stop(t testing.TB) {
	t.Helper()
	stopDaemon(t, d.cmd)
	d.cmd = nil
}

// Do sends a request to the daemon's API. A body that is no io.Reader is sent
// as JSON.
func (d *Dockerd) Do(method, path string, body any) ([]byte, error) {
	var r io.Reader
	kind := "application/x-tar"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r, kind = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequest(method, "http://docker"+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return answer, err
}

// Create makes a container of BusyboxImage that runs args and returns its id.
func (d *Dockerd) Create(t testing.TB, name string, labels map[string]string, args ...string) string {
	t.Helper()
	answer, err := d.Do(http.MethodPost, "/containers/create?name="+name, map[string]any{
		"Image": BusyboxImage, "Cmd": args, "Labels": labels, "HostConfig": map[string]any{"NetworkMode": "none"},
	})
	var c struct{ ID string }
	if err == nil {
		err = json.Unmarshal(answer, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// Run is Create and start.
func (d *Dockerd) Run(t testing.TB, name string, labels map[string]string, args ...string) string {
	t.Helper()
	id := d.Create(t, name, labels, args...)
	if _, err := d.Do(http.MethodPost, "/containers/"+id+"/start", nil); err != nil {
		t.Fatal(err)
	}
	return id
}

// RemoveAll kills and removes all containers of the daemon.
func (d *Dockerd) RemoveAll(t testing.TB) {
	if d.cmd == nil {
		d.Start(t)
	}
	answer, err := d.Do(http.MethodGet, "/containers/json?all=1", nil)
	var list []struct{ ID string }
	if err == nil {
		err = json.Unmarshal(answer, &list)
	}
	if err != nil {
		t.Error(err)
	}
	for _, c := range list {
		if _, err := d.Do(http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil); err != nil {
			t.Error(err)
		}
	}
}

// shortDir makes a temporary directory whose path leaves room for sockets. It
// is removed with all that is mounted below it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gabiontest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func unmountBelow(dir string) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	lines := strings.Split(string(b), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}

// daemon starts a program whose output is shown when the test fails.
func daemon(t testing.TB, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// Also when the tests are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if b, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("%s said last:\n%s", name, b[max(0, len(b)-2000):])
			}
		}
	})
	return cmd
}

func stopDaemon(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Errorf("%s did not stop when told to; killing it", cmd.Path)
		_ = cmd.Process.Kill()
		<-done
	}
}

// Eventually waits until ok is true, for at most a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute in vain: %s", what)
		}
	}
}
