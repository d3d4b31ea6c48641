package vm

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
)

// Emulator is the program that emulates the machine.
const Emulator = "qemu-system-x86_64"

// Machine is what to boot.
type Machine struct {
	Kernel  Kernel
	Archive string // written by Pack
	// LSM replaces the kernel's list of security modules when it is not empty.
	LSM string
	// Wall makes the guest's clock follow the machine's. Otherwise it counts
	// instructions, one a nanosecond, and jumps over idle time: what takes how
	// long in the guest, and which of its timeouts end, does not depend on the
	// load of the machine, and sleeping costs nothing.
	Wall bool
	// Console is a file for what the kernel prints.
	Console string
	// Memory is in MiB; zero means 2048.
	Memory int
}

// Boot runs the machine until it switches itself off and hands over what it
// says. It is an error when the guest did not end its stream, failed at its
// order, or ctx ended; the error then has the end of what the kernel printed.
func Boot(ctx context.Context, m Machine, say func(Message) error) (err error) {
	cmd := exec.CommandContext(ctx, Emulator, m.args()...)
	// The guest ends with whoever started it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// Nothing is ever said to the guest, which would echo it among its messages.
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the emulator: %w", err)
	}
	readErr := listen(out, say)
	if readErr != nil {
		_ = cmd.Process.Kill()
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("guest was ended before it was done: %w", context.Cause(ctx))
	case readErr != nil:
		err = readErr
	case waitErr != nil:
		err = fmt.Errorf("emulator: %w: %s", waitErr, strings.TrimSpace(complaints.String()))
	}
	if err != nil {
		err = fmt.Errorf("run guest %s: %w; the kernel said last:\n%s", m.Kernel.Release, err, tail(m.Console, 4000))
	}
	return err
}

func (m Machine) args() []string {
	memory := m.Memory
	if memory == 0 {
		memory = 2048
	}
	// no_timer_check: the check of the timer's interrupts fails when the
	// emulator is starved. panic=-1 with -no-reboot: a panic ends the machine.
	line := "console=ttyS0 no_timer_check panic=-1 oops=panic loglevel=5 net.ifnames=0"
	if m.Wall {
		// A starved kernel measures the counter of processor cycles wrongly, and
		// all its timeouts with it.
		line += " tsc=unstable"
	}
	if m.LSM != "" {
		line += " lsm=" + m.LSM
	}
	args := []string{
		"-accel", "tcg", "-cpu", "max,la57=off", "-smp", "1", "-m", fmt.Sprintf("%dM", memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel.Image, "-initrd", m.Archive, "-append", line,
		"-serial", "file:" + m.Console,
		"-chardev", "stdio,id=results,signal=off", "-serial", "chardev:results",
	}
	if !m.Wall {
		args = append(args, "-icount", "shift=0,sleep=off")
	}
	return args
}

// ErrCutOff: the guest ended without saying that it was done.
var ErrCutOff = errors.New("the guest ended in the middle of its work")

// listen reads messages, one JSON value a line.
func listen(r io.Reader, say func(Message) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<16), 16<<20)
	done := false
	for sc.Scan() {
		var m Message
		if err := json.Unmarshal(sc.Bytes(), &m); err != nil {
			return fmt.Errorf("read the guest's message %.200q: %w", sc.Text(), err)
		}
		switch {
		case m.Done:
			done = true
			continue
		case m.Fault != "":
			return fmt.Errorf("the guest could not go on: %s", m.Fault)
		}
		if err := say(m); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read the guest's messages: %w", err)
	}
	if !done {
		return ErrCutOff
	}
	return nil
}

// tail is the end of a file, as far as it can be read.
func tail(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-n):])
}
