package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// pkg is a package as any tool lists it, in one spelling.
type pkg struct {
	kind    string // deb, npm, maven, golang, gem, pypi
	name    string
	version string
	path    string // where it was found, relative; "": not told
	source  string // Debian source package and its version, "name version"
}

func (p pkg) key() string { return p.kind + " " + p.name + " " + p.version }

// built is the source package with the version of the binary package, which
// some list.
func (p pkg) built() string {
	name, _, _ := strings.Cut(p.source, " ")
	return name + " " + p.version
}

// list is what one tool found.
type list struct {
	tool     string
	packages []pkg
}

// inventories reads the documents that the tools wrote last.
func inventories(cases []*kase) ([]list, error) {
	var out []list
	for _, k := range cases {
		if k.output == "" {
			continue
		}
		data, err := os.ReadFile(k.output)
		if err != nil {
			return nil, err
		}
		p, err := k.parse(data)
		if err != nil {
			return nil, fmt.Errorf("read what %s wrote: %w", k.tool, err)
		}
		out = append(out, list{k.tool, p})
	}
	return out, nil
}

// fromPURL reads "pkg:type/namespace/name@version?qualifiers".
func fromPURL(text string) (pkg, bool) {
	rest, ok := strings.CutPrefix(text, "pkg:")
	if !ok {
		return pkg{}, false
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	kind, rest, _ := strings.Cut(rest, "/")
	name, version := rest, ""
	if at := strings.LastIndexByte(rest, '@'); at > 0 {
		name, version = rest[:at], rest[at+1:]
	}
	for _, s := range []*string{&name, &version} {
		if plain, err := url.PathUnescape(*s); err == nil {
			*s = plain
		}
	}
	p := pkg{kind: kind, name: name, version: version}
	if kind == "deb" {
		_, p.name, _ = strings.Cut(name, "/")
		// Some write the epoch beside the version.
		if q, err := url.ParseQuery(query); err == nil && q.Get("epoch") != "" && !strings.Contains(version, ":") {
			p.version = q.Get("epoch") + ":" + version
		}
	}
	return p.plain(), true
}

// plain takes differences of spelling away that mean nothing.
func (p pkg) plain() pkg {
	p.path = strings.TrimPrefix(p.path, "/")
	switch p.kind {
	case "golang":
		p.name, p.version = strings.ToLower(p.name), strings.TrimPrefix(p.version, "v")
	case "maven":
		p.name = strings.ReplaceAll(p.name, ":", "/")
	case "pypi":
		p.name = strings.ToLower(strings.ReplaceAll(p.name, "_", "-"))
	}
	return p
}

func fromGabion(data []byte) ([]pkg, error) {
	var r scan.Report
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	var out []pkg
	for _, f := range r.Packages {
		p, ok := fromPURL(f.PURL)
		if !ok {
			p = pkg{kind: f.Ecosystem, name: f.Name, version: f.Version}
		}
		p.path = f.Path
		if f.Source != "" {
			version := f.SourceVersion
			if version == "" {
				version = f.Version
			}
			p.source = f.Source + " " + version
		}
		out = append(out, p.plain())
	}
	return out, nil
}

func fromCycloneDX(data []byte) ([]pkg, error) {
	var doc struct {
		Components []struct {
			PURL       string
			Properties []struct{ Name, Value string }
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	var out []pkg
	for _, c := range doc.Components {
		p, ok := fromPURL(c.PURL)
		if !ok {
			continue // the image and its files
		}
		for _, q := range c.Properties {
			if strings.HasSuffix(q.Name, ":FilePath") {
				p.path = q.Value
			}
		}
		out = append(out, p.plain())
	}
	return out, nil
}

func fromSyft(data []byte) ([]pkg, error) {
	var doc struct {
		Artifacts []struct {
			Name, Version, Type, PURL string
			Locations                 []struct{ Path string }
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	var out []pkg
	for _, a := range doc.Artifacts {
		p, ok := fromPURL(a.PURL)
		if !ok {
			p = pkg{kind: a.Type, name: a.Name, version: a.Version}
		}
		if p.version == "" { // a name with a slash and no version is written so that it parses otherwise
			p.name = a.Name
		}
		if len(a.Locations) > 0 {
			p.path = a.Locations[0].Path
		}
		out = append(out, p.plain())
	}
	return out, nil
}

func fromOSV(data []byte) ([]pkg, error) {
	var doc struct {
		Results []struct {
			Source   struct{ Path string }
			Packages []struct {
				Package struct{ Name, Version, Ecosystem string }
			}
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	kinds := map[string]string{"npm": "npm", "Maven": "maven", "Go": "golang", "PyPI": "pypi", "RubyGems": "gem", "Debian": "deb"}
	var out []pkg
	for _, r := range doc.Results {
		for _, f := range r.Packages {
			ecosystem, _, _ := strings.Cut(f.Package.Ecosystem, ":")
			kind := kinds[ecosystem]
			if kind == "" {
				kind = ecosystem
			}
			out = append(out, pkg{kind: kind, name: f.Package.Name, version: f.Package.Version, path: r.Source.Path}.plain())
		}
	}
	return out, nil
}
