package walk_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan/walk"
)

// tree makes a directory of files, links ("-> target"), directories (ending in
// "/") and hard links ("= name").
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { // what is linked to first
		return strings.Count(files[a], "= ") - strings.Count(files[b], "= ")
	})
	for _, n := range names {
		p := filepath.Join(root, n)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if err == nil {
			switch body := files[n]; {
			case strings.HasSuffix(n, "/"):
				err = os.MkdirAll(p, 0o755)
			case strings.HasPrefix(body, "-> "):
				err = os.Symlink(body[3:], p)
			case strings.HasPrefix(body, "= "):
				err = os.Link(filepath.Join(root, body[2:]), p)
			default:
				err = os.WriteFile(p, []byte(body), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func dir(t *testing.T, root string, lim walk.Limits) ([]string, walk.Result, error) {
	t.Helper()
	l := &list{}
	res, err := walk.Dir(context.Background(), root, lim, l)
	return l.got, res, err
}

// TestDirLikeLayer: a directory and the layer packed of it show the same.
func TestDirLikeLayer(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/hostname": "web", "usr/bin/x": "#!/bin/sh\n", "usr/bin/y": "= usr/bin/x", "bin": "-> usr/bin", "up": "-> ../../../etc/passwd", "circle": "-> circle", "empty/": "",
	})
	if err := os.Chmod(filepath.Join(root, "usr/bin/x"), 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	fromDir, res, err := dir(t, root, walk.Limits{})
	if err != nil || len(res.Gaps) != 0 || res.Entries != len(fromDir) || res.Bytes != 13 {
		t.Fatalf("%v %+v", err, res)
	}
	fromLayer, _, err := layer(t, buf.Bytes(), walk.Want{}, walk.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	// The writer of the standard library has no root entry and no hard links.
	want := slices.DeleteFunc(slices.Clone(fromDir), func(s string) bool { return s == "directory ." })
	for i, s := range want {
		if s == "hardlink usr/bin/y -> usr/bin/x" {
			want[i] = `regular usr/bin/y 10 "#!/bin/sh\n"`
		}
	}
	slices.Sort(want)
	slices.Sort(fromLayer)
	if diff := cmp.Diff(fromLayer, want); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(fromDir, "hardlink usr/bin/y -> usr/bin/x") || !slices.Contains(fromDir, "symlink up -> ../../../etc/passwd") {
		t.Errorf("%q", fromDir)
	}
	if again, _, err := dir(t, root, walk.Limits{}); err != nil || !slices.Equal(again, fromDir) {
		t.Error("a second walk shows another order")
	}
}

// TestDirModes: modes and owners are those of the file system.
func TestDirModes(t *testing.T) {
	root := tree(t, map[string]string{"su": "x"})
	if err := os.Chmod(filepath.Join(root, "su"), 0o711|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	_, err := walk.Dir(context.Background(), root, walk.Limits{}, walk.VisitorFunc(func(e *walk.Entry, _ io.Reader) error {
		if e.Path == "su" && (e.Mode != 0o6711 || e.UID != os.Getuid() || e.GID < 0) {
			t.Errorf("%+v", e)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// TestDirDevices: nothing but files is opened: a FIFO would block for ever.
func TestDirDevices(t *testing.T) {
	root := tree(t, map[string]string{"a": "x"})
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, res, err := dir(t, root, walk.Limits{})
	if err != nil || len(res.Gaps) != 0 || !slices.Contains(got, "device fifo") {
		t.Errorf("%q %v %+v", got, err, res)
	}
}

// TestDirGaps: what vanishes, changes or is too much is a gap, and the rest is
// shown.
func TestDirGaps(t *testing.T) {
	for name, c := range map[string]struct {
		lim    walk.Limits
		change func(root, seen string)
		where  string
		word   string
	}{
		"big file": {lim: walk.Limits{FileBytes: 3}, where: "b", word: "limit of 3"},
		"deep":     {lim: walk.Limits{Depth: 2}, where: "d/e/f", word: "2 directories"},
		"long":     {lim: walk.Limits{PathBytes: 4}, where: "d/e/f", word: "4 bytes"},
		"vanishes": {change: func(root, seen string) {
			if seen == "a" {
				_ = os.Remove(filepath.Join(root, "b"))
			}
		}, where: "b", word: "no such file"},
		"shrinks": {change: func(root, seen string) {
			if seen == "b" {
				_ = os.Truncate(filepath.Join(root, "b"), 1)
			}
		}, where: "b", word: "unexpected EOF"},
		"becomes a link": {change: func(root, seen string) {
			if seen == "b" {
				_ = os.Remove(filepath.Join(root, "b"))
				_ = os.Symlink("a", filepath.Join(root, "b"))
			}
		}, where: "b", word: "could not be read"},
		"becomes another file": {change: func(root, seen string) {
			if seen == "b" {
				_ = os.Rename(filepath.Join(root, "a"), filepath.Join(root, "b"))
			}
		}, where: "b", word: "replaced"},
		"directory becomes another": {change: func(root, seen string) {
			if seen == "d" {
				_ = os.Rename(filepath.Join(root, "d"), filepath.Join(root, "old"))
				_ = os.Mkdir(filepath.Join(root, "d"), 0o755)
			}
		}, where: "d", word: "replaced"},
	} {
		root := tree(t, map[string]string{"a": "1", "b": "12345", "d/e/f": "x"})
		var seen []string
		res, err := walk.Dir(context.Background(), root, c.lim, walk.VisitorFunc(func(e *walk.Entry, r io.Reader) error {
			seen = append(seen, e.Path)
			if c.change != nil {
				c.change(root, e.Path)
			}
			if r != nil {
				_, _ = io.Copy(io.Discard, r) // its errors are the walk's to tell
			}
			return nil
		}))
		if err != nil || len(res.Gaps) != 1 || res.Gaps[0].Where != c.where || !strings.Contains(res.Gaps[0].What, c.word) || res.Gaps[0].Minor {
			t.Errorf("%s: %v %+v", name, err, res.Gaps)
		}
		if !slices.Contains(seen, "a") {
			t.Errorf("%s: the rest was not shown: %q", name, seen)
		}
	}
}

func TestDirLost(t *testing.T) {
	root := tree(t, map[string]string{"a": "12345", "b": "12345"})
	if _, _, err := dir(t, filepath.Join(root, "nothing"), walk.Limits{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, _, err := dir(t, filepath.Join(root, "a"), walk.Limits{}); err == nil {
		t.Error("a file was walked")
	}
	if _, _, err := dir(t, root, walk.Limits{Entries: 2}); !errors.Is(err, walk.ErrTooMany) {
		t.Errorf("entries: %v", err)
	}
	if _, _, err := dir(t, root, walk.Limits{Bytes: 9}); !errors.Is(err, walk.ErrTooBig) {
		t.Errorf("bytes: %v", err)
	}
	if _, _, err := dir(t, root, walk.Limits{Time: 1}); !errors.Is(err, walk.ErrTimeout) {
		t.Errorf("time: %v", err)
	}
	mine := errors.New("mine")
	if _, err := walk.Dir(context.Background(), root, walk.Limits{}, walk.VisitorFunc(func(*walk.Entry, io.Reader) error { return mine })); !errors.Is(err, mine) {
		t.Errorf("the visitor's error: %v", err)
	}
}

// TestDirUnreadable: files of others are gaps that say what to do.
func TestDirUnreadable(t *testing.T) {
	testkit.RequireRoot(t)
	root := tree(t, map[string]string{"open": "x", "closed": "x", "dir/x": "y"})
	for p, mode := range map[string]fs.FileMode{"": 0o755, "closed": 0o600, "dir": 0o700} {
		if err := os.Chmod(filepath.Join(root, p), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	// File permissions are checked against the thread's own ids. It ends with the
	// goroutine, because it stays locked.
	type answer struct {
		got []string
		res walk.Result
		err error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
			done <- answer{err: errno}
			return
		}
		l := &list{}
		res, err := walk.Dir(context.Background(), root, walk.Limits{}, l)
		done <- answer{l.got, res, err}
	}()
	a := <-done
	if a.err != nil || len(a.res.Gaps) != 2 || a.res.Gaps[0].Where != "closed" || a.res.Gaps[1].Where != "dir" || !strings.Contains(a.res.Gaps[0].Do, "user who may") {
		t.Errorf("%v %+v", a.err, a.res.Gaps)
	}
	if !slices.Contains(a.got, `regular open 1 "x"`) {
		t.Errorf("%q", a.got)
	}
}

// TestDirKernel: what the kernel makes up is not read, and that is said. The
// marks of an overlay remove.
func TestDirKernel(t *testing.T) {
	testkit.RequireRoot(t)
	root := tree(t, map[string]string{"proc/": "", "opaque/x": "y"})
	proc := filepath.Join(root, "proc")
	testkit.Require(t, "root", syscall.Mount("proc", proc, "proc", 0, "") == nil, "may not mount")
	defer func() {
		if err := syscall.Unmount(proc, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := syscall.Mknod(filepath.Join(root, "gone"), syscall.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mknod(filepath.Join(root, "null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Fatal(err)
	}
	attr := syscall.Setxattr(filepath.Join(root, "opaque"), "trusted.overlay.opaque", []byte("y"), 0)
	got, res, err := dir(t, root, walk.Limits{})
	want := []string{"directory .", "whiteout gone", "device null", "directory opaque", "opaque opaque", `regular opaque/x 1 "y"`, "directory proc"}
	if attr != nil { // a file system without such attributes
		want = slices.DeleteFunc(want, func(s string) bool { return s == "opaque opaque" })
	}
	if err != nil || !slices.Equal(got, want) || len(res.Gaps) != 1 || res.Gaps[0].Where != "proc" || !res.Gaps[0].Minor {
		t.Errorf("%q %v %+v", got, err, res.Gaps)
	}
}
