package scenario_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gabion-dev/gabion/scenario"
)

// Example tells the story to a platform and prints the matrix. The platform is
// whatever protects the containers of this machine.
func Example() {
	tell := func(ctx context.Context, platform scenario.Platform) error {
		res, err := scenario.Run(ctx, scenario.Options{Layers: []string{scenario.Firewall}, Out: os.Stderr}, platform)
		if err != nil {
			return err
		}
		res.Table(os.Stdout, false)
		if !res.Pass {
			return fmt.Errorf("%d shares reached the pool", res.Shares.Protected)
		}
		return nil
	}
	_ = tell
}
