package firewall_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/gabion-dev/gabion/facts"
	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/firewall"
	"github.com/gabion-dev/gabion/policy"
	"github.com/gabion-dev/gabion/workload"
)

// An agent opens the firewall with the maps of guard/kernel, runs it, and
// applies the network section of each container's plan.
func Example() {
	run := func(ctx context.Context, shared firewall.Maps, cid func(string) (uint32, bool), sink guard.Sink, c workload.Container, plan *policy.Plan) error {
		fw, err := firewall.Open(
			firewall.Config{PinDir: "/sys/fs/bpf/gabion"},
			firewall.Deps{Log: slog.Default(), Sink: sink, Maps: shared, CID: cid},
		)
		if err != nil {
			return err
		}
		defer fw.Close(true) // enforcement stays
		neighbours := facts.NewNeighbourhood([]workload.Container{c}, nil)
		coverage, err := fw.Apply(ctx, c, plan, neighbours)
		if err != nil {
			return err
		}
		slog.Info("network section is in force", "mechanism", coverage.Mechanism, "degraded", coverage.Degraded)
		return fw.Run(ctx)
	}
	fmt.Println(run != nil)
	// Output: true
}

// What this machine can do is found out by letting each part block a canary.
func ExampleProbe() {
	for _, f := range firewall.Probe(context.Background()) {
		if !f.Works {
			slog.Warn(f.Name, "why", f.Detail, "remedy", f.Remedy)
		}
	}
}
