package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// needed are the modules that the guests' programs ask the kernel for; it asks
// for them by alias as on any machine, through /sbin/modprobe.
var needed = []string{"overlay", "veth", "bridge", "dummy", "sch_ingress", "cls_bpf", "act_bpf", "vsock", "vsock_loopback", "vmw_vsock_virtio_transport"}

// tools are the programs of the machine that guests have, besides a busybox.
var tools = []string{"runc", "ip", "nsenter"}

// Build compiles the guest's init and the test binaries of packages
// ("./guard/kernel") of the module at root into dir and gives their files by
// package; the init is at "init".
func Build(ctx context.Context, root, dir string, packages ...string) (map[string]string, error) {
	out := map[string]string{"init": filepath.Join(dir, "init")}
	build := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, text)
		}
		return nil
	}
	if err := build("build", "-ldflags", "-s -w", "-o", out["init"], "./test/vm/guest"); err != nil {
		return nil, err
	}
	for _, p := range packages {
		out[p] = filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(p, "./"), "/", "-")+".test")
		if err := build("test", "-c", "-ldflags", "-s -w", "-o", out[p], p); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Pack writes the archive that a guest lives in. programs are the files by
// their place in the guest, more the names of programs of the machine that it
// has besides the usual ones.
func Pack(ctx context.Context, to string, k Kernel, init string, programs map[string]string, order Order, more ...string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	a := newArchive(f)
	for _, d := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/etc", "/new", "/bin", "/usr/bin", "/sbin"} {
		a.dir(d)
	}
	if err := a.copy("/init", init); err != nil {
		return err
	}
	a.link("/sbin/modprobe", "/init")
	if err := a.busybox(ctx); err != nil {
		return err
	}
	packed := map[string]bool{}
	for _, t := range slices.Concat(tools, more) {
		if err := a.tool(t, packed); err != nil {
			return err
		}
	}
	for place, file := range programs {
		if err := a.copy(place, file); err != nil {
			return err
		}
	}
	mods, err := modules(ctx, k, needed...)
	if err != nil {
		return err
	}
	index, err := json.Marshal(mods)
	if err != nil {
		return err
	}
	a.file(ModuleIndex, 0o644, index)
	for _, m := range mods {
		a.file(ModuleFile(m.Name), 0o644, m.data)
	}
	a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.file("/etc/group", 0o644, []byte("root:x:0:\n"))
	a.file("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	a.file(OrderFile, 0o644, text)
	return a.close()
}

// ModuleFile is where a module lies in the guest.
func ModuleFile(name string) string { return path.Join(path.Dir(ModuleIndex), name+".ko") }

func (a *archive) copy(place, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("pack %s: %w", place, err)
	}
	a.file(place, 0o755, data)
	return nil
}

// busybox packs the machine's static busybox with links for its commands.
func (a *archive) busybox(ctx context.Context) error {
	file, err := lookTool("busybox")
	if err != nil {
		return err
	}
	if err := a.copy("/bin/busybox", file); err != nil {
		return err
	}
	list, err := run(ctx, "", file, "--list")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(list) {
		switch name {
		case "busybox", "modprobe", "init", "ip", "nsenter": // others do that here
		default:
			a.link("/bin/"+name, "busybox")
		}
	}
	return nil
}
