package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/scenario"
)

func upCommand(env *Env) *cobra.Command {
	var cfg platform.Config
	var demo bool
	var logLevel string
	var runtimes []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Protect the containers of this machine (the whole platform in one process)",
		Long: `Finds the containers of this machine, learns what they do, enforces the policies
of the folder, keeps events, and serves the console. Ctrl-C ends it and takes
everything out of the kernel; if it is killed instead, enforcement goes on and
the next gabion up takes it over.

The policies folder is read again whenever it changes. A file that breaks keeps
its last good content in force.`,
		Example: `  sudo gabion up
  sudo gabion up --demo
  sudo gabion up --policies ./policies --listen 127.0.0.1:9443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Socket = env.Socket
			if err := setRuntimes(&cfg, runtimes); err != nil {
				return exit(ExitUsage, err)
			}
			log, err := logger(env, logLevel)
			if err != nil {
				return err
			}
			if demo && !cmd.Flags().Changed("policies") {
				// The re-enactment writes policies of its own; a person's folder
				// is no place for them.
				cfg.Policies = filepath.Join(cfg.Data, "demo-policies")
			}
			return up(cmd.Context(), env, cfg, log, demo)
		},
	}
	addPlatformFlags(cmd, &cfg, &logLevel)
	cmd.Flags().StringArrayVar(&runtimes, "runtime", nil, "ask this socket instead of the usual ones, as NAME=PATH with docker, podman, containerd or cri (may be repeated)")
	cmd.Flags().BoolVar(&demo, "demo", false, "re-enact the attack safely, without and with protection, then stay")
	return cmd
}

func addPlatformFlags(cmd *cobra.Command, cfg *platform.Config, logLevel *string) {
	data, policies := platform.DefaultData, platform.DefaultPolicies
	if os.Geteuid() != 0 {
		if home, err := os.UserHomeDir(); err == nil {
			data = filepath.Join(home, ".local/share/gabion")
			policies = filepath.Join(home, ".config/gabion/policies")
		}
	}
	cmd.Flags().StringVar(&cfg.Policies, "policies", policies, "folder of policies (*.yaml)")
	cmd.Flags().StringVar(&cfg.Data, "data", data, "folder of events, profiles and certificates")
	cmd.Flags().StringVar(&cfg.Listen, "listen", platform.DefaultListen, "address of the console, or off")
	cmd.Flags().StringVar(&cfg.Pins, "pins", platform.DefaultPins, "folder of pinned kernel objects, on a bpf file system")
	cmd.Flags().BoolVar(&cfg.NoHold, "no-hold", false, "do not stop the first program of a new container until its policy is in force")
	cmd.Flags().DurationVar(&cfg.Retention.MaxAge, "keep", 30*24*time.Hour, "how long events are kept")
	cmd.Flags().Int64Var(&cfg.Retention.MaxBytes, "keep-bytes", 2<<30, "how many bytes of events are kept")
	cmd.Flags().StringVar(logLevel, "log", "warn", "log level on standard error: debug, info, warn, error")
}

// setRuntimes reads --runtime NAME=PATH.
func setRuntimes(cfg *platform.Config, list []string) error {
	for _, r := range list {
		name, socket, ok := strings.Cut(r, "=")
		into := map[string]*[]string{"docker": &cfg.Runtimes.Docker, "podman": &cfg.Runtimes.Podman, "containerd": &cfg.Runtimes.Containerd, "cri": &cfg.Runtimes.CRI}[name]
		if !ok || into == nil || socket == "" {
			return fmt.Errorf("--runtime %q: write NAME=PATH, NAME one of docker, podman, containerd, cri", r)
		}
		*into = append(*into, socket)
	}
	return nil
}

func logger(env *Env, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, exit(ExitUsage, fmt.Errorf("--log %q: use debug, info, warn or error", level))
	}
	return slog.New(slog.NewTextHandler(env.Err.W, &slog.HandlerOptions{Level: l})), nil
}

func up(ctx context.Context, env *Env, cfg platform.Config, log *slog.Logger, demo bool) error {
	p, err := platform.Open(ctx, cfg, log)
	if err != nil {
		return exit(ExitMachine, err)
	}
	greet(env, p, cfg)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	if demo {
		g.Go(func() error {
			err := scenario.RunAndStay(ctx, scenario.Options{Dir: filepath.Join(cfg.Data, "demo"), Out: env.Out.W, Colour: env.Out.Colour, Log: log,
				OnResult: func(*scenario.Result) {
					env.Err.Printf("\nThe workloads stay up with ordinary traffic. Look at them in the console, or with: gabion events -f\nCtrl-C ends everything and leaves nothing behind.\n")
				}}, p.Scenario())
			if err != nil && ctx.Err() == nil {
				// The story failing is no reason to stop protecting.
				env.Err.Printf("%s the re-enactment could not be told: %v\n", env.Err.Paint(term.Bad, "error:"), err)
			}
			return nil
		})
	}
	err = g.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return exit(ExitFailed, err)
	}
	return nil
}

// greet says where things are and what cannot be done here.
func greet(env *Env, p *platform.Platform, cfg platform.Config) {
	e := env.Err
	link, addr, fingerprint := p.SignIn()
	e.Printf("%s protects the containers of this machine\n", e.Paint(term.Strong, "gabion"))
	if addr != "" {
		e.Printf("  console    https://%s\n", addr)
		e.Printf("  sign in    %s\n             %s\n", e.Paint(term.Good, link), e.Paint(term.Faint, "(once, within 15 minutes; a new one: gabion console link)"))
		e.Printf("  certificate SHA-256 %s\n", e.Paint(term.Faint, fingerprint))
	}
	e.Printf("  policies   %s\n", cfg.Policies)
	for _, why := range p.Missing() {
		e.Printf("  %s %s\n", e.Paint(term.Bad, "blind:"), why)
	}
	e.Printf("\n")
}
