// Package cli is the command line: one file per subcommand, parsing and
// printing only.
//
// Data goes to standard output and nothing else does; everything for people
// beside it goes to standard error. The one idea: an Env holds the streams and
// the way to the running gabion, and every command is a function of it, so
// that tests run commands without a process.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/internal/version"
)

// Exit codes, documented in docs/reference/exit-codes.md; scripts rely on them.
const (
	ExitOK          = 0
	ExitFailed      = 1 // the command did its work and the answer is no: findings, a failed pass mark, a refused document
	ExitUsage       = 2 // the command line makes no sense
	ExitUnreachable = 3 // no running gabion answers
	ExitMachine     = 4 // this machine lacks what the command needs
)

// exitError carries an exit code with an error. A nil err prints nothing more.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error { return &exitError{code, err} }

// Env is what a command has of its surroundings.
type Env struct {
	In  io.Reader
	Out *term.Printer // data
	Err *term.Printer // everything else
	// Socket is the unix socket of the running gabion.
	Socket string
}

// Main runs one command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	env := &Env{In: in, Out: term.New(out), Err: term.New(errw)}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := Root(env)
	root.SetArgs(args[1:])
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var ex *exitError
	if errors.As(err, &ex) {
		if ex.err != nil {
			env.Err.Printf("%s %v\n", env.Err.Paint(term.Bad, "error:"), ex.err)
		}
		return ex.code
	}
	env.Err.Printf("%s %v\n", env.Err.Paint(term.Bad, "error:"), err)
	return ExitUsage
}

// Root is the whole command tree.
func Root(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   version.Name,
		Short: "Protect containers, from the commit that builds them to the system call they make",
		Long: `Gabion finds the containers of this machine, learns what they do, and enforces
what policy says of them in the kernel. One process, no cluster needed:

  sudo gabion up            protect this machine; console on https://127.0.0.1:8443
  sudo gabion up --demo     the same, and show a real attack being stopped
  sudo gabion doctor        what this kernel can enforce, and what is missing

Exit codes: 0 done, 1 the answer is no (findings, refused documents, a pass mark
missed), 2 wrong usage, 3 no running gabion answers, 4 this machine lacks
something the command needs.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.Version,
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&env.Socket, "socket", defaultSocket(), "unix socket of the running gabion")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Protect:"},
		&cobra.Group{ID: "look", Title: "Look:"},
		&cobra.Group{ID: "write", Title: "Policy as code:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", upCommand(env), demoCommand(env), guardCommand(env))
	add("look", doctorCommand(env), workloadsCommand(env), eventsCommand(env), consoleCommand(env))
	add("write", policyCommand(env))
	root.AddCommand(versionCommand(env), manCommand(env))
	return root
}

// defaultSocket is where gabion up listens: in /run for root, else in the
// user's own run-time folder.
func defaultSocket() string {
	if s := os.Getenv("GABION_SOCKET"); s != "" {
		return s
	}
	if os.Geteuid() == 0 {
		return "/run/gabion/gabion.sock"
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "gabion", "gabion.sock")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("gabion-%d", os.Geteuid()), "gabion.sock")
}

// outputFlag adds -o with the formats a command has; the first is the default.
func outputFlag(cmd *cobra.Command, into *string, formats ...string) {
	cmd.Flags().StringVarP(into, "output", "o", formats[0], "output: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	before := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		for _, f := range formats {
			if *into == f {
				if before != nil {
					return before(c, args)
				}
				return nil
			}
		}
		return exit(ExitUsage, fmt.Errorf("unknown output %q; use one of: %s", *into, strings.Join(formats, ", ")))
	}
}
