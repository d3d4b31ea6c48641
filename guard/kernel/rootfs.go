package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of a mountinfo file.
type mount struct {
	id     uint64
	dev    uint32 // the kernel's s_dev
	root   string // directory of the file system that is mounted
	point  string // where, as the container sees it
	fstype string
	super  string // options of the file system
}

// parseMounts reads the format of /proc/PID/mountinfo (proc(5)). Lines that do
// not have it are left out.
func parseMounts(text string) []mount {
	var out []mount
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 6 || len(g) < 1 {
			continue
		}
		major, minor, ok := strings.Cut(f[2], ":")
		ma, err1 := strconv.ParseUint(major, 10, 12)
		mi, err2 := strconv.ParseUint(minor, 10, 20)
		id, err3 := strconv.ParseUint(f[0], 10, 64)
		if !ok || err1 != nil || err2 != nil || err3 != nil {
			continue
		}
		m := mount{id: id, dev: uint32(ma<<20 | mi), root: unescape(f[3]), point: unescape(f[4]), fstype: g[0]}
		if len(g) > 2 {
			m.super = g[2]
		}
		out = append(out, m)
	}
	return out
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// rootfs is what a container's processes see as their file system, at one
// moment. Close it soon: an open root keeps the container's mounts alive.
type rootfs struct {
	dir    *os.File // the root directory, O_PATH
	prefix string   // path of dir as the kernel prints it; "" when it is a namespace's root
	mounts []mount
	top    mount  // the mount of the root
	ino    uint64 // of the root directory; 0 when it is the file system's own root
}

// openRoot looks at the root of a process.
func openRoot(pid int) (*rootfs, error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	fd, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root of process %d: %w", pid, err)
	}
	r := &rootfs{dir: os.NewFile(uintptr(fd), proc+"/root")}
	if err := r.read(proc); err != nil {
		return nil, errors.Join(fmt.Errorf("read mounts of process %d: %w", pid, err), r.Close())
	}
	return r, nil
}

func (r *rootfs) Close() error { return r.dir.Close() }

func (r *rootfs) read(proc string) error {
	text, err := os.ReadFile(proc + "/mountinfo")
	if err != nil {
		return err
	}
	r.mounts = parseMounts(string(text))
	r.prefix = fdPath(r.dir)
	if r.prefix == "/" {
		r.prefix = ""
	}
	id, st, err := r.stat(r.dir)
	if err != nil {
		return err
	}
	for _, m := range r.mounts {
		if m.id == id {
			r.top = m
		}
	}
	if r.top.id == 0 {
		return errors.New("the root is on no mount of its mountinfo")
	}
	if r.top.root != "/" {
		r.ino = st.Ino
	}
	return nil
}

func fdPath(f *os.File) string {
	p, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return ""
	}
	return p
}

func (r *rootfs) stat(f *os.File) (mountID uint64, st unix.Stat_t, err error) {
	var sx unix.Statx_t
	if err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_BASIC_STATS, &sx); err != nil {
		return 0, st, err
	}
	err = unix.Fstat(int(f.Fd()), &st)
	return sx.Mnt_id, st, err
}

// object is a file found in a container's root.
type object struct {
	place
	full string // path as the container sees it, links resolved
	ino  uint64
	mode uint32
}

func (o object) isDir() bool { return o.mode&unix.S_IFMT == unix.S_IFDIR }

// open resolves name inside the root; no link leads out of it.
func (r *rootfs) open(name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(int(r.dir.Fd()), name, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// resolve finds the object that name leads to. The error is fs.ErrNotExist
// when there is none.
func (r *rootfs) resolve(name string) (object, error) {
	f, err := r.open(name, unix.O_PATH)
	if err != nil {
		return object{}, err
	}
	defer f.Close()
	id, st, err := r.stat(f)
	if err != nil {
		return object{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	full := r.seen(fdPath(f))
	o := object{full: full, ino: st.Ino, mode: st.Mode}
	for _, m := range r.mounts {
		if m.id == id {
			o.place = r.at(m, full)
			return o, nil
		}
	}
	return object{}, &fs.PathError{Op: "resolve", Path: name, Err: errors.New("on a mount that the container does not list")}
}

// seen turns a path as the kernel prints it to us into the container's.
func (r *rootfs) seen(printed string) string {
	if r.prefix != "" {
		if rest, ok := strings.CutPrefix(printed, r.prefix); ok {
			printed = rest
		}
	}
	if printed == "" {
		return "/"
	}
	return printed
}

// literal is the place of name itself: its directory's links are resolved, the
// last component is taken as it is, and need not exist.
func (r *rootfs) literal(name string) (place, error) {
	if !path.IsAbs(name) {
		return place{}, &fs.PathError{Op: "resolve", Path: name, Err: errors.New("not an absolute path")}
	}
	dir, base := path.Split(path.Clean(name))
	if base == "" {
		o, err := r.resolve("/")
		return o.place, err
	}
	o, err := r.resolve(dir)
	switch {
	case err == nil:
		o.path = path.Join(o.path, base)
		return o.place, nil
	case errors.Is(err, fs.ErrNotExist) && dir != "/":
		p, err := r.literal(path.Clean(dir))
		p.path = path.Join(p.path, base)
		return p, err
	}
	return place{}, err
}

// at turns a container's path that lies on m into a place.
func (r *rootfs) at(m mount, full string) place {
	p := place{dev: m.dev, path: path.Join(m.root, below(m.point, full))}
	if r.ino != 0 && m.dev == r.top.dev {
		if rest, ok := cutTree(r.top.root, p.path); ok {
			p.atRoot, p.path = true, path.Join("/", rest)
		}
	}
	return p
}

// below is full without the directory dir it lies in.
func below(dir, full string) string {
	rest, _ := cutTree(dir, full)
	return rest
}

// cutTree reports whether full is dir or lies below it, and the rest.
func cutTree(dir, full string) (string, bool) {
	if dir == "/" {
		return full, true
	}
	if full == dir {
		return "/", true
	}
	rest, ok := strings.CutPrefix(full, dir+"/")
	return "/" + rest, ok
}

// show turns a place back into the path that the container would use, or gives
// the place's own path when no mount has it.
func showPlace(mounts []mount, top mount, p place) string {
	if p.dev == top.dev {
		if p.atRoot || top.root == "/" {
			return p.path
		}
		if rest, ok := cutTree(top.root, p.path); ok {
			return rest
		}
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		m := mounts[i]
		if m.dev != p.dev {
			continue
		}
		if rest, ok := cutTree(m.root, p.path); ok {
			return path.Join(m.point, rest)
		}
	}
	return p.path
}
