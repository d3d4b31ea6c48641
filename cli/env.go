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

	"github.com/gabion-dev/gabion/cli/platform"
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
	// Places are the defaults of flags.
	Places Places
}

// Places is where things are when no flag says otherwise.
type Places struct{ Socket, Data, Policies string }

// rootPlaces are those of root, and of the documentation.
func rootPlaces() Places {
	return Places{Socket: "/run/gabion/gabion.sock", Data: platform.DefaultData, Policies: platform.DefaultPolicies}
}

// ownPlaces are those of whoever runs this: root's, or folders of the user's
// own. $GABION_SOCKET names another socket.
func ownPlaces() Places {
	p := rootPlaces()
	if os.Geteuid() != 0 {
		dir := filepath.Join(os.TempDir(), fmt.Sprintf("gabion-%d", os.Geteuid()))
		if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
			dir = filepath.Join(d, "gabion")
		}
		p.Socket = filepath.Join(dir, "gabion.sock")
		if home, err := os.UserHomeDir(); err == nil {
			p.Data = filepath.Join(home, ".local/share/gabion")
			p.Policies = filepath.Join(home, ".config/gabion/policies")
		}
	}
	if s := os.Getenv("GABION_SOCKET"); s != "" {
		p.Socket = s
	}
	return p
}

// Main runs one command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	env := &Env{In: in, Out: term.New(out), Err: term.New(errw), Places: ownPlaces()}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks a second time does not wait
	root := Root(env)
	root.SetArgs(args[1:])
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	say := func(err error) { env.Err.Printf("%s %v\n", env.Err.Paint(term.Bad, "error:"), err) }
	var ex *exitError
	if errors.As(err, &ex) {
		if ex.err != nil {
			say(err)
		}
		return ex.code
	}
	say(err)
	env.Err.Printf("see: %s --help\n", cmd.CommandPath())
	if scans(cmd) {
		return ScanFailed
	}
	return ExitUsage
}

// Root is the whole command tree.
func Root(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   version.Name,
		Short: "Protect containers, from the commit that builds them to the system call they make",
		Long: `Gabion scans images before they run, finds the containers of this machine, learns
what they do, and enforces in the kernel what policy says of them. One process,
no cluster needed.

Data goes to standard output, everything else to standard error. Exit codes:
0 done; 1 the answer is no (findings, a refused document, a missed pass mark, a
failed request); 2 the command line makes no sense; 3 no running gabion answers;
4 this machine lacks something the command needs. Those of gabion scan are what
build systems expect of a scanner, see there.

Environment: GABION_SOCKET is the default of --socket, and what a command takes
from there besides is told at its flags. NO_COLOR, when it is set, turns colour
off; there is none outside of a terminal anyway.`,
		Example: `  sudo gabion up                      # protect this machine
  sudo gabion up --demo               # the same, and watch an attack being stopped
  sudo gabion doctor                  # what this kernel can enforce, found out by trying
  gabion scan image.tar               # what is in an image and wrong with it
  gabion workloads                    # what runs here and how it is covered
  gabion events -f --effect blocked   # what was stopped, as it happens`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Version:           version.Version,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetVersionTemplate(version.Name + " {{.Version}}\n")
	root.Flags().BoolP("version", "v", false, "show the version")
	root.PersistentFlags().StringVar(&env.Socket, "socket", env.Places.Socket, "talk to the gabion on this unix `SOCKET`")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Protect"},
		&cobra.Group{ID: "look", Title: "Look"},
		&cobra.Group{ID: "supply", Title: "Supply chain"},
		&cobra.Group{ID: "write", Title: "Policy as code"},
		&cobra.Group{ID: "more", Title: "About the command line"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	help := helpCommand(env)
	add("run", upCommand(env), demoCommand(env), guardCommand(env))
	add("supply", scanCommand(env), dbCommand(env))
	add("look", doctorCommand(env), workloadsCommand(env), imagesCommand(env), eventsCommand(env), consoleCommand(env))
	add("write", policyCommand(env), detectionsCommand(env))
	add("more", versionCommand(env), completionCommand(), manCommand(env), help)
	root.SetHelpCommand(help)
	dress(root, env)
	return root
}

// outputFlag adds -o with the formats a command has; the first is the default.
func outputFlag(cmd *cobra.Command, into *string, formats ...string) {
	cmd.Flags().StringVarP(into, "output", "o", formats[0], "print `FORMAT`: "+strings.Join(formats, ", "))
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
		code := ExitUsage
		if scans(c) {
			code = ScanFailed
		}
		return exit(code, fmt.Errorf("unknown format %q of --output; use one of: %s", *into, strings.Join(formats, ", ")))
	}
}
