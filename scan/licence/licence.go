// Package licence says under which licences the packages of an image are, and
// whether lists of allowed and denied ones let them in.
//
// It does not read licence texts. The one idea: everything becomes an SPDX
// expression or stays what it was, and verdicts are taken on the expression:
// of "A OR B" one side is enough, of "A AND B" both are needed.
package licence

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
)

// Verdicts of a licence.
const (
	Allowed  = "allowed"
	Denied   = "denied"
	Unlisted = "unlisted"
)

// None is how SPDX writes that a package does not say its licence.
const None = "NOASSERTION"

// maxShown bounds a licence that is shown as found, in bytes.
const maxShown = 200

// Normalize gives the SPDX expression that a licence text of a package stands
// for ("GPLv2+ and MIT": "GPL-2.0-or-later AND MIT"), or the text without
// surplus spaces and false when part of it is none. An error means that the
// binary was built from a broken tree.
func Normalize(text string) (string, bool, error) {
	n, err := load()
	if err != nil {
		return "", false, err
	}
	id, e := n.read(text)
	return id, e != nil && e.valid(), nil
}

// read gives what to call a licence, and its expression if it has the form of
// one.
func (n *names) read(text string) (string, *expr) {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	e, err := n.parse(text)
	if err == nil && e.valid() {
		return e.String(), e
	}
	if err != nil {
		e = nil
	}
	if text == "" || strings.EqualFold(text, None) || strings.EqualFold(text, "none") || strings.EqualFold(text, "unknown") {
		return None, nil
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + " ..."
	}
	return text, e
}

// List groups packages by licence, sorted, and judges each. Elements of allow
// and deny are
//
//   - an SPDX id ("MIT"), also with an exception ("GPL-2.0-only WITH
//     Classpath-exception-2.0"); without "-only" or "-or-later" it stands for
//     both ("GPL-3.0");
//   - the name of a category ("copyleft"; see content/licences);
//   - "=TEXT": a licence that is no SPDX expression, as packages give it.
//
// What is nearer decides: an exact id before a family, a family before a
// category; deny before allow when they are equally near. A package without a
// licence counts as NOASSERTION. An error names the element that is none of
// these.
func List(pkgs []scan.Package, allow, deny []string) ([]scan.License, error) {
	n, err := load()
	if err != nil {
		return nil, err
	}
	rules, err := n.rules(allow, deny)
	if err != nil {
		return nil, err
	}
	type named struct {
		id   string
		expr *expr
	}
	known := map[string]named{} // by the text as found
	groups := map[string]*scan.License{}
	for i := range pkgs {
		texts := pkgs[i].Licenses
		if len(texts) == 0 {
			texts = []string{""}
		}
		for _, text := range texts {
			k, ok := known[text]
			if !ok {
				k.id, k.expr = n.read(text)
				known[text] = k
			}
			g := groups[k.id]
			if g == nil {
				g = &scan.License{License: k.id, Verdict: rules.judge(k.id, k.expr)}
				groups[k.id] = g
			}
			if len(g.Packages) == 0 || g.Packages[len(g.Packages)-1] != i {
				g.Packages = append(g.Packages, i)
			}
		}
	}
	out := make([]scan.License, 0, len(groups))
	for _, id := range slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Compare(a, b) }) {
		out = append(out, *groups[id])
	}
	return out, nil
}
