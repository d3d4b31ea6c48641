package kernel

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gabion-dev/gabion/policy"
)

// nameCaller tells the kernel programs what a running process is among the
// programs that start others, until it starts another program itself.
func (e *Engine) nameCaller(m *managed, r *rootfs, pid int) error {
	proc := "/proc/" + strconv.Itoa(pid)
	for range 3 {
		before, err := os.Readlink(proc + "/exe")
		if err != nil {
			return nil //nolint:nilerr // it ended
		}
		p, st, err := e.lookAt(m, r, pid)
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		if pid == m.c.PID && p.dev == 0 {
			// The runtime's own program, which waits for the start: what it
			// starts is started from outside.
			return deleteKey(e.l.maps.callers, uint32(pid))
		}
		v := callerValue{Set: m.entry.Rules}
		if st.Nlink > 0 {
			v.Bits = m.callerBits(e.h, p.subject)
		}
		threads, err := os.ReadDir(proc + "/task")
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		for _, t := range threads {
			tid, err := strconv.ParseUint(t.Name(), 10, 32)
			if err != nil {
				continue
			}
			if err := e.l.maps.callers.Put(uint32(tid), v); err != nil {
				return fmt.Errorf("name the program of task %d: %w", tid, err)
			}
		}
		if after, err := os.Readlink(proc + "/exe"); err != nil || after == before {
			return nil //nolint:nilerr // the same
		}
	}
	return nil
}

// callerBits are the bits of a program that starts others.
func (m *managed) callerBits(h hasher, s subject) (bits uint64) {
	of := func(kind uint32, a, b uint64) {
		bits |= m.set[ruleKey{Kind: ruleCaller + kind, A: a, B: b}].bits()
	}
	at := s.place
	at.path = "/"
	for part := range strings.SplitSeq(strings.TrimPrefix(s.path, "/"), "/") {
		of(ruleTree, h.place(at), 0)
		at.path = path.Join(at.path, part)
	}
	at.path = path.Dir(s.path)
	of(ruleDir, h.place(at), 0)
	of(ruleFile, h.place(s.place), 0)
	of(ruleObject, s.ino, uint64(s.dev))
	if s.applet != "" {
		of(ruleApplet, h.name(s.applet), 0)
	}
	return bits
}

// scriptOf is the file that an interpreter is given to run, as it is written,
// and whether options came before it that only a shell takes; "" when there is
// none or what it is cannot be told. It reads arguments as find_script in
// bpf/process_narrow.h does.
func scriptOf(args []string) (name string, shell bool) {
	for i, a := range args {
		if a == "--" {
			if i+1 < len(args) {
				return args[i+1], shell
			}
			return "", false
		}
		opts, isOption := strings.CutPrefix(a, "-")
		if !isOption {
			return a, shell
		}
		if opts == "" || strings.Trim(opts, "uwefxvC") != "" {
			return "", false
		}
		shell = shell || strings.Trim(opts, "uw") != ""
	}
	return "", false
}

// scriptBits are the bits of the script that a running interpreter was given.
func (m *managed) scriptBits(pid int, args []string) (bits uint64, shell bool) {
	name, shell := scriptOf(args)
	if name == "" || slices.Contains(strings.Split(name, "/"), "..") {
		return 0, false
	}
	if !path.IsAbs(name) {
		dir, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		if err != nil {
			return 0, false
		}
		if rest, ok := strings.CutPrefix(dir, m.prefix); ok {
			dir = rest
		}
		name = path.Join("/", dir, name)
	}
	name = path.Clean(name)
	for pattern, bit := range m.scripts {
		r := policy.PathRule(pattern)
		switch rest, in := cutTree(r.Path, name); {
		case r.Match == policy.MatchFile && name == r.Path,
			r.Match == policy.MatchDir && path.Dir(name) == r.Path,
			r.Match == policy.MatchTree && in && rest != "/":
			bits |= bit
		}
	}
	return bits, shell
}

// fits reports whether a condition holds of a program start, as fits in
// bpf/process_narrow.h does.
func (v *condValue) fits(s *subject) (holds, known bool) {
	if v.NUsers > 0 && !slices.Contains(v.Users[:v.NUsers], s.uid) {
		return false, true
	}
	known = true
	if v.Callers != 0 && v.Callers&s.caller == 0 {
		if s.caller&callerUnknown == 0 {
			return false, true
		}
		known = false
	}
	if v.Scripts != 0 && (v.Scripts&s.script == 0 || s.shell && v.Shell == 0) {
		return false, true
	}
	if v.HasArgs != 0 && !globArgs(v.Args[:v.ArgsLen], s.args) {
		return false, true
	}
	return true, known
}

// globArgs compares arguments with the text that argsText made.
func globArgs(pattern []byte, args []string) bool {
	var text []byte
	for _, a := range args {
		text = append(append(text, a...), 0)
	}
	at, pat, star, mark := 0, 0, 0, 0
	for {
		switch {
		case pat >= len(pattern):
			return at >= len(text)
		case pattern[pat] == globRest:
			return true
		case at >= len(text):
			return false
		case pattern[pat] == globAny:
			pat++
			star, mark = pat, at
		case pattern[pat] == text[at]:
			if text[at] == 0 {
				star = 0
			}
			at, pat = at+1, pat+1
		case star == 0 || text[mark] == 0:
			return false
		default:
			mark++
			at, pat = mark, star
		}
	}
}
