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
	"time"

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
		Example: `  gabion events --since 10m
  gabion events -f --effect blocked
  gabion events --workload shop/checkout --kind process -o ndjson`,
		Args: cobra.NoArgs,
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
				ns, name, ok := strings.Cut(f.workload, "/")
				if !ok {
					return exit(ExitUsage, fmt.Errorf("--workload %q: write it as namespace/name", f.workload))
				}
				set("namespace", ns)
				set("workload", name)
			}
			// The API takes lists with commas.
			set("kind", strings.Join(f.kinds, ","))
			set("effect", strings.Join(f.effects, ","))
			c := env.client()
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
			if !f.follow {
				if len(page) == 0 && f.output == "table" {
					env.Err.Printf("no events match\n")
				}
				return nil
			}
			if len(page) > 0 {
				q.Set("after", strconv.FormatUint(lastSeq(page), 10))
			}
			return c.lines(cmd.Context(), "/events/stream", q, func(line []byte) error {
				data, ok := bytes.CutPrefix(line, []byte("data:"))
				if !ok {
					return nil
				}
				var e event.Event
				if err := json.Unmarshal(bytes.TrimSpace(data), &e); err != nil || e.ID == "" {
					return nil
				}
				show(e)
				return nil
			})
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on printing what happens, until Ctrl-C")
	cmd.Flags().StringVar(&f.since, "since", "", "only newer than this (10m, 2h, or RFC 3339)")
	cmd.Flags().StringVar(&f.severity, "severity", "", "this severity and above: info, low, medium, high, critical")
	cmd.Flags().StringVar(&f.workload, "workload", "", "only this workload (namespace/name)")
	cmd.Flags().StringVar(&f.container, "container", "", "only this container (at least 12 characters of its identifier)")
	cmd.Flags().StringSliceVar(&f.kinds, "kind", nil, "only these kinds (process, process.drift, network, ...)")
	cmd.Flags().StringSliceVar(&f.effects, "effect", nil, "only these effects: observed, would-block, blocked, not-blocked")
	cmd.Flags().StringVar(&f.policy, "policy", "", "only what this policy decided (WorkloadPolicy/shop/checkout)")
	cmd.Flags().StringVarP(&f.text, "text", "q", "", "only with this text in message, path, process, peer or container")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "at most this many, the newest")
	outputFlag(cmd, &f.output, "table", "json", "ndjson")
	return cmd
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
			msg := term.Clean(e.Message)
			if len(e.Technique) > 0 {
				msg += " " + env.Out.Paint(term.Faint, "["+strings.Join(e.Technique, " ")+"]")
			}
			env.Out.Printf("%-12s  %s  %s  %-6d  %s\n", e.Last.Local().Format("15:04:05.000"),
				env.Out.Paint(severityStyle(e.Severity), fmt.Sprintf("%-8s", e.Severity)),
				env.Out.Paint(effectStyle(e.Effect), fmt.Sprintf("%-11s", effect)), e.Count, msg)
			if e.Rule != nil && e.Rule.Policy != "" {
				env.Out.Printf("%s\n", env.Out.Paint(term.Faint, strings.Repeat(" ", 14)+"by "+ruleWords(e.Rule)))
			}
		}
	}
}

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

// ago says how long ago t was, in the largest unit that fits.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
