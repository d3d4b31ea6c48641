package vuln

import (
	"bytes"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// entryRow is an entry as it lies in the file; see encodeEntry.
type entryRow struct {
	advisory  uint32
	status    Status
	severity  scan.Severity
	all       bool
	broken    bool   // a range could not be read when the database was built
	fixed     uint32 // version, when it is the only bound
	ranges    []byte // intervals
	nRanges   int
	versions  []byte // uvarints
	nVersions int
	module    uint32 // string
	arch      []byte // uvarints
	nArch     int
}

// entries walks the entries of a package.
type entries struct {
	cursor
	before uint32
	e      entryRow
}

func (w *entries) next() bool {
	if len(w.b) == 0 || w.bad {
		return false
	}
	w.before += uint32(w.uint())
	flags := w.byte()
	w.e = entryRow{advisory: w.before, status: Status(flags & flagStatus), all: flags&flagAll != 0}
	switch {
	case w.e.all:
	case flags&flagFixed != 0:
		w.e.fixed = uint32(w.uint())
	default:
		w.e.nRanges = w.count()
		start := w.b
		for range w.e.nRanges {
			kind := bound(w.byte())
			w.uint()
			if kind != boundNone {
				w.uint()
			}
		}
		w.e.ranges = start[:len(start)-len(w.b)]
	}
	if flags&flagVersions != 0 {
		w.e.nVersions = w.count()
		w.e.versions = w.skip(w.e.nVersions)
	}
	if flags&flagMore != 0 {
		w.e.severity = scan.Severity(min(w.byte(), byte(scan.Critical)))
		w.e.broken = w.byte() != 0
		w.e.module = uint32(w.uint())
		w.e.nArch = w.count()
		w.e.arch = w.skip(w.e.nArch)
	}
	return !w.bad
}

// skip passes over numbers and gives their bytes.
func (w *entries) skip(n int) []byte {
	start := w.b
	for range n {
		w.uint()
	}
	return start[:len(start)-len(w.b)]
}

// span is an interval of keys that a matched entry calls affected.
type span struct {
	low, up []byte
	kind    bound
	fix     uint32 // version
	text    []byte // an exact version that has no key
}

// spans appends what an entry calls affected.
func (d *DB) spans(dst []span, e *entryRow) ([]span, bool) {
	switch {
	case e.all:
		return append(dst, span{}), true
	case e.fixed != 0:
		_, key, ok := d.version(e.fixed)
		return append(dst, span{up: key, kind: boundFixed, fix: e.fixed}), ok
	}
	c := cursor{b: e.ranges}
	for range e.nRanges {
		s := span{kind: bound(c.byte())}
		low, ok := uint32(c.uint()), true
		if low != 0 {
			if _, s.low, ok = d.version(low); !ok {
				return dst, false
			}
		}
		if s.kind != boundNone {
			up := uint32(c.uint())
			if _, s.up, ok = d.version(up); !ok {
				return dst, false
			}
			if s.kind == boundFixed {
				s.fix = up
			}
		}
		dst = append(dst, s)
	}
	v := cursor{b: e.versions}
	for range e.nVersions {
		text, key, ok := d.version(uint32(v.uint()))
		if !ok {
			return dst, false
		}
		s := span{low: key, up: key, kind: boundLast, text: text}
		dst = append(dst, s)
	}
	return dst, !c.bad && !v.bad
}

// holds tells whether a version is in the span; its key is nil when its order
// cannot be read, and then only the very same text counts.
func (s *span) holds(key []byte, text string) bool {
	if s.text != nil && string(s.text) == text {
		return true
	}
	if s.text != nil && len(s.up) == 0 {
		return false
	}
	if key == nil {
		// No bounds at all need no order.
		return s.kind == boundNone && len(s.low) == 0
	}
	return within(key, s.low, s.up, s.kind)
}

// fits tells whether the entry is about packages of this module and
// architecture. doubt means that the package is modular but does not say of
// which stream.
func (d *DB) fits(e *entryRow, p *scan.Package, modular bool) (fits, doubt, ok bool) {
	if e.nArch > 0 && p.Arch != "" && p.Arch != "noarch" && p.Arch != "all" {
		c, found := cursor{b: e.arch}, false
		for range e.nArch {
			a, ok := d.text(uint32(c.uint()))
			if !ok {
				return false, false, false
			}
			found = found || string(a) == p.Arch || string(a) == "noarch"
		}
		if !found {
			return false, false, true
		}
	}
	module, ok := d.text(e.module)
	switch {
	case !ok:
		return false, false, false
	case len(module) == 0:
		return !modular, false, true
	case !modular:
		return false, false, true
	case string(module) == anyModule:
		return true, false, true
	case p.Module == "":
		return true, true, true
	}
	rest, found := strings.CutPrefix(p.Module, view(module))
	return found && (rest == "" || rest[0] == ':'), false, true
}

// lowerKey orders candidate fixes.
func lowerKey(a, b []byte) bool { return b == nil || bytes.Compare(a, b) < 0 }
