package kernel

import (
	"path"
	"slices"
	"strings"

	"github.com/gabion-dev/gabion/policy"
)

// subject is a program start as the kernel programs see it.
type subject struct {
	place
	ino     uint64
	applet  string
	drifted policy.Reason // what separates the file from the image's

	// What conditions ask for.
	uid    uint32
	args   []string // after the program's own name
	caller uint64   // bits of the program that started it
	script uint64   // bits of the script that it was given
	shell  bool     // after options that only shells take
}

// evaluate is the decision of bpf/process_judge.h in Go, for programs that the
// agent has to judge itself: those that were held before their policy was
// known. Directory objects are the kernel's alone.
func evaluate(h hasher, rules compiled, c Container, s subject) (reasons policy.Reason, rule int) {
	var has uint16
	order, unsure := -1, false
	say := func(v ruleValue, mask uint16) {
		if v.Has&hasDeny != 0 && (order < 0 || int(v.Order) < order) {
			order, rule = int(v.Order), int(v.Rule)
		}
		has |= v.Has & mask
	}
	consult := func(kind uint32, a, b uint64, mask uint16) {
		v := rules.set[ruleKey{Kind: kind, A: a, B: b}]
		say(v, mask)
		for n := range uint32(v.Conds) {
			v := rules.set[ruleKey{Kind: kind + nth*(n+1), A: a, B: b}]
			if v.Has&mask == 0 {
				continue
			}
			holds, known := rules.conds[v.Conds-1].fits(&s)
			unsure = unsure || holds && !known
			if holds && (known || v.Has&hasDeny != 0) {
				say(v, mask)
			}
		}
	}
	at := s.place
	at.path = "/"
	for part := range strings.SplitSeq(strings.TrimPrefix(s.path, "/"), "/") {
		consult(ruleTree, h.place(at), 0, hasAny)
		at.path = path.Join(at.path, part)
	}
	dir := s.place
	dir.path = path.Dir(dir.path)
	consult(ruleDir, h.place(dir), 0, hasAny)
	consult(ruleName, h.name(path.Base(s.path)), 0, hasAny)
	consult(ruleObject, s.ino, uint64(s.dev), hasAny)
	mask := uint16(hasAny)
	if s.applet != "" {
		consult(ruleName, h.name(s.applet), 0, hasAny)
		consult(ruleApplet, h.name(s.applet), 0, hasAny)
		mask = hasDeny | hasMulti
	}
	consult(ruleFile, h.place(s.place), 0, mask)
	if s.drifted == policy.ReasonFileless {
		has &^= hasAllow | hasExempt | hasWaive // no list names what has no name
	}
	if has&hasDeny != 0 && has&hasWaive == 0 {
		reasons |= policy.ReasonDenied
	} else {
		rule = 0
	}
	if c.Flags&FlagDenyDrift != 0 && s.drifted != 0 && has&hasExempt == 0 {
		if reasons == 0 {
			rule = int(c.DriftRule)
		}
		reasons |= s.drifted
	}
	if c.Flags&FlagExecListed != 0 && has&hasAllow == 0 {
		if reasons == 0 {
			rule = int(c.ListRule)
		}
		reasons |= policy.ReasonNotListed
	}
	if unsure && reasons&(policy.ReasonDenied|policy.ReasonNotListed) != 0 {
		reasons |= policy.ReasonUnknown
	}
	return reasons, rule
}

// appletOf is the name that a multi-call program called base acts under, as
// find_applet in bpf/process_judge.h reads it, and the arguments behind it; ""
// when it acts as itself.
func appletOf(base string, args []string) (applet string, rest []string) {
	for n, arg := range args {
		if n == 4 || arg == "" {
			return "", nil
		}
		if n == 0 {
			arg = strings.TrimPrefix(arg[strings.LastIndexByte(arg, '/')+1:], "-")
		} else if prog, ok := strings.CutPrefix(arg, "--coreutils-prog="); ok {
			arg = prog
		} else if arg = arg[strings.LastIndexByte(arg, '/')+1:]; strings.HasPrefix(arg, "-") {
			return "", nil
		}
		if arg == base || isMultiName(arg) {
			continue
		}
		return arg, args[n+1:]
	}
	return "", nil
}

func isMultiName(name string) bool {
	return slices.ContainsFunc(multiPrefixes, func(p string) bool {
		return strings.HasPrefix(name, p[:min(len(p), 8)])
	})
}
