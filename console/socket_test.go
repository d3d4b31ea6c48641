package console_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
	"github.com/gabion-dev/gabion/internal/testkit"
)

// TestSocketKnowsItsPeer connects as another user: the mode of the socket is
// opened on purpose, so that only the peer's credentials are left to decide.
func TestSocketKnowsItsPeer(t *testing.T) {
	testkit.RequireRoot(t)
	dir, err := os.MkdirTemp("", "gabiontest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	_, w := consoletest.Start(t, console.Config{Socket: path}, time.Now)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, %v; want 0600", st.Mode(), err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	got := make(chan dialed)
	go func() {
		// The thread becomes another user and ends with this goroutine.
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			got <- dialed{nil, errno}
			return
		}
		c, err := net.Dial("unix", path)
		got <- dialed{c, err}
	}()
	d := <-got
	if d.err != nil {
		t.Fatal(d.err)
	}
	defer d.conn.Close()
	if err := d.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("GET", "http://gabion/api/v1/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Write(d.conn); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(d.conn), req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("user 65534 gets %d, want 403", res.StatusCode)
	}
	audit(t, w, "user id 65534 may not use this socket")
}
