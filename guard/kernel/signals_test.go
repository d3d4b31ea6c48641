package kernel

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard"
)

// terminal makes a pseudo terminal and gives the side that a program gets.
func terminal(t *testing.T) *os.File {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return theirs
}

// connection is one end of a TCP connection.
func connection(t *testing.T) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestSignals starts programs in the ways that detections ask for.
func TestSignals(t *testing.T) {
	image := newImage(t)
	suid := filepath.Join(image, "usr/bin/suid")
	if err := os.WriteFile(suid, tinyELF("suid\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(suid, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	b := sleeper(t, image)
	e := start(t, Config{})
	e.mustApply(t, b, nil)
	signals := func(args string) []string {
		t.Helper()
		var out []string
		eventually(t, args, func() bool {
			e.sink.mu.Lock()
			defer e.sink.mu.Unlock()
			i := slices.IndexFunc(e.sink.seen, func(o guard.Observation) bool { return strings.Join(o.Process.Args, " ") == args })
			if i >= 0 {
				out = e.sink.seen[i].Signals
			}
			return i >= 0
		})
		return out
	}
	with := func(in, out *os.File, args ...string) {
		t.Helper()
		// Detached, it gives the program what it was given itself.
		cmd := runc(append([]string{"exec", "-d", b.id}, args...)...)
		if in != nil {
			cmd.Stdin = in
		}
		if out != nil {
			cmd.Stdout = out
		}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	sock, tty := connection(t), terminal(t)
	with(nil, nil, "/usr/bin/app", "plain")
	with(sock, nil, "/usr/bin/app", "in")
	with(sock, sock, "/usr/bin/app", "both")
	with(sock, sock, "/bin/sh", "-c", "/usr/bin/app shell; :")
	with(tty, nil, "/usr/bin/app", "tty")
	with(nil, nil, "/bin/sh", "-c", "/usr/bin/app inside; cp /usr/bin/tool /tmp/x; exec 3< /tmp/x; rm /tmp/x; /proc/self/fd/3 gone; :")
	if err := runc("exec", "-u", "7", b.id, "/usr/bin/suid", "root").Run(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"/usr/bin/app plain", []string{"from-outside"}},
		{"/usr/bin/app in", []string{"stdin-socket", "from-outside"}},
		{"/usr/bin/app both", []string{"stdin-socket", "stdout-socket", "from-outside"}},
		{"/usr/bin/app shell", []string{"stdin-socket", "stdout-socket"}},
		{"/usr/bin/app tty", []string{"tty", "from-outside"}},
		{"/usr/bin/app inside", nil},
		{"/proc/self/fd/3 gone", []string{"deleted"}},
		{"/usr/bin/suid root", []string{"setuid", "from-outside"}},
	} {
		if got := signals(tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
}

// Of one program and starter, 64 command lines are told, once each.
func TestCommandLinesAreTold(t *testing.T) {
	b := sleeper(t, newImage(t))
	e := start(t, Config{})
	e.mustApply(t, b, nil)
	b.sh("i=0; while [ $i -lt 100 ]; do /usr/bin/app $i; /usr/bin/app $i; i=$((i+1)); done; /usr/bin/tool end")
	told := map[string]int{}
	eventually(t, "the last", func() bool {
		e.sink.mu.Lock()
		defer e.sink.mu.Unlock()
		clear(told)
		for _, o := range e.sink.seen {
			told[strings.Join(o.Process.Args, " ")]++
		}
		return told["/usr/bin/tool end"] > 0
	})
	n := 0
	for args, times := range told {
		if strings.HasPrefix(args, "/usr/bin/app") {
			n++
		}
		if times != 1 {
			t.Errorf("%s: told %d times", args, times)
		}
	}
	if n != 64 {
		t.Errorf("%d command lines told, want 64", n)
	}
}
