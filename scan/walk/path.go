package walk

import (
	"path"
	"strings"
)

// Names of the AUFS convention that layers use to remove what is below them
// (OCI image specification, "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// clean turns the name of an entry into a relative path that stays in the root,
// as those who unpack layers do: ".." at the root is the root. escaped says that
// the name meant to leave it.
func clean(name string) (p string, escaped bool) {
	for strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") {
		name = name[1+strings.IndexByte(name, '/'):]
	}
	name = strings.TrimSuffix(name, "/")
	if isClean(name) {
		return name, false
	}
	// Below a made-up root every ".." that leaves is seen as a lack of depth.
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				escaped, depth = true, 0
			}
		default:
			depth++
		}
	}
	if p = path.Clean("/" + name)[1:]; p == "" {
		p = "."
	}
	return p, escaped
}

// isClean reports whether no component of name is empty, "." or "..".
func isClean(name string) bool {
	if name == "" {
		return false
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		part := name[start:i]
		if part == "" || part == "." || part == ".." {
			return false
		}
		start = i + 1
	}
	return true
}

// whiteout sorts a clean path by the convention above. For Whiteout and Opaque
// it gives the path that is meant; skip is for AUFS's own files, which belong to
// no image; bad is for a removal that names nothing.
func whiteout(p string) (target string, t Type, skip, bad bool) {
	if strings.HasPrefix(p, whiteoutMeta) && p != whiteoutOpaque {
		return "", Regular, true, false // .wh..wh.aufs, .wh..wh.plnk/..., .wh..wh.orph
	}
	dir, base := split(p)
	if !strings.HasPrefix(base, whiteoutPrefix) {
		return p, Regular, false, false
	}
	if base == whiteoutOpaque {
		return dir, Opaque, false, false
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return "", Regular, true, false
	}
	switch base = base[len(whiteoutPrefix):]; base {
	case "", ".", "..":
		return p, Whiteout, false, true
	}
	if dir == "." {
		return base, Whiteout, false, false
	}
	return dir + "/" + base, Whiteout, false, false
}

// split is path.Split for clean relative paths: the directory is "." at the top.
func split(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return ".", p
}

// depth counts the components of a clean path.
func depth(p string) int { return strings.Count(p, "/") + 1 }
