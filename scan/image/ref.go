package image

import (
	"os"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Ref is a reference as a person writes it, taken apart.
type Ref struct {
	Kind scan.Kind // where to look; empty: the file decides (an archive, or a directory that may be a layout)
	Name string    // name in a registry or daemon, id of a container, or a path
	Tag  string    // of one image in an archive or layout; "sha256:..." is its digest
	// Daemon is "containerd" or "docker" for Kind Daemon.
	Daemon string
}

// ParseRef takes a reference apart. exists tells whether a path does; nil asks
// the file system. It opens nothing.
func ParseRef(ref string, exists func(path string) bool) (Ref, error) {
	if exists == nil {
		exists = func(p string) bool { _, err := os.Stat(p); return err == nil }
	}
	if strings.ContainsFunc(ref, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Ref{}, failed(ErrUnsupported, "write the name without control characters", "read reference %q", ref)
	}
	scheme, rest, has := strings.Cut(ref, ":")
	if has && rest != "" {
		switch scheme {
		case "registry":
			return Ref{Kind: scan.Registry, Name: rest}, nil
		case "docker":
			return Ref{Kind: scan.Daemon, Name: rest, Daemon: "docker"}, nil
		case "containerd":
			return Ref{Kind: scan.Daemon, Name: rest, Daemon: "containerd"}, nil
		case "container":
			return Ref{Kind: scan.Container, Name: rest}, nil
		case "dir":
			return Ref{Kind: scan.Directory, Name: rest}, nil
		case "sbom":
			return Ref{Kind: scan.SBOM, Name: rest}, nil
		case "tar":
			path, tag := splitPath(rest, exists)
			return Ref{Kind: scan.DockerArchive, Name: path, Tag: tag}, nil
		case "oci":
			path, tag := splitPath(rest, exists)
			return Ref{Kind: scan.OCILayout, Name: path, Tag: tag}, nil
		}
	}
	switch {
	case ref == "":
		return Ref{}, failed(ErrUnsupported, "name an image, an archive or a directory", "read reference %q", ref)
	case exists(ref):
		return Ref{Name: ref}, nil
	case strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../"):
		if path, tag := splitPath(ref, exists); exists(path) {
			return Ref{Name: path, Tag: tag}, nil
		}
		return Ref{}, failed(ErrNotFound, "check the path", "open %s", ref)
	}
	return Ref{Kind: scan.Registry, Name: ref}, nil
}

// splitPath splits "PATH", "PATH:TAG" and "PATH@DIGEST" where the path ends: at
// the last separator before which something exists.
func splitPath(s string, exists func(string) bool) (path, tag string) {
	if exists(s) {
		return s, ""
	}
	for i := len(s) - 1; i > 0; i-- {
		if (s[i] == ':' || s[i] == '@') && exists(s[:i]) {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
