package cli_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gabion-dev/gabion/cli"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/scenario"
)

var update = flag.Bool("update", false, "write what the commands print into the golden parts of testdata/script")

// TestMain makes this binary be gabion where a script, or a canary of gabion
// itself (which is started as /proc/self/exe), asks for it.
func TestMain(m *testing.M) {
	gabion := func() {
		minicontainer.Init()
		if scenario.Main(os.Args) {
			return
		}
		os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){"gabion": gabion, "exe": gabion})
}

// TestScripts runs the command line as people and scripts do. Besides the
// commands of testscript there are:
//
//	code N gabion ...     the exit code must be N
//	json stdout|stderr|FILE [lines]   it must be JSON (one value, or one per line)
//	plain stdout|stderr   no control character but line ends
//	[uid0]                this is root
//	fill FILE BYTES TEXT [HEAD]   FILE is HEAD, then TEXT over and over up to BYTES
//	sample                        write what testdata/sample holds: layers and advisories
//	image NAME[.tar] LAYER...     an image of folders: a docker-archive, else an OCI layout
//	registry LAYOUT...            a registry at $REGISTRY that holds them as shop/NAME:1
//	address VAR                   $VAR is an address that nothing listens on
//	reach ADDRESS                 wait until something does
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GABION_SOCKET", "/nonexistent/gabion.sock")
			env.Setenv("TERM", "xterm-256color") // no terminal all the same
			// Nothing of whoever runs the tests, and nothing left behind.
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "home/cache"))
			env.Setenv("DOCKER_CONFIG", filepath.Join(env.WorkDir, "home/docker"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "uid0" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "json": isJSON, "plain": isPlain, "fill": fill,
			"sample": sample, "image": makeImage, "registry": startRegistry, "address": freeAddress, "reach": reach,
		},
	})
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARGUMENTS]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: json stdout|stderr|FILE [lines]")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	for n := 0; ; n++ {
		var v any
		switch err := dec.Decode(&v); {
		case err == io.EOF && (n == 1 || n > 0 && len(args) > 1):
			return
		case err == io.EOF:
			ts.Fatalf("%s has %d JSON values", args[0], n)
		case err != nil:
			ts.Fatalf("%s is no JSON: %v", args[0], err)
		}
	}
}

func isPlain(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		if i := strings.IndexFunc(ts.ReadFile(name), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); (i >= 0) != neg {
			ts.Fatalf("%s has a control character at byte %d", name, i)
		}
	}
}

func fill(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: fill FILE BYTES TEXT [HEAD]")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b bytes.Buffer
	if len(args) > 3 {
		b.WriteString(strings.TrimSuffix(ts.ReadFile(args[3]), "\n"))
	}
	text := strings.ReplaceAll(args[2], `\n`, "\n")
	for n := 0; n < size; n += len(text) {
		fmt.Fprint(&b, text)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}
