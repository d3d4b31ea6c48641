package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/scenario"
)

func demoCommand(env *Env) *cobra.Command {
	var output, logLevel string
	var layers []string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Re-enact an attack once, safely, without and with protection",
		Long: `Makes a small shop and a careless dashboard in containers and networks of their
own, attacks them once in Monitor, learns what they do, attacks them again in
Protect, and runs fifty ordinary operations. Nothing of it is real mining or an
exploit, nothing leaves the machine, and nothing stays.

Exit code 0 only when every pass mark holds: no share of the "miner" reaches
its pool, every stopped step is explained by an event, and no ordinary
operation is blocked. --layers shows what one layer alone is worth.`,
		Example: `  sudo gabion demo
  sudo gabion demo --layers firewall
  sudo gabion demo -o json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, l := range layers {
				if l != scenario.Guard && l != scenario.Firewall {
					return exit(ExitUsage, fmt.Errorf("unknown layer %q; use guard, firewall or both", l))
				}
			}
			if os.Geteuid() != 0 {
				return exit(ExitMachine, fmt.Errorf("the demo makes containers and loads kernel programs: run it as root (sudo gabion demo)"))
			}
			log, err := logger(env, logLevel)
			if err != nil {
				return err
			}
			res, err := demoOnce(cmd.Context(), env, layers, log)
			if err != nil {
				return err
			}
			if output == "json" {
				if err := printJSON(env, res); err != nil {
					return err
				}
			} else {
				res.Table(env.Out.W, env.Out.Colour)
			}
			if !res.Pass {
				return exit(ExitFailed, nil)
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&layers, "layers", nil, "let only these `LAYERS` protect: guard, firewall (without it: both)")
	_ = cmd.RegisterFlagCompletionFunc("layers", cobra.FixedCompletions([]string{scenario.Guard, scenario.Firewall}, cobra.ShellCompDirectiveNoFileComp))
	logFlag(cmd, &logLevel, "error")
	outputFlag(cmd, &output, "table", "json")
	return cmd
}

// demoOnce runs a whole gabion of its own, so that the one that may protect
// this machine is left alone.
func demoOnce(ctx context.Context, env *Env, layers []string, log *slog.Logger) (res *scenario.Result, err error) {
	dir, err := os.MkdirTemp("", "gabion-demo-")
	if err != nil {
		return nil, exit(ExitMachine, err)
	}
	defer os.RemoveAll(dir)
	p, err := platform.Open(ctx, platform.Config{
		Policies: filepath.Join(dir, "policies"), Data: filepath.Join(dir, "data"), Listen: "off", Socket: filepath.Join(dir, "gabion.sock"),
		Pins: fmt.Sprintf("%s-demo-%d", platform.DefaultPins, os.Getpid()),
	}, log)
	if err != nil {
		return nil, exit(ExitMachine, err)
	}
	for _, why := range p.Missing() {
		env.Err.Printf("blind: %s\n", why)
	}
	g, gctx := errgroup.WithContext(ctx)
	run, stop := context.WithCancel(gctx)
	g.Go(func() error { return p.Run(run) })
	g.Go(func() (err error) {
		defer stop()
		stage, err := p.Scenario(gctx)
		if err != nil {
			return err
		}
		res, err = scenario.Run(gctx, scenario.Options{Layers: layers, Out: env.Err.W, Log: log, Now: time.Now}, stage)
		return err
	})
	err = g.Wait()
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, exit(ExitFailed, err)
	}
	return res, nil
}
