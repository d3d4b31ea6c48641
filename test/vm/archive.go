package vm

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"
)

// archive writes the kernel's initramfs format: cpio, "newc" (kernel
// Documentation/driver-api/early-userspace/buffer-format.rst). Folders above a
// file are made as needed. The first error sticks and is given by close.
type archive struct {
	w       *bufio.Writer
	n       int64 // bytes written
	ino     int
	folders map[string]bool
	err     error
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), folders: map[string]bool{".": true, "/": true}}
}

const (
	modeDir  = 0o040755
	modeFile = 0o100000
	modeLink = 0o120777
)

func (a *archive) dir(name string) {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	if a.folders[name] {
		return
	}
	a.dir(path.Dir(name))
	a.folders[name] = true
	a.entry(name, modeDir, 2, nil)
}

func (a *archive) file(name string, perm int, data []byte) {
	a.dir(path.Dir(name))
	a.entry(name, modeFile|perm, 1, data)
}

func (a *archive) link(name, target string) {
	a.dir(path.Dir(name))
	a.entry(name, modeLink, 1, []byte(target))
}

func (a *archive) entry(name string, mode, links int, data []byte) {
	if a.err == nil && int64(len(data)) >= 1<<32 {
		a.err = fmt.Errorf("pack %s: too big for the format", name)
	}
	name = strings.TrimPrefix(name, "/")
	a.ino++
	a.write([]byte(fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)))
	a.write([]byte(name + "\x00"))
	a.pad()
	a.write(data)
	a.pad()
}

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	var n int
	n, a.err = a.w.Write(b)
	a.n += int64(n)
}

// pad fills up to a multiple of four.
func (a *archive) pad() { a.write(make([]byte, (4-a.n%4)%4)) }

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 1, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}
