package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/console"
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
	// Records says what became of the kernel programs' records, by container;
	// nil when no gabion runs.
	Records []console.Records `json:"records,omitempty"`
}

func doctorCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "doctor",
		Example: `  sudo gabion doctor
  sudo gabion doctor -o json | jq .missing`,
		Short: "Find out by trying what this machine can enforce",
		Long: `Loads every kernel program and tries it on a process, a socket and a file of its
own; nothing is read off version numbers. It says which backends work, what
each guarantees and what only another one could stop, which container runtimes
answer, and how to get what is missing. It changes nothing that lasts. While
gabion runs it also shows, for each container and ring, how many records the
kernel programs made and how many of them were lost.

Exit code 0 when processes and connections can be enforced, 4 when not.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := diagnose(cmd.Context())
			var o console.Overview
			if env.client().get(cmd.Context(), "/api/v1/overview", nil, &o) == nil {
				d.Records = o.Records
			}
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
	d.Missing = append(d.Missing, missing(slices.Concat(d.Features, d.Runtimes))...)
	return d
}

// missing says each remedy once, with what it is for.
func missing(list []guard.Feature) []string {
	var remedies []string
	lacking := map[string][]string{}
	for _, f := range list {
		if f.Works || f.Remedy == "" {
			continue
		}
		if lacking[f.Remedy] == nil {
			remedies = append(remedies, f.Remedy)
		}
		lacking[f.Remedy] = append(lacking[f.Remedy], f.Name)
	}
	out := make([]string, 0, len(remedies))
	for _, r := range remedies {
		names := lacking[r]
		what := strings.Join(names, ", ")
		if len(names) > 3 {
			what = fmt.Sprintf("%s and %d more", strings.Join(names[:2], ", "), len(names)-2)
		}
		out = append(out, what+": "+r)
	}
	return out
}

func showDiagnosis(env *Env, d diagnosis) {
	p := env.Out
	p.Printf("kernel %s, %s\n\n", d.Kernel, map[bool]string{true: "as root", false: "not as root"}[d.Root])
	p.Printf("%s\n", p.Paint(term.Strong, "BACKENDS"))
	for _, b := range d.Backends {
		showBackend(p, b)
	}
	p.Printf("\n")
	features(env, "TRIED", d.Features)
	p.Printf("\n")
	features(env, "RUNTIME", d.Runtimes)
	if d.Records != nil {
		p.Printf("\n")
		records(env, d.Records)
	}
	if len(d.Missing) > 0 {
		p.Printf("\n%s\n", p.Paint(term.Strong, "MISSING"))
		for _, m := range d.Missing {
			p.Hang("  - ", 4, term.T(term.Clean(m)))
		}
	}
	p.Printf("\n")
	if d.Enforces {
		p.Hang(p.Paint(term.Good, "good:")+" ", 6, term.T("programs and connections of containers can be stopped here"))
	} else {
		p.Hang(p.Paint(term.Bad, "not enough:")+" ", 12, term.T("this machine cannot stop everything; gabion up says of each container what it can do"))
	}
}

// showBackend prints one mechanism; its details stand under its name.
func showBackend(p *term.Printer, b platform.Backend) {
	const margin, labels = 12, 13
	state, style := "active", term.Good
	if !b.Active {
		state, style = "not here", term.Faint
	}
	p.Printf("  %s  %s %s\n", p.Paint(style, fmt.Sprintf("%-8s", state)), p.Paint(term.Strong, b.ID), p.Paint(term.Faint, "("+b.Section+")"))
	indent := strings.Repeat(" ", margin)
	p.Hang(indent, margin, term.T(b.Guarantee))
	if b.Why != "" {
		p.Hang(indent, margin, term.C(term.Warn, "%s", term.Clean(b.Why)))
	}
	list := func(label string, style term.Style, items []string) {
		if len(items) > 0 {
			p.Hang(fmt.Sprintf("%s%-*s", indent, labels, label), margin+labels, term.C(style, "%s", strings.Join(items, "; ")))
		}
	}
	list("stops", term.Plain, b.Stops)
	list("cannot stop", term.Warn, b.Passes)
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

// records prints what became of the kernel programs' records.
func records(env *Env, list []console.Records) {
	var rows [][]term.Cell
	for _, r := range list {
		lost := term.C(term.Good, "0")
		if r.Lost > 0 {
			lost = term.C(term.Warn, "%d", r.Lost)
		}
		name := r.ContainerID
		if len(name) > 12 {
			name = name[:12]
		}
		rows = append(rows, []term.Cell{term.T(r.Workload.String()), term.T(name), term.T(r.Ring), term.T(fmt.Sprint(r.Seen)), lost})
	}
	env.Out.Table([]string{"RECORDS OF", "CONTAINER", "RING", "SEEN", "LOST"}, rows)
}
