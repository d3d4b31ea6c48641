package vex

import (
	"fmt"
	"path"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Index finds what documents say of the findings of one image. It is for one
// goroutine.
type Index struct {
	docs  []Document
	used  []bool
	byID  map[string][]place
	image *names
	pkgs  []scan.Package
	have  []*purl          // of pkgs, made when asked for
	seen  map[string]*purl // of statements
}

type place struct{ doc, statement int }

// Said is what a document says of a finding; the zero value: nothing.
type Said struct {
	Document  *Document
	Statement *Statement
}

// NewIndex makes an Index of documents for an image and its packages.
func NewIndex(docs []Document, img *scan.Image, pkgs []scan.Package) *Index {
	x := &Index{docs: docs, used: make([]bool, len(docs)), byID: map[string][]place{}, pkgs: pkgs, seen: map[string]*purl{}}
	if len(docs) == 0 {
		return x
	}
	x.image, x.have = namesOfImage(img), make([]*purl, len(pkgs))
	for d := range docs {
		for s := range docs[d].Statements {
			for _, id := range docs[d].Statements[s].IDs {
				id = strings.ToUpper(id)
				if l := x.byID[id]; len(l) == 0 || l[len(l)-1] != (place{d, s}) {
					x.byID[id] = append(l, place{d, s})
				}
			}
		}
	}
	return x
}

// Find gives the statement in force for a finding: the latest that applies. Of
// equally late ones the one that keeps the finding open wins.
func (x *Index) Find(f *scan.Finding) Said {
	var best Said
	if len(x.byID) == 0 || f.Package < 0 || f.Package >= len(x.pkgs) {
		return best
	}
	for i := -1; i < len(f.Aliases); i++ {
		id := f.ID
		if i >= 0 {
			id = f.Aliases[i]
		}
		for _, p := range x.byID[strings.ToUpper(id)] {
			s := &x.docs[p.doc].Statements[p.statement]
			if !x.applies(s, f.Package) {
				continue
			}
			x.used[p.doc] = true
			b := best.Statement
			if b == nil || s.Time.After(b.Time) || s.Time.Equal(b.Time) && weight(s.Status) > weight(b.Status) {
				best = Said{&x.docs[p.doc], s}
			}
		}
	}
	return best
}

func weight(s Status) int {
	switch s {
	case Affected:
		return 3
	case UnderInvestigation:
		return 2
	case Fixed:
		return 1
	}
	return 0
}

func (x *Index) applies(s *Statement, pkg int) bool {
	for i := range s.Products {
		p := &s.Products[i]
		for _, name := range p.Names {
			if x.image.are(name) && (len(p.Components) == 0 || x.among(p.Components, pkg)) {
				return true
			}
		}
		if len(p.Components) == 0 {
			if x.named(p, pkg) {
				return true
			}
			continue
		}
		if !x.among(p.Components, pkg) {
			continue
		}
		for whole := range x.pkgs {
			if contains(&x.pkgs[whole], &x.pkgs[pkg]) && x.named(p, whole) {
				return true
			}
		}
	}
	return false
}

// among reports whether one of the components is the package. Components of
// components narrow nothing here: no format writes them.
func (x *Index) among(components []Product, pkg int) bool {
	for i := range components {
		if x.named(&components[i], pkg) {
			return true
		}
	}
	return false
}

// named reports whether one of the product's names is the package's.
func (x *Index) named(p *Product, pkg int) bool {
	for _, n := range p.Names {
		if !strings.HasPrefix(n, "pkg:") {
			continue
		}
		want, ok := x.seen[n]
		if !ok {
			want = parsePURL(n)
			x.seen[n] = want
		}
		if want == nil {
			continue
		}
		if x.have[pkg] == nil {
			h := x.pkgs[pkg].PURL
			if h == "" {
				h = genericPURL(&x.pkgs[pkg])
			}
			if x.have[pkg] = parsePURL(h); x.have[pkg] == nil {
				x.have[pkg] = &purl{}
			}
		}
		if want.covers(x.have[pkg], &x.pkgs[pkg]) {
			return true
		}
	}
	return false
}

// contains reports whether a package is part of another by where they lie: in
// the same program, archive or lock file, inside the archive, or below the
// folder of the application. Packages of a distribution contain none.
func contains(whole, part *scan.Package) bool {
	switch {
	case whole == part:
		return true
	case whole.Path == "" || part.Path == "" || strings.Contains(whole.Ecosystem, ":") || strings.Contains(part.Ecosystem, ":"):
		return false
	case whole.Path == part.Path || strings.HasPrefix(part.Path, whole.Path+"!/"):
		return true
	}
	dir := path.Dir(whole.Path)
	return dir != "/" && dir != "." && whole.Ecosystem == part.Ecosystem && strings.HasPrefix(part.Path, dir+"/")
}

// State is what the statement makes of a finding; "" when it leaves it open.
func (s Said) State() scan.State {
	if s.Statement != nil {
		switch s.Statement.Status {
		case NotAffected:
			return scan.NotAffected
		case Fixed:
			return scan.Fixed
		}
	}
	return ""
}

// Decision says who settled the finding and why; nil when it is left open.
func (s Said) Decision() *scan.Decision {
	if s.State() == "" {
		return nil
	}
	return &scan.Decision{By: "VEX " + s.Document.Name, Owner: s.Document.Author, Reason: s.reason()}
}

// reason is "justification: note", or the one of them that is there.
func (s Said) reason() string {
	j, n := s.Statement.Justification, strings.Join(strings.Fields(s.Statement.Note), " ")
	switch {
	case j == "" && n == "":
		return string(s.Statement.Status)
	case j == "" || n == "":
		return j + n
	}
	return j + ": " + n
}

// Remark is what a statement that settles nothing tells a reader.
func (s Said) Remark() string {
	if s.Statement == nil || s.State() != "" {
		return ""
	}
	text := "affected"
	if s.Statement.Status == UnderInvestigation {
		text = "under investigation"
	}
	if note := strings.Join(strings.Fields(s.Statement.Note), " "); note != "" {
		text += ": " + clip(note, 200)
	}
	return text + " (VEX " + s.Document.Name + ")"
}

// Gaps tells of documents that could not be used in full, or at all.
func (x *Index) Gaps() []scan.Gap {
	var out []scan.Gap
	for i := range x.docs {
		d := &x.docs[i]
		for _, why := range d.Skipped {
			out = append(out, scan.Gap{Where: "VEX " + d.Name, What: why, Means: "it settles nothing", Do: "ask its author to correct it", Minor: true})
		}
		if !x.used[i] {
			out = append(out, scan.Gap{
				Where: "VEX " + d.Name, What: fmt.Sprintf("none of its %d statements is about a finding of this image", len(d.Statements)),
				Means: "it settles nothing", Do: "compare its products with the image's name, digest and package URLs", Minor: true,
			})
		}
	}
	return out
}

// clip cuts a text after at most n bytes, between letters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "..."
}
