package registry

import (
	"fmt"
	"path"
	"strings"
)

// globs are patterns over names: "*" and "?" stay within a part between
// slashes, "**" stands for any number of parts.
type globs []string

func (g globs) check() error {
	for _, p := range g {
		for part := range strings.SplitSeq(p, "/") {
			if _, err := path.Match(part, ""); err != nil {
				return fmt.Errorf("pattern %q: %w", p, err)
			}
		}
		if strings.Count(p, "**") > 4 {
			return fmt.Errorf("pattern %q: more than four \"**\"", p)
		}
	}
	return nil
}

func (g globs) match(name string) bool {
	parts := strings.Split(name, "/")
	for _, p := range g {
		if matchParts(strings.Split(p, "/"), parts) {
			return true
		}
	}
	return false
}

func matchParts(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(name) + 1 {
				if matchParts(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// chosen reports whether include, or nothing, names it and exclude does not.
func chosen(name string, include, exclude globs) bool {
	return (len(include) == 0 || include.match(name)) && !exclude.match(name)
}
