package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// prefix begins the names of everything that the standards have no field for.
const prefix = "gabion:"

// field is one such thing. Names may repeat; the order of values is kept.
type field struct{ name, value string }

// fields are what a Package has beyond name, version and package URL.
func fields(p *scan.Package) []field {
	out := []field{{"found", p.Found}, {"layer", strconv.Itoa(p.Layer)}}
	for _, f := range []field{
		{"ecosystem", p.Ecosystem}, {"path", p.Path}, {"source", p.Source}, {"sourceVersion", p.SourceVersion},
		{"arch", p.Arch}, {"module", p.Module},
	} {
		if f.value != "" {
			out = append(out, f)
		}
	}
	if p.Dev {
		out = append(out, field{"dev", "true"})
	}
	for _, l := range p.Licenses {
		out = append(out, field{"licence", l})
	}
	for _, program := range p.Programs {
		out = append(out, field{"program", program})
	}
	return out
}

// setFields is the reverse of fields. It reports whether the package was
// written by fields at all.
func setFields(p *scan.Package, in []field) bool {
	known := slices.ContainsFunc(in, func(f field) bool { return f.name == "found" })
	if !known {
		return false
	}
	p.Layer, p.Licenses = -1, nil
	for _, f := range in {
		switch f.name {
		case "found":
			p.Found = f.value
		case "layer":
			if n, err := strconv.Atoi(f.value); err == nil {
				p.Layer = n
			}
		case "name":
			p.Name = f.value
		case "version":
			p.Version = f.value
		case "purl":
			p.PURL = f.value
		case "ecosystem":
			p.Ecosystem = f.value
		case "path":
			p.Path = f.value
		case "source":
			p.Source = f.value
		case "sourceVersion":
			p.SourceVersion = f.value
		case "arch":
			p.Arch = f.value
		case "module":
			p.Module = f.value
		case "dev":
			p.Dev = f.value == "true"
		case "licence":
			p.Licenses = append(p.Licenses, f.value)
		case "program":
			p.Programs = append(p.Programs, f.value)
		}
	}
	return true
}

// imageFields are what the described thing has beyond its name. The
// configuration stays out: environments hold secrets.
func imageFields(r *scan.Report) []field {
	img := &r.Image
	out := []field{{"image:kind", string(img.Kind)}}
	for _, f := range []field{{"image:digest", img.Digest}, {"image:configID", img.ConfigID}, {"image:platform", img.Platform}} {
		if f.value != "" {
			out = append(out, f)
		}
	}
	for _, tag := range img.Tags {
		out = append(out, field{"image:tag", tag})
	}
	for i := range img.Layers {
		out = append(out, field{"image:layer", encode(img.Layers[i])})
	}
	if r.Release.ID != "" {
		out = append(out, field{"release", encode(r.Release)})
	}
	if r.Incomplete() {
		out = append(out, field{"incomplete", "true"})
	}
	for i := range r.Gaps {
		if !r.Gaps[i].Judging {
			out = append(out, field{"gap", encode(r.Gaps[i])})
		}
	}
	return out
}

// setImageFields is the reverse of imageFields. A value that does not decode
// is a Gap: it was there and could not be read.
func (d *document) setImageFields(in []field) {
	for _, f := range in {
		var err error
		switch f.name {
		case "image:kind":
			d.own = true
		case "image:digest":
			d.image.Digest = f.value
		case "image:configID":
			d.image.ConfigID = f.value
		case "image:platform":
			d.image.Platform = f.value
		case "image:tag":
			d.image.Tags = append(d.image.Tags, f.value)
		case "image:layer":
			var l scan.Layer
			err = json.Unmarshal([]byte(f.value), &l)
			d.image.Layers = append(d.image.Layers, l)
		case "release":
			err = json.Unmarshal([]byte(f.value), &d.release)
		case "gap":
			var g scan.Gap
			if err = json.Unmarshal([]byte(f.value), &g); err == nil {
				d.gaps = append(d.gaps, g)
			}
		}
		if err != nil {
			d.gaps = append(d.gaps, scan.Gap{Where: prefix + f.name, What: err.Error(), Means: "what the document says there is unknown"})
		}
	}
}

// pack writes fields as one text, for standards that have a comment only.
func pack(in []field) string {
	pairs := make([][2]string, len(in))
	for i, f := range in {
		pairs[i] = [2]string{f.name, f.value}
	}
	return prefix + encode(pairs)
}

// unpack is the reverse of pack; other comments give nothing.
func unpack(text string) []field {
	_, packed, ok := strings.Cut(text, prefix+"[[")
	if !ok {
		return nil
	}
	var pairs [][2]string
	if json.NewDecoder(strings.NewReader("[["+packed)).Decode(&pairs) != nil {
		return nil
	}
	out := make([]field, len(pairs))
	for i, p := range pairs {
		out[i] = field{p[0], p[1]}
	}
	return out
}

// encode writes a plain value as JSON; those used here cannot fail.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// refs gives every package a name within the document. It depends on the
// package alone, so that it is the same in the documents of two images.
func refs(pkgs []scan.Package) []string {
	out, seen := make([]string, len(pkgs)), map[string]int{}
	for i := range pkgs {
		p := &pkgs[i]
		id := hash(p.Ecosystem, p.Name, p.Version, p.Arch, p.Path, p.PURL)[:16]
		if seen[id]++; seen[id] > 1 {
			id += "." + strconv.Itoa(seen[id])
		}
		out[i] = id
	}
	return out
}

// hash is the SHA-256 of parts, each ended so that moving a letter from one to
// the next changes it.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// splitName takes a name apart as CycloneDX wants it for the ecosystems that
// have groups; joinName puts it together.
func splitName(ecosystem, name string) (group, rest string) {
	sep := groupSeparator(ecosystem)
	if sep == "" || (sep == "/" && !strings.HasPrefix(name, "@")) {
		return "", name
	}
	group, rest, ok := strings.Cut(name, sep)
	if !ok || group == "" || rest == "" {
		return "", name
	}
	return group, rest
}

func joinName(ecosystem, group, name string) string {
	if group == "" {
		return name
	}
	return group + cmp.Or(groupSeparator(ecosystem), "/") + name
}

func groupSeparator(ecosystem string) string {
	switch ecosystem {
	case "Maven":
		return ":"
	case "npm":
		return "/"
	}
	return ""
}
