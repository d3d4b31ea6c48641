package inventory

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// programPlugin is what packages found by classifiers name as their source.
const programPlugin = "classifier"

// programVersion changes with what is found in programs; see contentsVersion.
const programVersion = 1

const (
	headBytes = 512 // enough to tell what a file is
	// overlapBytes is how much two windows of a large program share: the largest
	// thing that is found whole (the module list of a Go program).
	overlapBytes = 512 << 10
	chunkBytes   = 128 << 10 // hashed while still in the processor's cache
)

// Indices into programKinds.
const (
	kindELF = iota
	kindLibrary
	kindScript
)

// mayBeProgram decides by name and mode whether the first bytes are looked at.
func mayBeProgram(base string, mode uint32) bool {
	return mode&0o111 != 0 || isLibrary(base)
}

// isLibrary recognises shared objects by name ("libc.so.6", "addon.node").
func isLibrary(base string) bool {
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.") || strings.HasSuffix(base, ".node")
}

// programKind tells executables, libraries and scripts by their first bytes.
func programKind(base string, mode uint32, head []byte) (kind uint8, ok bool) {
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		if isLibrary(base) {
			return kindLibrary, true
		}
		return kindELF, true
	case bytes.HasPrefix(head, []byte("#!")) && mode&0o111 != 0:
		return kindScript, true
	}
	return 0, false
}

// programScan looks at a program while its bytes go by: it hashes, and it
// looks for build information and for the marks of known programs.
type programScan struct {
	hash  hash.Hash // nil when the file is no program
	rules []ruleFor
	seen  map[string]bool // "name version" of what rules found
	found []scan.Package
	elf   bool
	goes  goScan
	rust  rustScan
}

func (c *Collector) newProgramScan(base string, program, elf bool) *programScan {
	p := &programScan{elf: elf}
	p.rust.z = &c.z
	if program {
		p.hash = sha256.New()
	}
	if elf {
		p.rules = c.x.classifiers.forProgram(base)
	}
	return p
}

// see takes in content that is only hashed.
func (p *programScan) see(b []byte) {
	if p.hash != nil {
		p.hash.Write(b)
	}
}

// stream reads a program that does not fit the buffer, in windows that
// overlap.
func (p *programScan) stream(c *Collector, head []byte, r io.Reader) error {
	window := int(c.x.config.MaxBuffer)
	p.see(head)
	have, off, done := len(head), int64(0), false
	if _, err := c.fill(head, bytes.NewReader(nil), window); err != nil {
		return err
	}
	buf := c.buf[:window]
	for !done {
		for have < window {
			n, err := r.Read(buf[have:min(have+chunkBytes, window)])
			p.see(buf[have : have+n])
			have += n
			if err == io.EOF {
				done = true
				break
			} else if err != nil {
				return err
			}
		}
		p.window(buf[:have], off, done)
		if !done {
			keep := min(overlapBytes, have)
			copy(buf, buf[have-keep:have])
			off += int64(have - keep)
			have = keep
		}
	}
	return nil
}

// window looks at a part of the program that begins at off; last is set when
// it reaches the end. Things that begin in the overlap with the next window are
// left to that one.
func (p *programScan) window(b []byte, off int64, last bool) {
	if !p.elf {
		return
	}
	limit := len(b)
	if !last {
		limit = max(len(b)-overlapBytes, 0)
	}
	if off == 0 {
		p.goes.data = writableSegment(b)
	}
	p.goes.window(b, limit, off, off == 0 && last)
	p.rust.window(b, limit)
	for _, r := range p.rules {
		for _, version := range r.find(b, limit) {
			if pkg := r.pkg(version); !p.seen[pkg.PURL] {
				if p.seen == nil {
					p.seen = map[string]bool{}
				}
				p.seen[pkg.PURL] = true
				p.found = append(p.found, pkg)
			}
		}
	}
}

// program records a program and what was found in it.
func (c *Collector) program(o origin, e *walk.Entry, kind uint8, p *programScan) {
	if len(c.out.files) >= maxPrograms {
		c.gap(o, scan.Gap{
			Where: "/" + e.Path, What: fmt.Sprintf("layer has more than %d programs", maxPrograms),
			Means: "the digests of further programs, and the packages in them, are missing from the report",
		})
		return
	}
	if !c.keep(o, 128+len(e.Path)) {
		return
	}
	f := program{origin: o, size: e.Size, mode: e.Mode, uid: e.UID, kind: kind}
	p.hash.Sum(f.digest[:0])
	c.out.files = append(c.out.files, f)
	if !p.elf {
		return
	}
	add := func(plugin string, list []scan.Package) {
		if len(list) == 0 {
			return
		}
		u := unit{origin: o, plugin: plugin}
		for _, pkg := range list {
			pkg.Found, pkg.Path = plugin, "/"+e.Path
			u.packages = append(u.packages, found{Package: pkg})
		}
		c.out.units = append(c.out.units, u)
	}
	add(programPlugin, p.found)
	add(goPlugin, p.goes.packages())
	add(rustPlugin, p.rust.packages)
	for _, g := range append(p.goes.gaps(e.Path), p.rust.gaps(e.Path)...) {
		c.gap(o, g)
	}
}

// segment is a range of offsets in a file.
type segment struct{ from, to int64 }

func (s segment) has(off int64) bool { return off >= s.from && off < s.to }

// writableSegment finds the first writable segment of an ELF file, where Go's
// linker puts the build information. It is empty when the headers are damaged.
func writableSegment(b []byte) segment {
	if len(b) < 64 {
		return segment{}
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[5] == 2 {
		order = binary.BigEndian
	}
	wide := b[4] == 2
	var table uint64
	var size, count int
	if wide {
		table, size, count = order.Uint64(b[32:]), int(order.Uint16(b[54:])), int(order.Uint16(b[56:]))
	} else {
		table, size, count = uint64(order.Uint32(b[28:])), int(order.Uint16(b[42:])), int(order.Uint16(b[44:]))
	}
	const load, writable = 1, 2
	for i := range count {
		at := table + uint64(i*size)
		if at > uint64(len(b)) || uint64(len(b))-at < 56 || size < 32 {
			return segment{}
		}
		h := b[at:]
		var flags uint32
		var off, n uint64
		if wide {
			flags, off, n = order.Uint32(h[4:]), order.Uint64(h[8:]), order.Uint64(h[32:])
		} else {
			flags, off, n = order.Uint32(h[24:]), uint64(order.Uint32(h[4:])), uint64(order.Uint32(h[16:]))
		}
		if order.Uint32(h) == load && flags&writable != 0 && off < 1<<62 && n < 1<<62 {
			return segment{int64(off), int64(off + n)}
		}
	}
	return segment{}
}

// bytesAt is a file in memory as io.ReaderAt.
func bytesAt(b []byte) io.ReaderAt { return bytes.NewReader(b) }
