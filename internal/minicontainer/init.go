package minicontainer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// childArg is the hidden argument that makes this program the copy of itself
// that leads into a container.
const childArg = "minicontainer-enter"

// conversation is the descriptor of the socket to the caller of Start or Exec.
const conversation = 3

// request is what the copy is asked to do.
type request struct {
	CgroupDir string `json:"cgroupDir"`
	// Join is the first process of the container to enter; 0 makes a new one.
	Join int `json:"join,omitempty"`

	Args            []string `json:"args"`
	Env             []string `json:"env,omitempty"`
	WorkDir         string   `json:"workDir,omitempty"`
	NoNewPrivileges bool     `json:"noNewPrivileges,omitempty"`

	Hostname string   `json:"hostname,omitempty"`
	Netns    string   `json:"netns,omitempty"`
	Lower    []string `json:"lower,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Mounts   []Mount  `json:"mounts,omitempty"`
}

// answer is what the copy says when the process is ready to go, or why not.
type answer struct {
	PID   int      `json:"pid,omitempty"`
	Steps []string `json:"steps,omitempty"` // names of the steps, for failures
	Error string   `json:"error,omitempty"`
	Errno int      `json:"errno,omitempty"`
}

// Init must be the first call in main of every program that starts containers.
// It returns at once unless this process is a copy started by Start or Exec,
// in which case it never returns.
func Init() {
	if len(os.Args) != 2 || os.Args[1] != childArg {
		return
	}
	// Namespaces are entered by this thread only.
	runtime.LockOSThread()
	sock := os.NewFile(conversation, "conversation")
	unix.CloseOnExec(conversation)
	p, pid, err := enter(sock)
	ans := answer{PID: pid}
	if err != nil {
		ans.Error = err.Error()
		var errno unix.Errno
		if errors.As(err, &errno) {
			ans.Errno = int(errno)
		}
	} else {
		ans.Steps = p.names
	}
	if json.NewEncoder(sock).Encode(ans) != nil || err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func enter(sock *os.File) (*program, int, error) {
	var req request
	line, err := bufio.NewReader(sock).ReadBytes('\n')
	if err != nil {
		return nil, 0, fmt.Errorf("read request: %w", err)
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return nil, 0, fmt.Errorf("read request: %w", err)
	}
	// Processes of the container must not reach this program through
	// /proc/PID/exe while one of ours is among them; execve lifts this.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, 0, fmt.Errorf("hide from the container: %w", err)
	}
	if err := os.WriteFile(filepath.Join(req.CgroupDir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return nil, 0, fmt.Errorf("enter cgroup: %w", err)
	}
	p := &program{}
	p.do("wait for the caller", unix.SYS_READ, conversation, mem(p, new([8]byte)), 1).min = 1
	p.try("start session", unix.SYS_SETSID)
	if req.Join != 0 {
		err = join(req.Join)
	} else {
		err = build(p, &req)
	}
	if err != nil {
		return nil, 0, err
	}
	if err := p.finish(&req); err != nil {
		return nil, 0, err
	}
	pid, err := p.fork(conversation)
	return p, pid, err
}

// join enters all namespaces of a container by its first process.
func join(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open container process %d: %w", pid, err)
	}
	// The file system attributes of threads are shared, a mount namespace
	// can only be entered alone.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("part from threads: %w", err)
	}
	err = unix.Setns(fd, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET)
	if err != nil {
		return fmt.Errorf("enter namespaces of process %d: %w", pid, err)
	}
	return nil
}

// finish adds the steps that all processes of containers have in common, the
// program itself last.
func (p *program) finish(req *request) error {
	path, err := lookup(req.Args[0], req.Env)
	if err != nil {
		return err
	}
	p.dropCaps()
	if req.NoNewPrivileges {
		p.do("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	dir := req.WorkDir
	if dir == "" {
		dir = "/"
	}
	p.do("change to "+dir, unix.SYS_CHDIR, p.str(dir))
	// The Go runtime's handlers must not run in the child once its signals
	// are unblocked; its ignored signals would be ignored by the program.
	type sigaction [8]uint64
	dfl := mem(p, new(sigaction))
	for sig := uintptr(1); sig <= 64; sig++ {
		p.try("reset signal", unix.SYS_RT_SIGACTION, sig, dfl, 0, 8)
	}
	p.try("close descriptors", unix.SYS_CLOSE_RANGE, conversation, uintptr(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	p.do("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, mem(p, new(uint64)), 0, 8)
	p.do("execute "+path, unix.SYS_EXECVE, p.str(path), p.vec(req.Args), p.vec(req.Env))
	return nil
}

// lookup finds the program on the container's own root, where this thread is.
func lookup(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join("/", dir, name)
		if fi, err := os.Stat(full); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("execute %s: not found in the container's PATH %s: %w", name, path, fs.ErrNotExist)
}
