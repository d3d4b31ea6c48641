package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/test/vm"
)

// first is the first process: it starts the one that works, takes in orphans
// until that has ended, and switches the machine off.
func first() error {
	if err := settle(); err != nil {
		return err
	}
	worker, err := syscall.ForkExec("/init", []string{"/init", "work"}, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for processes: %w", err)
		}
		if pid == worker {
			return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

// line is the serial line that messages go to.
type line struct{ enc *json.Encoder }

func openLine() (*line, error) {
	f, err := os.OpenFile(vm.ResultPort, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open serial line: %w", err)
	}
	// As it is: no carriage returns.
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		return nil, fmt.Errorf("set up serial line: %w", err)
	}
	w := bufio.NewWriterSize(f, 1<<16)
	return &line{enc: json.NewEncoder(flusher{w})}, nil
}

type flusher struct{ *bufio.Writer }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.Writer.Write(b)
	return n, errors.Join(err, f.Flush())
}

func (l *line) say(m vm.Message) error { return l.enc.Encode(m) }

func work() (err error) {
	l, err := openLine()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = l.say(vm.Message{Fault: err.Error()})
		}
	}()
	text, err := os.ReadFile(vm.OrderFile)
	if err != nil {
		return err
	}
	var order vm.Order
	if err := json.Unmarshal(text, &order); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	up, err := describe()
	if err != nil {
		return err
	}
	if err := l.say(vm.Message{Up: up}); err != nil {
		return err
	}
	for _, s := range order.Suites {
		if err := suite(l, s); err != nil {
			return fmt.Errorf("run %s: %w", s.Name, err)
		}
	}
	return l.say(vm.Message{Done: true})
}

func describe() (*vm.Up, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, err
	}
	lsm, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return nil, fmt.Errorf("read list of security modules: %w", err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return nil, err
	}
	return &vm.Up{Release: unix.ByteSliceToString(u.Release[:]), LSM: strings.TrimSpace(string(lsm)), Uptime: time.Duration(ts.Nano())}, nil
}

// suite runs one program and passes on what it prints, line by line.
func suite(l *line, s vm.Suite) error {
	ctx := context.Background()
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("took longer than %s", s.Timeout))
		defer cancel()
	}
	dir := "/tmp/" + strings.ReplaceAll(s.Name, "/", "-")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), s.Env...)
	// The program may leave children behind that keep the pipe open.
	cmd.WaitDelay = 2 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	if err := w.Close(); err != nil {
		return err
	}
	passed := make(chan error, 1)
	go func() { passed <- pass(l, s.Name, r) }()
	waitErr := cmd.Wait()
	_ = r.SetReadDeadline(time.Now().Add(2 * time.Second))
	if err := <-passed; err != nil {
		return err
	}
	ended := vm.Ended{Code: cmd.ProcessState.ExitCode(), How: cmd.ProcessState.String(), Elapsed: time.Since(begun)}
	if ctx.Err() != nil {
		ended.How = context.Cause(ctx).Error()
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) && ctx.Err() == nil {
		return waitErr
	}
	return l.say(vm.Message{Suite: s.Name, Ended: &ended})
}

func pass(l *line, name string, r io.Reader) error {
	br := bufio.NewReader(r)
	for {
		text, err := br.ReadString('\n')
		if text != "" {
			if err := l.say(vm.Message{Suite: name, Line: strings.TrimSuffix(text, "\n")}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
