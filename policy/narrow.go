package policy

import (
	"path"
	"slices"
	"strings"
)

// narrowed reports whether what the rule adds to its programs holds of a start:
// its arguments, who starts it, as which user, and which script it is given.
func (r *ExecRule) narrowed(e *Exec) bool {
	if r.Users != nil && !slices.Contains(r.Users, e.UID) {
		return false
	}
	if r.Args != nil && !argumentsMatch(r.Args, e.Args) {
		return false
	}
	if r.Parents != nil && !slices.ContainsFunc(r.Parents, func(p string) bool {
		if p == Entrypoint {
			return e.Parent == ""
		}
		return e.Parent != "" && pathMatches(p, e.Parent)
	}) {
		return false
	}
	return r.Scripts == nil || e.Script != "" && slices.ContainsFunc(r.Scripts, func(p string) bool { return pathMatches(p, e.Script) })
}

// pathMatches reports whether a path is the pattern, or lies directly ("/*") or
// anywhere ("/**") below its directory.
func pathMatches(pattern, name string) bool {
	r := PathRule(pattern)
	return r.Match == MatchFile && r.Path == name || r.holds(name)
}

// PathRule reads a pattern of an ExecRule's Parents or Scripts as a rule about
// paths: a file, or a directory with "/*" or "/**".
func PathRule(pattern string) ExecRule {
	if dir, ok := strings.CutSuffix(pattern, "/**"); ok {
		return ExecRule{Match: MatchTree, Path: path.Clean("/" + dir)}
	}
	if dir, ok := strings.CutSuffix(pattern, "/*"); ok {
		return ExecRule{Match: MatchDir, Path: path.Clean("/" + dir)}
	}
	return ExecRule{Match: MatchFile, Path: pattern}
}

// RestOfArgs as the last pattern of an ExecRule's Args stands for any further
// arguments.
const RestOfArgs = "**"

func argumentsMatch(patterns, args []string) bool {
	for i, p := range patterns {
		if p == RestOfArgs && i == len(patterns)-1 {
			return true
		}
		if i >= len(args) || !textMatches(p, args[i]) {
			return false
		}
	}
	return len(args) == len(patterns)
}

// textMatches compares a text with a pattern in which "*" stands for any text.
func textMatches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[last])
}
