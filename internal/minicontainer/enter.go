package minicontainer

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// process is a container's process, a child of ours.
type process struct {
	pid  int
	proc *os.Process
}

// launch lets a copy of this program enter a container and fork the process
// req describes. ready is called when the process exists but has executed
// nothing yet. On return the process runs its program.
func launch(ctx context.Context, req *request, io3 *streams, ready func(pid int) error) (*process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "ours")
	defer ours.Close()

	cmd := exec.Command("/proc/self/exe", childArg)
	cmd.Args[0] = "minicontainer"
	cmd.Env = []string{"GOMAXPROCS=2", "GOGC=off"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io3.in, io3.out, io3.err
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("run %s again: %w", cmd.Path, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	p, err := converse(req, ours, ready)
	if err != nil {
		// Nothing is forked, or what was forked ends when the socket does.
		_ = ours.Close()
		_ = cmd.Process.Kill()
	}
	_ = cmd.Wait()
	if err != nil {
		if p != nil {
			_ = p.proc.Kill()
			_, _ = p.proc.Wait()
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return p, nil
}

// converse speaks with the copy: request, answer, go, and then either the end
// of the file, when the program is executed, or a failure.
func converse(req *request, sock *os.File, ready func(pid int) error) (*process, error) {
	if err := json.NewEncoder(sock).Encode(req); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	in := bufio.NewReader(sock)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the copy of this program that enters the container ended early (does main call minicontainer.Init first?): %w", err)
	}
	var ans answer
	if err := json.Unmarshal(line, &ans); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if ans.Error != "" {
		return nil, &enterError{text: ans.Error, errno: unix.Errno(ans.Errno)}
	}
	proc, err := os.FindProcess(ans.PID)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", ans.PID, err)
	}
	p := &process{pid: ans.PID, proc: proc}
	if ready != nil {
		if err := ready(p.pid); err != nil {
			return p, err
		}
	}
	if _, err := sock.Write([]byte{1}); err != nil {
		return p, fmt.Errorf("let process go: %w", err)
	}
	b := make([]byte, failureSize)
	switch n, err := io.ReadFull(in, b); {
	case n == failureSize:
		f := failure{binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])}
		return p, (&program{names: ans.Steps}).failed(f)
	case errors.Is(err, io.EOF):
		return p, nil
	default:
		return p, fmt.Errorf("wait for program: %w", err)
	}
}

// enterError carries an error of the copy with its error number, so that
// errors.Is works across.
type enterError struct {
	text  string
	errno unix.Errno
}

func (e *enterError) Error() string { return e.text }

func (e *enterError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}
