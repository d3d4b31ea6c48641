// Command gabion protects containers, from the commit that builds them to the
// system call they make. See docs/ for everything it does.
package main

import (
	"os"

	"github.com/gabion-dev/gabion/cli"
	"github.com/gabion-dev/gabion/internal/minicontainer"
	"github.com/gabion-dev/gabion/scenario"
)

func main() {
	// Both return at once unless this process was started to be something
	// else: the inside of a container made here, or a program of the re-enactment.
	minicontainer.Init()
	if scenario.Main(os.Args) {
		return
	}
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
