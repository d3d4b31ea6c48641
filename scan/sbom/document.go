package sbom

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// document is what was read, before the questions that only the whole of it
// answers: which operating system it is, and what remains unknown.
type document struct {
	image   scan.Image
	release scan.Release
	gaps    []scan.Gap
	pkgs    []part
	layers  map[string]int // diff id or digest -> index, of foreign documents
	own     bool           // written here: it tells its gaps one by one
}

// part is one package of a document.
type part struct {
	scan.Package
	own   bool // written by fields: nothing to work out
	group string
	// What foreign documents say by the side, from properties or references.
	source, sourceVersion, layer string
}

// finish works out what foreign packages are, and sorts.
func (d *document) finish() (scan.Inventory, scan.Image) {
	d.image.Kind = scan.SBOM
	urls := make([]purl, len(d.pkgs))
	for i := range d.pkgs {
		p := &d.pkgs[i]
		if p.own || p.PURL == "" {
			continue
		}
		var err error
		if urls[i], err = parsePURL(p.PURL); err != nil {
			d.gap(p.Name, fmt.Sprintf("package URL %q cannot be read: %v", p.PURL, err))
			p.PURL = ""
		}
		if d.release.ID == "" && urls[i].distro.ID != "" {
			d.release = urls[i].distro
		}
	}
	if d.release.ID != "" && d.release.Ecosystem == "" {
		d.release.Ecosystem = ecosystemOf(d.release)
	}
	var nameless, homeless, strange []string
	inv := scan.Inventory{Release: d.release, Packages: make([]scan.Package, 0, len(d.pkgs))}
	for i := range d.pkgs {
		p := &d.pkgs[i]
		switch {
		case p.own:
		case p.PURL == "" && p.Version == "":
			continue // a heading, a lock file, a project: nothing that has a version
		case p.PURL == "":
			p.Name = joinName("", p.group, p.Name)
			nameless = append(nameless, p.Name)
		default:
			d.fill(p, &urls[i])
			if urls[i].isOS() && unmatched(p.Ecosystem) {
				homeless = append(homeless, p.Name)
			} else if p.Ecosystem == "" {
				strange = append(strange, urls[i].Type)
			}
		}
		if p.Layer < -1 || p.Layer >= len(d.image.Layers) {
			p.Layer = -1
		}
		inv.Packages = append(inv.Packages, p.Package)
	}
	d.unknown(nameless, "without a package URL", "no advisories are matched for them", "make the document with package URLs", false)
	d.unknown(homeless, "of an operating system without advisories here", "no advisories are matched for them",
		"name it in the document: an operating-system component, or the qualifier distro in the package URLs", false)
	d.unknown(strange, "of kinds nobody issues advisories for", "they are in the inventory only", "", true)
	inv.Packages = scan.SortPackages(inv.Packages)
	inv.Gaps = d.gaps
	return inv, d.image
}

// fill works out of a package URL what the fields of a Package are.
func (d *document) fill(p *part, u *purl) {
	p.Name = u.name()
	p.Version = u.version(p.Version)
	p.Ecosystem = u.ecosystem(d.release)
	p.Arch = cmp.Or(p.Arch, u.qualifiers["arch"])
	p.Module = cmp.Or(p.Module, u.module())
	p.Layer = -1
	if i, ok := d.layers[p.layer]; ok && p.layer != "" {
		p.Layer = i
	}
	if p.Found == "" {
		p.Found = "sbom"
	}
	if !u.isOS() {
		return
	}
	p.Source, p.SourceVersion = u.source()
	if p.source != "" {
		p.Source, p.SourceVersion = p.source, cmp.Or(p.sourceVersion, p.SourceVersion)
	}
	if p.Source != "" {
		p.SourceVersion = cmp.Or(p.SourceVersion, p.Version)
	}
	if p.Source == p.Name && p.SourceVersion == p.Version {
		p.Source, p.SourceVersion = "", ""
	}
}

func (d *document) gap(where, what string) {
	d.gaps = append(d.gaps, scan.Gap{Where: where, What: what, Means: "no advisories are matched for it", Do: "make the document again, or report this to the tool that made it"})
}

// unknown makes one Gap of many packages.
func (d *document) unknown(names []string, why, means, do string, minor bool) {
	if len(names) == 0 {
		return
	}
	n := len(names)
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if len(names) > 5 {
		names, more = names[:5], ", ..."
	}
	what := fmt.Sprintf("%d packages %s: %s%s", n, why, strings.Join(names, ", "), more)
	if n == 1 {
		what = fmt.Sprintf("1 package %s: %s", why, names[0])
	}
	d.gaps = append(d.gaps, scan.Gap{Where: "bill of materials", What: what, Means: means, Do: do, Minor: minor})
}
