package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// maxGroups is how many different lists of programs the file rules of one plan
// may have.
const maxGroups = 63

// Errors of plans that are too large.
var (
	// ErrTooManyPrograms is returned when the file rules of a plan have more
	// than 63 different lists of programs.
	ErrTooManyPrograms = errors.New("file rules with more than 63 different lists of programs in one plan; let rules share lists")
	// ErrTooManyFileRules is returned when too many rules are about one file.
	ErrTooManyFileRules = errors.New("more than 56 rules about one file or directory; merge rules")
)

// fileSet is a files section resolved inside one container. The set number is
// filled in when it is installed.
type fileSet struct {
	rules     map[fileRuleKey][]clause
	restricts policy.Access
	suspects  uint64 // groups of deny rules
	groups    int
	narrowed  bool // some list asks of a program what the kernel cannot tell
}

func (s *fileSet) add(kind uint32, a, b uint64, c clause) {
	key := fileRuleKey{Kind: kind, A: a, B: b}
	if !slices.Contains(s.rules[key], c) {
		s.rules[key] = append(s.rules[key], c)
	}
}

// fileCompiler resolves file rules inside one container.
type fileCompiler struct {
	r      *rootfs
	h      hasher
	out    *fileSet
	groups map[string]uint8
}

// compileFiles resolves the plan's rules. unmatched lists the numbers of rules
// that match nothing in this container at present.
func compileFiles(r *rootfs, h hasher, p *policy.FilesPlan) (set *fileSet, unmatched []int, err error) {
	c := &fileCompiler{r: r, h: h, out: &fileSet{rules: map[fileRuleKey][]clause{}}, groups: map[string]uint8{}}
	met := map[int]bool{}
	each := func(rule policy.FileRule, what uint8, order int) error {
		if rule.Rule > math.MaxUint16 || order > math.MaxUint16 {
			return ErrTooManyRules
		}
		group, err := c.group(rule.By, rule.Deny)
		if err != nil {
			return err
		}
		found, err := c.rule(rule, clause{
			Access: uint16(rule.Access), What: what, Group: group, Rule: uint16(rule.Rule), Order: uint16(order),
		})
		met[rule.Rule] = met[rule.Rule] || found
		return err
	}
	for i, rule := range p.Rules {
		what := uint8(clauseAllow)
		switch {
		case rule.Deny:
			what = clauseDeny
		case rule.Ceiling:
			what = clauseCeiling
		}
		if err := each(rule, what, i); err != nil {
			return nil, nil, fmt.Errorf("resolve file rule for %q: %w", rule.Path, err)
		}
		c.out.restricts |= rule.Access
	}
	for i, rule := range p.Waive {
		rule.Deny = false // what is unsure is not waived
		if err := each(rule, clauseWaive, i); err != nil {
			return nil, nil, fmt.Errorf("resolve file exception for %q: %w", rule.Path, err)
		}
	}
	for _, clauses := range c.out.rules {
		if len(clauses) > clausesPerRule*chunksPerPlace {
			return nil, nil, fmt.Errorf("resolve file rules: %w", ErrTooManyFileRules)
		}
	}
	c.out.groups = len(c.groups)
	for rule, found := range met {
		if !found {
			unmatched = append(unmatched, rule)
		}
	}
	slices.Sort(unmatched)
	return c.out, unmatched, nil
}

// resolve finds what a path leads to; ok is false when there is nothing.
func (c *fileCompiler) resolve(name string) (o object, ok bool, err error) {
	o, err = c.r.resolve(name)
	switch {
	case err == nil:
		o.place = c.known(o.place, o.full)
		return o, true, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP):
		return object{}, false, nil
	}
	return object{}, false, err
}

// known gives a place as rules know it: every procfs is the same.
func (c *fileCompiler) known(p place, full string) place {
	m, ok := mountOf(c.r.mounts, full)
	if ok && m.fstype == "proc" && m.dev == p.dev {
		p.dev = procDev
	}
	return p
}

// mountOf gives the mount that a container's path lies on.
func mountOf(mounts []mount, full string) (best mount, ok bool) {
	for _, m := range mounts {
		if _, in := cutTree(m.point, full); in && (!ok || len(m.point) >= len(best.point)) {
			best, ok = m, true
		}
	}
	return best, ok
}

// places are all that a rule's path may mean: where it leads to now, and where
// it itself lies, so that a file that appears later is meant as well.
func (c *fileCompiler) places(name string) (all []place, o object, exists bool, err error) {
	if o, exists, err = c.resolve(name); err != nil {
		return nil, o, false, err
	}
	if lit, err := c.r.literal(name); err == nil {
		all = append(all, c.known(lit, path.Clean(name)))
	}
	if exists && !slices.Contains(all, o.place) {
		all = append(all, o.place)
	}
	return all, o, exists, nil
}

// rule adds one rule and reports whether it met something that exists.
func (c *fileCompiler) rule(rule policy.FileRule, cl clause) (met bool, err error) {
	all, o, exists, err := c.places(rule.Path)
	if err != nil {
		return false, err
	}
	kind, object := uint32(fileFile), uint32(fileObject)
	switch rule.Match {
	case policy.MatchFile:
	case policy.MatchDir:
		kind, object = fileDir, fileDir1Obj
	case policy.MatchTree:
		kind, object = fileTree, fileDirObj
	default:
		return false, fmt.Errorf("unknown match %q", rule.Match)
	}
	for _, p := range all {
		c.out.add(kind, c.h.place(p), 0, cl)
	}
	if !exists {
		return false, nil
	}
	// What is moved or linked elsewhere is still meant. Numbers in procfs are
	// not kept by anything.
	if o.dev != procDev && (rule.Match == policy.MatchFile || o.isDir()) {
		c.out.add(object, o.ino, uint64(o.dev), cl)
	}
	for _, m := range c.r.mounts {
		top := c.known(c.r.at(m, m.point), m.point)
		_, in := cutTree(o.full, m.point)
		switch {
		case rule.Match == policy.MatchDir && path.Dir(m.point) == o.full && m.point != "/":
			c.out.add(fileFile, c.h.place(top), 0, cl)
		case rule.Match == policy.MatchTree && in && m.point != "/":
			c.out.add(fileTree, c.h.place(top), 0, cl)
		}
	}
	return rule.Match == policy.MatchFile || o.isDir(), nil
}

// group gives the number of a list of programs; 0 are all programs.
func (c *fileCompiler) group(by []policy.ExecRule, deny bool) (uint8, error) {
	if len(by) == 0 {
		return 0, nil
	}
	key := fmt.Sprintf("%t %+v", deny, by)
	if g, ok := c.groups[key]; ok {
		return g, nil
	}
	if len(c.groups) >= maxGroups {
		return 0, ErrTooManyPrograms
	}
	g := uint8(len(c.groups) + 1)
	c.groups[key] = g
	if deny {
		c.out.suspects |= 1 << g
	}
	for _, rule := range by {
		if rule.Args != nil || rule.Parents != nil || rule.Users != nil || rule.Scripts != nil {
			c.out.narrowed = true
			if !deny {
				continue
			}
		}
		if err := c.program(rule, clause{What: clauseSubject, Group: g}, deny); err != nil {
			return 0, err
		}
	}
	return g, nil
}

// program adds the places of programs that are members of a group.
func (c *fileCompiler) program(rule policy.ExecRule, cl clause, deny bool) error {
	var names []string
	kind := uint32(fileFile)
	switch rule.Match {
	case policy.MatchFile:
		names = []string{rule.Path}
	case policy.MatchDir:
		kind, names = fileDir, []string{rule.Path}
	case policy.MatchTree:
		kind, names = fileTree, []string{rule.Path}
	case policy.MatchNames:
		for _, n := range rule.Names {
			c.out.add(fileSubject+fileName, c.h.name(n), 0, cl)
			for _, dir := range binDirs {
				names = append(names, path.Join(dir, n))
			}
		}
	default:
		return fmt.Errorf("unknown match %q", rule.Match)
	}
	for _, n := range names {
		all, o, exists, err := c.places(n)
		if err != nil {
			return err
		}
		if rule.Match == policy.MatchNames && (!exists || o.isDir()) {
			continue
		}
		for _, p := range all {
			c.out.add(fileSubject+kind, c.h.place(p), 0, cl)
		}
		// A program that is denied something is so under another name, too.
		if exists && deny && !o.isDir() {
			c.out.add(fileSubject+fileObject, o.ino, uint64(o.dev), cl)
		}
		for _, m := range c.r.mounts {
			if _, in := cutTree(o.full, m.point); exists && in && kind == fileTree && m.point != "/" && !strings.HasPrefix(m.fstype, "proc") {
				c.out.add(fileSubject+fileTree, c.h.place(c.r.at(m, m.point)), 0, cl)
			}
		}
	}
	return nil
}

// entries lays the rules out as the kernel programs read them.
func (s *fileSet) entries(set uint32) map[fileRuleKey]fileRule {
	out := make(map[fileRuleKey]fileRule, len(s.rules))
	for key, clauses := range s.rules {
		key.Set = set
		for {
			var r fileRule
			r.N = uint32(copy(r.C[:], clauses))
			if clauses = clauses[r.N:]; len(clauses) > 0 {
				r.More = 1
			}
			out[key] = r
			if r.More == 0 {
				break
			}
			key.Kind += fileChunk
		}
	}
	return out
}
