package container_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/gabion-dev/gabion/guard/container"
)

func ExampleDiscovery_Run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d, err := container.New(container.Config{}, slog.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	_ = d.Run(ctx, func(ch container.Change) {
		if ch.Gone {
			fmt.Println(ch.Container.Workload, "lost container", ch.Container.Short())
			return
		}
		fmt.Println(ch.Container.Workload, "runs", ch.Container.Image, "as process", ch.Container.PID)
	})
}
