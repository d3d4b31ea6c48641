package kernel

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxSnapshot bounds the programs listed for a root that is no overlay.
const maxSnapshot = 20000

// snapshot lists the executable files of a root that is no overlay, as they
// are now, as the image's.
func (e *Engine) snapshot(m *managed, r *rootfs) (n int, err error) {
	base := "/proc/" + strconv.Itoa(m.c.PID) + "/root"
	var top unix.Stat_t
	if err := unix.Fstat(int(r.dir.Fd()), &top); err != nil {
		return 0, fmt.Errorf("list programs: %w", err)
	}
	seen := 0
	err = filepath.WalkDir(base+"/", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what vanishes while we look is not listed
		}
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil {
			return nil
		}
		if st.Dev != top.Dev {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if seen++; seen > 10*maxSnapshot {
			return fmt.Errorf("list programs: more than %d files", 10*maxSnapshot)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
			return nil
		}
		if n++; n > maxSnapshot {
			return fmt.Errorf("list programs: more than %d", maxSnapshot)
		}
		key := fileKey{Ino: st.Ino, Dev: m.top.dev, Size: uint64(st.Size), CtimeSec: uint64(st.Ctim.Sec), CtimeNsec: uint32(st.Ctim.Nsec)}
		return e.l.maps.files.Put(key, fileImage)
	})
	return n, err
}
