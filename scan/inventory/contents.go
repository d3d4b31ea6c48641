package inventory

import (
	"github.com/gabion-dev/gabion/scan"
)

// Contents is what one layer holds. It is immutable and safe for concurrent
// use.
type Contents struct {
	hides    hides
	units    []unit
	files    []program
	links    []link
	releases []release
	users    []users
	owners   []ownerList
	docs     []doc
	secrets  []secret
	gaps     []gap
}

// origin is the file that something was read from: what a higher layer hides
// of it does not count. seq is the number of its entry in the layer, so that
// the last entry of a path wins; it has no meaning beyond Finish.
type origin struct {
	path string
	seq  int
}

// unit is what one plugin found in one file.
type unit struct {
	origin
	plugin   string
	packages []found
}

// program is an executable, a library or a script.
type program struct {
	origin
	digest [32]byte
	size   int64
	mode   uint32
	uid    int
	kind   uint8 // index into programKinds
}

// programKinds are the words of scan.File.Kind.
var programKinds = [...]string{"elf", "library", "script"}

// link is a hard link. A Contents holds those whose target is not in the same
// layer.
type link struct {
	origin
	target string
	mode   uint32 // of the file, from then on; has no meaning beyond Finish
}

type release struct {
	origin
	scan.Release
}

type users struct {
	origin
	ids map[string]int
}

// ownerList is a list of files that belongs to a package of the operating
// system and lies beside the package database (dpkg's info/NAME.list).
type ownerList struct {
	origin
	name, arch string // arch is empty when the name of the list has none
	hashes     []uint64
}

// doc is what the copyright file of a Debian package says.
type doc struct {
	origin
	name     string
	licenses []string
	alias    string // the package whose copyright file counts instead
}

type secret struct {
	origin
	scan.Secret
}

// gap is a Gap of one file, or of the whole layer when path is empty.
type gap struct {
	origin
	scan.Gap
}

// Weight is about how many bytes of memory the Contents takes.
func (c *Contents) Weight() int64 {
	n := 8*len(c.hides) + 400*len(c.gaps) + 256*len(c.secrets) + 64*len(c.links) + 128*len(c.docs)
	for i := range c.units {
		n += 96
		for k := range c.units[i].packages {
			n += c.units[i].packages[k].weight()
		}
	}
	for i := range c.files {
		n += 128 + len(c.files[i].path)
	}
	for i := range c.owners {
		n += 128 + 8*len(c.owners[i].hashes)
	}
	for i := range c.users {
		n += 64 * len(c.users[i].ids)
	}
	return int64(n)
}
