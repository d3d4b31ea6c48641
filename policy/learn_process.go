package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// manyPrograms is how many programs of one directory, which is none of the
// general ones, become the directory.
const manyPrograms = 6

// anyRest as the last pattern of arguments stands for any more of them.
const anyRest = "**"

// program is what the entries of one program add up to.
type program struct {
	path    string
	applet  bool
	count   uint64
	entries []*v1alpha1.LearnedProcess
}

func (l *learner) process() *v1alpha1.ProcessSpec {
	programs := map[string]*program{}
	var used []string // for classes
	for i := range l.profile.Spec.Processes {
		e := &l.profile.Spec.Processes[i]
		used = append(used, e.Path, e.Applet)
		if e.NotInImage {
			by := ""
			if e.Parent != "" {
				by = ", started by " + e.Parent
			}
			l.note("%s, which the image does not have, ran %s%s.", e.Path, plural(int(e.Count), "time"), by)
			continue
		}
		name := e.Path
		if e.Applet != "" {
			// A rule speaks of an applet by the name of its link.
			name = path.Join(path.Dir(e.Path), e.Applet)
		}
		if _, _, err := v1alpha1.ParsePath(name); err != nil {
			l.note("%q: %v.", name, err)
			continue
		}
		p := programs[name]
		if p == nil {
			p = &program{path: name}
			programs[name] = p
		}
		p.applet = p.applet || e.Applet != ""
		p.count += e.Count
		p.entries = append(p.entries, e)
	}
	spec := &v1alpha1.ProcessSpec{Drift: v1alpha1.Deny, Allow: []v1alpha1.ProcessRule{}}
	for _, p := range byDirectory(programs) {
		rules := []v1alpha1.ProcessRule{{Path: p.path}}
		if l.opts.Narrow && !strings.HasSuffix(p.path, "/*") {
			rules = l.narrow(p)
		}
		for _, r := range rules {
			l.comments[at("spec.process.allow", len(spec.Allow))] = p.words(&r)
			spec.Allow = append(spec.Allow, r)
		}
	}
	for _, class := range []string{
		"shell", "package-manager", "network-tool", "download-tool", "compiler", "user-management",
		"cluster-client", "dynamic-loader", "debugger", "mount-tool", "miner",
	} {
		c := l.library.Class(class)
		if c != nil && !slices.ContainsFunc(used, c.Has) {
			spec.Deny = append(spec.Deny, v1alpha1.ProcessRule{Class: class})
		}
	}
	return spec
}

// byDirectory sorts programs by path. Many of one private directory
// (/usr/lib/git-core) become one with the path "DIRECTORY/*"; those of general
// ones (/usr/bin) never do.
func byDirectory(programs map[string]*program) []*program {
	dirs := map[string][]*program{}
	for _, p := range programs {
		if dir := path.Dir(p.path); !p.applet && !general(dir) {
			dirs[dir] = append(dirs[dir], p)
		}
	}
	var out []*program
	for dir, list := range dirs {
		if len(list) < manyPrograms {
			continue
		}
		one := &program{path: dir + "/*"}
		for _, p := range list {
			one.count += p.count
			one.entries = append(one.entries, p.entries...)
			delete(programs, p.path)
		}
		out = append(out, one)
	}
	for _, p := range programs {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *program) int { return strings.Compare(a.path, b.path) })
	return out
}

func general(dir string) bool {
	switch dir {
	case "/", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt", "/usr/lib", "/lib", "/tmp":
		return true
	}
	return false
}

// parents are the names of what started the program, sorted; "" stands for
// what starts the container or a session.
func (p *program) parents() []string {
	var out []string
	for _, e := range p.entries {
		out = append(out, e.Parent)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// users are those who started it; none when that is not known of every start
// (an earlier version did not tell).
func (p *program) users() []uint32 {
	var out []uint32
	for _, e := range p.entries {
		if len(e.Users) == 0 {
			return nil
		}
		out = append(out, e.Users...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// args are what it was started with; none when that is not known of every start.
func (p *program) args() [][]string {
	var out [][]string
	for _, e := range p.entries {
		if len(e.Args) == 0 {
			return nil
		}
		out = append(out, e.Args...)
	}
	slices.SortFunc(out, slices.Compare)
	return slices.CompactFunc(out, slices.Equal)
}

// words is the comment of a rule: how often, by whom, with what.
func (p *program) words(r *v1alpha1.ProcessRule) string {
	c := "seen " + times(p.count)
	var parents []string
	for _, name := range p.parents() {
		if name != "" {
			parents = append(parents, path.Base(name))
		}
	}
	slices.Sort(parents)
	if parents = slices.Compact(parents); len(parents) > 0 && r.Parents == nil {
		c += ", started by " + some(parents)
	}
	if args := p.args(); r.Args == nil && len(args) == 1 && len(args[0]) > 0 {
		if text := strings.Join(args[0], " "); len(text) <= 80 && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			c += ", with " + text
		}
	}
	if users := p.users(); r.Users == nil && len(users) == 1 && users[0] != 0 {
		c += fmt.Sprintf(", as user %d", users[0])
	}
	return c
}

// narrow adds conditions that held whenever the program was seen.
func (l *learner) narrow(p *program) []v1alpha1.ProcessRule {
	r := v1alpha1.ProcessRule{Path: p.path}
	if l.profile.Spec.Containers < 2 {
		return []v1alpha1.ProcessRule{r} // one container proves no habit
	}
	r.Parents = l.lasting(p.parents())
	if users := p.users(); len(users) == 1 && users[0] != 0 {
		r.Users = users
	}
	args := p.args()
	if !l.client(p) || len(args) == 0 || len(args) > 4 || slices.ContainsFunc(args, func(a []string) bool { return !writable(a) }) {
		return []v1alpha1.ProcessRule{r}
	}
	var out []v1alpha1.ProcessRule
	for _, a := range args {
		one := r
		one.Args = a
		out = append(out, one)
	}
	return out
}

// lasting gives starters as a rule can name them: paths of programs that are
// no multi-call programs. nil when one of them cannot be named.
func (l *learner) lasting(parents []string) []string {
	var out []string
	for _, name := range parents {
		switch {
		case name == "":
			out = append(out, Entrypoint)
			continue
		case !strings.HasPrefix(name, "/"):
			name = fullParent(l.profile, name)
		}
		if _, m, err := v1alpha1.ParsePath(name); err != nil || m != v1alpha1.PathFile {
			return nil
		}
		// It must be one that the policy lets run, and no multi-call program.
		seen := false
		for i := range l.profile.Spec.Processes {
			if e := &l.profile.Spec.Processes[i]; e.Path == name {
				if e.Applet != "" || e.NotInImage {
					return nil
				}
				seen = true
			}
		}
		if !seen {
			return nil
		}
		out = append(out, name)
	}
	if len(out) != 1 {
		return nil
	}
	return out
}

// fullParent gives the path of a starter of which only the file's name is
// known, when it is the name of one program alone; else what it was given.
func fullParent(p *v1alpha1.Profile, name string) string {
	full := name
	for i := range p.Spec.Processes {
		e := &p.Spec.Processes[i]
		if path.Base(e.Path) != name || e.Path == full {
			continue
		}
		if full != name {
			return name
		}
		full = e.Path
	}
	return full
}

// client reports that a program is of a class whose arguments say where it
// connects: a probe's do not change, and an intruder's are others.
func (l *learner) client(p *program) bool {
	return slices.ContainsFunc([]string{"download-tool", "network-tool"}, func(name string) bool {
		c := l.library.Class(name)
		return c != nil && c.Has(p.path)
	})
}

// writable reports that arguments can be written as patterns of a rule and mean
// what was seen.
func writable(args []string) bool {
	total := 0
	for _, a := range args {
		total += len(a) + 1
	}
	return total <= v1alpha1.MaxArgsBytes && len(args) > 0 && args[len(args)-1] != anyRest && !slices.ContainsFunc(args, func(a string) bool {
		return a == "" || strings.ContainsAny(a, "\x00\n") || a == anyRest
	})
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func some(names []string) string {
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + fmt.Sprintf(" and %d more", len(names)-3)
	}
	return strings.Join(names, ", ")
}
