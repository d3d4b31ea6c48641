package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/policy"
)

func TestFileLayouts(t *testing.T) {
	for _, tt := range []struct {
		what string
		v    any
		size int
	}{
		{"plan", filePlan{}, 40}, {"rule key", fileRuleKey{}, 24}, {"rule", fileRule{}, 64}, {"state", fileState{}, 16},
		{"detail", fileDetail{}, fileDetailFixed + pathBuf},
	} {
		if got := binary.Size(tt.v); got != tt.size {
			t.Errorf("%s: %d bytes, want %d", tt.what, got, tt.size)
		}
	}
}

func TestFileEntries(t *testing.T) {
	s := &fileSet{rules: map[fileRuleKey][]clause{}}
	for i := range 16 {
		s.add(fileTree, 1, 2, clause{Rule: uint16(i)})
	}
	s.add(fileTree, 1, 2, clause{Rule: 3}) // said already
	out := s.entries(9)
	if len(out) != 3 {
		t.Fatalf("%d parts", len(out))
	}
	for i, n := range []uint32{7, 7, 2} {
		r := out[fileRuleKey{Set: 9, Kind: uint32(fileTree + i*fileChunk), A: 1, B: 2}]
		if r.N != n || (r.More == 1) != (i < 2) || r.C[0].Rule != uint16(7*i) {
			t.Errorf("part %d: %+v", i, r)
		}
	}
}

func ownRoot(t testing.TB) *rootfs {
	t.Helper()
	r, err := openRoot(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFilesTooLarge(t *testing.T) {
	r := ownRoot(t)
	defer r.Close()
	var programs, same policy.FilesPlan
	for i := range 64 {
		programs.Rules = append(programs.Rules, policy.FileRule{Match: policy.MatchFile, Path: fmt.Sprint("/x", i), Access: 1, By: []policy.ExecRule{file(fmt.Sprint("/p", i))}})
		same.Rules = append(same.Rules, policy.FileRule{Rule: i, Match: policy.MatchFile, Path: "/x", Access: 1})
	}
	if _, _, err := compileFiles(r, hasher{}, &programs); !errors.Is(err, ErrTooManyPrograms) {
		t.Errorf("programs: %v", err)
	}
	if _, _, err := compileFiles(r, hasher{}, &same); !errors.Is(err, ErrTooManyFileRules) {
		t.Errorf("one place: %v", err)
	}
	if _, _, err := compileFiles(r, hasher{}, &policy.FilesPlan{Rules: []policy.FileRule{{Rule: 1 << 16, Match: policy.MatchFile, Path: "/x"}}}); !errors.Is(err, ErrTooManyRules) {
		t.Errorf("rule number: %v", err)
	}
}

// Every procfs is one place, and its numbers name no object.
func TestFilesProc(t *testing.T) {
	r := ownRoot(t)
	defer r.Close()
	h := hasher{1, 2}
	set, unmatched, err := compileFiles(r, h, &policy.FilesPlan{Rules: []policy.FileRule{{Rule: 1, Match: policy.MatchTree, Path: "/proc/sys", Access: policy.AccessWrite, Deny: true}}})
	if err != nil || len(unmatched) != 0 {
		t.Fatal(err, unmatched)
	}
	if set.rules[fileRuleKey{Kind: fileTree, A: h.place(place{dev: procDev, path: "/sys"})}] == nil {
		t.Errorf("rules: %+v", set.rules)
	}
	for k := range set.rules {
		if k.Kind == fileDirObj {
			t.Errorf("an object of procfs: %+v", k)
		}
	}
}

func TestNeededFileHooks(t *testing.T) {
	plan := func(mode v1alpha1.Mode, a ...policy.Access) *policy.FilesPlan {
		p := &policy.FilesPlan{Mode: mode}
		for _, x := range a {
			p.Rules = append(p.Rules, policy.FileRule{Access: x})
		}
		return p
	}
	if got := neededFileHooks(nil); got != nil {
		t.Errorf("no section: %v", got)
	}
	read := neededFileHooks(plan(v1alpha1.Protect, policy.AccessRead))
	if !slices.Contains(read, hookOpen) || !slices.Contains(read, hookRename) || slices.Contains(read, hookChmod) || slices.Contains(read, hookMapFile) {
		t.Errorf("read: %v", read)
	}
	if got := neededFileHooks(plan(v1alpha1.Protect, policy.AccessAppend)); !slices.Contains(got, hookFcntl) {
		t.Errorf("append alone: %v", got)
	}
	if got := neededFileHooks(plan(v1alpha1.Protect, policy.AccessWrite)); slices.Contains(got, hookFcntl) || !slices.Contains(got, hookChmod) {
		t.Errorf("write: %v", got)
	}
	if got := neededFileHooks(plan(v1alpha1.Learn)); !slices.Contains(got, hookOpen) || !slices.Contains(got, hookUnlink) {
		t.Errorf("learn: %v", got)
	}
}

// Whatever the rules, they compile to something that fits, or to an error.
func FuzzCompileFiles(f *testing.F) {
	f.Add("/etc", "/usr/bin/x", uint16(3), uint8(0), true)
	f.Add("/proc/self", "/", uint16(511), uint8(2), false)
	f.Add("/../../x//y", "relative", uint16(0), uint8(1), true)
	f.Fuzz(func(t *testing.T, name, by string, access uint16, match uint8, deny bool) {
		r := ownRoot(t)
		defer r.Close()
		m := []policy.Match{policy.MatchFile, policy.MatchDir, policy.MatchTree, policy.MatchNames, "odd"}
		p := &policy.FilesPlan{Rules: []policy.FileRule{{
			Rule: 1, Deny: deny, Match: m[int(match)%len(m)], Path: name, Access: policy.Access(access),
			By: []policy.ExecRule{{Match: m[int(match>>4)%len(m)], Path: by, Names: []string{by}}},
		}}}
		set, _, err := compileFiles(r, hasher{1, 2}, p)
		if err != nil {
			return
		}
		for k, e := range set.entries(7) {
			if k.Set != 7 || e.N == 0 || e.N > clausesPerRule {
				t.Errorf("%+v: %+v", k, e)
			}
		}
	})
}

// What comes from a ring is never trusted to be whole.
func FuzzParseFileSeen(f *testing.F) {
	whole := make([]byte, 8+fileDetailFixed+pathBuf)
	binary.LittleEndian.PutUint32(whole, recFile)
	f.Add(whole)
	f.Add(whole[:8+fileDetailFixed])
	f.Add([]byte{recFile, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, d, ok := parseFileSeen(raw)
		if ok && (int(d.PathLen) > pathBuf || d.ExeLen > pathBuf) {
			t.Errorf("%+v", d)
		}
	})
}
