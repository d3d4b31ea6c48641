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
}

// add records a package of a language ecosystem.
func (r *result) add(p scan.Package) { r.packages = append(r.packages, found{Package: p}) }

// found is a package as a layer alone can tell of it: ecosystem and PURL of
// those of the operating system are filled by Merge, and so are Layer and
// Programs.
type found struct {
	scan.Package
	owns []uint64 // hashes of the paths it owns
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
