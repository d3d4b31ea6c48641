package inventory

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/walk"
)

// Collector takes in the entries of one layer. It is not safe for concurrent
// use; several Collectors are.
type Collector struct {
	x     *Extractor
	buf   []byte
	out   *Contents
	seq   int
	paths []pathEntry
	links []link
	way   follow
	z     zlibReader // kept from program to program

	packages int // found so far
	kept     int // bytes of memory that what was found takes, about
}

// What one layer may leave behind, so that a hostile one cannot fill memory:
// several times what the largest honest ones have.
const (
	maxPackages = 100_000
	maxPrograms = 500_000
	maxGaps     = 1000
	maxKept     = 128 << 20
	maxText     = 4096 // bytes of one name, version or the like
)

type pathEntry struct {
	hash  uint64 // with the kind in its low bits
	seq   uint32
	white bool // a removal, which is about lower layers only
}

// Visit implements walk.Visitor. Its only errors are those of reading r.
func (c *Collector) Visit(e *walk.Entry, r io.Reader) error {
	c.seq++
	if len(c.way.to) > 0 {
		e = c.really(e)
	}
	o := origin{e.Path, c.seq}
	kind := uint64(covers)
	switch e.Type {
	case walk.Directory:
		kind = isDir
	case walk.Opaque:
		kind = opaque
	}
	c.paths = append(c.paths, pathEntry{hashPath(e.Path) | kind, uint32(c.seq), e.Type == walk.Whiteout})
	switch e.Type {
	case walk.Regular:
		if r != nil {
			return c.regular(o, e, r)
		}
	case walk.Hardlink:
		if c.keep(o, len(e.Path)+len(e.Target)+64) {
			c.links = append(c.links, link{o, e.Target, e.Mode})
		}
	case walk.Symlink:
		if !c.keep(o, 2*(len(e.Path)+len(e.Target))+64) {
			break
		}
		c.way.set(e.Path, e.Target)
		if d := docAlias(e.Path, e.Target); d != nil {
			d.origin = o
			c.out.docs = append(c.out.docs, *d)
		}
	}
	return nil
}

// really gives an entry the path at which it ends up.
func (c *Collector) really(e *walk.Entry) *walk.Entry {
	out := *e
	if e.Type == walk.Opaque {
		out.Path = c.way.directory(e.Path) // its entry lies in the directory
		return &out
	}
	out.Path = c.way.entry(e.Path)
	if e.Type == walk.Hardlink {
		out.Target = c.way.entry(e.Target)
	}
	c.way.remove(out.Path)
	return &out
}

// keep counts memory that a thing takes for as long as the layer is held, and
// refuses, with a Gap, what is too much.
func (c *Collector) keep(o origin, bytes int) bool {
	if c.kept > maxKept {
		return false // said already
	}
	if c.kept += bytes; c.kept <= maxKept {
		return true
	}
	c.gap(origin{}, scan.Gap{
		Where: "layer", What: fmt.Sprintf("from /%s on, what it holds takes more than %d MiB of memory", o.path[:min(len(o.path), 200)], maxKept>>20),
		Means: "packages, links and secrets from there on are not in the report", Do: "look at the layer: no honest one holds so much",
	})
	return false
}

// regular decides by the path, and for programs by the first bytes, whether a
// file is read at all.
func (c *Collector) regular(o origin, e *walk.Entry, r io.Reader) error {
	base := path.Base(e.Path)
	plugins := c.x.choose(e.Path, base)
	secrets := c.x.config.Secrets != nil && c.x.config.Secrets.Wants(e.Path, e.Mode, e.Size)
	maybe := mayBeProgram(base, e.Mode)
	if len(plugins) == 0 && !secrets && !maybe {
		return nil
	}
	head, err := c.fill(nil, r, headBytes)
	if err != nil {
		return err
	}
	kind, isProgram := programKind(base, e.Mode, head)
	isProgram = isProgram && maybe
	if len(plugins) == 0 && !secrets && !isProgram {
		return nil
	}
	p := c.newProgramScan(base, isProgram, isProgram && kind != kindScript)
	f := &file{path: e.Path, mode: e.Mode, size: e.Size, cfg: &c.x.config}
	switch {
	case e.Size <= c.x.config.MaxBuffer:
		data, err := c.fill(head, r, int(e.Size))
		if err != nil {
			return err
		}
		if p.hash != nil {
			p.hash.Write(data)
			p.window(data, 0, true)
		}
		f.data, f.at, f.size = data, bytesAt(data), int64(len(data))
	case len(plugins) > 0 && e.Size > c.x.config.MaxFile:
		for _, pl := range plugins {
			c.gap(o, pl.gap(e.Path, fmt.Errorf("file has %d bytes, more than the %d allowed", e.Size, c.x.config.MaxFile)))
		}
		plugins, f = nil, nil
	case len(plugins) > 0:
		tmp, n, err := spool(c.x.config.TempDir, head, r, c.scratch(), p.see)
		if errors.Is(err, errSpool) {
			for _, pl := range plugins {
				c.gap(o, pl.gap(e.Path, err))
			}
			return nil
		} else if err != nil {
			return err
		}
		defer tmp.Close()
		f.at, f.size = tmp, n
	case isProgram:
		if err := p.stream(c, head, r); err != nil {
			return err
		}
	}
	if isProgram {
		c.program(o, e, kind, p)
	}
	if f != nil {
		for _, pl := range plugins {
			c.extract(pl, o, f)
		}
	}
	if secrets {
		c.secrets(o, e, f)
	}
	return nil
}

// choose finds the plugins for a path.
func (x *Extractor) choose(p, base string) []*plugin {
	var out []*plugin
	try := func(list []*plugin) {
		for _, pl := range list {
			if pl.wants == nil || pl.wants(p) {
				out = append(out, pl)
			}
		}
	}
	try(x.byBase[base])
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		try(x.byExt[base[i:]])
	}
	if len(p) > len(base) {
		try(x.byDir[p[:len(p)-len(base)-1]])
	}
	return out
}

// extract lets one plugin read one file.
func (c *Collector) extract(pl *plugin, o origin, f *file) {
	var r result
	err := pl.run(f, &r)
	if err != nil {
		c.gap(o, pl.gap(f.path, err))
	}
	for _, g := range r.gaps {
		c.gap(o, g)
	}
	if room := maxPackages - c.packages; len(r.packages) > room {
		c.gap(o, pl.gap(f.path, fmt.Errorf("layer has more than %d packages", maxPackages)))
		r.packages = slices.Clone(r.packages[:max(room, 0)])
	}
	if long := len(r.packages); long > 0 {
		r.packages = slices.DeleteFunc(r.packages, func(p found) bool { return p.longest() > maxText })
		if long -= len(r.packages); long > 0 {
			c.gap(o, pl.gap(f.path, fmt.Errorf("%d packages have names or versions of more than %d bytes", long, maxText)))
		}
	}
	c.packages += len(r.packages)
	if !c.keep(o, r.weight()) {
		return
	}
	if len(r.packages) > 0 {
		for i := range r.packages {
			p := &r.packages[i].Package
			if p.Found = pl.name; p.Path == "" {
				p.Path = "/" + f.path
			}
		}
		c.out.units = append(c.out.units, unit{o, pl.name, r.packages})
	}
	if r.release != nil {
		c.out.releases = append(c.out.releases, release{o, *r.release})
	}
	if r.users != nil {
		c.out.users = append(c.out.users, users{o, r.users})
	}
	if r.owned != nil {
		r.owned.origin = o
		c.out.owners = append(c.out.owners, *r.owned)
	}
	if r.doc != nil {
		r.doc.origin = o
		c.out.docs = append(c.out.docs, *r.doc)
	}
}

// secrets looks for credentials in a file that is in memory.
func (c *Collector) secrets(o origin, e *walk.Entry, f *file) {
	lost := func(why string) {
		c.gap(o, scan.Gap{Where: "/" + e.Path, What: "search for secrets: " + why, Means: "credentials in this file are not in the report"})
	}
	if f == nil || f.data == nil && f.size > 0 {
		lost(fmt.Sprintf("file has %d bytes, more than the %d that are held in memory", e.Size, c.x.config.MaxBuffer))
		return
	}
	defer func() {
		if v := recover(); v != nil {
			lost(fmt.Sprintf("detector failed: %v", v))
		}
	}()
	for _, s := range c.x.config.Secrets.Scan(e.Path, f.data) {
		if !c.keep(o, 256+len(o.path)+len(s.Where)+len(s.Masked)) {
			return
		}
		c.out.secrets = append(c.out.secrets, secret{o, s})
	}
}

// gap keeps what could not be examined. A layer that is made of damaged files
// gets a last Gap that says so instead of one for each.
func (c *Collector) gap(o origin, g scan.Gap) {
	switch n := len(c.out.gaps); {
	case n < maxGaps:
		c.out.gaps = append(c.out.gaps, gap{o, g})
	case n == maxGaps:
		c.out.gaps = append(c.out.gaps, gap{Gap: scan.Gap{
			Where: "layer", What: fmt.Sprintf("more than %d files could not be read; the others are not named", maxGaps), Means: g.Means, Do: g.Do,
		}})
	}
}

// fill reads until the buffer, which begins with have, holds n bytes or r ends.
func (c *Collector) fill(have []byte, r io.Reader, n int) ([]byte, error) {
	if cap(c.buf) < n {
		size := max(64<<10, cap(c.buf))
		for size < n {
			size *= 2
		}
		grown := make([]byte, min(size, max(n, int(c.x.config.MaxBuffer))))
		copy(grown, have)
		c.buf = grown
	}
	b := c.buf[:cap(c.buf)]
	at := len(have)
	for at < n {
		k, err := r.Read(b[at:n])
		at += k
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return b[:at], nil
}

// scratch is the part of the buffer that the head does not use.
func (c *Collector) scratch() []byte {
	if cap(c.buf) < 2*headBytes+(64<<10) {
		grown := make([]byte, 2*headBytes+(256<<10))
		copy(grown, c.buf[:cap(c.buf)])
		c.buf = grown
	}
	return c.buf[headBytes:cap(c.buf)]
}

// Finish ends the layer. The Collector must not be used afterwards.
func (c *Collector) Finish(r walk.Result) *Contents {
	out := c.out
	for _, g := range r.Gaps {
		out.gaps = append(out.gaps, gap{Gap: g})
	}
	c.dropOverwritten()
	c.resolveLinks()
	out.hides = make(hides, 0, len(c.paths))
	for i, p := range c.paths {
		if i == 0 || p.hash != c.paths[i-1].hash {
			out.hides = append(out.hides, p.hash)
		}
	}
	buf := c.buf
	c.x.buffers.Put(&buf)
	c.buf, c.paths, c.links, c.out = nil, nil, nil, nil
	return out
}
