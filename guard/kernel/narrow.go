package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/policy"
)

// maxConds bounds the conditional rules on one key.
const maxConds = 32

// patterns gives every pattern of callers or scripts its bit.
type patterns map[string]uint64

// bit is the bit of a pattern; false when there is none left.
func (p patterns) bit(pattern string) (uint64, bool) {
	if b, ok := p[pattern]; ok {
		return b, true
	}
	if len(p) >= maxPatterns {
		return 0, false
	}
	b := uint64(1) << len(p)
	p[pattern] = b
	return b, true
}

// shells are the names of programs whose options of one letter are a shell's.
var shells = []string{"sh", "ash", "bash", "dash", "ksh", "zsh"}

// condition gives the number of what narrows a rule, 0 for nothing. What is
// beyond the kernel programs' bounds is left out of a deny, which then matches
// more, and makes an allow match nothing (ok is false); either is noted.
func (c *compiler) condition(has uint16, rule policy.ExecRule) (id uint16, ok bool, err error) {
	var v condValue
	over := func(what string) bool {
		c.notes = append(c.notes, fmt.Sprintf("rule for %q: %s", cmp.Or(rule.Path, rule.Class), what))
		return has == hasDeny
	}
	narrowed := false
	if rule.Users != nil {
		switch ids := c.users(rule.Users); {
		case len(ids) > maxUsers:
			if !over(fmt.Sprintf("more than %d users", maxUsers)) {
				return 0, false, nil
			}
		case len(ids) == 0:
			return 0, false, nil // none of them exists here: nobody starts it
		default:
			narrowed = true
			v.NUsers = uint16(copy(v.Users[:], ids))
		}
	}
	if rule.Args != nil {
		text := argsText(rule.Args)
		if len(text) > condText {
			if !over(fmt.Sprintf("arguments of more than %d bytes", condText)) {
				return 0, false, nil
			}
		} else {
			narrowed = true
			v.HasArgs, v.ArgsLen = 1, uint16(copy(v.Args[:], text))
		}
	}
	for _, set := range []struct {
		what  string
		from  []string
		known patterns
		into  *uint64
		add   func(string, uint64) error
	}{
		{"parents", rule.Parents, c.callers, &v.Callers, c.caller},
		{"scripts", rule.Scripts, c.scripts, &v.Scripts, c.script},
	} {
		if set.from == nil {
			continue
		}
		if len(set.from) == 0 {
			return 0, false, nil // narrowed to nothing
		}
		for _, p := range set.from {
			bit, ok := callerOutside, true
			if set.into != &v.Callers || p != policy.Entrypoint {
				bit, ok = set.known.bit(p)
			}
			if !ok {
				if !over(fmt.Sprintf("more than %d different %s in one plan", maxPatterns, set.what)) {
					return 0, false, nil
				}
				*set.into = 0
				break
			}
			*set.into |= bit
			if bit == callerOutside {
				continue
			}
			if err := set.add(p, bit); err != nil {
				return 0, false, err
			}
		}
		narrowed = narrowed || *set.into != 0
	}
	if !narrowed {
		return 0, true, nil
	}
	if rule.Scripts != nil && (rule.Match == policy.MatchNames && !slices.ContainsFunc(rule.Names, func(n string) bool { return !slices.Contains(shells, n) }) ||
		rule.Match == policy.MatchFile && slices.Contains(shells, path.Base(rule.Path))) {
		v.Shell = 1
	}
	if i := slices.Index(c.conds, v); i >= 0 {
		return uint16(i + 1), true, nil
	}
	c.conds = append(c.conds, v)
	return uint16(len(c.conds)), true, nil
}

// argsText is a pattern of arguments as the kernel programs read it.
func argsText(args []string) []byte {
	var out []byte
	for i, a := range args {
		if a == policy.RestOfArgs && i == len(args)-1 {
			return append(out, globRest)
		}
		for part := range strings.SplitSeq(a, "*") {
			out = append(append(out, part...), globAny)
		}
		out[len(out)-1] = 0 // behind the last part there is no star
	}
	return out
}

// users are the container's users as the node numbers them; those that do not
// exist in its user namespace are left out.
func (c *compiler) users(ids []uint32) (out []uint32) {
	for _, id := range ids {
		if c.idmap == nil {
			out = append(out, id)
			continue
		}
		for _, r := range c.idmap {
			if uint64(id)-r.inside < r.n && uint64(id) >= r.inside {
				out = append(out, uint32(uint64(id)-r.inside+r.outside))
			}
		}
	}
	return out
}

// idRange is a line of a process's uid_map (user_namespaces(7)).
type idRange struct{ inside, outside, n uint64 }

// readIDMap reads how a process's users are numbered on the node. Lines that
// are not of the format are left out.
func readIDMap(pid int) ([]idRange, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/uid_map")
	if err != nil {
		return nil, err
	}
	return parseIDMap(string(text)), nil
}

func parseIDMap(text string) []idRange {
	out := []idRange{}
	for line := range strings.Lines(text) {
		var n [3]uint64
		f := strings.Fields(line)
		if len(f) != len(n) {
			continue
		}
		good := true
		for i := range n {
			v, err := strconv.ParseUint(f[i], 10, 32)
			n[i], good = v, good && err == nil
		}
		if good {
			out = append(out, idRange{n[0], n[1], n[2]})
		}
	}
	return out
}

// places are where a path leads to, and where it is itself.
func (c *compiler) places(name string) (out []place, o object, exists bool, err error) {
	o, err = c.r.resolve(name)
	exists = err == nil
	if err != nil && !absent(err) {
		return nil, o, false, err
	}
	if lit, err := c.r.literal(name); err == nil {
		out = append(out, lit)
	}
	if exists && !slices.Contains(out, o.place) {
		out = append(out, o.place)
	}
	return out, o, exists, nil
}

// absent reports that an error says of a path that nothing is there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.ELOOP)
}

func (c *compiler) bits(kind uint32, a, b, bit uint64) {
	key := ruleKey{Kind: kind, A: a, B: b}
	c.out[key] = bitsValue(c.out[key].bits() | bit)
}

// caller gives a pattern of programs that start others its bit.
func (c *compiler) caller(pattern string, bit uint64) error {
	r := policy.PathRule(pattern)
	places, o, exists, err := c.places(r.Path)
	if err != nil {
		return fmt.Errorf("parent %q: %w", pattern, err)
	}
	base := path.Base(r.Path)
	for _, p := range places {
		switch r.Match {
		case policy.MatchDir:
			c.bits(ruleCaller+ruleDir, c.h.place(p), 0, bit)
		case policy.MatchTree:
			c.bits(ruleCaller+ruleTree, c.h.place(p), 0, bit)
		default:
			if !c.multi[p] || path.Base(p.path) == base {
				c.bits(ruleCaller+ruleFile, c.h.place(p), 0, bit)
			}
		}
	}
	if r.Match != policy.MatchFile {
		c.mountsBelow(ruleCaller, r.Match, o, exists, bit)
		return nil
	}
	switch {
	case !exists || c.multi[o.place]:
		c.bits(ruleCaller+ruleApplet, c.h.name(base), 0, bit)
	default: // under another name it is the same program
		c.bits(ruleCaller+ruleObject, o.ino, uint64(o.dev), bit)
	}
	return nil
}

// script gives a pattern of scripts its bit. The kernel programs follow the
// name that an interpreter is given from the container's root without knowing
// what is mounted on the way, or from the working directory where that is.
func (c *compiler) script(pattern string, bit uint64) error {
	r := policy.PathRule(pattern)
	places, o, exists, err := c.places(r.Path)
	if err != nil {
		return fmt.Errorf("script %q: %w", pattern, err)
	}
	names := []string{r.Path}
	if exists && o.full != r.Path {
		names = append(names, o.full)
	}
	for _, n := range names {
		places = append(places, place{dev: c.r.top.dev, atRoot: c.r.ino != 0, path: n})
	}
	kind := uint32(ruleScript + ruleFile)
	switch r.Match {
	case policy.MatchDir:
		kind = ruleScript + ruleDir
	case policy.MatchTree:
		kind = ruleScript + ruleTree
	}
	for _, p := range places {
		c.bits(kind, c.h.place(p), 0, bit)
	}
	c.mountsBelow(ruleScript, r.Match, o, exists, bit)
	return nil
}

// mountsBelow gives what is mounted in a pattern's directory its bit.
func (c *compiler) mountsBelow(base uint32, match policy.Match, o object, exists bool, bit uint64) {
	for _, m := range c.r.mounts {
		_, in := cutTree(o.full, m.point)
		if !exists || !in || m.point == "/" {
			continue
		}
		p := c.h.place(c.r.at(m, m.point))
		switch {
		case match == policy.MatchTree:
			c.bits(base+ruleTree, p, 0, bit)
			c.bits(base+ruleFile, p, 0, bit)
		case match == policy.MatchDir && path.Dir(m.point) == o.full:
			c.bits(base+ruleFile, p, 0, bit)
		}
	}
}
