package decide

import (
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/scan"
)

// use is what was seen of an image's containers.
type use struct {
	ran     map[string]bool // absolute paths; nil: nobody watched
	ports   []string
	exposed *bool
}

// lookUp asks for an image by both of its digests.
func lookUp(img scan.Image, from facts.ImageUse) use {
	var u use
	if from == nil {
		return u
	}
	for _, d := range []string{img.Digest, img.ConfigID} {
		if d == "" {
			continue
		}
		if programs, watched := from.ExecutedIn(d); watched {
			if u.ran == nil {
				u.ran = map[string]bool{}
			}
			for _, p := range programs {
				u.ran[path.Clean("/"+p)] = true
			}
		}
		if ports, watched := from.ExposedTo(d); watched {
			u.ports = append(u.ports, ports...)
			open := len(u.ports) > 0
			u.exposed = &open
		}
	}
	slices.Sort(u.ports)
	u.ports = slices.Compact(u.ports)
	return u
}

// mark fills what was seen of a finding's package. That a package was not used
// is said only when it has programs and nothing but programs: libraries and
// scripts are loaded by programs of others, which watching programs misses.
func (u *use) mark(f *scan.Finding, p *scan.Package) {
	f.Used, f.Exposed = nil, nil
	if u.exposed != nil {
		v := *u.exposed
		f.Exposed = &v
	}
	if u.ran == nil {
		return
	}
	programs := p.Programs
	if len(programs) == 0 && isProgram(p) {
		programs = []string{p.Path}
	}
	idle := len(programs) > 0
	for _, prog := range programs {
		prog = path.Clean("/" + prog)
		if u.ran[prog] {
			used := true
			f.Used = &used
			return
		}
		idle = idle && !isLibrary(prog)
	}
	if idle {
		used := false
		f.Used = &used
	}
}

// isProgram reports whether a package was read out of the program itself.
func isProgram(p *scan.Package) bool {
	return (p.Ecosystem == "Go" || p.Ecosystem == "crates.io" || p.Ecosystem == "Binary") &&
		!strings.Contains(p.Path, "!/") && !slices.Contains([]string{"go.mod", "go.sum", "Cargo.lock", "Cargo.toml", "modules.txt"}, path.Base(p.Path)) &&
		!isLibrary(p.Path)
}

func isLibrary(file string) bool {
	base := path.Base(file)
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
}
