package console_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gabion-dev/gabion/console"
	"github.com/gabion-dev/gabion/console/consoletest"
)

// The command line asks over the unix socket, where its user id is enough.
func Example() {
	dir, err := os.MkdirTemp("", "gabiontest")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	world := consoletest.NewWorld(time.Now)
	s, err := console.New(console.Config{DataDir: dir, Listen: "off"}, world.Deps(slog.New(slog.DiscardHandler), time.Now))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", s.Socket())
	}}
	res, err := (&http.Client{Transport: tr}).Get("http://gabion/api/v1/events?kind=process.drift&limit=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, err := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, len(raw) > 100, err, res.Body.Close())
	stop()
	fmt.Println(<-done)
	// Output:
	// 200 true <nil> <nil>
	// <nil>
}
