// Package ci runs the files of deploy/ci as build systems would, against a
// stand-in for gabion that notes its arguments and ends with any exit code.
//
// It does not test gabion. The one idea: what matters in these files is that no
// exit code is lost and no input becomes code, so each script meets every exit
// code and a hostile input.
package ci

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/gabion-dev/gabion/cli"
	"github.com/gabion-dev/gabion/internal/testkit"
	"github.com/gabion-dev/gabion/scan/report"
)

const root = "../../deploy/ci/"

// hostile would run a command wherever it is written into a script.
const hostile = `$(touch pwned)"; touch pwned; '` + "`touch pwned`"

// fake notes its arguments one a line, writes the files that -o FORMAT=FILE
// names, and ends with FAKE_EXIT; 1 means that it wrote nothing.
const fake = `#!/bin/sh
for a in "$@"; do printf '%s\n' "$a" >>"$FAKE_ARGS"; done
if [ "$FAKE_EXIT" != 1 ]; then
  for a in "$@"; do
    case $a in *=*) echo "report ${a%%=*}" >"${a#*=}" ;; esac
  done
fi
exit "$FAKE_EXIT"
`

// run runs a script in a new folder with the stand-in first on the PATH, and
// gives its exit code, output, the stand-in's arguments and the folder.
func run(t *testing.T, shell, script, exit string, env ...string) (code int, out string, args []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	path := "/usr/bin:/bin"
	if exit != "none" {
		if err := os.WriteFile(filepath.Join(bin, "gabion"), []byte(fake), 0o755); err != nil {
			t.Fatal(err)
		}
		path = bin + ":" + path
	}
	cmd := exec.CommandContext(t.Context(), shell, "-c", script)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + path, "HOME=" + dir, "TMPDIR=" + dir, "FAKE_EXIT=" + exit, "FAKE_ARGS=" + filepath.Join(dir, "args")}, env...)
	b, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if noted, err := os.ReadFile(filepath.Join(dir, "args")); err == nil {
		args = strings.Split(strings.TrimSuffix(string(noted), "\n"), "\n")
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Errorf("an input was run as code:\n%s", b)
	}
	return cmd.ProcessState.ExitCode(), string(b), args, dir
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(read(t, name)), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// scripts are the shell scripts of every file, by the shell that runs them.
func scripts(t *testing.T) map[string][2]string {
	t.Helper()
	var gitlab struct {
		Variables map[string]string `json:"variables"`
		Scan      struct {
			Stage     string            `json:"stage"`
			Image     map[string]any    `json:"image"`
			Variables map[string]string `json:"variables"`
			Cache     map[string]any    `json:"cache"`
			Script    []string          `json:"script"`
			Artifacts map[string]any    `json:"artifacts"`
		} `json:"gabion-scan"`
	}
	parse(t, "gitlab/gabion.gitlab-ci.yml", &gitlab)
	var tekton struct {
		Spec struct {
			Steps []struct{ Script string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "tekton/task.yaml")), &tekton); err != nil {
		t.Fatal(err)
	}
	jenkins := regexp.MustCompile(`(?s)script: '''(.*?)'''`).FindStringSubmatch(read(t, "jenkins/Jenkinsfile"))
	if len(gitlab.Scan.Script) != 1 || len(tekton.Spec.Steps) != 1 || jenkins == nil {
		t.Fatal("a file does not have the one script it should have")
	}
	return map[string][2]string{
		"github":     {"bash", read(t, "github/scan.sh")},
		"pre-commit": {"bash", read(t, "pre-commit/scan.sh")},
		"gitlab":     {"sh", gitlab.Scan.Script[0]},
		"tekton":     {"sh", tekton.Spec.Steps[0].Script},
		// Groovy takes a backslash at the end of a line in ''' for nothing.
		"jenkins": {"sh", strings.ReplaceAll(jenkins[1], "\\\n", "")},
	}
}

func needBash(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("bash")
	testkit.Require(t, "bash", err == nil, "install bash")
}

// TestExitCodes: every script ends with gabion's own exit code.
func TestExitCodes(t *testing.T) {
	needBash(t)
	for name, s := range scripts(t) {
		for code, exit := range []string{"0", "1", "2", "3"} {
			got, out, args, _ := run(t, s[0], s[1], exit, "GABION_TARGET="+hostile, "GABION_FAIL_ON=high", "RESULT_FILE=result")
			if got != code {
				t.Errorf("%s: gabion ended with %d, the script with %d:\n%s", name, code, got, out)
			}
			i := slices.Index(args, "--")
			if i < 0 || len(args) != i+2 || (name != "pre-commit" && args[i+1] != hostile) {
				t.Errorf("%s: the target did not arrive as one argument behind \"--\": %q", name, args)
			}
			if j := slices.Index(args, "--fail-on"); j < 0 || args[j+1] != "high" {
				t.Errorf("%s: no --fail-on high in %q", name, args)
			}
		}
		if got, out, _, _ := run(t, s[0], s[1], "none", "GABION_TARGET=x", "GABION_FAIL_ON=high", "RESULT_FILE=result"); got == 0 {
			t.Errorf("%s: success without gabion:\n%s", name, out)
		}
	}
}

func TestGitHub(t *testing.T) {
	needBash(t)
	script := scripts(t)["github"][1]
	for exit, want := range map[string]string{"0": "passed", "1": "error", "2": "failed", "3": "incomplete"} {
		_, _, args, dir := run(t, "bash", script, exit, "GABION_TARGET=x", "GABION_SBOM=s.json", "GABION_ALLOW_INCOMPLETE=true",
			"GABION_IGNORE_FILE=ignore.yaml", "GITHUB_OUTPUT=out", "GITHUB_STEP_SUMMARY=summary")
		out, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "result="+want+"\n") || strings.Contains(string(out), "sarif=gabion.sarif") != (exit != "1") {
			t.Errorf("exit code %s: outputs %q", exit, out)
		}
		summary, err := os.ReadFile(filepath.Join(dir, "summary"))
		if err != nil || (exit != "1" && string(summary) != "report markdown\n") {
			t.Errorf("exit code %s: summary %q, %v", exit, summary, err)
		}
		line := strings.Join(args, " ")
		for _, flag := range []string{"-o github", "-o sarif=gabion.sarif", "-o cyclonedx=s.json", "--allow-incomplete", "--ignore-file ignore.yaml"} {
			if !strings.Contains(line, flag) {
				t.Errorf("no %q in %q", flag, line)
			}
		}
	}
	if code, out, _, _ := run(t, "bash", script, "0"); code != 1 || !strings.Contains(out, "no target") {
		t.Errorf("without a target: %d, %s", code, out)
	}
}

// TestActionInputs: inputs are handed over in the environment alone.
func TestActionInputs(t *testing.T) {
	var action struct {
		Name, Description string
		Inputs            map[string]struct {
			Description, Default string
			Required             bool
		}
		Outputs map[string]struct{ Description, Value string }
		Runs    struct {
			Using string
			Steps []struct {
				ID, Shell, Run string
				Env            map[string]string
			}
		}
	}
	parse(t, "github/action.yml", &action)
	if action.Runs.Using != "composite" || len(action.Runs.Steps) == 0 {
		t.Fatal("not a composite action")
	}
	all := ""
	for _, s := range action.Runs.Steps {
		if strings.Contains(s.Run, "${{") {
			t.Errorf("an expression is written into the script: %s", s.Run)
		}
		for _, v := range s.Env {
			all += v
		}
	}
	for name := range action.Inputs {
		if !strings.Contains(all, "inputs."+name+" ") {
			t.Errorf("the input %s is used nowhere", name)
		}
	}
}

// TestTektonResult: the result of the Task follows the exit code, and no
// parameter is written into the script.
func TestTektonResult(t *testing.T) {
	script := scripts(t)["tekton"][1]
	if strings.Contains(script, "$(params") {
		t.Error("a parameter is written into the script")
	}
	for exit, want := range map[string]string{"0": "passed", "1": "error", "2": "failed", "3": "incomplete"} {
		_, _, _, dir := run(t, "sh", script, exit, "GABION_TARGET=x", "RESULT_FILE=result")
		if got, err := os.ReadFile(filepath.Join(dir, "result")); err != nil || string(got) != want {
			t.Errorf("exit code %s: %q, %v", exit, got, err)
		}
	}
}

// TestGitLabPassword: the password goes in a file that is gone afterwards, and
// never in an argument.
func TestGitLabPassword(t *testing.T) {
	word := "word" + t.Name()
	_, out, args, dir := run(t, "sh", scripts(t)["gitlab"][1], "2", "GABION_TARGET=x", "CI_REGISTRY_USER=u", "CI_REGISTRY_PASSWORD="+word)
	i := slices.Index(args, "--password-file")
	if i < 0 || strings.Contains(strings.Join(args, " ")+out, word) {
		t.Fatalf("arguments %q, output %s", args, out)
	}
	if _, err := os.Stat(args[i+1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the password is still in %s", args[i+1])
	}
	for _, f := range []string{"gl-container-scanning-report.json", "gl-sbom-gabion.cdx.json", "gabion.junit.xml"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			t.Errorf("%s is not there though the template hands it on: %v", f, err)
		}
		if !strings.Contains(read(t, "gitlab/gabion.gitlab-ci.yml"), ": "+f) {
			t.Errorf("the template does not hand %s on", f)
		}
	}
}

// TestSyntax: shells can parse every script.
func TestSyntax(t *testing.T) {
	needBash(t)
	for name, s := range scripts(t) {
		if out, err := exec.CommandContext(context.Background(), s[0], "-n", "-c", s[1]).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestFlagsExist: what the files say to gabion is what its command line knows.
func TestFlagsExist(t *testing.T) {
	var help bytes.Buffer
	if code := cli.Main([]string{"gabion", "scan", "--help"}, strings.NewReader(""), &help, &help); code != 0 {
		t.Fatalf("gabion scan --help ended with %d:\n%s", code, help.String())
	}
	var formats []string
	for _, f := range report.Formats() {
		formats = append(formats, f.Name)
	}
	n := 0
	for name, s := range scripts(t) {
		for _, m := range regexp.MustCompile(`(?:args\+?=\(|set -- |scan )[^\n]*`).FindAllString(s[1], -1) {
			for _, flag := range regexp.MustCompile(`--[a-z][a-z-]+`).FindAllString(m, -1) {
				n++
				if !regexp.MustCompile(regexp.QuoteMeta(flag) + `\b`).MatchString(help.String()) {
					t.Errorf("%s uses %s, which gabion scan does not know", name, flag)
				}
			}
			for _, o := range regexp.MustCompile(`-o "?([a-z-]+)`).FindAllStringSubmatch(m, -1) {
				n++
				if !slices.Contains(formats, o[1]) {
					t.Errorf("%s uses the format %s, which there is not", name, o[1])
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d flags and formats found: is the pattern right?", n)
	}
}
