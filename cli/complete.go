package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gabion-dev/gabion/console"
)

// completeBound is how long a shell waits for names of the running gabion.
const completeBound = time.Second

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeWorkload completes the argument at place with workloads that the
// running gabion knows, and the others with files.
func completeWorkload(env *Env, place int) completer {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) != place {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return names(c, env, "/workloads", func(w console.Workload) string { return w.Ref.String() }), cobra.ShellCompDirectiveNoFileComp
	}
}

// completePolicy completes the first argument with policies in force.
func completePolicy(env *Env) completer {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(c, env, "/policies", func(p console.Policy) string { return p.ID }), cobra.ShellCompDirectiveNoFileComp
	}
}

// names asks the running gabion; without one there is nothing to complete.
func names[T any](c *cobra.Command, env *Env, path string, name func(T) string) []string {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeBound)
	defer cancel()
	list, err := all[T](ctx, env.client(), path)
	if err != nil {
		return nil
	}
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = name(v)
	}
	return out
}
