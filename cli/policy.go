package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/respond"
	"github.com/gabion-dev/gabion/workload"
)

func policyCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check, explain, learn, compare and apply policies",
		Long: `Policies are YAML files: in Git, in the folder of gabion up, or sent by apply.
lint, and explain and diff with --against, need no running gabion; the others ask
it. FILE may be a file, a folder (its *.yaml, *.yml and *.json), or - for standard input.`,
	}
	cmd.AddCommand(lintCommand(env), explainCommand(env), learnCommand(env), diffCommand(env), applyCommand(env),
		forecastCommand(env), promoteCommand(env), deleteCommand(env), listPoliciesCommand(env))
	return cmd
}

// readFiles reads the named files, folders and standard input. A file over the
// limit of the language is cut just above it, so that it is refused by name.
func readFiles(in io.Reader, names []string) ([]policy.File, error) {
	var out []policy.File
	add := func(name string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, v1alpha1.MaxFileBytes+1))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		out = append(out, policy.File{Name: name, Data: data})
		return nil
	}
	open := func(name string) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return add(name, f)
	}
	for _, name := range names {
		if name == "-" {
			if err := add("standard input", in); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(name)
		if err == nil && !info.IsDir() {
			err = open(name)
		} else if err == nil {
			err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
					return err
				}
				return open(path)
			})
		}
		if err != nil {
			return nil, exit(ExitUsage, err)
		}
	}
	return out, nil
}

// loadFiles reads and loads; the errors are those of the documents.
func loadFiles(in io.Reader, names []string) (*policy.Set, []error, error) {
	files, err := readFiles(in, names)
	if err != nil {
		return nil, nil, err
	}
	set, problems := policy.Load(files, respond.Check)
	return set, problems, nil
}

// refuse prints the errors of documents and ends the command.
func refuse(env *Env, problems []error) error {
	for _, p := range problems {
		env.Err.Printf("%s %s\n", env.Err.Paint(term.Bad, "error:"), term.Clean(p.Error()))
	}
	return exit(ExitFailed, nil)
}

// problemOfError gives an error of a document in the words of the API.
func problemOfError(err error) console.Problem {
	if e, ok := errors.AsType[*v1alpha1.Error](err); ok {
		return console.Problem{Severity: "error", File: e.File, Line: e.Line, Column: e.Column, Field: e.Field, Message: e.Reason, Hint: e.Hint}
	}
	return console.Problem{Severity: "error", Message: err.Error()}
}

func problemOfFinding(f policy.Finding) console.Problem {
	return console.Problem{Severity: "warning", File: f.Rule.File, Line: f.Rule.Line, Field: f.Rule.Field, Message: f.Reason, Hint: f.Hint}
}

func lintCommand(env *Env) *cobra.Command {
	var output string
	var live, strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check policy files: errors, and what is probably not meant",
		Long: `Reads every document and reports each fault with file, line, column, field,
reason and hint, then warns of what is valid and probably not meant. Exit code 1
when a document is refused (with --strict also for warnings).`,
		Example: `  gabion policy lint policies/
  gabion policy lint --live policies/   # also: what matches no container here`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, problems, err := loadFiles(env.In, args)
			if err != nil {
				return err
			}
			var containers []workload.Container
			if live {
				if containers, err = liveContainers(cmd.Context(), env.client()); err != nil {
					return err
				}
			}
			findings := policy.Lint(set, containers, time.Now())
			if output == "json" {
				list := []console.Problem{}
				for _, p := range problems {
					list = append(list, problemOfError(p))
				}
				for _, f := range findings {
					list = append(list, problemOfFinding(f))
				}
				if err := printJSON(env, list); err != nil {
					return err
				}
			} else {
				for _, p := range problems {
					env.Out.Printf("%s %s\n", env.Out.Paint(term.Bad, "error:"), term.Clean(p.Error()))
				}
				for _, f := range findings {
					env.Out.Printf("%s\n", term.Clean(f.String()))
				}
				env.Err.Printf("%d documents are valid, %d errors, %d warnings\n", len(set.Documents()), len(problems), len(findings))
			}
			if len(problems) > 0 || strict && len(findings) > 0 {
				return exit(ExitFailed, nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "compare with the containers of the running gabion")
	cmd.Flags().BoolVar(&strict, "strict", false, "let warnings fail too")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// liveContainers asks the running gabion for every container it knows.
func liveContainers(ctx context.Context, c *client) ([]workload.Container, error) {
	out := []workload.Container{}
	for seen := 0; ; {
		var page struct {
			Items []console.Workload `json:"items"`
			Total int                `json:"total"`
		}
		q := url.Values{"limit": {"200"}, "offset": {strconv.Itoa(seen)}}
		if err := c.get(ctx, "/workloads", q, &page); err != nil {
			return nil, err
		}
		for _, w := range page.Items {
			d, err := getWorkload(ctx, c, w.Ref)
			if err != nil {
				return nil, err
			}
			for _, r := range d.Running {
				out = append(out, r.Container)
			}
		}
		seen += len(page.Items)
		if len(page.Items) == 0 || seen >= page.Total {
			return out, nil
		}
	}
}

func getWorkload(ctx context.Context, c *client, ref workload.Ref) (console.WorkloadDetail, error) {
	var d console.WorkloadDetail
	err := c.get(ctx, "/workloads/"+url.PathEscape(ref.Namespace)+"/"+url.PathEscape(ref.Name), nil, &d)
	return d, err
}

func parseRef(s string) (workload.Ref, error) {
	ns, name, ok := strings.Cut(s, "/")
	if !ok || ns == "" || name == "" {
		return workload.Ref{}, exit(ExitUsage, fmt.Errorf("workload %q: write it as namespace/name", s))
	}
	return workload.Ref{Namespace: ns, Name: name}, nil
}

func explainCommand(env *Env) *cobra.Command {
	var output, container, image, account string
	var labels map[string]string
	cmd := &cobra.Command{
		Use:   "explain NAMESPACE/NAME [FILE...]",
		Short: "Show what policy says of a workload, and which line of which policy made each rule",
		Long: `Without files: what is in force on the running gabion. With files: what they
would say of the workload as it runs here, or, when --label, --image, --container
or --service-account describe it, of one that does not run.`,
		Example: `  gabion policy explain shop/checkout
  gabion policy explain shop/checkout policies/ --label app=checkout`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			described := labels != nil || image != "" || container != "" || account != ""
			if len(args) == 1 {
				if described {
					return exit(ExitUsage, errors.New("a described workload needs files to be explained by"))
				}
				d, err := getWorkload(cmd.Context(), env.client(), ref)
				if err != nil {
					return err
				}
				return printPlan(env, output, d)
			}
			set, problems, err := loadFiles(env.In, args[1:])
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				return refuse(env, problems)
			}
			subject := []workload.Container{{Name: container, Workload: ref, Image: image, ServiceAccount: account, Labels: maps.Clone(labels)}}
			if !described {
				d, err := getWorkload(cmd.Context(), env.client(), ref)
				if err != nil {
					return fmt.Errorf("%w\nto explain a workload that does not run, describe it: --label, --image, --container", err)
				}
				subject = subject[:0]
				for _, r := range d.Running {
					subject = append(subject, r.Container)
				}
			}
			out := []*policy.Explanation{}
			for i := range subject {
				e := policy.Explain(set, &subject[i], time.Now())
				// Replicas with one plan are explained once.
				if !slices.ContainsFunc(out, func(o *policy.Explanation) bool { return o.PlanID == e.PlanID && o.Container == e.Container }) {
					out = append(out, e)
				}
			}
			if output == "json" {
				return printJSON(env, out)
			}
			for _, e := range out {
				printExplanation(env, e)
			}
			return nil
		},
	}
	cmd.Flags().StringToStringVar(&labels, "label", nil, "labels of a described workload")
	cmd.Flags().StringVar(&image, "image", "", "image of a described workload")
	cmd.Flags().StringVar(&container, "container", "", "container name of a described workload")
	cmd.Flags().StringVar(&account, "service-account", "", "service account of a described workload")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func printPlan(env *Env, output string, d console.WorkloadDetail) error {
	if output == "json" {
		return printJSON(env, d.Plan)
	}
	p := env.Out
	p.Printf("%s\n", p.Paint(term.Strong, d.Ref.String()))
	if len(d.Policies) == 0 {
		p.Printf("no policy selects it: it is observed, and nothing is blocked\n")
		return nil
	}
	p.Printf("selected by %s\nmode %s\n\n", strings.Join(d.Policies, ", "), modes(d.Mode))
	var rows [][]term.Cell
	for _, r := range d.Plan.Rules {
		rows = append(rows, planRow(r.Section, r.Effect, r.What, r.Reason, ruleWords(&r.Rule)))
	}
	p.Table([]string{"SECTION", "EFFECT", "WHAT", "FROM"}, rows)
	return nil
}

func planRow(section, effect, what, reason, from string) []term.Cell {
	style := term.Good
	switch effect {
	case "deny":
		style = term.Bad
	case "waive":
		style = term.Warn
	}
	if reason != "" {
		what += " [" + reason + "]"
	}
	return []term.Cell{term.T(section), term.C(style, "%s", effect), term.T(what), term.T(from)}
}

func printExplanation(env *Env, e *policy.Explanation) {
	p := env.Out
	name := e.Workload.String()
	if e.Container != "" {
		name += " (container " + e.Container + ")"
	}
	p.Printf("%s\n", p.Paint(term.Strong, term.Clean(name)))
	if e.PlanID == "" {
		p.Printf("no policy selects it: it would be observed, and nothing blocked\n")
		return
	}
	p.Printf("selected by %s\n", strings.Join(e.Policies, ", "))
	for _, m := range e.Modes {
		p.Printf("%s is in %s, asked for by %s\n", m.Section, m.Mode, m.Policy)
	}
	p.Printf("when the node cannot enforce: %s\n", e.WhenBlind)
	var rows [][]term.Cell
	for _, r := range e.Rules {
		rows = append(rows, planRow(r.Section, r.Effect, r.What, r.Reason, ruleWords(&r.Rule)))
	}
	if len(rows) > 0 {
		p.Printf("\n")
		p.Table([]string{"SECTION", "EFFECT", "WHAT", "FROM"}, rows)
	}
	for _, n := range e.Notes {
		p.Printf("%s %s %s\n", p.Paint(term.Warn, "note:"), ruleWords(&n.Rule), term.Clean(n.Text))
	}
}

func learnCommand(env *Env) *cobra.Command {
	var profileFile string
	cmd := &cobra.Command{
		Use:   "learn NAMESPACE/NAME",
		Short: "Write the smallest policy that allows what a workload was seen doing",
		Long: `Asks the running gabion for what the workload did and prints a policy in mode
Monitor: programs by path, peers by name, drift denied, classes of tools denied
that were not seen in use. Read it, keep it in Git, apply it.`,
		Example: `  gabion policy learn shop/checkout > policies/checkout.yaml
  gabion policy learn shop/checkout --profile profile.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseRef(args[0])
			if err != nil {
				return err
			}
			if profileFile == "" {
				var doc console.Document
				if err := env.client().get(cmd.Context(), "/workloads/"+url.PathEscape(ref.Namespace)+"/"+url.PathEscape(ref.Name)+"/policy", nil, &doc); err != nil {
					return err
				}
				env.Out.Printf("%s", doc.YAML)
				return nil
			}
			set, problems, err := loadFiles(env.In, []string{profileFile})
			if err != nil {
				return err
			}
			if len(problems) > 0 {
				return refuse(env, problems)
			}
			d := set.Get(v1alpha1.KindProfile + "/" + ref.String())
			if d == nil {
				return exit(ExitFailed, fmt.Errorf("learn policy: %s has no Profile of %s", profileFile, ref))
			}
			prof, ok := d.Object.(*v1alpha1.Profile)
			if !ok {
				return exit(ExitFailed, fmt.Errorf("learn policy: %s is no Profile", ref))
			}
			l, err := policy.Learn(prof, policy.LearnOptions{})
			if err != nil {
				return exit(ExitFailed, err)
			}
			env.Out.Printf("%s", l.YAML)
			return nil
		},
	}
	cmd.Flags().StringVar(&profileFile, "profile", "", "a file with the Profile, instead of asking the running gabion")
	return cmd
}

func diffCommand(env *Env) *cobra.Command {
	var against []string
	var output string
	cmd := &cobra.Command{
		Use:   "diff FILE...",
		Short: "Show what applying files would change: documents, and what it means for each container",
		Long: `Compares with what is in force on the running gabion, or with --against other
files. Exit code 1 when there is a difference, as diff does.`,
		Example: `  gabion policy diff policies/checkout.yaml
  gabion policy diff policies/ --against /etc/gabion/policies`,
		Args: cobra.MinimumNArgs(1),
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
	cmd.Flags().StringSliceVar(&against, "against", nil, "files or folders to compare with, instead of the running gabion")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

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
		Args: cobra.MinimumNArgs(1),
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
		Use:     "forecast ID",
		Short:   "Show what Protect would have blocked of what was seen",
		Long:    "Exit code 1 when the evidence does not suffice for Protect.",
		Example: "  gabion policy forecast WorkloadPolicy/shop/checkout",
		Args:    cobra.ExactArgs(1),
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
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return modes, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
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
			env.Out.Printf("%s is now in %s\n", term.Clean(args[0]), args[1])
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "promote to Protect whatever the forecast says")
	return cmd
}

func deleteCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Take a policy out of force and out of the folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := env.client().do(cmd.Context(), http.MethodDelete, policyPath(args[0]), nil, nil, "", nil); err != nil {
				return err
			}
			env.Out.Printf("%s is removed\n", term.Clean(args[0]))
			return nil
		},
	}
}

func listPoliciesCommand(env *Env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the policies in force and the files that were refused",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list struct {
				Items []console.Policy `json:"items"`
			}
			if err := env.client().get(cmd.Context(), "/policies", url.Values{"limit": {"500"}}, &list); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, list.Items)
			}
			var rows [][]term.Cell
			for _, p := range list.Items {
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
