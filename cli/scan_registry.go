package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/api/v1alpha1"
	"github.com/gabion-dev/gabion/cli/scanning"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scan"
	"github.com/gabion-dev/gabion/scan/decide"
	"github.com/gabion-dev/gabion/scan/engine"
	"github.com/gabion-dev/gabion/scan/registry"
)

func scanRegistryCommand(env *Env) *cobra.Command {
	o := scanning.Options{Tool: version.Name + " " + version.Version}
	var t registry.Target
	var results, output string
	var rate int64
	var follow bool
	cmd := &cobra.Command{
		Use:   "registry HOST|FILE",
		Short: "Scan every image of a registry, each layer once",
		Long: `Takes a host, or a file with ScanTarget documents. Repositories are those that are
listed, else the registry's own list; tags are filtered. Every distinct image and
every distinct layer is read once, whatever its number of names. Reports are kept
in a folder, so that a sweep that was interrupted goes on and a second one only
looks at what is new. An image that cannot be scanned does not stop the others.

A running gabion does the same by itself for the ScanTarget documents in its
policies folder.`,
		Example: `  gabion scan registry registry.example:5000 --newest 3
  gabion scan registry registry.example:5000 --repository shop/web --repository shop/db
  gabion scan registry targets.yaml --follow`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.BytesPerSecond = rate
			targets, err := scanTargets(env, args[0], t, &o)
			if err != nil {
				return err
			}
			o.Environment(os.Getenv)
			s, err := scanning.Setup(o)
			if err != nil {
				return exit(ScanFailed, err)
			}
			defer s.Close()
			for _, n := range s.Notes {
				note(env, n)
			}
			folder, err := registry.OpenFolder(results)
			if err != nil {
				return exit(ScanFailed, err)
			}
			deps := registry.Deps{
				Results: folder, Now: time.Now, Log: slog.New(slog.NewTextHandler(env.Err.W, nil)),
				Scan: func(ctx context.Context, job registry.Job) (*scan.Report, *registry.Kept, error) {
					e := s.Engine
					e.Now = time.Now()
					return scanning.Job(ctx, e, job)
				},
			}
			return sweep(cmd.Context(), env, targets, deps, folder, s.Engine, follow, output)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	outputFlag(cmd, &output, "table", "json")
	f.StringVar(&results, "results", "gabion-reports", "keep a report for every image in `DIR`")
	f.BoolVar(&follow, "follow", false, "go on by the schedule of each ScanTarget until Ctrl-C")
	scanning.Group(f, "Which images, and how fast", func(f *pflag.FlagSet) {
		f.StringArrayVar(&t.Repositories, "repository", nil, "scan the repository `NAME`; default: those of the registry's list")
		f.StringArrayVar(&t.Include, "include", nil, "of the registry's list, only repositories like `GLOB`")
		f.StringArrayVar(&t.Exclude, "exclude", nil, "no repositories like `GLOB`")
		f.StringArrayVar(&t.Tags.Include, "tag", nil, "only tags like `GLOB`")
		f.StringArrayVar(&t.Tags.Exclude, "exclude-tag", nil, "no tags like `GLOB`")
		f.IntVar(&t.Tags.Newest, "newest", 0, "of each repository, only the `N` newest tags")
		f.IntVar(&t.Parallel, "parallel", 0, "scan `N` images at once; default: 2")
		f.Var(sizeValue{&rate}, "bytes-per-second", "pull no faster than `SIZE` a second")
	})
	o.Flags(f)
	completeScan(cmd)
	return cmd
}

// sweepTarget is a target, and what its own document lets its images fail for.
type sweepTarget struct {
	registry.Target
	own decide.Thresholds
}

// judge adds what the target's own document judges of its images.
func (t sweepTarget) judge(r *scan.Report) {
	if t.own == (decide.Thresholds{}) || !slices.ContainsFunc(r.Image.Tags, func(name string) bool { return strings.HasPrefix(name, t.Registry+"/") }) {
		return
	}
	r.Violations = append(r.Violations, decide.Judge(r, t.own)...)
	r.Sort()
	r.Violations = slices.Compact(r.Violations)
}

// judging judges each image before its report is kept.
func (t sweepTarget) judging(d registry.Deps) registry.Deps {
	read := d.Scan
	d.Scan = func(ctx context.Context, job registry.Job) (*scan.Report, *registry.Kept, error) {
		r, k, err := read(ctx, job)
		if err == nil {
			t.judge(r)
		}
		return r, k, err
	}
	return d
}

// scanTargets reads a file of ScanTargets, or makes one of a host and flags.
func scanTargets(env *Env, arg string, t registry.Target, o *scanning.Options) ([]sweepTarget, error) {
	if _, err := os.Stat(arg); err != nil {
		t.Name, t.Registry = arg, arg
		t.PlainHTTP, t.SkipTLSVerify, t.CAFile = o.Image.PlainHTTP, o.Image.SkipTLSVerify, o.Image.CAFile
		t.Credentials.File = o.PasswordFile
		if o.Image.Platform != "" {
			t.Platforms = []string{o.Image.Platform}
		}
		return []sweepTarget{{Target: t}}, nil
	}
	set, problems, err := loadFiles(env.In, []string{arg})
	if err != nil {
		return nil, exit(ScanFailed, err)
	}
	if len(problems) > 0 {
		return nil, refuse(env, problems)
	}
	var out []sweepTarget
	for _, d := range set.Documents() {
		doc, ok := d.Object.(*v1alpha1.ScanTarget)
		if !ok {
			continue
		}
		target, err := scanning.Target(doc)
		if err != nil {
			return nil, exit(ScanFailed, err)
		}
		own, err := scanning.Thresholds(doc)
		if err != nil {
			return nil, exit(ScanFailed, err)
		}
		out = append(out, sweepTarget{target, own})
	}
	if len(out) == 0 {
		return nil, exit(ScanFailed, fmt.Errorf("%s holds no ScanTarget", filepath.Base(arg)))
	}
	return out, nil
}

func sweep(ctx context.Context, env *Env, targets []sweepTarget, deps registry.Deps, folder *registry.Folder, again engine.Options, follow bool, output string) error {
	if follow {
		return followTargets(ctx, env, targets, deps)
	}
	failed := false
	var all []registry.Summary
	for _, t := range targets {
		s, err := registry.New(t.Target, t.judging(deps))
		if err != nil {
			return exit(ScanFailed, err)
		}
		sum, err := s.Sweep(ctx)
		if ctx.Err() != nil {
			return exit(ScanFailed, errors.New("interrupted: what was scanned by now is kept, and the next sweep goes on from there"))
		}
		if err != nil {
			return exit(ScanFailed, fmt.Errorf("%s: %w", t.Name, err))
		}
		all = append(all, sum)
		failed = failed || len(sum.Failed) > 0
		for _, f := range sum.Failed {
			env.Err.Printf("%s %s: %v\n", env.Err.Paint(term.Bad, "not scanned:"), term.Clean(f.Ref), f.Err)
		}
		for _, f := range sum.Incomplete {
			env.Err.Printf("%s %s: %v\n", env.Err.Paint(term.Bad, "incomplete:"), term.Clean(f.Ref), f.Err)
		}
		if sum.Interrupted {
			return exit(ScanFailed, fmt.Errorf("%s: ended before every image was looked at; run it again and it goes on", t.Name))
		}
	}
	reports, err := judgedAgain(ctx, folder, targets, again)
	if err != nil {
		return exit(ScanFailed, err)
	}
	if output == "json" {
		if err := printJSON(env, struct {
			Sweeps  []registry.Summary `json:"sweeps"`
			Reports []*scan.Report     `json:"reports"`
		}{all, reports}); err != nil {
			return err
		}
	} else {
		printSweep(env, reports)
		for i, s := range all {
			env.Err.Printf("%s: %d repositories, %d tags, %d images (%d scanned, %d known), %d layers, %d of them different, %s received\n",
				targets[i].Name, s.Repositories, s.Tags, s.Images, s.Scanned, s.Known, s.Layers, s.Distinct, megabytes(s.Bytes))
		}
	}
	incomplete, violated := failed, false
	for _, r := range reports {
		incomplete = incomplete || r.Incomplete()
		violated = violated || len(r.Violations) > 0
	}
	switch {
	case violated:
		return exit(ScanViolated, errors.New("images are beyond what this scan allows"))
	case incomplete:
		return exit(ScanIncomplete, errors.New("not every image could be examined completely"))
	}
	return nil
}

// anew matches every image again, whatever it was matched against: the
// decisions and thresholds of this run hold for those that were known, too.
type anew struct{ scanning.Matcher }

func (anew) Database() string { return "" }

// judgedAgain gives the reports of everything that is kept, by the database and
// the decisions of now.
func judgedAgain(ctx context.Context, folder *registry.Folder, targets []sweepTarget, e engine.Options) ([]*scan.Report, error) {
	sum, err := registry.Rematch(ctx, folder, anew{scanning.Matcher{Engine: e}}, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	for _, f := range sum.Failed {
		return nil, fmt.Errorf("%s: %w; remove its report to have it scanned again", f.Ref, f.Err)
	}
	digests, err := folder.Digests()
	if err != nil {
		return nil, err
	}
	var reports []*scan.Report
	for _, d := range digests {
		r, names, err := folder.Report(d)
		if err != nil {
			return nil, err
		}
		r.Image.Tags = names
		for _, t := range targets {
			t.judge(r)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func printSweep(env *Env, reports []*scan.Report) {
	var rows [][]term.Cell
	for _, r := range reports {
		n := map[scan.Severity]int{}
		exploited, fixable := 0, 0
		for _, f := range r.Findings {
			if f.State != scan.Open && f.State != scan.Unsupported {
				continue
			}
			n[f.Severity]++
			if f.KEV != nil {
				exploited++
			}
			if f.Fix != "" {
				fixable++
			}
		}
		name := r.Image.Name
		if len(r.Image.Tags) > 0 {
			name = r.Image.Tags[0]
			if more := len(r.Image.Tags) - 1; more > 0 {
				name += fmt.Sprintf(" (+%d)", more)
			}
		}
		state := term.C(term.Good, "complete")
		if r.Incomplete() {
			state = term.C(term.Bad, "INCOMPLETE")
		}
		count := func(style term.Style, v int) term.Cell {
			if v == 0 {
				style = term.Faint
			}
			return term.C(style, "%d", v)
		}
		rows = append(rows, []term.Cell{term.T(name), count(term.Bad, n[scan.Critical]), count(term.Bad, n[scan.High]), count(term.Warn, n[scan.Medium]),
			count(term.Bad, exploited), count(term.Plain, fixable), count(term.Warn, len(r.Secrets)), state})
	}
	env.Out.Table([]string{"IMAGE", "CRITICAL", "HIGH", "MEDIUM", "EXPLOITED", "FIXABLE", "SECRETS", "SCAN"}, rows)
}

// followTargets sweeps by the schedules until a person ends it.
func followTargets(ctx context.Context, env *Env, targets []sweepTarget, deps registry.Deps) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range targets {
		if t.Schedule == "" {
			return exit(ScanFailed, fmt.Errorf("%s has no schedule, and --follow goes by it; write one into its ScanTarget", t.Name))
		}
		s, err := registry.New(t.Target, t.judging(deps))
		if err != nil {
			return exit(ScanFailed, err)
		}
		g.Go(func() error { return s.Run(ctx) })
	}
	env.Err.Printf("following %d %s; Ctrl-C ends it\n", len(targets), plural(len(targets), "target", "targets"))
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return exit(ScanFailed, err)
	}
	return nil
}

// exceptionsOf reads the Exception documents of files and folders.
func exceptionsOf(env *Env, names []string) ([]v1alpha1.Exception, error) {
	if len(names) == 0 {
		return nil, nil
	}
	set, problems, err := loadFiles(env.In, names)
	if err != nil {
		return nil, exit(ScanFailed, err)
	}
	if len(problems) > 0 {
		return nil, refuse(env, problems)
	}
	var out []v1alpha1.Exception
	for _, d := range set.Documents() {
		if e, ok := d.Object.(*v1alpha1.Exception); ok {
			out = append(out, *e)
		}
	}
	return out, nil
}
