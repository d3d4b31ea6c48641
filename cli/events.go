package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/internal/term"
)

func eventsCommand(env *Env) *cobra.Command {
	var f struct {
		follow                                       bool
		output, since, severity, workload, container string
		text, policy                                 string
		kinds, effects                               []string
		limit                                        int
	}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List what happened, or follow it",
		Long: `Lists events, oldest first. One event stands for every happening with the same
cause; COUNT says exactly how many there were.

With -f it goes on until Ctrl-C; when gabion ends, so does it, with exit code 3.
Output json is one array; with -f it is one object per line, as ndjson is.`,
		Example: `  gabion events --since 10m
  gabion events -f --effect blocked
  gabion events --workload shop/checkout --kind process,network
  gabion events -f -o ndjson | jq -r .message`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			set := func(k, v string) {
				if v != "" {
					q.Set(k, v)
				}
			}
			set("since", f.since)
			set("severity", f.severity)
			set("container", f.container)
			set("q", f.text)
			set("policy", f.policy)
			if f.workload != "" {
				ref, err := parseRef(f.workload)
				if err != nil {
					return err
				}
				set("namespace", ref.Namespace)
				set("workload", ref.Name)
			}
			// The API takes lists with commas.
			set("kind", strings.Join(f.kinds, ","))
			set("effect", strings.Join(f.effects, ","))
			for _, check := range []struct {
				flag   string
				values []string
				known  []string
			}{{"severity", words(f.severity), severities()}, {"effect", f.effects, effects()}} {
				for _, v := range check.values {
					if !slices.Contains(check.known, v) {
						return exit(ExitUsage, fmt.Errorf("unknown %s %q; use one of: %s", check.flag, v, strings.Join(check.known, ", ")))
					}
				}
			}
			c := env.client()
			var after uint64
			if f.follow {
				// Taken before the list, so that nothing falls between it and the stream.
				newest, err := listEvents(cmd.Context(), c, url.Values{}, 1)
				if err != nil {
					return err
				}
				after = lastSeq(newest)
			}
			page, err := listEvents(cmd.Context(), c, q, f.limit)
			if err != nil {
				return err
			}
			slices.Reverse(page) // oldest first: the newest stands beside the prompt
			if f.output == "json" && !f.follow {
				return printJSON(env, page)
			}
			show := eventPrinter(env, f.output)
			show(page...)
			if f.follow {
				return followEvents(cmd.Context(), c, q, max(after, lastSeq(page)), show)
			}
			if len(page) == 0 && f.output == "table" {
				env.Err.Printf("no events match\n")
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on printing what happens, until Ctrl-C")
	cmd.Flags().StringVar(&f.since, "since", "", "only newer than `WHEN`: 10m, 2h, or a time as RFC 3339")
	cmd.Flags().StringVar(&f.severity, "severity", "", "only of this `SEVERITY` and above: "+strings.Join(severities(), ", "))
	cmd.Flags().StringVar(&f.workload, "workload", "", "only of this workload, as `NAMESPACE/NAME`")
	cmd.Flags().StringVar(&f.container, "container", "", "only of the container with this `ID` (12 characters of it or more)")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only of these `KINDS`: process, process.drift, network, ...")
	cmd.Flags().StringSliceVar(&f.effects, "effect", nil, "only with these `EFFECTS`: "+strings.Join(effects(), ", "))
	cmd.Flags().StringVar(&f.policy, "policy", "", "only what the policy with this `ID` decided")
	cmd.Flags().StringVarP(&f.text, "text", "q", "", "only with this `TEXT` in message, path, process, peer or container")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "at most `N`, the newest")
	complete := func(flag string, values []string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	complete("severity", severities())
	complete("effect", effects())
	complete("kind", texts(event.Kinds()...))
	_ = cmd.RegisterFlagCompletionFunc("workload", completeWorkload(env, 0))
	_ = cmd.RegisterFlagCompletionFunc("policy", completePolicy(env))
	outputFlag(cmd, &f.output, "table", "json", "ndjson")
	return cmd
}

// followEvents shows what comes after seq until ctx ends. That gabion ends is
// an answer of its own, since what happens until it is back is not shown.
func followEvents(ctx context.Context, c *client, q url.Values, after uint64, show func(...event.Event)) error {
	q.Set("after", strconv.FormatUint(after, 10))
	err := c.lines(ctx, "/events/stream", q, func(line []byte) error {
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			return nil
		}
		var e event.Event
		if err := json.Unmarshal(bytes.TrimSpace(data), &e); err != nil || e.ID == "" {
			return nil // the stream's own words: ready
		}
		show(e)
		return nil
	})
	if err == nil && ctx.Err() == nil {
		return exit(ExitUnreachable, fmt.Errorf("the gabion on %s ended, and with it what there is to follow; it keeps its events: when it runs again, go on with: gabion events -f --since 10m", c.socket))
	}
	return err
}

// words is the list of one word, or none.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func severities() []string {
	return texts(event.Info, event.Low, event.Medium, event.High, event.Critical)
}

func effects() []string {
	return texts(event.Observed, event.WouldBlock, event.Blocked, event.NotBlocked)
}

func texts[T ~string](list ...T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

// listEvents gathers pages up to limit, newest first.
func listEvents(ctx context.Context, c *client, q url.Values, limit int) ([]event.Event, error) {
	out := []event.Event{}
	q = cloneValues(q)
	for len(out) < limit {
		q.Set("limit", strconv.Itoa(min(limit-len(out), store.MaxPage)))
		var p store.Page
		if err := c.get(ctx, "/events", q, &p); err != nil {
			return nil, err
		}
		out = append(out, p.Events...)
		if p.Next == "" {
			break
		}
		q.Set("cursor", p.Next)
	}
	return out, nil
}

func cloneValues(q url.Values) url.Values {
	c := url.Values{}
	for k, v := range q {
		c[k] = slices.Clone(v)
	}
	return c
}

func lastSeq(events []event.Event) uint64 {
	var last uint64
	for _, e := range events {
		last = max(last, e.Seq)
	}
	return last
}

// eventPrinter gives a function that prints events one by one in the format.
func eventPrinter(env *Env, format string) func(...event.Event) {
	if format != "table" {
		enc := json.NewEncoder(env.Out.W)
		enc.SetEscapeHTML(false)
		return func(events ...event.Event) {
			for _, e := range events {
				_ = enc.Encode(e)
			}
		}
	}
	headed := false
	return func(events ...event.Event) {
		for _, e := range events {
			if !headed {
				env.Out.Printf("%s\n", env.Out.Paint(term.Strong, fmt.Sprintf("%-12s  %-8s  %-11s  %-6s  %s", "TIME", "SEVERITY", "EFFECT", "COUNT", "WHAT")))
				headed = true
			}
			effect := string(e.Effect)
			if effect == "" {
				effect = "-"
			}
			what := []term.Cell{term.T(term.Clean(e.Message))}
			if len(e.Technique) > 0 {
				what = append(what, term.C(term.Faint, "%s", "["+strings.Join(e.Technique, " ")+"]"))
			}
			env.Out.Hang(fmt.Sprintf("%-12s  %s  %s  %-6d  ", e.Last.Local().Format("15:04:05.000"),
				env.Out.Paint(severityStyle(e.Severity), fmt.Sprintf("%-8s", e.Severity)),
				env.Out.Paint(effectStyle(e.Effect), fmt.Sprintf("%-11s", effect)), e.Count), whatColumn, what...)
			if e.Rule != nil && e.Rule.Policy != "" {
				// Under the message on a terminal; elsewhere a line of its own begins
				// with a space, so that a script can tell it from an event.
				env.Out.Hang(strings.Repeat(" ", whatColumn), whatColumn, term.C(term.Faint, "%s", "by "+ruleWords(e.Rule)))
			}
		}
	}
}

// whatColumn is where the message of an event begins.
const whatColumn = 45

func ruleWords(r *event.RuleRef) string {
	s := r.Policy + " " + r.Field
	if r.File != "" {
		s += fmt.Sprintf(" (%s:%d)", r.File, r.Line)
	}
	return term.Clean(s)
}

func severityStyle(s event.Severity) term.Style {
	switch {
	case s.Rank() >= event.High.Rank():
		return term.Bad
	case s.Rank() >= event.Low.Rank():
		return term.Warn
	}
	return term.Plain
}

func effectStyle(e event.Effect) term.Style {
	switch e {
	case event.Blocked:
		return term.Good
	case event.WouldBlock:
		return term.Warn
	case event.NotBlocked:
		return term.Bad
	}
	return term.Faint
}
