package fleet_test

import (
	"context"
	"fmt"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/fleet"
	"github.com/gabion-dev/gabion/fleet/bus"
	"github.com/gabion-dev/gabion/fleet/store"
)

// What is recorded is in the store once Flush returns; a cause that is recorded
// again with a larger count stays one event.
func ExampleRecorder() {
	kept := store.NewMemory(nil)
	r, err := fleet.New(fleet.Config{Node: "n1"}, fleet.Deps{Bus: bus.NewMemory(0), Store: kept})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()

	r.Record(event.Event{ID: "curl-in-shop", Kind: event.ProcessExec, Count: 1, Message: "Blocked curl."})
	r.Record(event.Event{ID: "curl-in-shop", Kind: event.ProcessExec, Count: 1000, Message: "Blocked curl."})
	if err := r.Flush(ctx); err != nil {
		fmt.Println(err)
	}
	e, err := kept.Event(ctx, "curl-in-shop")
	fmt.Println(e.Count, e.Node, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// 1000 n1 <nil>
	// <nil>
}
