package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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
		Short: "Check, test, explain, learn, compare and apply policies",
		Long: `Policies are YAML files: in Git, in the folder of gabion up, or sent by apply.
FILE may be a file, a folder (its *.yaml, *.yml and *.json), or - for standard
input. ID is kind/namespace/name, as gabion policy list prints it.

Without a running gabion: lint; test; explain of a described workload; learn from a
file; diff with --against. The others ask the one that runs.`,
		Example: `  gabion policy learn shop/checkout > policies/checkout.yaml
  gabion policy lint policies/
  gabion policy test policies/
  gabion policy diff policies/
  gabion policy apply policies/checkout.yaml
  gabion policy promote WorkloadPolicy/shop/checkout Protect`,
	}
	cmd.AddCommand(lintCommand(env), casesCommand(env), explainCommand(env), learnCommand(env), diffCommand(env), applyCommand(env),
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
		Args: arguments(1, -1),
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
				env.Err.Printf("%s valid, %s, %s\n", counted(len(set.Documents()), "document is", "documents are"), counted(len(problems), "error", "errors"), counted(len(findings), "warning", "warnings"))
			}
			if len(problems) > 0 || strict && len(findings) > 0 {
				return exit(ExitFailed, nil)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "compare with the containers of the running gabion too")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// liveContainers asks the running gabion for every container it knows.
func liveContainers(ctx context.Context, c *client) ([]workload.Container, error) {
	list, err := all[console.Workload](ctx, c, "/workloads")
	if err != nil {
		return nil, err
	}
	out := []workload.Container{}
	for _, w := range list {
		d, err := getWorkload(ctx, c, w.Ref)
		if err != nil {
			return nil, err
		}
		for _, r := range d.Running {
			out = append(out, r.Container)
		}
	}
	return out, nil
}

func getWorkload(ctx context.Context, c *client, ref workload.Ref) (console.WorkloadDetail, error) {
	var d console.WorkloadDetail
	err := c.get(ctx, "/workloads/"+url.PathEscape(ref.Namespace)+"/"+url.PathEscape(ref.Name), nil, &d)
	return d, err
}

// counted is a number with the word that fits it.
func counted(n int, one, many string) string {
	if n == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s", n, many)
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
		Short: "Show the rules for a workload, and the line each comes from",
		Long: `Without files: what is in force on the running gabion. With files: what they
would say of the workload as it runs here, or, when --label, --image, --container
or --service-account describe it, of one that does not run.`,
		Example: `  gabion policy explain shop/checkout
  gabion policy explain shop/checkout policies/ --label app=checkout`,
		Args:              arguments(1, -1),
		ValidArgsFunction: completeWorkload(env, 0),
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
	cmd.Flags().StringToStringVar(&labels, "label", nil, "describe the workload: its `LABELS`, as name=value,...")
	cmd.Flags().Lookup("label").DefValue = ""
	cmd.Flags().StringVar(&image, "image", "", "describe the workload: its `IMAGE`")
	cmd.Flags().StringVar(&container, "container", "", "describe the workload: the `NAME` of its container")
	cmd.Flags().StringVar(&account, "service-account", "", "describe the workload: the `NAME` of its service account")
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
	narrow := false
	cmd := &cobra.Command{
		Use:   "learn NAMESPACE/NAME",
		Short: "Write the smallest policy that allows what was seen",
		Long: `Asks the running gabion for what the workload did and prints a policy in mode
Monitor: programs by path, peers by name, drift denied, classes of tools denied
that were not seen in use. Read it, keep it in Git, apply it.`,
		Example: `  gabion policy learn shop/checkout > policies/checkout.yaml
  gabion policy learn shop/checkout --profile profile.yaml`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeWorkload(env, 0),
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
			l, err := policy.Learn(prof, policy.LearnOptions{Narrow: narrow})
			if err != nil {
				return exit(ExitFailed, err)
			}
			env.Out.Printf("%s", l.YAML)
			return nil
		},
	}
	cmd.Flags().BoolVar(&narrow, "narrow", false, "with --profile: also add conditions (arguments, parents, users) where what was seen is always the same")
	cmd.Flags().StringVar(&profileFile, "profile", "", "learn from the Profile in `FILE` instead of asking the running gabion")
	return cmd
}
