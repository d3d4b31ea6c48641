package minicontainer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gabion-dev/gabion/internal/cgroup"
	"golang.org/x/sys/unix"
)

// Spec describes a container.
type Spec struct {
	// ID is made up (64 hexadecimal digits) when empty. Name defaults to its
	// first twelve characters.
	ID, Name string
	Labels   map[string]string
	// Image is only written down.
	Image string
	// Lower are the directories of the image, the top layer first.
	Lower []string
	// Dir is where upper, work and merged are made; made if missing, removed
	// by Stop when nothing else is in it.
	Dir string
	// Args is the command line; a name without slash is looked up in the
	// container's PATH.
	Args, Env []string
	WorkDir   string
	// Netns is the path of a network namespace to join, "" for a new one with
	// lo up, or "host".
	Netns    string
	Hostname string // the first twelve characters of ID when empty
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Mounts   []Mount

	NoNewPrivileges bool
	// CgroupParent is the group below the hierarchy's root in which the
	// container's own is made; "gabion" when empty.
	CgroupParent string
	// StateDir is DefaultStateDir when empty.
	StateDir string
}

// Mount is one more mount in a container. An empty type is "bind". Options
// are ro, nosuid, nodev, noexec and, but for bind, those of the file system.
type Mount struct {
	Source  string   `json:"source"`
	Target  string   `json:"target"`
	Type    string   `json:"type,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Status is how a process ended. Signal is 0 unless one killed it; Code is
// then 128 plus its number, as shells say.
type Status struct {
	Code   int
	Signal syscall.Signal
}

// String gives "exit 0" or "killed by SIGKILL".
func (s Status) String() string {
	if s.Signal != 0 {
		return "killed by " + unix.SignalName(s.Signal)
	}
	return fmt.Sprintf("exit %d", s.Code)
}

// Container is a container made by Start.
type Container struct {
	state    State
	stateDir string
	cgroup   string // absolute
	cgroupID uint64

	done   chan struct{}
	status Status // valid when done is closed

	stopping sync.Mutex
	stopped  bool
}

// Start makes a container and returns when its program was executed. ctx
// bounds the start only; the container lives until its program ends, and what
// it leaves on the machine until Stop. When the program cannot be executed the
// error has the cause and nothing is left.
func Start(ctx context.Context, spec Spec) (*Container, error) {
	c, err := prepare(&spec)
	if err != nil {
		return nil, fmt.Errorf("start container %s: %w", spec.Name, err)
	}
	if err := c.start(ctx, &spec); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("start container %s: %w", spec.Name, err), remove(clean, c.stateDir, c.state))
	}
	return c, nil
}

// prepare fills what spec leaves open.
func prepare(spec *Spec) (*Container, error) {
	if spec.ID == "" {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("make up an id: %w", err)
		}
		spec.ID = hex.EncodeToString(b)
	}
	short := spec.ID[:min(12, len(spec.ID))]
	if spec.Name == "" {
		spec.Name = short
	}
	if spec.Hostname == "" {
		spec.Hostname = short
	}
	if spec.CgroupParent == "" {
		spec.CgroupParent = "gabion"
	}
	if spec.StateDir == "" {
		spec.StateDir = DefaultStateDir
	}
	for _, name := range []string{spec.ID, spec.CgroupParent} {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("id %q: must be a plain file name", name)
		}
	}
	switch {
	case len(spec.Args) == 0 || spec.Args[0] == "":
		return nil, errors.New("no program given")
	case len(spec.Lower) == 0:
		return nil, errors.New("no image directory given")
	case spec.Dir == "":
		return nil, errors.New("no directory for its data given")
	}
	for _, s := range append(append([]string{spec.Hostname}, spec.Args...), spec.Env...) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("%q: contains a zero byte", s)
		}
	}
	root, err := cgroup.Root()
	if err != nil {
		return nil, err
	}
	path := "/" + spec.CgroupParent + "/" + spec.ID
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", spec.Dir, err)
	}
	return &Container{
		stateDir: spec.StateDir,
		cgroup:   filepath.Join(root, path),
		done:     make(chan struct{}),
		state: State{
			ID: spec.ID, Name: spec.Name, Labels: spec.Labels, Image: spec.Image, Args: spec.Args,
			Cgroup: path, Dir: dir, Owner: os.Getpid(), OwnerStartTicks: StartTicks(os.Getpid()),
		},
	}, nil
}

func (c *Container) start(ctx context.Context, spec *Spec) error {
	// Written down before anything is made, so that Clean finds it all.
	if err := writeState(c.stateDir, c.state); err != nil {
		return err
	}
	for _, sub := range []string{"upper", "work", "merged"} {
		if err := os.MkdirAll(filepath.Join(c.state.Dir, sub), 0o755); err != nil {
			return fmt.Errorf("make its directories: %w", err)
		}
	}
	// Another container's Stop may take the empty parent away in between.
	for try := 0; ; try++ {
		err := os.MkdirAll(c.cgroup, 0o755)
		if err == nil {
			break
		}
		if try == 10 || !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	var err error
	if c.cgroupID, err = cgroup.ID(c.cgroup); err != nil {
		return err
	}
	lower := make([]string, len(spec.Lower))
	for i, l := range spec.Lower {
		if lower[i], err = filepath.Abs(l); err != nil {
			return fmt.Errorf("find %s: %w", l, err)
		}
	}
	io3, err := newStreams(spec.Stdin, spec.Stdout, spec.Stderr)
	if err != nil {
		return err
	}
	p, err := launch(ctx, &request{
		CgroupDir: c.cgroup, Args: spec.Args, Env: environment(spec.Env), WorkDir: spec.WorkDir,
		NoNewPrivileges: spec.NoNewPrivileges, Hostname: spec.Hostname, Netns: spec.Netns,
		Lower: lower, Dir: c.state.Dir, Mounts: spec.Mounts,
	}, io3, func(pid int) error {
		c.state.PID, c.state.StartTicks, c.state.StartedAt = pid, StartTicks(pid), time.Now()
		return writeState(c.stateDir, c.state)
	})
	if err != nil {
		io3.abort()
		return err
	}
	io3.started()
	go func() {
		defer close(c.done)
		c.status = p.wait()
		io3.finish()
	}()
	return nil
}

func environment(env []string) []string {
	for _, kv := range env {
		if strings.HasPrefix(kv, "PATH=") {
			return env
		}
	}
	return append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
}

func (p *process) wait() Status {
	st, err := p.proc.Wait()
	if err != nil {
		return Status{Code: -1}
	}
	ws, ok := st.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return Status{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	}
	return Status{Code: st.ExitCode()}
}

// ID is the container's identifier.
func (c *Container) ID() string { return c.state.ID }

// Name is the container's name.
func (c *Container) Name() string { return c.state.Name }

// PID is the container's first process as this process sees it.
func (c *Container) PID() int { return c.state.PID }

// CgroupID is the kernel's number of the container's cgroup.
func (c *Container) CgroupID() uint64 { return c.cgroupID }

// CgroupPath is the cgroup's path below the version-2 hierarchy's root.
func (c *Container) CgroupPath() string { return c.state.Cgroup }

// Upper is the directory on the host that holds what the container wrote.
func (c *Container) Upper() string { return filepath.Join(c.state.Dir, "upper") }

// State is what is written down of the container.
func (c *Container) State() State { return c.state }

// Done is closed when the container's first process has ended and its output
// is copied.
func (c *Container) Done() <-chan struct{} { return c.done }

// Wait waits for the container's first process and returns how it ended.
func (c *Container) Wait() Status {
	<-c.done
	return c.status
}

// Stop kills every process of the container and removes its cgroup,
// directories and state. Stopping again is no error.
func (c *Container) Stop(ctx context.Context) error {
	c.stopping.Lock()
	defer c.stopping.Unlock()
	if c.stopped {
		return nil
	}
	if err := cgroup.Kill(ctx, c.cgroup); err != nil {
		return fmt.Errorf("stop container %s: %w", c.state.Name, err)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return fmt.Errorf("stop container %s: %w", c.state.Name, ctx.Err())
	}
	if err := remove(ctx, c.stateDir, c.state); err != nil {
		return err
	}
	c.stopped = true
	return nil
}

// ExecSpec describes one more process in a container.
type ExecSpec struct {
	Args, Env      []string
	WorkDir        string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Exec runs a program in the container, as "docker exec" does, and waits for
// it. When ctx ends the process is killed. A program that ran and failed is no
// error; see Status.
func (c *Container) Exec(ctx context.Context, spec ExecSpec) (Status, error) {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return Status{}, fmt.Errorf("exec in container %s: no program given", c.state.Name)
	}
	select {
	case <-c.done:
		return Status{}, fmt.Errorf("exec in container %s: it has ended", c.state.Name)
	default:
	}
	io3, err := newStreams(spec.Stdin, spec.Stdout, spec.Stderr)
	if err != nil {
		return Status{}, fmt.Errorf("exec in container %s: %w", c.state.Name, err)
	}
	p, err := launch(ctx, &request{
		CgroupDir: c.cgroup, Join: c.state.PID, Args: spec.Args, Env: environment(spec.Env), WorkDir: spec.WorkDir,
	}, io3, nil)
	if err != nil {
		io3.abort()
		return Status{}, fmt.Errorf("exec in container %s: %w", c.state.Name, err)
	}
	io3.started()
	stop := context.AfterFunc(ctx, func() { _ = p.proc.Kill() })
	st := p.wait()
	stop()
	io3.finish()
	if ctx.Err() != nil {
		return st, fmt.Errorf("exec in container %s: %w", c.state.Name, ctx.Err())
	}
	return st, nil
}
