package vex

import (
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// names are what an image may be called by.
type names struct {
	digests map[string]bool
	refs    map[string]bool // with tag or digest
	repos   map[string]bool // without
	tags    map[string]bool
}

func namesOfImage(img *scan.Image) *names {
	n := &names{digests: map[string]bool{}, refs: map[string]bool{}, repos: map[string]bool{}, tags: map[string]bool{}}
	for _, d := range []string{img.Digest, img.ConfigID} {
		if d != "" {
			n.digests[d] = true
		}
	}
	for _, ref := range append([]string{img.Name}, img.Tags...) {
		ref = plainRef(ref)
		if ref == "" {
			continue
		}
		repo := repository(ref)
		n.refs[ref], n.repos[repo] = true, true
		if tag, ok := strings.CutPrefix(strings.SplitN(ref, "@", 2)[0], repo+":"); ok {
			n.tags[tag] = true
		}
		for d := range n.digests {
			n.refs[repo+"@"+d] = true
		}
	}
	return n
}

// are reports whether a product's name means the image.
func (n *names) are(name string) bool {
	if n.digests[name] {
		return true
	}
	p := parsePURL(name)
	if p == nil {
		ref := plainRef(name)
		return ref != "" && (n.refs[ref] || n.repos[ref])
	}
	switch p.Type {
	case "oci":
		if p.Version != "" && !n.digests[p.Version] {
			return false
		}
		if tag := p.qualifiers["tag"]; tag != "" && p.Version == "" && !n.tags[tag] {
			return false
		}
		if p.Version != "" {
			return true // a digest is one image, wherever it lies
		}
		return n.at(p.qualifiers["repository_url"], p.Name)
	case "docker":
		if p.Version != "" && !n.digests[p.Version] && !n.tags[p.Version] {
			return false
		}
		name := p.Name
		if p.Namespace != "" {
			name = p.Namespace + "/" + name
		}
		if host := p.qualifiers["repository_url"]; host != "" {
			name = strings.TrimSuffix(host, "/") + "/" + name
		}
		return n.repos[plainRef(name)]
	}
	return false
}

// at reports whether the image is in a repository: its address, which may end
// with the name or not, or the name alone.
func (n *names) at(address, name string) bool {
	if address != "" {
		address = plainRef(strings.TrimSuffix(address, "/"))
		return n.repos[address] || n.repos[address+"/"+name]
	}
	for r := range n.repos {
		if r[strings.LastIndexByte(r, '/')+1:] == name {
			return true
		}
	}
	return false
}

// plainRef brings the ways to write a reference into one.
func plainRef(ref string) string {
	for _, s := range []string{"https://", "http://", "registry:", "docker:", "containerd:"} {
		ref = strings.TrimPrefix(ref, s)
	}
	for _, s := range []string{"index.docker.io/", "docker.io/", "library/"} {
		ref = strings.TrimPrefix(ref, s)
	}
	return ref
}

// repository takes tag and digest off a reference.
func repository(ref string) string {
	ref, _, _ = strings.Cut(plainRef(ref), "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i]
	}
	return ref
}
