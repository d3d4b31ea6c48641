package sbom

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

func writeTags(w io.Writer, r *scan.Report) error {
	d := toSPDX(r)
	b := bufio.NewWriter(w)
	line := func(tag, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: %s\n", tag, value)
		}
	}
	text := func(tag, value string) {
		if value != "" {
			fmt.Fprintf(b, "%s: <text>%s</text>\n", tag, strings.ReplaceAll(value, "</text>", "</text >"))
		}
	}
	line("SPDXVersion", d.Version)
	line("DataLicense", d.Licence)
	line("SPDXID", d.ID)
	line("DocumentName", d.Name)
	line("DocumentNamespace", d.Namespace)
	text("DocumentComment", d.Comment)
	for _, c := range d.Creation.Creators {
		line("Creator", c)
	}
	line("Created", d.Creation.Created)
	for i := range d.Packages {
		p := &d.Packages[i]
		b.WriteByte('\n')
		line("PackageName", p.Name)
		line("SPDXID", p.ID)
		line("PackageVersion", p.Version)
		line("PackageDownloadLocation", p.Download)
		line("FilesAnalyzed", fmt.Sprint(p.Analyzed))
		line("PrimaryPackagePurpose", strings.ReplaceAll(p.Purpose, "_", "-"))
		for _, c := range p.Checksums {
			line("PackageChecksum", c.Algorithm+": "+c.Value)
		}
		text("PackageSourceInfo", p.SourceInfo)
		line("PackageLicenseConcluded", p.Concluded)
		line("PackageLicenseDeclared", p.Declared)
		line("PackageCopyrightText", p.Copyright)
		text("PackageComment", p.Comment)
		for _, r := range p.References {
			line("ExternalRef", r.Category+" "+r.Type+" "+r.Locator)
		}
	}
	for _, l := range d.Extracted {
		b.WriteByte('\n')
		line("LicenseID", l.ID)
		text("ExtractedText", l.Text)
		line("LicenseName", l.Name)
	}
	b.WriteByte('\n')
	for _, r := range d.Relations {
		line("Relationship", r.From+" "+r.Type+" "+r.To)
	}
	return b.Flush()
}

// isTags looks for the tag that the standard wants first.
func isTags(data []byte) bool {
	for line := range bytes.Lines(data[:min(len(data), 64<<10)]) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return bytes.HasPrefix(line, []byte("SPDXVersion:"))
		}
	}
	return false
}

func readTags(data []byte) (*document, error) {
	var s spdxDocument
	var p *spdxPackage // the one that tags belong to; nil: the document
	inLicence := false
	for n, rest := 1, string(data); rest != ""; n++ {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		tag, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("line %d: no tag in %.40q", n, line)
		}
		value = strings.TrimSpace(value)
		if open, ok := strings.CutPrefix(value, "<text>"); ok {
			if before, _, ok := strings.Cut(open, "</text>"); ok {
				value = before
			} else {
				more, after, ok := strings.Cut(rest, "</text>")
				if !ok {
					return nil, fmt.Errorf("line %d: <text> is never closed", n)
				}
				value = open + "\n" + more
				n += strings.Count(more, "\n")
				_, rest, _ = strings.Cut(after, "\n")
				n++
			}
		}
		switch tag {
		case "SPDXVersion":
			s.Version = value
		case "PackageName":
			s.Packages = append(s.Packages, spdxPackage{Name: value})
			p, inLicence = &s.Packages[len(s.Packages)-1], false
		case "FileName", "SnippetSPDXID":
			p, inLicence = &spdxPackage{}, false // files and snippets are not taken in
		case "LicenseID":
			s.Extracted = append(s.Extracted, spdxLicence{ID: value})
			p, inLicence = nil, true
		case "Relationship":
			if f := strings.Fields(value); len(f) >= 3 {
				s.Relations = append(s.Relations, spdxRelation{f[0], f[1], f[2]})
			}
		case "ExtractedText":
			if inLicence {
				s.Extracted[len(s.Extracted)-1].Text = value
			}
		case "DocumentName":
			s.Name = value
		case "DocumentComment":
			s.Comment = value
		default:
			if p != nil {
				p.tag(tag, value)
			}
		}
	}
	if !strings.HasPrefix(s.Version, "SPDX-2") {
		return nil, fmt.Errorf("version %.20q: %w", s.Version, ErrUnknown)
	}
	return fromSPDX(&s), nil
}

// tag takes in one tag of a package.
func (p *spdxPackage) tag(tag, value string) {
	switch tag {
	case "SPDXID":
		p.ID = value
	case "PackageVersion":
		p.Version = value
	case "PrimaryPackagePurpose":
		p.Purpose = value
	case "PackageSourceInfo":
		p.SourceInfo = value
	case "PackageLicenseDeclared":
		p.Declared = value
	case "PackageLicenseConcluded":
		p.Concluded = value
	case "PackageComment":
		p.Comment = value
	case "ExternalRef":
		if f := strings.Fields(value); len(f) >= 3 {
			p.References = append(p.References, spdxRef{f[0], f[1], f[2]})
		}
	}
}
