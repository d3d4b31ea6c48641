package attacks

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Effect is the line by which an attack says that it has come to its end.
const Effect = "effect"

// Attacker is the test binary's place in the container.
const Attacker = "/usr/bin/attacker"

// Order asks for one part of a case.
type Order struct {
	Case string
	Twin bool
}

// Outcome is how it ended.
type Outcome struct {
	Effect bool
	Killed bool   // a signal ended it
	Said   string // what it wrote, cut
}

// Play is the attacker's main: with "serve" it takes orders, one JSON value a
// line, and answers each with an Outcome; with "run" it plays one part. ok is
// false when the arguments mean something else.
func Play(args []string) (code int, ok bool) {
	if len(args) < 2 {
		return 0, false
	}
	switch args[1] {
	case "serve":
		if err := serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1, true
		}
		return 0, true
	case "run":
		return act(args[2:]), true
	}
	if part, ok := extras()[args[1]]; ok {
		return part(args[2:]), true
	}
	return 0, false
}

func serve(in io.Reader, out io.Writer) error {
	answers := json.NewEncoder(out)
	orders := bufio.NewScanner(in)
	for orders.Scan() {
		var o Order
		if err := json.Unmarshal(orders.Bytes(), &o); err != nil {
			return fmt.Errorf("read order: %w", err)
		}
		if err := answers.Encode(obey(o)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	return orders.Err()
}

// partTime bounds one part of a case; the longest make a thousand attempts.
const partTime = 90 * time.Second

func obey(o Order) Outcome {
	ctx, cancel := context.WithTimeout(context.Background(), partTime)
	defer cancel()
	part := "attack"
	if o.Twin {
		part = "twin"
	}
	cmd := exec.CommandContext(ctx, Attacker, "run", o.Case, part)
	cmd.WaitDelay = 2 * time.Second
	said, err := cmd.CombinedOutput()
	res := Outcome{Effect: hasEffect(said), Said: string(said[:min(len(said), 600)])}
	if err != nil && cmd.ProcessState == nil {
		res.Said += err.Error()
	} else if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		res.Killed = ws.Signaled()
	}
	return res
}

func hasEffect(said []byte) bool {
	return slices.ContainsFunc(bytes.Split(said, []byte("\n")), func(l []byte) bool { return string(bytes.TrimSpace(l)) == Effect })
}

func act(args []string) int {
	if len(args) != 2 {
		return 2
	}
	cases := append(Cases(), siegeParts()...)
	i := slices.IndexFunc(cases, func(c Case) bool { return c.Name == args[0] })
	if i < 0 {
		fmt.Println("no such case")
		return 2
	}
	part := cases[i].Attack
	if args[1] == "twin" {
		part = cases[i].Twin
	}
	if err := part(); err != nil {
		fmt.Println("no:", err)
		return 1
	}
	fmt.Println(Effect)
	return 0
}

// run gives nil when a program said Effect.
func run(argv ...string) error { return runAs(argv[0], argv...) }

// runAs is run with another name for the program than its path.
func runAs(path string, argv ...string) error {
	cmd := &exec.Cmd{Path: path, Args: argv, Env: []string{"PATH=/bin:/usr/bin"}}
	return ends(cmd)
}

// ends gives nil when cmd says Effect.
func ends(cmd *exec.Cmd) error {
	cmd.WaitDelay = 2 * time.Second
	said, err := cmd.CombinedOutput()
	if hasEffect(said) {
		return nil
	}
	if err == nil {
		err = errors.New("it said nothing")
	}
	return fmt.Errorf("%s: %w: %s", cmd.Path, err, strings.TrimSpace(string(said)))
}

// asNobody runs a program as another user.
func asNobody(path string) error {
	return ends(&exec.Cmd{Path: path, Args: []string{path}, SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}})
}

// sh runs a script of the image's shell.
func sh(script string) func() error {
	return func() error { return run("/bin/sh", "-c", script) }
}

// of makes a part out of a command line.
func of(argv ...string) func() error { return func() error { return run(argv...) } }

// as is of with another name for the program than its path.
func as(path string, argv ...string) func() error {
	return func() error { return runAs(path, argv...) }
}

// first runs steps up to the first error.
func first(steps ...func() error) func() error {
	return func() error {
		for _, s := range steps {
			if err := s(); err != nil {
				return err
			}
		}
		return nil
	}
}

// cp copies a file and makes it executable.
func cp(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return drop(to, b)
}

// drop writes a program where nothing of the image is.
func drop(to string, b []byte) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// command starts a program with what the caller has for standard input, so
// that nothing is opened to start it.
func command(argv ...string) *exec.Cmd {
	return &exec.Cmd{Path: argv[0], Args: argv, Stdin: os.Stdin}
}

// extras are the parts of this program that cases start as programs of their
// own, by the word that asks for them.
func extras() map[string]func([]string) int {
	return map[string]func([]string) int{
		"raw": func([]string) int {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			_ = unix.Close(fd)
			fmt.Println(Effect)
			return 0
		},
	}
}
