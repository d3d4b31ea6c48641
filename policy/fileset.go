package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/event"
)

// The rules of files as sets of uses: of what (a place), how (access) and by
// whom (programs). As with programs, where a set cannot be known exactly the
// answer is the one that leads to the stricter plan.

// holds reports whether the rule's place has the file: for a tree that is its
// own directory too, unlike for programs.
func (r *FileRule) holds(p string) bool {
	switch r.Match {
	case MatchFile:
		return p == r.Path
	case MatchDir:
		return p != r.Path && path.Dir(p) == r.Path
	case MatchTree:
		return p == r.Path || r.Path == "/" || strings.HasPrefix(p, r.Path) && p[len(r.Path)] == '/'
	}
	return false
}

// includes reports that every file of d's place is in r's place.
func (r *FileRule) includes(d *FileRule) bool {
	switch d.Match {
	case MatchFile:
		return r.holds(d.Path)
	case MatchDir:
		return r.Match == MatchDir && r.Path == d.Path || r.Match == MatchTree && r.holds(d.Path)
	case MatchTree:
		return r.Match == MatchTree && r.holds(d.Path)
	}
	return false
}

// common gives the place that is in both.
func (r *FileRule) common(d *FileRule) (Match, string, bool) {
	switch {
	case r.includes(d):
		return d.Match, d.Path, true
	case d.includes(r):
		return r.Match, r.Path, true
	case r.Match == MatchDir && d.Match == MatchTree && r.holds(d.Path):
		return MatchFile, d.Path, true
	case r.Match == MatchTree && d.Match == MatchDir && d.holds(r.Path):
		return MatchFile, r.Path, true
	}
	return "", "", false
}

// spans reports that every use which d matches is surely matched by r.
func (r *FileRule) spans(d *FileRule) bool {
	return r.includes(d) && d.Access&^r.Access == 0 && coversPrograms(r.By, d.By)
}

// coversPrograms reports that every program of d is surely one of r; nil are all.
func coversPrograms(r, d []ExecRule) bool {
	if len(r) == 0 {
		return true
	}
	return len(d) > 0 && !slices.ContainsFunc(d, func(x ExecRule) bool {
		return !slices.ContainsFunc(r, func(y ExecRule) bool { return y.covers(&x) })
	})
}

// overlaps reports that some use might be matched by both.
func (r *FileRule) overlaps(d *FileRule) bool {
	if r.Access&d.Access == 0 {
		return false
	}
	if _, _, ok := r.common(d); !ok {
		return false
	}
	return len(r.By) == 0 || len(d.By) == 0 || slices.ContainsFunc(r.By, func(x ExecRule) bool {
		return slices.ContainsFunc(d.By, func(y ExecRule) bool { return x.overlaps(&y) })
	})
}

// fileRef is a rule with the line it came from.
type fileRef struct {
	FileRule
	ref event.RuleRef
}

// dedupeFiles drops rules that an earlier one already says, in the same words.
func dedupeFiles(rules []fileRef) []fileRef {
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

func (r *FileRule) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t %t %s %q %d", r.Deny, r.Ceiling, r.Match, r.Path, r.Access)
	for i := range r.By {
		b.WriteString(" " + r.By[i].key())
	}
	return b.String()
}
