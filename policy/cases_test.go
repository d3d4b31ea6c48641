package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const casesPolicy = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Protect
  process: {drift: Deny, allow: [{path: /usr/sbin/nginx}], deny: [{class: shell}]}
  files: [{path: /etc, access: Write, action: Deny, recursive: true}]
  capabilities: {allow: [NET_BIND_SERVICE]}
  hardening: {mode: Monitor, preset: Baseline}
  network: {egress: [{to: [{workload: {namespace: data, name: db}}], ports: [tcp/5432]}]}
---
apiVersion: gabion.dev/v1alpha1
kind: Exception
metadata: {name: debug, namespace: shop}
spec:
  selector: {}
  rules: {process: [{class: shell}]}
  owner: ops
  reason: incident
  expiresAt: 2026-12-01T00:00:00Z
---
`

// TestCases runs one case at a time: what it is, and what must be said of it
// ("" for one that passes).
func TestCases(t *testing.T) {
	files := map[string]string{
		"quiet.ndjson": `{"kind":"process.exec","path":"/usr/sbin/nginx","count":3}
{"kind":"capability.use","evidence":{"operation":"NET_BIND_SERVICE"},"count":1}
{"kind":"process.exec","path":"/bin/sh","count":1,"workload":{"namespace":"shop","name":"other"}}
`,
		"loud.json": `[{"kind":"process.exec","path":"/usr/sbin/nginx","count":1},
{"kind":"file.access","path":"/etc/passwd","count":2,"process":{"exe":"/usr/sbin/nginx"},"evidence":{"operation":"Write"}}]`,
		"denied.ndjson": `{"kind":"hardening","count":2,"process":{"exe":"/bin/x"},"evidence":{"operation":"mount"}}`,
		"silent.ndjson": `{"kind":"container.start","count":1}`,
		"broken.ndjson": `{"kind":"hardening"`,
	}
	read := func(test, file string) ([]byte, error) {
		if test != "web.yaml" {
			return nil, fmt.Errorf("read beside %s", test)
		}
		if data, ok := files[file]; ok {
			return []byte(data), nil
		}
		return nil, errors.New("no such file")
	}
	for _, tt := range []struct{ at, name, why string }{
		{"", `exec: {path: /usr/sbin/nginx}, want: Allow, rule: "spec.process.allow[0]", mode: Protect`, ""},
		{"", `exec: {path: /usr/sbin/nginx}, want: Allow, rule: "WorkloadPolicy/shop/web spec.process.allow[0]"`, ""},
		{"", `exec: {path: /usr/sbin/nginx, changed: true}, want: Deny, rule: spec.process.drift`, ""},
		{"", `exec: {path: /usr/sbin/nginx, notInImage: true}, want: Allow`, "wanted Allow, got Deny (drift), by WorkloadPolicy/shop/web spec.process.drift (web.yaml:7)"},
		{"", `exec: {path: "memfd:x", fileless: true}, want: Deny`, ""},
		{"", `exec: {path: /bin/sh}, want: Deny, rule: spec.process.allow`, "wanted the rule spec.process.allow to decide; got Deny (denied, not-listed), by WorkloadPolicy/shop/web spec.process.deny[0] (web.yaml:7)"},
		// Before its date the exception counts.
		{"2026-11-30T00:00:00Z", `exec: {path: /bin/sh}, want: Allow`, ""},
		{"2026-12-01T00:00:00Z", `exec: {path: /bin/sh}, want: Deny`, ""},
		{"", `file: {path: /etc/passwd, access: [Read, Chmod], program: /x}, want: Deny, rule: "spec.files[0]"`, ""},
		{"", `file: {path: /etc/passwd, access: Read, program: /x}, want: Allow`, ""},
		{"", `capability: CAP_NET_BIND_SERVICE, want: Allow`, ""},
		{"", `capability: SYS_ADMIN, want: Deny, mode: Protect`, ""},
		{"", `hardening: {switch: mount, program: /x}, want: Deny, mode: Protect`, "wanted mode Protect, got Monitor"},
		{"", `connect: {peer: data/db, port: tcp/5432}, want: Allow`, ""},
		{"", `connect: {peer: 10.0.0.5, port: tcp/5432}, want: Allow`, ""},
		{"", `connect: {peer: data/db, port: tcp/22}, want: Deny`, ""},
		{"", `accept: {peer: data/db, port: tcp/80}, want: Allow`, ""},
		{"", `events: quiet.ndjson, want: Allow`, ""},
		{"", `events: loud.json, want: Allow`, "1 of 2 recorded behaviours would be denied, first file.access Write of /etc/passwd by /usr/sbin/nginx (denied), by WorkloadPolicy/shop/web spec.files[0] (web.yaml:8)"},
		{"", `events: loud.json, want: Deny`, "1 of 2 recorded behaviours would be allowed"},
		{"", `events: denied.ndjson, want: Deny`, ""},
		{"", `events: silent.ndjson, want: Allow`, "no event tells of anything that these policies decide"},
		{"", `events: broken.ndjson, want: Allow`, "broken.ndjson: read event 1: unexpected EOF"},
		{"", `events: gone.ndjson, want: Allow`, "cannot be read: no such file"},
	} {
		t.Run(tt.at+tt.name, func(t *testing.T) {
			doc := `apiVersion: gabion.dev/v1alpha1
kind: PolicyTest
metadata: {name: web, namespace: shop}
spec:
  container: {workload: web, labels: {app: web}}
  peers: [{namespace: data, workload: db, addresses: [10.0.0.5]}]
  cases:
    - {` + tt.name + "}\n"
			if tt.at != "" {
				doc += "  at: " + tt.at + "\n"
			}
			set, errs := Load([]File{{"web.yaml", []byte(casesPolicy + doc)}})
			if len(errs) > 0 {
				t.Fatal(errs[0])
			}
			got := RunTests(set, someDay.AddDate(1, 0, 0), read)
			if len(got) != 1 || got[0].Why != tt.why || got[0].Pass != (tt.why == "") {
				t.Errorf("got %+v\nwant %q", got, tt.why)
			}
			if got[0].Line != 30 || got[0].File != "web.yaml" || got[0].Test != "PolicyTest/shop/web" || got[0].Name == "" {
				t.Errorf("the case is at %s:%d of %s, named %q", got[0].File, got[0].Line, got[0].Test, got[0].Name)
			}
		})
	}
}

func TestCasesOfNobody(t *testing.T) {
	set, errs := Load([]File{{"web.yaml", []byte(casesPolicy + `apiVersion: gabion.dev/v1alpha1
kind: PolicyTest
metadata: {name: web, namespace: shop}
spec:
  container: {workload: web, labels: {app: wbe}}
  cases: [{capability: CHOWN, want: Allow}]
`)}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	got := RunTests(set, someDay, nil)
	if len(got) != 1 || got[0].Pass || !strings.HasPrefix(got[0].Why, "no policy given selects") {
		t.Errorf("a test that selects nothing passes: %+v", got)
	}
	_, errs = Load([]File{{"a.yaml", []byte(`{apiVersion: gabion.dev/v1alpha1, kind: PolicyTest, metadata: {name: a}, spec: {container: {}, cases: [{hardening: {switch: mont, program: /x}, want: Deny}]}}`)}})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), `spec.cases[0].hardening.switch: "mont" is not a switch of hardening (did you mean "mount"?)`) {
		t.Errorf("errors %v", errs)
	}
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte(`[{"kind":"hardening"}]`))
	f.Add([]byte("{\"kind\":\"process.exec\",\"path\":\"/x\"}\n{}"))
	set, _ := Load([]File{{"web.yaml", []byte(casesPolicy + "apiVersion: gabion.dev/v1alpha1\nkind: PolicyTest\nmetadata: {name: a, namespace: shop}\nspec: {container: {labels: {app: web}}, cases: [{events: x, want: Allow}]}\n")}})
	f.Fuzz(func(t *testing.T, data []byte) {
		got := RunTests(set, someDay, func(string, string) ([]byte, error) { return data, nil })
		if len(got) != 1 || got[0].Pass != (got[0].Why == "") {
			t.Fatalf("%+v", got)
		}
	})
}
