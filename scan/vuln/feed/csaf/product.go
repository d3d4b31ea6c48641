package csaf

import (
	"net/url"
	"strings"
)

// item is a product id understood: a package of a module on a platform, as far
// as each is known.
type item struct {
	platform  string // ecosystem: "Red Hat:9", "SUSE:Linux Enterprise Server 15 SP5"
	elsewhere string // why the platform is none of ours
	name      string
	version   string // with epoch where there is one
	arch      string // "x86_64"; "src"; "" when not said
	module    string // "postgresql:15"
}

// maxNesting is how many relations may lie behind a product id: a package of a
// module of a platform are two.
const maxNesting = 8

// resolve follows the relations behind a product id.
func (doc *document) resolve(id string, depth int) item {
	r, ok := doc.rels[id]
	if !ok || depth >= maxNesting {
		return doc.leaf(id)
	}
	part, whole := doc.resolve(r.Part, depth+1), doc.resolve(r.Whole, depth+1)
	if part.module == "" {
		part.module = whole.module
	}
	if part.platform == "" && part.elsewhere == "" {
		part.platform, part.elsewhere = whole.platform, whole.elsewhere
	}
	if part.name == "" {
		part.name, part.version, part.arch = whole.name, whole.version, whole.arch
	}
	return part
}

func (doc *document) leaf(id string) item {
	p, ok := doc.prods[id]
	if !ok {
		return item{}
	}
	switch purl := p.Helper.PURL; {
	case strings.HasPrefix(purl, "pkg:rpm/"):
		i := rpmPURL(purl)
		if i.module == "" {
			i.module = moduleSuffix(p.ID)
		}
		return i
	case strings.HasPrefix(purl, "pkg:rpmmod/"):
		name, stream, _ := strings.Cut(lastPart(strings.TrimPrefix(purl, "pkg:rpmmod/")), "@")
		return item{module: nameStream(name + ":" + unescape(stream))}
	case purl != "":
		kind, _, _ := strings.Cut(strings.TrimPrefix(purl, "pkg:"), "/")
		return item{elsewhere: "package of type " + kind}
	}
	if p.Helper.CPE != "" || isPlatform(p.Name) {
		return platform(p)
	}
	if strings.Count(p.ID, ":") >= 3 && !strings.Contains(p.ID, "/") {
		return item{module: nameStream(p.ID)}
	}
	i := nevra(p.Name)
	i.module = moduleSuffix(p.ID)
	return i
}

// platform reads an operating system from its CPE or, for SUSE, its name.
func platform(p product) item {
	cpe := strings.TrimPrefix(p.Helper.CPE, "cpe:/")
	if rest, ok := strings.CutPrefix(p.Helper.CPE, "cpe:2.3:"); ok {
		cpe = rest
	}
	f := append(strings.Split(cpe, ":"), "", "", "", "")
	switch vendor, name, version := f[1], f[2], f[3]; {
	case vendor == "redhat" && name == "enterprise_linux":
		major, _, _ := strings.Cut(version, ".")
		if major == "" {
			return item{elsewhere: "platform without a version"}
		}
		return item{platform: "Red Hat:" + major}
	case vendor == "redhat" && strings.HasPrefix(name, "rhel_"):
		// Extended support has fixes of its own, at versions that compare with
		// nothing outside it.
		return item{elsewhere: "extended support stream"}
	case vendor == "suse" || vendor == "opensuse" || isPlatform(p.Name):
		if name, ok := strings.CutPrefix(p.Name, "openSUSE "); ok {
			return item{platform: "openSUSE:" + name}
		}
		if name, ok := strings.CutPrefix(p.Name, "SUSE Linux "); ok {
			return item{platform: "SUSE:Linux " + name}
		}
	}
	return item{elsewhere: "product that is no operating system"}
}

// isPlatform tells SUSE's products where they come without CPE.
func isPlatform(name string) bool {
	return strings.HasPrefix(name, "SUSE ") || strings.HasPrefix(name, "openSUSE ")
}

// rpmPURL reads "pkg:rpm/redhat/name@version-release?arch=x86_64&epoch=1".
func rpmPURL(purl string) item {
	purl, query, _ := strings.Cut(purl, "?")
	query, _, _ = strings.Cut(query, "#")
	name, version, _ := strings.Cut(lastPart(purl), "@")
	i := item{name: unescape(name), version: unescape(version)}
	epoch := ""
	for _, kv := range strings.Split(query, "&") {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "arch":
			i.arch = unescape(v)
		case "epoch":
			epoch = unescape(v)
		case "rpmmod":
			i.module = nameStream(unescape(v))
		}
	}
	if i.version != "" && epoch != "" && epoch != "0" {
		i.version = epoch + ":" + i.version
	}
	return i
}

// nevra reads "name-1:2.3-4.x86_64"; a word without a version is a name.
func nevra(s string) item {
	rest, arch := s, ""
	if dot := strings.LastIndexByte(s, '.'); dot > 0 {
		switch s[dot+1:] {
		case "x86_64", "aarch64", "ppc64le", "ppc64", "s390x", "s390", "i386", "i586", "i686", "noarch", "src", "nosrc", "riscv64", "armv7hl", "ia64":
			rest, arch = s[:dot], s[dot+1:]
		}
	}
	r := strings.LastIndexByte(rest, '-')
	if r <= 0 {
		return item{name: rest, arch: arch}
	}
	v := strings.LastIndexByte(rest[:r], '-')
	if v <= 0 || !hasDigit(rest[v+1:r]) || !hasDigit(rest[r+1:]) {
		return item{name: rest, arch: arch}
	}
	version := strings.TrimPrefix(rest[v+1:], "0:")
	return item{name: rest[:v], version: version, arch: arch}
}

// moduleSuffix reads the module behind "::" of a product id.
func moduleSuffix(id string) string {
	_, m, ok := strings.Cut(id, "::")
	if !ok {
		return ""
	}
	return nameStream(m)
}

// nameStream shortens "name:stream:version:context".
func nameStream(s string) string {
	f := strings.SplitN(s, ":", 3)
	if len(f) < 2 || f[0] == "" || f[1] == "" {
		return ""
	}
	return f[0] + ":" + f[1]
}

func lastPart(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }
