package ranges_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gabion-dev/gabion/scan/vuln"
	"github.com/gabion-dev/gabion/scan/vuln/feed/ranges"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

func show(list []vuln.Range) string {
	var out []string
	for _, r := range list {
		s := "[" + r.Introduced + " .."
		switch {
		case r.Fixed != "":
			s += " fix " + r.Fixed
		case r.LastAffected != "":
			s += " last " + r.LastAffected
		case r.Limit != "":
			s += " limit " + r.Limit
		}
		out = append(out, s+"]")
	}
	return strings.Join(out, " ")
}

func TestNPM(t *testing.T) {
	for _, c := range []struct{ bad, good, want string }{
		{"<=1.5.1", ">=1.5.2", "[ .. fix 1.5.2]"},
		{"<=1.5.1", "", "[ .. last 1.5.1]"},
		{"<1.0.0", ">=1.0.0", "[ .. fix 1.0.0]"},
		{"*", "", "[ ..]"},
		{"<=99.999.99999", "<0.0.0", "[0.0.0 ..]"},
		{"2.1.4", "", "[2.1.4 .. last 2.1.4]"},
		{"=3.0.0-rc.1", "", "[3.0.0-rc.1 .. last 3.0.0-rc.1]"},
		{"2.0.x || 2.1.x", ">= 2.2.x", "[2.0.0 .. limit 2.1.0-0] [2.1.0 .. fix 2.2.0]"},
		{"2.0.x || 2.1.x", "", "[2.0.0 .. limit 2.1.0-0] [2.1.0 .. limit 2.2.0-0]"},
		{">= 0.2.0 <= 0.9.6 || ~0.8.0-pre", "", "[0.2.0 .. last 0.9.6]"},
		{"<2.0.18 || <3.0.16 || <5.0.0-beta.5", "^2.0.18 || ^3.0.16 || ^5.0.0-beta.5", "[ .. fix 2.0.18] [3.0.0-0 .. fix 3.0.16] [4.0.0-0 .. fix 5.0.0-beta.5]"},
		{"<=v2.0.0-alpha7", ">=v2.0.0-alpha8", "[ .. fix 2.0.0-alpha8]"},
		{"^1.2.3", "", "[1.2.3 .. limit 2.0.0-0]"},
		{"^0.2.3", "", "[0.2.3 .. limit 0.3.0-0]"},
		{"^0.0.3", "", "[0.0.3 .. limit 0.0.4-0]"},
		{"^1", "", "[1.0.0 .. limit 2.0.0-0]"},
		{"~1.2.3", "", "[1.2.3 .. limit 1.3.0-0]"},
		{"~> 1.2", "", "[1.2.0 .. limit 1.3.0-0]"},
		{"~1", "", "[1.0.0 .. limit 2.0.0-0]"},
		{"1.2.3 - 2.3.4", "", "[1.2.3 .. last 2.3.4]"},
		{"1.2 - 2.3", "", "[1.2.0 .. limit 2.4.0-0]"},
		{">1.2.3", "", "[1.2.4-0 ..]"},
		{">1.2.3-rc.1", "", "[1.2.3-rc.1.0 ..]"},
		{">1.2", "", "[1.3.0-0 ..]"},
		{"<=1.2", "", "[ .. limit 1.3.0-0]"},
		{">=1.0.0, <1.4.2", "", "[1.0.0 .. fix 1.4.2]"},
		{">=2.0.0 <1.0.0", "", ""},
		{">*", "", ""},
		{"<=1.0.0 || >=3.0.0 <=3.1.0", ">=2.0.0 <3.0.0 || >=3.2.0", "[ .. fix 2.0.0] [3.0.0 .. fix 3.2.0]"},
		{"<=1.0.0+build", "", "[ .. last 1.0.0]"},
	} {
		got, err := ranges.NPM(c.bad, c.good)
		if err != nil || show(got) != c.want {
			t.Errorf("NPM(%q, %q) = %s, %v; want %s", c.bad, c.good, show(got), err, c.want)
		}
	}
}

func TestGem(t *testing.T) {
	for _, c := range []struct {
		patched, unaffected []string
		want                string
	}{
		{nil, nil, "[ ..]"},
		{[]string{">= 1.2.3"}, nil, "[ .. fix 1.2.3]"},
		{[]string{"~> 5.2.4, >= 5.2.4.3", ">= 6.0.3.1"}, []string{"< 4.0"}, "[4.0 .. fix 5.2.4.3] [5.3.a .. fix 6.0.3.1]"},
		{[]string{"~> 2.3"}, nil, "[ .. fix 2.3] [3.a ..]"},
		{[]string{"~> 2"}, nil, "[ .. fix 2] [3.a ..]"},
		{[]string{"> 1.0"}, nil, "[ .. last 1.0]"},
		{nil, []string{"<= 1.0"}, "[1.0.0.0.0.1 ..]"},
		{[]string{"= 1.5"}, nil, "[ .. fix 1.5] [1.5.0.0.0.1 ..]"},
		{[]string{"1.5"}, []string{"!= 1.5"}, ""},
		{[]string{">= 1.0, < 2.0"}, nil, "[ .. fix 1.0] [2.0 ..]"},
		{[]string{">= 2.0, < 1.0"}, nil, "[ ..]"},
		{[]string{">= 1.2.3.rc1"}, nil, "[ .. fix 1.2.3.rc1]"},
	} {
		got, err := ranges.Gem(c.patched, c.unaffected)
		if err != nil || show(got) != c.want {
			t.Errorf("Gem(%q, %q) = %s, %v; want %s", c.patched, c.unaffected, show(got), err, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, text := range []string{"all", ">=", "=>1.0", "1.2.3.4", "1..2", ">=1.0.0 <", "<=99999999999999999999999", "1.2.3-", "1.2.3-ä", strings.Repeat("1 || ", 300), strings.Repeat(">1 ", 300)} {
		if got, err := ranges.NPM(text, ""); !errors.Is(err, ranges.ErrSyntax) {
			t.Errorf("NPM(%.40q) = %s, %v", text, show(got), err)
		}
	}
	for _, text := range []string{"", "about 3", "=> 1", ">= ", ">= 1..2", "~> .1", ">= 1, ", ">= a1", "~> 1-", strings.Repeat("1,", 300)} {
		if got, err := ranges.Gem([]string{text}, nil); !errors.Is(err, ranges.ErrSyntax) {
			t.Errorf("Gem(%.40q) = %s, %v", text, show(got), err)
		}
	}
}

// affected tells whether a version is in the ranges, by the order alone.
func affected(t interface{ Fatal(...any) }, ecosystem string, list []vuln.Range, v string) bool {
	cmp := func(a, b string) int {
		c, err := version.Compare(ecosystem, a, b)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, r := range list {
		if r.Introduced != "" && cmp(v, r.Introduced) < 0 {
			continue
		}
		if hi := r.Fixed + r.Limit; hi != "" && cmp(v, hi) >= 0 {
			continue
		}
		if r.LastAffected != "" && cmp(v, r.LastAffected) > 0 {
			continue
		}
		return true
	}
	return false
}

// TestNPMMeans compares with the plain meaning of comparators over random
// versions.
func TestNPMMeans(t *testing.T) {
	part := rapid.IntRange(0, 3)
	rapid.Check(t, func(t *rapid.T) {
		ver := func(name string) string {
			return fmt.Sprintf("%d.%d.%d", part.Draw(t, name), part.Draw(t, name), part.Draw(t, name))
		}
		op1 := rapid.SampledFrom([]string{">", ">="}).Draw(t, "op1")
		op2 := rapid.SampledFrom([]string{"<", "<="}).Draw(t, "op2")
		lo, hi, one, v := ver("lo"), ver("hi"), ver("one"), ver("v")
		list, err := ranges.NPM(op1+lo+" "+op2+" "+hi+" || "+one, "")
		if err != nil {
			t.Fatal(err)
		}
		c := func(a, b string) int { n, _ := version.Compare("npm", a, b); return n }
		want := v == one ||
			(c(v, lo) > 0 || op1 == ">=" && v == lo) && (c(v, hi) < 0 || op2 == "<=" && v == hi)
		if got := affected(t, "npm", list, v); got != want {
			t.Fatalf("%s in %s%s %s%s || %s: %v, ranges %s", v, op1, lo, op2, hi, one, got, show(list))
		}
	})
}

// TestGemMeans: a version is affected exactly when no requirement names it.
func TestGemMeans(t *testing.T) {
	part := rapid.IntRange(0, 3)
	rapid.Check(t, func(t *rapid.T) {
		ver := func(name string) string { return fmt.Sprintf("%d.%d", part.Draw(t, name), part.Draw(t, name)) }
		from, below, exact, v := ver("from"), ver("below"), ver("exact"), ver("v")
		list, err := ranges.Gem([]string{"~> " + from, exact}, []string{"< " + below})
		if err != nil {
			t.Fatal(err)
		}
		c := func(a, b string) int { n, _ := version.Compare("RubyGems", a, b); return n }
		good := c(v, exact) == 0 || c(v, below) < 0 || c(v, from) >= 0 && v[0] == from[0]
		if got := affected(t, "RubyGems", list, v); got == good {
			t.Fatalf("%s with ~> %s, %s, < %s: affected %v, ranges %s", v, from, exact, below, got, show(list))
		}
	})
}

func FuzzNPM(f *testing.F) {
	for _, s := range []string{"<=1.5.1", "2.0.x || ^1", "1.2.3 - 2.3.4", "~>1 >= 0.0.0-a", ">=v1 <99.999.9"} {
		f.Add(s, ">=1.2.3")
	}
	f.Fuzz(func(t *testing.T, bad, good string) {
		list, err := ranges.NPM(bad, good)
		sound(t, "npm", list, err)
	})
}

func FuzzGem(f *testing.F) {
	for _, s := range []string{">= 1.2.3", "~> 5.2.4, >= 5.2.4.3", "!= 1.0.rc1", "~> 1-2.a"} {
		f.Add(s, "< 1.0")
	}
	f.Fuzz(func(t *testing.T, patched, unaffected string) {
		list, err := ranges.Gem([]string{patched}, []string{unaffected})
		sound(t, "RubyGems", list, err)
	})
}

// sound checks that every bound can be ordered and that ranges ascend.
func sound(t *testing.T, ecosystem string, list []vuln.Range, err error) {
	if err != nil {
		if list != nil {
			t.Errorf("ranges and an error: %v", err)
		}
		return
	}
	last := ""
	for _, r := range list {
		for _, v := range []string{r.Introduced, r.Fixed, r.LastAffected, r.Limit} {
			if v == "" {
				continue
			}
			if _, err := version.Key(ecosystem, v); err != nil {
				t.Fatalf("bound %q: %v", v, err)
			}
			if last != "" {
				if c, _ := version.Compare(ecosystem, last, v); c > 0 {
					t.Fatalf("%q after %q in %s", v, last, show(list))
				}
			}
			last = v
		}
	}
}
