package policy

import (
	"path"
	"slices"
	"strings"
)

// The rules of processes as sets of programs. A multi-call program's file
// stands for itself only, so a file rule also speaks for "whatever acts under
// this base name"; where the sets cannot be known exactly, the answer is the
// one that leads to the stricter plan.

// below reports whether a path lies in the tree or directory of r.
func (r *ExecRule) holds(p string) bool {
	switch r.Match {
	case MatchDir:
		return path.Dir(p) == r.Path
	case MatchTree:
		return r.Path == "/" || strings.HasPrefix(p, r.Path) && len(p) > len(r.Path) && p[len(r.Path)] == '/'
	}
	return false
}

// covers reports that every start of a program which d matches is surely
// matched by r.
func (r *ExecRule) covers(d *ExecRule) bool { return r.includes(d) && r.asks(d) }

// includes is covers without the conditions.
func (r *ExecRule) includes(d *ExecRule) bool {
	switch d.Match {
	case MatchFile:
		switch r.Match {
		case MatchFile:
			return r.Path == d.Path
		case MatchNames:
			return slices.Contains(r.Names, path.Base(d.Path))
		}
		return r.holds(d.Path)
	case MatchDir:
		return r.Match == MatchDir && r.Path == d.Path || r.Match == MatchTree && (r.Path == d.Path || r.holds(d.Path))
	case MatchTree:
		return r.Match == MatchTree && (r.Path == d.Path || r.holds(d.Path))
	case MatchNames:
		if r.Match == MatchTree && r.Path == "/" {
			return true
		}
		return r.Match == MatchNames && !slices.ContainsFunc(d.Names, func(n string) bool { return !slices.Contains(r.Names, n) })
	}
	return false
}

// overlaps reports that some program might be matched by both, whatever the
// conditions.
func (r *ExecRule) overlaps(d *ExecRule) bool {
	if r.includes(d) || d.includes(r) {
		return true
	}
	switch {
	case r.Match == MatchFile && d.Match == MatchFile:
		return path.Base(r.Path) == path.Base(d.Path) // may be names of one multi-call program
	case r.Match == MatchNames && d.Match == MatchNames:
		return slices.ContainsFunc(r.Names, func(n string) bool { return slices.Contains(d.Names, n) })
	case r.Match == MatchNames:
		return d.Match == MatchDir || d.Match == MatchTree
	case d.Match == MatchNames:
		return r.Match == MatchDir || r.Match == MatchTree
	}
	return false
}

// intersect gives a rule for the programs that both match; false when there
// are none, or none that one rule can name.
func (r *ExecRule) intersect(d *ExecRule) (ExecRule, bool) {
	var out ExecRule
	switch {
	case r.includes(d):
		out = *d
	case d.includes(r):
		out = *r
	case r.Match == MatchNames && d.Match == MatchNames:
		out = ExecRule{Match: MatchNames, Class: r.Class + "+" + d.Class}
		for _, n := range r.Names {
			if slices.Contains(d.Names, n) {
				out.Names = append(out.Names, n)
			}
		}
		if len(out.Names) == 0 {
			return ExecRule{}, false
		}
	default:
		return ExecRule{}, false
	}
	return out, out.both(r, d)
}

// intersectExecs gives the rules for programs that both lists name. Rules keep
// the line of the second list, which is the narrower scope's.
func intersectExecs(wide, narrow []execRef) []execRef {
	var out []execRef
	for _, n := range narrow {
		for _, w := range wide {
			if both, ok := n.ExecRule.intersect(&w.ExecRule); ok {
				out = append(out, execRef{both, n.ref})
			}
			// A directory of one list and names of the other: what is in both
			// can be written out, one file for each name.
			dir, names := &n.ExecRule, &w.ExecRule
			if dir.Match == MatchNames {
				dir, names = names, dir
			}
			if dir.Match == MatchDir && names.Match == MatchNames {
				both := ExecRule{Match: MatchFile}
				if !both.both(&n.ExecRule, &w.ExecRule) {
					continue
				}
				for _, name := range names.Names {
					both.Path = path.Join(dir.Path, name)
					out = append(out, execRef{both, n.ref})
				}
			}
		}
	}
	return dedupe(out)
}

// dedupe drops rules that an earlier one already says, in the same words.
func dedupe(rules []execRef) []execRef {
	seen := make(map[string]bool, len(rules))
	out := rules[:0:0]
	for _, r := range rules {
		k := r.key()
		if !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}
