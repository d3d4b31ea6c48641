package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/gabion-dev/gabion/guard"
	"github.com/gabion-dev/gabion/guard/firewall"
	"github.com/gabion-dev/gabion/guard/kernel"
	"github.com/gabion-dev/gabion/test/vm/matrix"
)

// probe prints, as one line of JSON, what the rooms find possible here.
func probe() error {
	ctx := context.Background()
	f := append(kernel.Probe(ctx, ""), firewall.Probe(ctx)...)
	var out matrix.Answer
	out.Features = f
	for _, b := range append(kernel.Backends(), firewall.Backends()...) {
		active, why := b.Active(f)
		out.Backends = append(out.Backends, guard.Feature{Name: b.ID, Works: active, Detail: why})
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
