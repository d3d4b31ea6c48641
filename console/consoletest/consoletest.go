// Package consoletest starts a console over a made-up node, for the tests of
// the API and of the web UI in a browser.
//
// Nothing of it is in the product. The one idea: the node is a small world (a
// shop, its database, a careless dashboard, a batch job) with fixed contents
// relative to the clock it is given, and actions on it change what it answers,
// so that a test can do something and see the effect.
package consoletest

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"crypto/rand"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/event"
)

// World is the made-up node and what it stores.
type World struct {
	Platform *Platform
	Images   *Images
	Store    *Memory
}

// NewWorld makes a world whose history ends now.
func NewWorld(now func() time.Time) *World {
	m := NewMemory(now)
	return &World{Platform: newPlatform(now(), m), Images: newImages(now()), Store: m}
}

// Deps are what console.New wants of the world.
func (w *World) Deps(log *slog.Logger, now func() time.Time) console.Deps {
	return console.Deps{
		Platform: w.Platform, Images: w.Images, Store: w.Store, Follow: w.Store.Follow, Log: log, Now: now, Rand: rand.Reader,
		Record: func(ctx context.Context, e event.Event) error {
			_, err := w.Store.Append(ctx, []event.Event{e})
			return err
		},
	}
}

// Start runs a console over a new world until the test ends. Zero fields of
// cfg get values that fit a test: any free port, a folder of the test.
func Start(t testing.TB, cfg console.Config, now func() time.Time) (*console.Server, *World) {
	t.Helper()
	if cfg.DataDir == "" {
		dir, err := os.MkdirTemp("", "gabiontest") // short: a socket's path has 107 bytes at most
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		cfg.DataDir = dir
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	w := NewWorld(now)
	s, err := console.New(cfg, w.Deps(slog.New(slog.DiscardHandler), now))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("console ended with: %v", err)
		}
	})
	return s, w
}
