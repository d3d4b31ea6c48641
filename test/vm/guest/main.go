// Command guest is the init of the guests of package vm: it makes a root that
// containers can live in, carries out its order, says what happened and
// switches the machine off. Called as "modprobe" it loads modules for the
// kernel; called as "probe" it tries what the product's rooms need.
//
// It is of no use anywhere else: started as the first process of a real
// machine it would take that over.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	switch {
	case name == "modprobe":
		err = modprobe(os.Args[1:])
	case len(os.Args) > 1 && os.Args[1] == "probe":
		err = probe()
	case len(os.Args) > 1 && os.Args[1] == "work":
		err = work()
	case len(os.Args) > 1: // the canary that the probe starts
		return
	case os.Getpid() != 1:
		err = fmt.Errorf("guest: to be started by the kernel only")
	case os.Getenv(moved) == "":
		err = move()
	default:
		err = first()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		if os.Getpid() == 1 {
			_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		os.Exit(1)
	}
}
