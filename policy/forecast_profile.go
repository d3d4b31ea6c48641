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
	for _, e := range starts(p) {
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
func starts(p *v1alpha1.LearnedProcess) []Exec {
	e := Exec{
		Path: standIn(p.Path), Applet: p.Applet, Parent: standIn(p.Parent),
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

func (f *forecaster) capability(c *v1alpha1.LearnedCapability) {
	if f.plan == nil || f.plan.Capabilities == nil {
		return
	}
	n, ok := CapabilityNamed(c.Name)
	if !ok {
		n = -1 // what has no name here is on no list
	}
	f.judged(event.CapabilityUse, c.Name, f.plan.Capabilities.Decide(n), c.Count, c.LastSeen.Time)
}
