// Package live runs a real gabion for end-to-end tests and benchmarks: the
// built binary as a child process with folders of its own, driven by its
// command line.
//
// It holds no checks. The one idea: what a test knows of gabion comes through
// the same commands and files that a user has.
package live

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
)

// Config says which binary runs where. Dir holds everything it writes.
type Config struct {
	Binary string
	Dir    string
	// Pins is a folder of a bpffs of its own, so that tests do not meet each
	// other or a gabion of this machine; made up from Dir when empty.
	Pins string
	// Args are added to `gabion up`.
	Args []string
}

// Gabion is a running `gabion up`.
type Gabion struct {
	cfg    Config
	cmd    *exec.Cmd
	log    *safeBuffer
	exited chan struct{}
	err    error
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *safeBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// Up starts gabion and returns when it answers.
func Up(ctx context.Context, cfg Config) (*Gabion, error) {
	if cfg.Pins == "" {
		cfg.Pins = "/sys/fs/bpf/gabiontest-" + strings.ReplaceAll(strings.Trim(cfg.Dir, "/"), "/", "-")
	}
	for _, d := range []string{"policies", "data"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	binary, err := filepath.Abs(cfg.Binary)
	if err != nil {
		return nil, err
	}
	cfg.Binary = binary
	g := &Gabion{cfg: cfg, log: &safeBuffer{}, exited: make(chan struct{})}
	args := append([]string{"up", "--policies", g.path("policies"), "--data", g.path("data"), "--pins", cfg.Pins,
		"--socket", g.path("sock"), "--listen", "127.0.0.1:0"}, cfg.Args...)
	g.cmd = exec.Command(binary, args...)
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		g.err = g.cmd.Wait()
		close(g.exited)
	}()
	err = Await(ctx, "gabion answers", func() (bool, error) {
		select {
		case <-g.exited:
			return false, fmt.Errorf("gabion ended: %v", g.err)
		default:
		}
		_, err := g.Workloads(ctx)
		return err == nil, nil
	})
	if err != nil {
		g.Kill()
		return nil, fmt.Errorf("start gabion: %w\n%s", err, g.log)
	}
	return g, nil
}

func (g *Gabion) path(name string) string { return filepath.Join(g.cfg.Dir, name) }

// PID is the process's number.
func (g *Gabion) PID() int { return g.cmd.Process.Pid }

// Log is what it printed so far.
func (g *Gabion) Log() string { return g.log.String() }

// Stop is Ctrl-C: it returns when the process has ended by itself.
func (g *Gabion) Stop() error { return g.end(os.Interrupt) }

// Kill is SIGKILL.
func (g *Gabion) Kill() error {
	err := g.end(syscall.SIGKILL)
	var ex *exec.ExitError
	if errors.As(err, &ex) {
		return nil
	}
	return err
}

func (g *Gabion) end(sig os.Signal) error {
	select {
	case <-g.exited:
		return g.err
	default:
	}
	if err := g.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-g.exited:
		return g.err
	case <-time.After(30 * time.Second):
		_ = g.cmd.Process.Kill()
		<-g.exited
		return fmt.Errorf("gabion did not end within 30 s of %v\n%s", sig, g.log)
	}
}

// Policy writes a policy file.
func (g *Gabion) Policy(name, yaml string) error {
	return os.WriteFile(filepath.Join(g.path("policies"), name), []byte(yaml), 0o644)
}

// RemovePolicy deletes a policy file.
func (g *Gabion) RemovePolicy(name string) error {
	return os.Remove(filepath.Join(g.path("policies"), name))
}

// Run is one command line against this gabion; the error has its output.
func (g *Gabion) Run(ctx context.Context, args ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, g.cfg.Binary, append(args, "--socket", g.path("sock"))...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("gabion %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// Workloads is `gabion workloads -o json`.
func (g *Gabion) Workloads(ctx context.Context) ([]console.Workload, error) {
	out, err := g.Run(ctx, "workloads", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list []console.Workload
	return list, json.Unmarshal(out, &list)
}

// Events is `gabion events -o json` with more arguments, oldest first.
func (g *Gabion) Events(ctx context.Context, args ...string) ([]event.Event, error) {
	out, err := g.Run(ctx, append([]string{"events", "-o", "json"}, args...)...)
	if err != nil {
		return nil, err
	}
	var list []event.Event
	return list, json.Unmarshal(out, &list)
}

// Await polls until ok, an error, or the end of ctx (at most a minute).
func Await(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		done, err := ok()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// BusyboxRoot makes the root of a small image out of a static busybox, with
// links for its usual names.
func BusyboxRoot(dir string) (string, error) {
	bin, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("make a busybox image: %w (apt-get install busybox-static)", err)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	for _, d := range []string{"bin", "etc", "tmp", "proc", "dev", "sys", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"sh", "sleep", "cat", "echo", "ls", "cp", "chmod", "true", "wget", "nc", "id", "mv", "ln", "mkdir", "rm"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return "", err
		}
	}
	return dir, nil
}
