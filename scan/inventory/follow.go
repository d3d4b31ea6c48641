package inventory

import (
	"path"
	"strings"
)

// maxFollow bounds the links on the way to one directory, as Linux does.
const maxFollow = 40

// follow knows the symbolic links of one layer. Those who unpack a layer follow
// the links that the layer itself has put in the way of its later entries:
// after "lib -> usr/lib", "lib/x" is usr/lib/x. Links of lower layers they do
// not follow: there "lib/x" makes a directory lib, which takes the link's
// place. (Measured with Docker's overlay2 and containerd's overlayfs; see
// TestLikeRuntimes in test/scan.)
type follow struct {
	to       map[string]string // path of a link -> clean path it leads to
	dir, got string            // the last answer
}

// set remembers a link; remove forgets it when something else takes its place.
func (f *follow) set(p, target string) {
	if f.to == nil {
		f.to = map[string]string{}
	}
	if !path.IsAbs(target) {
		target = path.Join("/", path.Dir(p), target)
	}
	f.to[p] = clean(target)
	f.dir = ""
}

func (f *follow) remove(p string) {
	if _, ok := f.to[p]; ok {
		delete(f.to, p)
		f.dir = ""
	}
}

// directory is where a directory really is. Links that lead in a circle are
// left as they are: nobody can unpack them.
func (f *follow) directory(d string) string {
	if len(f.to) == 0 || d == "." {
		return d
	}
	if f.dir == d {
		return f.got
	}
	real, links := d, 0
	for at := 0; at < len(real); {
		end := strings.IndexByte(real[at:], '/')
		if end < 0 {
			end = len(real)
		} else {
			end += at
		}
		target, ok := f.to[real[:end]]
		if !ok {
			at = end + 1
			continue
		}
		if links++; links > maxFollow {
			real = d
			break
		}
		real = clean(target + real[end:])
		at = 0
	}
	f.dir, f.got = d, real
	return real
}

// entry is where an entry really is: its directory is followed, itself not.
func (f *follow) entry(p string) string {
	d := path.Dir(p)
	real := f.directory(d)
	if real == d {
		return p
	}
	return path.Join(real, path.Base(p))
}

// clean makes a path relative that stays in the root.
func clean(p string) string {
	if p = path.Clean("/" + p)[1:]; p == "" {
		return "."
	}
	return p
}
