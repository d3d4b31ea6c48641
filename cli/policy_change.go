package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/respond"
)

func diffCommand(env *Env) *cobra.Command {
	var against []string
	var output string
	cmd := &cobra.Command{
		Use:   "diff FILE...",
		Short: "Show what applying files would change",
		Long: `Compares with what is in force on the running gabion, or with --against other
files: the documents, and what the change means for each container that runs.
Exit code 1 when there is a difference, as diff does.`,
		Example: `  gabion policy diff policies/checkout.yaml
  gabion policy diff policies/ --against /etc/gabion/policies`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(against) == 0 {
				body, err := joined(env, args)
				if err != nil {
					return err
				}
				var answer struct {
					Diff string `json:"diff"`
				}
				if err := env.client().do(cmd.Context(), http.MethodPost, "/policies/diff", nil, body, "", &answer); err != nil {
					return err
				}
				if output == "json" {
					if err := printJSON(env, answer); err != nil {
						return err
					}
				} else {
					printDiff(env, answer.Diff)
				}
				return differs(answer.Diff != "")
			}
			before, problems, err := loadFiles(env.In, against)
			if err != nil {
				return err
			}
			after, more, err := loadFiles(env.In, args)
			if err != nil {
				return err
			}
			if problems = append(problems, more...); len(problems) > 0 {
				return refuse(env, problems)
			}
			d, err := policy.Diff(before, after, nil, time.Now())
			if err != nil {
				return exit(ExitFailed, err)
			}
			if output == "json" {
				if err := printJSON(env, d); err != nil {
					return err
				}
			} else {
				printDiff(env, d.Text())
			}
			return differs(!d.Empty())
		},
	}
	cmd.Flags().StringSliceVar(&against, "against", nil, "compare with these `FILES` or folders instead of the running gabion")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// differs gives the exit code of commands that ask a question.
func differs(yes bool) error {
	if yes {
		return exit(ExitFailed, nil)
	}
	return nil
}

func printDiff(env *Env, text string) {
	if text == "" {
		env.Err.Printf("no difference\n")
		return
	}
	for line := range strings.Lines(text) {
		style := term.Plain
		switch {
		case strings.HasPrefix(line, "@@"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			style = term.Strong
		case strings.HasPrefix(line, "+"):
			style = term.Good
		case strings.HasPrefix(line, "-"):
			style = term.Bad
		}
		env.Out.Printf("%s\n", env.Out.Paint(style, term.Clean(strings.TrimSuffix(line, "\n"))))
	}
}

// joined checks files here, where their names are known, and makes one body of
// them for the API.
func joined(env *Env, names []string) (console.Document, error) {
	files, err := readFiles(env.In, names)
	if err != nil {
		return console.Document{}, err
	}
	if _, problems := policy.Load(files, respond.Check); len(problems) > 0 {
		return console.Document{}, refuse(env, problems)
	}
	var b strings.Builder
	for _, f := range files {
		if b.Len() > 0 {
			b.WriteString("\n---\n")
		}
		b.Write(f.Data)
	}
	return console.Document{YAML: b.String()}, nil
}

func applyCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE...",
		Short: "Put documents in force on the running gabion and keep them",
		Long: `All of the documents are taken, or none: a fault anywhere changes nothing. What is
there under the same kind, namespace and name is replaced where it stands.`,
		Example: `  gabion policy apply policies/checkout.yaml
  gabion policy learn shop/checkout | gabion policy apply -`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := joined(env, args)
			if err != nil {
				return err
			}
			var answer struct {
				IDs []string `json:"ids"`
			}
			if err := env.client().do(cmd.Context(), http.MethodPost, "/policies", nil, body, "", &answer); err != nil {
				return err
			}
			for _, id := range answer.IDs {
				env.Out.Printf("%s\n", term.Clean(id))
			}
			return nil
		},
	}
}

func policyPath(id string) string { return "/policies/" + url.PathEscape(id) }

func forecastCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "forecast ID",
		Short: "Show what Protect would have blocked of what was seen",
		Long: `Judges everything seen by the policy as if it were in Protect, and says whether
enough was seen for the answer to be worth something. Exit code 1 when not, or
when something would have been blocked.`,
		Example:           "  gabion policy forecast WorkloadPolicy/shop/checkout",
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicy(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f console.Forecast
			if err := env.client().get(cmd.Context(), policyPath(args[0])+"/forecast", nil, &f); err != nil {
				return err
			}
			if output == "json" {
				if err := printJSON(env, f); err != nil {
					return err
				}
				return differs(!f.Ready)
			}
			var rows [][]term.Cell
			for _, it := range f.Items {
				from := ""
				if it.Rule != nil {
					from = ruleWords(it.Rule)
				}
				rows = append(rows, []term.Cell{
					term.T(it.Workload.String()), term.T(string(it.Kind)), term.C(term.Bad, "%s", it.What),
					term.T(strings.Join(it.Reasons, ", ")), term.T(fmt.Sprint(it.Count)), term.T(from),
				})
			}
			if len(rows) > 0 {
				env.Out.Table([]string{"WORKLOAD", "KIND", "WOULD BLOCK", "WHY", "SEEN", "BY"}, rows)
				env.Out.Printf("\n")
			}
			for _, e := range f.Evidence {
				mark := env.Out.Paint(term.Good, "yes")
				if !e.Met {
					mark = env.Out.Paint(term.Warn, "no ")
				}
				env.Out.Printf("%s  %s: %s (wanted: %s)\n", mark, e.Name, e.Have, e.Want)
			}
			env.Out.Printf("%s\n", term.Clean(f.Summary))
			return differs(!f.Ready)
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func promoteCommand(env *Env) *cobra.Command {
	var force bool
	modes := []string{string(v1alpha1.Learn), string(v1alpha1.Monitor), string(v1alpha1.Protect)}
	cmd := &cobra.Command{
		Use:   "promote ID MODE",
		Short: "Set the mode of a policy: Learn, Monitor or Protect",
		Long: `For Protect the forecast is asked first: when it says that something seen would
have been blocked or that too little was seen, nothing is changed without --force.`,
		Example: "  gabion policy promote WorkloadPolicy/shop/checkout Protect",
		Args:    arguments(2, 2),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return modes, cobra.ShellCompDirectiveNoFileComp
			}
			return completePolicy(env)(c, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(modes, args[1]) {
				return exit(ExitUsage, fmt.Errorf("unknown mode %q; use one of: %s", args[1], strings.Join(modes, ", ")))
			}
			c := env.client()
			if args[1] == string(v1alpha1.Protect) && !force {
				var f console.Forecast
				if err := c.get(cmd.Context(), policyPath(args[0])+"/forecast", nil, &f); err != nil {
					return err
				}
				if !f.Ready {
					return exit(ExitFailed, fmt.Errorf("%s\nlook with: gabion policy forecast %s\nor promote all the same with --force", f.Summary, args[0]))
				}
			}
			if err := c.do(cmd.Context(), http.MethodPost, policyPath(args[0])+"/promote", nil, map[string]string{"mode": args[1]}, "", nil); err != nil {
				return err
			}
			env.Err.Printf("%s is now in %s\n", term.Clean(args[0]), args[1])
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "set Protect whatever the forecast says")
	return cmd
}

func deleteCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Take a policy out of force and out of the folder",
		Long: `Removes the document from its file in the folder of the running gabion, and the
file when nothing else is in it. What the policy blocked passes from then on.`,
		Example:           "  gabion policy delete WorkloadPolicy/shop/checkout",
		Args:              arguments(1, 1),
		ValidArgsFunction: completePolicy(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := env.client().do(cmd.Context(), http.MethodDelete, policyPath(args[0]), nil, nil, "", nil); err != nil {
				return err
			}
			env.Err.Printf("%s is removed\n", term.Clean(args[0]))
			return nil
		},
	}
}

func listPoliciesCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the policies in force and the files that were refused",
		Example: "  gabion policy list -o json",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := all[console.Policy](cmd.Context(), env.client(), "/policies")
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list)
			}
			var rows [][]term.Cell
			for _, p := range list {
				state := term.C(term.Good, "in force")
				for _, c := range p.Conditions {
					switch {
					case c.Type == "Ready" && !c.Status:
						state = term.C(term.Bad, "refused")
					case c.Type == "Degraded" && c.Status:
						state = term.C(term.Warn, "degraded")
					}
				}
				rows = append(rows, []term.Cell{
					term.T(p.ID), term.T(orNone(p.Mode)), state, term.T(fmt.Sprint(p.Containers)), term.T(fmt.Sprint(p.Hits)), term.T(p.File),
				})
			}
			env.Out.Table([]string{"POLICY", "MODE", "STATE", "CONTAINERS", "HITS (DAY)", "FILE"}, rows)
			return nil
		},
	}
	outputFlag(cmd, &output, "table", "json")
	return cmd
}
