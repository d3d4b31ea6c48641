package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// maxExempt bounds the programs that a rule exempts in one container.
const maxExempt = 4096

// fileID is a file as the kernel programs tell it.
type fileID struct {
	dev uint32
	ino uint64
}

// compileHardening resolves a section inside a container. Exempt programs are
// found now, by their files: what is written later is not exempt. A multi-call
// program (busybox) is exempt by its own name alone, since nobody can be sure
// under which other it acts. unmatched lists the rules that have an exemption
// which matches nothing.
func compileHardening(pid int, p *policy.HardeningPlan) (h hardenEntry, may map[fileID]uint32, unmatched []int, err error) {
	may = map[fileID]uint32{}
	if p == nil {
		return h, may, nil, nil
	}
	h.Mode = planMode(p.Mode)
	var r *rootfs
	for i := range p.Deny {
		d := &p.Deny[i]
		if d.Switch >= policy.NumSwitches || d.Rule < 0 || d.Rule > 0xffff {
			return h, nil, nil, fmt.Errorf("rule %d of hardening: its switch (%d) or rule number (%d) is out of range", i, d.Switch, d.Rule)
		}
		h.Deny |= 1 << d.Switch
		h.Rule[d.Switch] = uint16(d.Rule)
		for _, x := range d.Exempt {
			if r == nil {
				if r, err = openRoot(pid); err != nil {
					if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
						err = fmt.Errorf("%w: %w", ErrGone, err)
					}
					return h, nil, nil, err
				}
				defer r.Close()
			}
			found, err := exemptFiles(r, pid, x)
			if err != nil {
				return h, nil, nil, err
			}
			if len(found) == 0 {
				unmatched = append(unmatched, d.Rule)
			}
			for _, f := range found {
				may[f] |= 1 << d.Switch
			}
		}
	}
	slices.Sort(unmatched)
	return h, may, slices.Compact(unmatched), nil
}

// exemptFiles finds the programs of a container that a rule is about.
func exemptFiles(r *rootfs, pid int, x policy.ExecRule) ([]fileID, error) {
	if x.Args != nil || x.Parents != nil || x.Users != nil || x.Scripts != nil {
		return nil, nil // what cannot be told must not be exempt
	}
	switch x.Match {
	case policy.MatchFile:
		return exemptFile(r, x.Path)
	case policy.MatchNames:
		var out []fileID
		for _, dir := range binDirs {
			for _, name := range x.Names {
				found, err := exemptFile(r, path.Join(dir, name))
				if err != nil {
					return nil, err
				}
				out = append(out, found...)
			}
		}
		return out, nil
	case policy.MatchDir, policy.MatchTree:
		return exemptTree(r, pid, x)
	}
	return nil, nil
}

func exemptFile(r *rootfs, name string) ([]fileID, error) {
	o, err := r.resolve(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find exempt program %s: %w", name, err)
	}
	target := path.Base(o.path)
	multi := slices.ContainsFunc(multiPrefixes, func(p string) bool { return strings.HasPrefix(target, p) })
	if o.mode&unix.S_IFMT != unix.S_IFREG || multi && target != path.Base(name) {
		return nil, nil
	}
	return []fileID{{o.dev, o.ino}}, nil
}

func exemptTree(r *rootfs, pid int, x policy.ExecRule) (out []fileID, err error) {
	top := filepath.Join("/proc", strconv.Itoa(pid), "root")
	o, err := r.resolve(x.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find exempt programs of %s: %w", x.Path, err)
	}
	base := filepath.Join(top, o.full)
	seen := 0
	err = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what vanishes while we look is not exempt
		}
		if seen++; seen > 50*maxExempt {
			return fmt.Errorf("more than %d files", 50*maxExempt)
		}
		if d.IsDir() {
			if p != base && x.Match == policy.MatchDir {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return nil //nolint:nilerr // as above
		}
		if len(out) == maxExempt {
			return fmt.Errorf("more than %d programs", maxExempt)
		}
		found, err := exemptFile(r, strings.TrimPrefix(p, top))
		out = append(out, found...)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find exempt programs of %s: %w", x.Path, err)
	}
	return out, nil
}
