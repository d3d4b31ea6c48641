package attacks

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/workload"
)

func TestMain(m *testing.M) {
	minicontainer.Init()
	if len(os.Args) == 3 && os.Args[1] == agentWord {
		os.Exit(agentMain(os.Args[2]))
	}
	if code, ok := Play(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// testLog logs to stderr: a test's log must not be used after its end.
func testLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// image makes the files that both containers have.
func image(t *testing.T) string {
	t.Helper()
	testkit.RequireRoot(t)
	dir := filepath.Join(t.TempDir(), "image")
	put := func(name string, perm os.FileMode, b []byte) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b, perm)); err != nil {
			t.Fatal(err)
		}
	}
	take := func(name, from string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		put(name, 0o755, b)
	}
	for _, d := range []string{"tmp", "var/tmp", "proc", "sys", "dev", "mnt", "run", "data", "volume", "etc", "root", "lib64"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := exec.LookPath("busybox")
	testkit.Require(t, "busybox", err == nil, "install busybox-static")
	take("bin/busybox", busybox)
	take("bin/multi", busybox)
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			_ = os.Symlink("busybox", filepath.Join(dir, "bin", name)) // listed twice by some
		}
	}
	take(Attacker, "/proc/self/exe")
	for _, name := range []string{"app", "other", "denied", "curl", "touched", "victim", "victim2", "victim3", "victim4", "victim5", "probe", "helper", "asuser"} {
		put("usr/bin/"+name, 0o755, Program())
	}
	for _, name := range []string{"reader", "launch", "multi", "interpreter"} {
		take("usr/bin/"+name, busybox)
	}
	put("usr/bin/setuid", 0o755, Program())
	if err := os.Chmod(filepath.Join(dir, "usr/bin/setuid"), os.ModeSetuid|0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"etc/cron.d", "var/spool/cron"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"etc/hosts", "etc/shadow", "root/.ssh/authorized_keys", "root/.profile", "var/log/app.log", "var/log/other.log", "tmp/notes"} {
		put(f, 0o644, []byte(Effect+"\n"))
	}
	put("opt/tools/one", 0o755, Program())
	put("opt/other/one", 0o755, Program())
	put("usr/lib/image.so", 0o755, Library())
	put("usr/lib/code", 0o644, returning())
	put("usr/bin/script", 0o755, []byte(script))
	put("usr/bin/script2", 0o755, []byte(script))
	put("usr/bin/script3", 0o755, []byte("#!/data/interpreter\n"))
	put("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"))
	put("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "usr/local/bin"), 0o755), os.Symlink(app, filepath.Join(dir, "usr/local/bin/link"))); err != nil {
		t.Fatal(err)
	}
	put("usr/bin/linked", 0o755, Linked(false))
	put("usr/bin/quiet", 0o755, Linked(true))
	_, err = os.Stat(loader)
	testkit.Require(t, "loader", err == nil, "install libc6")
	take(loader, loader)
	return dir
}

// capabilities are a careless operator's: with them every way out is open that
// policy then has to close.
func capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_BPF", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
		"CAP_IPC_LOCK", "CAP_KILL", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYSLOG",
	}
}

// box is a container with an attacker that takes orders.
type box struct {
	id      string
	c       workload.Container
	orders  *json.Encoder
	answers *bufio.Reader
	err     string // file of its standard error
}

func newBox(t *testing.T, name, image string) *box {
	t.Helper()
	_, err := exec.LookPath("runc")
	testkit.Require(t, "runc", err == nil, "install runc")
	dir := t.TempDir()
	b := &box{id: fmt.Sprintf("gabionattacks-%d-%s", os.Getpid(), name), err: filepath.Join(dir, "stderr")}
	root, volume := filepath.Join(dir, "rootfs"), filepath.Join(dir, "volume")
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{root, volume, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir="+image+",upperdir="+upper+",workdir="+work); err != nil {
		testkit.Require(t, "overlay", false, err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount root: %v", err)
		}
	})
	for _, d := range []string{"tools", "other"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(volume, d, "in"), 0o755), os.WriteFile(filepath.Join(volume, d, "in/one"), Program(), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	furnish(t, volume)
	serveRuntime(t, volume)
	caps := capabilities()
	spec := specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: root}, Hostname: "box",
		Process: &specs.Process{
			Args: []string{Attacker, "serve"}, Cwd: "/", Env: []string{"PATH=/bin:/usr/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"mode=1777"}},
			{Destination: "/data", Type: "tmpfs", Source: "data"},
			{Destination: "/spare", Type: "tmpfs", Source: "spare"},
			{Destination: "/volume", Type: "bind", Source: volume, Options: []string{"bind"}},
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
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(t, dir)
	return b
}

// furnish fills the volume with what the cases about files use up.
func furnish(t *testing.T, volume string) {
	t.Helper()
	for _, d := range []string{"secrets", "open", "closed", "public"} {
		for _, sub := range []string{"in/empty", "sub"} {
			if err := os.MkdirAll(filepath.Join(volume, d, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range []string{"token", "file", "doomed", "moving", "leaving", "replaced", "exchanged", "shredded"} {
			if err := os.WriteFile(filepath.Join(volume, d, "in", f), []byte(Effect+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(volume, "free"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// serveRuntime listens on the node as container runtimes do, at names that the
// container sees on its volume.
func serveRuntime(t *testing.T, volume string) {
	t.Helper()
	for _, name := range []string{"docker.sock", "containerd.sock", "plain.sock"} {
		l, err := net.Listen("unix", filepath.Join(volume, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
}

func (b *box) run(t *testing.T, dir string) {
	t.Helper()
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints, err := os.Create(b.err)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("runc", "run", "-d", "--bundle", dir, b.id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, complaints
	t.Cleanup(func() {
		_ = exec.Command("runc", "delete", "-f", b.id).Run()
		ourOut.Close()
		ourIn.Close()
	})
	err = cmd.Run()
	theirIn.Close()
	theirOut.Close()
	complaints.Close()
	if err != nil {
		testkit.Require(t, "runc", false, fmt.Sprintf("run container: %v: %s", err, b.complaints()))
	}
	out, err := exec.Command("runc", "state", b.id).Output()
	if err != nil {
		t.Fatalf("state of container: %v", err)
	}
	var st struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal(out, &st); err != nil {
		t.Fatal(err)
	}
	if st.Pid == 0 {
		t.Fatalf("the attacker ended: %s", b.complaints())
	}
	b.c = workload.Container{ID: b.id, Name: b.id, Runtime: "namespaces", PID: st.Pid, Workload: workload.Ref{Namespace: Namespace, Name: b.id}}
	b.orders, b.answers = json.NewEncoder(ourOut), bufio.NewReader(ourIn)
}

func (b *box) complaints() string {
	text, err := os.ReadFile(b.err)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// do lets the attacker play one part.
func (b *box) do(t *testing.T, o Order) Outcome {
	t.Helper()
	if err := b.orders.Encode(o); err != nil {
		t.Fatalf("order %+v: %v: %s", o, err, b.complaints())
	}
	line, err := b.answers.ReadBytes('\n')
	if err != nil {
		t.Fatalf("answer to %+v: %v: %s", o, err, b.complaints())
	}
	var res Outcome
	if err := json.Unmarshal(line, &res); err != nil {
		t.Fatalf("answer to %+v: %v: %s", o, err, line)
	}
	return res
}

// pins mounts a bpf file system of the test's own.
func pins(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, "mode=0700"); err != nil {
		testkit.Require(t, "bpffs", false, err.Error())
	}
	t.Cleanup(func() {
		if err := errors.Join(kernel.Remove(filepath.Join(dir, "gabion")), unix.Unmount(dir, unix.MNT_DETACH)); err != nil {
			t.Errorf("remove pins: %v", err)
		}
	})
	return filepath.Join(dir, "gabion")
}
