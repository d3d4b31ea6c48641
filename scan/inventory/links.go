package inventory

import (
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// resolveLinks gives hard links what was found in their target, so that a
// layer and a directory with the same files come out the same.
func (c *Collector) resolveLinks() {
	if len(c.links) == 0 {
		return
	}
	targets := map[string][]origin{}
	mode := map[string]uint32{} // of files with several names: that of the last entry
	first := map[string]string{}
	for i := range c.links {
		l := &c.links[i]
		if t, ok := first[l.target]; ok {
			l.target = t // a link to a link
		}
		first[l.path] = l.target
		targets[l.target] = append(targets[l.target], l.origin)
		mode[l.target] = l.mode
	}
	out := c.out
	known := map[int]bool{} // links whose target is a program of this layer
	for i := range out.files {
		if m, ok := mode[out.files[i].path]; ok {
			out.files[i].mode = m
		}
	}
	for _, f := range slices.Clone(out.files) {
		for _, l := range targets[f.path] {
			known[l.seq] = true
			f := f
			f.origin = l
			out.files = append(out.files, f)
		}
	}
	read := map[linkPlugin]bool{}
	for _, u := range slices.Clone(out.units) {
		for _, l := range targets[u.path] {
			read[linkPlugin{l.seq, u.plugin}] = true
			if !inPrograms[u.plugin] && !c.x.has(l.path, u.plugin) {
				continue
			}
			out.units = append(out.units, unit{l, u.plugin, relocated(u, l.path)})
		}
	}
	for _, l := range c.links {
		base := path.Base(l.path)
		for _, pl := range c.x.choose(l.path, base) {
			if !read[linkPlugin{l.seq, pl.name}] && !c.wanted(l.target, pl.name) {
				c.gap(l.origin, scan.Gap{
					Where: "/" + l.path, What: pl.name + ": file is a hard link to /" + l.target + ", which was not read for it",
					Means: "the packages it lists are missing from the report",
					Do:    "build the image with a copy of the file instead of a hard link",
				})
			}
		}
		if !known[l.seq] && !c.holds(l.target) {
			out.links = append(out.links, l)
		}
	}
}

// inPrograms are the plugins that read programs, whatever their name.
var inPrograms = map[string]bool{programPlugin: true, goPlugin: true, rustPlugin: true}

type linkPlugin struct {
	seq    int
	plugin string
}

// has reports whether a plugin reads files of that path.
func (x *Extractor) has(p, name string) bool {
	return slices.ContainsFunc(x.choose(p, path.Base(p)), func(pl *plugin) bool { return pl.name == name })
}

// wanted reports whether the plugin has read a file of this layer, though it
// may have found nothing in it.
func (c *Collector) wanted(p, plugin string) bool { return c.holds(p) && c.x.has(p, plugin) }

// holds reports whether the layer has a file at a path.
func (c *Collector) holds(p string) bool { return len(c.at(p)) > 0 }

// relocated copies the packages of a unit to another path.
func relocated(u unit, to string) []found {
	out := slices.Clone(u.packages)
	for i := range out {
		if rest, ok := strings.CutPrefix(out[i].Path, "/"+u.path); ok {
			out[i].Path = "/" + to + rest
		}
	}
	return out
}
