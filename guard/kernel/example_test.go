package kernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// printer is a guard.Sink that prints denials.
type printer struct{}

func (printer) Denied(d guard.Denial) {
	fmt.Println(d.ContainerID, d.Effect, d.Path, d.Reasons, d.Count)
}
func (printer) Observed(guard.Observation) {}
func (printer) Started(guard.Start)        {}
func (printer) Lost(guard.Loss)            {}

// Protect one container until the context ends, and leave it protected.
func ExampleOpen() {
	protect := func(ctx context.Context, c workload.Container, plan *policy.Plan) error {
		e, err := kernel.Open(kernel.Config{}, kernel.Deps{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Sink: printer{}})
		if err != nil {
			return err
		}
		cov, err := e.Apply(ctx, c, plan)
		if err != nil {
			return err
		}
		fmt.Println(cov.Guarantee)
		if err := e.Run(ctx); err != nil {
			return err
		}
		return e.Close(true)
	}
	_ = protect
}
