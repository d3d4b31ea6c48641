package licence

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/scan"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		// SPDX
		{"MIT", "MIT", true},
		{"mit", "MIT", true},
		{"GPL-2.0", "GPL-2.0-only", true},
		{"GPL-2.0+", "GPL-2.0-or-later", true},
		{"GPL-2.0-only+", "GPL-2.0-or-later", true},
		{"apache-2.0 or mit", "Apache-2.0 OR MIT", true},
		{"(MIT OR Apache-2.0) AND ISC", "(MIT OR Apache-2.0) AND ISC", true},
		{"MIT OR Apache-2.0 AND ISC", "MIT OR Apache-2.0 AND ISC", true},
		{"((MIT))", "MIT", true},
		{"GPL-2.0-or-later WITH Classpath-exception-2.0", "GPL-2.0-or-later WITH Classpath-exception-2.0", true},
		{"GPL-2.0-with-classpath-exception", "GPL-2.0-only WITH Classpath-exception-2.0", true},
		{"GPL-3.0-with-GCC-exception", "GPL-3.0-only WITH GCC-exception-3.1", true},
		{"LicenseRef-Acme", "LicenseRef-Acme", true},
		{"DocumentRef-x:LicenseRef-y AND MIT", "DocumentRef-x:LicenseRef-y AND MIT", true},
		{"EPL-1.0+", "EPL-1.0+", true},
		// Debian
		{"GPL-2+", "GPL-2.0-or-later", true},
		{"LGPL-2.1+", "LGPL-2.1-or-later", true},
		{"Expat", "MIT", true},
		{"BSD-3-clause and GPL-2+", "BSD-3-Clause AND GPL-2.0-or-later", true},
		{"GPL-2+ or Artistic", "GPL-2.0-or-later OR Artistic-1.0-Perl", true},
		{"GPL-3+, and MIT", "GPL-3.0-or-later AND MIT", true},
		// rpm
		{"GPLv2+", "GPL-2.0-or-later", true},
		{"GPLv3+ and GPLv3+ with exceptions and BSD", "GPLv3+ and GPLv3+ with exceptions and BSD", false},
		{"LGPLv2+ and MIT", "LGPL-2.0-or-later AND MIT", true},
		{"ASL 2.0", "Apache-2.0", true},
		{"MPLv1.1 or GPLv2+", "MPL-1.1 OR GPL-2.0-or-later", true},
		{"GPLv3+ with GCC exception", "GPL-3.0-or-later WITH GCC-exception-3.1", true},
		{"GPL+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl", true},
		// Python
		{"License :: OSI Approved :: MIT License", "MIT", true},
		{"License :: OSI Approved :: Apache Software License", "Apache-2.0", true},
		{"License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later", true},
		{"License :: OSI Approved :: GNU Lesser General Public License v2 or later (LGPLv2+)", "LGPL-2.0-or-later", true},
		{"License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0", true},
		{"License :: OSI Approved :: Python Software Foundation License", "PSF-2.0", true},
		{"License :: OSI Approved :: ISC License (ISCL)", "ISC", true},
		{"Apache License, Version 2.0", "Apache-2.0", true},
		{"3-Clause BSD License", "BSD-3-Clause", true},
		// Maven
		{"The Apache Software License, Version 2.0", "Apache-2.0", true},
		{"http://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0", true},
		{"Eclipse Public License - v 2.0", "EPL-2.0", true},
		{"GNU General Public License, version 2 with Classpath exception", "GPL-2.0-only WITH Classpath-exception-2.0", true},
		{"CDDL + GPLv2 with classpath exception", "CDDL-1.0 OR GPL-2.0-only WITH Classpath-exception-2.0", true},
		// others
		{"MIT/Apache-2.0", "MIT OR Apache-2.0", true},
		{"MIT/X11", "MIT", true},
		{"Apache-2.0 / MIT", "Apache-2.0 OR MIT", true},
		{"The MIT License (MIT)", "MIT", true},
		{"perl_5", "Artistic-1.0-Perl OR GPL-1.0-or-later", true},
		// not known
		{"BSD", "BSD", false},
		{"UNLICENSED", "UNLICENSED", false},
		{"SEE LICENSE IN LICENSE.md", "SEE LICENSE IN LICENSE.md", false},
		{"Copyright  (c)\n Acme", "Copyright (c) Acme", false},
		{"MIT AND Acme Terms", "MIT AND Acme Terms", false},
		{"MIT WITH Nonesuch", "MIT WITH Nonesuch", false},
		{"", None, false},
		{"unknown", None, false},
		{"MIT OR", "MIT OR", false},
		{"(MIT", "(MIT", false},
		{"MIT)", "MIT)", false},
		{"AND", "AND", false},
		{"LicenseRef-", "LicenseRef-", false},
	} {
		got, ok, err := Normalize(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got != c.want || ok != c.ok {
			t.Errorf("Normalize(%q) = %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

// TestNormalizeIsStable: what was normalised stays as it is, for every id.
func TestNormalizeIsStable(t *testing.T) {
	c, err := content.LoadLicences()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.IDs) < 700 || len(c.Exceptions) < 60 {
		t.Fatalf("%d ids and %d exceptions", len(c.IDs), len(c.Exceptions))
	}
	for _, id := range c.IDs {
		first, ok, err := Normalize(id)
		if err != nil || !ok {
			t.Errorf("%s: %q, %v, %v", id, first, ok, err)
			continue
		}
		if again, ok, _ := Normalize(first); again != first || !ok {
			t.Errorf("%s became %s, which became %s", id, first, again)
		}
	}
}

// TestData holds the tables to what the code takes for granted.
func TestData(t *testing.T) {
	n, err := load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := content.LoadLicences()
	if err != nil {
		t.Fatal(err)
	}
	for alias, to := range c.Aliases {
		if fold(alias) != alias {
			t.Errorf("alias %q folds to %q and is never found", alias, fold(alias))
		}
		if e, err := n.parse(to); err != nil || !e.valid() {
			t.Errorf("alias %q: %q is no expression", alias, to)
		}
	}
	for name, kind := range c.Categories {
		if kind.Why == "" || len(kind.IDs) == 0 {
			t.Errorf("category %s has no reason or no ids", name)
		}
		for _, id := range kind.IDs {
			prefix, star := strings.CutSuffix(id, "*")
			found := id == strings.ToLower(id) && !star // a text
			for _, known := range c.IDs {
				found = found || family(known) == id || star && strings.HasPrefix(known, prefix)
			}
			if !found {
				t.Errorf("category %s: no id is %s", name, id)
			}
		}
	}
}

func list(t *testing.T, licences, allow, deny string) map[string]string {
	t.Helper()
	var pkgs []scan.Package
	for _, l := range strings.Split(licences, ";") {
		pkgs = append(pkgs, scan.Package{Licenses: []string{l}})
	}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ";")
	}
	got, err := List(pkgs, split(allow), split(deny))
	if err != nil {
		t.Fatal(err)
	}
	verdicts := map[string]string{}
	for _, g := range got {
		verdicts[g.License] = g.Verdict
	}
	return verdicts
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		licence, allow, deny, want string
	}{
		{"MIT", "", "", Unlisted},
		{"MIT", "MIT", "", Allowed},
		{"MIT", "", "MIT", Denied},
		{"MIT", "MIT", "MIT", Denied},
		{"MIT", "The MIT License", "", Allowed},
		{"MIT OR GPL-3.0-only", "MIT", "GPL-3.0", Allowed},
		{"MIT OR GPL-3.0-only", "", "GPL-3.0", Unlisted},
		{"MIT AND GPL-3.0-only", "MIT", "GPL-3.0", Denied},
		{"MIT AND ISC", "MIT", "", Unlisted},
		{"MIT AND ISC", "MIT;ISC", "", Allowed},
		{"(MIT OR GPL-3.0-only) AND (ISC OR AGPL-3.0-only)", "permissive", "copyleft", Allowed},
		{"(MIT OR GPL-3.0-only) AND AGPL-3.0-only", "permissive", "copyleft", Denied},
		// families
		{"GPL-3.0-or-later", "", "GPL-3.0", Denied},
		{"GPL-3.0-or-later", "", "GPL-3.0-only", Unlisted},
		{"GPL-3.0-or-later", "", "GPL-3.0+", Denied},
		{"GPL-3.0-or-later", "GPL-3.0-or-later", "GPL-3.0", Allowed},
		// categories: the nearer decides
		{"MPL-2.0", "MPL-2.0", "weak-copyleft", Allowed},
		{"LGPL-2.1-or-later", "MPL-2.0", "weak-copyleft", Denied},
		{"AGPL-3.0-only", "", "network-copyleft", Denied},
		{"SSPL-1.0", "", "source-available", Denied},
		{"CC-BY-NC-SA-4.0", "", "non-commercial", Denied},
		{"CC-BY-4.0", "", "non-commercial", Unlisted},
		{"LGPL-3.0-only", "", "copyleft", Unlisted},
		{"BSD", "permissive", "", Allowed},
		{"UNLICENSED", "", "proprietary", Denied},
		// exceptions
		{"GPL-2.0-only WITH Classpath-exception-2.0", "", "GPL-2.0-only", Denied},
		{"GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only", Allowed},
		{"GPL-2.0-only", "GPL-2.0-only WITH Classpath-exception-2.0", "", Unlisted},
		// texts
		{"Acme Terms", "", "=acme  terms", Denied},
		{"MIT AND Acme Terms", "MIT", "", Unlisted},
		{"MIT AND Acme Terms", "MIT;=Acme Terms", "", Allowed},
		{"GPL-3.0 AND Acme Terms", "", "GPL-3.0", Denied},
		{"GPL-3.0 OR Acme Terms", "", "GPL-3.0", Unlisted},
		{"", "MIT", "", Unlisted},
		{"", "", "NOASSERTION", Denied},
	} {
		for _, got := range list(t, c.licence, c.allow, c.deny) {
			if got != c.want {
				t.Errorf("%q with allow %q and deny %q is %s, want %s", c.licence, c.allow, c.deny, got, c.want)
			}
		}
	}
}

func TestListGroups(t *testing.T) {
	pkgs := []scan.Package{
		{Name: "a", Licenses: []string{"MIT", "Expat"}}, {Name: "b"}, {Name: "c", Licenses: []string{"Expat"}},
		{Name: "d", Licenses: []string{"GPL-2+", "ISC"}}, {Name: "e", Licenses: []string{strings.Repeat("long text ", 1000)}},
	}
	got, err := List(pkgs, nil, []string{"copyleft"})
	if err != nil {
		t.Fatal(err)
	}
	want := []scan.License{
		{License: "GPL-2.0-or-later", Packages: []int{3}, Verdict: Denied},
		{License: "ISC", Packages: []int{3}, Verdict: Unlisted},
		{License: "MIT", Packages: []int{0, 2}, Verdict: Unlisted},
		{License: None, Packages: []int{1}, Verdict: Unlisted},
		{License: strings.Repeat("long text ", 20) + " ...", Packages: []int{4}, Verdict: Unlisted},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestTypos: an element that means nothing must not quietly deny nothing.
func TestTypos(t *testing.T) {
	for _, element := range []string{"GLP-3.0", "copyleft licences", "MIT OR ISC", "", "="} {
		if _, err := List(nil, nil, []string{element}); err == nil {
			t.Errorf("%q was taken", element)
		}
	}
}

func TestBounds(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("(", 5000) + "MIT" + strings.Repeat(")", 5000),
		strings.Repeat("(", maxDepth+2) + "MIT" + strings.Repeat(")", maxDepth+2),
		strings.Repeat("MIT OR ", 5000) + "MIT",
		strings.Repeat("MIT|", maxLeafs+1) + "MIT",
	} {
		if got, ok, err := Normalize(text); ok || err != nil || len(got) > maxShown+4 {
			t.Errorf("%.20q...: %d bytes, %v, %v", text, len(got), ok, err)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"MIT", "(MIT OR Apache-2.0) AND ISC", "GPLv2+ with GCC exception", "MIT/X11", "a, and (b", "License :: OSI Approved :: BSD License", "v2", "GPL-2.0-with-GCC-exception"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok, err := Normalize(text)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return
		}
		again, ok, err := Normalize(got)
		if err != nil || !ok || again != got {
			t.Fatalf("%q became %q, which became %q (%v)", text, got, again, ok)
		}
		if _, err := List([]scan.Package{{Licenses: []string{text}}}, []string{"MIT"}, []string{"copyleft"}); err != nil {
			t.Fatal(err)
		}
	})
}

func ExampleNormalize() {
	for _, text := range []string{"GPLv2+ and MIT", "The Apache Software License, Version 2.0", "BSD"} {
		expression, ok, err := Normalize(text)
		if err != nil {
			panic(err)
		}
		fmt.Println(expression, ok)
	}
	// Output:
	// GPL-2.0-or-later AND MIT true
	// Apache-2.0 true
	// BSD false
}

func ExampleList() {
	pkgs := []scan.Package{
		{Name: "lodash", Licenses: []string{"MIT"}},
		{Name: "readline", Licenses: []string{"GPL-3.0-or-later"}},
		{Name: "jszip", Licenses: []string{"(MIT OR GPL-3.0-or-later)"}},
	}
	list, err := List(pkgs, []string{"permissive"}, []string{"copyleft"})
	if err != nil {
		panic(err)
	}
	for _, l := range list {
		fmt.Println(l.License, l.Packages, l.Verdict)
	}
	// Output:
	// GPL-3.0-or-later [1] denied
	// MIT [0] allowed
	// MIT OR GPL-3.0-or-later [2] allowed
}
