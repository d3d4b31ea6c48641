package vuln

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// bySource lists the operating systems whose advisories speak of source
// packages (dpkg source, apk origin, source rpm). The other systems, which all
// use rpm, speak of the packages that are installed. An importer says otherwise
// with Affected.By; the matcher looks in both ways wherever the database has both.
var bySource = map[string]bool{
	"Debian": true, "Ubuntu": true, "Alpine": true, "Photon OS": true, "Azure Linux": true,
	"AlmaLinux": false, "Rocky Linux": false, "Red Hat": false, "Oracle Linux": false, "CentOS Stream": false,
	"Fedora": false, "Amazon Linux": false, "SUSE Linux Enterprise": false, "SUSE Linux Enterprise Micro": false,
	"openSUSE": false, "Arch Linux": false, "Mageia": false, "openEuler": false, "Alpaquita": true, "Wolfi": true,
}

// isSystem tells whether an ecosystem is an operating system.
func isSystem(ecosystem string) bool {
	base, _, _ := strings.Cut(ecosystem, ":")
	_, ok := bySource[base]
	return ok
}

// renamed brings the names of ecosystems that changed, or that differ between
// feeds, into one.
var renamed = map[string]string{
	"DHI": "Docker Hardened Images", "Mariner": "Azure Linux", "Rocky": "Rocky Linux", "Oracle": "Oracle Linux",
	"Amazon": "Amazon Linux", "Photon": "Photon OS", "RedHat": "Red Hat", "redhat": "Red Hat", "Arch": "Arch Linux",
	"Go modules": "Go", "Cargo": "crates.io", "cargo": "crates.io", "composer": "Packagist", "golang": "Go",
}

// Ecosystem brings the ways in which feeds and inventories write an ecosystem
// into one: "Ubuntu:22.04:LTS" and "Ubuntu:22.04" are one, "Red
// Hat:enterprise_linux:9::appstream" is "Red Hat:9", "SUSE:Linux Enterprise
// Server 15 SP5" is "SUSE Linux Enterprise:15.5". Extended support keeps a name
// of its own: "Ubuntu:Pro:16.04", "Red Hat:rhel_eus:9.2".
func Ecosystem(s string) string {
	base, rest, _ := strings.Cut(strings.TrimSpace(s), ":")
	if r, ok := renamed[base]; ok {
		base = r
	}
	switch base {
	case "Ubuntu":
		rest = strings.TrimSuffix(rest, ":LTS")
	case "Red Hat":
		if r, ok := strings.CutPrefix(rest, "enterprise_linux:"); ok {
			rest, _, _ = strings.Cut(r, ":")
			rest, _, _ = strings.Cut(rest, ".")
		} else {
			rest, _, _ = strings.Cut(rest, "::")
		}
	case "SUSE":
		words := strings.Fields(rest)
		if len(words) < 3 || words[0] != "Linux" || words[1] != "Enterprise" {
			break
		}
		base = "SUSE Linux Enterprise"
		if slices.Contains(words, "Micro") {
			base = "SUSE Linux Enterprise Micro"
		}
		// The product ("Server", "Module for Basesystem") does not matter: one
		// code base serves all of a service pack.
		rest = ""
		for _, w := range words[2:] {
			switch {
			case '0' <= w[0] && w[0] <= '9':
				rest = w
			case strings.HasPrefix(w, "SP") && rest != "":
				rest += "." + w[2:]
			}
		}
	}
	if rest == "" {
		return base
	}
	return base + ":" + rest
}

// appendName appends a package's name as its ecosystem compares names.
func appendName(dst []byte, base, name string) []byte {
	switch base {
	case "PyPI":
		// PEP 503: case, and runs of - _ . are one hyphen.
		gap := false
		for i := range len(name) {
			c := name[i]
			if c == '-' || c == '_' || c == '.' {
				if !gap {
					dst = append(dst, '-')
				}
				gap = true
				continue
			}
			gap = false
			dst = append(dst, lower(c))
		}
		return dst
	case "NuGet", "Packagist", "Hex", "SwiftURL", "GitHub Actions", "Bitnami", "Docker Hardened Images", "Binary":
		for i := range len(name) {
			dst = append(dst, lower(name[i]))
		}
		return dst
	}
	return append(dst, name...)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// programs.txt says which names advisories give to programs that are known by
// their bytes alone.
//
//go:embed programs.txt
var programsText string

// upstreams are the ecosystems whose advisories are about what makers release,
// in their own version numbers.
var upstreams = []string{"Bitnami", "Docker Hardened Images"}

// FromEvents turns the events of an OSV range (types SEMVER and ECOSYSTEM) into
// intervals by OSV's own rule: sorted by version, "introduced" opens, every
// other kind closes.
func FromEvents(ecosystem string, events []Event) ([]Range, error) {
	type point struct {
		key   []byte
		order int // at one version: introduced, fixed, limit, last affected
		Event
	}
	points := make([]point, 0, len(events))
	for _, e := range events {
		p := point{Event: e}
		v := e.Introduced
		switch {
		case e.Fixed != "":
			v, p.order = e.Fixed, 0
		case e.Limit != "":
			v, p.order = e.Limit, 0
		case e.LastAffected != "":
			v, p.order = e.LastAffected, 2
		default:
			p.order = 1
		}
		if v == "*" && e.Limit != "" {
			continue
		}
		if e.Introduced != "" && isZeroVersion(e.Introduced) {
			points = append(points, p)
			continue
		}
		var err error
		if p.key, err = version.Key(ecosystem, v); err != nil {
			return nil, fmt.Errorf("order events of a range: %w", err)
		}
		points = append(points, p)
	}
	slices.SortStableFunc(points, func(a, b point) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return a.order - b.order
	})
	var ranges []Range
	open := false
	for _, p := range points {
		if p.Introduced != "" {
			if !open {
				ranges = append(ranges, Range{Introduced: p.Introduced})
			}
			open = true
			continue
		}
		if open {
			r := &ranges[len(ranges)-1]
			r.Fixed, r.LastAffected, r.Limit = p.Fixed, p.LastAffected, p.Limit
		}
		open = false
	}
	return ranges, nil
}

// isZeroVersion recognizes "from the first version on".
func isZeroVersion(v string) bool { return v == "" || v == "0" }
