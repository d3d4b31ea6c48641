package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/internal/minicontainer"
)

// loadArg makes this program the load: it reads lines "exec N" or "open N DIR"
// and answers each with the nanoseconds that N starts or openings took and how
// many of them failed.
const loadArg = "load"

const (
	programs  = 40 // /usr/bin/appNN, all listed by every policy
	fileCount = 40 // DIR/fNN
)

func load() int {
	runtime.LockOSThread()
	debug.SetGCPercent(-1)
	fmt.Println("ready 0")
	sc := bufio.NewScanner(os.Stdin)
	for sc.Scan() {
		var what, where string
		var n int
		if _, err := fmt.Sscan(sc.Text(), &what, &n, &where); err != nil {
			fmt.Println("bad order:", err)
			return 1
		}
		var failed int
		begun := time.Now()
		switch what {
		case "exec":
			failed = execs(n, where)
		case "open":
			failed = opens(n, where)
		}
		fmt.Println(time.Since(begun).Nanoseconds(), failed)
	}
	return 0
}

// execs starts programs of dir in turn and counts those that did not run.
func execs(n int, dir string) (failed int) {
	attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}
	for i := range n {
		path := fmt.Sprintf("%s/app%02d", dir, i%programs)
		pid, err := syscall.ForkExec(path, []string{path}, attr)
		if err != nil {
			failed++
			continue
		}
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || ws.Signaled() {
			failed++
		}
	}
	return failed
}

func opens(n int, dir string) (failed int) {
	var paths [fileCount]string
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/f%02d", dir, i)
	}
	for i := range n {
		fd, err := unix.Open(paths[i%fileCount], unix.O_RDONLY, 0)
		if err != nil {
			failed++
			continue
		}
		unix.Close(fd)
	}
	return failed
}

// worker is a load that runs somewhere.
type worker struct {
	in   io.WriteCloser
	out  *bufio.Reader
	stop func() error
}

// order has n things done and gives nanoseconds and failures.
func (w *worker) order(what string, n int, where string) (ns float64, failed int, err error) {
	if _, err := fmt.Fprintln(w.in, what, n, where); err != nil {
		return 0, 0, fmt.Errorf("order %s: %w", what, err)
	}
	line, err := w.out.ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("order %s: the load is gone: %w", what, err)
	}
	if _, err := fmt.Sscan(line, &ns, &failed); err != nil {
		return 0, 0, fmt.Errorf("order %s: it answers %q", what, line)
	}
	return ns, failed, nil
}

func (w *worker) ready() error {
	line, err := w.out.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		return fmt.Errorf("start load: it says %q: %w", line, errors.Join(err, errors.New("not ready")))
	}
	return nil
}

// outside runs the load on the host, in the same tree of files.
func outside(root string) (*worker, error) {
	cmd := exec.Command(filepath.Join(root, "bench"), loadArg)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{in: in, out: bufio.NewReader(out), stop: func() error { return errors.Join(in.Close(), cmd.Wait()) }}
	return w, w.ready()
}

// contained runs the load as the first program of a container.
func contained(ctx context.Context, root, dir, name string) (*worker, *minicontainer.Container, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	c, err := minicontainer.Start(ctx, minicontainer.Spec{
		Name: name, Labels: map[string]string{"gabion.dev/namespace": namespace}, Lower: []string{root}, Dir: dir,
		Args: []string{"/bench", loadArg}, Stdin: inR, Stdout: outW, Stderr: os.Stderr,
	})
	err = errors.Join(err, inR.Close(), outW.Close())
	if err != nil {
		return nil, nil, err
	}
	w := &worker{in: inW, out: bufio.NewReader(outR), stop: func() error {
		return errors.Join(inW.Close(), c.Stop(context.WithoutCancel(ctx)), outR.Close())
	}}
	return w, c, w.ready()
}

// image makes the container's root: this program, small programs, files.
func image(root string) error {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	files := map[string][]byte{"bench": self}
	for i := range programs {
		files[fmt.Sprintf("usr/bin/app%02d", i)] = exitProgram()
		files[fmt.Sprintf("usr/lib/forbidden/app%02d", i)] = exitProgram()
	}
	for i := range fileCount {
		for _, dir := range []string{freeDir, allowedDir, forbiddenDir} {
			files[fmt.Sprintf("%s/f%02d", dir, i)] = []byte("content\n")
		}
	}
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// exitProgram is the smallest static program: no other start costs less, so no
// ratio is worse.
func exitProgram() []byte {
	return static([]byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05}) // mov eax, 60; xor edi, edi; syscall
}

// pauseProgram waits for signals for ever.
func pauseProgram() []byte {
	return static([]byte{0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}) // mov eax, 34; syscall; jmp to the start
}

// static is a program of x86-64 instructions alone.
func static(code []byte) []byte {
	const header, segment, base = 64, 56, 0x400000
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	le := func(size int, v uint64) {
		for range size {
			b = append(b, byte(v))
			v >>= 8
		}
	}
	le(2, 2)                   // executable
	le(2, 62)                  // x86-64
	le(4, 1)                   // version
	le(8, base+header+segment) // entry
	le(8, header)              // segments
	le(8, 0)                   // no sections
	le(4, 0)                   // flags
	le(2, header)              //
	le(2, segment)             //
	le(2, 1)                   // one segment
	le(6, 0)                   // no sections
	le(4, 1)                   // load
	le(4, 5)                   // read and execute
	le(8, 0)                   // from the start of the file
	le(8, base)                //
	le(8, base)                //
	le(8, uint64(header+segment+len(code)))
	le(8, uint64(header+segment+len(code)))
	le(8, 0x1000)
	return append(b, code...)
}
