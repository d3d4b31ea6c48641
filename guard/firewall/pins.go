package firewall

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hook gives a hook's program and its kind. A name may have a suffix: hooks of
// one container are called "setsockopt-CID".
func (f *Firewall) hook(name string) (*ebpf.Program, ebpf.AttachType) {
	kind, _, _ := strings.Cut(name, "-")
	switch kind {
	case "connect4":
		return f.programs.Connect4, ebpf.AttachCGroupInet4Connect
	case "connect6":
		return f.programs.Connect6, ebpf.AttachCGroupInet6Connect
	case "sendmsg4":
		return f.programs.Sendmsg4, ebpf.AttachCGroupUDP4Sendmsg
	case "sendmsg6":
		return f.programs.Sendmsg6, ebpf.AttachCGroupUDP6Sendmsg
	case "sock_create":
		return f.programs.SockCreate, ebpf.AttachCGroupInetSockCreate
	}
	return f.programs.Setsockopt, ebpf.AttachCGroupSetsockopt
}

// attachHook attaches a hook to the root of all cgroups, or puts our program
// into the link that an earlier agent left.
func (f *Firewall) attachHook(name string) error { return f.attachHookAt(name, f.cgroup) }

// detachHook takes a hook away, if it is there.
func (f *Firewall) detachHook(name string) error {
	l := f.hooks[name]
	if l == nil {
		return nil
	}
	delete(f.hooks, name)
	return detachLink(l)
}

func (f *Firewall) attachHookAt(name, cgroup string) error {
	if f.hooks[name] != nil {
		return nil
	}
	if f.adoptHook(name) {
		return nil
	}
	prog, attach := f.hook(name)
	pin := filepath.Join(f.dir, name)
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: attach, Program: prog})
	if err != nil {
		return fmt.Errorf("attach %s to %s: %w", name, cgroup, err)
	}
	if err := l.Pin(pin); err != nil {
		_ = l.Close()
		return fmt.Errorf("pin %s: %w", name, err)
	}
	f.hooks[name] = l
	return nil
}

// adoptHook puts our program into a link that an earlier agent pinned. A link
// that does not take it (its cgroup is gone, or it is something else) is removed.
func (f *Firewall) adoptHook(name string) bool {
	pin := filepath.Join(f.dir, name)
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return false
	}
	prog, _ := f.hook(name)
	if err := l.Update(prog); err != nil {
		f.log.Warn("pinned hook does not take the new program and is attached anew", "hook", name, "err", err)
		_ = l.Unpin()
		_ = l.Close()
		return false
	}
	f.hooks[name] = l
	return true
}

// detachLink ends a link now, whoever else holds it, and unpins it. A link
// whose interface has gone is detached already.
func detachLink(l link.Link) error {
	err := l.Detach()
	if errors.Is(err, unix.ENOLINK) || errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		err = nil
	}
	unpin := l.Unpin()
	if errors.Is(unpin, os.ErrNotExist) {
		unpin = nil
	}
	return errors.Join(err, unpin, l.Close())
}

// Remove detaches and unpins everything that any agent's firewall left under
// pinDir, also one that died. Nothing there is no error.
func Remove(pinDir string) error {
	dir := filepath.Join(pinDir, "firewall")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove firewall: %w", err)
	}
	// Links first: a hook without its maps would decide without rules.
	var errs []error
	for _, links := range []bool{true, false} {
		for _, e := range entries {
			if isMap := strings.HasPrefix(e.Name(), "net_"); isMap == links {
				continue
			}
			pin := filepath.Join(dir, e.Name())
			if links {
				// Unpinning alone detaches some time later.
				if l, err := link.LoadPinnedLink(pin, nil); err == nil {
					errs = append(errs, detachLink(l))
					continue
				}
			}
			if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove firewall: %w", err)
	}
	return nil
}

// cgroupRoot finds where the cgroup-v2 hierarchy is mounted, on unified and on
// hybrid machines.
func cgroupRoot(mounts string) (string, error) {
	file, err := os.Open(mounts)
	if err != nil {
		return "", fmt.Errorf("find cgroup-v2 root: %w", err)
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	for s.Scan() {
		if p := strings.Fields(s.Text()); len(p) > 3 && p[2] == "cgroup2" {
			return p[1], nil
		}
	}
	if err := s.Err(); err != nil {
		return "", fmt.Errorf("find cgroup-v2 root: %w", err)
	}
	return "", fmt.Errorf("find cgroup-v2 root: none is mounted (%s); mount one: mount -t cgroup2 none /sys/fs/cgroup/unified", mounts)
}
