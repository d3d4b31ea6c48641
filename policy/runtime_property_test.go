package policy

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

// glob is what a pattern of an argument means, said as simply as possible.
func glob(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	for i := len(first); i <= len(s); i++ {
		if glob(rest, s[i:]) {
			return true
		}
	}
	return false
}

func argsMatch(patterns, args []string) bool {
	fixed, open := rest(patterns)
	if len(args) < len(fixed) || !open && len(args) != len(fixed) {
		return false
	}
	for i := range fixed {
		if !glob(fixed[i], args[i]) {
			return false
		}
	}
	return true
}

// begun is a start that the conditions of a rule are about.
func begun(t *rapid.T) *Exec {
	return &Exec{
		Path: "/x", InImage: true,
		Args:   rapid.SliceOfN(rapid.SampledFrom([]string{"a", "ab", "", "b"}), 0, 3).Draw(t, "args"),
		Parent: rapid.SampledFrom([]string{"", "/a/x", "/a/b/x", "/b"}).Draw(t, "parent"),
		Script: rapid.SampledFrom([]string{"", "/s/x", "/s/y/z"}).Draw(t, "script"),
		UID:    rapid.Uint32Range(0, 3).Draw(t, "user"),
	}
}

func drawConditions(t *rapid.T, label string) ExecRule {
	r := ExecRule{Match: MatchFile, Path: "/x"}
	list := func(name string, from ...string) []string {
		if rapid.Bool().Draw(t, label+name+"?") {
			return nil
		}
		return rapid.SliceOfN(rapid.SampledFrom(from), 1, 2).Draw(t, label+name)
	}
	r.Parents = list("parents", Entrypoint, "/a/x", "/a/*", "/a/**", "/b")
	r.Scripts = list("scripts", "/s/x", "/s/*", "/s/**")
	r.Args = list("args", "a", "*", "a*", "", "b")
	if r.Args != nil && rapid.Bool().Draw(t, label+"open") {
		r.Args = append(r.Args, "**")
	}
	if rapid.Bool().Draw(t, label+"users?") {
		r.Users = rapid.SliceOfN(rapid.Uint32Range(0, 2), 1, 2).Draw(t, label+"users")
	}
	return r
}

func TestConditionSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawConditions(t, "a"), drawConditions(t, "b")
		both, ok := a.intersect(&b)
		for range 8 {
			e := begun(t)
			inA, inB := a.matches(e), b.matches(e)
			if a.Args != nil && argumentsMatch(a.Args, e.Args) != argsMatch(a.Args, e.Args) {
				t.Fatalf("%q and %q: the evaluator says %v", a.Args, e.Args, argumentsMatch(a.Args, e.Args))
			}
			if a.covers(&b) && inB && !inA {
				t.Fatalf("%v covers %v, yet not %+v", &a, &b, e)
			}
			if ok && both.matches(e) && !(inA && inB) {
				t.Fatalf("%v and %v give %v, which has %+v and is not in both", &a, &b, &both, e)
			}
		}
		if !a.covers(&a) {
			t.Fatalf("%v does not cover itself", &a)
		}
		if a.key() == b.key() && a.String() != b.String() {
			t.Fatalf("%v and %v have one key", &a, &b)
		}
	})
}

// What two conditions have in common must not be lost where it can be said.
func TestConditionsBoth(t *testing.T) {
	for _, tt := range []struct{ a, b, want []string }{
		{[]string{"a", "*"}, []string{"*", "b"}, []string{"a", "b"}},
		{[]string{"a", "**"}, []string{"*", "b"}, []string{"a", "b"}},
		{[]string{"**"}, []string{"b", "**"}, []string{"b", "**"}},
		{[]string{}, []string{"**"}, []string{}},
		{[]string{"a"}, []string{"b"}, nil},
		{[]string{"a", "b"}, []string{"a"}, nil},
		{[]string{"a*"}, []string{"*b"}, nil}, // more than one pattern can say
	} {
		if got, ok := argsBoth(tt.a, tt.b); ok != (tt.want != nil) || ok && !slices.Equal(got, tt.want) {
			t.Errorf("%q and %q give %q %v, want %q", tt.a, tt.b, got, ok, tt.want)
		}
	}
}

var filePaths = []string{"/", "/a", "/a/f", "/a/b", "/a/b/f", "/ab", "/c/f"}

func drawFileRule(t *rapid.T, label string) v1alpha1.FileRule {
	r := v1alpha1.FileRule{
		Path:   rapid.SampledFrom([]string{"/a", "/a/f", "/a/*", "/a/**", "/a/b/**", "/a/b/f", "/**", "/*"}).Draw(t, label+" path"),
		Access: rapid.SliceOfNDistinct(rapid.SampledFrom([]v1alpha1.AccessWord{"Read", "Write", "Delete"}), 1, 2, rapid.ID).Draw(t, label+" access"),
		Action: rapid.SampledFrom([]v1alpha1.Action{"", "Allow", "Deny"}).Draw(t, label+" action"),
	}
	if rapid.Bool().Draw(t, label+" by?") {
		r.By = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"/bin/x", "/bin/y", "/bin/*"}), 1, 2, rapid.ID).Draw(t, label+" by")
	}
	return r
}

func resolved(r v1alpha1.FileRule) FileRule {
	one := (&resolver{doc: &v1alpha1.Document{}}).file("", r.Path, r.Recursive, r.Access, r.By, "")
	one.Deny = r.Action == v1alpha1.Deny
	return one.FileRule
}

// use is one bit of access by one program.
type use struct {
	path, by string
	access   Access
}

func (r *FileRule) has(u use) bool {
	return r.holds(u.path) && r.Access&u.access != 0 &&
		(len(r.By) == 0 || slices.ContainsFunc(r.By, func(b ExecRule) bool { return b.Path == u.by || b.holds(u.by) }))
}

func uses() []use {
	var out []use
	for _, p := range filePaths {
		for _, a := range []Access{AccessRead, AccessModify, AccessDelete} {
			for _, by := range []string{"/bin/x", "/bin/y", "/bin/z", "/sbin/x"} {
				out = append(out, use{p, by, a})
			}
		}
	}
	return out
}

func TestFileSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := resolved(drawFileRule(t, "a")), resolved(drawFileRule(t, "b"))
		match, place, meet := a.common(&b)
		both := FileRule{Match: match, Path: place}
		for _, u := range uses() {
			if a.spans(&b) && b.has(u) && !a.has(u) {
				t.Fatalf("%v spans %v, yet not %v", &a, &b, u)
			}
			if a.has(u) && b.has(u) && !a.overlaps(&b) {
				t.Fatalf("%v and %v both have %v, yet do not overlap", &a, &b, u)
			}
			if got, want := meet && both.holds(u.path), a.holds(u.path) && b.holds(u.path); got != want {
				t.Fatalf("%s is in the common place of %v and %v: %v, want %v", u.path, &a, &b, got, want)
			}
		}
	})
}

// judge is what the documentation of FilesPlan says, rule by rule.
func judge(p *FilesPlan, u use) bool {
	if p == nil {
		return true
	}
	any := func(of func(*FileRule) bool, has func(*FileRule) bool) bool {
		return slices.ContainsFunc(p.Rules, func(r FileRule) bool { return of(&r) && has(&r) })
	}
	if any(func(r *FileRule) bool { return r.Deny }, func(r *FileRule) bool { return r.has(u) }) &&
		!slices.ContainsFunc(p.Waive, func(r FileRule) bool { return r.has(u) }) {
		return false
	}
	for _, ceiling := range []bool{true, false} {
		of := func(r *FileRule) bool { return !r.Deny && r.Ceiling == ceiling }
		guarded := any(of, func(r *FileRule) bool { return r.holds(u.path) && r.Access&u.access != 0 })
		if guarded && !any(of, func(r *FileRule) bool { return r.has(u) }) {
			return false
		}
	}
	return true
}

// set makes a Set of policies of both scopes and exceptions, as if from files.
func drawSet(t *rapid.T, cluster, namespaced, exceptions int) []v1alpha1.Object {
	var out []v1alpha1.Object
	spec := func(label string) v1alpha1.WorkloadPolicySpec {
		s := v1alpha1.WorkloadPolicySpec{}
		for range rapid.IntRange(0, 3).Draw(t, label+" files") {
			r := drawFileRule(t, label)
			// The opposite of the same in one policy is refused.
			if !slices.ContainsFunc(s.Files, func(o v1alpha1.FileRule) bool {
				return o.Path == r.Path && slices.Equal(o.Access, r.Access) && slices.Equal(o.By, r.By)
			}) {
				s.Files = append(s.Files, r)
			}
		}
		caps := []string{"CHOWN", "NET_RAW", "SYS_ADMIN", "KILL"}
		if rapid.Bool().Draw(t, label+" capabilities?") {
			s.Capabilities = &v1alpha1.CapabilitiesSpec{Allow: rapid.SliceOfNDistinct(rapid.SampledFrom(caps), 0, 3, rapid.ID).Draw(t, label+" capabilities")}
		}
		if rapid.Bool().Draw(t, label+" hardening?") {
			s.Hardening = &v1alpha1.HardeningSpec{
				Preset: rapid.SampledFrom([]v1alpha1.HardeningPreset{"", v1alpha1.Baseline, v1alpha1.Restricted}).Draw(t, label+" preset"),
				Deny:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"mount", "ptrace"}), 0, 2, rapid.ID).Draw(t, label+" deny"),
			}
			if s.Hardening.Preset != "" {
				s.Hardening.Allow = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"bpf", "chroot"}), 0, 2, rapid.ID).Draw(t, label+" allow")
			}
			if rapid.Bool().Draw(t, label+" exempt?") {
				s.Hardening.Exempt = []v1alpha1.HardeningExemption{{
					Switch: rapid.SampledFrom([]string{"mount", "ptrace", "bpf"}).Draw(t, label+" switch"),
					By:     []string{rapid.SampledFrom([]string{"/bin/x", "/bin/*"}).Draw(t, label+" exempt")},
				}}
			}
		}
		return s
	}
	name := func(prefix string, i int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: prefix + string(rune('a'+i))}
	}
	for i := range cluster {
		out = append(out, &v1alpha1.ClusterWorkloadPolicy{ObjectMeta: name("c", i), Spec: spec("cluster")})
	}
	for i := range namespaced {
		p := &v1alpha1.WorkloadPolicy{ObjectMeta: name("n", i), Spec: spec("namespaced")}
		p.Namespace = "shop"
		out = append(out, p)
	}
	for i := range exceptions {
		e := &v1alpha1.Exception{ObjectMeta: name("e", i), Spec: v1alpha1.ExceptionSpec{
			Selector: &v1alpha1.Selector{}, Owner: "o", Reason: "r", ExpiresAt: metav1.NewTime(someDay.Add(time.Hour)),
		}}
		if rapid.Bool().Draw(t, "exception's scope") {
			e.Namespace = "shop"
		}
		r := drawFileRule(t, "exception")
		e.Spec.Rules.Files = []v1alpha1.FileWaiver{{Path: r.Path, Access: r.Access, By: r.By}}
		e.Spec.Rules.Capabilities = []string{rapid.SampledFrom([]string{"CHOWN", "KILL"}).Draw(t, "exception's capability")}
		w := v1alpha1.HardeningWaiver{Switch: rapid.SampledFrom([]string{"mount", "ptrace"}).Draw(t, "exception's switch")}
		if rapid.Bool().Draw(t, "exception's by") {
			w.By = []string{"/bin/x"}
		}
		e.Spec.Rules.Hardening = []v1alpha1.HardeningWaiver{w}
		out = append(out, e)
	}
	return out
}

func compileObjects(t *rapid.T, objects []v1alpha1.Object) *Plan {
	var files []File
	for _, o := range objects {
		raw, err := v1alpha1.Encode(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: path.Base(v1alpha1.ID(o)), Data: raw})
	}
	set, errs := Load(files)
	for _, err := range errs {
		t.Fatal(err)
	}
	return set.Compile(&workload.Container{Workload: workload.Ref{Namespace: "shop", Name: "web"}}, someDay)
}

// verdicts gives every verdict of a plan that the properties are about.
func verdicts(t *rapid.T, p *Plan) []bool {
	var out []bool
	if p == nil {
		p = &Plan{}
	}
	for _, u := range uses() {
		allowed := judge(p.Files, u)
		if p.Files != nil && p.Files.Decide(FileUse{Path: u.path, Access: u.access, Exec: Exec{Path: u.by, InImage: true}}).Deny == allowed {
			t.Fatalf("of %+v the evaluator says %v and the documentation of FilesPlan %v", u, !allowed, allowed)
		}
		out = append(out, allowed)
	}
	for n := range len(v1alpha1.CapabilityNames()) + 1 {
		out = append(out, p.Capabilities == nil || !p.Capabilities.Decide(n).Deny)
	}
	for s := range NumSwitches {
		for _, by := range []string{"/bin/x", "/bin/y", "/sbin/x"} {
			out = append(out, p.Hardening == nil || !p.Hardening.Decide(s, Exec{Path: by, InImage: true}).Deny)
		}
	}
	return out
}

// noLooser fails when merged allows something that strict does not.
func noLooser(t *rapid.T, what string, strict, merged *Plan) {
	a, b := verdicts(t, strict), verdicts(t, merged)
	for i := range a {
		if b[i] && !a[i] {
			t.Fatalf("%s: verdict %d is denied by\n%v\nand allowed by\n%v", what, i, strict.Texts(), merged.Texts())
		}
	}
}

func TestMergeNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawSet(t, rapid.IntRange(1, 2).Draw(t, "clusters"), rapid.IntRange(1, 2).Draw(t, "namespaced"), rapid.IntRange(0, 2).Draw(t, "exceptions"))
		pick := func(keep func(v1alpha1.Object) bool) *Plan {
			return compileObjects(t, slices.DeleteFunc(slices.Clone(all), func(o v1alpha1.Object) bool { return !keep(o) }))
		}
		is := func(kind string) func(o v1alpha1.Object) bool {
			return func(o v1alpha1.Object) bool { return strings.Contains(v1alpha1.ID(o), kind+"/") }
		}
		exception, clusterPolicy, policy := is("Exception"), is("ClusterWorkloadPolicy"), is("WorkloadPolicy")
		merged := pick(func(v1alpha1.Object) bool { return true })
		bare := pick(func(o v1alpha1.Object) bool { return !exception(o) })

		noLooser(t, "exceptions only loosen", merged, bare)
		clusterOnly := pick(clusterPolicy)
		noLooser(t, "a namespaced policy never loosens cluster scope", clusterOnly, bare)
		noLooser(t, "cluster scope never loosens a namespace", pick(func(o v1alpha1.Object) bool { return policy(o) && !clusterPolicy(o) }), bare)
		noLooser(t, "an exception of a namespace never loosens cluster scope",
			pick(func(o v1alpha1.Object) bool { return clusterPolicy(o) || exception(o) && o.GetNamespace() == "" }), merged)
		for _, o := range all {
			// One more policy never takes a deny away.
			if !exception(o) {
				one := pick(func(x v1alpha1.Object) bool { return x == o })
				if one != nil && one.Files != nil {
					one.Files.Rules = slices.DeleteFunc(one.Files.Rules, func(r FileRule) bool { return !r.Deny })
					one.Capabilities, one.Hardening = nil, nil
					noLooser(t, "a deny wins", one, bare)
				}
			}
		}
	})
}
