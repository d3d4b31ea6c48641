package kernel

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// DefaultPinDir is where maps and links are pinned.
const DefaultPinDir = "/sys/fs/bpf/gabion"

// Errors that callers tell apart.
var (
	// ErrBusy: another agent is alive and owns the pinned state.
	ErrBusy = errors.New("another agent is running")
	// ErrLayout: the pinned maps are of another version. Remove and open again.
	ErrLayout = errors.New("pinned kernel state has another layout")
	// ErrUnknownContainer: Apply was never called for it, or Forget was.
	ErrUnknownContainer = errors.New("unknown container")
	// ErrGone: the container's first process has ended.
	ErrGone = errors.New("container is gone")
)

// attachment is a program and where it belongs.
type attachment struct {
	prog, name string
	attach     func(*ebpf.Program) (link.Link, error)
}

// tracepoints are the attachments that every kernel has.
func tracepoints() []attachment {
	at := func(prog, name string) attachment {
		return attachment{prog, name, func(p *ebpf.Program) (link.Link, error) {
			return link.AttachRawTracepoint(link.RawTracepointOptions{Name: name, Program: p})
		}}
	}
	return []attachment{
		at(processProgGabionFork, "sched_process_fork"),
		at(processProgGabionExit, "sched_process_exit"),
		at(processProgGabionExec, "sched_process_exec"),
	}
}

// loaded is a set of maps, programs and links in the kernel.
type loaded struct {
	maps        *Maps
	progs       map[string]*ebpf.Program
	links       map[string]link.Link
	rest        []*ebpf.Map // maps of one load: scratch, constants
	adopted     bool        // maps are an earlier agent's
	instance    uint32
	attachments []attachment // to be attached, or adopted
}

func mapDir(pinDir string) string  { return filepath.Join(pinDir, "maps") }
func linkDir(pinDir string) string { return filepath.Join(pinDir, "links") }

// load brings the programs into the kernel on pinned maps: an earlier agent's
// when there are any. Nothing is attached yet. Without pinDir the maps are
// nobody else's and end with their descriptors.
func load(pinDir string) (*loaded, error) {
	spec, err := loadProcess()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	l := &loaded{maps: &Maps{}, progs: map[string]*ebpf.Program{}, links: map[string]link.Link{}, instance: 1, attachments: tracepoints()}
	fields := l.maps.fields()
	for name, m := range spec.Maps {
		if _, shared := fields[name]; shared && pinDir != "" {
			m.Pinning = ebpf.PinByName
		}
	}
	opts := ebpf.CollectionOptions{}
	if pinDir != "" {
		if err := os.MkdirAll(mapDir(pinDir), 0o700); err != nil {
			return nil, fmt.Errorf("make directory for pinned maps: %w", err)
		}
		opts.Maps.PinPath = mapDir(pinDir)
		old, err := readSettings(pinDir)
		switch {
		case err == nil:
			l.adopted = true
			l.instance = old.Instance + 1
		case errors.Is(err, fs.ErrNotExist):
		default:
			return nil, err
		}
	}
	if err := spec.Variables[processVarInstance].Set(l.instance); err != nil {
		return nil, fmt.Errorf("set instance: %w", err)
	}
	opts.Programs.ExtraRelocationTargets = overlayTypes()
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return nil, fmt.Errorf("load programs: %w: %w", ErrLayout, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	for name, f := range fields {
		*f = coll.DetachMap(name)
	}
	for name := range coll.Maps {
		l.rest = append(l.rest, coll.DetachMap(name))
	}
	for name := range coll.Programs {
		l.progs[name] = coll.DetachProgram(name)
	}
	coll.Close()
	return l, nil
}

// overlayTypes gives the types of overlayfs where it is a module, which the
// question for the file system makes the kernel load.
func overlayTypes() []*btf.Spec {
	if fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC); err == nil {
		unix.Close(fd)
	}
	if _, err := os.Stat("/sys/kernel/btf/overlay"); err != nil {
		return nil
	}
	spec, err := btf.LoadKernelModuleSpec("overlay")
	if err != nil {
		return nil
	}
	return []*btf.Spec{spec}
}

// readSettings reads the settings that are pinned; fs.ErrNotExist when none are.
func readSettings(pinDir string) (settings, error) {
	var s settings
	m, err := ebpf.LoadPinnedMap(filepath.Join(mapDir(pinDir), processMapSettings), nil)
	if err != nil {
		return s, fmt.Errorf("open pinned settings: %w", err)
	}
	defer m.Close()
	if int(m.ValueSize()) != binary.Size(s) {
		return s, ErrLayout
	}
	if err := m.Lookup(uint32(0), &s); err != nil {
		return s, fmt.Errorf("read pinned settings: %w", err)
	}
	if s.Layout == 0 && s.Epoch == 0 {
		return s, fmt.Errorf("pinned settings were never written: %w", fs.ErrNotExist)
	}
	if s.Layout != Layout {
		return s, fmt.Errorf("%w: %d, need %d", ErrLayout, s.Layout, Layout)
	}
	return s, nil
}

// begin writes the settings: all of them on new maps, the agent's own part on
// an earlier agent's.
func (l *loaded) begin(node nodeIdentity, hold bool) error {
	return l.maps.set(func(s *settings) {
		if !l.adopted {
			var seed [24]byte
			_, _ = rand.Read(seed[:]) // never fails (crypto/rand)
			*s = settings{
				Layout: Layout, Instance: l.instance,
				Epoch:   binary.LittleEndian.Uint64(seed[:]),
				HashKey: [2]uint64{binary.LittleEndian.Uint64(seed[8:]), binary.LittleEndian.Uint64(seed[16:])},
			}
		}
		s.set(node, hold)
	})
}

// set writes the agent's own part.
func (s *settings) set(node nodeIdentity, hold bool) {
	s.AgentTGID = uint32(os.Getpid())
	s.Heartbeat = monotonic()
	s.InitMntNS, s.InitPidNS = node.mntns, node.pidns
	s.InitRootDev, s.InitRootIno = node.rootDev, node.rootIno
	s.Hold = 0
	if hold {
		s.Hold = 1
	}
}

// attach makes exactly one load judge. Programs of an earlier agent that are
// the same as ours simply stay; others are replaced: ours are attached, then
// one write makes ours the ones that judge, then the earlier ones go. That
// includes the hooks that the earlier agent had attached for its containers.
func (l *loaded) attach(log *slog.Logger, pinDir string, hooks *hookUse) (err error) {
	dir := linkDir(pinDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for pinned links: %w", err)
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list pinned links: %w", err)
	}
	pinned, err := hooks.pinned()
	if err != nil {
		return err
	}
	inherited, same, err := hooks.inherit(pinned, l.instance)
	if err != nil {
		return errors.Join(err, closeSets(inherited))
	}
	if same && l.adopted && len(old) == len(l.attachments) && l.adoptLinks(dir) {
		l.instance--
		hooks.instance = l.instance
		log.Info("adopted the kernel programs of an earlier agent", "pins", pinDir)
		return hooks.keep(pinned, inherited)
	}
	for _, a := range l.attachments {
		ln, err := a.attach(l.progs[a.prog])
		if err != nil {
			return errors.Join(fmt.Errorf("attach %s: %w", a.name, err), closeSets(inherited))
		}
		l.links[a.prog] = ln
		if err := ln.Pin(pinOf(dir, a.prog, l.instance)); err != nil {
			return errors.Join(fmt.Errorf("pin link of %s: %w", a.name, err), closeSets(inherited))
		}
	}
	hooks.instance = l.instance
	if err := hooks.replace(inherited, l.instance); err != nil {
		return err
	}
	if err := l.maps.set(func(s *settings) { s.Instance = l.instance }); err != nil {
		return err
	}
	gone := make([]string, 0, len(old)+len(pinned))
	for _, e := range old {
		gone = append(gone, filepath.Join(dir, e.Name()))
	}
	for _, p := range pinned {
		gone = append(gone, p.pin)
	}
	for _, pin := range gone {
		if err := os.Remove(pin); err != nil {
			return fmt.Errorf("unpin earlier link: %w", err)
		}
	}
	return nil
}

// pinOf names a pinned link; bpf file systems refuse dots.
func pinOf(dir, prog string, instance uint32) string {
	return filepath.Join(dir, prog+"_"+strconv.FormatUint(uint64(instance), 10))
}

// adoptLinks opens the links that an earlier agent pinned, if all of them run
// the programs that we would.
func (l *loaded) adoptLinks(dir string) bool {
	links := map[string]link.Link{}
	same := true
	for _, a := range l.attachments {
		ln, err := link.LoadPinnedLink(pinOf(dir, a.prog, l.instance-1), nil)
		if err != nil {
			same = false
			break
		}
		links[a.prog] = ln
		if !sameProgram(ln, l.progs[a.prog]) {
			same = false
			break
		}
	}
	if !same {
		for _, ln := range links {
			ln.Close()
		}
		return false
	}
	l.links = links
	return true
}

func sameProgram(ln link.Link, ours *ebpf.Program) bool {
	info, err := ln.Info()
	if err != nil {
		return false
	}
	theirs, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return false
	}
	defer theirs.Close()
	a, err1 := theirs.Info()
	b, err2 := ours.Info()
	return err1 == nil && err2 == nil && a.Tag == b.Tag
}

// close lets go of every descriptor; what is pinned goes on.
func (l *loaded) close() error {
	var errs []error
	for _, ln := range l.links {
		errs = append(errs, ln.Close())
	}
	for _, p := range l.progs {
		errs = append(errs, p.Close())
	}
	for _, m := range l.rest {
		errs = append(errs, m.Close())
	}
	return errors.Join(append(errs, l.maps.close())...)
}

// nodeIdentity tells the node's own processes from containers'.
type nodeIdentity struct {
	mntns, pidns, rootDev uint32
	rootIno               uint64
}

// readNode looks at the node's first process; where that may not be looked at,
// the agent's own namespaces are taken for the node's.
func readNode() (nodeIdentity, error) {
	n, err := nodeOf(1)
	if errors.Is(err, fs.ErrPermission) {
		n, err = nodeOf(os.Getpid())
	}
	if err != nil {
		return n, fmt.Errorf("learn the node's namespaces (the agent needs the host's /proc): %w", err)
	}
	return n, nil
}

func nodeOf(pid int) (nodeIdentity, error) {
	var n nodeIdentity
	for _, ns := range []struct {
		name string
		into *uint32
	}{{"mnt", &n.mntns}, {"pid", &n.pidns}} {
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, ns.name), &st); err != nil {
			return n, fmt.Errorf("read %s namespace of process %d: %w", ns.name, pid, err)
		}
		*ns.into = uint32(st.Ino)
	}
	r, err := openRoot(pid)
	if err != nil {
		return n, err
	}
	defer r.Close()
	_, st, err := r.stat(r.dir)
	if err != nil {
		return n, fmt.Errorf("read root of process %d: %w", pid, err)
	}
	n.rootDev, n.rootIno = r.top.dev, st.Ino
	return n, nil
}

// monotonic is the clock of bpf_ktime_get_ns.
func monotonic() uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano())
}

const bpffsMagic = 0xcafe4a11

// ensureBPFFS makes dir a directory of a bpf file system, mounting the usual
// one when nothing is there.
func ensureBPFFS(dir string) error {
	on := func(p string) bool {
		var st unix.Statfs_t
		for unix.Statfs(p, &st) != nil && p != "/" {
			p = filepath.Dir(p)
		}
		return st.Type == bpffsMagic
	}
	if !on(dir) {
		const usual = "/sys/fs/bpf"
		if _, ok := cutTree(usual, filepath.Clean(dir)); !ok {
			return fmt.Errorf("use %s for pins: it is on no bpf file system; mount one there or use %s", dir, DefaultPinDir)
		}
		if err := unix.Mount("bpf", usual, "bpf", 0, "mode=0700"); err != nil {
			return fmt.Errorf("mount bpf file system on %s: %w", usual, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for pins: %w", err)
	}
	return nil
}

// cgroupMount is where the cgroup-v2 hierarchy is mounted.
func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", fmt.Errorf("find cgroup-v2: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if w := strings.Fields(sc.Text()); len(w) > 2 && w[2] == "cgroup2" {
			return unescape(w[1]), nil
		}
	}
	return "", errors.New("find cgroup-v2: not mounted; mount it or boot with systemd.unified_cgroup_hierarchy=1")
}
