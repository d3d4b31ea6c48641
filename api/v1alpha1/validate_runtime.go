package v1alpha1

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of what narrows a rule. A node can compare no more.
const (
	MaxArgs      = 64  // patterns of arguments of one rule
	MaxArgsBytes = 256 // all of them together, each with one byte behind it
	MaxUsers     = 16  // users of one rule
	MaxBy        = 64  // parents, scripts, or programs of a by, of one rule
	MaxExempt    = 64  // exemptions of one hardening section, or waivers of one exception
)

// EntrypointParent among ProcessRule.Parents stands for what starts the
// container's first program, or a session in it from outside.
const EntrypointParent = "entrypoint"

// ParseFilePath reads the path of a FileRule or FileWaiver into its clean part
// and what it matches.
func ParseFilePath(p string, recursive bool) (string, PathMatch, error) {
	if !recursive {
		clean, match, err := ParsePath(p)
		if err != nil && p == "/" {
			err = fmt.Errorf(`"/" is a directory: write /** for every file`)
		}
		return clean, match, err
	}
	if strings.HasSuffix(p, "/*") {
		return "", 0, fmt.Errorf(`%q means the files directly in a directory, recursive means all below: write one of them`, clip(p))
	}
	return ParsePath(strings.TrimSuffix(strings.TrimSuffix(p, "/**"), "/") + "/**")
}

func (c *checker) conditions(field string, r *ProcessRule) {
	if len(r.Args) > MaxArgs {
		c.add(field+".args", "", "has %d entries, more than the limit of %d", len(r.Args), MaxArgs)
	}
	size := 0
	for i, a := range r.Args {
		size += len(a) + 1
		switch {
		case strings.ContainsRune(a, 0):
			c.add(at(field+".args", i), "", "has a zero byte, which no argument can have")
		case a == "**" && i < len(r.Args)-1:
			c.add(at(field+".args", i), `write "*" for one argument`, `"**" stands for all further arguments and must be the last`)
		}
	}
	if size > MaxArgsBytes {
		c.add(field+".args", `shorten them with "*"`, "have %d bytes together, more than the limit of %d", size, MaxArgsBytes)
	}
	c.list(field+".parents", "leave it out to mean any parent", len(r.Parents), r.Parents != nil, MaxBy)
	for i, p := range r.Parents {
		if p == EntrypointParent {
			continue
		}
		if _, _, err := ParsePath(p); err != nil {
			hint := ""
			if strings.EqualFold(p, EntrypointParent) {
				hint = `did you mean "entrypoint"?`
			}
			c.add(at(field+".parents", i), hint, "%s", err)
		}
	}
	c.list(field+".users", "leave it out to mean every user", len(r.Users), r.Users != nil, MaxUsers)
	for i, u := range r.Users {
		if slices.Contains(r.Users[:i], u) {
			c.add(at(field+".users", i), "keep one of them", "%d is given twice", u)
		}
	}
	c.list(field+".scripts", "leave it out to mean any script, and code from elsewhere", len(r.Scripts), r.Scripts != nil, MaxBy)
	for i, p := range r.Scripts {
		c.path(at(field+".scripts", i), p)
	}
}

// list refuses lists that are present and empty, and those that are too long.
func (c *checker) list(field, hint string, n int, present bool, limit int) {
	if present && n == 0 {
		c.add(field, hint, "is empty")
	}
	if n > limit {
		c.add(field, "make several rules of it", "has %d entries, more than the limit of %d", n, limit)
	}
}

func (c *checker) by(field string, by []string) {
	c.programs(field, "leave it out to mean every program", by)
}

func (c *checker) programs(field, hint string, by []string) {
	c.list(field, hint, len(by), by != nil, MaxBy)
	for i, p := range by {
		c.path(at(field, i), p)
	}
}

func (c *checker) files(rules []FileRule) {
	for i := range rules {
		r, field := &rules[i], at("spec.files", i)
		c.fileUse(field, r.Path, r.Recursive, r.Access)
		c.by(field+".by", r.By)
		for j := range rules[:i] {
			if o := &rules[j]; o.Path == r.Path && o.Action.or(Allow) != r.Action.or(Allow) && o.Recursive == r.Recursive &&
				slices.Equal(o.Access, r.Access) && slices.Equal(o.By, r.By) {
				c.add(field, "keep one of them", "contradicts spec.files[%d], which says the opposite of the same", j)
			}
		}
	}
}

func (a Action) or(other Action) Action {
	if a == "" {
		return other
	}
	return a
}

func (c *checker) fileUse(field, p string, recursive bool, access AccessList) {
	if _, _, err := ParseFilePath(p, recursive); err != nil {
		c.add(field+".path", "", "%s", err)
	}
	if len(access) == 0 {
		c.add(field+".access", "name one or several of "+strings.Join(words(AccessWords()), ", "), "is empty")
	}
	for i, w := range access {
		if slices.Contains(access[:i], w) {
			c.add(at(field+".access", i), "keep one of them", "%s is given twice", w)
		}
	}
}

func (c *checker) capabilities(field string, names []string) {
	seen := map[int]bool{}
	for i, name := range names {
		n, ok := Capability(name)
		switch {
		case !ok:
			hint := didYouMean(strings.TrimPrefix(strings.ToUpper(name), "CAP_"), CapabilityNames())
			if strings.EqualFold(name, "all") {
				hint = "leave the section out to mean all that the container was given"
			}
			c.add(at(field, i), hint, "%q is not a capability of Linux", clip(name))
		case seen[n]:
			c.add(at(field, i), "keep one of them", "%s is given twice", name)
		}
		seen[n] = true
	}
}

func (c *checker) hardening(h *HardeningSpec) {
	const field = "spec.hardening"
	if len(h.Allow) > 0 && h.Preset == "" {
		c.add(field+".allow", "name a preset, or leave it out", "takes switches out of a preset, but there is no preset")
	}
	for i, name := range h.Deny {
		if j := slices.Index(h.Allow, name); j >= 0 {
			c.add(at(field+".deny", i), "keep one of them", "contradicts spec.hardening.allow[%d], which allows %s", j, clip(name))
		}
	}
	for _, l := range []struct {
		name string
		list []string
	}{{"deny", h.Deny}, {"allow", h.Allow}} {
		for i, name := range l.list {
			if slices.Contains(l.list[:i], name) {
				c.add(at(field+"."+l.name, i), "keep one of them", "%s is given twice", clip(name))
			}
		}
	}
	c.programs(field+".jit", "leave it out to exempt no program", h.JIT)
	c.list(field+".exempt", "leave it out", len(h.Exempt), false, MaxExempt)
	for i := range h.Exempt {
		e, field := &h.Exempt[i], at(field+".exempt", i)
		c.programs(field+".by", "name the programs; to mean all of them, take the switch out with allow", e.By)
	}
}

// waivers checks what an exception waives of files, capabilities and hardening.
func (c *checker) waivers(r *ExceptionRules) {
	for i := range r.Files {
		w, field := &r.Files[i], at("spec.rules.files", i)
		c.fileUse(field, w.Path, w.Recursive, w.Access)
		c.by(field+".by", w.By)
	}
	c.capabilities("spec.rules.capabilities", r.Capabilities)
	c.list("spec.rules.hardening", "", len(r.Hardening), false, MaxExempt)
	for i := range r.Hardening {
		c.by(at("spec.rules.hardening", i)+".by", r.Hardening[i].By)
	}
}

// programs gives the programs and conditions that a rule means, whatever its
// reason, as a key to compare by.
func (r ProcessRule) programs() string {
	return fmt.Sprintf("%q %q %q %t %q %d %q", r.Path, r.Class, r.Args, r.Args == nil, r.Parents, r.Users, r.Scripts)
}
