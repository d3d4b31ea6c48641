package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// layers are the directories that an overlay root is made of, as paths of the
// host: upper is what the container wrote, lowers the image, topmost first.
type layers struct {
	upper  string
	lowers []string
}

// parseLayers reads the options of an overlay mount from mountinfo. Relative
// directories are relative to where runtimes keep their layers: two above the
// upper directory.
func parseLayers(options string) (layers, error) {
	var l layers
	for opt := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(opt, "=")
		value = unescape(value)
		switch name {
		case "upperdir":
			l.upper = unbackslash(value)
		case "lowerdir":
			l.lowers = append(l.lowers, splitLowers(value)...)
		case "lowerdir+":
			l.lowers = append(l.lowers, value)
		}
	}
	if len(l.lowers) == 0 {
		return l, errors.New("read overlay layers: mount options name no lowerdir")
	}
	base := filepath.Dir(filepath.Dir(l.upper))
	for i, p := range l.lowers {
		if !filepath.IsAbs(p) {
			if l.upper == "" {
				return l, fmt.Errorf("read overlay layers: lowerdir %q is relative", p)
			}
			l.lowers[i] = filepath.Join(base, p)
		}
	}
	return l, nil
}

// splitLowers splits a lowerdir option at colons that no backslash protects.
func splitLowers(s string) []string {
	var out []string
	var cur strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			cur.WriteByte(s[i])
		case s[i] == ':':
			if cur.Len() > 0 {
				out = append(out, cur.String())
			}
			cur.Reset()
		default:
			cur.WriteByte(s[i])
		}
	}
	if cur.Len() > 0 {
		out = append(out, cur.String())
	}
	return out
}

func unbackslash(s string) string {
	return strings.Join(splitLowers(strings.ReplaceAll(s, ":", `\:`)), "")
}

// reachable says why the layers cannot be read from here, or nil.
func (l layers) reachable() error {
	for _, dir := range append([]string{l.upper}, l.lowers...) {
		if dir == "" {
			continue
		}
		if st, err := os.Stat(dir); err != nil {
			return fmt.Errorf("read layer: %w", err)
		} else if !st.IsDir() {
			return fmt.Errorf("read layer %s: not a directory", dir)
		}
	}
	return nil
}

// inLayer opens name below a layer without following any link.
func inLayer(layer, name string, flags uint64) (*os.File, error) {
	fd, err := unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: layer, Err: err}
	}
	defer unix.Close(fd)
	rel := strings.TrimPrefix(path.Clean(name), "/")
	if rel == "" {
		rel = "."
	}
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK // a pipe must not make us wait
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	f, err := unix.Openat2(fd, rel, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(layer, rel), Err: err}
	}
	return os.NewFile(uintptr(f), filepath.Join(layer, rel)), nil
}

// image opens the image's own file of that name: that of the topmost layer
// that has one, unless a layer above hides it. nil when the image has none.
func (l layers) image(name string) (*os.File, error) {
	for _, layer := range l.lowers {
		probe, err := inLayer(layer, name, unix.O_PATH)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENOENT):
			hidden, err := hides(layer, path.Dir(path.Clean(name)))
			if err != nil || hidden {
				return nil, err
			}
			continue
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return nil, nil // something that is no directory is in the way
		default:
			return nil, err
		}
		var st unix.Stat_t
		err = unix.Fstat(int(probe.Fd()), &st)
		probe.Close()
		if err != nil {
			return nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, nil // a whiteout, or no program
		}
		return inLayer(layer, name, unix.O_RDONLY)
	}
	return nil, nil
}

// hides reports whether a layer's directory (or one above it) keeps the layers
// below from shining through.
func hides(layer, dir string) (bool, error) {
	for {
		f, err := inLayer(layer, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err == nil {
			var v [1]byte
			n, err := unix.Fgetxattr(int(f.Fd()), "trusted.overlay.opaque", v[:])
			f.Close()
			if err == nil && n == 1 && v[0] == 'y' {
				return true, nil
			}
		} else if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return true, nil
		}
		if dir == "/" || dir == "." {
			return false, nil
		}
		dir = path.Dir(dir)
	}
}

// settle is how old a file's last change must be before its content counts as
// belonging to its change time: longer than the coarsest clock tick.
const settle = 20 * time.Millisecond

// verify compares the container's own copy of a file with the image's. key is
// the state that was compared; ok is false when the container has no copy of
// its own, so that the file is the image's.
func (l layers) verify(name string, dev uint32, now func() time.Time) (verdict uint32, key fileKey, ok bool, err error) {
	if l.upper == "" {
		return fileImage, key, false, nil
	}
	f, err := inLayer(l.upper, name, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fileImage, key, false, nil
	}
	if err != nil {
		return 0, key, false, err
	}
	defer f.Close()
	for range 3 {
		var before, after unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &before); err != nil {
			return 0, key, false, err
		}
		if before.Mode&unix.S_IFMT != unix.S_IFREG {
			return fileImage, key, false, nil
		}
		changed := time.Unix(before.Ctim.Sec, before.Ctim.Nsec)
		if wait := settle - now().Sub(changed); wait > 0 {
			time.Sleep(min(wait, settle))
		}
		verdict, err = l.compare(f, before.Size, name)
		if err != nil {
			return 0, key, false, err
		}
		if err := unix.Fstat(int(f.Fd()), &after); err != nil {
			return 0, key, false, err
		}
		if before.Ctim == after.Ctim && before.Size == after.Size {
			return verdict, fileKey{
				Ino: before.Ino, Dev: dev, Size: uint64(before.Size),
				CtimeSec: uint64(before.Ctim.Sec), CtimeNsec: uint32(before.Ctim.Nsec),
			}, true, nil
		}
	}
	return 0, key, false, fmt.Errorf("compare %s with the image: it does not stop changing", name)
}

func (l layers) compare(f *os.File, size int64, name string) (uint32, error) {
	img, err := l.image(name)
	if err != nil {
		return 0, fmt.Errorf("open the image's %s: %w", name, err)
	}
	if img == nil {
		return fileNew, nil
	}
	defer img.Close()
	st, err := img.Stat()
	if err != nil {
		return 0, fmt.Errorf("compare %s with the image: %w", name, err)
	}
	if st.Size() != size {
		return fileChanged, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("compare %s with the image: %w", name, err)
	}
	a, b := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		n, err1 := io.ReadFull(f, a)
		m, err2 := io.ReadFull(img, b)
		if n != m || !bytes.Equal(a[:n], b[:m]) {
			return fileChanged, nil
		}
		if isEnd(err1) && isEnd(err2) {
			return fileImage, nil
		}
		if err := errors.Join(err1, err2); err != nil {
			return 0, fmt.Errorf("compare %s with the image: %w", name, err)
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
