package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// plugin reads one kind of file. It is chosen by the last element of the path
// (bases), its extension (exts) or its folder (dirs), which costs three map
// look-ups for the many files that nobody wants, and then asked once more by
// wants.
type plugin struct {
	name    string // what scan.Package.Found says
	version int    // raise it whenever the results may change
	bases   []string
	exts    []string
	dirs    []string // folders all of whose files are asked about
	// wants is nil for those who want all that bases and exts select.
	wants func(path string) bool
	// extract reads the file. What it found counts, also when it returns an error.
	extract func(f *file, out *result) error
	// lose says what is unknown when the file cannot be read; "" stands for "the
	// packages it lists".
	lose string
}

// file is the content of one file, in memory or in a temporary file.
type file struct {
	path string // relative, as in walk.Entry
	mode uint32
	size int64
	data []byte      // nil when it is too large for memory
	at   io.ReaderAt // never nil
	cfg  *Config
}

// reader reads the file from its start. It also is an io.ReaderAt and Seeker.
func (f *file) reader() *io.SectionReader { return io.NewSectionReader(f.at, 0, f.size) }

// bytes is the whole content, for files that have no business being large.
func (f *file) bytes() ([]byte, error) {
	if f.data != nil || f.size == 0 {
		return f.data, nil
	}
	return nil, fmt.Errorf("file has %d bytes, more than the %d that are held in memory", f.size, f.cfg.MaxBuffer)
}

// result is what a plugin found in a file.
type result struct {
	packages []found
	gaps     []scan.Gap
	release  *scan.Release
	users    map[string]int
	owned    *ownerList
	doc      *doc
	size     int // of packages added by system, in bytes of memory
}

// errFull ends the reading of a package database that is beyond all measure,
// before what is in it fills memory.
var errFull = fmt.Errorf("it lists more than %d packages, or takes more than %d MiB of memory", maxPackages, maxKept>>20)

// system records a package of the operating system; errFull ends the file.
func (r *result) system(p found) error {
	if p.longest() > maxText {
		return fmt.Errorf("package %.40q: a name or version has more than %d bytes", p.Name, maxText)
	}
	r.packages = append(r.packages, p)
	if r.size += p.weight(); r.size > maxKept || len(r.packages) > maxPackages {
		return errFull
	}
	return nil
}

// add records a package of a language ecosystem.
func (r *result) add(p scan.Package) { r.packages = append(r.packages, found{Package: p}) }

// found is a package as a layer alone can tell of it: ecosystem and PURL of
// those of the operating system are filled by Merge, and so are Layer and
// Programs.
type found struct {
	scan.Package
	owns []uint64 // hashes of the paths it owns
	// vendor is who made a package of the operating system, as far as its
	// database says so; see foreign.
	vendor string
}

// longest is the length of the longest text of a package.
func (p *found) longest() (n int) {
	for _, s := range []string{p.Name, p.Version, p.PURL, p.Source, p.SourceVersion, p.Arch, p.Module} {
		n = max(n, len(s))
	}
	return n
}

// weight is about how much memory a package takes.
func (p *found) weight() int {
	n := 512 + 8*len(p.owns) + len(p.Name) + len(p.Version) + len(p.PURL) + len(p.Source) + len(p.SourceVersion) + len(p.Path) + len(p.vendor)
	for _, l := range p.Licenses {
		n += 16 + len(l)
	}
	return n
}

// weight is about how much memory a result takes.
func (r *result) weight() (n int) {
	for i := range r.packages {
		n += r.packages[i].weight()
	}
	for name := range r.users {
		n += 64 + len(name)
	}
	if r.owned != nil {
		n += 128 + 8*len(r.owned.hashes)
	}
	if r.doc != nil {
		n += 128
		for _, l := range r.doc.licenses {
			n += 16 + len(l)
		}
	}
	return n
}

// run lets a plugin read a file; a panic is an error like any other.
func (p *plugin) run(f *file, out *result) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("extractor failed: %v (%s)", v, firstFrame(debug.Stack()))
		}
	}()
	return p.extract(f, out)
}

// firstFrame names the function that panicked.
func firstFrame(stack []byte) string {
	_, rest, _ := bytes.Cut(stack, []byte("panic("))
	for line := range strings.Lines(string(rest)) {
		if line = strings.TrimSpace(line); strings.Contains(line, "/") && strings.Contains(line, "(") && !strings.Contains(line, ".go:") {
			return line[:strings.LastIndexByte(line, '(')]
		}
	}
	return "unknown place"
}

// gap says that a plugin could not read a file.
func (p *plugin) gap(path string, err error) scan.Gap {
	means := p.lose
	if means == "" {
		means = "the packages it lists are missing from the report, or some of them"
	}
	return scan.Gap{
		Minor: errors.Is(err, errMinor),
		Where: "/" + path, What: fmt.Sprintf("%s: read file: %v", p.name, err), Means: means,
		Do: "check whether the file is intact; if it is not meant to be one, leave it out of the image",
	}
}
