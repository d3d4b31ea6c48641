package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/gabion-dev/gabion/cli/platform"
	"github.com/gabion-dev/gabion/fleet/store"
	"github.com/gabion-dev/gabion/internal/lean"
	"github.com/gabion-dev/gabion/internal/term"
	"github.com/gabion-dev/gabion/internal/version"
	"github.com/gabion-dev/gabion/scenario"
)

func upCommand(env *Env) *cobra.Command {
	var cfg platform.Config
	var demo bool
	var logLevel string
	var runtimes []string
	var detections string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Protect the containers of this machine",
		Long: `The whole platform in one process: finds the containers of this machine, learns
what they do, enforces the policies of the folder, keeps events, and serves the
console. Ctrl-C ends it and takes everything out of the kernel; if it is killed
instead, enforcement goes on and the next gabion up takes it over.

The policies folder is read again whenever it changes. A file that breaks keeps
its last good content in force.`,
		Example: `  sudo gabion up
  sudo gabion up --demo
  sudo gabion up --policies ./policies --keep 90d
  sudo gabion up --listen 10.0.0.5:8443 --host gabion.example.org`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Socket = env.Socket
			if err := setRuntimes(&cfg, runtimes); err != nil {
				return exit(ExitUsage, err)
			}
			for _, h := range cfg.Hosts {
				if h == "" || strings.ContainsAny(h, "/: ") && net.ParseIP(h) == nil {
					return exit(ExitUsage, fmt.Errorf("--host %q: write a name or an address without scheme, port and path", h))
				}
			}
			log, err := logger(env, logLevel)
			if err != nil {
				return err
			}
			if cfg.Detections, err = detectionsOf(detections); err != nil {
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
	addPlatformFlags(cmd, env.Places, &cfg, &logLevel)
	cmd.Flags().StringArrayVar(&runtimes, "runtime", nil, "ask `NAME=SOCKET` instead of the usual places; NAME is docker, podman, containerd or cri (may be repeated)")
	cmd.Flags().StringVar(&detections, "detections", "", "look for the detections in `DIR` too; gabion detections test DIR checks them")
	_ = cmd.MarkFlagDirname("detections")
	cmd.Flags().BoolVar(&demo, "demo", false, "re-enact the attack safely, without and with protection, then stay")
	return cmd
}

func addPlatformFlags(cmd *cobra.Command, places Places, cfg *platform.Config, logLevel *string) {
	f := cmd.Flags()
	f.StringVar(&cfg.Policies, "policies", places.Policies, "read policies (*.yaml, *.yml, *.json) from `DIR`")
	f.StringVar(&cfg.Data, "data", places.Data, "keep events, profiles and certificates in `DIR`")
	f.StringVar(&cfg.Listen, "listen", platform.DefaultListen, "serve the console on `ADDR`, or off")
	f.StringArrayVar(&cfg.Hosts, "host", nil, "let browsers reach the console by `NAME` too (may be repeated)")
	f.StringVar(&cfg.Pins, "pins", platform.DefaultPins, "pin kernel objects in `DIR`, on a bpf file system")
	f.BoolVar(&cfg.NoHold, "no-hold", false, "do not stop the first program of a new container until its policy is in force")
	cfg.Retention = store.Retention{MaxAge: 30 * day, MaxBytes: 2 << 30}
	f.Var(ageValue{&cfg.Retention.MaxAge}, "keep", "keep events up to this `AGE`, such as 12h or 30d; 0 keeps all")
	f.Var(sizeValue{&cfg.Retention.MaxBytes}, "keep-bytes", "keep at most this `SIZE` of events, such as 500MiB; 0 keeps all")
	f.IntVar(&cfg.Images.MaxImages, "keep-images", 5000, "keep what was found of at most `N` images; those not seen for longest go first")
	cfg.Images.MaxBytes = 2 << 30
	f.Var(sizeValue{&cfg.Images.MaxBytes}, "keep-image-bytes", "keep at most this `SIZE` of images, such as 500MiB")
	f.StringVar(&cfg.Database, "db", "", "compare images with the database `FILE`; default: the one of gabion db update, else the one inside the program")
	logFlag(cmd, logLevel, "warn")
}

func logFlag(cmd *cobra.Command, level *string, def string) {
	cmd.Flags().StringVar(level, "log", def, "log from this `LEVEL` up on standard error: debug, info, warn, error")
	_ = cmd.RegisterFlagCompletionFunc("log", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

// setRuntimes reads --runtime NAME=SOCKET.
func setRuntimes(cfg *platform.Config, list []string) error {
	for _, r := range list {
		name, socket, ok := strings.Cut(r, "=")
		into := map[string]*[]string{"docker": &cfg.Runtimes.Docker, "podman": &cfg.Runtimes.Podman, "containerd": &cfg.Runtimes.Containerd, "cri": &cfg.Runtimes.CRI}[name]
		if !ok || into == nil || socket == "" {
			return fmt.Errorf("--runtime %q: write NAME=SOCKET, NAME one of docker, podman, containerd, cri", r)
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

// settleAfter is when everything that starts has started.
const settleAfter = 20 * time.Second

// settle gives back, once, the memory that only starting needed.
func settle(ctx context.Context) error {
	select {
	case <-time.After(settleAfter):
		debug.FreeOSMemory()
		_ = lean.Drop()
	case <-ctx.Done():
	}
	return nil
}

func up(ctx context.Context, env *Env, cfg platform.Config, log *slog.Logger, demo bool) error {
	p, err := platform.Open(ctx, cfg, log)
	if err != nil {
		return exit(ExitMachine, err)
	}
	greet(env, p, cfg)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error { return settle(ctx) })
	if demo {
		g.Go(func() error {
			stage, err := p.Scenario(ctx)
			if err == nil {
				err = scenario.RunAndStay(ctx, scenario.Options{Dir: filepath.Join(cfg.Data, "demo"), Out: env.Out.W, Colour: env.Out.Colour, Log: log,
					OnResult: func(*scenario.Result) {
						env.Err.Printf("\nThe workloads stay up with ordinary traffic. Look at them in the console, or\nwith: gabion events -f\nCtrl-C ends everything and leaves nothing behind.\n")
					}}, stage)
			}
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
	if err == nil {
		env.Err.Printf("\ngabion ends and takes its programs out of the kernel\n")
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
	line := func(label string, style term.Style, text string) {
		const width = 15
		e.Hang(fmt.Sprintf("  %-*s", width-2, label), width, term.C(style, "%s", text))
	}
	e.Printf("%s protects the containers of this machine; Ctrl-C ends it\n\n", e.Paint(term.Strong, version.Name))
	line("policies", term.Plain, cfg.Policies)
	if addr != "" {
		line("console", term.Plain, "https://"+addr)
		// Never broken: links are copied and clicked.
		e.Printf("  %-13s%s\n", "sign in", e.Paint(term.Good, link))
		line("", term.Faint, "works once, within 15 minutes; for another: gabion console link")
		line("certificate", term.Faint, "SHA-256 "+fingerprint)
	}
	for _, why := range p.Missing() {
		line("blind", term.Bad, term.Clean(why))
	}
	e.Printf("\n")
}
