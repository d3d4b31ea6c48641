package profile

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/guard"
)

// manyDirs is how many directories within one, used by one program, become
// everything below that one.
const manyDirs = 16

type fileKey struct{ dir, program string }

type fileUse struct {
	seen
	access map[v1alpha1.AccessWord]bool
}

type capKey struct{ name, program string }

// file merges the first use of a directory by a program in one way.
func (p *Profile) file(o guard.Observation, image string) {
	words := accessWords(o.Operation)
	if o.Path == "" || len(words) == 0 {
		p.truncated.Files++
		return
	}
	k := fileKey{directoryClass(o.Path), Generalise(o.Process.Exe)}
	for dir := k.dir; ; dir = path.Dir(dir) { // a wider entry may have it already
		if wide := (fileKey{strings.TrimSuffix(dir, "/") + "/**", k.program}); p.files[wide] != nil {
			k = wide
			break
		}
		if dir == "/" || !strings.HasPrefix(dir, "/") {
			break
		}
	}
	f := p.files[k]
	if f == nil {
		if len(p.files) >= MaxFiles {
			p.truncated.Files++
			return
		}
		f = &fileUse{access: map[v1alpha1.AccessWord]bool{}}
		p.files[k] = f
	}
	f.add(1, o.Time, o.Time, image)
	for _, w := range words {
		f.access[w] = true
	}
	p.widen(k)
}

// widen makes many directories within one a single entry.
func (p *Profile) widen(k fileKey) {
	parent := path.Dir(strings.TrimSuffix(k.dir, "/**"))
	if parent == "/" || parent == "." {
		return // too wide to say anything
	}
	var same []fileKey
	for e := range p.files {
		if e.program == k.program && strings.HasPrefix(e.dir, parent+"/") && e.dir != parent+"/**" {
			same = append(same, e)
		}
	}
	if len(same) < manyDirs {
		return
	}
	into := fileKey{parent + "/**", k.program}
	sum := p.files[into]
	if sum == nil {
		sum = &fileUse{access: map[v1alpha1.AccessWord]bool{}}
	}
	for _, e := range same {
		sum.merge(&p.files[e].seen)
		maps.Copy(sum.access, p.files[e].access)
		delete(p.files, e)
	}
	p.files[into] = sum
}

// directoryClass gives the pattern that stands for a directory: numbers below
// /proc and made-up names become "/**".
func directoryClass(dir string) string {
	dir = path.Clean(dir)
	if rest, ok := strings.CutPrefix(dir, "/proc/"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return "/proc/**"
	}
	g := Generalise(dir)
	if d, ok := strings.CutSuffix(g, "/*"); ok {
		return d + "/**" // a directory has things below it
	}
	// The directories by which volumes of configuration and secrets are
	// exchanged: "..2026_11_24_10_00_00.123".
	if i := strings.Index(g, "/..2"); i > 0 {
		return g[:i] + "/**"
	}
	return g
}

// accessWords reads the ways of use as observations name them.
func accessWords(operation string) []v1alpha1.AccessWord {
	var out []v1alpha1.AccessWord
	for w := range strings.SplitSeq(operation, ",") {
		if word := v1alpha1.AccessWord(strings.TrimSpace(w)); slices.Contains(v1alpha1.AccessWords(), word) {
			out = append(out, word)
		}
	}
	return out
}

func (f *fileUse) words() v1alpha1.AccessList {
	var out v1alpha1.AccessList
	for _, w := range v1alpha1.AccessWords() {
		if f.access[w] {
			out = append(out, w)
		}
	}
	return out
}

// capability merges the first use of a capability by a program.
func (p *Profile) capability(o guard.Observation, image string) {
	k := capKey{strings.TrimPrefix(o.Operation, "CAP_"), Generalise(o.Process.Exe)}
	c := p.capabilities[k]
	if c == nil {
		if k.name == "" || len(p.capabilities) >= MaxCapabilities {
			p.truncated.Capabilities++
			return
		}
		c = &seen{}
		p.capabilities[k] = c
	}
	c.add(1, o.Time, o.Time, image)
}

func (p *Profile) listFiles() []v1alpha1.LearnedFile {
	var out []v1alpha1.LearnedFile
	for k, f := range p.files {
		out = append(out, v1alpha1.LearnedFile{
			Directory: k.dir, Program: k.program, Access: f.words(), Images: f.named(p.images),
			Count: f.count, FirstSeen: stamp(f.first), LastSeen: stamp(f.last),
		})
	}
	slices.SortFunc(out, func(a, b v1alpha1.LearnedFile) int {
		return cmp.Or(cmp.Compare(a.Directory, b.Directory), cmp.Compare(a.Program, b.Program))
	})
	return out
}

func (p *Profile) listCapabilities() []v1alpha1.LearnedCapability {
	var out []v1alpha1.LearnedCapability
	for k, c := range p.capabilities {
		out = append(out, v1alpha1.LearnedCapability{
			Name: k.name, Program: k.program, Images: c.named(p.images),
			Count: c.count, FirstSeen: stamp(c.first), LastSeen: stamp(c.last),
		})
	}
	slices.SortFunc(out, func(a, b v1alpha1.LearnedCapability) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Program, b.Program))
	})
	return out
}
