package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/internal/term"
)

// diagnosis is what doctor found; its JSON is for scripts.
type diagnosis struct {
	Kernel   string             `json:"kernel"`
	Root     bool               `json:"root"`
	Backends []platform.Backend `json:"backends"`
	Features []guard.Feature    `json:"features"`
	Runtimes []guard.Feature    `json:"runtimes"`
	// Enforces is true when both sections have a working backend.
	Enforces bool `json:"enforces"`
	// Missing says what would make it better, and how to get it.
	Missing []string `json:"missing"`
}

func doctorCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out by trying what this machine can enforce, and what is missing",
		Long: `Loads every kernel program and tries it on a process, a socket and a file of its
own; nothing is read off version numbers. It says which backends work, what
each guarantees and what only another one could stop, which container runtimes
answer, and how to get what is missing. It changes nothing that lasts.

Exit code 0 when processes and connections can be enforced, 4 when not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := diagnose(cmd.Context())
			if output == "json" {
				if err := printJSON(env, d); err != nil {
					return err
				}
			} else {
				showDiagnosis(env, d)
			}
			if !d.Enforces {
				return exit(ExitMachine, nil)
			}
			return nil
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func diagnose(ctx context.Context) diagnosis {
	d := diagnosis{Root: os.Geteuid() == 0, Missing: []string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		d.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	d.Features = platform.ProbeKernel(ctx)
	d.Runtimes = platform.ProbeRuntimes(ctx)
	d.Backends = platform.Backends(d.Features)
	covered := map[string]bool{}
	for _, b := range d.Backends {
		if b.Active {
			covered[b.Section] = true
		}
	}
	d.Enforces = covered["process"] && covered["network"]
	if !d.Root {
		d.Missing = append(d.Missing, "root: kernel programs cannot be loaded without it; run: sudo gabion doctor")
	}
	for _, list := range [][]guard.Feature{d.Features, d.Runtimes} {
		for _, f := range list {
			if !f.Works && f.Remedy != "" {
				d.Missing = append(d.Missing, f.Name+": "+f.Remedy)
			}
		}
	}
	return d
}

func showDiagnosis(env *Env, d diagnosis) {
	p := env.Out
	p.Printf("kernel %s, %s\n\n", d.Kernel, map[bool]string{true: "root", false: "not root"}[d.Root])
	p.Printf("%s\n", p.Paint(term.Strong, "BACKENDS"))
	for _, b := range d.Backends {
		state, style := "active", term.Good
		if !b.Active {
			state, style = "not here", term.Faint
		}
		p.Printf("  %s  %-8s %s\n", p.Paint(style, fmt.Sprintf("%-8s", state)), b.Section, p.Paint(term.Strong, b.ID))
		p.Printf("            %s\n", b.Guarantee)
		if b.Why != "" {
			p.Printf("            %s\n", p.Paint(term.Warn, term.Clean(b.Why)))
		}
		if len(b.Stops) > 0 {
			p.Printf("            stops: %s\n", strings.Join(b.Stops, "; "))
		}
		if len(b.Passes) > 0 {
			p.Printf("            cannot stop: %s\n", p.Paint(term.Warn, strings.Join(b.Passes, "; ")))
		}
	}
	p.Printf("\n")
	features(env, "TRIED", d.Features)
	p.Printf("\n")
	features(env, "RUNTIME", d.Runtimes)
	if len(d.Missing) > 0 {
		p.Printf("\n%s\n", p.Paint(term.Strong, "MISSING"))
		for _, m := range d.Missing {
			p.Printf("  %s\n", term.Clean(m))
		}
	}
	p.Printf("\n")
	if d.Enforces {
		p.Printf("%s processes and connections of containers can be enforced here\n", p.Paint(term.Good, "good:"))
	} else {
		p.Printf("%s this machine cannot enforce everything; gabion up would say so for each container\n", p.Paint(term.Bad, "not enough:"))
	}
}

func features(env *Env, head string, list []guard.Feature) {
	rows := make([][]term.Cell, 0, len(list))
	for _, f := range list {
		mark := term.C(term.Good, "yes")
		if !f.Works {
			mark = term.C(term.Faint, "no")
		}
		rows = append(rows, []term.Cell{term.T(f.Name), mark, term.T(f.Detail)})
	}
	env.Out.Table([]string{head, "WORKS", "DETAIL"}, rows)
}
