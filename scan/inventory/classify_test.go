package inventory

import (
	"strings"
	"testing"

	"github.com/gabion-dev/gabion/scan"
)

func TestClassifiers(t *testing.T) {
	for _, c := range loadClassifiers().all {
		if len(c.Match) == 0 || len(c.Miss) == 0 {
			t.Errorf("%s: needs a case that must match and one that must not", c.Name)
		}
		look := func(k classifierCase) scan.Inventory {
			text := k.Text
			if !strings.HasSuffix(k.Path, "/OTP_VERSION") && !strings.Contains(text, "=") && !strings.HasSuffix(k.Path, "/VERSION") {
				text = elf(text)
			}
			return merged(t, []item{exe(k.Path, text)})
		}
		for _, k := range c.Match {
			inv := look(k)
			if len(inv.Packages) != 1 || inv.Packages[0].Name != c.Name || inv.Packages[0].Version != k.Version {
				t.Errorf("%s: %q gives %+v, want version %s", c.Name, k.Text, inv.Packages, k.Version)
			}
		}
		for _, k := range c.Miss {
			for _, p := range look(k).Packages {
				if p.Name == c.Name {
					t.Errorf("%s: %q gives version %s", c.Name, k.Text, p.Version)
				}
			}
		}
	}
}

// Only names that are listed are searched at all.
func TestClassifierNeedsTheName(t *testing.T) {
	inv := merged(t, []item{exe("usr/bin/other", elf("\x00node.js/v18.19.0\x00")), exe("usr/bin/node", "#!/bin/sh\n\x00node.js/v18.19.0")})
	wantNames(t, inv)
}

func TestParseClassifiers(t *testing.T) {
	for _, bad := range []string{
		"- name: x\n  programs: [x]\n", "- name: x\n  programs: [x]\n  texts: [\"no place\"]\n",
		"- name: x\n  texts: [\"a{version}\"]\n", "- name: x\n  programs: [x]\n  texts: [\"{version}\"]\n",
		"- name: x\n  programs: [x]\n  texts: [\"a{version}\"]\n  version: \"(\"\n", "{",
	} {
		if _, err := parseClassifiers([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a classifier", bad)
		}
	}
}

// Whatever a large program is made of, things on the border of two windows are
// found, and once.
func TestWindows(t *testing.T) {
	x := New(Config{MaxBuffer: 1 << 20})
	mark := "\x00node.js/v18.19.0\x00"
	for _, at := range []int{70, 1<<20 - 20, 1<<20 - 10, 1<<20 - overlapBytes - 5, 1<<20 - overlapBytes + 5, 3 << 20, 5<<20 - 70 - len(mark)} {
		body := elf("")
		body += strings.Repeat("x\x9c.", 5<<20/3)[:5<<20-len(body)]
		body = body[:at] + mark + body[at+len(mark):]
		inv := Merge([]*Contents{visit(t, x, big("usr/bin/node", strings.NewReader(body), int64(len(body))))})
		wantNames(t, inv, "Binary node 18.19.0 @0")
		small := Merge([]*Contents{visit(t, New(Config{MaxBuffer: 8 << 20}), exe("usr/bin/node", body))})
		if len(inv.Files) != 1 || inv.Files[0] != small.Files[0] {
			t.Errorf("at %d: %+v, in one window %+v", at, inv.Files, small.Files)
		}
	}
}
