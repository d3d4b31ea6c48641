// Command inside measures, on the kernel that it runs under, what Gabion's
// enforcement costs and bears: starts of programs and openings of files without
// an agent, beside an agent, and under policies of several shapes; storms of
// denials; memory. It prints one row of JSON a line.
//
// It is the part of `make bench-kernel` that runs in guests of test/vm, whose
// clock counts instructions: there a ratio of times is a ratio of instructions
// executed. On a real machine the ratios are of time, and noisy.
//
// The one idea: every figure is a ratio to the same work in the same container
// in the same boot, measured before the agent came and after it went; what
// those two differ by is the figure's noise, and is printed too.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/test/benchkernel/guests"
)

func main() {
	minicontainer.Init()
	if len(os.Args) > 1 && os.Args[1] == loadArg {
		os.Exit(load())
	}
	what := flag.String("measure", "cost,storm,memory", "what to measure, with commas between")
	shapes := flag.String("shapes", "", "shapes of policy to measure the cost of; default all")
	batches := flag.Int("batches", 15, "how many times to measure; the quieter half counts")
	refusal := flag.Bool("refusal", true, "use backend A where the kernel lets it")
	audit := flag.Bool("audit", false, "measure the kernel's audit system too; leaves its rules behind")
	flag.Parse()
	out := json.NewEncoder(os.Stdout)
	say := func(r guests.Row) {
		if err := out.Encode(r); err != nil {
			fmt.Fprintln(os.Stderr, "inside:", err)
			os.Exit(1)
		}
	}
	for _, w := range strings.Split(*what, ",") {
		measure, ok := map[string]func(func(guests.Row)) error{
			"cost":   func(say func(guests.Row)) error { return cost(say, *batches, *shapes, *refusal, *audit) },
			"storm":  storm,
			"memory": memory,
			"scale":  scale,
		}[w]
		if !ok {
			fmt.Fprintf(os.Stderr, "inside: nothing is called %q\n", w)
			os.Exit(2)
		}
		if err := measure(say); err != nil {
			fmt.Fprintf(os.Stderr, "inside: measure %s: %v\n", w, err)
			os.Exit(1)
		}
	}
}
