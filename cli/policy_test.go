package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodPolicy = `apiVersion: gabion.dev/v1alpha1
kind: WorkloadPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  mode: Protect
  process:
    drift: Deny
    allow: [{path: /usr/bin/node, reason: the server}, {path: /bin/sh}]
    deny: [{class: miner}]
`

const learnedProfile = `apiVersion: gabion.dev/v1alpha1
kind: Profile
metadata: {name: web, namespace: shop}
spec:
  containers: 2
  firstSeen: 2026-11-01T00:00:00Z
  lastSeen: 2026-11-03T00:00:00Z
  processes: [{path: /usr/bin/node, count: 2, firstSeen: 2026-11-01T00:00:00Z, lastSeen: 2026-11-01T00:00:00Z}]
`

// TestPolicyOffline runs the commands that need no running gabion.
func TestPolicyOffline(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.yaml", goodPolicy)
	bad := write("bad.yaml", strings.Replace(goodPolicy, "mode: Protect", "mode: Potect", 1))
	changed := write("changed.yaml", strings.Replace(goodPolicy, "{path: /bin/sh}", "{path: /bin/new}", 1))
	prof := write("profile.yaml", learnedProfile)
	empty := filepath.Join(dir, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name     string
		args     []string
		in       string
		code     int
		out, err []string // each must be in the stream
		silent   bool     // nothing on standard output
	}{
		{name: "lint good", args: []string{"lint", good}, out: []string{"good.yaml:9: warning: spec.process.allow[1]: /bin/sh may run", "[allows-shell]"}, err: []string{"1 documents are valid, 0 errors, 1 warnings"}},
		{name: "lint strict", args: []string{"lint", "--strict", good}, code: ExitFailed},
		{name: "lint bad", args: []string{"lint", bad}, code: ExitFailed, out: []string{`bad.yaml:6:9: spec.mode: "Potect" is not one of Learn, Monitor, Protect (did you mean "Protect"?)`}},
		{name: "lint json", args: []string{"lint", "-o", "json", bad}, code: ExitFailed, out: []string{`"severity": "error"`, `"line": 6`, `"field": "spec.mode"`}},
		{name: "lint standard input", args: []string{"lint", "-"}, in: goodPolicy, out: []string{"standard input:9: warning"}},
		{name: "lint folder", args: []string{"lint", empty}, err: []string{"0 documents are valid"}},
		{name: "lint missing", args: []string{"lint", filepath.Join(dir, "none")}, code: ExitUsage, silent: true, err: []string{"no such file"}},
		{name: "explain", args: []string{"explain", "shop/web", good, "--label", "app=web"}, out: []string{"process is in Protect, asked for by WorkloadPolicy/shop/web", "/usr/bin/node [the server]", "spec.process.allow[0]", "every other program"}},
		{name: "explain nothing", args: []string{"explain", "shop/db", good, "--label", "app=db"}, out: []string{"no policy selects it"}},
		{name: "explain bad", args: []string{"explain", "shop/web", bad, "--label", "app=web"}, code: ExitFailed, silent: true, err: []string{"spec.mode"}},
		{name: "explain wrong name", args: []string{"explain", "web", good}, code: ExitUsage, silent: true, err: []string{"namespace/name"}},
		{name: "diff same", args: []string{"diff", good, "--against", good}, silent: true, err: []string{"no difference"}},
		{name: "diff changed", args: []string{"diff", changed, "--against", good}, code: ExitFailed, out: []string{"-      - {path: /bin/sh}", "+      - {path: /bin/new}"}},
		{name: "learn", args: []string{"learn", "shop/web", "--profile", prof}, out: []string{"- {path: /usr/bin/node} # seen 2 times", "mode: Monitor"}},
		{name: "learn other", args: []string{"learn", "shop/db", "--profile", prof}, code: ExitFailed, silent: true, err: []string{"has no Profile of shop/db"}},
		{name: "apply bad", args: []string{"apply", bad}, code: ExitFailed, silent: true, err: []string{"spec.mode"}},
		{name: "apply unreachable", args: []string{"apply", good}, code: ExitUnreachable, silent: true, err: []string{"no gabion runs here"}},
		{name: "promote wrong mode", args: []string{"promote", "WorkloadPolicy/shop/web", "Enforce"}, code: ExitUsage, silent: true, err: []string{"Learn, Monitor, Protect"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errw bytes.Buffer
			args := append([]string{"gabion", "--socket", filepath.Join(dir, "none.sock"), "policy"}, tt.args...)
			if code := Main(args, strings.NewReader(tt.in), &out, &errw); code != tt.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, tt.code, &out, &errw)
			}
			for _, want := range tt.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("standard output lacks %q:\n%s", want, &out)
				}
			}
			for _, want := range tt.err {
				if !strings.Contains(errw.String(), want) {
					t.Errorf("standard error lacks %q:\n%s", want, &errw)
				}
			}
			if tt.silent && out.Len() > 0 {
				t.Errorf("standard output has:\n%s", &out)
			}
		})
	}
}
