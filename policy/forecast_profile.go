package policy

import (
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/event"
)

// process judges what a profile says of a program: every list of arguments and
// every user it was seen with.
func (f *forecaster) process(p *v1alpha1.LearnedProcess) {
	if f.plan == nil || f.plan.Process == nil {
		return
	}
	what := p.Path
	if p.Applet != "" {
		what += " as " + p.Applet
	}
	var d Decision
	for _, e := range starts(f.past.Profile, p) {
		if one := f.plan.Process.Decide(e); one.Deny || !d.Deny {
			d = one
		}
		if d.Deny {
			break
		}
	}
	f.judged(event.ProcessExec, what, d, p.Count, p.LastSeen.Time)
}

// starts gives what stands for the starts that a learned program sums up.
func starts(all *v1alpha1.Profile, p *v1alpha1.LearnedProcess) []Exec {
	e := Exec{
		Path: standIn(p.Path), Applet: p.Applet, Parent: standIn(fullParent(all, p.Parent)),
		InImage: !p.NotInImage, Fileless: strings.HasPrefix(p.Path, "memfd:"),
	}
	users, args := p.Users, p.Args
	if len(users) == 0 {
		users = []uint32{0}
	}
	if len(args) == 0 {
		args = [][]string{nil}
	}
	var out []Exec
	for _, uid := range users {
		for _, list := range args {
			one := e
			one.UID, one.Args = uid, make([]string, 0, len(list))
			for i, a := range list {
				if a == anyRest && i == len(list)-1 {
					break
				}
				one.Args = append(one.Args, strings.ReplaceAll(a, "*", "x"))
			}
			out = append(out, one)
		}
	}
	return out
}

// standIn is some file that a generalised path stands for.
func standIn(p string) string {
	if short := strings.TrimRight(p, "*"); short != p {
		return short + "x"
	}
	return p
}

// learnedFile judges a use of the files of a directory: that of a file there.
// A multi-call program is judged under a name that it was seen acting under:
// the kernel programs know it by its file.
func (f *forecaster) learnedFile(u *v1alpha1.LearnedFile) {
	if f.plan == nil || f.plan.Files == nil {
		return
	}
	words := make([]string, 0, len(u.Access))
	for _, w := range u.Access {
		words = append(words, string(w))
	}
	use := FileUse{
		Path:   strings.TrimSuffix(strings.TrimSuffix(u.Directory, "/**"), "/") + "/x",
		Access: usesOf(u.Access), Exec: Exec{Path: standIn(u.Program), InImage: true},
	}
	for i := range f.past.Profile.Spec.Processes {
		e := &f.past.Profile.Spec.Processes[i]
		if e.Path != u.Program || e.Applet == "" {
			continue
		}
		as := use
		as.Exec.Applet = e.Applet
		if !f.plan.Files.Decide(as).Deny {
			use = as
			break
		}
	}
	f.fileUse(use.Path, strings.Join(words, " "), use.Exec, u.Count, u.LastSeen.Time)
}
