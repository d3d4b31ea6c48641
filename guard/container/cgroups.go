package container

import (
	"bufio"
	"bytes"
	"path"
	"strings"
)

// candidate is what a cgroup's path says about the container it belongs to.
type candidate struct {
	// ID is the container's identifier; Namespace containerd's namespace,
	// where the path has one, else "".
	ID, Namespace string
	// Runtime is the plugin to ask first, or "" when the path does not say.
	Runtime string
	// Path is the container's own group: the part of the path up to the ID.
	Path string
}

// cgroupPath picks from the text of /proc/PID/cgroup the path on the version-2
// hierarchy and, when that is the root (an old runtime on a hybrid machine
// makes no group there), the one on a version-1 hierarchy, which is good only
// for finding the container. Paths seen from inside a cgroup namespace
// ("/../..") are stripped of it.
func cgroupPath(text []byte) (v2, any string) {
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<16)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") {
			continue
		}
		p := strings.TrimSuffix(f[2], " (deleted)")
		p = path.Clean(p)
		for strings.HasPrefix(p, "/../") {
			p = p[3:]
		}
		switch {
		case f[0] == "0" && f[1] == "":
			v2 = p
		case f[1] == "name=systemd" || f[1] == "devices" || f[1] == "freezer" || f[1] == "pids":
			if any == "" && p != "/" {
				any = p
			}
		}
	}
	if v2 == "" {
		v2 = "/"
	}
	if v2 != "/" || any == "" {
		any = v2
	}
	return v2, any
}

// scopes are the prefixes that runtimes put before the identifier, and the
// plugin to ask first.
func scopes() [][2]string {
	return [][2]string{
		{"docker-", "docker"}, {"cri-containerd-", "containerd"}, {"nerdctl-", "containerd"},
		{"crio-", "cri"}, {"libpod-", "podman"},
	}
}

// candidates reads a cgroup path. Containers within containers give several,
// the outermost first: a container may make groups below its own and name them
// after another container, but it cannot change what is above. Only those a
// runtime knows count in the end. A path that certainly belongs to no runtime
// gives none.
func candidates(p string) []candidate {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	if len(parts) > 64 {
		parts = parts[:64]
	}
	var list []candidate
	for i := range parts {
		own := "/" + strings.Join(parts[:i+1], "/")
		parent := ""
		if i > 0 {
			parent = parts[i-1]
		}
		name := strings.TrimSuffix(parts[i], ".scope")
		if j := strings.LastIndexByte(name, ':'); j >= 0 { // "slice:cri-containerd:id"
			if mid := strings.Split(name, ":"); len(mid) == 3 && mid[1] != "" {
				name = mid[1] + "-" + mid[2]
			}
		}
		runtime := ""
		for _, s := range scopes() {
			if rest, ok := strings.CutPrefix(name, s[0]); ok && isID(rest) {
				name, runtime = rest, s[1]
				break
			}
		}
		switch {
		case isID(name):
			if runtime == "" {
				runtime = runtimeOf(parts[:i])
			}
			list = append(list, candidate{ID: name, Runtime: runtime, Path: own})
		case i == 1 && plain(parent) && plain(name) && name == parts[i]:
			// containerd's own client and others: /<namespace>/<any name>
			list = append(list, candidate{ID: name, Namespace: parent, Runtime: "containerd", Path: own})
		}
	}
	return list
}

// runtimeOf guesses from the parents of a bare identifier.
func runtimeOf(parents []string) string {
	for i := len(parents) - 1; i >= 0; i-- {
		switch p := parents[i]; {
		case p == "docker":
			return "docker"
		case p == "gabion" || strings.HasPrefix(p, "gabiontest"):
			return "namespaces"
		case strings.HasPrefix(p, "kubepods"), strings.HasPrefix(p, "pod"):
			return "containerd"
		case strings.HasPrefix(p, "libpod"):
			return "podman"
		}
	}
	return ""
}

// isID reports whether s is an identifier as runtimes make them.
func isID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// plain reports whether s may be a containerd namespace or identifier: what
// systemd and others name groups ("user.slice") is not.
func plain(s string) bool {
	if s == "" || len(s) > 76 {
		return false
	}
	for _, end := range []string{".slice", ".service", ".scope", ".mount", ".socket"} {
		if strings.HasSuffix(s, end) {
			return false
		}
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// groupOf gives the cgroup that an OCI specification names, as a path below
// the root of the hierarchy: "/a/b" stands for itself, "slice:prefix:name" for
// what systemd makes of it. It is "" for what is neither.
func groupOf(cgroupsPath string) string {
	if strings.HasPrefix(cgroupsPath, "/") {
		return path.Clean(cgroupsPath)
	}
	f := strings.Split(cgroupsPath, ":")
	if len(f) != 3 || f[2] == "" || strings.Contains(cgroupsPath, "/") {
		return ""
	}
	slice := f[0]
	if slice == "" {
		slice = "system.slice"
	}
	name, ok := strings.CutSuffix(slice, ".slice")
	if !ok {
		return ""
	}
	// "a-b.slice" lies in "a.slice"; "-.slice" is the root.
	out := "/"
	if name != "-" {
		for i := range len(name) {
			if name[i] == '-' {
				out = path.Join(out, name[:i]+".slice")
			}
		}
		out = path.Join(out, slice)
	}
	if f[1] == "" {
		return path.Join(out, f[2]+".scope")
	}
	return path.Join(out, f[1]+"-"+f[2]+".scope")
}
