package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/workload"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzCompile loads any file and compiles it; whatever loads must compile to a
// plan that is stable, complete and no looser than without exceptions.
func FuzzCompile(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txt")
	for _, p := range paths {
		ar, err := txtar.ParseFile(p)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range ar.Files {
			if strings.HasSuffix(file.Name, ".yaml") {
				f.Add(file.Data)
			}
		}
	}
	containers := []workload.Container{
		{ID: "1", Name: "web", Workload: workload.Ref{Namespace: "shop", Name: "web"}, Labels: map[string]string{"app": "web"}},
		{ID: "2", Name: "db", Workload: workload.Ref{Namespace: "data", Name: "db"}, Image: "postgres:17"},
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, _ := Load([]File{{"fuzz.yaml", data}})
		bare := *set
		bare.exceptions = nil
		for i := range containers {
			c := &containers[i]
			plan := set.Compile(c, someDay)
			if plan == nil {
				continue
			}
			if again := set.Compile(c, someDay); again.ID != plan.ID {
				t.Fatal("compiled twice, two plans")
			}
			raw, err := json.Marshal(plan)
			if err != nil {
				t.Fatal(err)
			}
			var back Plan
			if err := json.Unmarshal(raw, &back); err != nil || planID(&back) != plan.ID {
				t.Fatalf("plan does not survive JSON: %v", err)
			}
			for _, text := range plan.Texts() {
				if text.Rule.Policy == "" || text.Rule.Line == 0 {
					t.Fatalf("rule without a place: %+v", text)
				}
			}
			strict := bare.Compile(c, someDay)
			for _, e := range []Exec{
				{Path: "/bin/sh", InImage: true}, {Path: "/usr/bin/node", InImage: true}, {Path: "/tmp/x"}, {Fileless: true},
			} {
				if p := plan.Process; p != nil && p.Decide(e).Deny && !strict.Process.Decide(e).Deny {
					t.Fatalf("an exception forbids %+v", e)
				}
			}
			for _, a := range []string{"10.0.0.1", "169.254.169.254", "203.0.113.1", "2001:db8::1"} {
				conn := Conn{Peer: netip.MustParseAddr(a), Protocol: 6, Port: 443}
				if n := plan.Network; n != nil && n.Decide(conn, nil).Deny && !strict.Network.Decide(conn, nil).Deny {
					t.Fatalf("an exception forbids %+v", conn)
				}
			}
			for _, u := range append(uses(), use{"/etc/shadow", "/usr/bin/login", AccessRead}, use{"/etc/nginx/x", "/usr/bin/vi", AccessModify}) {
				if !judge(plan.Files, u) && judge(strict.Files, u) {
					t.Fatalf("an exception forbids %+v", u)
				}
			}
			for n := range 64 {
				if p := plan.Capabilities; p != nil && p.Decide(n).Deny && !strict.Capabilities.Decide(n).Deny {
					t.Fatalf("an exception forbids capability %d", n)
				}
			}
			for s := range NumSwitches {
				by := Exec{Path: "/usr/bin/gdb", InImage: true}
				if p := plan.Hardening; p != nil && p.Decide(s, by).Deny && !strict.Hardening.Decide(s, by).Deny {
					t.Fatalf("an exception forbids %s", s)
				}
			}
			Explain(set, c, someDay).Text()
		}
		Lint(set, containers, someDay)
		if _, err := Diff(set, &bare, containers, someDay); err != nil {
			t.Fatal(err)
		}
	})
}

// many makes a set of n policies over 100 namespaces.
func many(tb testing.TB, n int) *Set {
	var files []File
	for i := range n {
		files = append(files, File{fmt.Sprintf("p%d.yaml", i), []byte(fmt.Sprintf(`apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: p%d, namespace: ns%d}
spec:
  selector: {matchLabels: {app: app%d}}
  mode: Protect
  process:
    drift: Deny
    allow: [{path: /usr/bin/node}, {path: /opt/app/**}, {path: /usr/bin/p%d}]
    deny: [{class: shell}, {class: package-manager}]
  network:
    egress: [{to: [{cidr: 10.0.0.0/8}, {entity: Internet}], ports: [tcp/443]}]
`, i, i%100, i%7, i))})
	}
	set, errs := Load(files)
	if len(errs) > 0 {
		tb.Fatal(errs[0])
	}
	return set
}

func fleet(n int) []workload.Container {
	var out []workload.Container
	for i := range n {
		out = append(out, workload.Container{
			ID: fmt.Sprint(i), Name: "c", Workload: workload.Ref{Namespace: fmt.Sprintf("ns%d", i%100), Name: fmt.Sprintf("w%d", i)},
			Labels: map[string]string{"app": fmt.Sprintf("app%d", i%7)},
		})
	}
	return out
}

func TestThousandPolicies(t *testing.T) {
	set, containers := many(t, 1000), fleet(300)
	covered := 0
	for i := range containers {
		if plan := set.Compile(&containers[i], someDay); plan != nil {
			covered++
			if !plan.Process.Decide(Exec{Path: "/bin/sh", InImage: true}).Deny {
				t.Fatal("a shell may run")
			}
		}
	}
	if covered < 100 {
		t.Errorf("only %d containers are covered", covered)
	}
}

// BenchmarkCompile is 300 containers against 1,000 policies, beside 100
// policies: ten times the policies must not cost a hundred times as much.
func BenchmarkCompile(b *testing.B) {
	containers := fleet(300)
	for _, n := range []int{100, 1000} {
		set := many(b, n)
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			for b.Loop() {
				for i := range containers {
					set.Compile(&containers[i], someDay)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		many(b, 1000)
	}
}

func BenchmarkDecide(b *testing.B) {
	set := many(b, 1000)
	c := fleet(1)[0]
	plan := set.Compile(&c, someDay)
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			plan.Process.Decide(Exec{Path: "/opt/app/bin/tool", InImage: true})
		}
	})
	conn := Conn{Peer: netip.MustParseAddr("203.0.113.1"), Protocol: 6, Port: 443}
	b.Run("connect", func(b *testing.B) {
		for b.Loop() {
			plan.Network.Decide(conn, nil)
		}
	})
}

func ExampleSet_Compile() {
	set, errs := Load([]File{{Name: "checkout.yaml", Data: []byte(`
apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: checkout, namespace: shop}
spec:
  selector: {matchLabels: {app: checkout}}
  mode: Protect
  process:
    drift: Deny
    allow: [{path: /usr/bin/node}]
    deny: [{class: shell}]
`)}})
	if len(errs) > 0 {
		fmt.Println(errs[0])
		return
	}
	container := &workload.Container{
		Workload: workload.Ref{Namespace: "shop", Name: "checkout"},
		Labels:   map[string]string{"app": "checkout"},
	}
	plan := set.Compile(container, time.Now())
	d := plan.Process.Decide(Exec{Path: "/bin/sh", InImage: true})
	rule := plan.Rules[d.Rule]
	fmt.Println(d.Deny, d.Reasons, rule.Field, rule.Line)
	// Output: true denied+not-listed spec.process.deny[0] 11
}

func ExampleLearn() {
	docs, _ := v1alpha1.Decode("profile.yaml", []byte(`
apiVersion: gabion.dev/v1alpha1
kind: Profile
metadata: {name: cache, namespace: shop}
spec:
  containers: 2
  firstSeen: 2026-11-01T00:00:00Z
  lastSeen: 2026-11-03T00:00:00Z
  processes:
    - {path: /usr/bin/redis-server, count: 2, firstSeen: 2026-11-01T00:00:00Z, lastSeen: 2026-11-01T00:00:00Z}
`))
	learned, err := Learn(docs[0].Object.(*v1alpha1.Profile), LearnOptions{NoNetwork: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(learned.Policy.Spec.Process.Allow), "program,", len(learned.Policy.Spec.Process.Deny), "classes denied")
	// Output: 1 program, 11 classes denied
}

// TestHostilePolicies checks that lists made to multiply stay bounded.
func TestHostilePolicies(t *testing.T) {
	var wide, narrow, denies, waived strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&wide, "- {ports: [tcp/%d-65535]}\n    ", i+1)
		fmt.Fprintf(&narrow, "- {ports: [tcp/1-%d]}\n    ", 40000+i)
		fmt.Fprintf(&waived, "- {to: [{cidr: 10.%d.%d.1}], ports: [tcp/%d]}\n    ", i/250, i%250, i+1)
	}
	for i := range 20 {
		fmt.Fprintf(&denies, "- {to: [{entity: Any}], ports: [tcp/%d-65535]}\n      ", i+1)
	}
	set, errs := Load([]File{{"a.yaml", []byte(`
apiVersion: gabion.dev/v1alpha1
kind: ClusterWorkloadPolicy
metadata: {name: a}
spec:
  selector: {}
  network:
    egress:
    ` + wide.String() + `
    deny:
      egress:
      ` + denies.String() + `
---
apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: b, namespace: shop}
spec:
  selector: {}
  network:
    egress:
    ` + narrow.String() + `
---
apiVersion: gabion.dev/v1alpha1
kind: Exception
metadata: {name: c}
spec:
  selector: {}
  owner: o
  reason: r
  expiresAt: 2030-01-01T00:00:00Z
  rules:
    egress:
    ` + waived.String() + `
`)}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	c := &workload.Container{Workload: workload.Ref{Namespace: "shop", Name: "web"}}
	plan, notes := set.compile(c, someDay)
	if n := len(plan.Network.Egress); n > 3*maxDerived {
		t.Errorf("%d rules", n)
	}
	if len(notes) == 0 {
		t.Error("rules were left out and nothing says so")
	}
	if !plan.Network.Decide(Conn{Peer: netip.MustParseAddr("192.0.2.1"), Protocol: 6, Port: 443}, nil).Deny {
		t.Error("what was left out is allowed")
	}
}

func TestNothingLeftOpen(t *testing.T) {
	// A path of 4,000 bytes is fine, one part over 255 is not.
	long := "/" + strings.Repeat(strings.Repeat("d", 199)+"/", 19) + strings.Repeat("f", 199)
	doc := func(path string) []byte {
		return []byte("{apiVersion: gabion.dev/v1alpha1, kind: WorkloadPolicy, metadata: {name: a}, spec: {selector: {}, process: {allow: [{path: " + path + "}]}}}")
	}
	if _, errs := Load([]File{{"a.yaml", doc(long)}}); len(errs) > 0 {
		t.Errorf("a path of %d bytes is refused: %v", len(long), errs[0])
	}
	if _, errs := Load([]File{{"a.yaml", doc("/" + strings.Repeat("x", 4000))}}); len(errs) == 0 {
		t.Error("a name of 4,000 bytes is accepted")
	}
	if _, errs := Load([]File{{"big.yaml", make([]byte, v1alpha1.MaxFileBytes+1)}}); len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than the limit") {
		t.Errorf("a file over the limit: %v", errs)
	}
}
