package walk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/gabion-dev/gabion/scan"
)

// Dir walks a directory as if it had been packed into a layer: the same entries
// to the same visitor, each directory sorted by name. It never follows a
// symbolic link, never leaves root, opens nothing but directories and regular
// files, and stays out of the kernel's own file systems (proc, sysfs, cgroup).
// It also understands the upper directory of an overlay: character devices 0/0
// and the attribute trusted.overlay.opaque remove what is below.
//
// An error means that root itself could not be read, or a limit of the whole.
// What vanishes or cannot be read below it is a Gap.
func Dir(ctx context.Context, root string, lim Limits, v Visitor) (Result, error) {
	lim = lim.filled()
	ctx, cancel := context.WithTimeoutCause(ctx, lim.Time, ErrTimeout)
	defer cancel()
	r, err := os.OpenRoot(root)
	if err != nil {
		return Result{}, fmt.Errorf("open directory: %w", err)
	}
	defer r.Close()
	top, err := r.Lstat(".")
	if err != nil {
		return Result{}, fmt.Errorf("open directory: %w", err)
	}
	w := &dirWalk{ctx: ctx, lim: lim, gaps: gaps{max: lim.Gaps}, v: v, inodes: map[inode]string{}}
	if err := w.show(r, ".", ".", top); err != nil {
		return Result{}, err
	}
	if err := w.dir(r, ".", 1); err != nil {
		return Result{}, err
	}
	return Result{Bytes: w.bytes, Entries: w.entries, Gaps: w.gaps.all()}, nil
}

type dirWalk struct {
	ctx     context.Context
	lim     Limits
	gaps    gaps
	v       Visitor
	entries int
	bytes   int64
	// inodes are files with several names, by the first one seen.
	inodes map[inode]string
	entry  Entry
}

type inode struct{ dev, ino uint64 }

// dir shows what is in an open directory, whose path is p.
func (w *dirWalk) dir(r *os.Root, p string, depth int) error {
	f, err := r.Open(".")
	if err != nil {
		w.unreadable(p, err)
		return nil
	}
	defer f.Close()
	if kind := kernelFS(f); kind != "" && p != "." {
		w.gaps.add(scan.Gap{Where: p, What: "it is the kernel's own file system " + kind, Means: "what is in it belongs to the machine and was not examined", Minor: true})
		return nil
	}
	if opaque(f) {
		w.entry = Entry{Path: p, Type: Opaque}
		if err := w.v.Visit(&w.entry, nil); err != nil {
			return err
		}
	}
	names, err := w.names(f)
	if err != nil {
		if errors.Is(err, ErrTooMany) {
			return err
		}
		w.unreadable(p, err) // and go on with those that were read
	}
	for _, name := range names {
		if w.ctx.Err() != nil {
			return stopped(w.ctx)
		}
		child := name
		if p != "." {
			child = p + "/" + name
		}
		if err := w.child(r, name, child, depth); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory, sorted, never more than the limit allows.
func (w *dirWalk) names(f *os.File) ([]string, error) {
	var names []string
	for {
		some, err := f.Readdirnames(1024)
		names = append(names, some...)
		if w.entries+len(names) > w.lim.Entries {
			return nil, fmt.Errorf("walk directory: more than %d: %w", w.lim.Entries, ErrTooMany)
		}
		if err != nil {
			slices.Sort(names)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return names, err
		}
	}
}

func (w *dirWalk) child(r *os.Root, name, p string, depth int) error {
	if len(p) > w.lim.PathBytes || depth > w.lim.Depth {
		w.gaps.add(scan.Gap{Where: p, What: fmt.Sprintf("its path is longer than %d bytes or %d directories", w.lim.PathBytes, w.lim.Depth), Means: "it was not examined", Do: "scan the directory below it by itself"})
		return nil
	}
	fi, err := r.Lstat(name)
	if err != nil {
		w.unreadable(p, err)
		return nil
	}
	if err := w.show(r, name, p, fi); err != nil || !fi.IsDir() {
		return err
	}
	sub, err := r.OpenRoot(name)
	if err != nil {
		w.unreadable(p, err)
		return nil
	}
	defer sub.Close()
	if now, err := sub.Lstat("."); err != nil || !os.SameFile(now, fi) {
		w.unreadable(p, errors.New("it was replaced while it was read"))
		return nil
	}
	return w.dir(sub, p, depth+1)
}

// show hands one entry to the visitor.
func (w *dirWalk) show(r *os.Root, name, p string, fi fs.FileInfo) error {
	w.entries++
	e := &w.entry
	*e = Entry{Path: p, Mode: unixMode(fi.Mode())}
	st, hasStat := fi.Sys().(*syscall.Stat_t)
	if hasStat {
		e.UID, e.GID = int(st.Uid), int(st.Gid)
	}
	switch m := fi.Mode(); {
	case m.IsDir():
		e.Type = Directory
	case m&fs.ModeSymlink != 0:
		target, err := r.Readlink(name)
		if err != nil {
			w.unreadable(p, err)
			return nil
		}
		e.Type, e.Target = Symlink, target
	case !m.IsRegular():
		e.Type = Device
		if m&fs.ModeCharDevice != 0 && hasStat && st.Rdev == 0 {
			e.Type = Whiteout
		}
	default:
		return w.regular(r, name, fi, st)
	}
	return w.v.Visit(e, nil)
}

func (w *dirWalk) regular(r *os.Root, name string, fi fs.FileInfo, st *syscall.Stat_t) error {
	e := &w.entry
	if st != nil && st.Nlink > 1 {
		key := inode{uint64(st.Dev), uint64(st.Ino)}
		if first, seen := w.inodes[key]; seen {
			e.Type, e.Target = Hardlink, first
			return w.v.Visit(e, nil)
		}
		w.inodes[key] = e.Path
	}
	e.Size = fi.Size()
	if w.bytes += e.Size; w.bytes > w.lim.Bytes {
		return fmt.Errorf("walk directory: more than %d bytes: %w", w.lim.Bytes, ErrTooBig)
	}
	if e.Size > w.lim.FileBytes {
		w.gaps.add(fileTooBig(e.Path, e.Size, w.lim.FileBytes))
		return w.v.Visit(e, tooBig{})
	}
	f := &lazyFile{ctx: w.ctx, root: r, name: name, want: fi, left: fi.Size()}
	err := w.v.Visit(e, f)
	f.close()
	if f.err != nil {
		w.unreadable(e.Path, f.err)
	}
	return err
}

func (w *dirWalk) unreadable(p string, err error) {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is told once
	}
	do := "scan again when nothing changes it"
	if errors.Is(err, fs.ErrPermission) {
		do = "scan as a user who may read it"
	}
	w.gaps.add(scan.Gap{Where: p, What: "could not be read: " + err.Error(), Means: "its content was not examined", Do: do})
}

// unixMode turns the bits of io/fs into those of the file system.
func unixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	for _, b := range []struct {
		fs fs.FileMode
		u  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.fs != 0 {
			u |= b.u
		}
	}
	return u
}

// lazyFile opens a file when its first byte is wanted, which for most it never
// is, and gives the size that was promised: what grows is cut, what shrinks is
// an error.
type lazyFile struct {
	ctx  context.Context
	root *os.Root
	name string
	want fs.FileInfo
	f    *os.File
	left int64
	err  error
}

func (l *lazyFile) Read(b []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.left == 0 {
		return 0, io.EOF
	}
	if l.ctx.Err() != nil {
		return 0, stopped(l.ctx)
	}
	if l.f == nil {
		if l.err = l.open(); l.err != nil {
			return 0, l.err
		}
	}
	n, err := l.f.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	if err != nil {
		l.err = noEOF(err)
		return n, l.err
	}
	return n, nil
}

// open makes sure that the file is the one that was listed: it may have been
// replaced by a link or a device since.
func (l *lazyFile) open() error {
	f, err := l.root.OpenFile(l.name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(now, l.want) {
		_ = f.Close()
		return errors.New("it was replaced while it was read")
	}
	l.f = f
	return nil
}

func (l *lazyFile) close() {
	if l.f != nil {
		_ = l.f.Close() // read only
	}
}
