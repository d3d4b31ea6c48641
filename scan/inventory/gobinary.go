package inventory

import (
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

const goPlugin = "go-binary"

// goMagic begins the build information that Go's linker writes, at a multiple
// of 16 (cmd/link/internal/ld/data.go, debug/buildinfo).
const goMagic = "\xff Go buildinf:"

// goScan finds the build information of a Go program in windows of its bytes.
type goScan struct {
	data    segment // the first writable segment: where the information belongs
	info    *debug.BuildInfo
	certain bool  // info is from the writable segment
	old     bool  // written by Go before 1.18, as pointers that a stream cannot follow
	err     error // the information of a candidate could not be read
}

// window looks at the part of a window before limit. whole says that the window
// is the whole file.
func (s *goScan) window(b []byte, limit int, off int64, whole bool) {
	if s.certain {
		return
	}
	magic := binary.LittleEndian.Uint64([]byte(goMagic))
	for i := int(-off & 15); i+32 <= len(b) && i < limit; i += 16 {
		if binary.LittleEndian.Uint64(b[i:]) != magic || string(b[i:i+14]) != goMagic {
			continue
		}
		certain := s.data.has(off + int64(i))
		if s.info != nil && !certain {
			continue
		}
		if b[i+15]&2 == 0 { // pointers
			if ptr := b[i+14]; ptr != 4 && ptr != 8 {
				continue
			}
			s.old = true
			if whole {
				if info, err := buildinfo.Read(bytes.NewReader(b)); err == nil {
					s.info, s.certain, s.old = info, certain, false
				} else {
					s.err = err
				}
			}
			continue
		}
		info, err := inlineInfo(b[i+32:])
		if errors.Is(err, errNoInfo) {
			continue
		} else if err != nil {
			s.err = err
			continue
		}
		s.info, s.certain = info, certain
		if certain {
			return
		}
	}
}

// errNoInfo says that bytes only begin like build information.
var errNoInfo = errors.New("no build information")

// inlineInfo reads the information as Go 1.18 and later write it: two strings
// with their lengths, the version and the list of modules.
func inlineInfo(b []byte) (*debug.BuildInfo, error) {
	version, b, ok := countedString(b)
	if !ok || !strings.HasPrefix(version, "go") && !strings.HasPrefix(version, "devel") {
		return nil, errNoInfo
	}
	modules, _, ok := countedString(b)
	if !ok {
		return nil, fmt.Errorf("list of modules is cut off, or larger than %d bytes", overlapBytes)
	}
	// The list lies between two marks of 16 bytes.
	if len(modules) >= 33 && modules[len(modules)-17] == '\n' {
		modules = modules[16 : len(modules)-16]
	} else {
		modules = ""
	}
	info, err := debug.ParseBuildInfo(modules)
	if err != nil {
		return nil, err
	}
	info.GoVersion = version
	return info, nil
}

func countedString(b []byte) (s string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, false
	}
	return string(b[w : w+int(n)]), b[w+int(n):], true
}

// packages are the modules in the program: its own, what it uses, and the
// standard library.
func (s *goScan) packages() []scan.Package {
	if s.info == nil {
		return nil
	}
	var out []scan.Package
	add := func(m *debug.Module) {
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Path == "" || strings.HasPrefix(m.Path, ".") || strings.HasPrefix(m.Path, "/") {
			return // replaced by a folder: nobody issues advisories for that
		}
		out = append(out, goModule(m.Path, m.Version))
	}
	if s.info.Main.Path != "" {
		add(&s.info.Main)
	}
	for _, m := range s.info.Deps {
		add(m)
	}
	if v := goRelease(s.info.GoVersion); v != "" {
		p := language("golang", "stdlib", v)
		out = append(out, p)
	}
	return out
}

// goModule makes a package of a module. OSV and we write versions without the
// "v", package URLs with it.
func goModule(path, version string) scan.Package {
	if version == "(devel)" {
		version = ""
	}
	p := language("golang", path, version)
	p.Version = strings.TrimPrefix(version, "v")
	return p
}

// goRelease is the version in "go1.22.3 X:loopvar"; empty for what was built
// between releases.
func goRelease(v string) string {
	v, _, _ = strings.Cut(v, " ")
	v, _, _ = strings.Cut(v, "-")
	v, ok := strings.CutPrefix(v, "go")
	if !ok {
		return ""
	}
	return v
}

func (s *goScan) gaps(path string) []scan.Gap {
	g := scan.Gap{Where: "/" + path, Means: "the modules linked into this program are missing from the report"}
	switch {
	case s.info != nil && goRelease(s.info.GoVersion) == "":
		g.What = fmt.Sprintf("go-binary: built with %q, which is no release of Go", s.info.GoVersion)
		g.Means = "vulnerabilities of Go's standard library in this program are not known"
		g.Do = "build it with a released version of Go"
	case s.info != nil:
		return nil
	case s.old:
		g.What = "go-binary: built with Go before 1.18, whose build information cannot be read from a stream"
		g.Do = "build it with a supported version of Go"
	case s.err != nil:
		g.What = fmt.Sprintf("go-binary: read build information: %v", s.err)
	default:
		return nil
	}
	return []scan.Gap{g}
}
