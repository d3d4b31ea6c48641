package kernel

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// modeEnv makes the test binary play a part in a test instead of running tests.
const modeEnv = "GABIONTEST_MODE"

func TestMain(m *testing.M) {
	switch os.Getenv(modeEnv) {
	case "":
		os.Exit(testMain(m))
	case "memfd":
		os.Exit(memfdChild())
	case "spawn":
		os.Exit(spawnChild())
	case "map":
		os.Exit(mapperChild())
	case "probe":
		os.Exit(probeChild())
	case "agent":
		os.Exit(agentChild())
	}
	os.Exit(2)
}

// memfdChild waits for a line, so that its parent can give it an identity, and
// becomes a program that has no file.
func memfdChild() int {
	runtime.LockOSThread()
	fmt.Println("ready")
	var b [1]byte
	if _, err := os.Stdin.Read(b[:]); err != nil {
		return 3
	}
	fd, err := unix.MemfdCreate("evil", 0)
	if err != nil {
		return 4
	}
	if _, err := unix.Write(fd, tinyELF("evil\n")); err != nil {
		return 5
	}
	err = unix.Exec("/proc/self/fd/"+itoa(fd), []string{"evil"}, nil)
	fmt.Println(err)
	return 6
}

func memfdRun(t *testing.T, maps *Maps, cid uint32) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), modeEnv+"=memfd")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its own start must be over before it has a number.
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child: %q %v", line, err)
	}
	threads, err := os.ReadDir("/proc/" + itoa(cmd.Process.Pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, th := range threads {
		tid, _ := strconv.Atoi(th.Name())
		if err := maps.Tasks.Put(uint32(tid), cid); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Write([]byte("g")); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(out)
	return string(text), cmd.Wait()
}

// agentChild is an agent in a process of its own, to be killed.
func agentChild() int {
	s := newSink()
	e, err := Open(Config{PinDir: os.Getenv("GABIONTEST_PINS"), Hold: os.Getenv("GABIONTEST_HOLD") != ""}, Deps{Log: testLog(), Sink: s})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	if err := e.Run(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startAgent starts an agent that can be killed, and waits until it is open.
func startAgent(t *testing.T, pinDir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), modeEnv+"=agent", "GABIONTEST_PINS="+pinDir), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "open") {
		t.Fatalf("agent: %q %v", buf[:n], err)
	}
	return cmd
}

var sharedEngine struct {
	sync.Mutex
	r *live
}

// shared is one engine for tests of many containers that run side by side.
func shared(t *testing.T) *live {
	t.Helper()
	sharedEngine.Lock()
	defer sharedEngine.Unlock()
	if sharedEngine.r == nil {
		dir, err := os.MkdirTemp("", "gabiontest")
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
			t.Fatal(err)
		}
		s := newSink()
		e, err := Open(Config{PinDir: dir + "/pins"}, Deps{Log: testLog(), Sink: s})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		sharedEngine.r = &live{Engine: e, sink: s, stop: func() {
			cancel()
			err := <-done
			fmt.Fprintln(os.Stderr, "shared engine:", err, e.Close(false), unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir))
		}}
	}
	return sharedEngine.r
}

func testMain(m *testing.M) int {
	code := m.Run()
	if r := sharedEngine.r; r != nil {
		r.stop()
	}
	return code
}
