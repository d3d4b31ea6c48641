package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// ruleSet is a process section resolved inside one container: what the kernel
// programs look up. The set number is filled in when it is installed.
type ruleSet map[ruleKey]ruleValue

// addCond adds a rule that holds under a condition; false when the key has as
// many as are looked at.
func (s ruleSet) addCond(kind uint32, a, b uint64, has uint16, rule, order int, cond uint16) bool {
	key := ruleKey{Kind: kind, A: a, B: b}
	v := s[key]
	if v.Conds >= maxConds {
		return false
	}
	v.Conds++
	s[key] = v
	key.Kind += nth * uint32(v.Conds)
	s[key] = ruleValue{Has: has, Rule: uint16(rule), Order: uint16(order), Conds: cond}
	return true
}

func (s ruleSet) add(kind uint32, a, b uint64, has uint16, rule, order int) {
	key := ruleKey{Kind: kind, A: a, B: b}
	v := s[key]
	if has&hasDeny != 0 && (v.Has&hasDeny == 0 || order < int(v.Order)) {
		v.Rule, v.Order = uint16(rule), uint16(order)
	}
	v.Has |= has
	s[key] = v
}

// binDirs are where images keep programs; classes and multi-call programs are
// looked for there.
var binDirs = []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// multiLinks is how many differently named links make a program multi-call.
// Interpreters have a few (python, python3), multi-call programs many.
const multiLinks = 10

// multiPrefixes are the names of the known families.
var multiPrefixes = []string{"busybox", "toybox", "coreutils"}

// compiler resolves rules inside one container.
type compiler struct {
	r         *rootfs
	h         hasher
	out       ruleSet
	multi     map[place]bool
	unmatched map[int]bool // rule numbers that met nothing yet

	idmap            []idRange // nil: users are numbered as on the node
	conds            []condValue
	callers, scripts patterns
	notes            []string // what the rules could not be made to say
}

// compiled is a process section resolved inside one container.
type compiled struct {
	set              ruleSet
	conds            []condValue // the first has the number 1
	callers, scripts patterns
	unmatched        []int // rule numbers that match nothing at present
	notes            []string
}

// ErrTooManyRules is returned when a plan has more rules than a rule number holds.
var ErrTooManyRules = errors.New("more than 65535 rules in one plan")

// compileRules resolves the plan's rules; p may be nil.
func compileRules(r *rootfs, h hasher, idmap []idRange, p *policy.ProcessPlan) (compiled, error) {
	c := &compiler{
		r: r, h: h, out: ruleSet{}, multi: map[place]bool{}, unmatched: map[int]bool{},
		idmap: idmap, callers: patterns{}, scripts: patterns{},
	}
	c.findMulti()
	if p == nil {
		return compiled{set: c.out}, nil
	}
	for _, list := range []struct {
		has   uint16
		rules []policy.ExecRule
	}{{hasDeny, p.Deny}, {hasAllow, p.Allow}, {hasExempt, p.DriftAllow}, {hasWaive, p.Waive}} {
		for i, rule := range list.rules {
			if rule.Rule > math.MaxUint16 || i > math.MaxUint16 {
				return compiled{}, fmt.Errorf("resolve process rules: %w", ErrTooManyRules)
			}
			met, err := c.rule(list.has, rule, i)
			if err != nil {
				return compiled{}, fmt.Errorf("resolve process rule for %q: %w", rule.Path, err)
			}
			// A class is forbidden whether or not the image has any of it.
			met = met || rule.Match == policy.MatchNames
			if was, ok := c.unmatched[rule.Rule]; !ok || was {
				c.unmatched[rule.Rule] = !met
			}
		}
	}
	out := compiled{set: c.out, conds: c.conds, callers: c.callers, scripts: c.scripts, notes: c.notes}
	for rule, nothing := range c.unmatched {
		if nothing {
			out.unmatched = append(out.unmatched, rule)
		}
	}
	slices.Sort(out.unmatched)
	return out, nil
}

// findMulti marks the multi-call programs among the standard directories: the
// known families, and every file that many names lead to.
func (c *compiler) findMulti() {
	type inode struct {
		dev uint32
		ino uint64
	}
	names := map[inode]map[string]bool{}
	found := map[inode]map[place]object{}
	read := map[place]bool{}
	for _, dir := range binDirs {
		at, err := c.r.resolve(dir)
		if err != nil || read[at.place] {
			continue
		}
		read[at.place] = true
		f, err := c.r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		entries, _ := f.ReadDir(-1) // what cannot be listed has no known names
		for _, e := range entries {
			known := slices.ContainsFunc(multiPrefixes, func(p string) bool { return strings.HasPrefix(e.Name(), p) })
			if e.Type()&fs.ModeSymlink == 0 && !known && links(f, e.Name()) < multiLinks {
				continue
			}
			o, err := c.r.resolve(path.Join(dir, e.Name()))
			if err != nil || o.isDir() {
				continue
			}
			key := inode{o.dev, o.ino}
			if names[key] == nil {
				names[key], found[key] = map[string]bool{}, map[place]object{}
			}
			names[key][e.Name()] = true
			found[key][o.place] = o
			if known && path.Base(o.path) == e.Name() {
				c.mark(o)
			}
		}
		f.Close()
	}
	for key, all := range names {
		if len(all) < multiLinks {
			continue
		}
		for _, o := range found[key] {
			c.mark(o)
		}
	}
}

// links is the number of hard links of a file in dir; 0 when unknown.
func links(dir *os.File, name string) uint64 {
	var st unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0
	}
	return uint64(st.Nlink)
}

func (c *compiler) mark(o object) {
	c.multi[o.place] = true
	c.out.add(ruleObject, o.ino, uint64(o.dev), hasMulti, 0, 0)
}

// rule adds one rule and reports whether it met something that exists.
func (c *compiler) rule(has uint16, rule policy.ExecRule, order int) (met bool, err error) {
	cond, ok, err := c.condition(has, rule)
	if err != nil {
		return false, err
	}
	if !ok {
		return true, nil // holds of nothing
	}
	// A directory and its own path may be one place: noted once.
	told := map[ruleKey]bool{}
	add := func(kind uint32, a, b uint64) {
		if cond == 0 {
			c.out.add(kind, a, b, has, rule.Rule, order)
			return
		}
		key := ruleKey{Kind: kind, A: a, B: b}
		if told[key] || c.out.addCond(kind, a, b, has, rule.Rule, order, cond) {
			told[key] = true
			return
		}
		c.notes = append(c.notes, fmt.Sprintf("rule for %q: more than %d rules with conditions about one program", cmp.Or(rule.Path, rule.Class), maxConds))
		if has == hasDeny {
			c.out.add(kind, a, b, has, rule.Rule, order)
		}
	}
	if rule.Match == policy.MatchNames {
		for _, name := range rule.Names {
			add(ruleName, c.h.name(name), 0)
			for _, dir := range binDirs {
				o, err := c.r.resolve(path.Join(dir, name))
				if err != nil || o.isDir() {
					continue
				}
				met = true
				// A class that is denied stays denied under another name.
				if has == hasDeny && !c.multi[o.place] {
					add(ruleObject, o.ino, uint64(o.dev))
				}
			}
		}
		return met, nil
	}
	o, err := c.r.resolve(rule.Path)
	switch {
	case err == nil:
	case absent(err):
		o.full = ""
	default:
		return false, err
	}
	exists := o.full != ""
	lit, err := c.r.literal(rule.Path)
	if err != nil && !exists {
		return false, nil // the path leads through something that is no directory
	}
	places := []place{}
	if err == nil {
		places = append(places, lit)
	}
	if exists && (err != nil || o.place != lit) {
		places = append(places, o.place)
	}
	switch rule.Match {
	case policy.MatchFile:
		applet := path.Base(rule.Path)
		// Whatever multi-call program acts under this name is meant as well.
		add(ruleApplet, c.h.name(applet), 0)
		for _, p := range places {
			if !c.multi[p] || path.Base(p.path) == applet {
				add(ruleFile, c.h.place(p), 0)
			}
		}
		if exists && has == hasDeny && !(c.multi[o.place] && path.Base(o.path) != applet) {
			add(ruleObject, o.ino, uint64(o.dev))
		}
		return exists && !o.isDir(), nil
	case policy.MatchDir:
		for _, p := range places {
			add(ruleDir, c.h.place(p), 0)
		}
		if exists && has == hasDeny {
			add(ruleDir1Obj, o.ino, uint64(o.dev))
		}
		for _, m := range c.r.mounts {
			if exists && path.Dir(m.point) == o.full {
				add(ruleFile, c.h.place(c.r.at(m, m.point)), 0)
			}
		}
	case policy.MatchTree:
		for _, p := range places {
			add(ruleTree, c.h.place(p), 0)
		}
		if exists && has == hasDeny {
			add(ruleDirObj, o.ino, uint64(o.dev))
		}
		for _, m := range c.r.mounts {
			if _, in := cutTree(o.full, m.point); exists && in && m.point != "/" {
				p := c.h.place(c.r.at(m, m.point))
				add(ruleTree, p, 0)
				add(ruleFile, p, 0)
			}
		}
	default:
		return false, fmt.Errorf("unknown match %q", rule.Match)
	}
	return exists && o.isDir(), nil
}
