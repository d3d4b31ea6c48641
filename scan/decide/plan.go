package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/vuln/version"
)

// baseImage is Step.Where of what the base image brought.
const baseImage = "base image"

// Plan groups the open findings that have a fix into things to do, best first:
// one for everything that the base image brought, one for all packages of a
// distribution, one for each other package, to the lowest version that closes
// all of its findings. Every finding is in one step. Priorities must be there:
// see Apply.
func Plan(r *scan.Report) []scan.Step {
	groups := map[groupKey]*group{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if !counts(f.State) || f.Fix == "" {
			continue
		}
		p := packageOf(r, f)
		k := keyOf(f, p)
		g := groups[k]
		if g == nil {
			g = &group{key: k, need: map[string]*target{}}
			groups[k] = g
		}
		g.take(f, p)
	}
	steps := make([]scan.Step, 0, len(groups))
	for _, g := range groups {
		steps = append(steps, g.step(r.Base))
	}
	slices.SortFunc(steps, func(a, b scan.Step) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(b.Worst, a.Worst), cmp.Compare(len(b.Closes), len(a.Closes)),
			cmp.Compare(a.Do, b.Do), cmp.Compare(a.Where, b.Where))
	})
	return steps
}

// groupKey tells the steps apart.
type groupKey struct {
	base                     bool
	ecosystem, name, version string
}

func keyOf(f *scan.Finding, p *scan.Package) groupKey {
	switch {
	case f.Base:
		return groupKey{base: true}
	case distribution(p.Ecosystem):
		return groupKey{ecosystem: p.Ecosystem}
	}
	return groupKey{ecosystem: p.Ecosystem, name: p.Name, version: p.Version}
}

// distribution reports whether an ecosystem is an operating system's: those
// have their release behind a colon.
func distribution(ecosystem string) bool { return strings.Contains(ecosystem, ":") }

// group is a step while it is put together.
type group struct {
	key      groupKey
	ids      []string
	paths    []string
	need     map[string]*target // by name and version
	worst    scan.Severity
	priority int
}

// target is the version that a package has to reach.
type target struct {
	name, ecosystem string
	to              []string // one, unless their order is not known
}

func (g *group) take(f *scan.Finding, p *scan.Package) {
	g.ids = append(g.ids, f.ID)
	g.paths = append(g.paths, p.Path)
	g.worst, g.priority = max(g.worst, f.Severity), max(g.priority, f.Priority)
	k := p.Name + "\x00" + p.Version
	t := g.need[k]
	if t == nil {
		t = &target{name: p.Name, ecosystem: p.Ecosystem}
		g.need[k] = t
	}
	t.raise(f.Fix)
}

// raise takes in one more version that has to be reached.
func (t *target) raise(fix string) {
	for i, have := range t.to {
		if have == fix {
			return
		}
		if order, err := version.Compare(t.ecosystem, have, fix); err == nil {
			if order < 0 {
				t.to[i] = fix
			}
			return
		}
	}
	t.to = append(t.to, fix)
	slices.Sort(t.to)
}

func (t *target) String() string {
	if len(t.to) == 1 {
		return t.to[0]
	}
	return strings.Join(t.to, " or ") + ", whichever is newer"
}

func (g *group) step(base *scan.Base) scan.Step {
	slices.Sort(g.ids)
	slices.Sort(g.paths)
	ids, paths := slices.Compact(g.ids), slices.Compact(g.paths)
	s := scan.Step{Closes: ids, Worst: g.worst, Priority: g.priority, Where: firstOf(paths, 3)}
	targets := make([]*target, 0, len(g.need))
	for _, t := range g.need {
		targets = append(targets, t)
	}
	slices.SortFunc(targets, func(a, b *target) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.String(), b.String()))
	})
	var names []string
	for _, t := range targets {
		names = append(names, t.name+" to "+t.String())
	}
	names = slices.Compact(names)
	switch {
	case g.key.base:
		s.Where = baseImage
		s.Do = fmt.Sprintf("upgrade %s to one with %s: %s", baseName(base), several(len(names), "fixed package", "fixed packages"), firstOf(names, 5))
	case g.key.name == "":
		system, _, _ := strings.Cut(g.key.ecosystem, ":")
		s.Do = fmt.Sprintf("upgrade %s: %s", several(len(names), system+" package", system+" packages"), firstOf(names, 5))
	case g.key.ecosystem == "Go" && g.key.name == "stdlib":
		s.Do = fmt.Sprintf("rebuild with Go %s (was built with %s)", targets[0], g.key.version)
	default:
		s.Do = strings.Join(strings.Fields(fmt.Sprintf("upgrade %s %s %s to %s", g.key.ecosystem, g.key.name, g.key.version, targets[0])), " ")
	}
	return s
}

func baseName(b *scan.Base) string {
	if b != nil && b.Name != "" {
		return "base image " + b.Name
	}
	return "the base image"
}
