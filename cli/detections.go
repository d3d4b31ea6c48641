package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/content"
	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/guard/detect"
	"github.com/gabion-dev/gabion/internal/term"
)

func detectionsCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detections",
		Short: "Show, test and replay detections",
		Long: `Detections describe behaviour that is worth telling of, whatever policy says: a
reverse shell, a miner, credentials that are read and sent out. Those inside the
program are always looked for; gabion up --detections DIR adds a folder of your
own, one folder per detection:

  DIR/NAME/detection.yaml   what it is, and its expressions
  DIR/NAME/positive.jsonl   cases in which it must be found
  DIR/NAME/negative.jsonl   cases in which it must not

One with the name of ours takes its place; with disabled: true it turns it off.
None of these commands needs a running gabion.`,
		Example: `  gabion detections list
  gabion detections show reverse-shell
  gabion detections test ./detections
  gabion events -o json --limit 1000 | gabion detections replay -`,
	}
	cmd.AddCommand(detectionsListCommand(env), detectionsShowCommand(env), detectionsTestCommand(env), detectionsReplayCommand(env))
	return cmd
}

// detectionView is a detection as machines read it.
type detectionView struct {
	Name           string   `json:"name"`
	Title          string   `json:"title"`
	Severity       string   `json:"severity"`
	Techniques     []string `json:"techniques"`
	What           string   `json:"what"`
	FalsePositives string   `json:"falsePositives"`
	Remedy         string   `json:"remedy"`
}

func viewOfDetection(d content.Detection) detectionView {
	return detectionView{d.Name, d.Title, d.Severity, d.Techniques, d.What, d.FalsePositives, d.Remedy}
}

func folderFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "detections", "", "take the detections in `DIR` too, as gabion up does")
	_ = cmd.MarkFlagDirname("detections")
}

func detectionsOf(dir string) (*detect.Pack, error) {
	pack, err := platform.Detections(dir)
	if err != nil {
		return nil, exit(ExitFailed, err)
	}
	return pack, nil
}

func detectionsListCommand(env *Env) *cobra.Command {
	var output, dir string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is looked for",
		Args:  arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			pack, err := detectionsOf(dir)
			if err != nil {
				return err
			}
			list := pack.Detections()
			if output == "json" {
				views := make([]detectionView, len(list))
				for i, d := range list {
					views[i] = viewOfDetection(d)
				}
				return printJSON(env, views)
			}
			rows := make([][]term.Cell, len(list))
			for i, d := range list {
				rows[i] = []term.Cell{term.T(d.Name), severityCell(event.Severity(d.Severity)), term.T(strings.Join(d.Techniques, " ")), term.T(d.Title)}
			}
			env.Out.Table([]string{"NAME", "SEVERITY", "ATT&CK", "TITLE"}, rows)
			return nil
		},
	}
	folderFlag(cmd, &dir)
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

func severityCell(s event.Severity) term.Cell {
	style := term.Plain
	switch {
	case s.Rank() >= event.High.Rank():
		style = term.Bad
	case s.Rank() >= event.Medium.Rank():
		style = term.Warn
	}
	return term.C(style, "%s", string(s))
}

func detectionsShowCommand(env *Env) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Explain a detection: what it means, what looks like it, what to do",
		Example: `  gabion detections show reverse-shell`,
		Args:    arguments(1, 1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if pack, err := platform.Detections(dir); err == nil && len(args) == 0 {
				for _, d := range pack.Detections() {
					names = append(names, d.Name+"\t"+d.Title)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			pack, err := detectionsOf(dir)
			if err != nil {
				return err
			}
			list := pack.Detections()
			i := slices.IndexFunc(list, func(d content.Detection) bool { return d.Name == args[0] })
			if i < 0 {
				return exit(ExitUsage, fmt.Errorf("no detection %q; gabion detections list shows all", args[0]))
			}
			printDetection(env, list[i])
			return nil
		},
	}
	folderFlag(cmd, &dir)
	return cmd
}

func printDetection(env *Env, d content.Detection) {
	p := env.Out
	p.Printf("%s: %s\n", p.Paint(term.Strong, d.Name), d.Title)
	p.Printf("severity %s, ATT&CK %s\n\n", d.Severity, strings.Join(d.Techniques, " "))
	for _, part := range []struct{ head, text string }{
		{"What it means", d.What}, {"What else looks like it", d.FalsePositives}, {"What to do", d.Remedy},
	} {
		p.Printf("%s\n", p.Paint(term.Strong, part.head))
		p.Hang("  ", 2, term.T(part.text))
	}
	p.Printf("%s\n", p.Paint(term.Strong, "What is looked for"))
	for _, line := range detect.Rule(d) {
		p.Printf("  %s\n", term.Clean(line))
	}
}

func detectionsTestCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Check a folder of detections and run their cases",
		Long: `Reads every detection of the folder as strictly as gabion up does, then runs its
cases: each positive one must be found, each negative one must not. Faults are
printed with their file and line. Exit code 1 when there is one.`,
		Example: `  gabion detections test ./detections`,
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			root, err := os.OpenRoot(args[0])
			if err != nil {
				return exit(ExitUsage, err)
			}
			defer root.Close()
			list, err := content.ReadDetections(root.FS())
			faults := said(err)
			cases := 0
			for _, d := range list {
				cases += len(d.Positive) + len(d.Negative)
				faults = append(faults, said(detect.Try(d))...)
			}
			if len(list) == 0 && len(faults) == 0 {
				faults = append(faults, fmt.Sprintf("%s has no detections: write each as NAME/detection.yaml", args[0]))
			}
			for _, f := range faults {
				env.Out.Printf("%s %s\n", env.Out.Paint(term.Bad, "error:"), term.Clean(f))
			}
			env.Err.Printf("%s, %s, %s\n", counted(len(list), "detection", "detections"), counted(cases, "case", "cases"), counted(len(faults), "fault", "faults"))
			if len(faults) > 0 {
				return exit(ExitFailed, nil)
			}
			return nil
		},
	}
	return cmd
}

// said takes joined errors apart, a line each.
func said(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func detectionsReplayCommand(env *Env) *cobra.Command {
	var dir, record string
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Look for detections in recorded events",
		Long: `FILE holds events as gabion events -o json or -o jsonl prints them; - is
standard input. Each container's events are looked at in the order of their
times, and what would have been found is printed. With --record nothing is
looked for: a case of each container is printed instead, to be put into
positive.jsonl or negative.jsonl.`,
		Example: `  gabion events -o json --since 24h --limit 10000 | gabion detections replay --detections ./mine -
  gabion events -o json --workload shop/web | gabion detections replay --record 'web starts' - >> negative.jsonl`,
		Args: arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			pack, err := detectionsOf(dir)
			if err != nil {
				return err
			}
			in := env.In
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return exit(ExitUsage, err)
				}
				defer f.Close()
				in = f
			}
			events, err := readEvents(in)
			if err != nil {
				return exit(ExitFailed, fmt.Errorf("read events of %s: %w", args[0], err))
			}
			var list []detect.Happening
			for _, e := range events {
				if h, ok := detect.FromEvent(e); ok {
					list = append(list, h)
				}
			}
			slices.SortStableFunc(list, func(a, b detect.Happening) int { return a.Time.Compare(b.Time) })
			if record != "" {
				return recordCases(env, record, list)
			}
			return replay(env, detect.New(pack), list)
		},
	}
	folderFlag(cmd, &dir)
	cmd.Flags().StringVar(&record, "record", "", "print cases named `NAME` instead of looking for anything")
	return cmd
}

func replay(env *Env, engine *detect.Engine, list []detect.Happening) error {
	found := 0
	for _, h := range list {
		for _, m := range engine.Handle(h) {
			found++
			env.Out.Printf("%s  %s  %s\n", m.Last.UTC().Format(time.RFC3339), env.Out.Paint(term.Strong, m.Detection), m.Severity)
			env.Out.Hang("    ", 4, term.T(fmt.Sprintf("%s: %s", m.Title, m.Words())))
		}
	}
	for name, n := range engine.Stats().Failed {
		env.Err.Printf("%s an expression of %s gave no answer %d times\n", env.Err.Paint(term.Warn, "warning:"), name, n)
	}
	env.Err.Printf("%s, %d found\n", counted(len(list), "happening", "happenings"), found)
	return nil
}

// recordCases prints a case for each container, in the order of their first
// happenings.
func recordCases(env *Env, name string, list []detect.Happening) error {
	var order []string
	by := map[string][]detect.Happening{}
	for _, h := range list {
		if by[h.Container] == nil {
			order = append(order, h.Container)
		}
		by[h.Container] = append(by[h.Container], h)
	}
	enc := json.NewEncoder(env.Out.W)
	enc.SetEscapeHTML(false)
	for _, id := range order {
		c, err := detect.Record(name, by[id])
		if err == nil {
			err = enc.Encode(c)
		}
		if err != nil {
			return exit(ExitFailed, err)
		}
	}
	return nil
}

// readEvents reads a JSON list of events, or one event after another.
func readEvents(r io.Reader) ([]event.Event, error) {
	buffered := bufio.NewReader(r)
	for {
		b, err := buffered.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if strings.ContainsRune(" \t\r\n", rune(b)) {
			continue
		}
		if err := buffered.UnreadByte(); err != nil {
			return nil, err
		}
		dec := json.NewDecoder(buffered)
		var list []event.Event
		if b == '[' {
			return list, dec.Decode(&list)
		}
		for {
			var e event.Event
			switch err := dec.Decode(&e); {
			case errors.Is(err, io.EOF):
				return list, nil
			case err != nil:
				return nil, err
			}
			list = append(list, e)
		}
	}
}
