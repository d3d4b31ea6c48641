package version

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/osv-scalibr/semantic"

	"github.com/gabion-dev/gabion/internal/testkit"
)

// grammar makes random versions out of pieces, so that neighbours and equals
// are frequent.
type grammar struct {
	first, more []string
	most        int
}

func (g grammar) version(r *rand.Rand) string {
	v := g.first[r.IntN(len(g.first))]
	for range r.IntN(g.most) {
		v += g.more[r.IntN(len(g.more))]
	}
	return v
}

var numbersFirst = []string{"0", "1", "2", "10", "01"}

// TestDpkgAgrees compares random versions with dpkg itself.
func TestDpkgAgrees(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	testkit.Require(t, "dpkg", err == nil, "dpkg is not installed")
	g := grammar{append([]string{"1:0", "0:1", "2:", "00:1"}, numbersFirst...),
		[]string{".", "0", "1", "9", "10", "00", "~", "+", "-", "a", "b", "Z", "~rc1", "+deb12u1", "-1", "+b1", ".1"}, 7}
	pairs := randomPairs(g, 1500)
	var script strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&script, "if %[1]s --compare-versions '%[2]s' lt '%[3]s'; then echo -1; elif %[1]s --compare-versions '%[2]s' eq '%[3]s'; then echo 0; else echo 1; fi\n", dpkg, p[0], p[1])
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output() // what dpkg warns of goes to standard error
	if err != nil {
		t.Fatal(err)
	}
	compareWith(t, "Debian", "dpkg", pairs, strings.Fields(string(out)))
}

// TestRPMAgrees compares random versions with rpm itself.
func TestRPMAgrees(t *testing.T) {
	rpm, err := exec.LookPath("rpm")
	testkit.Require(t, "rpm", err == nil, "rpm is not installed")
	g := grammar{numbersFirst, []string{".", "0", "1", "9", "10", "00", "~", "^", "_", "a", "b", "Z", "~rc1", "^git1", "el9", "+", ".1"}, 7}
	pairs := randomPairs(g, 2000)
	var lua strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&lua, "print(rpm.vercmp('%s','%s')..' ')", p[0], p[1])
	}
	var words []string
	// rpm's macro buffer is small: in pieces.
	script := strings.SplitAfter(lua.String(), ")..' ')")
	for len(script) > 0 {
		n := min(len(script), 100)
		out, err := exec.Command(rpm, "--eval", "%{lua:"+strings.Join(script[:n], "")+"}").Output()
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, strings.Fields(string(out))...)
		script = script[n:]
	}
	// The pairs are versions without epoch and release, and no hyphens.
	compareWith(t, "Red Hat", "rpm", pairs, words)
}

func randomPairs(g grammar, n int) [][2]string {
	r := rand.New(rand.NewPCG(1, 2))
	pairs := make([][2]string, n)
	for i := range pairs {
		pairs[i] = [2]string{g.version(r), g.version(r)}
	}
	return pairs
}

func compareWith(t *testing.T, ecosystem, peer string, pairs [][2]string, words []string) {
	t.Helper()
	if len(words) != len(pairs) {
		t.Fatalf("%s answered %d of %d", peer, len(words), len(pairs))
	}
	read := 0
	for i, p := range pairs {
		got, err := Compare(ecosystem, p[0], p[1])
		if err != nil {
			continue // refused here; dpkg warns
		}
		read++
		if fmt.Sprint(got) != words[i] {
			t.Errorf("%s: compare %q with %q = %d, %s says %s", ecosystem, p[0], p[1], got, peer, words[i])
		}
	}
	if read < len(pairs)/2 {
		t.Errorf("only %d of %d pairs could be read", read, len(pairs))
	}
}

// TestSemanticAgrees compares random versions with osv-scalibr's semantic
// package. The grammars leave out where this package differs on purpose:
// Composer's zeros and letter case, Maven's circle, apk's missing revision,
// and more than three numbers in SemVer.
func TestSemanticAgrees(t *testing.T) {
	for ecosystem, g := range map[string]grammar{
		"Debian":   {numbersFirst, []string{".0", ".1", "a", "~", "+", "-1", "-0", "+deb12u1", "~rc1"}, 5},
		"Red Hat":  {numbersFirst, []string{".0", ".1", "a", "~", "^", "-1", "-2", ".el9", "_1"}, 5},
		"Alpine":   {[]string{"1.0", "1.1", "1.01", "1.10", "2.0.1"}, []string{"_alpha", "_rc1", "_p1", "_git2"}, 2},
		"npm":      {[]string{"1.0.0", "1.0.1", "1.2.3", "v1.0.0"}, []string{"-alpha", "-0", "-1", "-alpha.1", "-alpha.beta", "-rc.1"}, 2},
		"PyPI":     {numbersFirst, []string{".0", ".1", ".10"}, 3},
		"NuGet":    {[]string{"1.0", "1.0.0", "1.0.0.1"}, []string{"-alpha", "-Alpha", "-beta.1", "-beta.2"}, 2},
		"RubyGems": {numbersFirst, []string{".0", ".1", ".a", ".rc1", ".10", "b"}, 5},
		"Maven":    {[]string{"1", "1.1", "2", "1.0.1"}, []string{"-alpha", "-rc1", "-foo", "-1", "-sp", "-ga", "-SNAPSHOT"}, 3},
		"Hackage":  {numbersFirst, []string{".0", ".1", ".10"}, 4},
		"CRAN":     {numbersFirst, []string{".0", ".1", "-10"}, 4},
		"Packagist": {[]string{"1.0.0.0", "1.0.1.0", "2.0.0.0"},
			[]string{"-alpha1", "-beta2", "-RC1", "-dev", "-p1", ".1"}, 2},
	} {
		if ecosystem == "PyPI" {
			for _, pre := range []string{"a1", "b2", "rc1", ".post1", ".dev1", "a1.dev2", "rc1.post1", "+local", "+1", "+1.a"} {
				g.first = append(g.first, "1.0"+pre, "1"+pre)
			}
			g.more = append(g.more, "")
		}
		wrong := 0
		for _, p := range randomPairs(g, 4000) {
			got, err := Compare(ecosystem, p[0], p[1])
			if err != nil {
				continue
			}
			v, err := semantic.Parse(p[0], ecosystem)
			if err != nil {
				continue
			}
			want, err := v.CompareStr(p[1])
			if err == nil && got != want {
				if wrong++; wrong <= 5 {
					t.Errorf("%s: compare %q with %q = %d, semantic says %d", ecosystem, p[0], p[1], got, want)
				}
			}
		}
	}
}

// FuzzKey holds for every scheme that keys are repeatable, that a longer key
// never extends a shorter one (so that concatenated keys cannot collide), and
// that nothing panics.
func FuzzKey(f *testing.F) {
	for _, v := range []string{"1:2.3~rc1-4+deb12u1", "1.0_alpha1-r2", "v1.2.3-pre.1+x", "1!2.0a1.post2.dev3+l.1", "1.0.0.Final", "1.0-SNAPSHOT", "go1.22rc1", "dev-main", "8u392", "99999999999999999999999"} {
		f.Add(v, "1.0")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for s := None; s <= Upstream; s++ {
			ka, err := s.Append(nil, a)
			if err != nil {
				continue
			}
			again, err := s.Append([]byte("x"), a)
			if err != nil || !bytes.Equal(again[1:], ka) {
				t.Fatalf("scheme %d: %q has two keys: %x, %x", s, a, ka, again)
			}
			kb, err := s.Append(nil, b)
			if err != nil || bytes.Equal(ka, kb) {
				continue
			}
			if bytes.HasPrefix(ka, kb) || bytes.HasPrefix(kb, ka) {
				t.Fatalf("scheme %d: of %q and %q one key begins the other: %x %x", s, a, b, ka, kb)
			}
		}
	})
}

func BenchmarkKey(b *testing.B) {
	for name, c := range map[string]struct {
		s Scheme
		v string
	}{"dpkg": {Dpkg, "2:9.0.1378-2+deb12u2"}, "rpm": {RPM, "1:3.0.7-27.el9_4.1"}, "semver": {SemVer, "4.17.21"}, "maven": {Maven, "4.1.100.Final"}, "pep440": {Python, "2.31.0"}} {
		b.Run(name, func(b *testing.B) {
			buffer := make([]byte, 0, 1024)
			for b.Loop() {
				buffer, _ = c.s.Append(buffer[:0], c.v)
			}
		})
	}
}
