package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// The conditions of rules of processes as sets: of arguments, parents, users
// and scripts. What has no condition is every start.

// conditional reports whether anything narrows the rule.
func (r *ExecRule) conditional() bool {
	return r.Args != nil || r.Parents != nil || r.Users != nil || r.Scripts != nil
}

// key tells rules apart by what they mean.
func (r *ExecRule) key() string {
	plain := string(r.Match) + "\x00" + r.Path + "\x00" + r.Class
	if !r.conditional() {
		return plain
	}
	return fmt.Sprintf("%s\x00%t %q %q %d %q", plain, r.Args == nil, r.Args, r.Parents, r.Users, r.Scripts)
}

// asks reports that r's conditions surely hold wherever those of d do.
func (r *ExecRule) asks(d *ExecRule) bool {
	return coversList(r.Users, d.Users, func(a, b uint32) bool { return a == b }) &&
		coversList(r.Parents, d.Parents, patternCovers) &&
		coversList(r.Scripts, d.Scripts, patternCovers) &&
		(r.Args == nil || d.Args != nil && argsCover(r.Args, d.Args))
}

func coversList[T any](r, d []T, covers func(T, T) bool) bool {
	if r == nil {
		return true
	}
	return d != nil && !slices.ContainsFunc(d, func(x T) bool {
		return !slices.ContainsFunc(r, func(y T) bool { return covers(y, x) })
	})
}

// patternCovers is about words among Parents and Scripts.
func patternCovers(a, b string) bool {
	if a == b {
		return true
	}
	if a == Entrypoint || b == Entrypoint {
		return false
	}
	r, d := PathRule(a), PathRule(b)
	return r.includes(&d)
}

func matchOf(m v1alpha1.PathMatch) Match {
	switch m {
	case v1alpha1.PathDir:
		return MatchDir
	case v1alpha1.PathTree:
		return MatchTree
	}
	return MatchFile
}

// rest splits patterns of arguments from their last "**".
func rest(args []string) (fixed []string, open bool) {
	if n := len(args); n > 0 && args[n-1] == RestOfArgs {
		return args[:n-1], true
	}
	return args, false
}

func argsCover(r, d []string) bool {
	rf, ropen := rest(r)
	df, dopen := rest(d)
	if len(df) < len(rf) || !ropen && (dopen || len(df) > len(rf)) {
		return false
	}
	for i := range rf {
		// "**" within a word means the same as "*".
		if rf[i] != df[i] && strings.Trim(rf[i], "*") != "" || rf[i] == "" && df[i] != "" {
			return false
		}
	}
	return true
}

// argsBoth gives patterns for the arguments that both match; false when there
// are none, or none that one list of patterns can name.
func argsBoth(r, d []string) ([]string, bool) {
	rf, ropen := rest(r)
	df, dopen := rest(d)
	if len(rf) > len(df) {
		rf, ropen, df, dopen = df, dopen, rf, ropen
	}
	if !ropen && len(df) > len(rf) {
		return nil, false
	}
	out := make([]string, 0, len(df)+1)
	for i := range df {
		switch {
		case i >= len(rf) || rf[i] == df[i] || rf[i] == "*":
			out = append(out, df[i])
		case df[i] == "*":
			out = append(out, rf[i])
		default:
			return nil, false
		}
	}
	if ropen && dopen {
		out = append(out, RestOfArgs)
	}
	return out, true
}

// both narrows the rule by the conditions of r and d; false when they cannot
// hold together.
func (out *ExecRule) both(r, d *ExecRule) bool {
	ok := [4]bool{true, true, true, true}
	out.Users, ok[0] = commonList(r.Users, d.Users, func(a, b uint32) bool { return a == b })
	out.Parents, ok[1] = commonList(r.Parents, d.Parents, patternCovers)
	out.Scripts, ok[2] = commonList(r.Scripts, d.Scripts, patternCovers)
	switch {
	case r.Args == nil:
		out.Args = d.Args
	case d.Args == nil:
		out.Args = r.Args
	default:
		out.Args, ok[3] = argsBoth(r.Args, d.Args)
	}
	return !slices.Contains(ok[:], false)
}

// commonList gives what both lists have, each entry by the narrower of the two;
// a list that is nil has everything.
func commonList[T comparable](r, d []T, covers func(T, T) bool) ([]T, bool) {
	if r == nil {
		return d, true
	}
	if d == nil {
		return r, true
	}
	var out []T
	for _, x := range r {
		for _, y := range d {
			one := y
			switch {
			case covers(x, y):
			case covers(y, x):
				one = x
			default:
				continue
			}
			if !slices.Contains(out, one) {
				out = append(out, one)
			}
		}
	}
	return out, len(out) > 0
}
