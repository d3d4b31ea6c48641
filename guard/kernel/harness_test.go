package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// sink keeps what the engine reports.
type sink struct {
	mu      sync.Mutex
	denials map[string]guard.Denial
	order   []guard.Denial
	seen    []guard.Observation
	starts  []guard.Start
	lost    []guard.Loss
	onStart func(guard.Start)
	answers sync.WaitGroup // calls of onStart
}

func newSink() *sink { return &sink{denials: map[string]guard.Denial{}} }

func (s *sink) Denied(d guard.Denial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denials[d.ID] = d
	s.order = append(s.order, d)
}

func (s *sink) Observed(o guard.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, o)
}

func (s *sink) Started(st guard.Start) {
	s.mu.Lock()
	fn := s.onStart
	s.starts = append(s.starts, st)
	s.mu.Unlock()
	if fn != nil {
		s.answers.Go(func() { fn(st) })
	}
}

func (s *sink) Lost(l guard.Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, l)
}

// total sums the counts of the denials that match.
func (s *sink) total(match func(guard.Denial) bool) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n uint64
	for _, d := range s.denials {
		if match(d) {
			n += d.Count
		}
	}
	return n
}

func (s *sink) all() []guard.Denial {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []guard.Denial
	for _, d := range s.denials {
		out = append(out, d)
	}
	return out
}

func byPath(p string) func(guard.Denial) bool {
	return func(d guard.Denial) bool { return d.Path == p }
}

func anyDenial(guard.Denial) bool { return true }

// pins mounts a bpf file system of the test's own.
func pins(t testing.TB) string {
	t.Helper()
	testkit.RequireRoot(t)
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		testkit.Require(t, "bpffs", false, err.Error())
	}
	t.Cleanup(func() {
		_ = Remove(filepath.Join(dir, "gabiontest"))
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount pins: %v", err)
		}
	})
	return filepath.Join(dir, "gabiontest")
}

// testLog logs to stderr: a test's log must not be used after its end.
func testLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// live is an engine that runs.
type live struct {
	*Engine
	sink *sink
	stop func()
}

// start opens an engine and runs it until stop or the test's end.
func start(t testing.TB, cfg Config) *live {
	t.Helper()
	s := newSink()
	if cfg.PinDir == "" {
		cfg.PinDir = pins(t)
	}
	e, err := Open(cfg, Deps{Log: testLog(), Sink: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	r := &live{Engine: e, sink: s}
	r.stop = func() {
		once.Do(func() {
			s.answers.Wait()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		r.stop()
		if err := e.Close(false); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// tinyELF is a static program that writes a word and exits. Nothing else can
// be loaded faster.
func tinyELF(word string) []byte {
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1
		0x48, 0x8d, 0x35, 0x10, 0, 0, 0, // lea rsi, [rip+0x10]
		0xba, byte(len(word)), 0, 0, 0, // mov edx, len
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}
	body := append(code, word...)
	size := uint64(64 + 56 + len(body))
	var b bytes.Buffer
	u16 := func(v uint16) { b.Write([]byte{byte(v), byte(v >> 8)}) }
	u32 := func(v uint32) { u16(uint16(v)); u16(uint16(v >> 16)) }
	u64 := func(v uint64) { u32(uint32(v)); u32(uint32(v >> 32)) }
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	u16(2)
	u16(62)
	u32(1)
	u64(0x400000 + 64 + 56)
	u64(64)
	u64(0)
	u32(0)
	u16(64)
	u16(56)
	u16(1)
	u16(0)
	u16(0)
	u16(0)
	u32(1)
	u32(5)
	u64(0)
	u64(0x400000)
	u64(0x400000)
	u64(size)
	u64(size)
	u64(0x1000)
	b.Write(body)
	return b.Bytes()
}

const busybox = "/bin/busybox"

// applets that the tests' containers have as links to busybox.
var applets = []string{
	"sh", "ls", "cat", "cp", "mv", "ln", "mkdir", "chmod", "echo", "sleep", "true", "wget", "nc", "mount",
	"umount", "unshare", "chroot", "dd", "touch", "rm", "head", "env", "id", "ps", "seq", "printf", "kill", "tee",
}

// makeImage writes the files of an image into dir.
func makeImage(t testing.TB, dir string) {
	t.Helper()
	for _, d := range []string{"bin", "sbin", "usr/bin", "usr/local/bin", "tmp", "proc", "sys", "dev", "etc", "opt/tools", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bb, err := os.ReadFile(busybox)
	testkit.Require(t, "busybox", err == nil, "install busybox-static")
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/busybox", bb)
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/bin/app", tinyELF("app\n"))
	write("usr/bin/curl", tinyELF("curl\n"))
	write("usr/bin/tool", tinyELF("tool\n"))
	write("usr/local/bin/again", tinyELF("again\n"))
	write("opt/tools/one", tinyELF("one\n"))
	write("usr/bin/script", []byte("#!/bin/sh\necho script\n"))
	if err := os.Symlink("/usr/bin/curl", filepath.Join(dir, "usr/local/bin/fetch")); err != nil {
		t.Fatal(err)
	}
}

var serial atomic.Int64

// box is a real container.
type box struct {
	t     testing.TB
	id    string
	dir   string
	upper string
	lower string
	c     workload.Container
}

func runc(args ...string) *exec.Cmd { return exec.Command("runc", args...) }

// requireRunc skips where there is no runc.
func requireRunc(t testing.TB) {
	t.Helper()
	testkit.RequireRoot(t)
	_, err := exec.LookPath("runc")
	testkit.Require(t, "runc", err == nil, "install runc")
}

// newImage makes one image for several boxes.
func newImage(t testing.TB) string {
	t.Helper()
	lower := filepath.Join(t.TempDir(), "image")
	makeImage(t, lower)
	return lower
}

// newBox prepares a container of an image; args is its first program.
func newBox(t testing.TB, image string, args ...string) *box {
	t.Helper()
	requireRunc(t)
	b := &box{t: t, id: fmt.Sprintf("gabiontest-%d-%d", os.Getpid(), serial.Add(1)), lower: image}
	b.dir = filepath.Join(t.TempDir(), b.id)
	root := filepath.Join(b.dir, "rootfs")
	b.upper = filepath.Join(b.dir, "upper")
	for _, d := range []string{root, b.upper, filepath.Join(b.dir, "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image, b.upper, filepath.Join(b.dir, "work"))
	if err := unix.Mount("overlay", root, "overlay", 0, opts); err != nil {
		testkit.Require(t, "overlay", false, err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount root: %v", err)
		}
	})
	caps := []string{"CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_KILL"}
	spec := specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: root}, Hostname: "box",
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin:/usr/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"mode=1777"}},
			{Destination: "/data", Type: "tmpfs", Source: "data"},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/" + b.id,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts the box in the background.
func (b *box) run() *box {
	b.t.Helper()
	out, err := os.Create(filepath.Join(b.dir, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	cmd := runc("run", "-d", "--bundle", b.dir, b.id)
	cmd.Stdout, cmd.Stderr = out, out
	b.t.Cleanup(b.remove)
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		testkit.Require(b.t, "runc", false, fmt.Sprintf("run container: %v: %s", err, text))
	}
	b.look()
	return b
}

func (b *box) remove() { _ = runc("delete", "-f", b.id).Run() }

// output is what the first program wrote.
func (b *box) output() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "out"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// look fills in what the runtime says.
func (b *box) look() {
	b.t.Helper()
	out, err := runc("state", b.id).Output()
	if err != nil {
		b.t.Fatalf("state of container: %v", err)
	}
	var st struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal(out, &st); err != nil {
		b.t.Fatal(err)
	}
	b.c = workload.Container{ID: b.id, Name: b.id, Runtime: "namespaces", PID: st.Pid, Workload: workload.Ref{Namespace: "test", Name: b.id}}
}

// sleeper is a box that sleeps.
func sleeper(t testing.TB, image string) *box {
	return newBox(t, image, "/bin/sleep", "1000").run()
}

// exec runs a program in the box and gives its output and exit code.
func (b *box) exec(args ...string) (string, int) {
	b.t.Helper()
	cmd := runc(append([]string{"exec", b.id}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		b.t.Fatalf("exec: %v", err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// sh runs a shell command in the box.
func (b *box) sh(script string) (string, int) {
	b.t.Helper()
	return b.exec("/bin/sh", "-c", script)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if cond() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// file, tree and names make rules; the n-th rule of a plan has number n.
func file(p string) policy.ExecRule  { return policy.ExecRule{Match: policy.MatchFile, Path: p} }
func inDir(p string) policy.ExecRule { return policy.ExecRule{Match: policy.MatchDir, Path: p} }
func tree(p string) policy.ExecRule  { return policy.ExecRule{Match: policy.MatchTree, Path: p} }
func names(n ...string) policy.ExecRule {
	return policy.ExecRule{Match: policy.MatchNames, Class: "test", Names: n}
}

const (
	driftRule = 900
	listRule  = 901
)

func makePlan(p policy.ProcessPlan) *policy.Plan {
	n := 0
	for _, list := range [][]policy.ExecRule{p.Deny, p.Allow, p.DriftAllow, p.Waive} {
		for i := range list {
			n++
			list[i].Rule = n
		}
	}
	p.DriftRule, p.ListRule = driftRule, listRule
	plan := &policy.Plan{Process: &p, Rules: make([]event.RuleRef, 1000)}
	for i := range plan.Rules {
		plan.Rules[i].Field = strconv.Itoa(i)
	}
	raw, _ := json.Marshal(p)
	plan.ID = string(raw)
	return plan
}

func (r *live) mustApply(t testing.TB, b *box, plan *policy.Plan) guard.Coverage {
	t.Helper()
	cov, err := r.Apply(context.Background(), b.c, plan)
	if err != nil {
		t.Fatal(err)
	}
	return cov
}

// denied waits until the engine has told of exactly n denials that match.
func (r *live) denied(t testing.TB, n uint64, match func(guard.Denial) bool) {
	t.Helper()
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := r.sink.total(match); got != n {
		t.Errorf("%d denials, want %d: %+v", got, n, r.sink.all())
	}
}

func hasReason(want policy.Reason) func(guard.Denial) bool {
	return func(d guard.Denial) bool { return d.Reasons&want == want }
}

// execMechanism is what stops a forbidden program here.
func (r *live) execMechanism() string {
	if v, ok := r.hooks.refuses(setProcess, hookExec); ok {
		return v.mechanism()
	}
	return mechanismKill
}
