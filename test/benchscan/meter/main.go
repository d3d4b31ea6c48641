// Command meter runs one command and prints as JSON what it cost.
//
// It is a program of its own because the kernel counts the memory of whoever
// starts a process as that process's peak: the meter imports next to nothing,
// so that its own pages stay below what anything measured needs.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Cost is what a command used, its children that it waited for included.
type Cost struct {
	CPU  float64 `json:"cpu"`  // seconds, user and system
	Wall float64 `json:"wall"` // seconds
	RSS  float64 `json:"rss"`  // MiB at the peak
	Exit int     `json:"exit"`
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: meter LOG COMMAND [ARGUMENT...]")
		os.Exit(1)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "meter:", err)
		os.Exit(1)
	}
}

// run sends what the command says to the file log.
func run(log, name string, args []string) error {
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = cmd.Wait() // its exit code is part of the answer
	state := cmd.ProcessState
	c := Cost{CPU: (state.UserTime() + state.SystemTime()).Seconds(), Wall: time.Since(start).Seconds(), Exit: state.ExitCode()}
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		c.RSS = float64(ru.Maxrss) / 1024
	}
	return json.NewEncoder(os.Stdout).Encode(c)
}
