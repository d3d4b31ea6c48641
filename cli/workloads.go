package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/internal/term"
)

func workloadsCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "workloads [NAMESPACE/NAME]",
		Short: "List workloads and how they are covered, or show one",
		Long: `Lists what runs here: how it is covered (enforced, monitored, learning, blind),
its mode, what was blocked or would have been, and by which mechanisms. With a
name: its containers, its rules, and where each comes from.`,
		Example: `  gabion workloads
  gabion workloads shop/checkout
  gabion workloads act 3f1c9a0b7d22 quarantine`,
		Args:              arguments(0, 1),
		ValidArgsFunction: completeWorkload(env, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := env.client()
			if len(args) == 1 {
				ref, err := parseRef(args[0])
				if err != nil {
					return err
				}
				d, err := getWorkload(cmd.Context(), c, ref)
				if err != nil {
					return err
				}
				if output == "json" {
					return printJSON(env, d)
				}
				showWorkload(env, d)
				return nil
			}
			list, err := all[console.Workload](cmd.Context(), c, "/workloads")
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list)
			}
			if len(list) == 0 {
				env.Err.Printf("no containers run here and nothing was learned yet\n")
				return nil
			}
			rows := make([][]term.Cell, 0, len(list))
			for _, w := range list {
				blocked := term.T("-")
				if w.Blocked > 0 {
					blocked = term.C(term.Good, "%d", w.Blocked)
				}
				would := term.T("-")
				if w.WouldBlock > 0 {
					would = term.C(term.Warn, "%d", w.WouldBlock)
				}
				state := w.State
				if w.Quarantined {
					state += ", quarantined"
				}
				rows = append(rows, []term.Cell{
					term.T(w.Ref.String()), term.C(stateStyle(w.State), "%s", state), term.T(fmt.Sprint(w.Containers)),
					term.T(modes(w.Mode)), blocked, would, term.T(fmt.Sprint(w.Learned)), term.T(mechanisms(w.Coverage)),
				})
			}
			env.Out.Table([]string{"WORKLOAD", "STATE", "RUNNING", "MODE", "BLOCKED", "WOULD BLOCK", "LEARNED", "BY"}, rows)
			return nil
		},
	}
	outputFlag(cmd, &output, "table", "json")
	cmd.AddCommand(actCommand(env))
	return cmd
}

func actCommand(env *Env) *cobra.Command {
	actions := []string{string(console.Quarantine), string(console.Release), string(console.Pause), string(console.Resume), string(console.Kill)}
	return &cobra.Command{
		Use:   "act CONTAINER ACTION",
		Short: "Quarantine, release, pause, resume or kill a container",
		Long: `Does one thing to a container and records it as an event.

quarantine cuts every network and keeps the processes; release ends that. pause
freezes every process; resume ends that. kill is final.`,
		Example: `  gabion workloads act 3f1c9a0b7d22 quarantine
  gabion workloads act 3f1c9a0b7d22 release`,
		Args: arguments(2, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return actions, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(actions, args[1]) {
				return exit(ExitUsage, fmt.Errorf("unknown action %q; use one of: %s", args[1], strings.Join(actions, ", ")))
			}
			var e event.Event
			body := map[string]string{"action": args[1]}
			if err := env.client().do(cmd.Context(), http.MethodPost, "/containers/"+url.PathEscape(args[0])+"/actions", nil, body, "", &e); err != nil {
				return err
			}
			env.Err.Printf("%s\n", term.Clean(e.Message))
			return nil
		},
	}
}

func showWorkload(env *Env, d console.WorkloadDetail) {
	p := env.Out
	p.Printf("%s  %s\n", p.Paint(term.Strong, d.Ref.String()), p.Paint(stateStyle(d.State), d.State))
	p.Printf("  policies  %s\n", orNone(strings.Join(d.Policies, ", ")))
	p.Printf("  mode      %s\n", modes(d.Mode))
	for _, c := range d.Coverage {
		p.Printf("  %-9s %s: %s\n", c.Section, c.Mechanism, c.Guarantee)
		if c.Degraded != "" {
			p.Printf("            %s\n", p.Paint(term.Warn, "degraded: "+c.Degraded))
		}
		for _, u := range c.Unmatched {
			p.Printf("            %s\n", p.Paint(term.Faint, "matches nothing here: "+u))
		}
	}
	p.Printf("\n")
	rows := [][]term.Cell{}
	for _, c := range d.Running {
		state := "running"
		switch {
		case c.Quarantined:
			state = "quarantined"
		case c.Paused:
			state = "paused"
		}
		rows = append(rows, []term.Cell{term.T(c.Short()), term.T(c.Name), term.T(c.Runtime), term.T(fmt.Sprint(c.PID)), term.T(state), term.T(c.Image)})
	}
	p.Table([]string{"CONTAINER", "NAME", "RUNTIME", "PID", "STATE", "IMAGE"}, rows)
	if len(d.Plan.Rules) > 0 {
		p.Printf("\n")
		rows = rows[:0]
		for _, r := range d.Plan.Rules {
			style := term.Good
			if r.Effect == "deny" {
				style = term.Bad
			}
			rows = append(rows, []term.Cell{term.C(style, "%s", r.Effect), term.T(r.Section), term.T(r.What), term.T(ruleWords(&r.Rule))})
		}
		p.Table([]string{"RULE", "SECTION", "WHAT", "FROM"}, rows)
	}
	p.Printf("\nlearned: %d programs, %d destinations, %d callers from %d containers\n",
		len(d.Profile.Processes), len(d.Profile.Egress), len(d.Profile.Ingress), d.Profile.Replicas)
}

func stateStyle(state string) term.Style {
	switch state {
	case "enforced":
		return term.Good
	case "blind":
		return term.Bad
	case "monitored":
		return term.Warn
	}
	return term.Plain
}

// modes prints one mode when every section has the same.
func modes(m map[string]string) string {
	if len(m) == 0 {
		return "Learn (no policy)"
	}
	keys := make([]string, 0, len(m))
	same := true
	first := ""
	for k, v := range m {
		keys = append(keys, k)
		if first == "" {
			first = v
		}
		same = same && v == first
	}
	slices.Sort(keys)
	if same {
		return first + " (" + strings.Join(keys, ", ") + ")"
	}
	for i, k := range keys {
		keys[i] = k + " " + m[k]
	}
	return strings.Join(keys, ", ")
}

func mechanisms(list []console.Coverage) string {
	var out []string
	for _, c := range list {
		if c.Mechanism == "" {
			continue
		}
		s := c.Mechanism
		if c.Degraded != "" {
			s += " (degraded)"
		}
		out = append(out, s)
	}
	return orNone(strings.Join(out, ", "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
