// Command serve runs a console over the made-up node of consoletest until it
// is interrupted, and prints a sign-in link: for looking at the web UI while
// working on it, and for its browser tests.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:0", "TLS address")
	flag.Parse()
	dir, err := os.MkdirTemp("", "gabiontest")
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "serve:", err)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w := consoletest.NewWorld(time.Now)
	s, err := console.New(console.Config{Listen: *listen, DataDir: dir}, w.Deps(log, time.Now))
	if err != nil {
		return err
	}
	// One line of JSON, so that a test can read it.
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{
		"url": "https://" + s.Addr(), "link": s.SignInLink(), "socket": dir + "/console.sock",
	}); err != nil {
		return err
	}
	return s.Run(ctx)
}
